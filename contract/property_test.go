package contract

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// life is a world under a random schedule: messages are lost, doubled and held back, either side is
// away for a while or for good, blocks leave out what they like, and the chain is reorganised.
type life struct {
	*world
	rt   *rapid.T
	seen map[*party][]block // the chain as each party last saw it
	away map[*party]bool
	high map[*party]usage.Sat // the highest payment each has known
	most usage.Sat            // the highest payment that the client has ever signed
	old  map[*party]backup
	read map[*party]int // how many of its statements were looked at for nonces
	used map[PubNonce]bool
	calm bool // the node's estimate does not move

	looks int // how often the invariants were looked at
}

// backup is a copy of a party's store.
type backup struct {
	record string
	seen   []block
}

// newLife draws how a life begins: with terms of its own, or as a copy of an opening; with fresh, sometimes before the
// relay has heard of it.
func newLife(rt *rapid.T, fresh bool) *life {
	l := &life{
		rt: rt, seen: map[*party][]block{}, away: map[*party]bool{}, high: map[*party]usage.Sat{}, old: map[*party]backup{},
		read: map[*party]int{}, used: map[PubNonce]bool{},
	}
	if l.below(8, "own terms") > 0 && (!fresh || l.below(4, "fresh") > 0) {
		l.born()
		return l
	}
	l.world = newWorld(rt)
	l.propose(
		usage.Sat(rapid.Uint64Range(5_000, 130_000).Draw(rt, "V")), rapid.Uint64Range(0, 1<<32).Draw(rt, "prepaid"),
		usage.Height(rapid.Uint32Range(30, 70).Draw(rt, "duration")),
	)
	if !fresh || l.below(4, "deliver") == 0 {
		l.active()
	}
	return l
}

// propose proposes V, of which some is prepaid.
func (l *life) propose(v usage.Sat, prepaid uint64, duration usage.Height) {
	p := l.proposal()
	p.Value, p.Prepaid, p.Duration = v, usage.Sat(prepaid%uint64(v-699)), duration
	if prepaid%2 == 1 { // half of all contracts have a collateral, of any size
		most := min(v, l.offer.MaxCollateral)
		p.Collateral = min(p.collateralOf(prepaid/2), most)
	}
	fitChange(&p)
	l.do(l.client, p)
}

// collateralOf is some collateral that can come back.
func (p Propose) collateralOf(seed uint64) usage.Sat {
	least := Terms{FundFeeRate: p.FundFeeRate}.MinCollateral()
	return least + usage.Sat(seed%60_000)
}

// active goes on until both sides are.
func (l *life) active() {
	l.deliver()
	for range 4 {
		l.chain.mine(nil)
		l.sync(l.client)
		l.sync(l.relay)
	}
	l.wantStates(StateActive, StateActive)
}

// openings are contracts that are active, of many sums and lengths; histories begin with copies of them.
var openings [64]struct {
	once sync.Once
	*world
	seen [2][]block
}

// born begins with an opening. Its terms depend on nothing but its number.
func (l *life) born() {
	i := l.below(len(openings), "opening")
	o := &openings[i]
	o.once.Do(func() {
		x := &life{world: newWorld(l.rt), rt: l.rt, calm: true, seen: map[*party][]block{}, away: map[*party]bool{}}
		h := sha256.Sum256([]byte{byte(i)})
		x.propose(5_000+usage.Sat(binary.BigEndian.Uint64(h[:])%125_001), binary.BigEndian.Uint64(h[8:]), 30+usage.Height(h[16]%41))
		x.active()
		o.world, o.seen = x.world, [2][]block{x.seen[x.client], x.seen[x.relay]}
	})
	l.world = o.clone()
	l.t = l.rt
	l.seen[l.client], l.seen[l.relay] = o.seen[0], o.seen[1]
}

func (l *life) parties() []*party { return []*party{l.client, l.relay} }

// below draws a number under n, evenly: rapid alone prefers small ones, and a schedule would
// then hardly ever get anywhere.
func (l *life) below(n int, name string) int {
	x := rapid.Uint64().Draw(l.rt, name)
	return int((x * 0x9E3779B97F4A7C15 >> 33) % uint64(n))
}

func (l *life) pick(name string) *party { return l.parties()[l.below(2, name)] }

