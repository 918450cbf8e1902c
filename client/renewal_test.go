package client_test

import (
	"strings"
	"testing"

	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

// paysWith sends something and tells under which contract it is stored.
func (p *person) paysWith(to, text string) usage.ContractID {
	p.t.Helper()
	s := p.sendRequest(client.SendRequest{To: to, Body: []byte(text), MaxPulls: 1})
	if s.State != client.StateStored {
		p.t.Fatalf("%q is %s: %s", text, s.State, s.Reason)
	}
	return s.Contract
}

// TestRenewal: until the next contract is in service on both sides nothing changes; then it takes what is new, the old one
// goes on serving what it has, and ends when that costs nothing.
func TestRenewal(t *testing.T) {
	r := newShopOf(t, func(c *relay.Config) { c.Offer.CreditStart = 500 })
	ada, bob := newPayer(t, "ada", r, 600_000), newPayer(t, "bob", r, 0)
	ctx := t.Context()
	old := ada.opens(r, client.OpenRequest{Deposit: 100_000, Prepaid: 1000})
	ada.meets(bob)
	if got := ada.paysWith("bob", "one"); got != old.ID {
		t.Fatalf("stored under %s", got)
	}

	_, err := ada.ContractRenew(ctx, client.RenewRequest{Contract: old.ID, Open: client.OpenRequest{Duration: 30}})
	wantCode(t, err, code.BadDeadline)
	_, err = ada.ContractRenew(ctx, client.RenewRequest{Contract: old.ID, Open: client.OpenRequest{MaxLoss: 1}})
	wantCode(t, err, code.LimitExceeded)
	q := client.RenewRequest{Contract: old.ID, Open: client.OpenRequest{Deposit: 150_000}}
	pre, err := ada.ContractRenewPreview(ctx, q)
	if err != nil || pre.Deposit != 150_000 || pre.Prepaid != 1000 || pre.Relay != r.Key() || pre.ExpiryHeight <= old.ExpiryHeight {
		t.Fatalf("preview: %+v %v", pre, err)
	}
	next, err := ada.ContractRenew(ctx, q)
	if err != nil || next.Deposit != 150_000 {
		t.Fatalf("%+v %v", next, err)
	}
	_, err = ada.ContractRenew(ctx, q)
	wantCode(t, err, code.BadState)
	// Of 3,000 sat of credit 500 are for everybody. The 1,000 prepaid opened as much, and are remembered for the next contract.
	if before, after := ada.contract(old.ID).Funds, ada.contract(next.ID).Funds; before != 2_500_000 || after != 3_500_000 {
		t.Fatalf("funds of %d and then %d msat", before, after)
	}
	if o := ada.contract(old.ID); o.State != "active" || o.Renewal.Next != next.ID || !strings.Contains(o.Sentence, "the next contract") {
		t.Fatalf("the old one: %+v", o)
	}
	if got := ada.paysWith("bob", "two"); got != old.ID {
		t.Fatalf("stored under %s before it is funded", got)
	}
	ada.awaits(next.ID, "active")
	eventually(t, "what is new is stored under the next contract", func() bool { return ada.paysWith("bob", "three") == next.ID })
	eventually(t, "bob has everything", func() bool { // in the order in which it could be read
		has := map[string]bool{}
		for _, m := range bob.inbox() {
			has[m.Preview] = true
		}
		return has["one"] && has["two"] && has["three"]
	})

	// Nothing waits, nothing is unpaid: the old one is closed with the next blocks, and every satoshi is accounted for.
	var o client.ContractInfo
	for range 12 {
		mine(t, 1)
		ada.sees(old.ID)
		if o = ada.contract(old.ID); o.State != "active" {
			break
		}
	}
	o = ada.awaits(old.ID, "closed")
	if o.ClosedBy != "close" || o.ClientPayout+o.RelayPayout+o.CloseFee != o.Deposit || o.ClientPayout < 100_000-o.Paid-600 {
		t.Fatalf("the old one: %+v", o)
	}
	if got := ada.paysWith("bob", "four"); got != next.ID {
		t.Fatalf("stored under %s", got)
	}
	for _, id := range []usage.ContractID{old.ID, next.ID} {
		a, err := ada.Audit(ctx, id)
		if err != nil || len(a.Refused) != 0 || !a.Usage.Consistent {
			t.Fatalf("audit of %s: %+v %v", id, a, err)
		}
	}
}

func TestOnlyWhatTheUserHasSaidIsRenewedByItself(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 600_000)
	ctx := t.Context()
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000, Duration: 40})
	if c.Renewal.Due || c.Renewal.From != c.ExpiryHeight-20 || c.Renewal.AutoBudget != 0 {
		t.Fatalf("%+v", c.Renewal)
	}
	due := func() client.ContractInfo {
		for range 30 {
			if c := ada.contract(c.ID); c.Renewal.Due {
				return c
			}
			mine(t, 1)
			ada.sees(c.ID)
		}
		t.Fatal("it is never due")
		return c
	}
	// Nobody has said so: it is shown, in a list of checks too, and nothing happens.
	if got := due(); !strings.Contains(got.Sentence, "contract renew") || got.TipHeight != got.Renewal.From {
		t.Fatalf("%+v", got)
	}
	checks, err := ada.Doctor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	warned := false
	for _, k := range checks {
		warned = warned || !k.OK && strings.Contains(k.Hint, "contract renew")
	}
	if !warned {
		t.Fatalf("doctor: %+v", checks)
	}
	if all, err := ada.Contracts(ctx); err != nil || len(all) != 1 {
		t.Fatalf("%+v %v", all, err)
	}
	// Too small a budget is said.
	if _, err := ada.ContractAutoRenew(ctx, c.ID, 100_000); err != nil {
		t.Fatal(err)
	}
	mine(t, 1)
	eventually(t, "the agent says why it cannot", func() bool {
		got := ada.contract(c.ID)
		return strings.Contains(got.Renewal.Problem, "you allowed 100000") && strings.Contains(got.Sentence, got.Renewal.Problem)
	})
	if _, err := ada.ContractAutoRenew(ctx, c.ID, 120_000); err != nil {
		t.Fatal(err)
	}
	mine(t, 1)
	eventually(t, "the agent renews", func() bool { return ada.contract(c.ID).Renewal.NextState == "funding" })
	next := ada.awaits(ada.contract(c.ID).Renewal.Next, "active")
	if next.Deposit != 100_000 || next.Relay != r.Key() {
		t.Fatalf("%+v", next)
	}
	eventually(t, "the next one will be renewed like this one", func() bool { return ada.contract(next.ID).Renewal.AutoBudget == 120_000 })
	if all, err := ada.Contracts(ctx); err != nil || len(all) != 2 {
		t.Fatalf("%d contracts, %v", len(all), err)
	}
}
