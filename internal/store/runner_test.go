package store

import (
	"bytes"
	"testing"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

func TestContractStepsAreAtomic(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, c := w.contract(alice), w.contract(carol)
		effects, err := w.r.SaveContracts(ctx, ContractBatch{
			Rows:    []ContractRow{{Nonce: [32]byte{1}, Row: []byte("one"), Account: &a}, {Nonce: [32]byte{2}, Row: []byte("two"), Account: &c}},
			Effects: []Pending{{Nonce: [32]byte{1}, Data: []byte("broadcast")}, {Nonce: [32]byte{2}, To: carol, Data: []byte("message")}},
			Cursor:  []byte("block 7"),
		})
		w.must(err)
		if len(effects) != 2 || effects[0].Seq >= effects[1].Seq {
			t.Fatalf("%+v", effects)
		}
		bad := a
		bad.Prices.EgressMsatPerGiB++
		_, err = w.r.SaveContracts(ctx, ContractBatch{
			Rows: []ContractRow{{Nonce: [32]byte{1}, Row: []byte("bad"), Account: &bad}}, Cursor: []byte("block 8"),
		})
		w.fails(err, code.Conflict)
		w.close()
		w.open()
		row, err := w.r.Contract(ctx, [32]byte{1})
		w.must(err)
		cursor, err := w.r.ChainCursor(ctx)
		w.must(err)
		if string(row) != "one" || string(cursor) != "block 7" {
			t.Fatalf("a refused step left %q %q", row, cursor)
		}
		pending, err := w.r.PendingEffects(ctx)
		w.must(err)
		if len(pending) < 2 || string(pending[0].Data) != "broadcast" || pending[1].To != carol {
			t.Fatalf("%+v", pending)
		}
		var done []uint64
		for _, p := range pending {
			done = append(done, p.Seq)
		}
		next, err := w.r.SaveContracts(ctx, ContractBatch{Done: done, Effects: []Pending{{Data: []byte("x")}}})
		w.must(err)
		if next[0].Seq <= done[len(done)-1] {
			t.Fatalf("the number %d was used before", next[0].Seq)
		}
		all, err := w.r.Contracts(ctx)
		w.must(err)
		if len(all) != 2 || !bytes.Equal(all[1].Row, []byte("two")) {
			t.Fatalf("%+v", all)
		}
		accounts, err := w.r.Accounts(ctx, carol)
		w.must(err)
		if len(accounts) != 1 || accounts[0].AccountTerms != c {
			t.Fatalf("%+v", accounts)
		}
	})
}

func TestOfferSequenceAndBoard(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		last := uint64(0)
		for range 5 {
			n, err := w.r.NextOfferSequence(ctx)
			w.must(err)
			if n <= last {
				t.Fatalf("sequence %d after %d", n, last)
			}
			last = n
			w.close()
			w.open()
		}
		w.must(w.r.SaveBoard(ctx, []BoardOffer{{alice, 5, []byte("a")}, {bob, 6, []byte("b")}}, nil))
		w.must(w.r.SaveBoard(ctx, []BoardOffer{{bob, 7, []byte("c")}}, nil))
		all, err := w.r.Board(ctx)
		w.must(err)
		if len(all) != 2 || all[1].Expires != 7 || string(all[1].Offer) != "c" {
			t.Fatalf("%+v", all)
		}
	})
}

func TestReportsChain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := &history{world: w}
		a := w.contract(alice)
		w.fund(a)
		_, err := w.r.Report(ctx, a.Contract)
		w.fails(err, code.NotFound)
		var prev *usage.VerifiedUsageReport
		for i := range 5 {
			body, err := w.r.MakeReport(ctx, w.now, a.Contract, Tip{Height: 5, Hash: [32]byte{byte(i)}})
			w.must(err)
			same, err := w.r.MakeReport(ctx, w.now, a.Contract, Tip{Height: 6})
			w.must(err)
			latest, err := w.r.Report(ctx, a.Contract)
			w.must(err)
			if !bytes.Equal(body, same) || !bytes.Equal(body, latest) {
				t.Fatal("a second report although nothing happened")
			}
			r := h.openReport(body)
			w.must(usage.CheckReport(prev, *r))
			if r.Number != uint64(i+1) || r.Size != uint64(i) || r.To != alice {
				t.Fatalf("%+v", r.UsageReport)
			}
			rec := w.record(draft{from: alice, to: bob, size: i})
			w.do(w.order(a, rec))
			prev = r
			w.now += 1000
		}
	})
}