func (l *life) chance(name string) bool { return l.below(2, name) == 1 }

// sync brings a party's view of the chain up to date, as a watcher does after any absence.
func (l *life) sync(p *party) {
	if l.away[p] || p.c.stage == stageNew {
		return
	}
	old, now := l.seen[p], l.chain.blocks
	same := 0
	for same < len(old) && same < len(now) && sameBlock(old[same], now[same]) {
		same++
	}
	if same < len(old) {
		l.do(p, BlockDisconnected{l.chain.start + 1 + usage.Height(same)})
	}
	for i := same; i < len(now); i++ {
		if len(now[i].txs) == 0 && i+1 < len(now) && len(now[i+1].txs) == 0 {
			continue // may be left out if a higher one follows
		}
		l.do(p, BlockConnected{
			Height: l.chain.start + 1 + usage.Height(i), Hash: now[i].hash(), Txs: now[i].txs, Key: p.key,
			FeeRate: l.rateOfBlock(), Stamp: l.stamp(),
		})
	}
	l.seen[p] = slices.Clone(now)
	for _, tx := range l.chain.pool {
		l.do(p, TxSeen{tx, l.stamp()})
	}
}

// rateOfBlock is what the node asks for when a block comes.
func (l *life) rateOfBlock() uint64 {
	if l.calm {
		return 1_000
	}
	return uint64(l.below(4_000, "rate"))
}

func sameBlock(a, b block) bool {
	return len(a.txs) == len(b.txs) && (len(a.txs) == 0 || &a.txs[0] == &b.txs[0])
}

// wish tries what a party may want; being refused with a code is fine.
func (l *life) wish(p *party, e Event) {
	err := l.try(p, e)
	if code.Of(err) == code.Internal {
		l.rt.Fatalf("%T: %v", e, err)
	}
}

// sum is an amount near what is paid, or any.
func (l *life) sum(name string) usage.Sat {
	if l.below(4, name) == 0 {
		return usage.Sat(l.below(135_000, name))
	}
	return l.client.c.paid + usage.Sat(l.below(4_000, name)) - min(l.client.c.paid, 200)
}

func (l *life) rate() uint64 { return 900 + uint64(l.below(4_000, "close rate")) }

// step does one random thing.
func (l *life) step() {
	c, r := l.client, l.relay
	switch l.below(27, "step") {
	case 0, 1, 2, 3, 4, 5, 6:
		l.deliverOne(l.pick("to"))
	case 7, 8:
		l.wishClient(Pay{Amount: l.sum("pay"), Report: identity.Tagged("r"), Key: c.key, Stamp: l.stamp()})
	case 9:
		l.wishRelay(AskPayment{Amount: l.sum("ask"), Stamp: l.stamp()})
	case 10:
		l.wishRelay(OfferClose{Amount: l.sum("final"), FeeRate: l.rate(), Key: r.key, Stamp: l.stamp()})
	case 11:
		l.wishClient(Close{Amount: l.sum("final"), FeeRate: l.rate(), Key: c.key, Stamp: l.stamp()})
	case 12:
		l.wishClient(AcceptClose{Max: l.sum("max"), Key: c.key})
	case 13:
		l.unilateral()
	case 14:
		p := l.pick("away")
		l.away[p] = !l.away[p] && l.chance("leave")
	case 15, 16:
		l.reorg(1 + l.below(4, "depth"))
	case 17:
		l.restart(l.pick("restart"))
	case 18, 19:
		l.reconnected()
	case 20:
		l.backUp(l.pick("backup"))
	case 21:
		l.restored(l.pick("restore"))
	case 22:
		l.wish(l.pick("ready"), AnnounceReady{l.stamp()})
	case 23:
		if p := l.pick("asks"); !l.away[p] {
			c.max = l.sum("max")
			l.wish(p, l.asksClose(p, l.sum("final"), l.rate()))
			p.sign.note(p)
		}
	case 24, 25:
		l.wishRelay(Notify{Amount: l.sum("notify"), Report: identity.Tagged("r"), Stamp: l.stamp()})
	default:
		for range 1 + l.below(5, "blocks") {
			l.chain.mine(func(*wire.MsgTx) bool { return l.below(4, "mined") > 0 })
		}
	}
	l.sync(c)
	l.sync(r)
	l.invariants()
}

