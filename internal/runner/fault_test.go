package runner_test

import (
	"context"
	"testing"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

// losing is a line on which the n-th statement of the client, or its answer, is lost.
func (p *pair) losing(n int, heard bool) runner.Exchange {
	return func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		if n--; n != 0 {
			return p.exchange(ctx, s)
		}
		if heard {
			_, _ = p.exchange(ctx, s)
		}
		return identity.Signed{}, errSilence
	}
}

func (p *pair) opening() runner.Opening {
	return runner.Opening{Offer: p.relay.offer, Value: 100_000, Prepaid: 1000, Duration: 60, FundFeeRate: 2000}
}

// wantFree checks that the client's wallet holds everything, unreserved.
func (p *pair) wantFree(least int64) {
	p.t.Helper()
	b, err := p.client.wallet.Balance()
	if err != nil || b.LeasedSat != 0 || b.ConfirmedSat < least {
		p.t.Fatalf("the wallet has %+v, %v", b, err)
	}
}

// TestFault01RelaySilentAfterTheProposal: the client gives up, and its coins are free at once.
func TestFault01RelaySilentAfterTheProposal(t *testing.T) {
	p := newPair(t)
	for _, heard := range []bool{false, true} { // also when the answer is lost
		if _, err := p.client.r.Open(t.Context(), p.opening(), p.losing(1, heard)); code.Of(err) != code.Disconnected {
			t.Fatal(err)
		}
		p.wantFree(500_000)
	}
	// Fault 2: the relay has answered a client that never came back. Nothing of its own was locked, and
	// the same coin opens the next contract.
	p.openActive()
}

// TestFault04RelayDiesBetweenStoreAndBroadcast: its node takes nothing when the signatures come, and then
// it dies. It publishes after its start.
func TestFault04RelayDiesBetweenStoreAndBroadcast(t *testing.T) {
	p := ownPair(t)
	said := 0
	c, err := p.client.r.Open(t.Context(), p.opening(), func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		if said++; said == 2 {
			if err := p.node.Halt(); err != nil {
				t.Error(err)
			}
		}
		return p.exchange(ctx, s)
	})
	if err == nil || c.State() != contract.StateSigned {
		t.Fatalf("the contract is %s: %v", c.State(), err)
	}
	if got := p.relay.wait(c.ID(), contract.StateComplete); got.Paid() != 3500 {
		t.Fatalf("the relay has %d sat on disk", got.Paid())
	}
	p.relay.stop()
	if err := p.node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.relay.start()
	p.mineUntilState(c.ID(), contract.StateActive)
}

// TestFault10NoServiceAtDepthZero: what is unconfirmed is worth nothing.
func TestFault10NoServiceAtDepthZero(t *testing.T) {
	p := newPair(t)
	c := p.open()
	for _, s := range []*side{p.client, p.relay} {
		s.wait(c.ID(), contract.StateFunding)
	}
	if _, err := p.client.r.Pay(t.Context(), c.ID(), 5000, identity.Digest{}, p.exchange); code.Of(err) != code.BadState {
		t.Fatal(err)
	}
	p.mine(1)
	for _, s := range []*side{p.client, p.relay} {
		if got, err := s.r.Contract(c.ID()); err != nil || got.Service() {
			t.Fatalf("the %v serves at depth 1 of 2: %v", s.role, err)
		}
	}
}

// mineUntilState makes blocks until both sides see a state: the node's miner may leave a fresh transaction out.
func (p *pair) mineUntilState(id usage.ContractID, want contract.State) {
	p.t.Helper()
	for range 12 {
		done := 0
		for _, s := range []*side{p.client, p.relay} {
			if c, err := s.r.Contract(id); err == nil && c.State() == want {
				done++
			}
		}
		if done == 2 {
			return
		}
		p.mine(1)
		time.Sleep(100 * time.Millisecond) // what follows a block is broadcast after its event
	}
	p.t.Fatalf("not %s", want)
}

// TestFault14AnOldSettlement: a relay that was put back to an older update settles for less, which costs
// itself only; both sides book what the chain shows.
func TestFault14AnOldSettlement(t *testing.T) {
	p := newPair(t)
	p.relay.onDisk()
	id := p.openActive().ID()
	p.pay(id, 4000)
	old := p.relay.backup()
	p.pay(id, 9000)
	p.relay.restore(old) // and it does not ask the client for what it has lost
	if _, err := p.relay.r.Settle(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	p.mineUntilState(id, contract.StateClosed)
	for _, s := range []*side{p.client, p.relay} {
		sp, _, _ := s.wait(id, contract.StateClosed).Spend()
		if sp.Client != 96_000 || sp.Client+sp.Relay+sp.Fee != 100_000 {
			t.Fatalf("%v: %+v", s.role, sp)
		}
	}
}

// TestFault17LateRefundAgainstLateSettlement: after E both are valid; what is confirmed first is booked.
func TestFault17LateRefundAgainstLateSettlement(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	p.pay(c.ID(), 9000)
	p.relay.stop()
	for p.client.r.Tip() < c.Terms().Expiry {
		p.mineFor(1, p.client)
	}
	p.client.wait(c.ID(), contract.StateRefunding)
	p.relay.start() // wakes up after E, settles, and finds the refund in the way
	p.mineUntilState(c.ID(), contract.StateClosed)
	a, _, _ := p.client.wait(c.ID(), contract.StateClosed).Spend()
	b, _, _ := p.relay.wait(c.ID(), contract.StateClosed).Spend()
	if a != b || a.Client+a.Relay+a.Fee != 100_000 {
		t.Fatalf("%+v and %+v", a, b)
	}
}

// TestFault30ClockADayOff: the money does not look at clocks.
func TestFault30ClockADayOff(t *testing.T) {
	p := newPair(t)
	id := p.openActive().ID()
	for _, ahead := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		p.client.ahead.Store(int64(ahead))
		c, err := p.client.r.Contract(id)
		if err != nil {
			t.Fatal(err)
		}
		p.pay(id, c.Paid()+1000)
	}
	p.closesFor(id, 5500)
}

// TestFault36ReplayOnAnotherContract: what was signed for one contract is refused by another.
func TestFault36ReplayOnAnotherContract(t *testing.T) {
	p := newPair(t)
	p.fund(500_000)
	var sent []identity.Signed
	record := func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		sent = append(sent, s)
		return p.exchange(ctx, s)
	}
	first := p.openActive().ID()
	if _, err := p.client.r.Pay(t.Context(), first, 6000, identity.Digest{}, record); err != nil {
		t.Fatal(err)
	}
	second := p.openActive().ID()
	before, _ := p.relay.r.Contract(second)
	for _, s := range sent {
		_, _ = p.exchange(t.Context(), s)
	}
	if after, err := p.relay.r.Contract(second); err != nil || after.Paid() != before.Paid() || after.Updates() != before.Updates() {
		t.Fatalf("a replayed payment counts for another contract: %d sat, %v", after.Paid(), err)
	}
	if c, _ := p.relay.r.Contract(first); c.Paid() != 6000 || c.Updates() != 2 {
		t.Fatalf("a replayed payment counts twice: %d sat in update %d", c.Paid(), c.Updates())
	}
}
