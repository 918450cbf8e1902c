package client

import (
	"context"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// RenewRequest opens the contract that follows another one.
type RenewRequest struct {
	Contract usage.ContractID `json:"contract"`
	// Open is how; its relay is filled in. Zero deposit, prepaid and duration: as of the contract that is renewed.
	Open OpenRequest `json:"open"`
}

// ContractRenewPreview says what ContractRenew would cost, like ContractPreview.
func (a *Agent) ContractRenewPreview(ctx context.Context, r RenewRequest) (OpenPreview, error) {
	c, o, err := a.renewing(ctx, r)
	if err != nil {
		return OpenPreview{}, err
	}
	_, p, err := a.prepareOpen(ctx, o)
	if err == nil {
		err = outlives(c, p)
	}
	return p, err
}

// ContractRenew opens the next contract with the relay of one that there is, by its present offer and with the checks of
// ContractOpen. New records go under the next one once both sides see it in service; until then, and wherever it has too
// little, under the old one, which goes on serving what is stored there. The agent closes the old one, as CloseKeeping
// does, when that costs nothing that letting it expire would not. Errors: BadState (it has a next one already, or is
// over), BadDeadline (the next one must expire later), and those of ContractOpen.
func (a *Agent) ContractRenew(ctx context.Context, r RenewRequest) (ContractInfo, error) {
	if err := acquire(ctx, a.renewer.turn); err != nil {
		return ContractInfo{}, err
	}
	defer func() { <-a.renewer.turn }()
	c, o, err := a.renewing(ctx, r)
	if err != nil {
		return ContractInfo{}, err
	}
	_, p, err := a.prepareOpen(ctx, o)
	if err == nil {
		err = outlives(c, p)
	}
	if err != nil {
		return ContractInfo{}, err
	}
	return a.openNext(ctx, c, o)
}

// openNext opens the next contract. That the old one may be closed is kept before: without a next one it means nothing.
func (a *Agent) openNext(ctx context.Context, c contract.Contract, o OpenRequest) (ContractInfo, error) {
	if err := a.setRenewal(ctx, c.Nonce(), func(r *renewal) { r.Replace = true }); err != nil {
		return ContractInfo{}, err
	}
	i, err := a.ContractOpen(ctx, o)
	if err == nil {
		a.renewer.note(c.Nonce(), nil)
	}
	return i, err
}

// renewing fills in a request from the contract that it renews.
func (a *Agent) renewing(ctx context.Context, r RenewRequest) (contract.Contract, OpenRequest, error) {
	o := r.Open
	if _, err := a.contractByID(r.Contract); err != nil {
		return contract.Contract{}, o, err
	}
	if err := a.level(ctx); err != nil {
		return contract.Contract{}, o, err
	}
	c, err := a.contractByID(r.Contract)
	if err != nil {
		return c, o, err
	}
	if !renewable(c) {
		return c, o, code.New(code.BadState, "the contract is %s; open a new one instead", c.State())
	}
	if next, ok := a.nextOf(c); ok {
		return c, o, code.New(code.BadState, "the contract is followed by %s already, which is %s", idOf(next), next.State())
	}
	t := c.Terms()
	o.Relay = c.Peer()
	if o.Deposit == 0 {
		o.Deposit = t.Value
	}
	if o.Prepaid == 0 {
		o.Prepaid = t.Prepaid()
	}
	if o.Duration == 0 {
		o.Duration = t.Expiry - t.Tip
	}
	return c, o, nil
}

// outlives refuses a next contract that would not be the later one.
func outlives(c contract.Contract, p OpenPreview) error {
	if p.ExpiryHeight <= c.Terms().Expiry {
		return code.New(code.BadDeadline, "it would expire at height %d, the contract that it renews at %d", p.ExpiryHeight, c.Terms().Expiry)
	}
	return nil
}

// ContractAutoRenew lets the agent renew a contract by itself, and those that follow it, when their time comes, or with 0
// forbids it. budget (satoshi) is the most that each renewal may take from the wallet, deposit and fee together. What is
// dearer than the contract that is renewed, in any of its prices, is left to the user. Code ContractUnknown.
func (a *Agent) ContractAutoRenew(ctx context.Context, id usage.ContractID, budget usage.Sat) (ContractInfo, error) {
	c, err := a.contractByID(id)
	if err != nil {
		return ContractInfo{}, err
	}
	if budget > usage.MaxSat {
		return ContractInfo{}, code.New(code.BadAmount, "more than all the money there is")
	}
	if err := a.sayAuto(ctx, c, budget); err != nil {
		return ContractInfo{}, err
	}
	return a.describe(ctx, c, nil), nil
}

func (a *Agent) sayAuto(ctx context.Context, c contract.Contract, budget usage.Sat) error {
	a.renewer.forget(c.Nonce())
	return a.setRenewal(ctx, c.Nonce(), func(r *renewal) { r.Budget, r.Said = budget, true })
}

// autoRenew renews a contract as its user has allowed.
func (a *Agent) autoRenew(ctx context.Context, c contract.Contract, budget usage.Sat) error {
	if err := acquire(ctx, a.renewer.turn); err != nil {
		return err
	}
	defer func() { <-a.renewer.turn }()
	c, o, err := a.renewing(ctx, RenewRequest{Contract: c.ID()})
	if err != nil {
		return err
	}
	_, p, err := a.prepareOpen(ctx, o)
	if err != nil {
		return err
	}
	if err := allowed(c, p, budget); err != nil {
		return err
	}
	o.Offer, o.MaxLoss = p.Offer, p.MaxLoss
	i, err := a.openNext(ctx, c, o)
	if err == nil {
		a.log.Info("a contract is renewed", "contract", c.ID(), "relay", i.Name, "next", i.ID, "deposit_sat", uint64(i.Deposit), "fee_sat", uint64(i.FundFee))
	}
	return err
}

// allowed holds what a renewal would cost against what the user has said.
func allowed(c contract.Contract, p OpenPreview, budget usage.Sat) error {
	t := c.Terms()
	switch take := p.Deposit + p.FundFee; {
	case take > budget:
		return code.New(code.LimitExceeded, "the next contract takes %d sat from the wallet, you allowed %d", take, budget)
	case p.Storage > t.Prices.StorageMsatPerGiBDay || p.Egress > t.Prices.EgressMsatPerGiB || p.ContractPrice > t.ContractPrice:
		return code.New(code.PriceTooHigh, "the relay is dearer now: storage %d msat per GiB and day, egress %d msat per GiB, contract %d sat", p.Storage, p.Egress, p.ContractPrice)
	}
	return outlives(c, p)
}