// unilateral is what one side does without the other.
func (l *life) unilateral() {
	switch l.below(7, "unilateral") {
	case 0:
		l.wishRelay(Settle{l.relay.key, uint64(l.below(40_000, "settle rate"))})
	case 1:
		l.wishClient(GiveUp{Code: code.Declined, Stamp: l.stamp()})
	case 2:
		l.wishRelay(GiveUp{Code: code.NoCapacity, Stamp: l.stamp()})
	case 3:
		l.wishClient(Refund{FeeRate: 3_000, Key: l.client.key})
	case 4:
		l.doubleSpend()
	case 5:
		l.wishClient(CancelFunding{FeeRate: 9_000})
	default:
		l.wishClient(PublishFunding{})
	}
}

// doubleSpend has the client's wallet spend a funding coin elsewhere, if the chain still lets it.
func (l *life) doubleSpend() {
	coin := l.client.c.coins[0]
	tx := newTx(0)
	addInput(tx, coin.OutPoint, spendSequence)
	addOutput(tx, coin.Value-20_000, p2tr(seedKey("elsewhere")))
	prevouts := map[wire.OutPoint]*wire.TxOut{coin.OutPoint: coin.txOut()}
	tx.TxIn[0].Witness = l.sign(l.client, SignFunding{Tx: tx, Prevouts: prevouts})[coin.OutPoint]
	_ = l.chain.accept(tx)
}

func (l *life) wishClient(e Event) {
	if !l.away[l.client] {
		l.wish(l.client, e)
	}
}

func (l *life) wishRelay(e Event) {
	if !l.away[l.relay] {
		l.wish(l.relay, e)
	}
}

// deliverOne hands over some message: any that waits, lost or doubled as it comes.
func (l *life) deliverOne(p *party) {
	if len(p.inbox) == 0 || l.away[p] {
		return
	}
	i := l.below(min(2, len(p.inbox)), "which")
	v := l.open(p.inbox[i])
	fate := l.below(6, "fate")
	if fate != 0 {
		p.inbox = slices.Delete(slices.Clone(p.inbox), i, i+1)
	}
	if fate == 1 {
		return // lost
	}
	p.due = min(l.sum("due"), p.c.paid+500)
	l.wish(p, l.event(p, v))
}

func (l *life) reorg(n int) {
	for range min(n, len(l.chain.blocks)) {
		l.chain.undo()
	}
}

// restart performs what Resume says, as after a crash.
func (l *life) restart(p *party) {
	if !l.away[p] {
		p.sign = nil
		l.perform(p, p.c.Resume())
	}
}

// reconnected begins a session, if both are there.
func (l *life) reconnected() {
	if !l.away[l.client] && !l.away[l.relay] {
		l.wish(l.client, Reconnect{Stamp: l.stamp()})
	}
}

// backUp copies a record that somebody may put back later. A copy from before the signatures is of no
// use: that is what the recovery blob is for.
func (l *life) backUp(p *party) {
	if p.c.signed() {
		l.old[p] = backup{l.encode(p.c), l.seen[p]}
	}
}

// restored puts the copy back.
func (l *life) restored(p *party) {
	b, ok := l.old[p]
	if !ok || l.away[p] {
		return
	}
	c, err := DecodeContract([]byte(b.record))
	if err != nil {
		l.rt.Fatalf("restore: %v", err)
	}
	p.c, l.seen[p], l.high[p], p.sign = c, b.seen, 0, nil
	l.sync(p)
}

// agree is a session without mishaps: whatever was lost before, both then hold the same update.
func (l *life) agree() {
	c, r := l.client, l.relay
	for _, p := range l.parties() {
		l.away[p], p.inbox = false, nil
		l.sync(p)
	}
	l.reconnected()
	for len(c.inbox)+len(r.inbox) > 0 {
		for _, p := range l.parties() {
			if len(p.inbox) > 0 {
				v := l.open(p.inbox[0])
				p.inbox = p.inbox[1:]
				l.wish(p, l.event(p, v))
			}
		}
	}
	if !c.c.signed() || !r.c.signed() || c.c.facts.spentAt > 0 || r.c.facts.spentAt > 0 {
		return
	}
	if (c.c.n != r.c.n || c.c.paid != r.c.paid) && c.c.frozen == NotFrozen && r.c.frozen == NotFrozen {
		l.rt.Fatalf("after a reconnection update %d of %d sat and %d of %d", c.c.n, c.c.paid, r.c.n, r.c.paid)
	}
	if c.c.paid != r.c.paid {
		l.rt.Fatalf("after a reconnection %d and %d sat", c.c.paid, r.c.paid)
	}
	if (c.c.frozen == NotFrozen) != (r.c.frozen == NotFrozen) {
		l.rt.Fatalf("only one side is frozen")
	}
}

