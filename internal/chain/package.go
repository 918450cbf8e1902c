package chain

import (
	"context"

	"github.com/btcsuite/btcd/wire/v2"
)

// PackageBroadcaster is a Backend whose node judges a child together with its
// parents, so that a parent whose own fee is too low is taken for the child's sake.
type PackageBroadcaster interface {
	Backend

	// BroadcastPackage gives transactions to the node, parents first and the child
	// last. It may be repeated, like Broadcast, whose error codes it has.
	BroadcastPackage(ctx context.Context, txs []*wire.MsgTx) error
}

// BroadcastPackage gives parents and their child (last) to the node: together where
// the node can judge them together, one by one elsewhere.
func BroadcastPackage(ctx context.Context, b Backend, txs []*wire.MsgTx) error {
	node := b
	if v, ok := b.(*View); ok {
		node = v.Backend
	}
	if p, ok := node.(PackageBroadcaster); ok && len(txs) > 1 {
		return p.BroadcastPackage(ctx, txs)
	}
	for _, tx := range txs {
		if err := b.Broadcast(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}
