package contract

import (
	"bytes"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// closable refuses a cooperative close where there is none: before the funding is deep enough, after
// a close was agreed, or so near to E that a settlement is the safer way (code BadDeadline).
func (c *Contract) closable(r Role) error {
	if err := c.want(r, payableStates(StateDraining, StateClosing, StateFrozen)...); err != nil {
		return err
	}
	if c.tip >= c.terms.CloseUntil() {
		return code.New(code.BadDeadline, "no close is agreed from height %d on; the tip is %d", c.terms.CloseUntil(), c.tip)
	}
	if c.agreed.complete() {
		return code.New(code.BadState, "a close is agreed already")
	}
	return nil
}

func (k closing) complete() bool {
	return !k.both.IsZero() || !k.client.IsZero() && !k.relay.IsZero()
}

// closeTx builds a close and checks that it keeps every satoshi: outputs and fee are V.
func (c *Contract) closeTx(k closing) (*wire.MsgTx, taproot, error) {
	out, err := c.terms.escrow(false)
	if err != nil {
		return nil, out, err
	}
	if err := checkFeeRate(k.feeRate); err != nil {
		return nil, out, err
	}
	if err := c.checkPayment(k.amount); err != nil {
		return nil, out, err
	}
	tx, err := c.terms.CloseTx(c.escrow(), k.amount, k.feeRate)
	if err != nil {
		return nil, out, err
	}
	fee := FeeFor(k.feeRate, weightOf(tx, settleWitness))
	if total := outputSum(tx) + fee; total != c.terms.Value {
		return nil, out, code.New(code.Internal, "a close of %d sat out of %d", total, c.terms.Value)
	}
	return tx, out, nil
}

func outputSum(tx *wire.MsgTx) usage.Sat {
	var sum usage.Sat
	for _, o := range tx.TxOut {
		sum += usage.Sat(o.Value)
	}
	return sum
}

// signClose signs a close with this side's key.
func (c *Contract) signClose(k closing, key *btcec.PrivateKey) (*wire.MsgTx, Signature, error) {
	if err := checkPrivate(key, c.key()); err != nil {
		return nil, Signature{}, err
	}
	tx, out, err := c.closeTx(k)
	if err != nil {
		return nil, Signature{}, err
	}
	sig, err := signLeaf(key, tx, c.terms.Value, out)
	return tx, sig, err
}

// checkClose verifies a close that the other side signed: the transaction is the one that this side
// builds (check 37), and the signature holds.
func (c *Contract) checkClose(k closing, raw []byte, sig Signature) error {
	theirs, err := parseUnsigned(raw)
	if err != nil {
		return err
	}
	if err := checkShape(theirs, maxInputs); err != nil {
		return err
	}
	tx, out, err := c.closeTx(k)
	if err != nil {
		return err
	}
	if err := compareClose(tx, theirs); err != nil {
		return err
	}
	key := c.terms.ClientKey
	if c.role == Client {
		key = c.terms.RelayKey
	}
	return verifyLeaf(key, sig, tx, c.terms.Value, out)
}

// compareClose tells how a peer's close differs from the rebuilt one.
func compareClose(ours, theirs *wire.MsgTx) error {
	if len(theirs.TxOut) == len(ours.TxOut) {
		for i, out := range theirs.TxOut {
			if !sameScript(out.PkScript, ours.TxOut[i].PkScript) {
				return code.New(code.BadScript, "output %d pays to a script that was not registered at opening", i)
			}
		}
	}
	if !bytes.Equal(unsignedBytes(ours), unsignedBytes(theirs)) {
		return code.New(code.BadTransaction, "the close is not the one that the terms give")
	}
	return nil
}

// final publishes a complete close.
func (c *Contract) final(k closing) (Effect, error) {
	tx, err := c.finalTx(k)
	return Broadcast{tx, ForClose}, err
}

// finalTx is a close with its signatures in place: that of both for the key path, or one of each for
// the leaf. It was checked when it was agreed on, and stands whatever payment becomes known later.
func (c *Contract) finalTx(k closing) (*wire.MsgTx, error) {
	if !k.both.IsZero() {
		tx, err := c.terms.KeyCloseTx(c.escrow(), k.amount, k.feeRate)
		if err == nil {
			tx.TxIn[0].Witness = wire.TxWitness{k.both[:]}
		}
		return tx, err
	}
	tx, err := c.terms.CloseTx(c.escrow(), k.amount, k.feeRate)
	if err != nil {
		return nil, err
	}
	out, err := c.terms.escrow(false)
	tx.TxIn[0].Witness = settleStack(out, k.client, k.relay)
	return tx, err
}

func (e OfferClose) apply(c *Contract) ([]Effect, error) {
	if err := c.closable(Relay); err != nil {
		return nil, err
	}
	k := closing{amount: snap(c.terms.Value, min(e.Amount, usage.MaxSat)), feeRate: e.FeeRate}
	tx, sig, err := c.signClose(k, e.Key)
	if err != nil {
		return nil, err
	}
	c.closing = true
	return c.ask(&RequestPayment{
		Common: c.common(e.Stamp), Contract: c.ID(), Final: 1, N: c.n, Amount: k.amount, Report: e.Report,
		FeeRate: k.feeRate, Tx: unsignedBytes(tx), Signature: sig,
	})
}

// finalRequest (client): an offer to close is kept until AcceptClose (checks 36b to 39).
func (e Received) finalRequest(c *Contract, m *RequestPayment) ([]Effect, error) {
	if err := c.closable(Client); err != nil {
		return nil, err
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if m.N > c.n {
		return nil, code.New(code.BadSequence, "a close after update %d, the last is %d", m.N, c.n)
	}
	k := closing{amount: m.Amount, feeRate: m.FeeRate}
	if err := c.checkClose(k, m.Tx, m.Signature); err != nil {
		return nil, err
	}
	if err := c.hear(e.Message); err != nil {
		return nil, err
	}
	k.relay = m.Signature
	c.offered = k
	return nil, nil
}

func (e AcceptClose) apply(c *Contract) ([]Effect, error) {
	if err := c.closable(Client); err != nil {
		return nil, err
	}
	k := c.offered
	if k.relay.IsZero() {
		return nil, code.New(code.NotDue, "the relay has offered no close")
	}
	if k.amount > e.Max {
		return nil, code.New(code.LimitExceeded, "the close pays the relay %d sat, your limit is %d", k.amount, e.Max)
	}
	_, sig, err := c.signClose(k, e.Key)
	if err != nil {
		return nil, err
	}
	k.client = sig
	c.agreed, c.closing, c.talk.pending = k, true, nil
	final, err := c.final(k)
	return []Effect{final}, err
}

func (e Close) apply(c *Contract) ([]Effect, error) {
	if err := c.closable(Client); err != nil {
		return nil, err
	}
	k := closing{amount: snap(c.terms.Value, min(e.Amount, usage.MaxSat)), feeRate: e.FeeRate}
	if err := c.checkCloseFee(k, c.paid); err != nil {
		return nil, err
	}
	tx, sig, err := c.signClose(k, e.Key)
	if err != nil {
		return nil, err
	}
	c.closing = true
	return c.ask(&RefundPayment{
		Common: c.common(e.Stamp), Contract: c.ID(), N: c.n, Amount: k.amount, FeeRate: k.feeRate,
		Tx: unsignedBytes(tx), Signature: sig,
	})
}

// checkCloseFee protects the relay's share where the client chooses the fee rate (check 39): the
// relay gets at least what the settlement of the payment due would give it at the first tier.
func (c *Contract) checkCloseFee(k closing, due usage.Sat) error {
	return c.checkShare(k, settleWitness, due)
}

// checkShare is checkCloseFee for a close with a witness of that size.
func (c *Contract) checkShare(k closing, witness int64, due usage.Sat) error {
	if err := checkFeeRate(k.feeRate); err != nil {
		return err
	}
	tx, err := c.terms.payTx(c.escrow(), k.amount, k.feeRate, c.terms.ClientScript, witness)
	if err != nil {
		return err
	}
	gets := snap(c.terms.Value, k.amount) - FeeFor(k.feeRate, weightOf(tx, witness))
	if gets+FeeFor(c.terms.SettleFeeRate, weightOf(tx, settleWitness)) < due {
		return code.New(code.BadFeeRate, "the close leaves the relay %d sat of %d", gets, due)
	}
	return nil
}

// refundPayment (relay): closes if the client pays what is due, and broadcasts (checks 36b to 39).
func (e Received) refundPayment(c *Contract, m *RefundPayment) ([]Effect, error) {
	if err := c.closable(Relay); err != nil {
		return nil, err
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if m.N < c.n || m.N > c.n+1 {
		return nil, code.New(code.BadSequence, "a close after update %d, the last is %d", m.N, c.n)
	}
	k := closing{amount: m.Amount, feeRate: m.FeeRate}
	if err := c.checkClose(k, m.Tx, m.Signature); err != nil {
		return nil, err
	}
	if m.Amount < min(e.Due, c.terms.Value) {
		return nil, code.New(code.PaymentTooLow, "a close for %d sat, due are %d", m.Amount, e.Due)
	}
	if err := c.checkCloseFee(k, max(c.paid, min(e.Due, c.terms.Value))); err != nil {
		return nil, err
	}
	if err := c.hear(e.Message); err != nil {
		return nil, err
	}
	_, sig, err := c.signClose(k, e.Key)
	if err != nil {
		return nil, err
	}
	k.client, k.relay, k.order = m.Signature, sig, e.Message.digest
	c.agreed, c.closing, c.talk.pending = k, true, nil
	final, err := c.final(k)
	return []Effect{final}, err
}
