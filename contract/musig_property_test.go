package contract

import (
	"testing"

	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"relaymarket/usage"
)

// closingStep does one random thing of two parties who mean to close: they ask by the key path and by the
// leaf, cross each other, lose messages and sessions, settle meanwhile, and the chain reorganises.
func (l *life) closingStep() {
	c, r := l.client, l.relay
	final := c.c.paid + usage.Sat(l.below(2, "more")*l.below(600, "by"))
	switch l.below(19, "step") {
	case 0, 1, 2, 3, 4, 5:
		l.deliverOne(l.pick("to"))
	case 6, 7, 8:
		p := l.pick("asks")
		c.max = final
		l.wish(p, l.asksClose(p, final, 1_000))
		p.sign.note(p)
		for range l.below(4, "prompt") { // else the answer comes when it comes
			l.deliverOne(l.other(p))
			l.deliverOne(p)
		}
	case 9:
		l.wish(c, Close{Amount: final, FeeRate: 1_000, Key: c.key, Stamp: l.stamp()})
	case 10:
		l.wish(r, OfferClose{Amount: final, FeeRate: 1_000, Key: r.key, Stamp: l.stamp()})
	case 11:
		l.wish(c, Pay{Amount: l.sum("pay"), Key: c.key, Stamp: l.stamp()})
	case 12:
		l.restart(l.pick("restart"))
	case 13:
		l.reorg(1 + l.below(2, "depth"))
	case 14:
		if l.below(4, "settle") == 0 {
			l.wish(r, Settle{Key: r.key})
		}
	default:
		l.chain.mine(func(*wire.MsgTx) bool { return l.below(3, "mined") > 0 })
	}
	l.sync(c)
	l.sync(r)
	l.invariants()
}

// TestAnyScheduleOfClosesConservesAndEnds: whatever way of closing wins, every satoshi is where it was
// agreed to be, nobody is paid less than P less the fee, no nonce stands in two statements, and either
// side gets out alone at any point.
func TestAnyScheduleOfClosesConservesAndEnds(t *testing.T) {
	t.Parallel()
	ways := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		l := newLife(rt, false)
		for range 4 + l.below(25, "steps") {
			l.closingStep()
		}
		paid := l.relay.c.Paid()
		l.alone([][]*party{{l.client}, {l.relay}, {l.client, l.relay}}[l.below(3, "who survives")]...)
		for _, p := range l.parties() {
			s, _, ok := p.c.Spend()
			if !ok {
				continue
			}
			if s.Kind == SpendClose && s.Relay+s.Fee < paid {
				rt.Fatalf("a close gives the relay %d + %d of %d", s.Relay, s.Fee, paid)
			}
			if s.KeyPath {
				ways["key path"]++
			} else {
				ways[s.Kind.String()]++
			}
		}
	})
	if ways["key path"] == 0 || ways["close"] == 0 || ways["settlement"] == 0 {
		t.Errorf("closed by %v: some way was never taken", ways)
	}
	t.Logf("closed by %v", ways)
}
