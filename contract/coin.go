package contract

import (
	"math"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Coin is an output that funds a contract.
type Coin struct {
	OutPoint wire.OutPoint
	Value    usage.Sat
	Script   []byte // P2TR or P2WPKH
}

// maxWitness is the weight of the largest witness that a valid spend has, with the item count.
func (c Coin) maxWitness() int64 {
	if txscript.IsPayToTaproot(c.Script) {
		return keyPathWitness
	}
	return p2wpkhWitness
}

func (c Coin) txOut() *wire.TxOut { return wire.NewTxOut(int64(c.Value), c.Script) }

// CoinView is what one side's own node says about a coin of the other side (gettxout,
// gettxspendingprevout); the peer's word counts for nothing.
type CoinView struct {
	Exists        bool         // unspent in the chain
	Value         usage.Sat    // by the chain
	Script        []byte       // by the chain
	Confirmations usage.Height // 1 in the newest block
	Coinbase      bool
	SpentInPool   bool // a transaction in the mempool spends it
	Mine          bool // it pays to a script of this side, or this side has reserved it
}

// checkCoins holds the peer's coins against the own chain view (checks 8 and 13 to 16). views is in
// the order of coins.
func checkCoins(coins []Coin, views []CoinView, m Margins) error {
	if len(views) != len(coins) {
		return code.New(code.Internal, "%d coins and %d views", len(coins), len(views))
	}
	for i, c := range coins {
		if err := CheckCoin(c, views[i], m); err != nil {
			return err
		}
	}
	return nil
}

// CheckCoin holds one coin against the own chain view (checks 8 and 13 to 16). Code BadInput.
func CheckCoin(c Coin, v CoinView, m Margins) error {
	switch {
	case !isFundable(c.Script):
		return code.New(code.BadInput, "%v is neither P2TR nor P2WPKH", c.OutPoint)
	case !v.Exists:
		return code.New(code.BadInput, "%v does not exist or is spent", c.OutPoint)
	case v.SpentInPool:
		return code.New(code.BadInput, "%v is being spent", c.OutPoint)
	case v.Confirmations < 1:
		return code.New(code.BadInput, "%v is not confirmed", c.OutPoint)
	case v.Coinbase && v.Confirmations < m.CoinbaseDepth:
		return code.New(code.BadInput, "%v is an immature coinbase", c.OutPoint)
	case v.Value != c.Value || !sameScript(v.Script, c.Script):
		return code.New(code.BadInput, "%v is not what it is declared to be", c.OutPoint)
	case v.Mine:
		return code.New(code.BadInput, "%v is not yours to spend", c.OutPoint)
	}
	return nil
}

// fundingFee is what the coins bring beyond escrow and change (check 18, 19).
func fundingFee(coins []Coin, v usage.Sat, change Change) (usage.Sat, error) {
	var in usage.Sat
	var err error
	for _, c := range coins {
		if in, err = in.Add(c.Value); err != nil {
			return 0, code.Wrap(code.BadAmount, err, "the inputs")
		}
	}
	out, err := v.Add(change.Value)
	if err != nil {
		return 0, code.Wrap(code.BadAmount, err, "the outputs")
	}
	if in < out {
		return 0, code.New(code.BadAmount, "inputs of %d sat for outputs of %d", in, out)
	}
	return in - out, nil
}

// checkFunding holds amounts, change and fee of the client's share of a funding transaction against its terms (checks 18
// to 21). Both sides run it.
func checkFunding(t Terms, coins []Coin, change Change) error {
	if len(coins) < 1 || len(coins) > maxInputs {
		return code.New(code.BadTransaction, "%d inputs, allowed are 1 to %d", len(coins), maxInputs)
	}
	if t.Value > usage.MaxSat || t.Value < dustLimit {
		return code.New(code.BadAmount, "an escrow of %d sat", t.Value)
	}
	if err := checkChange(change); err != nil {
		return err
	}
	fee, err := fundingFee(coins, t.Value, change)
	if err != nil {
		return err
	}
	return checkFundingFee(t.FundFeeRate, fee, fundingWeight(coins, change), change.Value == 0)
}

func checkChange(c Change) error {
	if c.Value == 0 {
		return nil
	}
	if err := checkPayout(c.Script); err != nil {
		return err
	}
	if c.Value < changeLimit(c.Script) || c.Value > math.MaxInt64 {
		return code.New(code.BadAmount, "a change of %d sat is dust", c.Value)
	}
	return nil
}

// checkFundingFee holds a fee against the agreed rate (check 20): not below it, and not above it by
// more than a quarter. Without change the bound is higher by what a change output would cost:
// what is too little to come back goes to the miners.
func checkFundingFee(rate uint64, fee usage.Sat, weight int64, noChange bool) error {
	least := FeeFor(rate, weight)
	most := least + least/4
	if noChange {
		most += dustLimit + FeeFor(rate, 4*(9+maxScript))
	}
	most = min(most, maxFundFee)
	if fee < least || fee > most {
		return code.New(code.BadFeeRate, "a funding fee of %d sat, the agreed rate gives %d to %d", fee, least, most)
	}
	return nil
}
