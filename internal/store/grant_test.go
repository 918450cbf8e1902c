package store

import (
	"fmt"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// dave has no contract; his shard is another one than his sponsor's.
var dave = person(40, 4)

// grant makes a grant of an account's contract.
func (w *world) grant(a AccountTerms, to identity.PublicKey, change func(*usage.AccountGrant)) GrantOp {
	w.t.Helper()
	g := usage.AccountGrant{
		Header: w.header(a.Payer, w.relay), Contract: a.Contract, Account: to, Terms: a.Terms, Prices: a.Prices,
		CapMsat: 1 << 40, DayMsat: 1 << 40, NotAfter: 1000,
	}
	if change != nil {
		change(&g)
	}
	v, err := usage.OpenAccountGrantVerified(w.signed(g.Encode()))
	w.must(err)
	return GrantOp{v}
}

func (w *world) revocation(from identity.PublicKey, grant identity.Digest) RevokeOp {
	w.t.Helper()
	v, err := usage.OpenAccountRevokeVerified(w.signed(usage.AccountRevoke{Header: w.header(from, w.relay), Grant: grant}.Encode()))
	w.must(err)
	return RevokeOp{v}
}

// orderUnder is an order by a grant, at most for a sum.
func (w *world) orderUnder(a AccountTerms, g GrantOp, most usage.Msat, recs ...records.Record) WriteOp {
	w.t.Helper()
	payer := a
	payer.Payer = g.Grant.Account
	op := w.order(payer, recs...)
	o := op.Order.StoreOrder
	o.Grant, o.MaxMsat = g.Grant.Digest(), most
	v, err := usage.OpenStoreOrderVerified(w.signed(o.Encode()))
	w.must(err)
	op.Order = v
	return op
}

// receiptOf reads a grant receipt.
func (w *world) receiptOf(o Outcome) usage.GrantReceipt {
	w.t.Helper()
	r, err := usage.DecodeGrantReceipt(o.Statement)
	w.must(err)
	return r
}

// checkLanes compares the lanes that a fresh report signs with the rows, and gives them.
func (w *world) checkLanes(a AccountTerms) map[identity.Digest]usage.LaneEntry {
	w.t.Helper()
	raw, err := w.r.MakeReport(ctx, w.now, a.Contract, Tip{})
	w.must(err)
	u, err := usage.DecodeUsageReport(raw)
	w.must(err)
	rows, more, err := w.r.Rows(ctx, a.Contract, RowsQuery{Limit: 1000})
	if w.must(err); more || uint64(len(rows)) != u.Size {
		w.t.Fatalf("%d rows of %d", len(rows), u.Size)
	}
	w.must(usage.CheckLanes(u, a.Prices, rows))
	ls, err := usage.LanesOf(rows)
	w.must(err)
	entries, err := ls.Entries(a.Prices)
	w.must(err)
	out := make(map[identity.Digest]usage.LaneEntry)
	for _, e := range entries {
		out[e.Grant] = e
	}
	return out
}

// A grant lets another key order, read, delete and be billed in its own lane, to the end of custody; its
// revocation ends new orders and nothing else.
func TestGrantedOrdersAreTheSponsorsLane(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(carol)
		w.fund(a)
		g := w.grant(a, dave, nil)
		first := w.record(draft{from: dave, to: bob, size: 5000, pulls: 3})
		w.refused(w.orderUnder(a, g, 1<<30, first), code.UnknownGrant)
		given := w.do(g)
		if r := w.receiptOf(given); r.RowIndex != 0 || r.Grant != g.Grant.Digest() || r.Order != r.Grant {
			t.Fatalf("%+v", r)
		}
		if again := w.do(g); !again.Repeat || string(again.Statement) != string(given.Statement) {
			t.Fatalf("%+v", again)
		}
		own := w.record(draft{from: carol, to: bob, size: 100})
		w.do(w.order(a, own))
		op := w.orderUnder(a, g, 1<<30, first, w.record(draft{from: dave, to: bob, size: 10}))
		w.do(op)
		if out := w.do(op); !out.Repeat {
			t.Fatal("the same order is charged again")
		}
		w.now += 100_000
		w.do(w.request(first))
		w.do(w.request(own))
		revoke := w.revocation(carol, g.Grant.Digest())
		ended := w.do(revoke)
		if r := w.receiptOf(ended); r.RowIndex != 4 || r.Order != revoke.Revoke.Digest() {
			t.Fatalf("%+v", r)
		}
		if again := w.do(revoke); !again.Repeat || string(again.Statement) != string(ended.Statement) {
			t.Fatalf("%+v", again)
		}
		w.refused(w.revocation(carol, g.Grant.Digest()), code.GrantRevoked)
		w.refused(w.orderUnder(a, g, 1<<30, w.record(draft{from: dave, to: bob})), code.GrantRevoked)
		w.do(w.request(first))
		w.do(w.deletion(first))
		lanes := w.checkLanes(a)
		lane := lanes[g.Grant.Digest()]
		if len(lanes) != 2 || lane.Egress != 2*first.StoredBytes() || lanes[identity.Digest{}].Egress != own.StoredBytes() {
			t.Fatalf("%+v", lanes)
		}
		w.laneSeen(a, g, lane)
		w.now += 3 * testHour
		w.expire()
		if after := w.checkLanes(a); after[g.Grant.Digest()].LiveBytes != 0 || after[g.Grant.Digest()].Owed <= lane.Owed {
			t.Fatalf("%+v", after)
		}
		w.allReleased(a)
		w.laneReleased(a, g)
	})
}

