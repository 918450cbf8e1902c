package runner_test

import (
	"testing"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/internal/store"
)

// account is the state of a contract's account at the relay, as the committer sees it.
func (p *pair) account(c contract.Contract) store.AccountState {
	p.t.Helper()
	a, err := p.relay.store.Account(p.t.Context(), c.ID())
	if err != nil {
		p.t.Fatal(err)
	}
	return a.State
}

// TestFault31NothingNewInDoubt: while a side's view of the chain is in doubt it opens no contract, and
// a relay begins no service; what is in service goes on, and the rest begins when the doubt is over.
func TestFault31NothingNewInDoubt(t *testing.T) {
	p := newPair(t)
	try := func() error {
		_, err := p.client.r.Open(t.Context(), runner.Opening{
			Offer: p.relay.offer, Value: 100_000, Prepaid: 1000, Duration: 60, FundFeeRate: 2000,
		}, p.exchange)
		return err
	}
	for _, s := range []*side{p.client, p.relay} {
		s.doubt.Store(true)
		if err := try(); code.Of(err) != code.ChainDisagrees {
			t.Errorf("opening while the %v is in doubt: %v", s.role, err)
		}
		s.doubt.Store(false)
	}
	served := p.openActive()
	if got := p.account(served); got != store.AccountActive {
		t.Fatalf("in service: account %v", got)
	}

	p.mine(1) // its change can be spent
	p.fund(500_000)
	waits := p.open()
	p.relay.doubt.Store(true)
	p.mine(3)
	p.relay.wait(waits.ID(), contract.StateActive)
	if was, is := p.account(served), p.account(waits); was != store.AccountActive || is != store.AccountHeld {
		t.Errorf("in doubt: the account in service is %v, the new one %v", was, is)
	}
	p.relay.doubt.Store(false)
	p.mine(1)
	if got := p.account(waits); got != store.AccountActive {
		t.Errorf("the doubt is over, and the account is %v", got)
	}
}
