package contract

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// refusedSigned runs changes of contractClientSigned against the relay.
func refusedSigned(t *testing.T, want code.Code, changes map[string]func(*ClientSigned)) {
	t.Helper()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w, s := countersigned(t)
			w.wantCode(w.relay, w.event(w.relay, forge(w, w.client, s, change)), want)
			w.do(w.relay, w.event(w.relay, w.open(s)))
		})
	}
}

// editWitness changes the witness of input i; 0 is P2TR, 1 is P2WPKH.
func editWitness(i int, change func(wire.TxWitness) wire.TxWitness) func(*ClientSigned) {
	return func(m *ClientSigned) {
		w, err := parseWitness(m.Witnesses[i])
		if err != nil {
			panic(err)
		}
		for j := range w {
			w[j] = bytes.Clone(w[j])
		}
		m.Witnesses[i] = encodeWitness(change(w))
	}
}

func TestCheck27WitnessForm(t *testing.T) {
	refusedSigned(t, code.BadWitness, map[string]func(*ClientSigned){
		"one missing": func(m *ClientSigned) { m.Witnesses = m.Witnesses[:1] },
		"one more":    func(m *ClientSigned) { m.Witnesses = append(m.Witnesses, m.Witnesses[0]) },
		"empty":       func(m *ClientSigned) { m.Witnesses[0] = nil },
		"65 bytes":    editWitness(0, func(w wire.TxWitness) wire.TxWitness { return wire.TxWitness{append(w[0], 1)} }),
		"annex":       editWitness(0, func(w wire.TxWitness) wire.TxWitness { return append(w, []byte{0x50}) }),
		"hash type none": editWitness(1, func(w wire.TxWitness) wire.TxWitness {
			w[0][len(w[0])-1] = byte(txscript.SigHashNone)
			return w
		}),
		"uncompressed":  editWitness(1, func(w wire.TxWitness) wire.TxWitness { return wire.TxWitness{w[0], append(w[1], 0)} }),
		"three items":   editWitness(1, func(w wire.TxWitness) wire.TxWitness { return append(w, nil) }),
		"cut":           func(m *ClientSigned) { m.Witnesses[0] = m.Witnesses[0][:60] },
		"no signatures": editWitness(1, func(w wire.TxWitness) wire.TxWitness { return wire.TxWitness{nil, w[1]} }),
	})
}

func TestCheck28WitnessRuns(t *testing.T) {
	flip := func(w wire.TxWitness) wire.TxWitness { w[0][20] ^= 1; return w }
	refusedSigned(t, code.BadWitness, map[string]func(*ClientSigned){
		"bad schnorr": editWitness(0, flip),
		"bad ecdsa":   editWitness(1, flip),
		"other key": editWitness(1, func(w wire.TxWitness) wire.TxWitness {
			return wire.TxWitness{w[0], seedKey("thief").PubKey().SerializeCompressed()}
		}),
	})
	w, s := answered(t)
	w.client.coins[w.client.c.coins[0].OutPoint] = seedKey("not the coin's key")
	v := w.open(s)
	next, effects, err := w.client.c.Apply(Received{Message: v, Stamp: w.stamp()})
	if err != nil {
		t.Fatal(err)
	}
	w.client.c = next
	for _, e := range effects {
		if e, ok := e.(SignFunding); ok {
			w.wantCode(w.client, SignedFunding{w.sign(w.client, e), w.client.key, w.stamp()}, code.BadWitness)
		}
	}
}

func TestCheck29EffectiveRate(t *testing.T) {
	w, _ := countersigned(t)
	c := w.client.c
	tx := c.FundingTx()
	if err := c.checkEffectiveRate(tx); err != nil {
		t.Fatal(err)
	}
	fat := tx.Copy()
	fat.TxIn[0].Witness = append(fat.TxIn[0].Witness, make([]byte, 500))
	if err := c.checkEffectiveRate(fat); code.Of(err) != code.BadFeeRate {
		t.Fatalf("a fat witness: %v", err)
	}
}

