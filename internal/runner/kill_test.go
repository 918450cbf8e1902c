package runner_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

// ending is a way in which a life ends.
type ending struct {
	name string
	do   func(*couple) error
	kind contract.SpendKind
	key  bool // by the key path
}

var endings = []ending{
	{"client asks by the key path", (*couple).closeByKey, contract.SpendClose, true},
	{"client asks by the leaf", (*couple).closeByLeaf, contract.SpendClose, false},
	{"relay offers by the leaf", (*couple).offerByLeaf, contract.SpendClose, false},
	{"relay asks by the key path", (*couple).askByKey, contract.SpendClose, true},
	{"relay settles", (*couple).settle, contract.SpendSettlement, false},
	{"client refunds", (*couple).refund, contract.SpendRefund, false},
}

// stages are what comes before the ending. What a stage begins with is lived once.
var stages = []func(*couple){
	(*couple).open,
	func(c *couple) { c.ready(); c.pay(5000) },
	func(c *couple) { c.askAndPay(6000) },
}

// TestKilledAtEveryPoint lives whole contracts and kills one side at every point: before and after each
// commit, each statement, each answer and each broadcast. Killed is killed: nothing of the program goes on,
// and its disk has what was synced. Then it starts again, the two meet, and go on. At each meeting both must
// hold the same update and sum, or both no contract; at the end both have booked the same transaction, the
// sums are those that were agreed, and the chain has every satoshi.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel() // it mostly waits
	p := newPeople(t)
	total := 0
	before := p.born()
	for i := range stages {
		total += p.killAll(t, before, fmt.Sprintf("stage %d", i), stages[i:], endings[i])
		c := before.again(t)
		stages[i](c)
		before = c.pause(p)
	}
	for _, e := range endings {
		total += p.killAll(t, before, e.name, nil, e)
	}
	t.Logf("%d deaths", total)
}

// killAll kills either side at every point of the first stage, or of the ending if there is none. Under the race
// detector, which is looking for something else, at some.
func (p *people) killAll(t *testing.T, from moment, name string, first []func(*couple), e ending) int {
	t.Helper()
	step := 1
	if raced {
		step = 7
	}
	total := 0
	for _, role := range []contract.Role{contract.Client, contract.Relay} {
		points := from.points(t, name, first, e, role)
		deaths := 0
		for at := 1; at <= points; at += step {
			from.kill(t, name, first, e, death{role: role, at: at})
			deaths++
			switch at % 8 {
			case 2: // it dies again while it makes up for the first death
				from.kill(t, name, first, e, death{role: role, at: at, thenIn: 1 + at%5})
				deaths += 2
			case 6: // the other side dies with it
				from.kill(t, name, first, e, death{role: role, at: at, both: true})
				deaths += 2
			}
		}
		total += deaths
		t.Logf("%s: %d points of the %v, %d deaths", name, points, role, deaths)
	}
	return total
}

// death says who dies where; at 0: nobody.
type death struct {
	role   contract.Role
	at     int
	thenIn int  // and again so many points later
	both   bool // the other side dies too, when it is next looked at
}

// points counts the points of a side. Their number differs a little from life to life, because each side polls
// its mempool when it likes: the fewest of three lives is what every life has, but for rare ones.
func (m moment) points(t *testing.T, name string, first []func(*couple), e ending, role contract.Role) int {
	t.Helper()
	fewest := 0
	for i := range 3 {
		points, _ := m.live(t, name, first, e, death{role: role})
		if n := len(points); i == 0 || n < fewest {
			fewest = n
		}
	}
	return fewest
}

// kill lives with a death, again where a life was over before it came to the point.
func (m moment) kill(t *testing.T, name string, first []func(*couple), e ending, d death) {
	t.Helper()
	for range 5 {
		if _, killed := m.live(t, name, first, e, d); killed {
			return
		}
	}
	t.Fatalf("%s: no point %d of the %v in five lives", name, d.at, d.role)
}

// live lives from a moment to the end. It gives the points that the side which may die has passed in the first stage, and
// whether it died.
func (m moment) live(t *testing.T, name string, first []func(*couple), e ending, d death) (points []string, killed bool) {
	t.Helper()
	return m.again(t).live(name, nil, first, e, d)
}

// live is the same with stages before the first that counts.
func (c *couple) live(name string, before, first []func(*couple), e ending, d death) (points []string, killed bool) {
	t := c.t
	t.Helper()
	defer c.end()
	victim := c.client
	if d.role == contract.Relay {
		victim = c.relay
	}
	victim.killAt, victim.thenIn, c.together = d.at, d.thenIn, d.both
	defer func() {
		if t.Failed() {
			t.Logf("%s: %+v: %s", name, d, victim.killed)
		}
	}()
	for _, stage := range before {
		stage(c)
	}
	victim.count(len(first) > 0 || e.kind != contract.SpendRefund) // which counts from E on
	for i, stage := range first {
		stage(c)
		victim.count(false)
		if i == 0 {
			points = victim.points
		}
	}
	c.reach("the escrow is spent", c.isSpent, func() error { return e.do(c) })
	if c.relay.prog == nil {
		c.relay.begin()
	}
	c.reach("both have closed", c.both(contract.StateClosed), c.block)
	c.books(e)
	return victim.points, victim.killed != ""
}

