package contract

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// free are the fields that a signer may choose as it likes without the receiver minding: for each
// kind, TLV types. Time and serial (8, 10) are free everywhere. Of a proposal much is free, but
// then the client refuses the answer to what it did not propose; survives checks that.
var free = map[identity.Type][]uint64{
	identity.TypeContractOpened:         {74},                 // the relay's tip
	identity.TypeContractRequestPayment: {66, 74, 76, 78, 68}, // an ask is a wish
	identity.TypeContractPaymentUpdate:  {76},                 // the report; the caller says whose it is
	identity.TypeContractAbort:          {70, 72},
	identity.TypeContractReady:          {76},             // the sender's tip
	identity.TypeContractCloseNonce:     {80},             // any nonce is as good
	identity.TypeContractCloseSig:       {66},             // it names what it answers
	identity.TypeContractNotice:         {66, 68, 76, 78}, // outside the numbering; what it asks for is a wish
}

func isFree(k identity.Type, typ uint64, final bool) bool {
	if typ == 8 || typ == 10 {
		return true
	}
	if k == identity.TypeContractRequestPayment && final {
		return typ == 78
	}
	for _, f := range free[k] {
		if f == typ {
			return true
		}
	}
	return false
}

// attacks lead a world to where a message of each kind waits at its receiver: the attacker's honest message. A new kind of
// message needs one line here.
var attacks = map[string]func(failer) (*world, *party, *party, identity.Signed){
	"open": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := proposed(t)
		return w, w.client, w.relay, s
	},
	"serverAddInputs": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := answered(t)
		return w, w.relay, w.client, s
	},
	"clientSigned": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := countersigned(t)
		return w, w.client, w.relay, s
	},
	"opened": opening,
	"ask":    asking,
	"update": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := paid(t)
		return w, w.client, w.relay, s
	},
	"ack": acking,
	"final": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := closeOffered(t)
		return w, w.relay, w.client, s
	},
	"refundPayment": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := closeGiven(t)
		return w, w.client, w.relay, s
	},
	"abort": aborting,
	"closeNonce": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := keyAsked(t, false)
		return w, w.client, w.relay, s
	},
	"closeNonceOfTheRelay": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := keyAsked(t, true)
		return w, w.relay, w.client, s
	},
	"closeSig": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := keyAnswered(t)
		return w, w.relay, w.client, s
	},
	"ready": func(t failer) (*world, *party, *party, identity.Signed) {
		w := active(t)
		w.do(w.client, AnnounceReady{w.stamp()})
		return w, w.client, w.relay, w.relay.inbox[0]
	},
	"readyAnswer": func(t failer) (*world, *party, *party, identity.Signed) {
		w := active(t)
		w.do(w.relay, AnnounceReady{w.stamp()})
		return w, w.relay, w.client, w.client.inbox[0]
	},
	"reestablish": func(t failer) (*world, *party, *party, identity.Signed) {
		w, _ := paid(t) // the relay lacks the last update
		w.do(w.client, Reconnect{Stamp: w.stamp()})
		return w, w.client, w.relay, w.relay.inbox[0]
	},
	"reestablishAnswer": func(t failer) (*world, *party, *party, identity.Signed) {
		w := active(t)
		w.pay(5_000)
		w.do(w.client, Reconnect{Stamp: w.stamp()})
		w.do(w.relay, w.event(w.relay, w.open(w.relay.inbox[0])))
		return w, w.relay, w.client, w.client.inbox[0]
	},
	"notice": func(t failer) (*world, *party, *party, identity.Signed) {
		w := steppedTo(t, StepOverdue)
		w.mineTo(w.relay.c.Arrears().Next)
		w.do(w.relay, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()})
		return w, w.relay, w.client, w.client.inbox[0]
	},
	"openWithCollateral": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := proposedWith(t, testCollateral)
		return w, w.client, w.relay, s
	},
	"serverAddInputsWithCollateral": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := answeredWith(t, testCollateral)
		return w, w.relay, w.client, s
	},
	"clientSignedWithCollateral": func(t failer) (*world, *party, *party, identity.Signed) {
		w, s := countersignedWith(t, testCollateral)
		return w, w.client, w.relay, s
	},
	"adoptWithCollateral": func(t failer) (*world, *party, *party, identity.Signed) {
		w := activeWith(t, testCollateral)
		w.pay(5_000)
		w.relay.c = Contract{}
		w.do(w.client, Reconnect{Opening: true, Stamp: w.stamp()})
		return w, w.client, w.relay, w.relay.inbox[0]
	},
	"adopt": func(t failer) (*world, *party, *party, identity.Signed) {
		w := active(t)
		w.pay(5_000)
		w.relay.c = Contract{} // restored from a copy that is older than the contract
		w.do(w.client, Reconnect{Opening: true, Stamp: w.stamp()})
		return w, w.client, w.relay, w.relay.inbox[0]
	},
}

