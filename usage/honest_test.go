package usage

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
)

// pending is a read that waits for its acknowledgement.
type pending struct {
	k     *kept
	index uint64
	q     identity.Signed
}

// history drives a sim through a random schedule.
type history struct {
	*sim
	open []pending
}

func (h *history) Write(t *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(t, "n")
	var records []RecordFacts
	for range n {
		records = append(records, h.facts(
			rapid.SampledFrom([]string{"client", "client", "dora"}).Draw(t, "sender"),
			rapid.SampledFrom([]string{"bob", "carol"}).Draw(t, "receiver"),
			rapid.Uint64Range(100, 1<<20).Draw(t, "stored"),
			simHour+identity.UnixMilli(rapid.Uint64Range(0, 5*uint64(simDay)).Draw(t, "ttl")),
			rapid.Uint16Range(1, 3).Draw(t, "pulls"), rapid.Bool().Draw(t, "onAck")))
	}
	h.write(records...)
}

func (h *history) pick(t *rapid.T) *kept {
	if len(h.live) == 0 {
		t.Skip("nothing is kept")
	}
	return rapid.SampledFrom(h.live).Draw(t, "record")
}

func (h *history) Read(t *rapid.T) {
	k := h.pick(t)
	if i, q, ok := h.read(k); ok {
		h.open = append(h.open, pending{k, i, q})
	}
}

func (h *history) Ack(t *rapid.T) {
	if len(h.open) == 0 {
		t.Skip("nothing to acknowledge")
	}
	i := rapid.IntRange(0, len(h.open)-1).Draw(t, "read")
	p := h.open[i]
	h.open = append(h.open[:i], h.open[i+1:]...)
	a := h.ack(p.k, p.q, "relay", VerdictOK)
	how := rapid.IntRange(1, 3).Draw(t, "how")
	if how&1 != 0 {
		h.attach(p.index, a)
	}
	if how&2 != 0 {
		h.in.Acks = append(h.in.Acks, h.ack(p.k, p.q, "client", VerdictOK))
	}
	if p.k.facts.DeleteOnAck {
		h.remove(p.k, a)
	}
}

func (h *history) Delete(t *rapid.T) {
	k := h.pick(t)
	for _, by := range []string{"client", "dora", "emil"} {
		if k.facts.Sender == testKey(by).Public() {
			h.remove(k, h.deletion(k, by))
			return
		}
	}
}

func (h *history) Wait(t *rapid.T) {
	h.now += identity.UnixMilli(rapid.Uint64Range(1, uint64(simDay)).Draw(t, "ms"))
}

func (h *history) Purge(t *rapid.T) {
	k := h.pick(t)
	if !rapid.Bool().Draw(t, "really") {
		t.Skip()
	}
	h.expire()
	if !h.isLive(k) {
		return
	}
	if h.in.Purged == 0 {
		h.in.Purged = h.now
	}
	h.append(RowInput{Kind: RowPurge, Bytes: k.facts.Billable(), Receipt: k.receipt.Digest(), Record: k.facts.Digest, Accepted: k.accepted})
	h.closed(k, h.now)
}

func (h *history) Report(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		t.Skip()
	}
	h.expire()
	r := h.report()
	if n := len(h.reports); n > 1 {
		if err := CheckReport(&h.reports[n-2], r); err != nil {
			t.Fatal(err)
		}
	}
}

// Check holds after every step: what is owed stays within the funds, and what accepted
// records can still cost is always covered.
func (h *history) Check(t *rapid.T) {
	owed, err := h.account.Owed()
	if err != nil || owed != h.state.Owed || owed > h.account.Funds() {
		t.Fatalf("owed %d, by the log %d, funds %d: %v", owed, h.state.Owed, h.account.Funds(), err)
	}
	reserved, err := h.account.Reserved()
	if err != nil || owed+reserved > h.account.Funds() {
		t.Fatalf("owed %d and reserved %d, funds %d: %v", owed, reserved, h.account.Funds(), err)
	}
	var still Quantities
	for _, k := range h.live {
		q, err := recordWorst(k.facts, k.accepted, simUntil)
		if err != nil {
			t.Fatal(err)
		}
		q.Egress -= uint64(k.pulls) * k.facts.Stored
		if still, err = still.Add(q); err != nil {
			t.Fatal(err)
		}
		// what the record has used by the last row is no longer pledged
		used := Mul64(k.facts.Billable(), openSeconds(k.accepted, h.state.LastTime))
		if still.ByteSeconds, err = still.ByteSeconds.Sub(used); err != nil {
			t.Fatal(err)
		}
	}
	if still != h.account.Pledged {
		t.Fatalf("pledged %v, the live records need %v", h.account.Pledged, still)
	}
}

