package wallet

import (
	"context"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

const (
	// holdPrepared is how long a prepared payment keeps its coins.
	holdPrepared = 10 * time.Minute

	// maxSendAll bounds the inputs of one payment of everything to about 115,000 weight units,
	// well below the 400,000 that nodes relay.
	maxSendAll = 500
)

// ScriptOf gives the output script of an address, and refuses addresses of other networks and
// bare public keys. Error: BadAddress.
func (w *Wallet) ScriptOf(addr string) ([]byte, error) {
	a, err := address.DecodeAddress(addr, w.params)
	if err != nil {
		return nil, code.Wrap(code.BadAddress, err, "%q is not an address", addr)
	}
	if _, bare := a.(*address.AddressPubKey); bare || !a.IsForNet(w.params) {
		return nil, code.New(code.BadAddress, "%q is not an address of %s", addr, w.params.Name)
	}
	script, err := txscript.PayToAddrScript(a)
	return script, code.Wrap(code.BadAddress, err, "%q cannot be paid", addr)
}

// Send pays sat satoshi, or with sendAll (and sat = 0) everything that is free, to an address,
// at a fee rate in satoshi per 1000 virtual bytes. It returns the published transaction and its
// fee in satoshi. Errors are those of PrepareSend and Publish.
func (w *Wallet) Send(ctx context.Context, addr string, sat, feeRate int64, sendAll bool) (*wire.MsgTx, int64, error) {
	tx, fee, err := w.PrepareSend(ctx, addr, sat, feeRate, sendAll)
	if err != nil {
		return nil, 0, err
	}
	if err := w.Publish(ctx, tx); err != nil {
		return nil, 0, err
	}
	return tx, fee, nil
}

// PrepareSend builds and signs the payment without publishing it, so that its fee can be shown
// first. Its coins stay reserved for ten minutes, or until Publish or Discard. Only confirmed
// coins are spent.
//
// Errors: BadAddress, AmountTooSmall, BadFeeRate, NotEnoughCoins, ChainUnavailable.
func (w *Wallet) PrepareSend(ctx context.Context, addr string, sat, feeRate int64, sendAll bool) (*wire.MsgTx, int64, error) {
	script, err := w.ScriptOf(addr)
	if err != nil {
		return nil, 0, err
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	out := wire.NewTxOut(sat, script)
	if sendAll {
		return w.prepareAll(out, feeRate)
	}
	if sat <= 0 {
		return nil, 0, code.New(code.AmountTooSmall, "%d sat is not an amount", sat)
	}
	id, err := paymentID()
	if err != nil {
		return nil, 0, err
	}
	share, err := w.Fund(FundRequest{
		Outputs: []*wire.TxOut{out}, FeeRate: feeRate, Lease: id, Until: w.now().Add(holdPrepared),
	})
	if err != nil {
		return nil, 0, err
	}
	tx, err := w.pay(share, out)
	return tx, share.FeeSat, err
}

// prepareAll spends every free confirmed coin into one output.
func (w *Wallet) prepareAll(out *wire.TxOut, feeRate int64) (*wire.MsgTx, int64, error) {
	if out.Value != 0 {
		return nil, 0, code.New(code.AmountTooSmall, "either an amount or everything")
	}
	if err := checkFeeRate(feeRate); err != nil {
		return nil, 0, err
	}
	id, err := paymentID()
	if err != nil {
		return nil, 0, err
	}
	w.coinMu.Lock()
	defer w.coinMu.Unlock()
	p, err := w.everything(out, feeRate)
	if err != nil {
		return nil, 0, err
	}
	share, err := w.reserve(FundRequest{Lease: id, Until: w.now().Add(holdPrepared)}, p)
	if err != nil {
		return nil, 0, err
	}
	tx, err := w.pay(share, out)
	return tx, share.FeeSat, err
}

// everything plans a payment of all free coins that are worth their own fee, and sets the value of
// the output.
func (w *Wallet) everything(out *wire.TxOut, feeRate int64) (plan, error) {
	coins, err := w.coins()
	if err != nil {
		return plan{}, err
	}
	free, rest := split(coins, FundRequest{})
	gone, err := w.spentElsewhere(free)
	if err != nil {
		return plan{}, err
	}
	p := plan{weight: commonWU + outputWU(out.PkScript)}
	have := int64(0)
	for _, c := range free {
		if contains(gone, c.op) || c.value <= feeFor(inputWU, feeRate) || len(p.coins) == maxSendAll {
			continue
		}
		p.coins, p.weight, have = append(p.coins, c), p.weight+inputWU, have+c.value
	}
	if len(p.coins) > 252 {
		p.weight += 4 * 2 // the count of inputs takes three bytes
	}
	p.fee = feeFor(p.weight, feeRate)
	out.Value = have - p.fee
	if least := mempool.GetDustThreshold(out); out.Value < least {
		return plan{}, rest.explain(code.New(code.NotEnoughCoins, "%d sat are missing: %d sat there, %d sat fee", least-out.Value, have, p.fee))
	}
	return p, nil
}

// pay builds and signs the transaction of a share that pays one output.
func (w *Wallet) pay(share Share, out *wire.TxOut) (*wire.MsgTx, error) {
	tx := wire.NewMsgTx(2)
	prevouts := make(map[wire.OutPoint]*wire.TxOut, len(share.Inputs))
	own := make([]wire.OutPoint, 0, len(share.Inputs))
	for _, in := range share.Inputs {
		txIn := wire.NewTxIn(&in.OutPoint, nil, nil)
		txIn.Sequence = Sequence
		tx.AddTxIn(txIn)
		prevouts[in.OutPoint] = wire.NewTxOut(in.Value, in.PkScript)
		own = append(own, in.OutPoint)
	}
	tx.AddTxOut(out)
	if share.ChangeSat > 0 {
		tx.AddTxOut(wire.NewTxOut(share.ChangeSat, share.ChangeScript))
	}
	witnesses, err := w.SignOwn(tx, prevouts, own)
	if err != nil {
		return nil, err
	}
	for _, in := range tx.TxIn {
		in.Witness = witnesses[in.PreviousOutPoint]
	}
	return tx, nil
}