// equal compares what a proposal fixes.
func (t Terms) equal(o Terms) bool {
	t.RelayKey, t.RelayScript = o.RelayKey, o.RelayScript
	a, _ := t.Encode()
	b, _ := o.Encode()
	return bytes.Equal(a, b)
}

// clone is a world that can be ruined.
func (w *world) clone() *world {
	x := *w
	chain := *w.chain
	chain.base, chain.blocks, chain.pool = maps.Clone(chain.base), slices.Clone(chain.blocks), slices.Clone(chain.pool)
	x.chain, x.client, x.relay = &chain, w.client.clone(), w.relay.clone()
	return &x
}

func (p *party) clone() *party {
	x := *p
	x.coins, x.acts = maps.Clone(p.coins), maps.Clone(p.acts)
	x.inbox, x.sent = slices.Clone(p.inbox), slices.Clone(p.sent)
	return &x
}

// count is what became of the mutants of one kind of message.
type count struct {
	tried, refused, taken int
	idle                  int // of taken: changes of time and serial, which nothing depends on
}

func (c *count) add(n count) {
	c.tried, c.refused, c.taken = c.tried+n.tried, c.refused+n.refused, c.taken+n.taken
}

// worst is the most that an honest client lost to an attack, beyond what it had paid, in satoshi.
var worst usage.Sat

// attack signs a mutant as its sender would and gives it to the honest receiver: it is refused with a code, or taken, and
// then the receiver still gets out alone with what is its own.
func attack(t *testing.T, w *world, from, to *party, honest identity.Signed, m mutant, n *count) {
	t.Helper()
	n.tried++
	n.refused++
	s, err := identity.SignOne(from.id, m.raw)
	if err != nil { // no statement of this signer: it comes with a signature that does not fit
		s = identity.Signed{Statement: m.raw, Proof: honest.Proof}
	}
	v, err := OpenMessage(s)
	if err != nil {
		coded(t, m, err)
		return
	}
	x := w.clone()
	victim := x.client
	if to == w.relay {
		victim = x.relay
	}
	if err := x.take(victim, v); err != nil {
		coded(t, m, err)
		return
	}
	n.refused--
	n.taken++
	if m.typ == 8 || m.typ == 10 {
		if n.idle++; n.idle > 4 {
			return
		}
	}
	survives(t, x, to.c, victim, v, m)
}

// take gives a message to a party. One that has lost the contract adopts it first, and catches up with the chain.
func (w *world) take(p *party, v Verified) error {
	if _, ok := v.Message().(*Reestablish); !ok || p.c.stage != stageNew {
		return w.try(p, w.event(p, v))
	}
	if err := w.try(p, Adopt{Message: v, Key: KeyOf(p.key), Tip: w.chain.start}); err != nil {
		return err
	}
	for i, b := range w.chain.blocks {
		w.do(p, BlockConnected{
			Height: w.chain.start + 1 + usage.Height(i), Hash: b.hash(), Txs: b.txs, Key: p.key, FeeRate: 2_000, Stamp: w.stamp(),
		})
	}
	_ = w.try(p, w.event(p, v)) // the update that it brings may be none
	return nil
}

func coded(t *testing.T, m mutant, err error) {
	t.Helper()
	if c := code.Of(err); c == code.Internal || c == code.OK {
		t.Fatalf("field %d %s: %v", m.typ, m.how, err)
	}
}

