package chain

import (
	"context"
	"errors"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// ErrNotOnChain is wrapped by Backend.BlockAt and Backend.Block when the node's
// best chain has no such block: it never had, or a reorg has just taken it.
var ErrNotOnChain = errors.New("chain: no such block on the best chain")

// Block names a block and its place.
type Block struct {
	Hash   chainhash.Hash
	Height uint32
	Prev   chainhash.Hash
	Time   time.Time // the header's, to the second
}

// blockOf names a block whose height is known.
func blockOf(h *wire.BlockHeader, height uint32) Block {
	return Block{Hash: h.BlockHash(), Height: height, Prev: h.PrevBlock, Time: h.Timestamp}
}

// TxOut is an unspent transaction output as a node sees it.
type TxOut struct {
	Value         int64 // satoshi
	PkScript      []byte
	Confirmations uint32 // 0: only in the mempool; 1: in the tip
	Coinbase      bool   // a block reward: spendable from 100 confirmations on
}

// Backend is a Bitcoin node. Its errors are coded: ChainUnavailable when the
// node does not answer or not sensibly (worth trying again), ChainRejected when
// it refuses a transaction, ChainWrongNetwork, and LightClient for questions that
// a light client cannot answer: those of TxOut, Spending, Tx and TestAccept.
// Methods may be called from several goroutines, and answers between calls may
// belong to different tips. Package chain/chaintest says all of this as tests.
type Backend interface {
	// Tip is the last block of the best chain.
	Tip(ctx context.Context) (Block, error)

	// BlockAt is the hash of the best chain's block at a height, or
	// ErrNotOnChain.
	BlockAt(ctx context.Context, height uint32) (chainhash.Hash, error)

	// Header is the header of a block of the best chain with its height, or
	// ErrNotOnChain.
	Header(ctx context.Context, hash chainhash.Hash) (*wire.BlockHeader, uint32, error)

	// Block is a block of the best chain with its height, or ErrNotOnChain.
	Block(ctx context.Context, hash chainhash.Hash) (*wire.MsgBlock, uint32, error)

	// TxOut is an output that is unspent, or nil when it is spent or does not
	// exist. With mempool, transactions in the mempool count, both as makers
	// and as spenders of outputs.
	TxOut(ctx context.Context, op wire.OutPoint, mempool bool) (*TxOut, error)

	// Spending is the mempool's transaction that spends an output, or nil.
	Spending(ctx context.Context, op wire.OutPoint) (*chainhash.Hash, error)

	// Tx is a transaction in the mempool (0 confirmations) or in the best
	// chain, or nil when the node does not know it. The node needs an index of
	// transactions for those in blocks.
	Tx(ctx context.Context, txid chainhash.Hash) (*wire.MsgTx, uint32, error)

	// TestAccept asks whether the mempool would take a transaction: nil when it
	// would or has it already or it is confirmed, else ChainRejected with the
	// node's reason.
	TestAccept(ctx context.Context, tx *wire.MsgTx) error

	// Broadcast gives a transaction to the node. It may be repeated: a
	// transaction that is in the mempool or in a block already is a success.
	Broadcast(ctx context.Context, tx *wire.MsgTx) error

	// FeeRate is the node's estimate for confirmation within so many blocks, in
	// satoshi per 1,000 virtual bytes, as the node says it; 0 when it has no data.
	// Fees are chosen by FeeRate, the function, which bounds it.
	FeeRate(ctx context.Context, blocks int) (int64, error)

	// Notify is a channel that gets a value when the chain may have changed,
	// until ctx is done. It is never closed, wake-ups are merged, and they may
	// be missing: it only saves waiting for the next poll.
	Notify(ctx context.Context) <-chan struct{}
}

// Filtering is a Backend that can tell what a block does not hold without having
// the block: a light client, by compact filters (BIP158).
type Filtering interface {
	Backend

	// MayHold is false when the block certainly has no output to, and no input
	// that spends an output of, any of the scripts. True says nothing. The
	// block must be on the best chain, else ErrNotOnChain.
	MayHold(ctx context.Context, hash chainhash.Hash, scripts [][]byte) (bool, error)
}
