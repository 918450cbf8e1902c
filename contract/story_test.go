package contract

import (
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/usage"
)

// The stories: a whole contract of two honest parties, every transaction run by the script engine.

func TestOpenPayThreeTimes(t *testing.T) {
	w := active(t)
	for _, p := range []usage.Sat{2_000, 5_000, 9_000} {
		w.pay(p)
	}
	for _, p := range []*party{w.client, w.relay} {
		if p.c.Paid() != 9_000 || p.c.Updates() != 4 || !p.c.Service() {
			t.Fatalf("%s: %+v", p.role, p.c.Summary())
		}
	}
	if w.client.c.Acknowledged() != 4 || w.client.c.Pending() != nil {
		t.Fatal("the last update is not acknowledged")
	}
	if w.client.c.ID() != w.relay.c.ID() || w.client.c.ID().IsZero() {
		t.Fatal("the sides name the contract differently")
	}
}

func TestCloseAskedByTheRelay(t *testing.T) {
	w := active(t)
	w.pay(9_000)
	w.do(w.relay, OfferClose{Amount: 9_500, FeeRate: 3_000, Key: w.relay.key, Stamp: w.stamp()})
	w.deliver()
	if p, ok := w.client.c.CloseOffered(); !ok || p != 9_500 {
		t.Fatalf("offered: %d %v", p, ok)
	}
	w.do(w.client, AcceptClose{Max: 9_500, Key: w.client.key})
	w.mine(1)
	w.wantStates(StateSettled, StateSettled)
	fee := FeeFor(3_000, settleWeight)
	if c, r := w.paidTo(w.client), w.paidTo(w.relay); c != 100_000-9_500 || r != 9_500-fee {
		t.Fatalf("client %d, relay %d", c, r)
	}
	w.finish(t, SpendClose)
}

