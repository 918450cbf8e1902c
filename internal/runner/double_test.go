package runner_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/mempool"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// double stands in for a node where a test needs hundreds of chains that begin alike: a list of blocks and
// a mempool in memory. It runs every script with the rules of relay policy (btcd's own code), keeps
// lock times, sequence locks, the least fee and BIP125 as btcd does, and counts every satoshi.
type double struct {
	mu     sync.Mutex
	blocks []*wire.MsgBlock
	hashes []chainhash.Hash
	coins  map[wire.OutPoint]coinAt // unspent in the chain
	spent  map[wire.OutPoint]chainhash.Hash
	txs    map[chainhash.Hash]int // height of the block; 0: in the pool
	pool   []*wire.MsgTx
	fees   int64 // of all transactions in blocks, the base aside
	wakes  []chan struct{}
}

type coinAt struct {
	out    *wire.TxOut
	height int
}

// newDouble is a chain of so many blocks, the second of which pays to these outputs.
func newDouble(blocks int, outs ...*wire.TxOut) *double {
	d := &double{coins: map[wire.OutPoint]coinAt{}, spent: map[wire.OutPoint]chainhash.Hash{}, txs: map[chainhash.Hash]int{}}
	genesis := chaincfg.RegressionNetParams.GenesisBlock
	d.blocks, d.hashes = []*wire.MsgBlock{genesis}, []chainhash.Hash{genesis.BlockHash()}
	source := wire.NewMsgTx(2)
	source.AddTxIn(wire.NewTxIn(&wire.OutPoint{Hash: chainhash.Hash{1}}, nil, nil))
	for _, o := range outs {
		source.AddTxOut(o)
	}
	d.pool = []*wire.MsgTx{source}
	for range blocks {
		d.extend()
	}
	d.fees = 0
	return d
}

// clone is the same chain with a future of its own.
func (d *double) clone() *double {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &double{
		blocks: slices.Clone(d.blocks), hashes: slices.Clone(d.hashes), coins: maps.Clone(d.coins), spent: maps.Clone(d.spent), txs: maps.Clone(d.txs),
		pool: slices.Clone(d.pool), fees: d.fees,
	}
}

func (d *double) height() int { return len(d.blocks) - 1 }

// mine makes a block of the whole pool.
func (d *double) mine() {
	d.mu.Lock()
	d.extend()
	d.mu.Unlock()
	d.wake()
}

func (d *double) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.wakes {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (d *double) extend() {
	height := d.height() + 1
	reward := wire.NewMsgTx(2)
	reward.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: wire.MaxPrevOutIndex}, binary.BigEndian.AppendUint32(nil, uint32(height)), nil))
	reward.AddTxOut(wire.NewTxOut(0, []byte{txscript.OP_RETURN}))
	b := wire.NewMsgBlock(&wire.BlockHeader{
		PrevBlock: d.hashes[height-1], Timestamp: d.blocks[height-1].Header.Timestamp.Add(10 * time.Minute), Nonce: uint32(height),
	})
	b.Transactions = append([]*wire.MsgTx{reward}, d.pool...)
	for _, tx := range d.pool {
		fee, _ := d.fee(tx)
		d.fees += fee
		id := tx.TxHash()
		d.txs[id] = height
		for _, in := range tx.TxIn {
			delete(d.coins, in.PreviousOutPoint)
			d.spent[in.PreviousOutPoint] = id
		}
		for i, o := range tx.TxOut {
			d.coins[wire.OutPoint{Hash: id, Index: uint32(i)}] = coinAt{o, height}
		}
	}
	d.pool = nil
	d.blocks, d.hashes = append(d.blocks, b), append(d.hashes, b.BlockHash())
}

// coin is an output that no block spends: of the chain or, with height 0, of the pool.
func (d *double) coin(op wire.OutPoint) (coinAt, bool) {
	if c, ok := d.coins[op]; ok {
		return c, true
	}
	for _, tx := range d.pool {
		if tx.TxHash() == op.Hash && int(op.Index) < len(tx.TxOut) {
			return coinAt{tx.TxOut[op.Index], 0}, true
		}
	}
	return coinAt{}, false
}

func (d *double) fee(tx *wire.MsgTx) (int64, error) {
	var fee int64
	for _, in := range tx.TxIn {
		c, ok := d.coin(in.PreviousOutPoint)
		if !ok {
			return 0, fmt.Errorf("input %v is missing or spent", in.PreviousOutPoint)
		}
		fee += c.out.Value
	}
	for _, o := range tx.TxOut {
		fee -= o.Value
	}
	return fee, nil
}

// spender is the transaction that spends an output, in the pool or in the chain.
func (d *double) spender(op wire.OutPoint) (chainhash.Hash, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, ok := d.spent[op]; ok {
		return id, true
	}
	return d.pooled(op)
}

func (d *double) pooled(op wire.OutPoint) (chainhash.Hash, bool) {
	for _, tx := range d.pool {
		if spendsOf(tx, op) {
			return tx.TxHash(), true
		}
	}
	return chainhash.Hash{}, false
}

func spendsOf(tx *wire.MsgTx, op wire.OutPoint) bool {
	return slices.ContainsFunc(tx.TxIn, func(in *wire.TxIn) bool { return in.PreviousOutPoint == op })
}

func vsizeOf(tx *wire.MsgTx) int64 {
	return (3*int64(tx.SerializeSizeStripped()) + int64(tx.SerializeSize()) + 3) / 4
}

