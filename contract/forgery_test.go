package contract

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/usage"
)

// forgers make messages that mean something else than was agreed, with signatures of the attacker's own contract key, or
// wallet, that hold for what they mean.
var forgers = map[string]func(*forgery){
	"serverAddInputs": (*forgery).otherTerms,
	"clientSigned":    (*forgery).otherWitnesses,
	"update":          (*forgery).otherPayments,
	"final":           (*forgery).otherCloses,
	"refundPayment":   (*forgery).otherCloses,

	"closeNonce":           (*forgery).otherKeyCloses,
	"closeNonceOfTheRelay": (*forgery).otherKeyCloses,
	"closeSig":             (*forgery).otherShares,
}

// forgery collects the messages of one attacker.
type forgery struct {
	w      *world
	from   *party
	honest identity.Signed
	out    []mutant
}

// say adds a message that f makes of the honest one.
func (f *forgery) say(how string, change func(Message)) {
	m, err := Decode(f.honest.Statement)
	if err != nil {
		f.w.t.Fatalf("decode: %v", err)
	}
	change(m)
	if raw, err := Encode(m); err == nil {
		f.out = append(f.out, mutant{noField, how, raw})
	}
}

// terms are all terms that differ from the agreed ones in one thing.
func (f *forgery) terms(visit func(how string, t Terms)) {
	raw, err := f.from.c.terms.Encode()
	if err != nil {
		f.w.t.Fatalf("terms: %v", err)
	}
	for _, c := range nested(raw, 0) {
		if t, err := DecodeTerms(c.value); err == nil {
			visit(c.how, t)
		}
	}
}

// otherTerms answers a proposal with terms that were not proposed, and all else as it follows from them.
func (f *forgery) otherTerms() {
	c := f.from.c
	f.terms(func(how string, t Terms) {
		tx, err := t.FundingTx(Share{c.coins, c.change}, c.backing)
		if err != nil {
			return
		}
		raw, _ := t.Encode()
		f.say(how, func(m Message) {
			x := m.(*ServerAddInputs)
			x.RelayKey, x.Terms, x.Tx = t.RelayKey, raw, unsignedBytes(tx)
			x.Contract = t.ContractID(wire.OutPoint{Hash: tx.TxHash(), Index: EscrowIndex})
		})
	})
	for _, ch := range txChanges(unsignedBytes(c.FundingTx())) {
		tx, _ := parseUnsigned(unsignedBytes(c.FundingTx()))
		ch.do(tx)
		f.say(ch.how, func(m Message) {
			x := m.(*ServerAddInputs)
			x.Tx, x.Contract = unsignedBytes(tx), c.terms.ContractID(wire.OutPoint{Hash: tx.TxHash(), Index: EscrowIndex})
		})
	}
}

// amounts are sums around what matters.
func (f *forgery) amounts() []usage.Sat {
	c := f.from.c
	v, p := c.terms.Value, c.paid
	return []usage.Sat{0, 1, p / 2, p - 1, p, p + 1, p + 500, v / 2, v - 331, v - 330, v - 329, v - 1, v, v + 1, usage.MaxSat}
}

// ladderOf signs what a contract would sign; false if it would not.
func ladderOf(c Contract, f *forgery, p usage.Sat) ([][]byte, bool) {
	l, err := c.signLadder(p, f.from.key)
	return l.list(), err == nil
}

// unlike tells whether a settlement or a close under other terms is another transaction, or of another escrow: much in the
// terms does not show in them.
func (f *forgery) unlike(t Terms, p usage.Sat) bool {
	c := f.from.c
	mine, err := c.terms.SettlementTx(c.escrow(), p, 0)
	theirs, err2 := t.SettlementTx(c.escrow(), p, 0)
	a, err3 := c.terms.EscrowScript()
	b, err4 := t.EscrowScript()
	if err != nil || err2 != nil || err3 != nil || err4 != nil {
		return true
	}
	return !sameScript(a, b) || t.Value != c.terms.Value || !bytes.Equal(unsignedBytes(mine), unsignedBytes(theirs))
}

// otherPayments pays other sums than were agreed, or signs for others than it says.
func (f *forgery) otherPayments() {
	c := f.from.c
	for _, said := range f.amounts() {
		for _, signed := range f.amounts() {
			if l, ok := ladderOf(c, f, signed); ok {
				f.say(fmt.Sprintf("says %d, signs %d", said, signed), func(m Message) {
					x := m.(*PaymentUpdate)
					x.Amount, x.Signatures = said, l
				})
			}
		}
	}
	f.terms(func(how string, t Terms) {
		other := c
		other.terms = t
		if l, ok := ladderOf(other, f, c.paid); ok && f.unlike(t, c.paid) {
			f.say(how, func(m Message) { m.(*PaymentUpdate).Signatures = l })
		}
	})
}

