package chain

import (
	"context"
	"time"
)

// Bounds of a fee rate that a program chooses by itself, in satoshi per 1,000
// virtual bytes: 1 and 500 satoshi per virtual byte, which are also those of
// contracts, and 2 where nothing is known.
const (
	MinFeeRate     = 1_000
	MaxFeeRate     = 500_000
	DefaultFeeRate = 2_000
)

// feeBlocks is within how many blocks a transaction of this program should be
// confirmed.
const feeBlocks = 6

// feePatience bounds the question to the node: a fee that may do is better than
// a refund that waits.
const feePatience = 5 * time.Second

// ClampFeeRate brings an estimate into the bounds, so that neither a broken node
// nor an absurd market empties a wallet into fees.
func ClampFeeRate(satPerKvB int64) int64 {
	return min(max(satPerKvB, MinFeeRate), MaxFeeRate)
}

// FeeRate is the one place where a fee rate is chosen without a person's word, in
// satoshi per 1,000 virtual bytes, always within the bounds: the node's estimate,
// or fallback (0: DefaultFeeRate) when the node has no data or does not answer
// in five seconds. In the last case the error says why, beside a rate that can be used.
func FeeRate(ctx context.Context, b Backend, fallback int64) (int64, error) {
	if fallback <= 0 {
		fallback = DefaultFeeRate
	}
	ctx, cancel := context.WithTimeout(ctx, feePatience)
	defer cancel()
	rate, err := b.FeeRate(ctx, feeBlocks)
	if err != nil || rate <= 0 {
		rate = fallback
	}
	return ClampFeeRate(rate), err
}
