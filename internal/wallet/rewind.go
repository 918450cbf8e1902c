package wallet

import (
	"context"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/chain"
	"github.com/btcsuite/btcwallet/waddrmgr"

	"relaymarket/internal/code"
)

var errBehind = errors.New("the node has fewer blocks than the wallet has seen")

// rewind takes back the blocks that the node no longer has, before btcwallet goes on from its last
// one. btcwallet does so too, but only after it has searched the new blocks for
// coins of the seed: a search that was interrupted and then resumed on another branch would keep
// what the lost blocks paid.
func (w *Wallet) rewind(ctx context.Context, client *chain.RPCClient) error {
	best, err := await(ctx, client.GetBlockCount)
	if err != nil {
		return unavailable(err, "the node")
	}
	in, _ := w.current()
	last := in.Manager.SyncedTo().Height
	from := min(int32(best), last)
	fork, err := w.forkPoint(ctx, client, from)
	switch {
	case err != nil:
		return err
	case fork == last:
		return nil
	case fork == from:
		return unavailable(errBehind, "the node is not ready")
	}
	w.log.Info("blocks were replaced", "from_height", fork+1, "to_height", last)
	return w.rewindTo(ctx, client, fork)
}

// forkPoint is the highest block at or below height that wallet and node have in common.
func (w *Wallet) forkPoint(ctx context.Context, client *chain.RPCClient, height int32) (int32, error) {
	for ; ; height-- {
		var mine *chainhash.Hash
		err := w.view(func(v view) (err error) {
			mine, err = v.in.Manager.BlockHash(v.addrs, height)
			return err
		})
		if waddrmgr.IsError(err, waddrmgr.ErrBlockNotFound) {
			return 0, code.Wrap(code.ChainDeepReorg, err, "wallet and node have no block in common")
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errDatabase, err)
		}
		theirs, err := blockHash(ctx, client, height)
		if err != nil {
			return 0, err
		}
		if *mine == *theirs {
			return height, nil
		}
	}
}

func (w *Wallet) rewindTo(ctx context.Context, client *chain.RPCClient, height int32) error {
	hash, err := blockHash(ctx, client, height)
	if err != nil {
		return err
	}
	header, err := await(ctx, func() (*wire.BlockHeader, error) { return client.GetBlockHeader(hash) })
	if err != nil {
		return unavailable(err, "the node")
	}
	return w.edit(func(e edit) error {
		err := e.in.Manager.SetSyncedTo(e.addrs, &waddrmgr.BlockStamp{
			Height: height, Hash: *hash, Timestamp: header.Timestamp,
		})
		if err != nil {
			return code.Wrap(code.ChainDeepReorg, err, "the wallet cannot go back to block %d", height)
		}
		return e.in.TxStore.Rollback(e.txs, height+1)
	})
}

func blockHash(ctx context.Context, client *chain.RPCClient, height int32) (*chainhash.Hash, error) {
	hash, err := await(ctx, func() (*chainhash.Hash, error) { return client.GetBlockHash(int64(height)) })
	return hash, unavailable(err, "the node")
}