// otherCloses offers closes that were not agreed, each signed as it is.
func (f *forgery) otherCloses() {
	c := f.from.c
	set := func(how string, amount usage.Sat, rate uint64, tx *wire.MsgTx) {
		if len(tx.TxIn) == 0 {
			return // there is nothing to sign
		}
		raw, sig := resignTx(f.w, f.from, tx)
		f.say(how, func(m Message) {
			switch x := m.(type) {
			case *RequestPayment:
				x.Amount, x.FeeRate, x.Tx, x.Signature = amount, rate, raw, sig
			case *RefundPayment:
				x.Amount, x.FeeRate, x.Tx, x.Signature = amount, rate, raw, sig
			}
		})
	}
	for _, amount := range f.amounts() {
		for _, rate := range []uint64{1, 999, 1_000, 1_500, 10_000, 50_000, 1 << 40} {
			if tx, err := c.terms.CloseTx(c.escrow(), amount, rate); err == nil {
				set(fmt.Sprintf("a close for %d at %d", amount, rate), amount, rate, tx)
			}
		}
	}
	honest, err := c.terms.CloseTx(c.escrow(), closeDue, 1_000)
	if err != nil {
		f.w.t.Fatalf("close: %v", err)
	}
	f.terms(func(how string, t Terms) {
		if tx, err := t.CloseTx(c.escrow(), closeDue, 1_000); err == nil && f.unlike(t, closeDue) {
			set(how, closeDue, 1_000, tx)
		}
	})
	for _, ch := range txChanges(unsignedBytes(honest)) {
		tx := honest.Copy()
		ch.do(tx)
		set(ch.how, closeDue, 1_000, tx)
	}
}

// sigHashes are the ways to sign less than all of a transaction.
var sigHashes = []txscript.SigHashType{
	txscript.SigHashAll, txscript.SigHashNone, txscript.SigHashSingle, txscript.SigHashAll | txscript.SigHashAnyOneCanPay,
	txscript.SigHashNone | txscript.SigHashAnyOneCanPay, txscript.SigHashSingle | txscript.SigHashAnyOneCanPay,
}

// otherWitnesses signs another funding, or less of it, or the first payment under other terms.
func (f *forgery) otherWitnesses() {
	c := f.from.c
	honest := c.FundingTx()
	sign := func(how string, tx *wire.MsgTx, hash func(i int) txscript.SigHashType) {
		ws := f.witnesses(tx, hash)
		f.say(how, func(m Message) { m.(*ClientSigned).Witnesses = ws })
	}
	for _, h := range sigHashes {
		sign(fmt.Sprintf("signature hash %#x", h), honest, func(int) txscript.SigHashType { return h })
		sign(fmt.Sprintf("signature hash %#x in the second input", h), honest, func(i int) txscript.SigHashType {
			if i == 0 {
				return txscript.SigHashDefault
			}
			return h
		})
	}
	for _, ch := range txChanges(unsignedBytes(honest)) {
		tx, _ := parseUnsigned(unsignedBytes(honest))
		ch.do(tx)
		sign(ch.how, tx, func(int) txscript.SigHashType { return txscript.SigHashDefault })
	}
	f.terms(func(how string, t Terms) {
		other := c
		other.terms = t
		if l, ok := ladderOf(other, f, c.terms.FirstPayment); ok && f.unlike(t, c.terms.FirstPayment) {
			f.say(how, func(m Message) { m.(*ClientSigned).Signatures = l })
		}
	})
	for _, p := range f.amounts() {
		if l, ok := ladderOf(c, f, p); ok {
			f.say(fmt.Sprintf("a first payment of %d", p), func(m Message) { m.(*ClientSigned).Signatures = l })
		}
	}
}

// witnesses signs a transaction with the client's coins, as many of them as it spends.
func (f *forgery) witnesses(tx *wire.MsgTx, hash func(int) txscript.SigHashType) [][]byte {
	prevouts := f.from.c.prevouts()
	for _, in := range tx.TxIn {
		if prevouts[in.PreviousOutPoint] == nil {
			prevouts[in.PreviousOutPoint] = wire.NewTxOut(1_000, p2tr(seedKey("stranger")))
		}
	}
	hashes := txscript.NewTxSigHashes(tx, txscript.NewMultiPrevOutFetcher(prevouts))
	var out [][]byte
	for i, in := range tx.TxIn {
		prev, k := prevouts[in.PreviousOutPoint], f.from.coins[in.PreviousOutPoint]
		if k == nil {
			k = seedKey("stranger")
		}
		var w wire.TxWitness
		var err error
		h := hash(i)
		if txscript.IsPayToTaproot(prev.PkScript) {
			w, err = txscript.TaprootWitnessSignature(tx, hashes, i, prev.Value, prev.PkScript, h, k)
		} else {
			if h == txscript.SigHashDefault {
				h = txscript.SigHashAll
			}
			w, err = txscript.WitnessSignature(tx, hashes, i, prev.Value, prev.PkScript, h, k, true)
		}
		if err != nil {
			continue // there is nothing to sign
		}
		out = append(out, encodeWitness(w))
	}
	return out
}

// TestForgeries sends messages that mean something else than was agreed, with valid signatures, to honest receivers,
// who lose nothing by them.
func TestForgeries(t *testing.T) {
	var all count
	for name, make := range forgers {
		t.Run(name, func(t *testing.T) {
			w, from, to, s := attacks[name](t)
			f := &forgery{w: w, from: from, honest: s}
			make(f)
			var n count
			for _, m := range f.out {
				attack(t, w, from, to, s, m, &n)
			}
			if n.tried < 50 || n.refused < n.tried/2 {
				t.Errorf("%d forgeries, %d refused", n.tried, n.refused)
			}
			w.do(to, w.event(to, w.open(s)))
			t.Logf("%d forgeries: %d refused, %d taken without harm", n.tried, n.refused, n.taken)
			all.add(n)
		})
	}
	t.Logf("%d forgeries of %d messages: %d refused with a code, %d taken without harm", all.tried, len(forgers), all.refused, all.taken)
}
