package store

import (
	"bytes"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

func TestWriteReadDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: bob, id: "one", size: 150_000, pulls: 2, tag: "t"})
		out := w.do(w.order(a, r))
		rec, err := usage.DecodeReceipt(out.Statement)
		w.must(err)
		if rec.To != alice || rec.StoredBytes != r.StoredBytes()+256 || rec.HomeShard != 10 || rec.RowIndex != 0 {
			t.Fatalf("receipt %+v", rec)
		}
		if len(out.Arrived) != 1 || out.Arrived[0].Receiver != bob || out.Arrived[0].Row.Arrival != rec.Arrival {
			t.Fatalf("arrived %+v", out.Arrived)
		}
		in := w.inbox(bob)
		if len(in) != 1 || in[0].Digest != r.Digest() || in[0].ID != "one" || in[0].PullsLeft != 2 || string(in[0].Tag) != "t" {
			t.Fatalf("inbox %+v", in)
		}
		w.now += 5_000
		q := w.request(r)
		got := w.do(q)
		w.checkContent(got.Grant, r)
		if in := w.inbox(bob); in[0].PullsLeft != 1 {
			t.Fatalf("pulls left %d", in[0].PullsLeft)
		}
		w.do(w.ack(q, r, usage.VerdictOK))
		w.now += 5_000
		d := w.deletion(r)
		del := w.do(d)
		if again := w.do(d); !again.Repeat || !bytes.Equal(again.Statement, del.Statement) {
			t.Fatal("a repeated delete gets another receipt")
		}
		if len(w.inbox(bob)) != 0 {
			t.Fatal("a deleted record is listed")
		}
		w.denied(w.request(r), usage.ReasonDeleted, d.Delete.Digest())
		w.refused(w.order(a, w.record(draft{from: alice, to: bob, id: "one", size: 3})), code.TombstoneExists)
		w.logKinds(a, usage.RowWrite, usage.RowRead, usage.RowDelete)
		w.allReleased(a)
	})
}

func (w *world) checkContent(g *Grant, r records.Record) {
	w.t.Helper()
	if g == nil || !g.Header.Equal(r.Signed()) || int(g.Size) != len(r.Content()) {
		w.t.Fatalf("granted %+v", g)
	}
	for _, c := range [][2]int{{0, len(r.Content())}, {0, 1}, {4096, 70_000}, {pieceSize - 1, 2}, {len(r.Content()) - 1, 9}} {
		if c[0] >= len(r.Content()) {
			continue
		}
		b, err := w.r.Content(ctx, g, uint32(c[0]), c[1])
		w.must(err)
		if want := r.Content()[c[0]:min(c[0]+c[1], len(r.Content()))]; !bytes.Equal(b, want) {
			w.t.Fatalf("content at %v differs", c)
		}
	}
}

// denied applies a request that must be denied; a zero digest stands for any evidence.
func (w *world) denied(q ReadOp, reason usage.Reason, evidence ...identity.Digest) usage.Denial {
	w.t.Helper()
	out := w.do(q)
	if out.Statement == nil {
		w.t.Fatalf("granted, want %v", reason)
	}
	d, err := usage.DecodeDenial(out.Statement)
	w.must(err)
	w.must(d.Answers(q.Request))
	if d.Reason != reason || len(d.Evidence) != len(evidence) {
		w.t.Fatalf("denied %v with %d digests, want %v with %d", d.Reason, len(d.Evidence), reason, len(evidence))
	}
	for i, e := range evidence {
		if !e.IsZero() && d.Evidence[i] != e {
			w.t.Fatalf("evidence %d is another", i)
		}
	}
	return d
}

func (w *world) logKinds(a AccountTerms, kinds ...usage.RowKind) []usage.Row {
	w.t.Helper()
	rows := w.rows(a)
	if len(rows) != len(kinds) {
		w.t.Fatalf("%d rows, want %d", len(rows), len(kinds))
	}
	for i, k := range kinds {
		if rows[i].Kind != k {
			w.t.Fatalf("row %d is %v, want %v", i, rows[i].Kind, k)
		}
	}
	return rows
}

// allReleased checks that nothing is held back when nothing is kept.
func (w *world) allReleased(a AccountTerms) {
	w.t.Helper()
	l, err := w.r.loadLedger(ctx, accountRef{shardOf(a.Payer), w.r.nums.of(a.Contract)})
	w.must(err)
	if !l.pledged.IsZero() || l.log.Live != 0 {
		w.t.Fatalf("%+v are pledged and %d bytes live", l.pledged, l.log.Live)
	}
}

