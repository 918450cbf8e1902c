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

// silence is a line on which the relay's answer to the client's signatures is lost; swallowed tells
// what the relay does with the signatures.
func (p *pair) silence(heard bool, why error) runner.Exchange {
	return func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		v, err := contract.OpenMessage(s)
		if err != nil {
			return identity.Signed{}, err
		}
		if v.Header().Type != identity.TypeContractClientSigned {
			return p.exchange(ctx, s)
		}
		if heard {
			_, _ = p.exchange(ctx, s)
		}
		return identity.Signed{}, why
	}
}

var errSilence = code.New(code.Disconnected, "the line is cut")

// openInto opens a contract over a line that breaks when the signatures are on it.
func (p *pair) openInto(ex runner.Exchange) contract.Contract {
	p.t.Helper()
	c, err := p.client.r.Open(p.t.Context(), runner.Opening{
		Offer: p.relay.offer, Value: 100_000, Prepaid: 1000, Duration: 60, FundFeeRate: 2000,
	}, ex)
	if err == nil || c.State() != contract.StateSigned {
		p.t.Fatalf("the opening is %s: %v", c.State(), err)
	}
	return c
}

func TestFault03SilentRelayTheClientPublishes(t *testing.T) {
	t.Parallel() // it mostly waits
	p := ownPair(t)
	p.client.wait(p.openInto(p.silence(false, errSilence)).ID(), contract.StateFunding)
	c := p.client.r.Contracts()[0]
	p.mine(2)
	p.client.wait(c.ID(), contract.StateActive)
	// The relay comes back and learns of it.
	if err := p.client.r.Resume(t.Context(), p.relay.key.Public(), p.exchange); err != nil {
		t.Fatal(err)
	}
	p.mine(1)
	p.relay.wait(c.ID(), contract.StateActive)
	if c, err := p.client.r.Pay(t.Context(), c.ID(), 5000, identity.Digest{}, p.exchange); err != nil || c.Paid() != 5000 {
		t.Fatalf("pay: %v", err)
	}
}

func TestRelayPublishesAndItsAnswerIsLost(t *testing.T) {
	t.Parallel() // it mostly waits
	p := ownPair(t)
	c := p.openInto(p.silence(true, errSilence))
	p.client.wait(c.ID(), contract.StateFunding)
	p.client.restart()
	p.mine(2)
	p.client.wait(c.ID(), contract.StateActive)
	p.relay.wait(c.ID(), contract.StateActive)
}

func TestFault03RefusedTheClientTakesItsCoinsBack(t *testing.T) {
	t.Parallel() // it mostly waits
	p := ownPair(t)
	c := p.openInto(p.silence(false, code.New(code.BadState, "I have changed my mind")))
	time.Sleep(4 * openWait)
	if got := p.client.wait(c.ID(), contract.StateSigned); got.State() != contract.StateSigned {
		t.Fatal("what the relay has refused must not be published")
	}
	p.cancels(c.ID())
}

func TestFault08FundingDoubleSpentByTheClient(t *testing.T) {
	p := newPair(t)
	c := p.open()
	p.cancels(c.ID())
	p.relay.wait(c.ID(), contract.StateFailed)
}

// cancels takes the coins of an opening back, over a restart, and checks that they are there.
func (p *pair) cancels(id usage.ContractID) {
	p.t.Helper()
	c, err := p.client.r.Cancel(p.t.Context(), id, 3000)
	if err != nil || c.State() != contract.StateCancelling {
		p.t.Fatalf("the contract is %s: %v", c.State(), err)
	}
	if _, err = p.client.r.Cancel(p.t.Context(), id, 9000); err != nil {
		p.t.Fatalf("again at a higher rate: %v", err)
	}
	p.client.restart()
	p.mine(1)
	p.client.wait(id, contract.StateFailed)
	for range 200 {
		b, err := p.client.wallet.Balance()
		if err == nil && b.LeasedSat == 0 && b.ConfirmedSat > 490_000 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	b, err := p.client.wallet.Balance()
	p.t.Fatalf("the wallet has %+v %v", b, err)
}

func TestConfirmedFundingIsNotCancelled(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	if _, err := p.client.r.Cancel(t.Context(), c.ID(), 3000); code.Of(err) != code.BadState {
		t.Fatal(err)
	}
}

// A contract about which the relay will not talk must not keep it from the others.
func TestOneRefusedContractDoesNotStopTheOthers(t *testing.T) {
	t.Parallel() // it mostly waits
	p := ownPair(t)
	p.fund(600_000)
	p.fund(1_200_000)
	for range 3 {
		p.openInto(p.silence(false, code.New(code.BadState, "no")))
	}
	var done int
	err := p.client.r.Resume(t.Context(), p.relay.key.Public(), func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		if done++; done < 3 {
			return identity.Signed{}, code.New(code.BadState, "no")
		}
		return p.exchange(ctx, s)
	})
	if code.Of(err) != code.BadState || done != 4 { // the third is compared, then its signatures are taken
		t.Fatalf("%d were tried: %v", done, err)
	}
}