// invariants hold after every step.
func (l *life) invariants() {
	c, r := l.client.c, l.relay.c
	for _, p := range l.parties() {
		if p.c.paid < l.high[p] {
			l.rt.Fatalf("%s: a payment fell from %d to %d", p.role, l.high[p], p.c.paid)
		}
		l.high[p] = p.c.paid
		l.conserved(p.c)
		l.served(p.c)
		l.freshNonces(p)
		if l.looks++; l.looks%16 == 0 { // it builds every transaction anew
			wantShown(l.rt, p.c)
		}
	}
	l.most = max(l.most, c.paid)
	if r.paid > l.most {
		l.rt.Fatalf("the relay has a payment of %d sat, the most that was ever signed is %d", r.paid, l.most)
	}
}

// freshNonces: no public nonce stands in two statements.
func (l *life) freshNonces(p *party) {
	for ; l.read[p] < len(p.sent); l.read[p]++ {
		var n PubNonce
		sent, err := Decode(p.sent[l.read[p]].Statement)
		if err != nil {
			l.rt.Fatalf("the %s said what nobody can read: %v", p.role, err)
		}
		switch m := sent.(type) {
		case *CloseNonce:
			n = m.Nonce
		case *CloseSig:
			n = m.Nonce
		default:
			continue
		}
		if l.used[n] {
			l.rt.Fatalf("the %s used a nonce twice", p.role)
		}
		l.used[n] = true
	}
}

// conserved: what the chain shows of the escrow is all of V, and nobody was paid less than agreed.
func (l *life) conserved(c Contract) {
	s, at, ok := c.Spend()
	if !ok {
		return
	}
	if s.Client+s.Relay+s.Fee != c.terms.Value {
		l.rt.Fatalf("%s: %d + %d + %d of %d sat", s.Kind, s.Client, s.Relay, s.Fee, c.terms.Value)
	}
	switch s.Kind {
	case SpendSettlement, SpendClose:
		if c.role == Relay && s.Relay+s.Fee < c.terms.FirstPayment {
			l.rt.Fatalf("%s gives the relay %d + %d", s.Kind, s.Relay, s.Fee)
		}
	case SpendRefund:
		if at <= c.terms.Expiry {
			l.rt.Fatalf("a refund in block %d, E is %d", at, c.terms.Expiry)
		}
	default:
		l.rt.Fatalf("a spend of kind %s", s.Kind)
	}
}

// served: service only on a funding that is deep enough, in time, and not after a closing signature.
func (l *life) served(c Contract) {
	if _, granted := c.Granted(); granted && !c.closing {
		l.rt.Fatalf("a partial signature has left, and the %s goes on", c.role)
	}
	if c.Service() && (c.depth() < usage.Height(c.terms.Depth) || c.tip >= c.terms.ServiceUntil() || c.closing || c.facts.spentAt > 0) {
		l.rt.Fatalf("service in %+v", c.Summary())
	}
}

// alone: from here on only these parties live; each must get out with what is its own.
func (l *life) alone(survivors ...*party) {
	for _, p := range l.parties() {
		l.away[p] = !slices.Contains(survivors, p)
		p.deaf = true
		p.inbox = nil
		l.sync(p)
	}
	t := l.client.c.terms
	for l.chain.tip() < t.Expiry+40 {
		most := 3
		if tip := l.chain.tip(); tip+8 < t.SettleFrom() || tip > t.Expiry+8 {
			most = 8 // nothing presses
		}
		for range 1 + l.below(most, "blocks") {
			l.chain.mine(nil)
		}
		for _, p := range l.parties() {
			l.sync(p)
		}
	}
	for _, p := range survivors {
		l.out(p)
	}
}

