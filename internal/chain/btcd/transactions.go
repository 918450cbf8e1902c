package btcd

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// maxFeeRate makes the node refuse absurd fees: 0.1 BTC per 1,000 virtual bytes,
// the usual default of nodes.
const maxFeeRate = 0.1

// TxOut implements chain.Backend.
func (b *Backend) TxOut(ctx context.Context, op wire.OutPoint, mempool bool) (*chain.TxOut, error) {
	result, err := call(ctx, b, func(c *rpcclient.Client) (*btcjson.GetTxOutResult, error) {
		return c.GetTxOut(&op.Hash, op.Index, mempool)
	})
	if rpcCode(err) == rpcNotFound || err == nil && result == nil {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(ctx, err, "output %s", op)
	}
	if mempool {
		spender, err := b.Spending(ctx, op)
		if err != nil || spender != nil {
			return nil, err
		}
	}
	out, err := readTxOut(result)
	return out, unavailable(ctx, err, "output %s sensibly", op)
}

func readTxOut(r *btcjson.GetTxOutResult) (*chain.TxOut, error) {
	value, err := btcutil.NewAmount(r.Value)
	if err != nil {
		return nil, err
	}
	script, err := hex.DecodeString(r.ScriptPubKey.Hex)
	if err != nil {
		return nil, err
	}
	if value < 0 || value > btcutil.MaxSatoshi || r.Confirmations < 0 {
		return nil, fmt.Errorf("value %d, confirmations %d", value, r.Confirmations)
	}
	return &chain.TxOut{
		Value: int64(value), PkScript: script,
		Confirmations: uint32(r.Confirmations), Coinbase: r.Coinbase,
	}, nil
}

// Spending implements chain.Backend.
func (b *Backend) Spending(ctx context.Context, op wire.OutPoint) (*chainhash.Hash, error) {
	results, err := call(ctx, b, func(c *rpcclient.Client) ([]*btcjson.GetTxSpendingPrevOutResult, error) {
		return c.GetTxSpendingPrevOut([]wire.OutPoint{op})
	})
	if err == nil && len(results) != 1 {
		err = fmt.Errorf("%d answers to one question", len(results))
	}
	if err != nil {
		return nil, unavailable(ctx, err, "what spends %s", op)
	}
	if results[0].SpendingTxid == "" {
		return nil, nil
	}
	hash, err := chainhash.NewHashFromStr(results[0].SpendingTxid)
	return hash, unavailable(ctx, err, "what spends %s sensibly", op)
}

// Tx implements chain.Backend.
func (b *Backend) Tx(ctx context.Context, txid chainhash.Hash) (*wire.MsgTx, uint32, error) {
	result, err := call(ctx, b, func(c *rpcclient.Client) (*btcjson.TxRawResult, error) {
		return c.GetRawTransactionVerbose(&txid)
	})
	if rpcCode(err) == rpcNotFound {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, unavailable(ctx, err, "transaction %s", txid)
	}
	tx, err := decodeTx(result.Hex)
	if err == nil && tx.TxHash() != txid {
		err = errors.New("it answers with another one")
	}
	if err != nil {
		return nil, 0, unavailable(ctx, err, "transaction %s sensibly", txid)
	}
	return tx, uint32(result.Confirmations), nil
}

func decodeTx(text string) (*wire.MsgTx, error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return nil, err
	}
	tx := new(wire.MsgTx)
	return tx, tx.Deserialize(bytes.NewReader(raw))
}

// unlessKnown is nil when the node has the transaction in its mempool or in a
// block, else the refusal; or, when that cannot be found out, the reason why not,
// because a refusal that is none would make a caller give up money.
func (b *Backend) unlessKnown(ctx context.Context, tx *wire.MsgTx, refusal error) error {
	found, _, err := b.Tx(ctx, tx.TxHash())
	if err != nil {
		return err
	}
	if found != nil {
		return nil
	}
	return refusal
}

// TestAccept implements chain.Backend.
func (b *Backend) TestAccept(ctx context.Context, tx *wire.MsgTx) error {
	results, err := call(ctx, b, func(c *rpcclient.Client) ([]*btcjson.TestMempoolAcceptResult, error) {
		// The library decodes into the transaction it is given.
		return c.TestMempoolAccept([]*wire.MsgTx{tx.Copy()}, maxFeeRate)
	})
	if rpcCode(err) == rpcUndecodable || errors.Is(err, rpcclient.ErrInvalidParam) {
		return code.Wrap(code.ChainRejected, err, "transaction %s is malformed", tx.TxHash())
	}
	if err == nil && len(results) != 1 {
		err = fmt.Errorf("%d answers to one question", len(results))
	}
	if err != nil {
		return unavailable(ctx, err, "whether it accepts %s", tx.TxHash())
	}
	if results[0].Allowed {
		return nil
	}
	return b.unlessKnown(ctx, tx, code.New(code.ChainRejected,
		"the node would refuse transaction %s: %s", tx.TxHash(), results[0].RejectReason))
}

// Broadcast implements chain.Backend. A transaction that the node refuses
// because it has it already (in words that differ between nodes and cases: one
// whose outputs are spent again is reported as an orphan) is found out by asking
// for it.
func (b *Backend) Broadcast(ctx context.Context, tx *wire.MsgTx) error {
	_, err := call(ctx, b, func(c *rpcclient.Client) (*chainhash.Hash, error) {
		return c.SendRawTransaction(tx, false)
	})
	switch rpcCode(err) {
	case rpcAlreadyInChain:
		return nil
	case rpcUndecodable, rpcMissingInputs, rpcRejected:
		return b.unlessKnown(ctx, tx,
			code.Wrap(code.ChainRejected, err, "the node refuses transaction %s", tx.TxHash()))
	}
	return unavailable(ctx, err, "the fate of transaction %s", tx.TxHash())
}

// FeeRate implements chain.Backend.
func (b *Backend) FeeRate(ctx context.Context, blocks int) (int64, error) {
	btcPerKvB, err := call(ctx, b, func(c *rpcclient.Client) (float64, error) {
		return estimate(c, int64(max(blocks, 1)))
	})
	if rpcCode(err) != 0 {
		return 0, nil // it answers, but has no data
	}
	if err != nil {
		return 0, unavailable(ctx, err, "a fee rate")
	}
	sats, err := btcutil.NewAmount(btcPerKvB)
	if err != nil || sats <= 0 {
		return 0, nil
	}
	return int64(sats), nil
}

// estimate returns 0 when the node has no data.
func estimate(c *rpcclient.Client, blocks int64) (float64, error) {
	smart, err := c.EstimateSmartFee(blocks, nil)
	if rpcCode(err) == rpcNoMethod {
		return c.EstimateFee(blocks)
	}
	if err != nil || smart.FeeRate == nil {
		return 0, err
	}
	return *smart.FeeRate, nil
}
