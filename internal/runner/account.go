package runner

import (
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/store"
	"relaymarket/usage"
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

// earned is the trust that a client has earned in other contracts, for a new one: the most that it has paid
// for use in one of them; nothing if it has ever left a payment out. Only what the chain holds counts.
func (r *Runner) earned(nonce contract.Nonce, client identity.PublicKey) usage.Sat {
	var most usage.Sat
	for _, c := range r.Contracts() {
		if c.Peer() != client || c.Nonce() == nonce || !proven(c.State()) {
			continue
		}
		f := c.Funds()
		if f.Step != 0 || !c.State().Live() && c.Asked().Amount > max(f.Paid, f.Final) {
			return 0
		}
		most = max(most, f.Paid-min(f.Paid, f.ContractPrice))
	}
	return most
}

// proven tells whether a contract in a state has, or had, its funding deep in the chain.
func proven(s contract.State) bool {
	switch s {
	case contract.StateActive, contract.StateDraining, contract.StateClosing, contract.StateSettled, contract.StateClosed, contract.StateArchived:
		return true
	}
	return s.Owing()
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