// reach does a thing until it is done. Whoever dies is started again, and both meet; without a death
// nothing may fail.
func (c *couple) reach(what string, done func() bool, do func() error) {
	c.t.Helper()
	for range 60 {
		err := do()
		if err == nil && !c.client.dead() && !c.relay.dead() {
			c.level()
		}
		if c.revive() {
			continue
		}
		if err != nil && code.Of(err) != code.NotDue { // done already
			c.t.Fatalf("%s: %v", what, err)
		}
		if done() {
			return
		}
	}
	c.t.Fatalf("%s: the client is %v, the relay %v", what, c.client.state(), c.relay.state())
}

func (c *couple) level() {
	for _, h := range c.hosts() {
		h.level(c.chain)
	}
}

// revive starts who is dead, has both meet, and checks that they agree. It tells whether anybody was dead.
func (c *couple) revive() bool {
	c.t.Helper()
	c.level()
	revived := false
	for c.dieTogether(); c.client.dead() || c.relay.dead(); revived = true {
		for _, h := range c.hosts() {
			if h.dead() {
				h.end()
				h.begin()
			}
		}
		c.level()
		c.meet()
	}
	return revived
}

// meet has both begin a session, as far as they live, and checks that they agree.
func (c *couple) meet() {
	c.t.Helper()
	if c.relay.prog == nil || c.client.dead() || c.relay.dead() {
		return
	}
	err := c.session()
	c.level()
	switch {
	case c.client.dead() || c.relay.dead():
	case err != nil:
		c.t.Fatalf("meeting again: %v", err)
	default:
		c.agree()
	}
}

// dieTogether kills the side that lives, once, when the other is dead.
func (c *couple) dieTogether() {
	if !c.together || !c.client.dead() && !c.relay.dead() {
		return
	}
	c.together = false
	for _, h := range c.hosts() {
		h.mu.Lock()
		if h.prog != nil && !h.prog.dead {
			h.prog.die()
		}
		h.mu.Unlock()
	}
}

// agree checks that both hold the same.
func (c *couple) agree() {
	c.t.Helper()
	a, known := c.client.live()
	b, heard := c.relay.live()
	if !known {
		if heard && b.State() != contract.StateOffered {
			c.t.Fatalf("the client has no contract, the relay's is %s", b.State())
		}
		if w, err := c.client.wallet.Balance(); err != nil || w.LeasedSat != 0 {
			c.t.Fatalf("no contract, and %+v, %v", w, err)
		}
		return
	}
	if !heard || a.Nonce() != b.Nonce() || a.Paid() != b.Paid() || a.Updates() != b.Updates() || a.Pending() != nil && !a.Summary().State.Over() && a.State() != contract.StateClosing {
		c.t.Fatalf("the client is %s with %d sat in update %d, the relay %s with %d in %d",
			a.State(), a.Paid(), a.Updates(), b.State(), b.Paid(), b.Updates())
	}
}

func (c *couple) both(want contract.State) func() bool {
	return func() bool { return c.client.state() == want && c.relay.state() == want }
}

func (c *couple) block() error {
	c.chain.mine()
	c.level()
	return nil
}

// open opens a contract.
func (c *couple) open() {
	c.t.Helper()
	c.reach("the contract is open", func() bool { return c.client.state().Live() && c.relay.state().Live() }, func() error {
		if _, known := c.client.live(); known {
			return errors.Join(c.session(), c.block()) // what was not published is, with the next block
		}
		_, err := c.client.prog.r.Open(c.client.prog.ctx, runner.Opening{
			Offer: c.relay.offer, Value: 100_000, Prepaid: 1000, Duration: 60, FundFeeRate: 2000,
		}, c.exchange)
		return err
	})
	c.reach("the contract is active", c.both(contract.StateActive), c.block)
}

// ready has both say that the funding is deep enough.
func (c *couple) ready() {
	c.t.Helper()
	c.reach("both have said so", func() bool {
		a, _ := c.client.live()
		b, _ := c.relay.live()
		return a.PeerReady() && b.PeerReady()
	}, func() error {
		if err := c.client.prog.r.Ready(c.client.prog.ctx, c.relay.key.Public(), c.exchange); err != nil {
			return err
		}
		s, err := c.relay.prog.r.SayReady(c.relay.prog.ctx, c.id())
		if err != nil {
			return err
		}
		return c.push(s)
	})
}

func (c *couple) id() usage.ContractID {
	k, _ := c.client.live()
	return k.ID()
}

// pay pays a sum as often as it takes.
func (c *couple) pay(sum usage.Sat) {
	c.t.Helper()
	c.reach(fmt.Sprintf("%d sat are paid", sum), func() bool {
		a, _ := c.client.live()
		b, _ := c.relay.live()
		return a.Paid() == sum && b.Paid() == sum && a.Pending() == nil
	}, func() error {
		_, err := c.client.prog.r.Pay(c.client.prog.ctx, c.id(), sum, identity.Digest{}, c.exchange)
		return err
	})
}