// TestCheck30: the relay confirms only when its node has taken the transaction.
func TestCheck30NodeAccepts(t *testing.T) {
	w, s := countersigned(t)
	w.chain.base = map[wire.OutPoint]*wire.TxOut{} // the node knows the coins no more
	w.do(w.relay, w.event(w.relay, w.open(s)))
	if w.relay.c.State() != StateComplete || len(w.client.inbox) > 0 {
		t.Fatalf("the relay is %s and has said %d things", w.relay.c.State(), len(w.client.inbox))
	}
	w.do(w.relay, TxSeen{w.relay.c.FundingTx(), w.stamp()})
	if w.relay.c.State() != StateFunding || len(w.client.inbox) != 1 {
		t.Fatal("the relay does not confirm what its node has")
	}
}

// paid is an active world with an update on its way to the relay, which has 5,000 already.
func paid(t failer) (*world, identity.Signed) {
	w := active(t)
	w.pay(5_000)
	w.do(w.client, Pay{Amount: 7_000, Report: identity.Tagged("r"), Key: w.client.key, Stamp: w.stamp()})
	s := w.relay.inbox[0]
	w.relay.inbox = nil
	return w, s
}

func refusedUpdate(t *testing.T, want code.Code, changes map[string]func(*PaymentUpdate)) {
	t.Helper()
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w, s := paid(t)
			w.wantCode(w.relay, w.event(w.relay, forge(w, w.client, s, change)), want)
			w.do(w.relay, w.event(w.relay, w.open(s)))
		})
	}
}

func TestCheck31InTime(t *testing.T) {
	w, s := paid(t)
	w.relay.deaf = true
	w.mineTo(w.relay.c.Terms().ServiceUntil() - 1)
	saved := w.relay.c
	w.mine(1)
	w.wantCode(w.relay, w.event(w.relay, w.open(s)), code.BadDeadline)
	w.wantCode(w.client, Pay{Amount: 9_000, Key: w.client.key, Stamp: w.stamp()}, code.BadDeadline)
	w.relay.c = saved
	w.do(w.relay, w.event(w.relay, w.open(s)))

	w, s = paid(t)
	for range 3 {
		w.chain.undo()
		w.do(w.relay, BlockDisconnected{w.chain.tip() + 1})
	}
	w.wantCode(w.relay, w.event(w.relay, w.open(s)), code.BadState)
}

func TestCheck32Number(t *testing.T) {
	refusedUpdate(t, code.BadSequence, map[string]func(*PaymentUpdate){
		"skips":             func(m *PaymentUpdate) { m.N++ },
		"other at the same": func(m *PaymentUpdate) { m.N-- },
		"older":             func(m *PaymentUpdate) { m.N = 1 },
	})
	w, s := paid(t)
	w.do(w.relay, w.event(w.relay, w.open(s)))
	before := w.relay.c.Paid()
	again := forge(w, w.client, s, func(m *PaymentUpdate) { m.Seq++ })
	w.do(w.relay, w.event(w.relay, again)) // the same update in a new message
	if w.relay.c.Paid() != before || w.relay.c.Updates() != 3 {
		t.Fatal("a repeated update changed something")
	}
}

func TestCheck33Payment(t *testing.T) {
	refusedUpdate(t, code.PaymentTooLow, map[string]func(*PaymentUpdate){
		"below the last": func(m *PaymentUpdate) { m.Amount = 4_999 },
	})
	refusedUpdate(t, code.BadAmount, map[string]func(*PaymentUpdate){
		"above V":     func(m *PaymentUpdate) { m.Amount = 100_001 },
		"leaves dust": func(m *PaymentUpdate) { m.Amount = 99_671 },
	})
	w := active(t)
	w.wantCode(w.client, Pay{Amount: 100, Key: w.client.key, Stamp: w.stamp()}, code.PaymentTooLow)
	w.wantCode(w.client, Pay{Amount: 1_600, Key: w.client.key, Stamp: w.stamp()}, code.NotDue)
	w.wantCode(w.client, Pay{Amount: 100_001, Key: w.client.key, Stamp: w.stamp()}, code.BadAmount)
	w.pay(99_671) // 329 would be left
	if w.relay.c.Paid() != 100_000 {
		t.Fatalf("paid %d: the dust does not go with the payment", w.relay.c.Paid())
	}
}

