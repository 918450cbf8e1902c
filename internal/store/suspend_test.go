package store

import (
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// notice is a statement of the relay, as a tombstone keeps it; the store does not look into it.
func (w *world) notice() (identity.Signed, identity.Digest) {
	s, v := w.signed(usage.Denial{Header: w.header(w.relay, alice), Request: identity.Digest{1}, Record: identity.Digest{2}, Reason: usage.ReasonNone, AsOf: 1, AsOfMs: 1, StoreEpoch: [16]byte{1}}.Encode())
	return s, v.Digest
}

// TestMissingPaymentStepByStep: who may do what while a payment is missing, to the end of the records.
func TestMissingPaymentStepByStep(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, other := w.contract(alice), w.contract(alice)
		other.Contract[2] = 9
		w.fund(a)
		w.fund(other)
		notice, why := w.notice()
		own := w.record(draft{from: alice, to: alice, size: 20})
		var sent []records.Record
		for i := range 5 { // in several buckets
			sent = append(sent, w.record(draft{from: alice, to: bob, size: 100_000, ttl: uint32(1+3*i) * 3600}))
		}
		elsewhere := w.record(draft{from: alice, to: bob, size: 30})
		w.do(w.order(a, append([]records.Record{own}, sent...)...))
		w.do(w.order(other, elsewhere))

		a.State, a.Closing = AccountSuspended, why
		w.fund(a)
		w.refused(w.order(a, w.record(draft{from: alice, to: bob, size: 10})), code.NoFunds)
		w.denied(w.request(sent[0]), usage.ReasonSuspended, why)
		w.do(w.request(own))
		gone := w.deletion(sent[0])
		w.do(gone) // it only lowers what is owed
		if n, err := w.r.Purge(t.Context(), w.now, a.Contract, notice); n != 0 || err != nil {
			t.Fatalf("%d records are purged too early: %v", n, err)
		}
		a.State = AccountRetained
		w.fund(a)
		w.denied(w.request(own), usage.ReasonSuspended, why)
		a.State = AccountPurged
		w.fund(a)
		w.denied(w.request(own), usage.ReasonSuspended, why) // not gone yet
		for i, want := range []int{5, 0} {
			if n, err := w.r.Purge(t.Context(), w.now, a.Contract, notice); n != want || err != nil {
				t.Fatalf("purge %d: %d records: %v", i, n, err)
			}
		}
		w.denied(w.request(sent[1]), usage.ReasonPurged, why)
		w.denied(w.request(sent[0]), usage.ReasonDeleted, gone.Delete.Digest())
		w.refused(w.deletion(sent[1]), code.TombstoneExists)
		w.do(w.request(elsewhere))
		if got := w.inbox(bob); len(got) != 1 || got[0].Digest != elsewhere.Digest() {
			t.Fatalf("%d records are listed", len(got))
		}
		rows := w.rows(a)
		if last := rows[len(rows)-1]; last.Kind != usage.RowPurge || last.LiveBytes != 0 || len(last.Evidence) != 0 {
			t.Fatalf("%+v", last)
		}
		// What is left of the reserve is rounding.
		if acc, err := w.r.Account(t.Context(), a.Contract); err != nil || acc.Reserved > 2 || acc.Live != 0 {
			t.Fatalf("%+v, %v", acc, err)
		}
		a.State, a.Closing = AccountActive, identity.Digest{}
		w.fund(a)
		w.do(w.order(a, w.record(draft{from: alice, to: bob, size: 10}))) // the contract serves again
		w.denied(w.request(sent[1]), usage.ReasonPurged, why)             // what is gone stays gone
	})
}
