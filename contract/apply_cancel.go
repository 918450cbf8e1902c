package contract

import (
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// cancellable refuses what is too late or was never signed.
func (c *Contract) cancellable() error {
	if c.withdraws() {
		return nil
	}
	if err := c.want(Client, StateSigned, StateFunding, StateCancelling); err != nil {
		return err
	}
	if c.recovered() {
		return code.New(code.BadState, "the coins of a recovered contract are not known here")
	}
	if c.depth() > 0 {
		return code.New(code.BadState, "the funding is confirmed")
	}
	return nil
}

// cancelTx builds the double spend of the funding: all coins of this side back to it. Nodes replace a
// transaction only by one with a higher rate and with a fee that is higher by its own relaying. A relay, whose funding is
// in no mempool, or too old for it, pays for the rate alone: how large the other share is, is the client's choice.
func (c *Contract) cancelTx(feeRate uint64) (*wire.MsgTx, error) {
	tx, witness := newTx(0), int64(0)
	var value usage.Sat
	for _, coin := range c.own() {
		addInput(tx, coin.OutPoint, spendSequence)
		witness += coin.maxWitness()
		value += coin.Value
	}
	addOutput(tx, 0, c.payout())
	weight := weightOf(tx, witness)
	old, err := c.fundFee()
	if err != nil {
		return nil, err
	}
	if c.role == Relay {
		old = 0
	}
	rate := min(max(feeRate, c.terms.FundFeeRate+MinFeeRate), MaxFeeRate)
	fee := max(FeeFor(rate, weight), old+FeeFor(MinFeeRate, weight))
	if value < fee || value-fee < dustLimit {
		return nil, code.New(code.AmountTooSmall, "%d sat less a fee of %d is dust", value, fee)
	}
	tx.TxOut[0].Value = int64(value - fee)
	return tx, nil
}

// payout is where this side is paid.
func (c *Contract) payout() []byte {
	if c.role == Relay {
		return c.terms.RelayScript
	}
	return c.terms.ClientScript
}

// cancelled is the double spend with its witnesses.
func (c *Contract) cancelled(feeRate uint64, witnesses [][]byte) (*wire.MsgTx, error) {
	tx, err := c.cancelTx(feeRate)
	if err != nil {
		return nil, err
	}
	for i := range tx.TxIn {
		if tx.TxIn[i].Witness, err = parseWitness(witnesses[i]); err != nil {
			return nil, err
		}
	}
	return tx, nil
}

func (e CancelFunding) apply(c *Contract) ([]Effect, error) {
	if err := c.cancellable(); err != nil {
		return nil, err
	}
	tx, err := c.cancelTx(e.FeeRate)
	if err != nil {
		return nil, err
	}
	s := c.signFunding()
	s.Cancel, s.Tx, s.FeeRate = true, tx, e.FeeRate
	return []Effect{s}, nil
}

func (e SignedCancel) apply(c *Contract) ([]Effect, error) {
	if err := c.cancellable(); err != nil {
		return nil, err
	}
	stacks := c.stacks(e.Witnesses)
	tx, err := c.cancelled(e.FeeRate, stacks)
	if err != nil {
		return nil, err
	}
	if err := execute(tx, c.prevouts()); err != nil {
		return nil, err
	}
	c.cancel, c.acts.cancelRate = stacks, e.FeeRate
	return []Effect{Broadcast{tx, ForCancel}}, nil
}
