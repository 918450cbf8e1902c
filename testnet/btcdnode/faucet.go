package btcdnode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

const (
	// faucetFeeRate is in satoshi per virtual byte: far above the node's
	// minimum, so that a payment is never the one that waits.
	faucetFeeRate = 10

	// inputVBytes, outputVBytes and frameVBytes are upper bounds for a taproot
	// key spend, for any usual output, and for the rest of a transaction.
	inputVBytes, outputVBytes, frameVBytes = 58, 45, 12

	// dust is the least value of a taproot output that nodes relay.
	dust = 330
)

// ErrNoCoins is returned by Fund when the harness's spendable coins do not
// suffice: mine more blocks (a reward matures after 100).
var ErrNoCoins = errors.New("btcdnode: not enough spendable coins")

// coin is an output that the harness owns. height 0: not seen in a block.
type coin struct {
	value  int64
	height int32
	reward bool
}

// faucet spends the block rewards: one taproot key, and the coins found by
// reading every block up to height from the archive. Every coin is looked up again at the node
// before use, so a fork can at worst hide coins until the next scan.
type faucet struct {
	key     *btcec.PrivateKey
	script  []byte
	address string
	coins   map[wire.OutPoint]coin
	height  int32
}

func newFaucet() (*faucet, error) {
	key, err := btcec.NewPrivateKey()
	if err != nil {
		return nil, fmt.Errorf("btcdnode: %w", err)
	}
	output := txscript.ComputeTaprootKeyNoScript(key.PubKey())
	addr, err := address.NewAddressTaproot(schnorr.SerializePubKey(output), params())
	if err != nil {
		return nil, fmt.Errorf("btcdnode: %w", err)
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		return nil, fmt.Errorf("btcdnode: %w", err)
	}
	return &faucet{
		key: key, script: script, address: addr.EncodeAddress(),
		coins: make(map[wire.OutPoint]coin),
	}, nil
}

// Fund pays sats to pkScript from the harness's own coins and broadcasts the
// payment. It returns the new output, which is unconfirmed until the next Mine.
// It works hundreds of times, with or without blocks in between.
func (n *Node) Fund(ctx context.Context, pkScript []byte, sats int64) (wire.OutPoint, error) {
	tx, err := n.Pay(ctx, wire.NewTxOut(sats, pkScript))
	if err != nil {
		return wire.OutPoint{}, err
	}
	return wire.OutPoint{Hash: tx.TxHash(), Index: 0}, nil
}

// Pay is Fund for several outputs in one transaction. They are its first
// outputs, in the given order.
func (n *Node) Pay(ctx context.Context, outs ...*wire.TxOut) (*wire.MsgTx, error) {
	if n.faucet == nil {
		return nil, ErrForeignRewards
	}
	n.making.Lock()
	defer n.making.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := n.follow(); err != nil {
		return nil, fmt.Errorf("btcdnode: fund: %w", err)
	}
	client := n.Client()
	tx, err := n.faucet.pay(client, outs)
	if err != nil {
		return nil, fmt.Errorf("btcdnode: fund: %w", err)
	}
	if _, err := client.SendRawTransaction(tx, true); err != nil {
		return nil, fmt.Errorf("btcdnode: fund: %w", err)
	}
	n.faucet.apply(tx, 0)
	return tx, nil
}

// reread finds the coins anew in a chain that has changed. Rewards of lost
// blocks are gone for good; change may be in the mempool again, so it stays, as
// unconfirmed.
func (f *faucet) reread(blocks []*wire.MsgBlock) {
	f.height = 0
	for op, c := range f.coins {
		if c.reward {
			delete(f.coins, op)
			continue
		}
		f.coins[op] = coin{value: c.value}
	}
	for _, block := range blocks {
		f.read(block)
	}
}

// read takes account of a block on top of the last one.
func (f *faucet) read(block *wire.MsgBlock) {
	f.height++
	for _, tx := range block.Transactions {
		f.apply(tx, f.height)
	}
}

