package runner_test

import (
	"errors"
	"testing"

	"relaymarket/contract"
	"relaymarket/internal/runner"
)

// relayCoins are the coins of a relay whose openings die: one that was signed for is tied up until it is withdrawn.
var relayCoins = []int64{40_000, 40_000, 40_000}

// openBacked opens a short contract with a collateral.
func (c *couple) openBacked() {
	c.t.Helper()
	c.reach("the contract is open", func() bool { return c.client.state().Live() && c.relay.state().Live() }, func() error {
		if _, known := c.client.live(); known {
			return errors.Join(c.session(), c.block())
		}
		_, err := c.client.prog.r.Open(c.client.prog.ctx, runner.Opening{
			Offer: c.relay.offer, Value: 100_000, Prepaid: 1000, Collateral: 20_000, Duration: 30, FundFeeRate: 2000,
		}, c.exchange)
		return err
	})
	c.reach("the contract is active", c.both(contract.StateActive), c.block)
}

// backed lives such a contract to its end with a death in the opening, or past E, where the collateral comes back.
func (m moment) backed(t *testing.T, d death, late bool) (points []string) {
	t.Helper()
	c := m.again(t)
	defer c.end()
	victim := c.client
	if d.role == contract.Relay {
		victim = c.relay
	}
	victim.killAt, c.together = d.at, d.both
	defer func() {
		if t.Failed() {
			t.Logf("%+v: %s", d, victim.killed)
		}
	}()
	victim.count(!late)
	c.openBacked()
	k, _ := c.client.live()
	victim.count(false)
	for c.client.prog.r.Tip()+1 < k.Terms().Expiry {
		c.reach("E comes", func() bool { return true }, c.block)
	}
	victim.count(late)
	c.reach("both have closed, and nothing is locked", func() bool {
		return c.both(contract.StateClosed)() && c.relay.prog.r.Locked() == 0
	}, c.block)
	victim.count(false)
	c.allBack()
	return victim.points
}

// allBack: every satoshi is somebody's again, and the relay has what it brought and earned but the fees.
func (c *couple) allBack() {
	c.t.Helper()
	d := c.chain.(*double)
	var brought int64
	for _, sat := range relayCoins {
		brought += sat
	}
	client, relay, other := c.shares(d)
	k, _ := c.client.live()
	s, _, _ := k.Spend()
	if client+relay+d.fees != 500_000+brought || other != 0 || relay > brought+int64(s.Relay) || relay+5_000 < brought+int64(s.Relay) {
		c.t.Fatalf("the client has %d, the relay %d, somebody %d, miners %d; the relay brought %d and was paid %d", client, relay, other, d.fees, brought, s.Relay)
	}
}

// TestKilledWithACollateral kills either side at points of the opening, where the relay's signatures leave first, and of the
// blocks in which the collateral comes back.
func TestKilledWithACollateral(t *testing.T) {
	t.Parallel() // it mostly waits
	from := newPeopleWith(t, relayCoins...).born()
	deaths := 0
	for _, late := range []bool{false, true} {
		for _, role := range []contract.Role{contract.Relay, contract.Client} {
			step := map[contract.Role]int{contract.Relay: 3, contract.Client: 8}[role]
			if raced {
				step *= 5
			}
			points := from.backed(t, death{role: role}, late)
			for at := 1; at <= len(points); at += step {
				from.backed(t, death{role: role, at: at, both: at%4 == 0}, late)
				deaths++
			}
			t.Logf("late %v: %d points of the %v", late, len(points), role)
		}
	}
	t.Logf("%d deaths", deaths)
}