// take is sendrawtransaction.
func (d *double) take(tx *wire.MsgTx) error {
	id := tx.TxHash()
	if _, confirmed := d.txs[id]; confirmed || slices.ContainsFunc(d.pool, func(o *wire.MsgTx) bool { return o.TxHash() == id }) {
		return nil
	}
	next := d.height() + 1
	if err := mempool.CheckTransactionStandard(btcutil.NewTx(tx), int32(next), d.blocks[d.height()].Header.Timestamp, 1000, 2); err != nil {
		return err
	}
	prevouts := txscript.NewMultiPrevOutFetcher(nil)
	for _, in := range tx.TxIn {
		c, ok := d.coin(in.PreviousOutPoint)
		if !ok {
			return fmt.Errorf("input %v is missing or spent", in.PreviousOutPoint)
		}
		if in.Sequence&wire.SequenceLockTimeDisabled == 0 && (c.height == 0 || c.height+int(in.Sequence&wire.SequenceLockTimeMask) > next) {
			return fmt.Errorf("the sequence locks are not met")
		}
		prevouts.AddPrevOut(in.PreviousOutPoint, c.out)
	}
	hashes := txscript.NewTxSigHashes(tx, prevouts)
	for i, in := range tx.TxIn {
		out := prevouts.FetchPrevOutput(in.PreviousOutPoint)
		vm, err := txscript.NewEngine(out.PkScript, tx, i, txscript.StandardVerifyFlags, nil, hashes, out.Value, prevouts)
		if err == nil {
			err = vm.Execute()
		}
		if err != nil {
			return err
		}
	}
	return d.replace(tx)
}

// replace applies the least fee and BIP125.
func (d *double) replace(tx *wire.MsgTx) error {
	fee, err := d.fee(tx)
	if err != nil {
		return err
	}
	if fee < vsizeOf(tx) {
		return fmt.Errorf("a fee of %d for %d vB", fee, vsizeOf(tx))
	}
	var keep []*wire.MsgTx
	var evicted int64
	gone := map[chainhash.Hash]bool{}
	for _, old := range d.pool {
		if !slices.ContainsFunc(old.TxIn, func(in *wire.TxIn) bool { return spendsOf(tx, in.PreviousOutPoint) || gone[in.PreviousOutPoint.Hash] }) {
			keep = append(keep, old)
			continue
		}
		gone[old.TxHash()] = true
		theirs, _ := d.fee(old)
		if fee*vsizeOf(old) <= theirs*vsizeOf(tx) {
			return fmt.Errorf("insufficient fee rate to replace")
		}
		evicted += theirs
	}
	if evicted > 0 && fee < evicted+vsizeOf(tx) {
		return fmt.Errorf("insufficient fee to replace")
	}
	d.pool = append(keep, tx)
	return nil
}

// What follows implements chain.Backend.

func (d *double) Tip(context.Context) (chain.Block, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.height()
	return chain.Block{Hash: d.hashes[h], Height: uint32(h), Prev: d.blocks[h].Header.PrevBlock, Time: d.blocks[h].Header.Timestamp}, nil
}

func (d *double) BlockAt(_ context.Context, height uint32) (chainhash.Hash, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if int64(height) > int64(d.height()) {
		return chainhash.Hash{}, fmt.Errorf("height %d: %w", height, chain.ErrNotOnChain)
	}
	return d.hashes[height], nil
}

func (d *double) Block(_ context.Context, hash chainhash.Hash) (*wire.MsgBlock, uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := slices.Index(d.hashes, hash)
	if h < 0 {
		return nil, 0, fmt.Errorf("block %s: %w", hash, chain.ErrNotOnChain)
	}
	return d.blocks[h], uint32(h), nil
}

func (d *double) Header(ctx context.Context, hash chainhash.Hash) (*wire.BlockHeader, uint32, error) {
	b, h, err := d.Block(ctx, hash)
	if err != nil {
		return nil, 0, err
	}
	return &b.Header, h, nil
}

func (d *double) TxOut(_ context.Context, op wire.OutPoint, pool bool) (*chain.TxOut, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.coin(op)
	if !ok || !pool && c.height == 0 {
		return nil, nil
	}
	if _, spent := d.pooled(op); pool && spent {
		return nil, nil
	}
	out := &chain.TxOut{Value: c.out.Value, PkScript: c.out.PkScript}
	if c.height > 0 {
		out.Confirmations = uint32(d.height() - c.height + 1)
	}
	return out, nil
}

func (d *double) Spending(_ context.Context, op wire.OutPoint) (*chainhash.Hash, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, ok := d.pooled(op); ok {
		return &id, nil
	}
	return nil, nil
}

func (d *double) Tx(_ context.Context, id chainhash.Hash) (*wire.MsgTx, uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, tx := range d.pool {
		if tx.TxHash() == id {
			return tx, 0, nil
		}
	}
	if h, ok := d.txs[id]; ok {
		for _, tx := range d.blocks[h].Transactions {
			if tx.TxHash() == id {
				return tx, uint32(d.height() - h + 1), nil
			}
		}
	}
	return nil, 0, nil
}

func (d *double) Broadcast(_ context.Context, tx *wire.MsgTx) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return code.Wrap(code.ChainRejected, d.take(tx.Copy()), "transaction %s", tx.TxHash())
}

func (d *double) TestAccept(_ context.Context, tx *wire.MsgTx) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.pool
	err := d.take(tx.Copy())
	d.pool = old
	return code.Wrap(code.ChainRejected, err, "transaction %s", tx.TxHash())
}

func (d *double) FeeRate(context.Context, int) (int64, error) { return 0, nil }

func (d *double) Notify(context.Context) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := make(chan struct{}, 1)
	d.wakes = append(d.wakes, w)
	return w
}

var _ chain.Backend = (*double)(nil)
