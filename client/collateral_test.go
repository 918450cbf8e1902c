package client_test

import (
	"strings"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

// TestCollateralFromMarketToExpiry: skin in the market, shown as a time-lock before anything is signed, locked by the relay's
// own wallet, and listed on both sides.
func TestCollateralFromMarketToExpiry(t *testing.T) {
	r := newShopOf(t, func(c *relay.Config) { c.Offer.MaxCollateral, c.Offer.MaxLocked = 60_000, 60_000 })
	ada := newPayer(t, "ada", r, 500_000)
	ctx := t.Context()
	m, err := ada.Market(ctx, client.MarketRequest{StoredBytes: 1 << 20, Days: 30, EgressBytes: 10 << 20})
	if err != nil || len(m.Quotes) != 1 || m.Quotes[0].MaxCollateral != 60_000 {
		t.Fatalf("market: %+v %v", m, err)
	}
	ask := client.OpenRequest{Relay: r.Key(), Deposit: 100_000, Duration: 30, FeeRateSatVB: 2}
	plain, err := ada.ContractPreview(ctx, ask)
	if err != nil || plain.Collateral != 0 || plain.CollateralFor != "" {
		t.Fatalf("%+v %v", plain, err)
	}
	ask.Collateral = 60_001
	_, err = ada.ContractPreview(ctx, ask)
	wantCode(t, err, code.CollateralTooLarge)
	ask.Collateral = 60_000
	pre, err := ada.ContractPreview(ctx, ask)
	if err != nil || pre.MaxLoss != plain.MaxLoss || pre.Collateral != 60_000 || pre.CollateralFee == 0 ||
		!strings.Contains(pre.CollateralFor, "no insurance") || !strings.Contains(pre.RelayLossWhy, "collateral") {
		t.Fatalf("%+v %v", pre, err)
	}
	_, err = ada.ContractOpen(ctx, ask) // the relay has no coins yet
	wantCode(t, err, code.CollateralUnavailable)
	if b, err := ada.WalletBalance(ctx); err != nil || b.Leased != 0 {
		t.Fatalf("%+v %v", b, err)
	}
	r.fund(100_000)
	c := ada.opens(r, ask)
	if c.Collateral != 60_000 || c.FundFee != pre.FundFee {
		t.Fatalf("%+v", c)
	}
	c = ada.contract(c.ID)
	if f := theOne(t, c, "funding"); f.Outputs[1].To != "collateral" || f.Outputs[1].Amount != 60_000 || f.Outputs[3].To != "relay" {
		t.Fatalf("%+v", f)
	}
	if back := theOne(t, c, "reclaim"); back.State != "planned" || !strings.Contains(back.By, "time-lock") {
		t.Fatalf("%+v", back)
	}
	if last := c.Deadlines[len(c.Deadlines)-1]; last.Height != c.ExpiryHeight || !strings.Contains(last.What, "collateral of 60000 sat") {
		t.Fatalf("%+v", c.Deadlines)
	}
	st, err := r.Status(ctx)
	if err != nil || st.Locked != 60_000 || st.Contracts[0].Locked != 60_000 {
		t.Fatalf("%+v %v", st, err)
	}
	_, err = ada.ContractOpen(ctx, ask) // all of it is locked
	wantCode(t, err, code.CollateralUnavailable)
}

// fund pays to the relay's wallet and confirms that.
func (r *relayOf) fund(sat usage.Sat) {
	r.t.Helper()
	n := node(r.t)
	text, err := r.WalletAddress()
	if err != nil {
		r.t.Fatal(err)
	}
	addr, err := address.DecodeAddress(text, n.Params())
	if err != nil {
		r.t.Fatal(err)
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := n.Pay(r.t.Context(), wire.NewTxOut(int64(sat), script)); err != nil {
		r.t.Fatal(err)
	}
	mine(r.t, 1)
	eventually(r.t, "the coins are there", func() bool {
		b, err := r.WalletBalance()
		return err == nil && b.Confirmed >= sat
	})
}
