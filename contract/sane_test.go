package contract

import (
	"testing"

	"relaymarket/usage"
)

// Opening and a settlement take 358 vB together, so that ten times that is the least.
func TestSaneDeposit(t *testing.T) {
	const fundWeight = 616
	for rate, want := range map[uint64]usage.Sat{1_000: 3_580, 10_000: 35_800, 50_000: 179_000} {
		fees := FeeFor(rate, fundWeight) + ExitFee(rate)
		if got := SaneDeposit(fees); got != want || FeePercent(fees, got) != SaneFeePercent || FeePercent(fees, got-1) <= SaneFeePercent {
			t.Errorf("at %d: %d sat, of which fees are %d %%; wanted %d", rate, got, FeePercent(fees, got), want)
		}
	}
	if got := SaneDeposit(^usage.Sat(0)); got > usage.MaxSat {
		t.Errorf("%d sat, more than there are", got)
	}
	if got := FeePercent(1, 0); got != 100 {
		t.Errorf("%d %% of nothing", got)
	}
}
