package runner_test

import (
	"context"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

// backedPair is a pair on the shared node whose relay has one coin of 100,000 sat and locks up to 60,000.
func backedPair(t *testing.T) *pair {
	t.Helper()
	p := newPair(t)
	p.relay.offer.MaxCollateral = 60_000
	p.fundSide(p.relay, 100_000)
	return p
}

func (p *pair) withCollateral(k usage.Sat) runner.Opening {
	o := p.opening()
	o.Offer, o.Collateral, o.Duration = p.relay.offer, k, 30
	return o
}

// wantWallet waits until the relay's wallet has these sums, confirmed and reserved.
func (p *pair) wantWallet(confirmed, leased int64) {
	p.t.Helper()
	var got [2]int64
	for range 200 {
		b, err := p.relay.wallet.Balance()
		if got = [2]int64{b.ConfirmedSat, b.LeasedSat}; err == nil && got == [2]int64{confirmed, leased} {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	p.t.Fatalf("the relay's wallet has %d sat confirmed, %d reserved, wanted %d and %d", got[0], got[1], confirmed, leased)
}

// toHeight makes blocks up to a height, without waiting between them where nothing is due.
func (p *pair) toHeight(h usage.Height) {
	p.t.Helper()
	_, now, err := p.node.Tip()
	check(p.t, err)
	if n := int(h) - int(now); n > 0 {
		_, err := p.node.MineEmpty(n)
		check(p.t, err)
		p.level(p.client, p.relay)
	}
}

// TestCollateralOnANode: the relay locks its own coin beside the escrow; after a close it waits for E, through a restart and
// a reorganisation, and has it back.
func TestCollateralOnANode(t *testing.T) {
	p := backedPair(t)
	c := p.openedAs(p.withCollateral(20_000))
	id, e := c.ID(), c.Terms().Expiry
	fees, err := c.WorstCase()
	check(t, err)
	change := int64(100_000 - 20_000 - fees.BackingFee)
	p.wantWallet(change, 0)
	if p.relay.r.Locked() != 20_000 {
		t.Fatalf("%d sat are locked", p.relay.r.Locked())
	}
	p.pay(id, 5_000)
	_, err = p.client.r.CloseByKey(t.Context(), id, 5_000, 2_000, p.exchange)
	check(t, err)
	p.mineWith(p.pooled(c.Summary().Escrow, chainhash.Hash{}))
	p.toHeight(e - 1)
	p.client.wait(id, contract.StateArchived)
	p.relay.wait(id, contract.StateSettled)
	collateral := wire.OutPoint{Hash: c.Summary().Escrow.Hash, Index: contract.CollateralIndex}
	if p.isPooled(collateral) {
		t.Fatal("the collateral comes back early")
	}
	p.relay.stop()
	_, err = p.node.MineEmpty(1)
	check(t, err)
	p.relay.start()
	p.level(p.client, p.relay)
	back := p.pooled(collateral, chainhash.Hash{})
	p.mineWith(back)
	check(t, p.node.Fork(1, nil, nil))
	p.level(p.client, p.relay)
	if got := must(p.relay.r.Contract(id))(t); got.Locked() != 20_000 {
		t.Fatal("the reclaim left the chain, and nobody noticed")
	}
	p.mineWith(p.pooled(collateral, chainhash.Hash{}))
	p.toHeight(e + 6)
	spend, _, _ := p.relay.wait(id, contract.StateClosed).Spend()
	p.wantWallet(change+back.TxOut[0].Value+int64(spend.Relay), 0)
	if p.relay.r.Locked() != 0 {
		t.Fatalf("%d sat are locked", p.relay.r.Locked())
	}
}

// TestFault35FreeOption: a client that has everything to complete the funding, and gives nothing, waits. The relay keeps its
// coin for it, through a restart, until the opening's time is over; then it spends the coin, and the client comes too late.
func TestFault35FreeOption(t *testing.T) {
	p := backedPair(t)
	if _, err := p.client.r.Open(t.Context(), p.withCollateral(60_000), p.losing(2, false)); code.Of(err) != code.Disconnected {
		t.Fatal(err)
	}
	c := p.client.r.Contracts()[0]
	p.client.stop()
	funding := c.FundingTx()
	own := funding.TxIn[len(funding.TxIn)-1].PreviousOutPoint
	p.wantWallet(0, 100_000)
	p.relay.restart()
	p.wantWallet(0, 100_000)
	if got := must(p.relay.r.Contract(c.ID()))(t); !got.Exposed() || got.State() != contract.StateOffered {
		t.Fatalf("the relay is %s", got.State())
	}
	p.mineFor(6, p.relay)
	withdrawal := p.pooled(own, funding.TxHash())
	if _, err := p.node.Client().SendRawTransaction(funding, true); err == nil {
		t.Fatal("the late funding takes the place of the withdrawal")
	}
	_, err := p.node.MineWith(withdrawal)
	check(t, err)
	p.relay.wait(c.ID(), contract.StateFailed)
	p.mineFor(2, p.relay)
	p.wantWallet(withdrawal.TxOut[0].Value, 0)
	if p.relay.r.Locked() != 0 {
		t.Fatal("what is free again counts as locked")
	}
	p.client.start()
	p.client.wait(c.ID(), contract.StateFailed)
	for range 200 {
		if b, err := p.client.wallet.Balance(); err == nil && b.LeasedSat == 0 && b.ConfirmedSat == 500_000 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("the client's coins are not free")
}

// lightView cannot tell whether a coin of somebody else's exists.
type lightView struct{ chain.Backend }

func (lightView) TxOut(context.Context, wire.OutPoint, bool) (*chain.TxOut, error) {
	return nil, code.New(code.LightClient, "not seen here")
}

// TestCollateralIsRefused: what the relay will not lock reserves nothing on either side.
func TestCollateralIsRefused(t *testing.T) {
	p := backedPair(t)
	for name, x := range map[string]struct {
		change func(*runner.Opening)
		want   code.Code
	}{
		"above the offer":       {func(o *runner.Opening) { o.Collateral = 60_001 }, code.CollateralTooLarge},
		"above all together":    {func(o *runner.Opening) { o.Offer.MaxCollateral, o.Collateral = 70_000, 70_000 }, code.CollateralUnavailable},
		"a fee rate of its own": {func(o *runner.Opening) { o.Collateral, o.FundFeeRate = 60_000, 400_000 }, code.BadFeeRate},
	} {
		p.relay.offer.MaxCollateral = 60_000
		o := p.withCollateral(0)
		x.change(&o)
		p.relay.offer.MaxCollateral = o.Offer.MaxCollateral
		if _, err := p.client.r.Open(t.Context(), o, p.exchange); code.Of(err) != x.want {
			t.Fatalf("%s: %v, wanted %s", name, err, x.want)
		}
		p.wantFree(500_000)
		p.wantWallet(100_000, 0)
	}
	p.relay.offer.MaxCollateral = 60_000
	check(t, p.relay.wallet.Lease([32]byte{1}, []wire.OutPoint{must(p.relay.wallet.Coins())(t)[0].OutPoint}, time.Time{}))
	if _, err := p.client.r.Open(t.Context(), p.withCollateral(20_000), p.exchange); code.Of(err) != code.CollateralUnavailable {
		t.Fatal(err)
	}
	if len(p.relay.r.Contracts()) != 0 {
		t.Fatal("a proposal that was refused is kept")
	}
	p.client.view = func(b chain.Backend) chain.Backend { return lightView{b} }
	p.client.restart()
	check(t, p.client.wallet.Synced(t.Context()))
	if _, err := p.client.r.Open(t.Context(), p.withCollateral(20_000), p.exchange); code.Of(err) != code.LightClient {
		t.Fatalf("a client that cannot look up the relay's coins asks for them: %v", err)
	}
	p.wantFree(500_000)
}