// laneReleased checks that nothing is pledged in a lane when nothing of it is kept.
func (w *world) laneReleased(a AccountTerms, g GrantOp) {
	w.t.Helper()
	v, err := w.r.Lane(ctx, g.Grant.Account, a.Contract, g.Grant.Digest(), 0, 1)
	w.must(err)
	if v.Reserved > 2 || v.Entry.LiveBytes != 0 { // two sums are rounded up
		w.t.Fatalf("%d bytes are kept in the lane, %d msat reserved", v.Entry.LiveBytes, v.Reserved)
	}
}

// laneSeen checks who sees a lane, and that it shows its own rows alone, in pages.
func (w *world) laneSeen(a AccountTerms, g GrantOp, want usage.LaneEntry) {
	w.t.Helper()
	_, err := w.r.Lane(ctx, bob, a.Contract, g.Grant.Digest(), 0, 100)
	w.fails(err, code.UnknownGrant)
	_, err = w.r.Lane(ctx, dave, a.Contract, identity.Digest{1}, 0, 100)
	w.fails(err, code.UnknownGrant)
	var kinds []usage.RowKind
	for from, more := uint64(0), true; more; {
		v, err := w.r.Lane(ctx, dave, a.Contract, g.Grant.Digest(), from, 2)
		w.must(err)
		if v.Entry.LiveBytes != want.LiveBytes || v.Entry.Egress != want.Egress || !v.Open {
			w.t.Fatalf("%+v, by the rows %+v", v.Entry, want)
		}
		for _, e := range v.Rows {
			r, err := usage.DecodeRow(e.Row)
			w.must(err)
			kinds, from = append(kinds, r.Kind), r.Index+1
		}
		more = v.More
	}
	if len(kinds) != 4 || kinds[0] != usage.RowWrite || kinds[1] != usage.RowRead || kinds[2] != usage.RowRead || kinds[3] != usage.RowDelete {
		w.t.Fatalf("rows of the lane: %v", kinds)
	}
}

