package wallet

import (
	"slices"

	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

const (
	// commonWU is version, lock time, one-byte counts of inputs and outputs, marker and flag.
	commonWU = 4*(4+4+1+1) + 2

	// witnessWU is one item: a signature without sighash byte (BIP341).
	witnessWU = 1 + 1 + 64

	// inputWU is outpoint, empty script, sequence and witness.
	inputWU = 4*(36+1+4) + witnessWU

	// changeWU is a P2TR output.
	changeWU = 4 * (8 + 1 + 34)

	// dustSat is the least value of a P2TR output that nodes relay (294 for P2WPKH).
	dustSat = 330

	// minFeeRate is the usual least relay fee, maxFeeRate a guard against mixed-up units; both in
	// satoshi per 1000 virtual bytes.
	minFeeRate, maxFeeRate = 1_000, 10_000_000

	// maxSat is all bitcoin there will be.
	maxSat = 21_000_000 * 100_000_000
)

// plan is a choice of coins. Inputs = target + fee + change.
type plan struct {
	coins       []coin
	fee, change int64
	weight      int64
	// excess is what the fee is above the rate because the change would have been dust.
	excess int64
}

// good plans waste at most a fifth of the fee: the other side of a contract refuses more than a
// quarter.
func (p plan) good() bool { return p.excess <= (p.fee-p.excess)/5 }

// feeFor is the fee of a weight: virtual bytes and satoshi are each rounded up.
func feeFor(weight, rate int64) int64 {
	vbytes := (weight + 3) / 4
	return (vbytes*rate + 999) / 1000
}

// outputWU is the weight of an output with a script below 253 bytes.
func outputWU(script []byte) int64 { return 4 * (8 + 1 + int64(len(script))) }

func checkFeeRate(rate int64) error {
	if rate < minFeeRate || rate > maxFeeRate {
		return code.New(code.BadFeeRate, "a fee rate of %d sat/kvB is not between %d and %d", rate, minFeeRate, maxFeeRate)
	}
	return nil
}

func checkOutput(o *wire.TxOut) error {
	if o.Value < 0 || o.Value > maxSat || len(o.PkScript) > 252 {
		return code.New(code.AmountTooSmall, "%d sat is not an amount", o.Value)
	}
	if least := mempool.GetDustThreshold(o); !txscript.IsUnspendable(o.PkScript) && o.Value < least {
		return code.New(code.AmountTooSmall, "%d sat is dust: the least for this address is %d", o.Value, least)
	}
	return nil
}

// choose picks coins (given largest first) for a target value and a base weight.
func choose(coins []coin, target, base, rate int64, limit int) (plan, error) {
	useful := slices.DeleteFunc(slices.Clone(coins), func(c coin) bool {
		return c.value <= feeFor(inputWU, rate)
	})
	best := plan{excess: -1}
	for _, set := range candidates(useful, limit) {
		p, missing := settle(set, target, base, rate)
		if missing > 0 {
			continue
		}
		if p.good() {
			return p, nil
		}
		if best.excess < 0 || p.excess < best.excess {
			best = p
		}
	}
	if best.excess >= 0 {
		return best, nil
	}
	return plan{}, shortage(useful, target, base, rate, limit)
}

// candidates are the sets of coins to try: single coins from the smallest up, then the two, three,
// … largest.
func candidates(coins []coin, limit int) [][]coin {
	var sets [][]coin
	for i := len(coins) - 1; i >= 0; i-- {
		sets = append(sets, coins[i:i+1])
	}
	for n := 2; n <= min(limit, len(coins)); n++ {
		sets = append(sets, coins[:n])
	}
	return sets
}

// settle works out fee and change of a set, or how much it lacks.
func settle(set []coin, target, base, rate int64) (p plan, missing int64) {
	have, weight := int64(0), base
	for _, c := range set {
		have += c.value
		weight += inputWU
	}
	rest := have - target - feeFor(weight, rate)
	if rest < 0 {
		return plan{}, -rest
	}
	with := weight + changeWU
	if c := have - target - feeFor(with, rate); c >= dustSat {
		return plan{coins: set, change: c, fee: feeFor(with, rate), weight: with}, 0
	}
	return plan{coins: set, fee: have - target, weight: weight, excess: rest}, 0
}

// shortage says what is missing when even the largest coins do not suffice.
func shortage(coins []coin, target, base, rate int64, limit int) error {
	set := coins[:min(limit, len(coins))]
	_, missing := settle(set, target, base, rate)
	have := int64(0)
	for _, c := range set {
		have += c.value
	}
	if len(coins) > limit {
		return code.New(code.NotEnoughCoins, "%d sat are missing: the %d largest coins hold %d sat; join small coins by sending all to an address of this wallet",
			missing, limit, have)
	}
	return code.New(code.NotEnoughCoins, "%d sat are missing: %d sat needed with the fee, %d sat there", missing, have+missing, have)
}