func TestSameOrderSameReceipt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		op := w.order(a, w.record(draft{from: alice, to: bob, size: 10}), w.record(draft{from: alice, to: bob, size: 20}))
		outs := w.apply(op, op)
		w.must(outs[0].Err)
		w.must(outs[1].Err)
		if !bytes.Equal(outs[0].Statement, outs[1].Statement) || !outs[1].Repeat {
			t.Fatal("the same order in one batch has two receipts")
		}
		w.now += 3_000
		if out := w.do(op); !out.Repeat || !bytes.Equal(out.Statement, outs[0].Statement) || out.Arrived != nil {
			t.Fatal("a repeated order has another receipt")
		}
		again := w.order(a, op.Records...)
		if out := w.do(again); !out.Repeat || !bytes.Equal(out.Statement, outs[0].Statement) {
			t.Fatal("the same records under a new order are charged again")
		}
		w.refused(w.order(a, op.Records[0], w.record(draft{from: alice, to: bob})), code.Conflict)
		w.refused(WriteOp{Order: op.Order, Records: op.Records[:1]}, code.OrderMismatch)
		other := w.contract(carol)
		w.fund(other)
		w.refused(w.order(other, op.Records...), code.Conflict)
		w.logKinds(a, usage.RowWrite)
	})
}

func TestFirstWriteWins(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		outs := w.apply(
			w.order(a, w.record(draft{from: alice, to: bob, id: "x", size: 1})),
			w.order(a, w.record(draft{from: alice, to: bob, id: "x", size: 2})),
		)
		w.must(outs[0].Err)
		w.fails(outs[1].Err, code.Conflict)
		w.refused(w.order(a, w.record(draft{from: alice, to: bob, id: "x", size: 3})), code.Conflict)
		w.do(w.order(a, w.record(draft{from: alice, to: carol, id: "x", size: 3})))
	})
}

func TestSponsoredRecordClaimsThePathOfItsSender(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, c := w.contract(alice), w.contract(carol)
		w.fund(a)
		w.fund(c)
		r := w.record(draft{from: alice, to: bob, id: "s", size: 100})
		out := w.do(w.order(c, r))
		rec, err := usage.DecodeReceipt(out.Statement)
		w.must(err)
		if rec.HomeShard != uint16(carol[0]) {
			t.Fatalf("home %d", rec.HomeShard)
		}
		w.refused(w.order(a, w.record(draft{from: alice, to: bob, id: "s", size: 9})), code.Conflict)
		q := w.request(r)
		q.Home = 99 // a wrong hint costs a search only
		w.do(q)
		w.logKinds(c, usage.RowWrite, usage.RowRead)
		w.logKinds(a)
		if out, err := w.r.Outbox(ctx, alice, 0, 0, 10); err != nil || len(out.Rows) != 1 {
			t.Fatalf("outbox %v %v", out, err)
		}
		w.now += 10 * testHour
		w.expire()
		w.do(w.order(a, w.record(draft{from: alice, to: bob, id: "s", size: 9})))
	})
}

func (w *world) expire() int {
	w.t.Helper()
	n, err := w.r.Expire(ctx, w.now)
	w.must(err)
	return n
}

func TestRequestIsOnePull(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: bob, size: 10_000, pulls: 2})
		w.do(w.order(a, r))
		q := w.request(r)
		w.do(q)
		w.close()
		w.open()
		if out := w.do(q); !out.Repeat || out.Grant == nil {
			t.Fatalf("again: %+v", out)
		}
		w.refused(q, code.RequestReused)
		w.logKinds(a, usage.RowWrite, usage.RowRead)
		resumed := w.request(r)
		resumed.Offset = 8192
		w.do(resumed)
		w.do(resumed)
		rows := w.logKinds(a, usage.RowWrite, usage.RowRead, usage.RowRead)
		third, fourth := w.request(r), w.request(r)
		d := w.deniedCap(third)
		w.deniedCap(fourth)
		if out := w.do(third); !out.Repeat {
			t.Fatal("a denial is not repeated")
		}
		for _, row := range rows[1:] {
			raw, err := row.Encode()
			w.must(err)
			var tree usage.MemoryTree
			w.must(tree.Append(raw))
			leaf, err := usage.TreeRoot(1, &tree)
			w.must(err)
			if d.Evidence[0] != leaf && d.Evidence[1] != leaf {
				t.Fatal("a row that used a pull is not named")
			}
		}
	})
}

func (w *world) deniedCap(q ReadOp) usage.Denial {
	w.t.Helper()
	d, err := usage.DecodeDenial(w.do(q).Statement)
	w.must(err)
	if d.Reason != usage.ReasonCap || len(d.Evidence) != 2 {
		w.t.Fatalf("denied %v with %d digests", d.Reason, len(d.Evidence))
	}
	return d
}