func TestHonestHistoryIsConfirmed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{sim: newSim(t)}
		h.in.Policy.AckDeadline = 1000 * simDay
		h.in.Policy.Contacts = map[identity.PublicKey]bool{testKey("bob").Public(): true, testKey("carol").Public(): true}
		t.Repeat(rapid.StateMachineActions(h))
		h.expire()
		if n := len(h.reports); n > 0 {
			h.in.Previous = &h.reports[n-1]
		}
		res := h.audit()
		if len(res.Refused) != 0 || res.ConfirmedMsat != h.state.Owed || res.Confirmed != h.state.Used() {
			t.Fatalf("%s%v, by the log %v", explain(res), res.Confirmed, h.state.Used())
		}
		if len(res.Rows) != len(h.rows) || res.Classes[ClassPending].Rows != uint64(len(h.open)) || res.Classes[ClassNoRow].Rows != 0 {
			t.Fatalf("%d rows, %v", len(h.rows), res.Classes)
		}
		again := h.reconcile()
		if !reflect.DeepEqual(res, again) {
			t.Fatal("the same input gives another result")
		}
		if _, err := CheckRows(simPrices, LogState{Epoch: 1}, h.rows, nil); err != nil {
			t.Fatal(err)
		}
		h.checkPages(t)
	})
}

// checkPages checks the log in two pages, as a client fetches it, and every row's inclusion.
func (h *history) checkPages(t *rapid.T) {
	at := rapid.IntRange(0, len(h.rows)).Draw(t, "page")
	accepted := map[identity.Digest]identity.UnixMilli{}
	var tree MemoryTree
	for _, e := range h.rows {
		r, err := DecodeRow(e.Row)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == RowWrite {
			accepted[r.Receipt] = r.Time
		}
		if err := tree.Append(e.Row); err != nil {
			t.Fatal(err)
		}
	}
	state, err := CheckRows(simPrices, LogState{Epoch: 1}, h.rows[:at], nil)
	if err != nil {
		t.Fatal(err)
	}
	state, err = CheckRows(simPrices, state, h.rows[at:], func(d identity.Digest) (identity.UnixMilli, bool) {
		ms, ok := accepted[d]
		return ms, ok
	})
	if err != nil || state != h.state {
		t.Fatal(err, state, h.state)
	}
	r := h.in.Report.UsageReport
	for i, e := range h.rows {
		p, err := ProveInclusion(tree.Size(), uint64(i), &tree)
		if err != nil || CheckInclusion(r, uint64(i), e.Row, p) != nil {
			t.Fatalf("row %d of %d is not included: %v", i, r.Size, err)
		}
		if CheckInclusion(r, uint64(i), append([]byte{1}, e.Row...), p) == nil {
			t.Fatal("another row is included")
		}
	}
}

func TestProvenStorageNeverPaysMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{sim: newSim(t)}
		t.Repeat(rapid.StateMachineActions(h))
		h.expire()
		all := h.audit()
		h.in.Policy.Storage = PayProven
		proven := h.reconcile()
		if proven.ConfirmedMsat > all.ConfirmedMsat || all.ConfirmedMsat > h.state.Owed {
			t.Fatalf("%d proven, %d in all, %d owed", proven.ConfirmedMsat, all.ConfirmedMsat, h.state.Owed)
		}
		if got := proven.Classes[ClassUnproven].Msat; proven.ConfirmedMsat+got+2 < all.ConfirmedMsat {
			t.Fatalf("%d proven and %d unproven are not %d", proven.ConfirmedMsat, got, all.ConfirmedMsat)
		}
	})
}

// The bytes of a tampered log never give a confirmed sum: any change under a signed head makes
// all rows ClassLog.
func TestTamperedLogConfirmsNothing(t *testing.T) {
	s := newSim(t)
	s.write(s.facts("client", "bob", 5000, simDay, 2, false))
	s.read(s.live[0])
	s.audit()
	rapid.Check(t, func(t *rapid.T) {
		in := s.in
		in.Rows = append([]RowEntry(nil), s.in.Rows...)
		i := rapid.IntRange(0, len(in.Rows)-1).Draw(t, "row")
		raw := append([]byte(nil), in.Rows[i].Row...)
		bit := rapid.IntRange(0, len(raw)*8-1).Draw(t, "bit")
		raw[bit/8] ^= 1 << (bit % 8)
		in.Rows[i].Row = raw
		res, err := Reconcile(in)
		if err != nil || res.ConfirmedMsat != 0 || refusedClasses(res) != "K" {
			t.Fatalf("%v %s", err, explain(res))
		}
	})
}
