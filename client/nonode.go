package client

import (
	"context"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// noNode stands where the settings allow no connection to a Bitcoin node: every question is
// answered with ChainUnavailable and the reason, and everything that needs no node works.
type noNode struct{ why error }

var _ chain.Backend = noNode{}

func (n noNode) err() error { return code.Wrap(code.ChainUnavailable, n.why, "no node is configured") }

// Tip implements chain.Backend.
func (n noNode) Tip(context.Context) (chain.Block, error) { return chain.Block{}, n.err() }

// BlockAt implements chain.Backend.
func (n noNode) BlockAt(context.Context, uint32) (chainhash.Hash, error) {
	return chainhash.Hash{}, n.err()
}

// Block implements chain.Backend.
func (n noNode) Block(context.Context, chainhash.Hash) (*wire.MsgBlock, uint32, error) {
	return nil, 0, n.err()
}

// Header implements chain.Backend.
func (n noNode) Header(context.Context, chainhash.Hash) (*wire.BlockHeader, uint32, error) {
	return nil, 0, n.err()
}

// TxOut implements chain.Backend.
func (n noNode) TxOut(context.Context, wire.OutPoint, bool) (*chain.TxOut, error) {
	return nil, n.err()
}

// Spending implements chain.Backend.
func (n noNode) Spending(context.Context, wire.OutPoint) (*chainhash.Hash, error) {
	return nil, n.err()
}

// Tx implements chain.Backend.
func (n noNode) Tx(context.Context, chainhash.Hash) (*wire.MsgTx, uint32, error) {
	return nil, 0, n.err()
}

// TestAccept implements chain.Backend.
func (n noNode) TestAccept(context.Context, *wire.MsgTx) error { return n.err() }

// Broadcast implements chain.Backend.
func (n noNode) Broadcast(context.Context, *wire.MsgTx) error { return n.err() }

// FeeRate implements chain.Backend.
func (n noNode) FeeRate(context.Context, int) (int64, error) { return 0, n.err() }

// Notify implements chain.Backend.
func (n noNode) Notify(context.Context) <-chan struct{} { return nil }
