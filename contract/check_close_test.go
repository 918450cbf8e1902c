package contract

import (
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// rebuilt is the close by the key path that an amount and a rate give, as a dishonest party would send it.
func rebuilt(w *world, p *party, amount usage.Sat, rate uint64) []byte {
	tx, err := p.c.terms.KeyCloseTx(p.c.escrow(), amount, rate)
	if err != nil {
		w.t.Fatalf("close: %v", err)
	}
	return unsignedBytes(tx)
}

// refusedKeyClose has each side refuse a changed contractCloseNonce, and take the honest one after.
func refusedKeyClose(t *testing.T, want code.Code, relay bool, change func(*world, *CloseNonce)) {
	t.Helper()
	w, s := keyAsked(t, relay)
	from, to := w.client, w.relay
	if relay {
		from, to = to, from
	}
	v := forge(w, from, s, func(m *CloseNonce) { change(w, m) })
	w.wantCode(to, w.event(to, v), want)
	if to.c.closing {
		t.Fatal("a refused close ends the service")
	}
	w.do(to, w.event(to, w.open(s)))
}

func TestCheck36bKeyPathNeverBelow(t *testing.T) {
	for _, relay := range []bool{false, true} {
		refusedKeyClose(t, code.PaymentTooLow, relay, func(w *world, m *CloseNonce) {
			m.Amount = 8_999
			m.Tx = rebuilt(w, w.client, m.Amount, m.FeeRate)
		})
	}
	w := active(t)
	w.pay(9_000)
	w.wantCode(w.client, w.asksClose(w.client, 8_999, 1_000), code.PaymentTooLow)
	w.wantCode(w.relay, w.asksClose(w.relay, 8_999, 1_000), code.PaymentTooLow)
	w.askClose(w.relay, 9_000, 1_000)
	if w.relay.c.Service() {
		t.Fatal("the relay serves while it asks for the close")
	}
	w.do(w.client, w.event(w.client, w.open(w.waiting(w.client))))
	if w.client.c.Service() {
		t.Fatal("the client is served after its partial signature")
	}
	w.wantCode(w.client, Pay{Amount: 10_000, Key: w.client.key, Stamp: w.stamp()}, code.BadState)

	w, _ = keyAnswered(t)
	w.wantCode(w.relay, AskPayment{Amount: 10_000, Stamp: w.stamp()}, code.BadState)
}

// closeChanges are transactions that are not the one that the terms give (check 37, fault 40).
func closeChanges() map[string]struct {
	want   code.Code
	change func(*wire.MsgTx)
} {
	thief := p2tr(seedKey("thief"))
	return map[string]struct {
		want   code.Code
		change func(*wire.MsgTx)
	}{
		"relay elsewhere":  {code.BadScript, func(tx *wire.MsgTx) { tx.TxOut[1].PkScript = thief }},
		"client elsewhere": {code.BadScript, func(tx *wire.MsgTx) { tx.TxOut[0].PkScript = thief }},
		"third output":     {code.BadTransaction, func(tx *wire.MsgTx) { tx.TxOut[0].Value -= 400; addOutput(tx, 400, thief) }},
		"second input":     {code.BadTransaction, manyInputs(1)},
		"other input":      {code.BadTransaction, func(tx *wire.MsgTx) { tx.TxIn[0].PreviousOutPoint.Index = 1 }},
		"shifted":          {code.BadTransaction, func(tx *wire.MsgTx) { tx.TxOut[0].Value--; tx.TxOut[1].Value++ }},
		"locked":           {code.BadTransaction, func(tx *wire.MsgTx) { tx.LockTime = 900_100 }},
		"final":            {code.BadTransaction, func(tx *wire.MsgTx) { tx.TxIn[0].Sequence = 0xFFFFFFFF }},
	}
}

// TestFault40CloseToAnotherScript: a close that pays elsewhere is signed by neither side, neither by
// the key path nor by the leaf (the latter is TestCheck37RegisteredScriptsOnly).
func TestFault40CloseToAnotherScript(t *testing.T) {
	for name, c := range closeChanges() {
		t.Run(name, func(t *testing.T) {
			for _, relay := range []bool{false, true} {
				refusedKeyClose(t, c.want, relay, func(w *world, m *CloseNonce) {
					tx, err := parseUnsigned(m.Tx)
					if err != nil {
						t.Fatal(err)
					}
					c.change(tx)
					m.Tx = unsignedBytes(tx)
				})
			}
		})
	}
}

func TestCheck38KeyPathShares(t *testing.T) {
	refusedKeyClose(t, code.LimitExceeded, true, func(w *world, m *CloseNonce) {
		m.Amount = 9_501
		m.Tx = rebuilt(w, w.relay, m.Amount, m.FeeRate)
	})
	w, s := keyAsked(t, false)
	w.relay.due = 9_501
	w.wantCode(w.relay, w.event(w.relay, w.open(s)), code.PaymentTooLow)
	w.relay.due = 9_500
	w.do(w.relay, w.event(w.relay, w.open(s)))
}

func TestCheck39KeyPathFee(t *testing.T) {
	refusedKeyClose(t, code.BadFeeRate, false, func(w *world, m *CloseNonce) {
		m.FeeRate = 10_000 // leaves the relay less than its settlement
		m.Tx = rebuilt(w, w.client, m.Amount, m.FeeRate)
	})
	for _, rate := range []uint64{999, MaxFeeRate + 1} {
		refusedKeyClose(t, code.BadFeeRate, true, func(_ *world, m *CloseNonce) { m.FeeRate = rate })
	}
	refusedKeyClose(t, code.BadAmount, true, func(_ *world, m *CloseNonce) { m.FeeRate = 60_000 }) // 9,240 of 9,500
}

func TestKeyCloseOfAnotherState(t *testing.T) {
	for want, change := range map[code.Code]func(*world, *CloseNonce){
		code.ContractUnknown: func(_ *world, m *CloseNonce) { m.Contract[0] ^= 1 },
		code.BadSequence:     func(_ *world, m *CloseNonce) { m.N += 7 },
	} {
		refusedKeyClose(t, want, false, change)
		refusedKeyClose(t, want, true, change)
	}
	refusedKeyClose(t, code.BadSequence, false, func(_ *world, m *CloseNonce) { m.N-- })
	refusedKeyClose(t, code.BadSequence, false, func(_ *world, m *CloseNonce) { m.Seq-- })
	refusedKeyClose(t, code.BadSequence, true, func(_ *world, m *CloseNonce) { m.Prev[0] ^= 1 })
	w, s := keyAsked(t, false)
	w.mineTo(w.relay.c.Terms().CloseUntil())
	w.wantCode(w.relay, w.event(w.relay, w.open(s)), code.BadDeadline)
	w.wantCode(w.relay, w.asksClose(w.relay, 9_500, 1_000), code.BadDeadline)
}

// nonceChanges are public nonces that nobody may sign with.
func nonceChanges() map[string]func(*PubNonce) {
	return map[string]func(*PubNonce){
		"all zero":    func(n *PubNonce) { *n = PubNonce{} },
		"first zero":  func(n *PubNonce) { copy(n[:33], make([]byte, 33)) },
		"second zero": func(n *PubNonce) { copy(n[33:], make([]byte, 33)) },
		"no point":    func(n *PubNonce) { copy(n[1:33], p256[:]) },
		"wrong form":  func(n *PubNonce) { n[33] = 4 },
	}
}

// p256 is above the field of the curve.
var p256 = func() (b [32]byte) {
	for i := range b {
		b[i] = 0xff
	}
	return b
}()

// TestFault26BadNonceOrPartialSignature: what does not fit is refused and blamed, nothing is broadcast,
// and the leaf closes the contract.
func TestFault26BadNonceOrPartialSignature(t *testing.T) {
	for name, spoil := range nonceChanges() {
		w, s := keyAsked(t, false)
		m := w.open(s).Message().(*CloseNonce)
		n := *m
		spoil(&n.Nonce)
		if _, err := Encode(&n); code.Of(err) != code.BadNonce {
			t.Fatalf("%s: %v", name, err)
		}
		spend, err := w.client.c.KeyClose(9_500, 1_000)
		if err != nil {
			t.Fatal(err)
		}
		if err := spend.CheckPartial(KeyOf(w.client.key), n.Nonce, m.Nonce, PartialSignature{31: 1}); code.Of(err) != code.BadNonce {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*CloseSig){
		"a bit":          func(m *CloseSig) { m.Partial[9] ^= 1 },
		"zero":           func(m *CloseSig) { m.Partial = PartialSignature{} },
		"above order":    func(m *CloseSig) { m.Partial = PartialSignature(p256) },
		"another nonce":  func(m *CloseSig) { copy(m.Nonce[:33], m.Nonce[33:]) },
		"one's own back": func(m *CloseSig) { m.Nonce[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w, s := keyAnswered(t)
			m := *w.open(s).Message().(*CloseSig)
			spoil(&m)
			if _, err := w.client.sign.finish(w.client, &m); code.Of(err) != code.BadPartial {
				t.Fatalf("blamed with %v", err)
			}
			if w.client.sign != nil {
				t.Fatal("the session lives on")
			}
			w.wantCode(w.client, w.event(w.client, w.open(s)), code.NoSigningSession) // the honest answer comes too late
			w.do(w.client, Close{Amount: 9_500, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
			w.deliver()
			w.mine(1)
			w.finish(t, SpendClose)
		})
	}
}

// TestCheck40FinalSignature: a complete signature is verified against the close that this side rebuilds
// before anything is broadcast.
func TestCheck40FinalSignature(t *testing.T) {
	w, s := keyAnswered(t)
	e := w.event(w.client, w.open(s)).(Received)
	if e.Both.IsZero() {
		t.Fatal("no signature")
	}
	bad := e
	bad.Both[40] ^= 1
	w.wantCode(w.client, bad, code.BadSignature)
	bad.Both = Signature{}
	w.wantCode(w.client, bad, code.NoSigningSession)
	other, err := w.client.c.KeyClose(9_600, 1_000) // a close that was not asked for
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Check(e.Both); code.Of(err) != code.BadSignature {
		t.Fatalf("another close: %v", err)
	}
	if len(w.chain.pool) != 0 || w.client.c.closing {
		t.Fatal("something was broadcast")
	}
	late := w.client.c
	w.do(w.client, e)
	if len(w.chain.pool) != 1 {
		t.Fatal("nothing was broadcast")
	}
	w.wantCode(w.client, e, code.BadState)
	w.client.c = late
	w.mineTo(late.Terms().CloseUntil())
	w.client.c.facts.seen, w.client.c.facts.spentAt = SpendNone, 0
	w.wantCode(w.client, e, code.BadDeadline)
}

// TestFault39CloseRacedBySettlement: both sides' spends are out; whichever confirms is booked by both.
func TestFault39CloseRacedBySettlement(t *testing.T) {
	for _, settled := range []bool{false, true} {
		w, s := keyAnswered(t)
		w.do(w.relay, Settle{Key: w.relay.key})
		w.do(w.client, w.event(w.client, w.open(s)))
		if !settled {
			plan, _ := w.client.c.Closing()
			w.chain.pool = []*wire.MsgTx{plan.Tx} // another node's mempool
		}
		w.mine(1)
		w.wantStates(StateSettled, StateSettled)
		want := SpendClose
		if settled {
			want = SpendSettlement
			w.mine(1) // the client's sweep
		}
		w.finish(t, want)
	}
}
