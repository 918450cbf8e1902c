package client

import (
	"context"
	"io"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// ContractPreview says what a contract would cost and what can be lost at most, without any
// obligation. It needs Run and the node. Errors are those of ContractOpen, but for missing coins:
// these are told in the preview.
func (a *Agent) ContractPreview(ctx context.Context, r OpenRequest) (OpenPreview, error) {
	_, p, err := a.prepareOpen(ctx, r)
	return p, err
}

// ContractOpen opens a contract with a relay by its newest offer. When it returns, the funding
// transaction is on its way; the contract can be used when its state is active. It needs Run and the
// node. Errors: NoRelay (no offer, no connection), PriceTooHigh and LimitExceeded (limits of
// the request or the configuration), DepositTooSmall (see OpenPreview.TooSmall), CollateralUnsupported, CollateralTooLarge, BadAmount, BadDeadline, BadFeeRate, NotEnoughCoins,
// ChainUnavailable, and the relay's own (NoCapacity, OfferExpired, CollateralUnavailable, …). If the relay is lost after
// the own signatures have left, the error says so and the contract goes on by itself. With coins of an outside wallet it
// returns a contract that is verified: ContractExport gives what is to be signed, ContractImport goes on.
func (a *Agent) ContractOpen(ctx context.Context, r OpenRequest) (ContractInfo, error) {
	o, p, err := a.prepareOpen(ctx, r)
	if err != nil {
		return ContractInfo{}, err
	}
	if p.Missing > 0 {
		return ContractInfo{}, code.New(code.NotEnoughCoins, "%d sat are missing in the wallet", p.Missing)
	}
	if p.TooSmall != "" && !r.Small {
		return ContractInfo{}, code.New(code.DepositTooSmall, "%s", p.TooSmall)
	}
	if _, err := a.session(ctx, r.Relay); err != nil {
		return ContractInfo{}, err
	}
	if err := a.level(ctx); err != nil {
		return ContractInfo{}, err
	}
	c, err := a.runner.Open(ctx, o, a.exchange(r.Relay))
	if r.AutoRenew > 0 && (err == nil || c.State() == contract.StateSigned) {
		if err := a.sayAuto(ctx, c, r.AutoRenew); err != nil {
			return ContractInfo{}, err
		}
	}
	if err == nil && o.Outside != nil && c.State() == contract.StateVerified {
		a.named.Store(c.Nonce(), o.Outside.PSBT)
		return a.describe(ctx, c, nil), nil
	}
	return a.afterOpening(ctx, c, err)
}

// afterOpening ends an opening whose signatures have left, or failed to.
func (a *Agent) afterOpening(ctx context.Context, c contract.Contract, err error) (ContractInfo, error) {
	if err == nil {
		c = a.awaitFunding(ctx, c)
	}
	if s := c.State(); err != nil && (s < contract.StateSigned || s > contract.StateFunding) {
		return ContractInfo{}, err
	} else if err != nil {
		return ContractInfo{}, code.Wrap(code.Of(err), err, "contract %s is %s and goes on when the relay can be reached", c.ID(), s)
	}
	if err := a.bookOpening(ctx, c); err != nil {
		return ContractInfo{}, err
	}
	return a.describe(ctx, c, nil), a.relaysChanged(ctx)
}

// openTime is how long an opening may go on after the runner has given it back.
const openTime = 20 * time.Second

// awaitFunding waits for the end of an opening that another part of the agent carries on: a link
// with the relay that began in the middle resumes what it finds unanswered.
func (a *Agent) awaitFunding(ctx context.Context, c contract.Contract) contract.Contract {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	changed, done := a.runner.Changes()
	defer done()
	for {
		now, ok := a.runner.ByNonce(c.Nonce())
		if !ok || now.State() >= contract.StateFunding {
			return now
		}
		c = now
		select {
		case <-changed:
		case <-ctx.Done():
			return c
		}
	}
}

// prepareOpen finds the offer, fills in what the request leaves open, and holds the result
// against the limits.
func (a *Agent) prepareOpen(ctx context.Context, r OpenRequest) (runner.Opening, OpenPreview, error) {
	var p OpenPreview
	if r.Relay.IsZero() || r.Relay == a.Key() {
		return runner.Opening{}, p, code.New(code.BadArgument, "which relay?")
	}
	offer, err := a.offerFrom(ctx, r)
	if err != nil {
		return runner.Opening{}, p, err
	}
	o, err := a.opening(ctx, offer, r)
	if err != nil {
		return o, p, err
	}
	if p, err = a.preview(ctx, offer, o); err != nil {
		return o, p, err
	}
	if p.TooSmall != "" && r.Deposit == 0 && !r.Small && p.SaneDeposit <= offer.MaxDeposit {
		// Nobody named the deposit, so it can be one that makes sense.
		o.Value = p.SaneDeposit
		if p, err = a.preview(ctx, offer, o); err != nil {
			return o, p, err
		}
	}
	if r.MaxLoss > 0 && p.MaxLoss > r.MaxLoss {
		return o, p, code.New(code.LimitExceeded, "%d sat could be lost (%s), your limit is %d", p.MaxLoss, p.MaxLossWhy, r.MaxLoss)
	}
	return o, p, nil
}

// opening fills in what a request leaves to the agent: the offer's least deposit (prepareOpen raises it to a sane one), the network's
// usual duration as far as the offer allows it, the fee rate that the chain asks.
func (a *Agent) opening(ctx context.Context, offer broadcast.VerifiedOffer, r OpenRequest) (runner.Opening, error) {
	o := runner.Opening{Offer: termsOf(offer), Value: r.Deposit, Prepaid: r.Prepaid, Collateral: r.Collateral, Duration: r.Duration}
	m, err := contract.MarginsOf(a.network)
	if err != nil {
		return o, err
	}
	if o.Outside, err = a.outside(r); err != nil {
		return o, err
	}
	if o.Value == 0 {
		o.Value = offer.MinDeposit
	}
	if o.Duration == 0 {
		o.Duration = min(max(m.DefaultDuration, o.Offer.MinDuration), o.Offer.MaxDuration)
	}
	if o.FundFeeRate, err = a.feeRate(ctx, r.FeeRateSatVB); err != nil {
		return o, err
	}
	switch {
	case r.FeeRateSatVB == 0:
		o.FundFeeRate = max(o.FundFeeRate, offer.MinFundFeeRate)
	case o.FundFeeRate < offer.MinFundFeeRate:
		return o, code.New(code.BadFeeRate, "%d sat per vB, the relay waits only for %d or more", r.FeeRateSatVB, (offer.MinFundFeeRate+999)/1000)
	}
	if o.Value < offer.MinDeposit || o.Value > offer.MaxDeposit {
		return o, code.New(code.BadAmount, "a deposit of %d sat, the relay takes %d to %d", o.Value, offer.MinDeposit, offer.MaxDeposit)
	}
	if o.Duration < o.Offer.MinDuration || o.Duration > o.Offer.MaxDuration {
		return o, code.New(code.BadDeadline, "%d blocks, the relay takes %d to %d", o.Duration, o.Offer.MinDuration, o.Offer.MaxDuration)
	}
	return o, o.Offer.CheckCollateral(o.Collateral, o.Value, o.FundFeeRate)
}

// preview computes what an opening costs, with the coins that the wallet would take for it.
func (a *Agent) preview(ctx context.Context, offer broadcast.VerifiedOffer, o runner.Opening) (OpenPreview, error) {
	if err := a.walletReady(ctx); err != nil {
		return OpenPreview{}, err
	}
	tip, err := a.tip(ctx)
	if err != nil {
		return OpenPreview{}, err
	}
	propose := contract.Propose{
		Offer: o.Offer, Client: a.Key(), Value: o.Value, Prepaid: o.Prepaid, Collateral: o.Collateral, Duration: o.Duration, FundFeeRate: o.FundFeeRate, Tip: tip,
	}
	missing, err := a.previewCoins(ctx, o, &propose)
	if err != nil {
		return OpenPreview{}, err
	}
	terms, err := propose.Terms()
	if err != nil {
		return OpenPreview{}, err
	}
	w, err := propose.WorstCase()
	if err != nil {
		return OpenPreview{}, err
	}
	return a.share(ctx, o, w, OpenPreview{
		Relay: offer.From, Offer: offer.Digest(), Name: offer.From.Name(), Deposit: o.Value, ContractPrice: offer.ContractPrice, Prepaid: terms.Prepaid(),
		Storage: offer.Prices.StorageMsatPerGiBDay, Egress: offer.Prices.EgressMsatPerGiB, CreditLimit: terms.Credit(terms.FirstPayment), CreditMost: offer.CreditLimit,
		FundFee: w.FundFee, RefundFee: w.RefundFee, MaxLoss: w.ClientLoss, MaxLossWhy: lossOf(w, terms),
		Duration: o.Duration, ExpiryHeight: terms.Expiry, TipHeight: tip, FundingDepth: offer.FundingDepth,
		RelayLoss: w.RelayLoss, RelayLossWhy: relayLossOf(w), AtExpiry: atExpiry(terms), Missing: missing,
		Collateral: w.Collateral, CollateralFee: w.BackingFee + w.ReclaimFee, CollateralFor: collateralOf(w),
		Usable: min(terms.Prepaid()+terms.Credit(terms.FirstPayment), o.Value-min(o.Value, offer.ContractPrice)),
	}), nil
}

// previewCoins puts the coins into a proposal that would fund it.
func (a *Agent) previewCoins(ctx context.Context, o runner.Opening, p *contract.Propose) (missing usage.Sat, err error) {
	if o.Outside == nil {
		return a.tryCoins(p)
	}
	p.Coins, p.Change, err = a.runner.OutsideCoins(ctx, o)
	return 0, err
}

// coinHold is how long the coins of a preview stay reserved should the agent die in the middle.
const coinHold = time.Minute

// tryCoins puts the coins into a proposal that the wallet would choose, without keeping them. When
// there are not enough it assumes one coin that fits, and tells how much is missing.
func (a *Agent) tryCoins(p *contract.Propose) (missing usage.Sat, err error) {
	var lease wallet.LeaseID
	if _, err := io.ReadFull(a.rand, lease[:]); err != nil {
		return 0, code.Wrap(code.Internal, err, "random bytes")
	}
	_, payout, err := a.wallet.AddressFor(lease)
	if err != nil {
		return 0, err
	}
	p.Payout = payout
	share, err := a.wallet.Fund(wallet.FundRequest{
		Outputs: []*wire.TxOut{wire.NewTxOut(int64(p.Value), payout)}, FeeRate: int64(p.FundFeeRate),
		Lease: lease, Until: a.now().Add(coinHold), MinConf: 1,
	})
	if e := a.wallet.Release(lease, nil); e != nil {
		return 0, e
	}
	if code.Of(err) == code.NotEnoughCoins {
		return a.assumeCoin(p)
	} else if err != nil {
		return 0, err
	}
	for _, in := range share.Inputs {
		p.Coins = append(p.Coins, contract.Coin{OutPoint: in.OutPoint, Value: usage.Sat(in.Value), Script: in.PkScript})
	}
	p.Change = contract.Change{Value: usage.Sat(share.ChangeSat), Script: share.ChangeScript}
	return 0, nil
}

// oneCoinWeight is the weight of a funding transaction with one taproot coin and change.
const oneCoinWeight = 616

// assumeCoin makes up a coin for a proposal that the wallet cannot pay for.
func (a *Agent) assumeCoin(p *contract.Propose) (missing usage.Sat, err error) {
	b, err := a.wallet.Balance()
	if err != nil {
		return 0, err
	}
	need, err := p.Value.Add(contract.FeeFor(p.FundFeeRate, oneCoinWeight))
	if err != nil {
		return 0, code.Wrap(code.BadAmount, err, "the deposit")
	}
	p.Coins = []contract.Coin{{Value: need}}
	return max(need-min(need, usage.Sat(b.ConfirmedSat)), 1), nil
}

// bookOpening books what was paid at opening. The user has asked for it, so it is not charged to
// the budget.
func (a *Agent) bookOpening(ctx context.Context, c contract.Contract) error {
	_, err := a.store.ApprovePayment(ctx, store.Payment{Contract: c.ID(), Cumulative: c.Paid(), Time: a.nowMilli()}, true)
	return err
}

// levelTime is how long a call waits for the contracts to catch up with the chain.
const levelTime = 20 * time.Second

// level waits until the contracts have been told of every block that the node has. It needs Run.
// Code ChainUnavailable.
func (a *Agent) level(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, levelTime)
	defer cancel()
	changed, done := a.runner.Changes()
	defer done()
	for {
		tip, err := a.chain.Tip(ctx)
		if err != nil {
			return err
		}
		if a.runner.Health().Last.Hash == tip.Hash {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return code.New(code.ChainUnavailable, "the contracts are at height %d, the node at %d", a.runner.Tip(), tip.Height)
		}
	}
}

// contractByID finds a contract by its id or, while it has none, by the name that lists show.
func (a *Agent) contractByID(id usage.ContractID) (contract.Contract, error) {
	for _, c := range a.runner.Contracts() {
		if idOf(c) == id && !id.IsZero() {
			return c, nil
		}
	}
	return contract.Contract{}, code.New(code.ContractUnknown, "you have no contract %s", id)
}

// idOf is a contract's id, or its nonce until the relay has answered: something to call it by.
func idOf(c contract.Contract) usage.ContractID {
	if id := c.ID(); !id.IsZero() {
		return id
	}
	return usage.ContractID(c.Nonce())
}