func TestCapWithinOneBatchNamesItsRows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: bob, size: 10, pulls: 1})
		outs := w.apply(w.order(a, r), w.request(r), w.request(r))
		if outs[1].Grant == nil || outs[2].Grant != nil {
			t.Fatalf("%+v", outs)
		}
		d, err := usage.DecodeDenial(outs[2].Statement)
		w.must(err)
		if d.Reason != usage.ReasonCap || len(d.Evidence) != 1 {
			t.Fatalf("%+v", d)
		}
	})
}

func TestDenials(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: bob, size: 10})
		unshown := w.request(r)
		unshown.Entitled = false
		w.refused(unshown, code.NotFound)
		before := w.denied(w.request(r), usage.ReasonNone)
		out := w.do(w.order(a, r))
		rec, err := usage.DecodeReceipt(out.Statement)
		w.must(err)
		if before.AsOf >= rec.Arrival {
			t.Fatal("a denial from before the write looks like a loss")
		}
		stranger := w.request(r)
		stranger.Request.From = carol
		w.refused(stranger, code.NotFound)
		a.State = AccountSuspended
		w.fund(a)
		w.denied(w.request(r), usage.ReasonSuspended)
		a.State = AccountActive
		w.fund(a)
		unshown = w.request(r)
		unshown.Entitled = false
		w.do(unshown) // who the receiver is of what is here is known
		small := w.request(r)
		small.Request.MaxBytes = 5
		w.refused(small, code.TooLarge)
		w.now += 2 * testHour
		w.denied(w.request(r), usage.ReasonExpired)
		w.expire()
		w.denied(w.request(r), usage.ReasonExpired)
		w.now += 2 * testHour
		if n := w.expire(); n != 1 {
			t.Fatalf("%d records removed", n)
		}
		last := w.denied(w.request(r), usage.ReasonNone)
		if last.AsOfMs < r.Header().Expiry() {
			t.Fatal("a denial after the end looks like a loss")
		}
		w.logKinds(a, usage.RowWrite, usage.RowRead, usage.RowExpire)
		w.allReleased(a)
	})
}

func TestFundsRule(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		a.Paid, a.Credit = a.ContractPrice, 0
		w.fund(a)
		op := w.order(a, w.record(draft{from: alice, to: bob, size: 1000}))
		w.refused(op, code.NoFunds)
		a.Paid = a.Value
		w.fund(a)
		w.do(op)
		acc, err := w.r.Account(ctx, a.Contract)
		w.must(err)
		rec, err := usage.DecodeReceipt(w.do(op).Statement)
		w.must(err)
		if acc.Reserved != rec.WorstMsat || acc.Owed != 0 {
			t.Fatalf("reserved %d, receipt says %d", acc.Reserved, rec.WorstMsat)
		}
		cheap := w.order(a, w.record(draft{from: alice, to: bob, size: 1000}))
		cheap.Order.MaxMsat = 1
		w.refused(cheap, code.OrderMismatch)
		lower := a
		lower.Paid--
		_, err = w.r.SaveContracts(ctx, ContractBatch{Rows: []ContractRow{{Account: &lower}}})
		w.fails(err, code.PaymentTooLow)
		foreign := w.order(a, w.record(draft{from: alice, to: bob}))
		foreign.Order.Contract[5] = 1
		w.refused(foreign, code.ContractUnknown)
	})
}

func TestFreeAllowance(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		free := AccountTerms{Payer: alice}
		r := w.record(draft{from: alice, to: bob, size: 20_000, pulls: 1, flags: records.DeleteOnAck})
		w.do(w.order(free, r))
		w.refused(w.order(free, w.record(draft{from: alice, to: bob, size: 20_000, pulls: 3})), code.AllowanceUsed)
		used, err := w.r.FreeUsed(ctx, alice, w.now)
		w.must(err)
		if want := 2*r.StoredBytes() + 256; used != want {
			t.Fatalf("%d bytes used, want %d", used, want)
		}
		q := w.request(r)
		w.checkContent(w.do(q).Grant, r)
		next := w.request(r)
		d := w.denied(next, usage.ReasonCap, q.Request.Digest())
		if d.Evidence[0] != q.Request.Digest() {
			t.Fatal("the pull is not named")
		}
		if out := w.do(w.ack(q, r, usage.VerdictOK)); out.Statement == nil {
			t.Fatal("delete_on_ack did not delete")
		}
		w.now += 24 * testHour
		w.expire()
		w.do(w.order(free, w.record(draft{from: alice, to: bob, size: 20_000, pulls: 3})))
	})
}

