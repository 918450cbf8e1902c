package runner_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

// lender is a couple whose relay gives 500 sat of credit to everybody, and 20,000 to who has earned them.
func lender(t *testing.T) *couple {
	t.Helper()
	p := newPeople(t)
	c := p.couple(t, p.base, vfs.NewCrashableMem(), vfs.NewCrashableMem()) // the chain that the wallets follow
	t.Cleanup(c.end)
	c.relay.offer.CreditLimit, c.relay.offer.CreditToEarn = 20_000, 19_500
	return c
}

// opens opens a contract and waits until it is active; it gives the relay's record.
func (c *couple) opens() contract.Contract {
	c.t.Helper()
	check(c.t, c.client.wallet.Synced(c.t.Context()))
	k, err := c.client.prog.r.Open(c.t.Context(), runner.Opening{
		Offer: c.relay.offer, Value: 50_000, Prepaid: 1_000, Duration: 40, FundFeeRate: 2_000,
	}, c.exchange)
	check(c.t, err)
	check(c.t, c.block())
	check(c.t, c.block())
	return c.recordOf(k)
}

// recordOf is the relay's record of a contract.
func (c *couple) recordOf(k contract.Contract) contract.Contract {
	c.t.Helper()
	got, ok := c.relay.prog.r.ByNonce(k.Nonce())
	if !ok {
		c.t.Fatal("the relay does not know the contract")
	}
	return got
}

func (c *couple) pays(k contract.Contract, p usage.Sat) {
	c.t.Helper()
	_, err := c.client.prog.r.Pay(c.t.Context(), k.ID(), p, identity.Digest{}, c.exchange)
	check(c.t, err)
}

func (c *couple) asks(k contract.Contract, p usage.Sat) {
	c.t.Helper()
	s, err := c.relay.prog.r.AskPayment(c.t.Context(), k.ID(), p, false, identity.Digest{9})
	check(c.t, err)
	check(c.t, c.push(s))
}

func wantStart(t *testing.T, what string, k contract.Contract, want usage.Sat) {
	t.Helper()
	if got := k.Terms().CreditLimit - k.Terms().CreditToEarn; got != want {
		t.Fatalf("%s begins with a credit of %d sat, want %d", what, got, want)
	}
}

// TestTrustIsLentOnce: what a client has paid for use opens as much credit in the contract that follows, and not in each of
// many at the same time: the relay never risks more than it has got.
func TestTrustIsLentOnce(t *testing.T) {
	t.Parallel() // it mostly waits
	c := lender(t)
	first := c.opens()
	wantStart(t, "the first", first, 500)
	c.pays(first, 12_500) // 10,000 and the contract price
	second := c.opens()
	wantStart(t, "its successor", second, 10_500)
	// What the first has earned is lent; the second has brought 1,000 of its own by now.
	wantStart(t, "one beside it", c.opens(), 1_500)
	c.pays(second, 6_500)
	wantStart(t, "the successor's successor", c.opens(), 3_500)
}

// TestTrustSurvivesAClose: a close that the relay has signed leaves nothing out, even where its own meter said a little more.
func TestTrustSurvivesAClose(t *testing.T) {
	t.Parallel() // it mostly waits
	c := lender(t)
	first := c.opens()
	c.pays(first, 12_500)
	c.asks(first, 12_600)
	_, err := c.client.prog.r.Close(t.Context(), first.ID(), 12_590, 2_000, c.exchange)
	check(t, err)
	check(t, c.block())
	wantStart(t, "the next", c.opens(), 10_500)
}

// TestNoTrustWhilePaymentIsOut: a client that was asked for a payment, and has waited until the contract takes none and no
// notice can come, is not trusted with what it has paid before.
func TestNoTrustWhilePaymentIsOut(t *testing.T) {
	t.Parallel() // it mostly waits
	c := lender(t)
	first := c.opens()
	c.pays(first, 12_500)
	c.asks(first, 20_000)
	for c.recordOf(first).State() != contract.StateDraining {
		check(t, c.block())
	}
	wantStart(t, "one opened where the first can be paid no more", c.opens(), 500)
}
