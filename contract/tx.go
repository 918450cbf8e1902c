package contract

import (
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Sizes of what is put into witnesses, in weight units, with the item count.
const (
	keyPathWitness = 66  // one signature
	p2wpkhWitness  = 108 // a DER signature of at most 72 bytes and a key
	settleWitness  = 266 // two signatures, L_settle, control block of two leaves
	sweepWitness   = 137 // one signature, L_csv, control block of one leaf
	segwitMark     = 2   // marker and flag of a transaction with witnesses

	// settleWeight is a settlement with two taproot outputs: what MinFirst reserves for.
	settleWeight = 816
	// refundWeight and sweepWeight are the same for the client's own exits.
	refundWeight = 550
	sweepWeight  = 515
)

// Bounds of fee rates, in sat per 1,000 vB. The lower is what nodes relay at all, the upper is
// what no honest estimate has ever passed.
const (
	MinFeeRate uint64 = 1_000
	MaxFeeRate uint64 = 500_000
	// maxFundFee is the most that a funding transaction may pay in all, in sat.
	maxFundFee usage.Sat = 1_000_000
)

// Tiers is the number of fee rates at which the client signs every settlement.
const Tiers = 3

// tierFactor is what the agreed settlement fee rate is multiplied with.
var tierFactor = [Tiers]uint64{1, 4, 16}

// FeeFor is the fee of a transaction of that weight: the rate times its virtual size (weight over
// four, rounded up: BIP141), rounded up. feeRate is in sat per 1,000 vB.
func FeeFor(feeRate uint64, weight int64) usage.Sat {
	vsize := uint64(weight+3) / 4
	return usage.Sat((min(feeRate, 16*MaxFeeRate)*vsize + 999) / 1000)
}

func checkFeeRate(rate uint64) error {
	if rate < MinFeeRate || rate > MaxFeeRate {
		return code.New(code.BadFeeRate, "%d sat/kvB, allowed are %d to %d", rate, MinFeeRate, MaxFeeRate)
	}
	return nil
}

// weightOf is the weight of an unsigned transaction once its inputs carry witnesses of the given
// sizes, which include the item count.
func weightOf(tx *wire.MsgTx, witness int64) int64 {
	return 4*int64(tx.SerializeSizeStripped()) + segwitMark + witness
}

func newTx(lockTime usage.Height) *wire.MsgTx {
	tx := wire.NewMsgTx(txVersion)
	tx.LockTime = uint32(lockTime)
	return tx
}

func addInput(tx *wire.MsgTx, op wire.OutPoint, sequence uint32) {
	in := wire.NewTxIn(&op, nil, nil)
	in.Sequence = sequence
	tx.AddTxIn(in)
}

func addOutput(tx *wire.MsgTx, value usage.Sat, script []byte) {
	tx.AddTxOut(wire.NewTxOut(int64(value), script))
}

// EscrowIndex is the index of the escrow output in the funding transaction: it comes first.
const EscrowIndex uint32 = 0

// Change is one side's change output of the funding transaction; a zero Value means that there
// is none.
type Change struct {
	Value  usage.Sat
	Script []byte
}

// FundingTx builds the unsigned funding transaction: the client's coins in their order, then the relay's, if
// there is a collateral; escrow, collateral, change of the client, change of the relay.
func (t Terms) FundingTx(client, relay Share) (*wire.MsgTx, error) {
	script, err := t.EscrowScript()
	if err != nil {
		return nil, err
	}
	tx := newTx(0)
	addOutput(tx, t.Value, script)
	if t.Collateral > 0 {
		if script, err = t.CollateralScript(); err != nil {
			return nil, err
		}
		addOutput(tx, t.Collateral, script)
	}
	for _, s := range []Share{client, relay} {
		for _, c := range s.Coins {
			addInput(tx, c.OutPoint, spendSequence)
		}
		if s.Change.Value > 0 {
			addOutput(tx, s.Change.Value, s.Change.Script)
		}
	}
	return tx, nil
}

// fundingWeight is the weight of the client's share of the funding transaction with the largest witnesses that its
// inputs can have: without a collateral, of all of it.
func fundingWeight(coins []Coin, change Change) int64 {
	tx, witness := newTx(0), int64(0)
	for _, c := range coins {
		addInput(tx, c.OutPoint, spendSequence)
		witness += c.maxWitness()
	}
	addOutput(tx, 0, make([]byte, maxScript))
	if change.Value > 0 {
		addOutput(tx, 0, change.Script)
	}
	return weightOf(tx, witness)
}

// SettlementTx builds settlement with payment p at a fee tier (0 to Tiers−1), unsigned: the
// client's rest under L_csv, then the relay's payment less the fee. Code BadAmount if the payment
// cannot bear the fee of that tier.
func (t Terms) SettlementTx(funding wire.OutPoint, p usage.Sat, tier int) (*wire.MsgTx, error) {
	script, err := t.DelayedScript()
	if err != nil {
		return nil, err
	}
	return t.payTx(funding, p, t.SettleFeeRate*tierFactor[tier], script, settleWitness)
}

// CloseTx builds the final close by L_settle with payment p, unsigned: both payout scripts, nothing locked.
// The fee comes out of the relay's payment, as in a settlement.
func (t Terms) CloseTx(funding wire.OutPoint, p usage.Sat, feeRate uint64) (*wire.MsgTx, error) {
	return t.payTx(funding, p, feeRate, t.ClientScript, settleWitness)
}

// payTx spends the escrow with a witness of the given size: V − p to the client unless that is dust, p
// less the fee to the relay.
func (t Terms) payTx(funding wire.OutPoint, p usage.Sat, feeRate uint64, clientScript []byte, witness int64) (*wire.MsgTx, error) {
	if p > t.Value {
		return nil, code.New(code.BadAmount, "a payment of %d sat from an escrow of %d", p, t.Value)
	}
	p = snap(t.Value, p)
	tx := newTx(0)
	addInput(tx, funding, spendSequence)
	if rest := t.Value - p; rest > 0 {
		addOutput(tx, rest, clientScript)
	}
	addOutput(tx, 0, t.RelayScript)
	fee := FeeFor(feeRate, weightOf(tx, witness))
	if p < fee || p-fee < dustLimit {
		return nil, code.New(code.BadAmount, "a payment of %d sat cannot bear a fee of %d", p, fee)
	}
	tx.TxOut[len(tx.TxOut)-1].Value = int64(p - fee)
	return tx, nil
}

// RefundTx builds the client's refund, unsigned: all of V less the fee to its payout script,
// valid in a block above height E. Code AmountTooSmall if the fee leaves dust.
func (t Terms) RefundTx(funding wire.OutPoint, feeRate uint64) (*wire.MsgTx, error) {
	leaf, err := t.refundLeaf()
	if err != nil {
		return nil, badScript(err)
	}
	tx := newTx(t.Expiry)
	addInput(tx, funding, spendSequence)
	return spendAll(tx, t.Value, t.ClientScript, feeRate, lockedWitness(leaf, 2))
}

// lockedWitness is the size of one signature, a lockedLeaf and the control block of a tree of one or two leaves: at mainnet
// heights 172 for L_refund and 140 for L_coll.
func lockedWitness(leaf []byte, leaves int) int64 {
	return int64(1 + 1 + 64 + 1 + len(leaf) + 1 + 33 + 32*(leaves-1))
}

// SweepTx builds the spend of the client's locked output of a settlement, unsigned; it can be
// mined in the block after the settlement's. Code AmountTooSmall if the fee leaves dust.
func (t Terms) SweepTx(out wire.OutPoint, value usage.Sat, feeRate uint64) (*wire.MsgTx, error) {
	tx := newTx(0)
	addInput(tx, out, sweepSequence)
	return spendAll(tx, value, t.ClientScript, feeRate, sweepWitness)
}

// spendAll adds the one output of a transaction that moves a value.
func spendAll(tx *wire.MsgTx, value usage.Sat, script []byte, feeRate uint64, witness int64) (*wire.MsgTx, error) {
	addOutput(tx, 0, script)
	fee := FeeFor(feeRate, weightOf(tx, witness))
	if value < fee || value-fee < dustLimit {
		return nil, code.New(code.AmountTooSmall, "%d sat less a fee of %d is dust", value, fee)
	}
	tx.TxOut[0].Value = int64(value - fee)
	return tx, nil
}
