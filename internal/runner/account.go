package runner

import (
	"slices"
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

// earned is the trust that a client has earned in other contracts, for a new one that everybody gets with so much credit:
// the most that it has paid for use in one of them, less what is lent on it already; nothing while a payment is left out.
// What one contract has earned is so lent to one other at a time, and a renewal loses nothing by it: the
// contract that has earned it does not count against itself.
func (r *Runner) earned(nonce contract.Nonce, client identity.PublicKey, start usage.Sat) (most usage.Sat) {
	others := slices.DeleteFunc(r.Of(client), func(c contract.Contract) bool { return c.Nonce() == nonce })
	var lent usage.Sat
	for _, c := range others {
		var err error
		if lent, err = lent.Add(lentTo(c, start)); err != nil || leftOut(c) {
			return 0
		}
	}
	for _, c := range others {
		trust := paidForUse(c)
		most = max(most, trust-min(trust, lent-lentTo(c, start)))
	}
	return most
}

// lentTo is what a contract that is not over began with beyond the credit that everybody gets.
func lentTo(c contract.Contract, start usage.Sat) usage.Sat {
	if c.State().Over() {
		return 0
	}
	t := c.Terms()
	credit := t.CreditLimit - min(t.CreditLimit, t.CreditToEarn)
	return credit - min(credit, start)
}

// paidForUse is what a client has paid for use in a contract whose funding the chain holds, or held; nothing where it has
// taken the escrow back.
func paidForUse(c contract.Contract) usage.Sat {
	spend, _, spent := c.Spend()
	if !proven(c.State()) || spent && spend.Kind != contract.SpendSettlement && spend.Kind != contract.SpendClose {
		return 0
	}
	return c.Paid() - min(c.Paid(), c.Terms().ContractPrice)
}

// leftOut tells whether a payment is missing: there is a notice of it, or it was asked for and can be paid no more, whatever
// the client has brought the contract to. A close that this relay has signed leaves nothing out.
func leftOut(c contract.Contract) bool {
	f := c.Funds()
	if spend, _, spent := c.Spend(); f.Step == contract.StepNone && spent && spend.Kind == contract.SpendClose {
		return false
	}
	return f.Step != contract.StepNone || !c.Payable() && c.Asked().Amount > max(f.Paid, f.Final)
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
