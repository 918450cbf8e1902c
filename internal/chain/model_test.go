package chain

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// model is a Backend made of nothing but a list of blocks. It knows no validity
// and no mempool: the Watcher looks at neither.
type model struct {
	mu      sync.Mutex
	best    []*wire.MsgBlock       // best[h] has height h
	hashes  []chainhash.Hash       // and hashes[h] its hash
	heights map[chainhash.Hash]int // of every block there ever was
	counter uint32                 // makes every block unique
	calls   int
	before  func() error // runs before each answer and may change the chain
	wake    chan struct{}
}

func newModel(blocks int) *model {
	m := &model{wake: make(chan struct{}, 1), heights: make(map[chainhash.Hash]int)}
	m.extend(nil)
	for range blocks {
		m.extend(nil)
	}
	return m
}

// extend puts a block on top.
func (m *model) extend(txs []*wire.MsgTx) Block {
	m.counter++
	tag := binary.BigEndian.AppendUint32(nil, m.counter)
	reward := wire.NewMsgTx(2)
	reward.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: wire.MaxPrevOutIndex}, tag, nil))
	block := wire.NewMsgBlock(&wire.BlockHeader{Nonce: m.counter, Timestamp: time.Unix(int64(m.counter), 0)})
	if n := len(m.best); n > 0 {
		block.Header.PrevBlock = m.hashes[n-1]
	}
	block.Transactions = append([]*wire.MsgTx{reward}, txs...)
	m.best = append(m.best, block)
	m.hashes = append(m.hashes, block.BlockHash())
	m.heights[block.BlockHash()] = m.height()
	return blockOf(&block.Header, uint32(len(m.best)-1))
}

// cut takes blocks off, never genesis.
func (m *model) cut(depth int) {
	m.best = m.best[:max(1, len(m.best)-depth)]
	m.hashes = m.hashes[:len(m.best)]
}

// replace is a reorg: depth blocks off, n empty ones on.
func (m *model) replace(depth, n int) {
	m.cut(depth)
	for range n {
		m.extend(nil)
	}
}

// change runs f between two answers and wakes the Watcher.
func (m *model) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *model) height() int { return len(m.best) - 1 }

func (m *model) enter() (func(), error) {
	m.mu.Lock()
	m.calls++
	if m.before != nil {
		if err := m.before(); err != nil {
			m.mu.Unlock()
			return nil, err
		}
	}
	return m.mu.Unlock, nil
}

func (m *model) Tip(context.Context) (Block, error) {
	leave, err := m.enter()
	if err != nil {
		return Block{}, err
	}
	defer leave()
	return blockOf(&m.best[m.height()].Header, uint32(m.height())), nil
}

func (m *model) BlockAt(_ context.Context, height uint32) (chainhash.Hash, error) {
	leave, err := m.enter()
	if err != nil {
		return chainhash.Hash{}, err
	}
	defer leave()
	if int64(height) > int64(m.height()) {
		return chainhash.Hash{}, fmt.Errorf("model: height %d: %w", height, ErrNotOnChain)
	}
	return m.hashes[height], nil
}

func (m *model) Block(_ context.Context, hash chainhash.Hash) (*wire.MsgBlock, uint32, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	height, known := m.heights[hash]
	if !known || height > m.height() || m.hashes[height] != hash {
		return nil, 0, fmt.Errorf("model: block %s: %w", hash, ErrNotOnChain)
	}
	return m.best[height], uint32(height), nil
}

func (m *model) Header(ctx context.Context, hash chainhash.Hash) (*wire.BlockHeader, uint32, error) {
	msg, height, err := m.Block(ctx, hash)
	if err != nil {
		return nil, 0, err
	}
	return &msg.Header, height, nil
}

func (m *model) Notify(context.Context) <-chan struct{} { return m.wake }

// The rest of Backend is not the Watcher's business.

func (m *model) TxOut(context.Context, wire.OutPoint, bool) (*TxOut, error) { return nil, errNotHere }

func (m *model) Spending(context.Context, wire.OutPoint) (*chainhash.Hash, error) {
	return nil, errNotHere
}

func (m *model) Tx(context.Context, chainhash.Hash) (*wire.MsgTx, uint32, error) {
	return nil, 0, errNotHere
}

func (m *model) TestAccept(context.Context, *wire.MsgTx) error { return errNotHere }

func (m *model) Broadcast(context.Context, *wire.MsgTx) error { return errNotHere }

func (m *model) FeeRate(context.Context, int) (int64, error) { return 0, errNotHere }

var errNotHere = fmt.Errorf("model: not part of the model")

var _ Backend = (*model)(nil)

// outpoint, payTo and spendOf make the things that tests watch for.
func outpoint(n byte) wire.OutPoint {
	return wire.OutPoint{Hash: chainhash.Hash{n}, Index: uint32(n)}
}

func payTo(n byte) []byte { return []byte{0x51, 0x20, n} }

// spendOf makes a transaction that spends some outpoints and pays to scripts.
func spendOf(version int32, ins, scripts []byte) *wire.MsgTx {
	tx := wire.NewMsgTx(version)
	for _, n := range ins {
		op := outpoint(n)
		tx.AddTxIn(wire.NewTxIn(&op, nil, nil))
	}
	for _, n := range scripts {
		tx.AddTxOut(wire.NewTxOut(int64(n)+1, payTo(n)))
	}
	return tx
}
