package client_test

import (
	"strings"
	"testing"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// TestPhraseAndARelayAreEnough: what is needed to get out of a contract lies with the relay of another one, sealed by the phrase
// alone; it is shown to nobody, and from one relay the others are found.
func TestPhraseAndARelayAreEnough(t *testing.T) {
	r, q := newShop(t), newShop(t)
	ada := newPayer(t, "ada", r, 600_000, func(c *client.Config) { c.Boards = []string{"https://" + r.Addr(), "https://" + q.Addr()} })
	ctx := t.Context()
	one := ada.opens(r, client.OpenRequest{Deposit: 100_000, Prepaid: 1000})
	at := []identity.PublicKey{r.Key()}
	_, err := ada.RecoverFrom(ctx, at)
	wantCode(t, err, code.NotFound) // there is no other relay yet, and nothing is stored with the contract's own
	two := ada.opens(q, client.OpenRequest{Deposit: 100_000, Prepaid: 1000})

	rows := func(id usage.ContractID) uint64 {
		u, err := ada.Usage(ctx, id, true)
		if err != nil {
			t.Fatal(err)
		}
		return u.Rows
	}
	eventually(t, "each relay keeps the recovery of the other contract", func() bool { return rows(one.ID) == 1 && rows(two.ID) == 1 })
	for range 3 { // every block is a reason to look; once is enough
		mine(t, 1)
		ada.sees(one.ID)
	}
	if err := ada.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if rows(one.ID) != 1 || rows(two.ID) != 1 {
		t.Fatalf("%d and %d rows", rows(one.ID), rows(two.ID))
	}
	sent, err := ada.Outbox(ctx)
	if err != nil || len(sent) != 0 || len(ada.inbox()) != 0 {
		t.Fatalf("sent %+v, received %+v, %v", sent, ada.inbox(), err)
	}

	ada.afterTheFire()
	if all, err := ada.Contracts(ctx); err != nil || len(all) != 0 {
		t.Fatalf("%+v %v", all, err)
	}
	found, err := ada.RecoverFrom(ctx, at)
	if err != nil || len(found.Contracts) != 2 || found.Contracts[0].ID != two.ID || found.Contracts[1].ID != one.ID {
		t.Fatalf("%+v %v", found, err)
	}
	ada.awaits(one.ID, "active")
	ada.awaits(two.ID, "active")
	if len(ada.inbox()) != 0 {
		t.Fatal("a recovery is shown as a message")
	}

	// With another phrase there is nothing to find.
	eve := newPayer(t, "eve", r, 0)
	found, err = eve.RecoverFrom(ctx, at)
	wantCode(t, err, code.NotFound)
	if len(found.Contracts)+len(found.Problems) != 0 || strings.Contains(err.Error(), "recovery:") {
		t.Fatalf("%+v %v", found, err)
	}
}
