package contract

import (
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// A collateral is the relay's own money, K, in an output of the funding transaction beside the escrow. There is
// no judge who could take it away: it goes back to the relay alone, from height E on, whatever became of
// the contract. It is a time-lock, which a relay that opens contracts at random could not afford, and no insurance.
//
// The relay brings its own coins for it and signs them first, so the client can complete the funding transaction
// for a while and the relay cannot: the smaller option of the two, because K is never above V and comes back
// by itself. It ends when the relay spends its coins elsewhere (see apply_collateral.go).

// CollateralIndex is the index of the collateral output in the funding transaction, if there is one.
const CollateralIndex uint32 = 1

const (
	// reclaimWeight is the relay's way out of a collateral at mainnet heights.
	reclaimWeight = 518
	// outputWeight is a taproot output.
	outputWeight = 4 * (8 + 1 + maxScript)
)

// Share is what one side brings into the funding transaction: coins in their order, and what comes back of them.
type Share struct {
	Coins  []Coin
	Change Change
}

// collateral is the collateral output, opened for its only leaf:
//
//	L_coll  R alone, from height E on
//
// Its internal key is that of the escrow, so that both sides together could spend it earlier.
func (t Terms) collateral() (taproot, error) {
	leaf, err := lockedLeaf(t.RelayKey, t.Expiry)
	if err != nil {
		return taproot{}, badScript(err)
	}
	internal, err := t.aggregateKey()
	if err != nil {
		return taproot{}, err
	}
	return buildTaproot(internal, leaf, leaf)
}

// CollateralScript is the output script of the collateral; it needs both contract keys and E.
func (t Terms) CollateralScript() ([]byte, error) {
	out, err := t.collateral()
	return out.script, err
}

// ReclaimTx builds the relay's way out of its collateral, unsigned: all of K less the fee to its payout script, valid in
// a block above height E. Code AmountTooSmall if the fee leaves dust.
func (t Terms) ReclaimTx(out wire.OutPoint, feeRate uint64) (*wire.MsgTx, error) {
	leaf, err := lockedLeaf(t.RelayKey, t.Expiry)
	if err != nil {
		return nil, badScript(err)
	}
	tx := newTx(t.Expiry)
	addInput(tx, out, spendSequence)
	return spendAll(tx, t.Collateral, t.RelayScript, feeRate, lockedWitness(leaf, 1))
}

// MinCollateral is the least collateral above none: 330 sat and the fee of getting it back at the funding's fee rate.
func (t Terms) MinCollateral() usage.Sat { return dustLimit + FeeFor(t.FundFeeRate, reclaimWeight) }

// checkCollateral holds K against V and its own way back (check 23).
func (t Terms) checkCollateral() error {
	switch k := t.Collateral; {
	case k > t.Value:
		return code.New(code.CollateralTooLarge, "a collateral of %d sat beside an escrow of %d: the relay never locks more than the client", k, t.Value)
	case k > 0 && k < t.MinCollateral():
		return code.New(code.BadAmount, "a collateral of %d sat, the least is %d", k, t.MinCollateral())
	}
	return nil
}

// CheckCollateral tells whether the offer has a collateral of k sat beside an escrow of v, for a funding at a fee rate in
// sat per 1,000 vB. Codes CollateralUnsupported, CollateralTooLarge, BadAmount.
func (o OfferTerms) CheckCollateral(k, v usage.Sat, feeRate uint64) error {
	if err := o.checkCollateral(k); err != nil {
		return err
	}
	return Terms{Collateral: k, Value: v, FundFeeRate: feeRate}.checkCollateral()
}

// checkCollateral holds a collateral against the offer (check 23).
func (o OfferTerms) checkCollateral(k usage.Sat) error {
	switch {
	case k > 0 && o.MaxCollateral == 0:
		return code.New(code.CollateralUnsupported, "a collateral of %d sat is wanted, the offer has none", k)
	case k > o.MaxCollateral:
		return code.New(code.CollateralTooLarge, "a collateral of %d sat, the offer has up to %d", k, o.MaxCollateral)
	}
	return nil
}

// backingWeight is what the relay's share adds to the weight of a funding transaction, with the largest witnesses that
// its inputs can have: the client pays for what the transaction has once, and for the escrow.
func backingWeight(s Share) int64 {
	w := int64(outputWeight)
	for _, c := range s.Coins {
		w += 4*(36+1+4) + c.maxWitness()
	}
	if s.Change.Value > 0 {
		w += 4 * int64(8+1+len(s.Change.Script))
	}
	return w
}

// checkBacking holds the relay's share against the terms, as checkFunding does the client's (checks 16 and 18 to 21). Both
// sides run it.
func checkBacking(t Terms, s Share) error {
	if t.Collateral == 0 {
		if len(s.Coins) > 0 || s.Change.Value > 0 {
			return code.New(code.BadTransaction, "coins of the relay without a collateral")
		}
		return nil
	}
	if len(s.Coins) < 1 || len(s.Coins) > maxInputs {
		return code.New(code.BadTransaction, "%d inputs of the relay, allowed are 1 to %d", len(s.Coins), maxInputs)
	}
	for _, c := range s.Coins {
		if !isFundable(c.Script) {
			return code.New(code.BadInput, "%v is neither P2TR nor P2WPKH", c.OutPoint)
		}
	}
	if err := checkChange(s.Change); err != nil {
		return err
	}
	fee, err := fundingFee(s.Coins, t.Collateral, s.Change)
	if err != nil {
		return err
	}
	return checkFundingFee(t.FundFeeRate, fee, backingWeight(s), s.Change.Value == 0)
}

// backing reads the relay's coins and change out of its answer, in which they follow those of the client. Codes TooLarge,
// BadTransaction (checks 1 to 4).
func (m *ServerAddInputs) backing(client Share) (Share, error) {
	if m.Collateral == 0 {
		if len(m.Inputs) > 0 {
			return Share{}, code.New(code.BadTransaction, "%d inputs of the relay without a collateral", len(m.Inputs))
		}
		return Share{}, nil
	}
	tx, err := parseUnsigned(m.Tx)
	if err != nil {
		return Share{}, err
	}
	if err := checkShape(tx, 2*maxInputs); err != nil {
		return Share{}, err
	}
	own, outs := len(client.Coins), int(CollateralIndex)+1
	if client.Change.Value > 0 {
		outs++
	}
	if len(tx.TxIn) != own+len(m.Inputs) || len(m.Inputs) == 0 || len(tx.TxOut) < outs || len(tx.TxOut) > outs+1 {
		return Share{}, code.New(code.BadTransaction, "%d inputs of which the relay declares %d, %d outputs", len(tx.TxIn), len(m.Inputs), len(tx.TxOut))
	}
	return Share{declared(tx.TxIn[own:], m.Inputs), changeOf(tx.TxOut[outs:])}, nil
}

// Backing reads the relay's coins out of its answer, so that the client can look them up in its own chain before it is
// Received; none with K = 0. Codes TooLarge, BadTransaction.
func (c Contract) Backing(m *ServerAddInputs) ([]Coin, error) {
	s, err := m.backing(Share{c.coins, c.change})
	return s.Coins, err
}