// survives checks what a mutant that was taken has done, and that its receiver is not harmed when the attacker is silent
// from then on.
func survives(t *testing.T, w *world, before Contract, victim *party, v Verified, m mutant) {
	t.Helper()
	c := victim.c
	if c.paid < before.paid || c.role == Client && before.n > 0 && (c.paid != before.paid || c.n != before.n && v.Message().kind() != identity.TypeContractReestablish) {
		t.Fatalf("field %d %s: paid were %d, are %d", m.typ, m.how, before.paid, c.paid)
	}
	if before.stage != stageNew && !before.terms.equal(c.terms) {
		t.Fatalf("field %d %s: the terms are others now", m.typ, m.how)
	}
	if o, ok := v.Message().(*Open); ok {
		w.refusesAnswer(t, o, m)
		return
	}
	agreed := max(c.paid, before.paid)
	if q, ok := v.Message().(*RequestPayment); ok && q.Final == 1 {
		_ = w.try(victim, AcceptClose{Max: closeDue, Key: victim.key}) // what an honest client agrees to
		agreed = max(agreed, closeDue)
	}
	if _, ok := v.Message().(*CloseSig); ok {
		agreed = max(agreed, closeDue) // what keyAsked asks for, now complete
	}
	w.other(victim).deaf = true
	e := w.client.c.terms
	for w.chain.tip() < e.Expiry+30 {
		if tip := w.chain.tip(); len(w.chain.pool) == 0 && (tip+8 < e.SettleFrom() || tip > e.Expiry+8) {
			for range 5 { // blocks without interest may be left out
				w.chain.mine(nil)
			}
		}
		w.tell(victim, w.chain.mine(nil))
	}
	w.out(t, victim, agreed, m)
}

// closeDue is the most that an honest client agrees to in a close: what closeOffered asks for.
const closeDue = 9_500

// refusesAnswer: a changed proposal is another proposal, and the client refuses an answer to what it did not propose.
func (w *world) refusesAnswer(t *testing.T, o *Open, m mutant) {
	t.Helper()
	accepted := w.relay.c.terms
	for _, s := range w.relay.sent {
		if err := w.try(w.client, w.event(w.client, w.open(s))); err == nil && !accepted.equal(w.client.c.terms) {
			t.Fatalf("field %d %s of a proposal for %d sat: taken by both", m.typ, m.how, o.Value)
		}
	}
}

// out checks that a party has come to an end alone, with all that is its own.
func (w *world) out(t *testing.T, p *party, agreed usage.Sat, m mutant) {
	t.Helper()
	c := p.c
	switch c.State() {
	case StateNew, StateAborted, StateFailed, StateArchived:
	case StateOpening, StateOffered, StateVerified, StateSigned, StateFunding, StateCancelling:
		if c.depth() > 0 && !c.Forgettable() {
			t.Fatalf("field %d %s: the %s is stuck: %+v", m.typ, m.how, p.role, c.Summary())
		}
	default:
		t.Fatalf("field %d %s: the %s is stuck: %+v", m.typ, m.how, p.role, c.Summary())
	}
	if p.role == Client {
		loss := startCoins - w.wealth(p)
		bound := lossBound(t) + max(agreed, c.terms.FirstPayment) - c.terms.FirstPayment
		if worst = max(worst, loss-min(loss, agreed)); loss > bound {
			t.Fatalf("field %d %s: the client lost %d sat, the worst case is %d: %+v", m.typ, m.how, loss, bound, c.Summary())
		}
		return
	}
	if s, _, ok := c.Spend(); ok && (s.Relay+s.Fee < agreed || w.paidTo(p)+w.bumped(s.TxID) != s.Relay+w.back(c)) {
		t.Fatalf("field %d %s: the relay has %d, paid were %d: %+v", m.typ, m.how, w.paidTo(p), agreed, c.Summary())
	}
	if err := w.backingConserved(c); err != nil {
		t.Fatalf("field %d %s: %v: %+v", m.typ, m.how, err, c.Summary())
	}
}

// startCoins is what the client of newWorld has in the beginning.
const startCoins usage.Sat = 150_000

// wealth is what belongs to the client in the chain.
func (w *world) wealth(p *party) usage.Sat {
	sum := w.balance(p.c.terms.ClientScript) + w.balance(p2tr(seedKey("change")))
	for op := range p.coins {
		if o, _, ok := w.chain.find(op); ok && w.chain.base[op] != nil {
			sum += usage.Sat(o.Value)
		}
	}
	return sum
}

// lossBound is what the client was told before it proposed.
func lossBound(t *testing.T) usage.Sat {
	t.Helper()
	w := newWorld(t)
	worst, err := w.proposal().WorstCase()
	if err != nil {
		t.Fatal(err)
	}
	return worst.ClientLoss
}

