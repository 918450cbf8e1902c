package client

import (
	"context"
	"fmt"

	"relaymarket/contract"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

func lossOf(w contract.WorstCase, t contract.Terms) string {
	s := fmt.Sprintf("contract price %d and %d paid in advance if the relay never serves, %d of fees for opening, %d for the way out at the same fee rate",
		t.ContractPrice, t.Prepaid(), w.FundFee, w.ClientLoss-w.FundFee-w.Prepaid)
	return s + "; each later payment is for what your audit confirms"
}

func atExpiry(t contract.Terms) string {
	return fmt.Sprintf("service ends at height %d, and from height %d on your agent takes back by itself what was not paid, with your key alone", t.ServiceUntil(), t.Expiry)
}

func relayLossOf(w contract.WorstCase) string {
	s := fmt.Sprintf("what it serves on credit and you never pay; it settles alone out of what it was paid, at %d of fees or more", w.SettleFee)
	if w.Collateral > 0 {
		s += fmt.Sprintf("; besides, %d of fees for its collateral, which it cannot use before height %d", w.BackingFee+w.ReclaimFee, w.LockedUntil)
	}
	return s
}

// collateralOf says what a collateral is, and what it is not.
func collateralOf(w contract.WorstCase) string {
	if w.Collateral == 0 {
		return ""
	}
	return fmt.Sprintf("a time-lock, no insurance: the relay cannot use it before height %d, then it goes back to the relay whatever happened; you never get it", w.LockedUntil)
}

// share fills in what part of the deposit goes to miners at the fee rate that the chain asks now, and
// whether that is more than is sane.
func (a *Agent) share(ctx context.Context, o runner.Opening, w contract.WorstCase, p OpenPreview) OpenPreview {
	p.FeeRate, _ = a.feeRate(ctx, 0) // a guess, where the node says nothing
	p.ExitFee = contract.ExitFee(p.FeeRate)
	fees := w.FundFee + p.ExitFee
	p.FeePercent, p.SaneDeposit = contract.FeePercent(fees, o.Value), contract.SaneDeposit(fees)
	if o.Value < p.SaneDeposit {
		p.TooSmall = tooSmall(w.FundFee, p.ExitFee, o.Value, p.SaneDeposit)
	}
	return p
}

func tooSmall(open, exit, deposit, sane usage.Sat) string {
	return fmt.Sprintf("%d sat of fees for opening and %d for ending it alone are %d %% of a deposit of %d; deposit %d or more, of which they are %d %%",
		open, exit, contract.FeePercent(open+exit, deposit), deposit, sane, contract.SaneFeePercent)
}
