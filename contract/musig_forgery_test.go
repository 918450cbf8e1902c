package contract

import (
	"fmt"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/usage"
)

// keyCloses are closes by the key path that were not agreed, and not asked for.
func (f *forgery) keyCloses(visit func(how string, amount usage.Sat, rate uint64, tx *wire.MsgTx, t Terms)) {
	c := f.from.c
	for _, amount := range f.amounts() {
		for _, rate := range []uint64{1, 999, 1_000, 1_500, 10_000, 50_000, 1 << 40} {
			if tx, err := c.terms.KeyCloseTx(c.escrow(), amount, rate); err == nil && (amount != closeDue || rate != 1_000) {
				visit(fmt.Sprintf("a close for %d at %d", amount, rate), amount, rate, tx, c.terms)
			}
		}
	}
	honest, err := c.terms.KeyCloseTx(c.escrow(), closeDue, 1_000)
	if err != nil {
		f.w.t.Fatalf("close: %v", err)
	}
	f.terms(func(how string, t Terms) {
		if tx, err := t.KeyCloseTx(c.escrow(), closeDue, 1_000); err == nil && f.unlike(t, closeDue) {
			visit(how, closeDue, 1_000, tx, t)
		}
	})
	for _, ch := range txChanges(unsignedBytes(honest)) {
		tx := honest.Copy()
		ch.do(tx)
		visit(ch.how, closeDue, 1_000, tx, c.terms)
	}
}

// otherKeyCloses asks for them, each with a nonce that would do.
func (f *forgery) otherKeyCloses() {
	f.keyCloses(func(how string, amount usage.Sat, rate uint64, tx *wire.MsgTx, _ Terms) {
		f.say(how, func(m Message) {
			x := m.(*CloseNonce)
			x.Amount, x.FeeRate, x.Tx = amount, rate, unsignedBytes(tx)
		})
	})
}

// otherShares answers with a share of another close, made with a nonce that comes along, and of what was asked
// for with another nonce than the one that comes along.
func (f *forgery) otherShares() {
	asked := f.w.other(f.from).sign
	sign := func(how string, k KeySpend) {
		s := newSession(f.w.t, f.from.key, k)
		nonce := s.PublicNonce()
		partial, err := share(s, k, asked.nonce)
		if err != nil {
			f.w.t.Fatalf("%s: %v", how, err)
		}
		f.say(how, func(m Message) {
			x := m.(*CloseSig)
			x.Nonce, x.Partial = nonce, partial
		})
		f.say(how+", and another nonce", func(m Message) { m.(*CloseSig).Partial = partial })
	}
	f.keyCloses(func(how string, _ usage.Sat, _ uint64, tx *wire.MsgTx, t Terms) {
		if len(tx.TxIn) == 0 {
			return // there is nothing to sign
		}
		t.ClientKey, t.RelayKey = f.from.c.terms.ClientKey, f.from.c.terms.RelayKey // with which alone there is a share
		if k, err := t.KeySpend(tx); err == nil && k != asked.spend {
			sign(how, k)
		}
	})
}
