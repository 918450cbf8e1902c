package contract

import (
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// apply is Apply with the effects, without performing them.
func (w *world) apply(p *party, e Event) []Effect {
	w.t.Helper()
	next, effects, err := p.c.Apply(e)
	if err != nil {
		w.t.Fatalf("%T: %v", e, err)
	}
	w.transition(p.role, p.c.State(), next.State(), e)
	p.c = next
	return effects
}

// only filters effects by kind.
func only[E Effect](effects []Effect) []E {
	var out []E
	for _, e := range effects {
		if x, ok := e.(E); ok {
			out = append(out, x)
		}
	}
	return out
}

func (w *world) block(p *party, h usage.Height, txs ...*wire.MsgTx) BlockConnected {
	return BlockConnected{Height: h, Txs: txs, Key: p.key, FeeRate: 1_000, Stamp: w.stamp()}
}

func TestFault01OpeningTimesOut(t *testing.T) {
	w, s := proposed(t)
	w.do(w.relay, w.acceptance(w.open(s)))
	for _, p := range []*party{w.client, w.relay} {
		if e := w.apply(p, BlockConnected{Height: startHeight + 5}); len(e) != 0 {
			t.Fatalf("%s: %v after five blocks", p.role, e)
		}
		e := w.apply(p, BlockConnected{Height: startHeight + 6})
		if p.c.State() != StateAborted || len(only[Forget](e)) != 1 {
			t.Fatalf("%s is %s: %v", p.role, p.c.State(), e)
		}
		if r := only[Release](e); (p.role == Client) != (len(r) == 1 && len(r[0].Coins) == 2) {
			t.Fatalf("%s: %v", p.role, r)
		}
	}
}

func TestNoSignatureWhenTheRelayMayHaveGone(t *testing.T) {
	w, s := answered(t)
	e := w.apply(w.client, w.event(w.client, w.open(s)))
	sign := only[SignFunding](e)[0]
	w.do(w.client, BlockConnected{Height: startHeight + 3})
	w.wantCode(w.client, SignedFunding{w.sign(w.client, sign), w.client.key, w.stamp()}, code.BadDeadline)
}

func TestAbortFreesBoth(t *testing.T) {
	w, s := proposed(t)
	w.do(w.relay, w.acceptance(w.open(s)))
	w.client.inbox = nil
	w.do(w.relay, GiveUp{Code: code.NoCapacity, Text: "no room", Stamp: w.stamp()})
	e := w.apply(w.client, w.event(w.client, w.open(w.client.inbox[0])))
	w.wantStates(StateAborted, StateAborted)
	if len(only[Release](e)) != 1 || len(only[Forget](e)) != 1 {
		t.Fatal(e)
	}
}

func TestNoAbortAfterASignature(t *testing.T) {
	w, _ := countersigned(t)
	w.wantCode(w.client, GiveUp{Code: code.Declined, Stamp: w.stamp()}, code.BadState)
	w.do(w.relay, GiveUp{Code: code.NoCapacity, Stamp: w.stamp()})
	w.wantCode(w.client, w.event(w.client, w.open(w.client.inbox[0])), code.BadState)
	if len(w.client.c.Leases()) != 2 {
		t.Fatal("coins are free although their signatures are out")
	}
}

func TestCancelBringsTheCoinsBack(t *testing.T) {
	for _, published := range []bool{false, true} {
		w, s := countersigned(t)
		if published {
			w.do(w.relay, w.event(w.relay, w.open(s)))
			w.deliver()
		}
		w.do(w.client, CancelFunding{9_000})
		if w.client.c.State() != StateCancelling || len(w.chain.pool) != 1 {
			t.Fatalf("the client is %s", w.client.c.State())
		}
		w.mine(1)
		if w.client.c.State() != StateFailed || w.paidTo(w.client) < 145_000 || w.client.c.Leases() != nil {
			t.Fatalf("the client is %s and has %d", w.client.c.State(), w.paidTo(w.client))
		}
		w.mine(20)
		if !w.client.c.Forgettable() {
			t.Fatal("not forgotten")
		}
	}
	w := active(t)
	w.wantCode(w.client, CancelFunding{9_000}, code.BadState)
}

func TestRelayForgetsWhatIsNeverFunded(t *testing.T) {
	w, s := countersigned(t)
	w.chain.base = map[wire.OutPoint]*wire.TxOut{}
	w.do(w.relay, w.event(w.relay, w.open(s)))
	e := w.apply(w.relay, w.block(w.relay, startHeight+60))
	if w.relay.c.State() != StateFailed || len(only[Forget](e)) != 1 || len(only[Broadcast](e)) != 0 {
		t.Fatalf("the relay is %s: %v", w.relay.c.State(), e)
	}
}

func TestKeysAreMissedAtTheFirstBlock(t *testing.T) {
	w := active(t)
	for _, p := range []*party{w.client, w.relay} {
		e := w.block(p, w.chain.tip()+1)
		e.Key = nil
		w.wantCode(p, e, code.BadKey)
		e.Key = w.other(p).key
		w.wantCode(p, e, code.BadKey)
	}
}

func TestWatchesAndAccount(t *testing.T) {
	w, s := countersigned(t)
	e := w.apply(w.relay, w.event(w.relay, w.open(s)))
	if got := len(only[Watch](e)); got != 4 { // funding, escrow, two coins
		t.Fatalf("%d watches", got)
	}
	f := only[Expose](e)
	if len(f) != 1 || f[0].Funds.Paid != 1_600 || f[0].Funds.Service || f[0].Funds.Contract != w.client.c.ID() {
		t.Fatalf("%+v", f)
	}
	tx := w.relay.c.FundingTx()
	e = w.apply(w.relay, w.block(w.relay, startHeight+1, tx))
	if len(only[Send](e)) != 1 {
		t.Fatal("the relay confirms the opening when it first sees the funding in a block")
	}
	w.apply(w.relay, w.block(w.relay, startHeight+2))
	e = w.apply(w.relay, w.block(w.relay, startHeight+3))
	if f := only[Expose](e); len(f) != 1 || !f[0].Funds.Service || f[0].Funds.ServiceUntil != startHeight+48 {
		t.Fatalf("%+v", f)
	}
	if e := w.apply(w.relay, w.block(w.relay, startHeight+3)); len(e) != 0 {
		t.Fatalf("the same block again: %v", e)
	}
	if e := w.apply(w.relay, w.block(w.relay, startHeight+1, tx)); len(e) != 0 {
		t.Fatalf("an old block again: %v", e)
	}
}

func TestResumeRepeatsWhatIsPending(t *testing.T) {
	w := active(t)
	w.relay.deaf = true
	w.do(w.client, Pay{Amount: 5_000, Key: w.client.key, Stamp: w.stamp()})
	w.wantCode(w.client, Pay{Amount: 6_000, Key: w.client.key, Stamp: w.stamp()}, code.Busy)
	w.relay.deaf = false
	w.perform(w.client, w.client.c.Resume())
	w.deliver()
	if w.relay.c.Paid() != 5_000 || w.client.c.Acknowledged() != 2 || w.client.c.Pending() != nil {
		t.Fatalf("%+v", w.relay.c.Summary())
	}
	w, s := answered(t)
	w.apply(w.client, w.event(w.client, w.open(s)))
	if len(only[SignFunding](w.client.c.Resume())) != 1 {
		t.Fatal("the wallet is not asked again")
	}
}

// TestLostAnswers: the confirmation of the opening is lost, then a request overtakes its repetition.
func TestLostAnswers(t *testing.T) {
	w, s := countersigned(t)
	w.client.deaf = true
	w.do(w.relay, w.event(w.relay, w.open(s)))
	w.mine(3)
	w.client.deaf = false
	w.do(w.relay, AskPayment{Amount: 3_000, Stamp: w.stamp()})
	w.deliver()
	w.wantCode(w.client, Pay{Amount: 3_000, Key: w.client.key, Stamp: w.stamp()}, code.Busy)
	w.perform(w.client, w.client.c.Resume())
	w.deliver()
	w.pay(3_000)

	w.client.deaf = true
	w.do(w.client, Pay{Amount: 4_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver() // the relay has it, its answer is lost
	w.client.deaf = false
	w.do(w.relay, OfferClose{Amount: 4_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.deliver()
	w.perform(w.client, w.client.c.Resume())
	w.deliver()
	if w.client.c.Acknowledged() != 3 {
		t.Fatal("a late answer is not taken")
	}
	w.do(w.client, AcceptClose{Max: 4_000, Key: w.client.key})
}

func TestBothCloseAtOnce(t *testing.T) {
	w := active(t)
	w.pay(5_000)
	w.do(w.relay, OfferClose{Amount: 5_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.do(w.client, Close{Amount: 5_100, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	if !w.relay.c.agreed.complete() {
		t.Fatal("the relay does not take the client's close")
	}
	w.finishAfter(t)
}

func (w *world) finishAfter(t *testing.T) {
	t.Helper()
	w.mine(25)
	w.wantStates(StateArchived, StateArchived)
}

func TestRefundClimbs(t *testing.T) {
	w := active(t)
	w.relay.c = Contract{}
	w.mineTo(w.client.c.Terms().Expiry)
	old := w.chain.pool[0].TxHash()
	w.do(w.client, Refund{2_100, w.client.key}) // not a quarter more: the same again
	if len(w.chain.pool) != 1 || w.chain.pool[0].TxHash() != old {
		t.Fatal("a replacement that nodes refuse")
	}
	w.do(w.client, Refund{6_000, w.client.key})
	if len(w.chain.pool) != 1 || w.chain.pool[0].TxHash() == old {
		t.Fatal("no replacement at three times the rate")
	}
}

// TestRefundWhenFeesAreAbsurd: a fee that would eat the escrow gives way to the least one.
func TestRefundWhenFeesAreAbsurd(t *testing.T) {
	w := active(t)
	w.mineTo(w.client.c.Terms().CloseUntil())
	w.relay.c = Contract{}
	w.mineTo(w.client.c.Terms().Expiry - 1)
	b := w.block(w.client, w.chain.tip()+1)
	b.FeeRate = 5 * MaxFeeRate
	e := only[Broadcast](w.apply(w.client, b))
	if len(e) != 1 || e[0].Why != ForRefund || e[0].Tx.TxOut[0].Value != 100_000-69_000 {
		t.Fatal(e)
	}
	w.client.c.terms.Value = 900 // as if the escrow were small
	if e := only[Broadcast](w.apply(w.client, Refund{MaxFeeRate, w.client.key})); len(e) != 1 || e[0].Tx.TxOut[0].Value != 900-138 {
		t.Fatal(e)
	}
	w.client.c.terms.Value = 460 // not worth any transaction
	if e := only[Broadcast](w.apply(w.client, Refund{MaxFeeRate, w.client.key})); len(e) != 0 {
		t.Fatal(e)
	}
}

// TestFault17RaceAfterExpiry: both are late; the first confirmed wins, and both records agree on it.
func TestFault17RaceAfterExpiry(t *testing.T) {
	w := active(t)
	w.pay(50_000)
	nothing := func(*wire.MsgTx) bool { return false }
	for w.chain.tip() < w.client.c.Terms().Expiry {
		b := w.chain.mine(nothing)
		w.tell(w.client, b)
		w.tell(w.relay, b)
	}
	if !w.relay.c.Summary().Overdue {
		t.Fatal("no alarm")
	}
	if w.client.c.State() != StateRefunding || w.relay.c.State() != StateClosing || len(w.chain.pool) != 2 {
		t.Fatalf("%s, %s, %d in the pool, wanted are the settlement and its child", w.client.c.State(), w.relay.c.State(), len(w.chain.pool))
	}
	w.mine(1)
	w.wantStates(StateSettled, StateSettled)
}

func TestWorstCase(t *testing.T) {
	w := newWorld(t)
	p := w.proposal()
	got, err := p.WorstCase()
	if err != nil {
		t.Fatal(err)
	}
	fee := FeeFor(1_500, fundingWeight(p.Coins, p.Change))
	want := WorstCase{
		FundFee: fee, SettleFee: 204, RefundFee: 207, SweepFee: 194, Prepaid: 1_600,
		ClientLoss: fee + 1_600 + 207, LockedUntil: startHeight + 60, RelayLoss: 2_000,
	}
	if got != want {
		t.Fatalf("%+v, wanted %+v", got, want)
	}
	w.do(w.client, p)
	if again, err := w.client.c.WorstCase(); err != nil || again != want {
		t.Fatalf("%+v %v", again, err)
	}
	p.Prepaid = p.Value - 1_000 // the rest is not worth a transaction
	if got, err = p.WorstCase(); err != nil || got.ClientLoss != fee+p.Value {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestMarginsAreInOrder(t *testing.T) {
	for _, m := range AllMargins() {
		if m.MinDuration <= m.CloseBefore || m.CloseBefore <= m.StopBefore || m.StopBefore <= m.SettleBefore ||
			m.SettleBefore < Tiers || m.OverdueBefore >= m.SettleBefore || m.FinalDepth >= m.SafeDepth ||
			m.DefaultDepth > m.MaxDepth || m.OpeningBlocks <= m.TipTolerance {
			t.Errorf("%s: %+v", m.Network, m)
		}
	}
	if m, err := MarginsOf(identity.Mainnet); err != nil || m.StopBefore != 288 || m.SettleBefore != 144 {
		t.Error(m, err)
	}
	if _, err := MarginsOf(1); code.Of(err) != code.WrongNetwork {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for s := StateNew; s <= StateCancelling; s++ {
		if len(s.String()) < 3 || s.String()[:3] == "sta" {
			t.Errorf("state %d is %q", s, s)
		}
	}
	if State(99).String() != "state(99)" || Role(9).String() != "role(9)" || Client.String() != "client" || ForSweep.String() != "sweep" {
		t.Error("unknown numbers have no names")
	}
}