// askAndPay has the relay ask for what is then paid.
func (c *couple) askAndPay(sum usage.Sat) {
	c.t.Helper()
	c.reach("the relay has asked", func() bool { a, _ := c.client.live(); return a.Asked().Amount == sum }, func() error {
		s, err := c.relay.prog.r.AskPayment(c.relay.prog.ctx, c.id(), sum, false, identity.Digest{})
		if err != nil {
			return err
		}
		return c.push(s)
	})
	c.pay(sum)
}

// The endings.

const closeRate = 2000

func (c *couple) closeByKey() error {
	_, err := c.client.prog.r.CloseByKey(c.client.prog.ctx, c.id(), 6000, closeRate, c.exchange)
	return c.unlessSpent(err)
}

func (c *couple) closeByLeaf() error {
	_, err := c.client.prog.r.Close(c.client.prog.ctx, c.id(), 6000, closeRate, c.exchange)
	return c.unlessSpent(err)
}

func (c *couple) offerByLeaf() error {
	if a, _ := c.client.live(); !isOffered(a) {
		s, err := c.relay.prog.r.OfferClose(c.relay.prog.ctx, c.id(), 6000, closeRate, identity.Digest{})
		if err == nil {
			err = c.push(s)
		}
		if err != nil {
			return c.unlessSpent(err)
		}
	}
	_, err := c.client.prog.r.AcceptClose(c.client.prog.ctx, c.id(), 6000)
	return c.unlessSpent(err)
}

func isOffered(c contract.Contract) bool {
	_, ok := c.CloseOffered()
	return ok
}

func (c *couple) askByKey() error {
	s, err := c.relay.prog.r.AskClose(c.relay.prog.ctx, c.id(), 6000, closeRate)
	if err == nil {
		err = c.push(s)
	}
	return c.unlessSpent(err)
}

func (c *couple) settle() error {
	_, err := c.relay.prog.r.Settle(c.relay.prog.ctx, c.id())
	return err
}

// refund: the relay is gone, and E comes. What was not published then is with the next block.
func (c *couple) refund() error {
	c.relay.end()
	k, _ := c.client.live()
	for !c.client.dead() && !c.isSpent() {
		if c.client.prog.r.Tip()+1 >= k.Terms().Expiry {
			c.client.count(true)
		}
		if err := c.block(); err != nil {
			return err
		}
	}
	return nil
}

// unlessSpent forgives a repetition that comes too late: the escrow is spent, or will be with the next block by a
// close that is complete.
func (c *couple) unlessSpent(err error) error {
	if c.isSpent() {
		return nil
	}
	for _, h := range c.hosts() {
		if k, _ := h.live(); err != nil && !h.dead() {
			if _, complete := k.Closing(); complete {
				return c.block()
			}
		}
	}
	return err
}

// isSpent tells whether the escrow is spent, in a block or in the pool.
func (c *couple) isSpent() bool {
	k, _ := c.client.live()
	escrow, ok := k.Escrow()
	if !ok {
		return false
	}
	_, spent := c.chain.spender(escrow)
	return spent
}

// books checks the end of a life.
func (c *couple) books(e ending) {
	c.t.Helper()
	a, _ := c.client.live()
	b, _ := c.relay.live()
	s, _, _ := a.Spend()
	if o, _, _ := b.Spend(); s != o {
		c.t.Fatalf("the client has booked %+v, the relay %+v", s, o)
	}
	if s.Kind != e.kind || s.KeyPath != e.key || s.Client+s.Relay+s.Fee != 100_000 {
		c.t.Fatalf("%+v", s)
	}
	if s.Kind != contract.SpendRefund && (s.Relay+s.Fee != 6000 || a.Paid() != 6000 || a.Updates() != 3) {
		c.t.Fatalf("%d sat in update %d are paid, in the chain %+v", a.Paid(), a.Updates(), s)
	}
	if _, err := c.client.prog.r.Pay(context.Background(), c.id(), 9000, identity.Digest{}, nil); err == nil {
		c.t.Fatal("a closed contract takes a payment")
	}
	d, counted := c.chain.(*double)
	if !counted {
		return
	}
	client, relay, other := c.shares(d)
	if client+relay+d.fees != 500_000 || other != 0 || relay != int64(s.Relay) {
		c.t.Fatalf("the client has %d, the relay %d, somebody %d, miners %d, of 500000", client, relay, other, d.fees)
	}
}

// shares is what of all coins in the chain is whose.
func (c *couple) shares(d *double) (client, relay, other int64) {
	for _, coin := range d.coins {
		switch script := coin.out.PkScript; {
		case c.client.wallet.Owns(script):
			client += coin.out.Value
		case c.relay.wallet.Owns(script):
			relay += coin.out.Value
		default:
			other += coin.out.Value
		}
	}
	return client, relay, other
}
