package runner_test

import (
	"math/rand/v2"
	"testing"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
)

// TestFault38MessagesTwiceAndOutOfOrder: everything that either side has said in the life of a contract comes again, to
// whom it was said, in any order. Nothing is paid twice, nothing goes back, and the contract ends as if nothing had come.
func TestFault38MessagesTwiceAndOutOfOrder(t *testing.T) {
	p := newPeople(t)
	c := p.born().again(t)
	defer c.end()
	c.record = true
	c.open()
	c.ready()
	c.pay(5000)
	c.askAndPay(6000)
	check(t, c.session())
	c.record = false
	if len(c.said) < 15 {
		t.Fatalf("only %d statements were recorded", len(c.said))
	}
	again := func(when string, paid uint64) {
		t.Helper()
		rng := rand.New(rand.NewPCG(1, 2))
		for range 3 {
			for _, i := range rng.Perm(len(c.said)) {
				s := c.said[i]
				_, _ = s.to.prog.r.Receive(t.Context(), s.from.key.Public(), s.what)
			}
		}
		a, _ := c.client.live()
		b, _ := c.relay.live()
		if len(c.client.prog.r.Contracts()) != 1 || len(c.relay.prog.r.Contracts()) != 1 {
			t.Fatalf("%s: a second contract", when)
		}
		for _, k := range []contract.Contract{a, b} {
			if why, _ := k.Frozen(); uint64(k.Paid()) != paid || k.Updates() != 3 || why != contract.NotFrozen {
				t.Fatalf("%s: the %v has %d sat in update %d, and %v", when, k.Role(), k.Paid(), k.Updates(), why)
			}
		}
	}
	again("while it is active", 6000)
	if !c.both(contract.StateActive)() {
		t.Fatalf("the client is %v, the relay %v", c.client.state(), c.relay.state())
	}
	// An old contractReestablish looks like that of a side that was put back from a copy: the numbering begins anew, and
	// holds again from the next meeting on.
	check(t, c.session())
	c.reach("the escrow is spent", c.isSpent, func() error { return c.closeByLeaf() })
	again("while it closes", 6000)
	c.reach("both have closed", c.both(contract.StateClosed), c.block)
	again("when it is closed", 6000)
	c.books(endings[1])
}

// TestFault45NothingAfterTheEndOfService: from stop_service on nothing is served, paid or asked for, whoever tries, and the
// account takes no more; what was paid before is settled.
func TestFault45NothingAfterTheEndOfService(t *testing.T) {
	p := newPeople(t)
	c := p.born().again(t)
	defer c.end()
	c.open()
	c.pay(5000)
	k, _ := c.client.live()
	account := func() store.AccountState {
		t.Helper()
		a, err := c.relay.prog.store.(*store.Relay).Account(t.Context(), k.ID())
		check(t, err)
		return a.State
	}
	for c.client.prog.r.Tip()+1 < k.Terms().ServiceUntil() {
		check(t, c.block())
	}
	if !k.Service() || account() != store.AccountActive {
		t.Fatalf("one block before the end the account is in state %d", account())
	}
	check(t, c.block())
	for _, h := range c.hosts() {
		if x, _ := h.live(); x.Service() || x.State() != contract.StateDraining {
			t.Fatalf("the %v is %s", h.role, x.State())
		}
	}
	if account() == store.AccountActive {
		t.Fatal("the account is open after the end of service")
	}
	ctx := t.Context()
	if _, err := c.client.prog.r.Pay(ctx, k.ID(), 6000, identity.Digest{}, c.exchange); code.Of(err) != code.BadDeadline {
		t.Fatalf("a payment: %v", err)
	}
	if _, err := c.relay.prog.r.AskPayment(ctx, k.ID(), 6000, false, identity.Digest{}); code.Of(err) != code.BadDeadline {
		t.Fatalf("asking for one: %v", err)
	}
	c.reach("both have closed", c.both(contract.StateClosed), c.block)
	if s, _, _ := k.Spend(); s.Kind != contract.SpendNone {
		t.Fatal("an old value has changed")
	}
	k, _ = c.client.live()
	if s, _, _ := k.Spend(); s.Kind != contract.SpendSettlement || s.Relay+s.Fee != 5000 {
		t.Fatalf("%+v", s)
	}
}
