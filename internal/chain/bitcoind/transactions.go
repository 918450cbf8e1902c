package bitcoind

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// maxFeeRate makes the node refuse absurd fees: 0.1 BTC per 1,000 virtual bytes, its
// own default.
var maxFeeRate = json.Number("0.10")

// satoshi reads an amount in BTC exactly: a float would not be exact.
func satoshi(n json.Number) (int64, error) {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok || len(n) > 32 {
		return 0, fmt.Errorf("%q is no amount", n)
	}
	r.Mul(r, big.NewRat(btcutil.SatoshiPerBitcoin, 1))
	if !r.IsInt() || r.Sign() < 0 || r.Num().Cmp(big.NewInt(btcutil.MaxSatoshi)) > 0 {
		return 0, fmt.Errorf("%q is no amount", n)
	}
	return r.Num().Int64(), nil
}

// TxOut implements chain.Backend.
func (b *Backend) TxOut(ctx context.Context, op wire.OutPoint, mempool bool) (*chain.TxOut, error) {
	var answer *struct {
		Confirmations uint32      `json:"confirmations"`
		Value         json.Number `json:"value"`
		Script        struct {
			Hex string `json:"hex"`
		} `json:"scriptPubKey"`
		Coinbase bool `json:"coinbase"`
	}
	if err := b.call(ctx, &answer, "gettxout", op.Hash.String(), op.Index, mempool); err != nil {
		return nil, unavailable(ctx, err, "output %s", op)
	}
	if answer == nil {
		return nil, nil
	}
	value, valueErr := satoshi(answer.Value)
	script, scriptErr := hex.DecodeString(answer.Script.Hex)
	if err := errors.Join(valueErr, scriptErr); err != nil {
		return nil, unavailable(ctx, err, "output %s sensibly", op)
	}
	return &chain.TxOut{Value: value, PkScript: script, Confirmations: answer.Confirmations, Coinbase: answer.Coinbase}, nil
}

// Spending implements chain.Backend.
func (b *Backend) Spending(ctx context.Context, op wire.OutPoint) (*chainhash.Hash, error) {
	type output struct {
		Txid string `json:"txid"`
		Vout uint32 `json:"vout"`
	}
	var answer []struct {
		output
		Spender string `json:"spendingtxid"`
	}
	asked := output{op.Hash.String(), op.Index}
	err := b.call(ctx, &answer, "gettxspendingprevout", []output{asked})
	if err == nil && (len(answer) != 1 || answer[0].output != asked) {
		err = errors.New("it answers another question")
	}
	if err != nil {
		return nil, unavailable(ctx, err, "what spends %s", op)
	}
	if answer[0].Spender == "" {
		return nil, nil
	}
	hash, err := chainhash.NewHashFromStr(answer[0].Spender)
	return hash, unavailable(ctx, err, "what spends %s sensibly", op)
}

// Tx implements chain.Backend.
func (b *Backend) Tx(ctx context.Context, txid chainhash.Hash) (*wire.MsgTx, uint32, error) {
	var answer struct {
		Hex           string `json:"hex"`
		Confirmations uint32 `json:"confirmations"` // missing in the mempool
	}
	err := b.call(ctx, &answer, "getrawtransaction", txid.String(), 1)
	if numberOf(err) == rpcNotFound {
		return nil, 0, nil
	}
	tx := new(wire.MsgTx)
	if err == nil {
		err = decode(answer.Hex, tx)
	}
	if err == nil && tx.TxHash() != txid {
		err = errors.New("it answers with another one")
	}
	if err != nil {
		return nil, 0, unavailable(ctx, err, "transaction %s", txid)
	}
	return tx, answer.Confirmations, nil
}

// unlessKnown is nil when the node has the transaction in its mempool or in a block,
// else the refusal; or, when that cannot be found out, the reason why not, because a refusal that
// is none would make a caller give up money.
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

func encode(tx *wire.MsgTx) (string, error) {
	var raw bytes.Buffer
	err := tx.Serialize(&raw)
	return hex.EncodeToString(raw.Bytes()), err
}