func TestCapsOfGrants(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(carol)
		w.fund(a)
		record := func() records.Record {
			return w.record(draft{from: dave, to: bob, size: 100_000, id: fmt.Sprintf("r%03d", w.count)})
		}
		one := record()
		probe := w.order(a, one)
		_, cost, err := usage.CoverOrder(probe.Order.StoreOrder, []usage.RecordFacts{{
			Digest: one.Digest(), Stored: one.StoredBytes(), Expiry: one.Header().Expiry(), MaxPulls: one.Header().MaxPulls,
		}}, a.Prices, w.now, a.ServiceUntil)
		w.must(err)
		g := w.grant(a, dave, func(g *usage.AccountGrant) { g.CapMsat, g.DayMsat, g.NotBefore, g.NotAfter = 3*cost+1, 2*cost, 10, 20 })
		w.do(g)
		w.tip = 9
		w.refused(w.orderUnder(a, g, cost, record()), code.GrantNotYet)
		w.tip = 21
		w.refused(w.orderUnder(a, g, cost, record()), code.GrantExpired)
		w.tip = 20
		w.refused(w.orderUnder(a, g, 2*cost+1, record()), code.LaneDayCap)
		w.do(w.orderUnder(a, g, cost, one))
		w.do(w.orderUnder(a, g, cost, record()))
		w.refused(w.orderUnder(a, g, cost, record()), code.LaneDayCap)
		w.now += 20 * testHour // two records have ended, and cost less than they could have
		third := record()
		w.do(w.orderUnder(a, g, cost, third))
		w.now += 24 * testHour
		w.do(w.orderUnder(a, g, cost, record()))
		w.do(w.orderUnder(a, g, cost, w.record(draft{from: dave, to: bob, size: 10})))
		w.checkLanes(a)
		small := w.grant(a, dave, func(g *usage.AccountGrant) { g.CapMsat = cost - 1 })
		w.do(small)
		w.refused(w.orderUnder(a, small, cost, record()), code.LaneCap)
		w.close()
		w.open()
		w.refused(w.orderUnder(a, small, cost, record()), code.LaneCap)
	})
}

func TestGrantsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(carol)
		w.fund(a)
		w.fund(w.contract(alice))
		for want, change := range map[code.Code]func(*usage.AccountGrant){
			code.ContractUnknown: func(g *usage.AccountGrant) { g.From = alice },
			code.TermsMismatch:   func(g *usage.AccountGrant) { g.Terms[3]++ },
			code.WrongRecipient:  func(g *usage.AccountGrant) { g.To = bob },
			code.WrongNetwork:    func(g *usage.AccountGrant) { g.Network = identity.Mainnet },
		} {
			w.refused(w.grant(a, dave, change), want)
		}
		w.refused(w.grant(a, dave, func(g *usage.AccountGrant) { g.Prices.EgressMsatPerGiB-- }), code.TermsMismatch)
		g := w.grant(a, dave, nil)
		w.do(g)
		w.refused(w.revocation(alice, g.Grant.Digest()), code.UnknownGrant)
		w.refused(w.revocation(person(carol[0], 99), g.Grant.Digest()), code.UnknownGrant)
		w.refused(w.revocation(carol, identity.Digest{1}), code.UnknownGrant)
		other := w.grant(a, bob, nil)
		w.do(other)
		stolen := w.orderUnder(a, g, 1<<30, w.record(draft{from: dave, to: bob}))
		o := stolen.Order.StoreOrder
		o.Grant = other.Grant.Digest()
		var err error
		stolen.Order, err = usage.OpenStoreOrderVerified(w.signed(o.Encode()))
		w.must(err)
		w.refused(stolen, code.UnknownGrant)
		w.refused(w.order(AccountTerms{Contract: a.Contract, Terms: a.Terms, Payer: person(carol[0], 98)}, w.record(draft{from: dave, to: bob})), code.Forbidden)
	})
}

// A relay keeps so many grants of one contract, and no more.
func TestTooManyGrants(t *testing.T) {
	w := newWorld(t, nil)
	a := w.contract(carol)
	w.fund(a)
	for range usage.MaxGrants / 512 {
		var ops []Op
		for range 512 {
			ops = append(ops, w.grant(a, dave, nil))
		}
		for _, o := range w.apply(ops...) {
			w.must(o.Err)
		}
	}
	w.refused(w.grant(a, dave, nil), code.TooManyGrants)
	w.close()
}