// out checks that a survivor is not stuck: its contract is at an end, and it has its money.
func (l *life) out(p *party) {
	c := p.c
	switch c.State() {
	case StateNew, StateAborted, StateFailed, StateArchived:
	case StateSigned, StateFunding, StateCancelling:
		if (c.depth() > 0 || p.role == Relay) && !c.Forgettable() {
			l.rt.Fatalf("%s is stuck: %+v", p.role, c.Summary())
		}
		l.kept(c)
		return // the client's coins are still its own: it may spend them elsewhere
	default:
		l.rt.Fatalf("%s is stuck: %+v", p.role, c.Summary())
	}
	l.kept(c)
	s, _, ok := c.Spend()
	if !ok {
		return
	}
	if bumped := l.bumped(s.TxID); p.role == Relay && l.paidTo(p)+bumped != s.Relay+l.back(c) {
		l.rt.Fatalf("the relay has %d, and its child's fee was %d, of %d", l.paidTo(p), bumped, s.Relay)
	}
	if p.role == Client && s.Client+s.Relay+s.Fee == c.terms.Value && l.paidTo(p) == 0 && s.Client >= dustLimit+FeeFor(4_000*5/4, sweepWeight) {
		l.rt.Fatalf("the client has nothing of %d", s.Client)
	}
}

// kept: what the relay brought for a collateral is its own again, less the fees that it has agreed to.
func (l *life) kept(c Contract) {
	if c.role != Relay {
		return
	}
	if err := l.backingConserved(c); err != nil {
		l.rt.Fatalf("%v: %+v", err, c.Summary())
	}
}

func TestAnyScheduleConservesAndEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := newLife(rt, true)
		for range l.below(40, "steps") {
			l.step()
		}
		l.agree()
		switch l.below(3, "who survives") {
		case 0:
			l.alone(l.client)
		case 1:
			l.alone(l.relay)
		case 2:
			l.alone(l.client, l.relay)
		}
	})
}

// TestRelayAliveIsPaid: a relay that lives gets its last payment less the fee, whatever the client
// does, unless it agreed to another close itself.
func TestRelayAliveIsPaid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := newLife(rt, true)
		l.deliver()
		for range 3 + l.below(10, "blocks") {
			l.chain.mine(nil)
			l.sync(l.client)
			l.sync(l.relay)
		}
		for range l.below(5, "payments") {
			l.wish(l.client, Pay{Amount: l.sum("pay"), Key: l.client.key, Stamp: l.stamp()})
			for len(l.relay.inbox)+len(l.client.inbox) > 0 {
				l.deliver()
			}
		}
		paid := l.relay.c.Paid()
		l.alone(l.relay)
		s, _, ok := l.relay.c.Spend()
		if !ok || s.Kind == SpendRefund || s.Relay+s.Fee < paid || s.Fee > FeeFor(16_000, settleWeight) {
			rt.Fatalf("paid were %d: %+v", paid, l.relay.c.Summary())
		}
	})
}

// TestFault38DuplicatesChangeNothing: every message of a conversation again, in any order.
func TestFault38DuplicatesChangeNothing(t *testing.T) {
	w := active(t)
	w.pay(3_000)
	w.do(w.relay, AskPayment{Amount: 3_500, Stamp: w.stamp()})
	w.deliver()
	w.pay(4_000)
	rapid.Check(t, func(rt *rapid.T) {
		p := []*party{w.client, w.relay}[rapid.IntRange(0, 1).Draw(rt, "to")]
		all := w.other(p).sent
		v := w.open(all[rapid.IntRange(0, len(all)-1).Draw(rt, "message")])
		next, effects, err := p.c.Apply(w.event(p, v))
		if err == nil && (next.paid != p.c.paid || next.n != p.c.n || next.State() != p.c.State()) {
			rt.Fatalf("a repeated %T changed the contract", v.Message())
		}
		for _, e := range effects {
			if s, ok := e.(Send); ok && !slices.ContainsFunc(p.sent, func(o identity.Signed) bool { return string(o.Statement) == string(s.Statement) }) {
				rt.Fatalf("a repeated %T was answered in another way", v.Message())
			}
		}
	})
}
