package runner

import (
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/store"
)

// blockTime is the target spacing of blocks, by which a height of the future is told as a time.
const blockTime = 10 * time.Minute

// account is what the committer may charge to; nil before the funding is on its way.
func (r *Runner) account(c contract.Contract) *store.AccountTerms {
	if c.State() < contract.StateFunding || c.State() == contract.StateAborted || c.Exposed() {
		return nil
	}
	f := c.Funds()
	left := time.Duration(0)
	if f.ServiceUntil > c.Tip() {
		left = time.Duration(f.ServiceUntil-c.Tip()) * blockTime
	}
	return &store.AccountTerms{
		Contract: f.Contract, Payer: c.Peer(), Terms: f.Terms, Prices: f.Prices, ContractPrice: f.ContractPrice,
		Value: f.Value, Credit: f.CreditLimit, Paid: f.Paid, Expiry: f.Expiry,
		ServiceUntil: identity.UnixMilli(r.Now().Add(left).UnixMilli()), State: accountState(f, r.held[c.Nonce()]),
		Final: f.Final, Closing: evidence(f),
	}
}

// evidence is what a denial for this account names: the client's close, or else the relay's notice.
func evidence(f contract.Funds) identity.Digest {
	if f.Closed {
		return f.Order
	}
	return f.Notice
}

func accountState(f contract.Funds, held bool) store.AccountState {
	switch {
	case f.Service && held:
		return store.AccountHeld
	case f.Service:
		return store.AccountActive
	case f.Closed, f.State == contract.StateFailed:
		return store.AccountClosed
	}
	switch f.Step { // a client cannot lift it by bringing the contract into another state
	case contract.StepOverdue, contract.StepSuspended:
		return store.AccountSuspended
	case contract.StepRetained:
		return store.AccountRetained
	case contract.StepPurged:
		return store.AccountPurged
	}
	return store.AccountHeld // frozen, or ended by this relay: what it has promised it keeps
}