// apply takes account of a transaction: its inputs are spent, its outputs to
// the faucet are coins.
func (f *faucet) apply(tx *wire.MsgTx, height int32) {
	for _, in := range tx.TxIn {
		delete(f.coins, in.PreviousOutPoint)
	}
	isReward := tx.TxIn[0].PreviousOutPoint.Index == wire.MaxPrevOutIndex
	for i, out := range tx.TxOut {
		if string(out.PkScript) == string(f.script) {
			op := wire.OutPoint{Hash: tx.TxHash(), Index: uint32(i)}
			f.coins[op] = coin{value: out.Value, height: height, reward: isReward}
		}
	}
}

// pay builds and signs a transaction with change to the faucet.
func (f *faucet) pay(client *rpcclient.Client, outs []*wire.TxOut) (*wire.MsgTx, error) {
	tx, need := wire.NewMsgTx(2), int64(0)
	for _, out := range outs {
		tx.AddTxOut(out)
		need += out.Value
	}
	size := int64(frameVBytes + outputVBytes*(len(outs)+1))
	prev := txscript.NewMultiPrevOutFetcher(nil)
	have := int64(0)
	for _, op := range f.order() {
		if have >= need+size*faucetFeeRate {
			break
		}
		value, ok := f.spendable(client, op)
		if !ok {
			continue
		}
		tx.AddTxIn(wire.NewTxIn(&op, nil, nil))
		prev.AddPrevOut(op, wire.NewTxOut(value, f.script))
		have, size = have+value, size+inputVBytes
	}
	change := have - need - size*faucetFeeRate
	if change < 0 {
		return nil, fmt.Errorf("%w: need %d satoshi and the fee, have %d", ErrNoCoins, need, have)
	}
	if change >= dust {
		tx.AddTxOut(wire.NewTxOut(change, f.script))
	}
	return tx, f.sign(tx, prev)
}

// order lists the coins, confirmed ones first (they survive a restart of the
// node), then by value so that few inputs are needed.
func (f *faucet) order() []wire.OutPoint {
	ops := make([]wire.OutPoint, 0, len(f.coins))
	for op := range f.coins {
		ops = append(ops, op)
	}
	slices.SortFunc(ops, func(a, b wire.OutPoint) int {
		x, y := f.coins[a], f.coins[b]
		if (x.height > 0) != (y.height > 0) {
			return cmp.Compare(min(y.height, 1), min(x.height, 1))
		}
		return cmp.Or(cmp.Compare(y.value, x.value), cmp.Compare(x.height, y.height),
			cmp.Compare(a.String(), b.String()))
	})
	return ops
}

// spendable asks the node for a coin's value. A coin that the node does not
// have is forgotten; if it comes back in a block, the scan finds it again.
func (f *faucet) spendable(client *rpcclient.Client, op wire.OutPoint) (int64, bool) {
	c := f.coins[op]
	maturity := int32(params().CoinbaseMaturity)
	if c.reward && f.height-c.height+1 < maturity {
		return 0, false
	}
	out, err := client.GetTxOut(&op.Hash, op.Index, true)
	if err != nil {
		return 0, false
	}
	if out == nil {
		delete(f.coins, op)
		return 0, false
	}
	// btcd shows an output also when the mempool spends it.
	spends, err := client.GetTxSpendingPrevOut([]wire.OutPoint{op})
	if err != nil || len(spends) != 1 || spends[0].SpendingTxid != "" {
		return 0, false
	}
	return c.value, true
}

func (f *faucet) sign(tx *wire.MsgTx, prev *txscript.MultiPrevOutFetcher) error {
	hashes := txscript.NewTxSigHashes(tx, prev)
	for i, in := range tx.TxIn {
		out := prev.FetchPrevOutput(in.PreviousOutPoint)
		sig, err := txscript.RawTxInTaprootSignature(tx, hashes, i, out.Value, out.PkScript,
			nil, txscript.SigHashDefault, f.key)
		if err != nil {
			return fmt.Errorf("sign input %d: %w", i, err)
		}
		in.Witness = wire.TxWitness{sig}
	}
	return nil
}