// TestAccept implements chain.Backend.
func (b *Backend) TestAccept(ctx context.Context, tx *wire.MsgTx) error {
	text, err := encode(tx)
	if err != nil {
		return code.Wrap(code.ChainRejected, err, "transaction %s is malformed", tx.TxHash())
	}
	var answer []struct {
		Allowed bool   `json:"allowed"`
		Reason  string `json:"reject-reason"`
		Details string `json:"reject-details"` // from version 29 on
	}
	err = b.call(ctx, &answer, "testmempoolaccept", []string{text}, maxFeeRate)
	if numberOf(err) == rpcUndecodable {
		return code.Wrap(code.ChainRejected, err, "transaction %s is malformed", tx.TxHash())
	}
	if err == nil && len(answer) != 1 {
		err = fmt.Errorf("%d answers to one question", len(answer))
	}
	if err != nil {
		return unavailable(ctx, err, "whether it accepts %s", tx.TxHash())
	}
	a := answer[0]
	if a.Allowed || a.Reason == "txn-already-in-mempool" || a.Reason == "txn-already-known" {
		return nil
	}
	reason := a.Reason
	if a.Details != "" {
		reason = a.Details
	}
	return b.unlessKnown(ctx, tx, code.New(code.ChainRejected, "the node would refuse transaction %s: %s", tx.TxHash(), reason))
}

// Broadcast implements chain.Backend.
func (b *Backend) Broadcast(ctx context.Context, tx *wire.MsgTx) error {
	text, err := encode(tx)
	if err != nil {
		return code.Wrap(code.ChainRejected, err, "transaction %s is malformed", tx.TxHash())
	}
	var txid string
	err = b.call(ctx, &txid, "sendrawtransaction", text, maxFeeRate)
	switch numberOf(err) {
	case rpcAlreadyInChain:
		return nil
	case rpcUndecodable, rpcVerify, rpcRejected:
		return b.unlessKnown(ctx, tx, code.Wrap(code.ChainRejected, err, "the node refuses transaction %s", tx.TxHash()))
	}
	return unavailable(ctx, err, "the fate of transaction %s", tx.TxHash())
}

// BroadcastPackage implements chain.PackageBroadcaster (submitpackage).
func (b *Backend) BroadcastPackage(ctx context.Context, txs []*wire.MsgTx) error {
	texts := make([]string, len(txs))
	for i, tx := range txs {
		text, err := encode(tx)
		if err != nil {
			return code.Wrap(code.ChainRejected, err, "transaction %s is malformed", tx.TxHash())
		}
		texts[i] = text
	}
	var answer struct {
		Message string `json:"package_msg"`
		Results map[string]struct {
			Txid  string `json:"txid"`
			Error string `json:"error"`
		} `json:"tx-results"`
	}
	err := b.call(ctx, &answer, "submitpackage", texts, maxFeeRate)
	switch numberOf(err) {
	case rpcUndecodable, rpcVerify, rpcRejected, rpcBadParameter:
		return code.Wrap(code.ChainRejected, err, "the node refuses a package of %d transactions", len(txs))
	}
	if err != nil {
		return unavailable(ctx, err, "the fate of a package")
	}
	if answer.Message == "success" {
		return nil
	}
	var reasons []string
	for _, r := range answer.Results {
		if r.Error != "" {
			reasons = append(reasons, r.Txid+": "+r.Error)
		}
	}
	slices.Sort(reasons)
	return code.New(code.ChainRejected, "the node refuses a package of %d transactions: %s; %s", len(txs), answer.Message, strings.Join(reasons, "; "))
}

// FeeRate implements chain.Backend (estimatesmartfee).
func (b *Backend) FeeRate(ctx context.Context, blocks int) (int64, error) {
	var answer struct {
		FeeRate json.Number `json:"feerate"` // in BTC per 1,000 virtual bytes; missing without data
	}
	err := b.call(ctx, &answer, "estimatesmartfee", min(max(blocks, 1), 1008))
	if numberOf(err) != 0 || err == nil && answer.FeeRate == "" {
		return 0, nil // it answers, but has no data
	}
	if err != nil {
		return 0, unavailable(ctx, err, "a fee rate")
	}
	rate, err := satoshi(answer.FeeRate)
	if err != nil {
		return 0, nil // nonsense is no data either
	}
	return rate, nil
}