func TestDeleteOnAck(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: bob, size: 10, flags: records.DeleteOnAck})
		bad := w.record(draft{from: alice, to: bob, size: 10, flags: records.DeleteOnAck})
		w.do(w.order(a, r, bad))
		q, qBad := w.request(r), w.request(bad)
		w.apply(q, qBad)
		if out := w.do(w.ack(qBad, bad, usage.VerdictBad)); out.Statement != nil {
			t.Fatal("BAD deletes")
		}
		w.refused(w.ack(qBad, r, usage.VerdictOK), code.NotFound)
		op := w.ack(q, r, usage.VerdictOK)
		out := w.do(op)
		d, err := usage.DecodeDeleteReceipt(out.Statement)
		w.must(err)
		if d.To != alice || d.Order != op.Ack.Digest() || d.Record != r.Digest() {
			t.Fatalf("%+v", d)
		}
		if again := w.do(op); !again.Repeat || !bytes.Equal(again.Statement, out.Statement) {
			t.Fatal("a repeated acknowledgement has another answer")
		}
		w.refused(w.ack(q, r, usage.VerdictBad), code.Conflict)
		rows, _, err := w.r.Rows(ctx, a.Contract, RowsQuery{Limit: 10})
		w.must(err)
		if len(rows) != 4 || rows[1].Ack == nil || rows[2].Ack == nil || rows[0].Ack != nil {
			t.Fatalf("acknowledgements are not beside their rows")
		}
	})
}

func TestClockGuard(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: bob, size: 10, ttl: 90_000})
		w.do(w.order(a, r))
		op := func() WriteOp { return w.order(a, w.record(draft{from: alice, to: bob, ttl: 90_000})) }
		w.now -= 50_000
		w.do(op())
		w.now -= 20_000
		w.refused(op(), code.ClockWrong)
		w.now = testStart + 25*testHour
		w.refused(op(), code.ClockWrong)
		if _, err := w.r.Expire(ctx, w.now); code.Of(err) != code.ClockWrong {
			t.Fatalf("a wrong clock expires records: %v", err)
		}
		w.close()
		w.open()
		w.refused(op(), code.ClockWrong)
		w.must(w.r.ConfirmClock(ctx, w.now))
		w.do(op())
		w.must(w.r.ConfirmClock(ctx, w.now-10*testHour))
		w.now -= 10 * testHour
		w.refused(op(), code.Expired) // this log goes on when the clock is there again
		if d := w.denied(w.request(r), usage.ReasonExpired); d.AsOfMs < r.Header().Expiry() {
			t.Fatalf("denied as expired at %d, its custody ends at %d", d.AsOfMs, r.Header().Expiry())
		}
		c := w.contract(carol)
		w.fund(c)
		w.do(w.order(c, w.record(draft{from: alice, to: bob})))
		w.rows(a)
	})
}

func TestDiskReserve(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: bob, size: 10})
		w.do(w.order(a, r))
		w.r.options.FreeDisk = func() (uint64, error) { return DiskReserve + 100, nil }
		w.refused(w.order(a, w.record(draft{from: alice, to: bob, size: 10})), code.DiskReserve)
		w.do(w.request(r))
		w.do(w.deletion(r))
		a.Paid++
		w.fund(a)
	})
}

func TestLimitsOfOrders(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		old := w.record(draft{from: alice, to: bob, ttl: 3600})
		future := w.order(a, w.record(draft{from: alice, to: bob}))
		future.Order.NotAfter = w.now + 400*24*testHour
		w.refused(future, code.TooLarge)
		w.now += 1000
		w.refused(w.order(a, old), code.Expired)
		late := w.order(a, w.record(draft{from: alice, to: bob}))
		late.Order.NotAfter = w.now - 1
		w.refused(late, code.Expired)
		foreign := w.order(a, w.record(draft{from: alice, to: bob}))
		foreign.Order.To = bob
		w.refused(foreign, code.WrongRecipient)
		foreign.Order.To, foreign.Order.Network = w.relay, identity.Mainnet
		w.refused(foreign, code.WrongNetwork)
		terms := w.order(a, w.record(draft{from: alice, to: bob}))
		terms.Order.Terms[9]++
		w.refused(terms, code.TermsMismatch)
		w.now += 1001 * testHour
		w.must(w.r.ConfirmClock(ctx, w.now))
		w.refused(w.order(a, w.record(draft{from: alice, to: bob})), code.Expired)
	})
}
