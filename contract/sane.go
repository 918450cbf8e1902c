package contract

import "relaymarket/usage"

// SaneFeePercent is the share of a deposit that fees may take at most before an opening is refused unless
// a person insists: opening the contract, and ending it without the other side.
const SaneFeePercent = 10

// ExitFee is what ending a contract alone costs at a fee rate, in sat per 1,000 vB: the fee of a settlement, which is
// the largest of the transactions by which one side alone gets out.
func ExitFee(feeRate uint64) usage.Sat { return FeeFor(feeRate, settleWeight) }

// SaneDeposit is the least deposit of which fees are at most SaneFeePercent; the most that there can be if the
// fees are beyond all bounds.
func SaneDeposit(fees usage.Sat) usage.Sat {
	const times = 100 / SaneFeePercent
	return min(fees, usage.MaxSat/times) * times
}

// FeePercent is the share of a deposit that fees are, in percent, rounded up.
func FeePercent(fees, deposit usage.Sat) uint64 {
	d := uint64(max(deposit, 1))
	return (uint64(min(fees, usage.MaxSat))*100 + d - 1) / d
}

// SweepFee is what fetching the client's part after a settlement of the relay costs at a fee rate, in sat per 1,000 vB:
// what a close together saves.
func SweepFee(feeRate uint64) usage.Sat { return FeeFor(feeRate, sweepWeight) }