// TestMutations changes every field of every message of opening, update and close, and everything inside the fields, signs
// it as its sender, and gives it to an honest receiver, who loses nothing by it. A change that is taken must be of
// a field that its sender may choose.
func TestMutations(t *testing.T) {
	_, talk := conversation(t)
	var all count
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		t.Run(name, func(t *testing.T) {
			w, from, to, s := attacks[name](t)
			var foreign [][]byte
			for _, o := range append(talk, append(from.sent, to.sent...)...) {
				foreign = append(foreign, o.Statement)
			}
			var n count
			for _, m := range mutantsOf(s.Statement, foreign...) {
				taken := n.taken
				attack(t, w, from, to, s, m, &n)
				if n.taken > taken && !mayChoose(to, m, s) {
					t.Errorf("field %d %s is taken", m.typ, m.how)
				}
			}
			if n.tried < 100 || n.refused < 50 {
				t.Errorf("%d mutants, %d refused", n.tried, n.refused)
			}
			if err := w.take(to, w.open(s)); err != nil {
				t.Errorf("what was refused has changed something: %v", err)
			}
			t.Logf("%d mutations: %d refused, %d taken without harm", n.tried, n.refused, n.taken)
			all.add(n)
		})
	}
	if all.tried < 4_000 {
		t.Errorf("%d mutations only", all.tried)
	}
	t.Logf("%d mutations of %d messages: %d refused with a code, %d taken without harm; beyond what was paid an honest client lost at most %d sat, in fees",
		all.tried, len(attacks), all.refused, all.taken, worst)
}

// mayChoose tells whether a sender may choose the value that a mutant changes.
func mayChoose(to *party, m mutant, honest identity.Signed) bool {
	v, err := Decode(honest.Statement)
	if err != nil {
		return false
	}
	other, err := Decode(m.raw)
	if err != nil {
		return false
	}
	q, asks := v.(*RequestPayment)
	final := asks && q.Final == 1
	k := v.kind()
	switch {
	case k == identity.TypeContractOpen || isFree(k, m.typ, final):
		return true
	case k == identity.TypeContractReestablish:
		return mayStand(to.c, m.typ, other.(*Reestablish))
	case k == identity.TypeContractReady && (m.typ == 66 || m.typ == 68): // it stands outside of the numbering
		return to.c.knows(other.common().Prev)
	case k == identity.TypeContractNotice && m.typ == 74: // the relay may have missed the last update
		return other.(*Notice).N <= to.c.n
	case k == identity.TypeContractNotice && m.typ == 82: // later than it might is no harm, within what the tips may differ
		return other.(*Notice).Since >= v.(*Notice).Since && to.c.checkNotice(other.(*Notice)) == nil
	case m.typ == 66: // a higher number is as good; an answer may come late
		return other.common().Seq > to.c.talk.in || k == identity.TypeContractOpened || k == identity.TypeContractPaymentAck
	case m.typ == 68: // an older message of this contract, or none yet
		return slices.Contains(to.c.talk.said, other.common().Prev)
	case final && m.typ == 74: // the relay may not have the last update
		return other.(*RequestPayment).N <= to.c.n
	case final && m.typ == 80: // two rates can give one fee, and so one transaction
		return FeeFor(other.(*RequestPayment).FeeRate, settleWeight) == FeeFor(q.FeeRate, settleWeight)
	case k == identity.TypeContractCloseNonce && m.typ == 72: // as with the other ways to close
		n := other.(*CloseNonce).N
		return n == to.c.n+1 && to.role == Relay || n <= to.c.n && to.role == Client
	case k == identity.TypeContractCloseNonce && m.typ == 76:
		return FeeFor(other.(*CloseNonce).FeeRate, 616) == FeeFor(v.(*CloseNonce).FeeRate, 616)
	case k == identity.TypeContractRefundPayment && m.typ == 72: // the relay may have missed the last update
		return other.(*RefundPayment).N == to.c.n+1
	}
	return false
}

// mayStand tells whether a side may say so of itself: all but which contract it is about, and an update that is later than
// the receiver's and that the client did not sign.
func mayStand(c Contract, typ uint64, m *Reestablish) bool {
	switch typ {
	case 76:
		// The number of an update is in no signature: another one for a sum that is signed is the word of whoever says it, and
		// keeps nobody else's money back.
		return m.N <= maxSeq
	case 78, 82: // who has lost the contract keeps the first payment if the update does not hold
		return c.stage == stageNew || m.N < c.n || m.N == c.n && m.Amount == c.paid
	}
	return typ >= 66 && typ != 70
}

// TestEveryContractMessageIsAttacked fails when there is a contract message that attacks does not know.
func TestEveryContractMessageIsAttacked(t *testing.T) {
	attacked := map[identity.Type]bool{}
	for _, at := range attacks {
		_, _, _, s := at(t)
		h, err := identity.PeekHeader(s.Statement)
		if err != nil {
			t.Fatal(err)
		}
		attacked[h.Type] = true
	}
	for _, i := range identity.Types() {
		if _, err := newMessage(i.Type); err == nil && !attacked[i.Type] {
			t.Errorf("nobody attacks %s", i.Type)
		}
	}
}