func TestCloseAskedByTheClient(t *testing.T) {
	w := active(t)
	w.pay(9_000)
	w.relay.due = 9_200
	w.do(w.client, Close{Amount: 9_200, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	w.mine(1)
	fee := FeeFor(1_000, settleWeight)
	if c, r := w.paidTo(w.client), w.paidTo(w.relay); c != 100_000-9_200 || r != 9_200-fee {
		t.Fatalf("client %d, relay %d", c, r)
	}
	w.finish(t, SpendClose)
}

func TestRelaySettlesAndClientSweeps(t *testing.T) {
	w := active(t)
	w.pay(40_000)
	terms := w.relay.c.Terms()
	w.client.deaf = true
	w.mineTo(terms.ServiceUntil())
	w.wantStates(StateDraining, StateDraining)
	w.mineTo(terms.SettleFrom())
	if w.relay.c.State() != StateClosing || w.relay.acts[ForSettlement] != 1 {
		t.Fatalf("the relay is %s", w.relay.c.State())
	}
	w.mine(1) // confirms the settlement; the client now sweeps
	w.wantStates(StateSettled, StateSettled)
	w.mine(1) // confirms the sweep
	value := usage.Sat(60_000)
	if got := w.paidTo(w.client); got != value-FeeFor(2_000, sweepWeight) {
		t.Fatalf("swept %d", got)
	}
	if got := w.paidTo(w.relay); got != 40_000-FeeFor(1_000, settleWeight) {
		t.Fatalf("settled %d", got)
	}
	w.finish(t, SpendSettlement)
}

func TestClientRefundsAlone(t *testing.T) {
	w := active(t)
	terms := w.client.c.Terms()
	w.relay.c = Contract{} // the relay is gone for good
	w.mineTo(terms.Expiry - 1)
	if w.client.acts[ForRefund] != 0 {
		t.Fatal("a refund before its height")
	}
	w.wantCode(w.client, Refund{2_000, w.client.key}, 56)
	w.mine(1)
	if w.client.c.State() != StateRefunding || len(w.chain.pool) != 1 {
		t.Fatalf("the client is %s", w.client.c.State())
	}
	w.mine(1)
	if got := w.paidTo(w.client); got != 100_000-FeeFor(2_000, refundWeight) {
		t.Fatalf("refunded %d", got)
	}
	w.mine(25)
	if s, _, _ := w.client.c.Spend(); s.Kind != SpendRefund || w.client.c.State() != StateArchived {
		t.Fatalf("%+v", w.client.c.Summary())
	}
}

// finish mines to the end and checks it.
func (w *world) finish(t *testing.T, kind SpendKind) {
	t.Helper()
	w.mine(2)
	w.wantStates(StateClosed, StateClosed)
	w.mine(20)
	w.wantStates(StateArchived, StateArchived)
	for _, p := range []*party{w.client, w.relay} {
		s, _, ok := p.c.Spend()
		if !ok || s.Kind != kind || s.Client+s.Relay+s.Fee != p.c.Terms().Value {
			t.Fatalf("%s: %+v", p.role, s)
		}
	}
}

func TestFault18SettlementClimbs(t *testing.T) {
	w := active(t)
	w.pay(40_000)
	w.mineTo(w.relay.c.Terms().SettleFrom() - 1)
	nothing := func(*wire.MsgTx) bool { return false }
	var fees []int64
	for range 7 {
		w.tell(w.relay, w.chain.mine(nothing))
		fee, err := w.chain.fee(w.chain.pool[0])
		if late := w.chain.tip()+1 >= w.relay.c.Terms().Expiry; err != nil || (len(w.chain.pool) == 2) != late {
			t.Fatal(err, len(w.chain.pool), "a child is made in the last sixth and not before")
		}
		if len(fees) == 0 || fees[len(fees)-1] != fee {
			fees = append(fees, fee)
		}
	}
	want := []int64{204, 816, 3264}
	if len(fees) != 3 || fees[0] != want[0] || fees[1] != want[1] || fees[2] != want[2] {
		t.Fatalf("fees %v, wanted %v", fees, want)
	}
}

func TestRelaySettlesWhenItLikes(t *testing.T) {
	w := active(t)
	w.pay(5_000)
	w.do(w.relay, Settle{Key: w.relay.key})
	if w.relay.c.Service() || w.relay.c.State() != StateClosing {
		t.Fatal("service goes on")
	}
	w.mine(1)
	w.wantStates(StateSettled, StateSettled)
}

func TestPublishingWithoutTheRelay(t *testing.T) {
	w := newWorld(t)
	w.do(w.client, w.proposal())
	v := w.open(w.relay.inbox[0])
	w.relay.inbox = nil
	w.do(w.relay, w.acceptance(v))
	w.relay.deaf = true
	w.deliver()
	w.mine(3)
	if w.client.c.State() != StateSigned || len(w.client.c.Leases()) != 2 {
		t.Fatalf("the client is %s", w.client.c.State())
	}
	w.do(w.client, PublishFunding{})
	w.mine(3)
	if w.client.c.State() != StateActive || w.client.c.Leases() != nil {
		t.Fatalf("the client is %s", w.client.c.State())
	}
	w.mineTo(w.client.c.Terms().Expiry)
	w.mine(1)
	if w.paidTo(w.client) == 0 {
		t.Fatal("no refund")
	}
}

func TestFault09FundingReplaced(t *testing.T) {
	w := newWorld(t)
	w.do(w.client, w.proposal())
	w.deliver()
	w.wantStates(StateFunding, StateFunding)
	coin := w.client.c.coins[0]
	other := newTx(0)
	addInput(other, coin.OutPoint, spendSequence)
	addOutput(other, coin.Value-30_000, p2tr(seedKey("elsewhere")))
	other.TxIn[0].Witness = w.sign(w.client, SignFunding{Tx: other, Prevouts: map[wire.OutPoint]*wire.TxOut{coin.OutPoint: coin.txOut()}})[coin.OutPoint]
	if err := w.chain.accept(other); err != nil {
		t.Fatal(err)
	}
	w.mine(1)
	w.wantStates(StateFailed, StateFailed)
	w.chain.undo()
	for _, p := range []*party{w.client, w.relay} {
		w.do(p, BlockDisconnected{w.chain.tip() + 1})
	}
	w.wantStates(StateFunding, StateFunding)
}

func TestReorgOfTheFundingStopsService(t *testing.T) {
	w := active(t)
	for range 3 {
		w.chain.undo()
		for _, p := range []*party{w.client, w.relay} {
			w.do(p, BlockDisconnected{w.chain.tip() + 1})
		}
	}
	w.wantStates(StateFunding, StateFunding)
	w.wantCode(w.client, Pay{Amount: 5_000, Key: w.client.key, Stamp: w.stamp()}, 49)
	w.mine(3)
	w.wantStates(StateActive, StateActive)
}

func TestFault12SettlementReorgedOut(t *testing.T) {
	w := active(t)
	w.do(w.relay, Settle{Key: w.relay.key})
	w.mine(1)
	w.wantStates(StateSettled, StateSettled)
	w.chain.undo()
	for _, p := range []*party{w.client, w.relay} {
		w.do(p, BlockDisconnected{w.chain.tip() + 1})
	}
	w.wantStates(StateClosing, StateClosing)
	w.mine(2)
	if w.paidTo(w.client) == 0 {
		t.Fatal("no sweep after the reorg")
	}
}