func TestCheck34Signatures(t *testing.T) {
	for tier := range Tiers {
		refusedUpdate(t, code.BadSignature, map[string]func(*PaymentUpdate){
			"flipped": func(m *PaymentUpdate) { m.Signatures[tier][5] ^= 1 },
			"missing": func(m *PaymentUpdate) { m.Signatures[tier] = nil },
			"swapped": func(m *PaymentUpdate) { m.Signatures[tier] = m.Signatures[(tier+1)%Tiers] },
		})
	}
	refusedUpdate(t, code.BadSignature, map[string]func(*PaymentUpdate){
		"for another sum": func(m *PaymentUpdate) { m.Amount++ },
	})
	refusedSigned(t, code.BadSignature, map[string]func(*ClientSigned){
		"flipped": func(m *ClientSigned) { m.Signatures[0][0] ^= 1 },
		"missing": func(m *ClientSigned) { m.Signatures[0] = nil },
	})
}

func TestCheck35TierOnePays(t *testing.T) {
	w := newWorld(t)
	w.offer.ContractPrice = 534 // exactly 330 + 204
	p := w.proposal()
	p.Prepaid = 0
	w.do(w.client, p)
	w.deliver()
	if l := w.relay.c.ladder; l[0].IsZero() || !l[1].IsZero() || !l[2].IsZero() {
		t.Fatal("534 sat bear the first tier and no other")
	}
	w.mine(3)
	nothing := func(*wire.MsgTx) bool { return false }
	for w.chain.tip() < w.relay.c.Terms().Expiry-1 {
		w.tell(w.relay, w.chain.mine(nothing))
	}
	w.mine(3) // the ladder stayed on its first rung, which confirms
	if w.paidTo(w.relay) < 330 {
		t.Fatal("the relay was not paid")
	}
	p.Offer.ContractPrice = 533
	w.client.c = Contract{}
	w.wantCode(w.client, p, code.BadAmount)
}

func TestCheck36OwnReport(t *testing.T) {
	w, s := paid(t)
	e := w.event(w.relay, w.open(s)).(Received)
	e.OwnReport = false
	w.wantCode(w.relay, e, code.TermsMismatch)
}

// offered is a world where the relay's final request waits at the client.
func closeOffered(t failer) (*world, identity.Signed) {
	w := active(t)
	w.pay(9_000)
	w.do(w.relay, OfferClose{Amount: 9_500, FeeRate: 3_000, Key: w.relay.key, Stamp: w.stamp()})
	s := w.client.inbox[0]
	w.client.inbox = nil
	return w, s
}

