package contract

import (
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/usage"
)

// The relay's settlement has to be confirmed before E, where the client's refund becomes possible.
// It begins at the lowest tier, because there is time, and climbs by one with every third of
// SettleBefore that passes; after the first third also to what the node's estimate asks for. When
// the highest tier is below the estimate then, or in the last sixth, a child of the relay's own
// output pays for both. Fees that an estimate asks for, and those of children, stay within half of the
// payment; the climb towards the deadline may take all of it, because late is worse.

// settleStart is the height from which the relay settles.
func (c *Contract) settleStart() usage.Height {
	if s := c.acts.settleFrom; s > 0 && s < c.terms.SettleFrom() {
		return s
	}
	return c.terms.SettleFrom()
}

// settling tells whether the relay is taking its payment by itself.
func (c *Contract) settling() bool {
	return c.role == Relay && c.tip >= c.settleStart() && c.terms.SettleFrom() > 0
}

// tier is the fee tier that a settlement should have by now, never below one that was broadcast. −1:
// no settlement yet.
func (c *Contract) tier(feeRate uint64) int {
	m, err := MarginsOf(c.terms.Network)
	if err != nil || !c.settling() {
		return -1
	}
	climbed := min(int((c.tip-c.settleStart())/max(1, m.SettleBefore/Tiers)), Tiers-1)
	return max(climbed, c.wantedTier(feeRate), int(c.acts.settleTier))
}

// wantedTier is the highest tier that is not above the estimated fee rate, as far as the budget
// goes.
func (c *Contract) wantedTier(feeRate uint64) int {
	tier := 0
	for !c.early() && tier+1 < Tiers && c.terms.SettleFeeRate*tierFactor[tier+1] <= feeRate &&
		FeeFor(c.terms.SettleFeeRate*tierFactor[tier+1], settleWeight) <= c.settleBudget() {
		tier++
	}
	return tier
}

// settleBudget is what a settlement and its child may pay to miners as long as nothing presses.
func (c *Contract) settleBudget() usage.Sat { return c.paid / 2 }

// settle is the latest settlement at a tier, or at the highest one below that the payment can bear,
// and its child where that is due.
func (c *Contract) settle(key *btcec.PrivateKey, tier int, feeRate uint64) ([]Effect, error) {
	for tier > 0 && c.ladder[tier].IsZero() {
		tier--
	}
	tx, err := c.terms.SettlementTx(c.escrow(), c.paid, tier)
	if err != nil {
		return nil, err
	}
	out, err := c.terms.escrow(false)
	if err != nil {
		return nil, err
	}
	sig, err := signLeaf(key, tx, c.terms.Value, out)
	if err != nil {
		return nil, err
	}
	tx.TxIn[0].Witness = settleStack(out, c.ladder[tier], sig)
	c.acts.settleTier = uint8(tier)
	effects := []Effect{Broadcast{tx, ForSettlement}}
	if tier+1 < Tiers && !c.ladder[tier+1].IsZero() {
		return effects, nil // there is a higher tier to climb to first
	}
	return append(effects, c.bump(tx, c.terms.SettleFeeRate*tierFactor[tier], feeRate)...), nil
}

// Weights of the child: one taproot input and output.
const bumpWeight = 444

// bump is the child of a settlement that pays for both: where the estimate is above the settlement's
// rate, or the deadline is near. Its fee only rises, by a quarter or more at a time.
func (c *Contract) bump(parent *wire.MsgTx, rate, feeRate uint64) []Effect {
	pressing := c.pressing()
	if !pressing && (feeRate <= rate || c.early()) {
		return nil
	}
	want := min(max(feeRate, rate*3/2), MaxFeeRate)
	output := parent.TxOut[len(parent.TxOut)-1]
	parentFee := c.terms.Value - outputSum(parent)
	fee := FeeFor(want, settleWeight+bumpWeight)
	fee -= min(fee, parentFee)
	fee = min(max(fee, c.acts.bumpFee), c.settleBudget()-min(c.settleBudget(), parentFee), usage.Sat(output.Value)-dustLimit)
	if fee < c.acts.bumpFee+c.acts.bumpFee/4 && c.acts.bumpFee > 0 {
		fee = c.acts.bumpFee
	}
	if fee < FeeFor(MinFeeRate, bumpWeight) || usage.Sat(output.Value) < fee+dustLimit {
		return nil
	}
	c.acts.bumpFee = fee
	child := newTx(0)
	addInput(child, wire.OutPoint{Hash: parent.TxHash(), Index: uint32(len(parent.TxOut) - 1)}, spendSequence)
	addOutput(child, usage.Sat(output.Value)-fee, c.terms.RelayScript)
	return []Effect{SignBump{Parent: parent, Tx: child, Prevout: output}}
}

// early tells whether the first third of the time for settling is not over yet.
func (c *Contract) early() bool {
	m, err := MarginsOf(c.terms.Network)
	return err == nil && c.tip < c.settleStart()+m.SettleBefore/Tiers
}

// pressing tells whether the last sixth of the time for settling has begun.
func (c *Contract) pressing() bool {
	m, err := MarginsOf(c.terms.Network)
	return err == nil && c.tip+m.SettleBefore/6 >= c.terms.Expiry
}

func (e Settle) apply(c *Contract) ([]Effect, error) {
	if err := c.want(Relay, payableStates(StateDraining, StateClosing, StateFrozen)...); err != nil {
		return nil, err
	}
	if err := checkPrivate(e.Key, c.terms.RelayKey); err != nil {
		return nil, err
	}
	if c.acts.settleFrom == 0 {
		c.acts.settleFrom = c.tip
	}
	return c.dueSpend(e.Key, e.FeeRate)
}
