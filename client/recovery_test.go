package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// afterTheFire is a person of whom nothing is left but phrase and the recovery of a contract.
func (p *person) afterTheFire() {
	p.t.Helper()
	phrase, err := os.ReadFile(filepath.Join(p.dir, "regtest", "phrase"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.halt()
	p.close()
	p.dir = p.t.TempDir()
	if _, err := client.Init(p.dir, client.InitOptions{Config: p.cfg, Phrase: strings.TrimSpace(string(phrase))}); err != nil {
		p.t.Fatal(err)
	}
	p.open()
	p.run()
	eventually(p.t, "the wallet has caught up", func() bool {
		_, err := p.WalletBalance(p.t.Context())
		return err == nil
	})
}

// TestPhraseAndRecoveryAreEnough: with the relay there the contract goes on as it was; without it the
// refund needs nobody.
func TestPhraseAndRecoveryAreEnough(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 500_000)
	ctx := t.Context()
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000, Prepaid: 1000})
	paid, err := ada.ContractPrepay(ctx, c.ID, 5_000)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := ada.ContractRecovery(ctx, c.ID)
	if err != nil || !strings.HasPrefix(saved.File, ada.dir) {
		t.Fatal(saved, err)
	}
	if raw, err := os.ReadFile(saved.File); err != nil || string(raw) != saved.Text {
		t.Fatal("the file is not what is shown", err)
	}

	ada.afterTheFire()
	if _, err := ada.Recover(ctx, saved.Text[:len(saved.Text)-9]); code.Of(err) != code.WalletWrongPhrase && code.Of(err) != code.Malformed {
		t.Fatal(err)
	}
	if got, err := ada.Recover(ctx, saved.Text); err != nil || got.ID != c.ID {
		t.Fatal(got, err)
	}
	eventually(t, "the relay has returned the payment", func() bool { return ada.contract(c.ID).Paid == paid.Paid })
	ada.awaits(c.ID, "active")
	if _, err := ada.ContractPrepay(ctx, c.ID, 1_000); err != nil {
		t.Fatal(err)
	}

	ada.afterTheFire()
	r.stop()
	if _, err := ada.Recover(ctx, saved.Text); err != nil {
		t.Fatal(err)
	}
	for {
		c = ada.contract(c.ID)
		if c.TipHeight >= c.ExpiryHeight {
			break
		}
		mine(t, 1)
		ada.sees(c.ID)
	}
	c = ada.awaits(c.ID, "closed")
	if c.ClosedBy != "refund" || c.ClientPayout+c.CloseFee != 100_000 {
		t.Fatalf("%+v", c)
	}
	eventually(t, "the money is in the wallet", func() bool {
		b, err := ada.WalletBalance(ctx)
		return err == nil && b.Confirmed >= c.ClientPayout+usage.Sat(390_000)
	})
}