// closeGiven is a world where the client's close waits at the relay.
func closeGiven(t failer) (*world, identity.Signed) {
	w := active(t)
	w.pay(9_000)
	w.do(w.client, Close{Amount: 9_500, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	s := w.relay.inbox[0]
	w.relay.inbox = nil
	return w, s
}

// resign signs the close that an amount and a rate give, as a dishonest party would.
func resign(w *world, p *party, amount usage.Sat, rate uint64) ([]byte, Signature) {
	tx, err := p.c.terms.CloseTx(p.c.escrow(), amount, rate)
	if err != nil {
		w.t.Fatalf("close: %v", err)
	}
	return resignTx(w, p, tx)
}

func resignTx(w *world, p *party, tx *wire.MsgTx) ([]byte, Signature) {
	out, err := p.c.terms.escrow(false)
	if err != nil {
		w.t.Fatalf("escrow: %v", err)
	}
	sig, err := signLeaf(p.key, tx, p.c.terms.Value, out)
	if err != nil {
		w.t.Fatalf("sign: %v", err)
	}
	return unsignedBytes(tx), sig
}

func TestCheck36bFinalNeverBelow(t *testing.T) {
	w, s := closeOffered(t)
	v := forge(w, w.relay, s, func(m *RequestPayment) {
		m.Amount = 8_999
		m.Tx, m.Signature = resign(w, w.relay, m.Amount, m.FeeRate)
	})
	w.wantCode(w.client, w.event(w.client, v), code.PaymentTooLow)
	if w.relay.c.Service() {
		t.Fatal("the relay serves after its closing signature")
	}
	w.wantCode(w.relay, AskPayment{Amount: 10_000, Stamp: w.stamp()}, code.BadState)

	w, s = closeGiven(t)
	v = forge(w, w.client, s, func(m *RefundPayment) {
		m.Amount = 8_999
		m.Tx, m.Signature = resign(w, w.client, m.Amount, m.FeeRate)
	})
	w.wantCode(w.relay, w.event(w.relay, v), code.PaymentTooLow)
	w.wantCode(w.client, Pay{Amount: 20_000, Key: w.client.key, Stamp: w.stamp()}, code.BadState)
	w.wantCode(w.client, Close{Amount: 8_999, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()}, code.BadFeeRate)
}

func TestCheck37RegisteredScriptsOnly(t *testing.T) {
	thief := p2tr(seedKey("thief"))
	for name, c := range map[string]struct {
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
	} {
		t.Run(name, func(t *testing.T) {
			w, s := closeOffered(t)
			v := forge(w, w.relay, s, func(m *RequestPayment) {
				tx, _ := parseUnsigned(m.Tx)
				c.change(tx)
				m.Tx, m.Signature = resignTx(w, w.relay, tx)
			})
			w.wantCode(w.client, w.event(w.client, v), c.want)
			w, s = closeGiven(t)
			v = forge(w, w.client, s, func(m *RefundPayment) {
				tx, _ := parseUnsigned(m.Tx)
				c.change(tx)
				m.Tx, m.Signature = resignTx(w, w.client, tx)
			})
			w.wantCode(w.relay, w.event(w.relay, v), c.want)
		})
	}
}

func TestCheck38Shares(t *testing.T) {
	w, s := closeOffered(t)
	w.do(w.client, w.event(w.client, w.open(s)))
	w.wantCode(w.client, AcceptClose{Max: 9_499, Key: w.client.key}, code.LimitExceeded)
	w.do(w.client, AcceptClose{Max: 9_500, Key: w.client.key})

	w, s = closeGiven(t)
	w.relay.due = 9_501
	w.wantCode(w.relay, w.event(w.relay, w.open(s)), code.PaymentTooLow)
	w.do(w.client, Close{Amount: 9_501, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
	w.deliver()
	if !w.relay.c.agreed.complete() {
		t.Fatal("a better close was not taken")
	}
}

func TestCheck39FeeWithinTheShare(t *testing.T) {
	w, s := closeGiven(t)
	// 9,500 at 10,000 sat/kvB would leave the relay less than its settlement.
	v := forge(w, w.client, s, func(m *RefundPayment) {
		m.FeeRate = 10_000
		m.Tx, m.Signature = resign(w, w.client, m.Amount, m.FeeRate)
	})
	w.wantCode(w.relay, w.event(w.relay, v), code.BadFeeRate)
	w, s = closeOffered(t)
	for _, rate := range []uint64{999, MaxFeeRate + 1} {
		v := forge(w, w.relay, s, func(m *RequestPayment) { m.FeeRate = rate })
		w.wantCode(w.client, w.event(w.client, v), code.BadFeeRate)
	}
	v = forge(w, w.relay, s, func(m *RequestPayment) { m.FeeRate = 45_000 }) // 9,180 of 9,500
	w.wantCode(w.client, w.event(w.client, v), code.BadAmount)
}

func TestCloseTooLate(t *testing.T) {
	w, s := closeOffered(t)
	w.mineTo(w.client.c.Terms().CloseUntil())
	w.wantCode(w.client, w.event(w.client, w.open(s)), code.BadDeadline)
	w.wantCode(w.client, Close{Amount: 9_500, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()}, code.BadDeadline)
	w.wantCode(w.relay, OfferClose{Amount: 9_500, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()}, code.BadDeadline)
}
