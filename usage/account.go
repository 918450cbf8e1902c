package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Account is a relay's books for one contract: what is paid, what the log has billed (Used)
// and what records already accepted may still use (Pledged). It is a plain value; methods
// give the next one.
//
// The rule that keeps both sides whole: an order is accepted only if everything used, pledged
// and ordered would be covered by
//
//	1000 × min(Paid − ContractPrice + CreditLimit, Value − ContractPrice) msat.
//
// Reads and storage of accepted records only move quantities from Pledged to Used, so they
// need no funds of their own: a stored record's reads are always funded. Quantities are added
// up before they are priced, so many small records are not rounded up one by one.
type Account struct {
	Paid          Sat // highest payment held, cumulative, contract price included
	ContractPrice Sat // flat price of the contract
	CreditLimit   Sat // what the relay risks ahead of payment
	Value         Sat // of the contract's output: nothing can ever be paid beyond it
	Prices        Prices
	Used          Quantities
	Pledged       Quantities
}

// Funds is the bound of what the account may ever owe at the present payment, in msat,
// contract price apart.
func (a Account) Funds() Msat {
	paid, err := a.Paid.Add(a.CreditLimit)
	if err != nil {
		paid = MaxSat
	}
	m, err := (max(min(paid, a.Value), a.ContractPrice) - a.ContractPrice).Msat()
	if err != nil {
		return 0
	}
	return m
}

// Owed is the cost of what was used.
func (a Account) Owed() (Msat, error) { return Cost(a.Prices, a.Used) }

// Reserved is what accepted records may still cost on top of Owed.
func (a Account) Reserved() (Msat, error) {
	owed, err := a.Owed()
	if err != nil {
		return 0, err
	}
	all, err := a.committed(Quantities{})
	if err != nil {
		return 0, err
	}
	return all - owed, nil
}

// committed is the cost of everything used, pledged and asked for. It is at least Owed.
func (a Account) committed(more Quantities) (Msat, error) {
	q, err := a.Used.Add(a.Pledged)
	if err != nil {
		return 0, err
	}
	if q, err = q.Add(more); err != nil {
		return 0, err
	}
	return CostCeil(a.Prices, q)
}

// Covered tells whether a payment of final sat in all, contract price included, pays for everything
// that was used and that accepted records may still use. Once true it stays so: no later row adds to
// the two together. Deleting records can make it true.
func (a Account) Covered(final Sat) bool {
	all, err := a.committed(Quantities{})
	if err != nil {
		return false
	}
	has, err := (max(final, a.ContractPrice) - a.ContractPrice).Msat()
	return err == nil && all <= has
}

// CanAccept tells whether the account covers an order that may use at most worst: nil, or
// code NoFunds.
func (a Account) CanAccept(worst Quantities) error {
	all, err := a.committed(worst)
	if err != nil {
		return code.Wrap(code.NoFunds, err, "the order is beyond all measure")
	}
	if funds := a.Funds(); all > funds {
		return code.New(code.NoFunds, "with this order the account may owe %d msat, it has %d", all, funds)
	}
	return nil
}

// Reserve pledges the worst case of an accepted order; code NoFunds as CanAccept.
func (a Account) Reserve(worst Quantities) (Account, error) {
	if err := a.CanAccept(worst); err != nil {
		return a, err
	}
	pledged, err := a.Pledged.Add(worst)
	if err != nil {
		return a, code.Wrap(code.NoFunds, err, "the order is beyond all measure")
	}
	a.Pledged = pledged
	return a, nil
}

// Spend moves what a row of the log billed from Pledged to Used: pass the Used of the log
// before and after the row. Code Internal if more was billed than pledged, which no sequence
// of Reserve, Spend and Close over one log does.
func (a Account) Spend(before, after Quantities) (Account, error) {
	delta, err := after.Sub(before)
	if err != nil {
		return a, code.Wrap(code.Internal, err, "the log went back")
	}
	pledged, err := a.Pledged.Sub(delta)
	if err != nil {
		return a, code.Wrap(code.Internal, err, "more was used than pledged")
	}
	used, err := a.Used.Add(delta)
	if err != nil {
		return a, code.Wrap(code.Internal, err, "use of the account")
	}
	a.Pledged, a.Used = pledged, used
	return a, nil
}

// Close releases what a closed record did not use: see Rest. Spend its closing row first.
// Code Internal if it is more than what is pledged.
func (a Account) Close(rest Quantities) (Account, error) {
	pledged, err := a.Pledged.Sub(rest)
	if err != nil {
		return a, code.Wrap(code.Internal, err, "more is released than pledged")
	}
	a.Pledged = pledged
	return a, nil
}

// Rest is what a record that is closed at a time leaves unused of its OrderWorst: the pulls
// left and the seconds to the end of its custody.
func Rest(f RecordFacts, accepted, closed, serviceUntil identity.UnixMilli, pullsLeft uint16) (Quantities, error) {
	f.MaxPulls = pullsLeft
	rest, err := recordWorst(f, accepted, serviceUntil)
	if err != nil {
		return Quantities{}, err
	}
	used := Quantities{ByteSeconds: Mul64(f.Billable(), storedSeconds(accepted, closed))}
	return rest.Sub(used)
}
