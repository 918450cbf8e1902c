package client_test

import (
	"slices"
	"testing"

	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/relay"
)

// theOne is the only transaction of a contract of that kind, the cheapest of settlements.
func theOne(t *testing.T, c client.ContractInfo, what string) client.ContractTx {
	t.Helper()
	all := slices.DeleteFunc(slices.Clone(c.Transactions), func(x client.ContractTx) bool { return x.What != what || x.Tier > 0 })
	if len(all) != 1 {
		t.Fatalf("%d of %s: %+v", len(all), what, c.Transactions)
	}
	return all[0]
}

func TestSmallDepositsAreRefused(t *testing.T) {
	r := newShopOf(t, func(c *relay.Config) {
		c.Offer.MinDeposit, c.Offer.ContractPrice, c.Offer.CreditLimit = 3500, 2500, 1000
	})
	ada := newPayer(t, "ada", r, 300_000)
	ctx := t.Context()
	small := client.OpenRequest{Relay: r.Key(), Deposit: 3500, FeeRateSatVB: 2}
	pre, err := ada.ContractPreview(ctx, small)
	if err != nil || pre.TooSmall == "" || pre.FeePercent <= 10 || pre.SaneDeposit != 10*(pre.FundFee+pre.ExitFee) || pre.RelayLoss == 0 || pre.RelayLossWhy == "" {
		t.Fatalf("%+v %v", pre, err)
	}
	_, err = ada.ContractOpen(ctx, small)
	wantCode(t, err, code.DepositTooSmall)
	if all, err := ada.Contracts(ctx); err != nil || len(all) != 0 {
		t.Fatalf("refused, and there are %+v %v", all, err)
	}
	// Nobody named a deposit: it is one that makes sense.
	pre, err = ada.ContractPreview(ctx, client.OpenRequest{Relay: r.Key(), FeeRateSatVB: 2})
	if err != nil || pre.TooSmall != "" || pre.Deposit != pre.SaneDeposit || pre.FeePercent > 10 {
		t.Fatalf("%+v %v", pre, err)
	}
	small.Small = true
	c, err := ada.ContractOpen(ctx, small)
	if err != nil || c.Deposit != 3500 {
		t.Fatalf("%+v %v", c, err)
	}
}

func TestContractShowsItsTransactions(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 300_000)
	c, err := ada.ContractOpen(t.Context(), client.OpenRequest{Relay: r.Key(), Deposit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	if f := theOne(t, ada.contract(c.ID), "funding"); f.State != "mempool" || f.Txid != c.FundingTxid || f.Fee != c.FundFee || f.Outputs[0].To != "escrow" || f.Outputs[0].Address == "" {
		t.Fatalf("funding: %+v", f)
	}
	c = ada.awaits(c.ID, "active")
	if f := theOne(t, c, "funding"); f.State != "confirmed" || f.Confirmations != c.Confirmations {
		t.Fatalf("funding: %+v", f)
	}
	if s := theOne(t, c, "settlement"); s.State != "unpublished" || s.Outputs[0].Amount+s.Outputs[1].Amount+s.Fee != c.Deposit {
		t.Fatalf("settlement: %+v", s)
	}
	if x := theOne(t, c, "refund"); x.State != "planned" || x.Txid != "" {
		t.Fatalf("refund: %+v", x)
	}
	next := c.Deadlines[0]
	if next.Height != c.TipHeight+next.Blocks || next.Hours != (uint64(next.Blocks)*10+59)/60 || len(c.Deadlines) != 5 {
		t.Fatalf("deadlines: %+v", c.Deadlines)
	}
	if _, err := ada.ContractClose(t.Context(), c.ID, client.CloseKeyPath); err != nil {
		t.Fatal(err)
	}
	if x := theOne(t, ada.contract(c.ID), "close"); x.State != "mempool" {
		t.Fatalf("close: %+v", x)
	}
	mine(t, 1)
	ada.sees(c.ID)
	c = ada.contract(c.ID)
	if x := theOne(t, c, "close"); x.State != "confirmed" || x.Confirmations != 1 || x.Txid != c.ClosingTxid {
		t.Fatalf("close: %+v", x)
	}
	if s := theOne(t, c, "settlement"); s.State != "void" {
		t.Fatalf("settlement: %+v", s)
	}
	all, err := ada.Contracts(t.Context())
	if err != nil || len(all) != 1 || all[0].Transactions != nil {
		t.Fatalf("%+v %v", all, err)
	}
}
