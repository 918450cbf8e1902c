package wallet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"

	"relaymarket/internal/code"
)

// reorgDepth is the deepest reorganisation that is looked for where the wallet's own record may mix blocks of two
// branches: twice what contracts are watched for.
const reorgDepth = 288

var errBehind = errors.New("the node has fewer blocks than the wallet has seen")

// block is one block of the node's chain.
type block struct {
	height int32
	hash   chainhash.Hash
}

// rewind takes back the blocks that the node no longer has, before btcwallet goes on from its last one, and also those
// that an unfinished scan may have taken from two branches. It gives the node's last block as it was before.
func (w *Wallet) rewind(ctx context.Context, client connection) (block, error) {
	anchor, err := tipOf(ctx, client)
	if err != nil {
		return anchor, err
	}
	in, _ := w.current()
	last := in.Manager.SyncedTo().Height
	from := min(anchor.height, last)
	fork, err := w.forkPoint(ctx, client, from)
	if err != nil {
		return anchor, err
	}
	if fork == from && from < last {
		return anchor, unavailable(errBehind, "the node is not ready")
	}
	if fork, err = w.beginScan(fork, anchor.height); err != nil || fork == last {
		return anchor, err
	}
	w.log.Info("blocks are read again", "from_height", fork+1, "to_height", last)
	return anchor, w.rewindTo(ctx, client, fork)
}

func tipOf(ctx context.Context, client connection) (block, error) {
	return await(ctx, func() (block, error) {
		hash, height, err := client.GetBestBlock()
		if err != nil {
			return block{}, unavailable(err, "the node")
		}
		return block{height: height, hash: *hash}, nil
	})
}

// beginScan notes from where the wallet is about to scan, and gives the height to begin at: not above where a scan began
// that was not finished, because blocks that were replaced during it may be missing or mixed. A scan of a long
// chain that broke off is not begun anew for that: only its last blocks can have been replaced.
func (w *Wallet) beginScan(fork, best int32) (int32, error) {
	err := w.edit(func(e edit) error {
		if v := e.own.Get(scanKey); len(v) == 4 {
			floor := max(int32(binary.BigEndian.Uint32(v)), best-reorgDepth)
			if birth, _, err := e.in.Manager.BirthdayBlock(e.addrs); err == nil {
				floor = max(floor, birth.Height+1)
			}
			fork = min(fork, floor)
		}
		return e.own.Put(scanKey, heightBytes(fork))
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errDatabase, err)
	}
	return fork, nil
}

func heightBytes(height int32) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(max(height, 0)))
}

// forkPoint is the highest block at or below height that wallet and node have in common.
func (w *Wallet) forkPoint(ctx context.Context, client connection, height int32) (int32, error) {
	for ; ; height-- {
		mine, err := w.hashAt(height)
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
		if mine == *theirs {
			return height, nil
		}
	}
}

// hashAt is the block that the wallet has seen at a height.
func (w *Wallet) hashAt(height int32) (hash chainhash.Hash, err error) {
	err = w.view(func(v view) error {
		h, err := v.in.Manager.BlockHash(v.addrs, height)
		if err == nil {
			hash = *h
		}
		return err
	})
	return hash, err
}

// rewindTo makes a block the last one that the wallet has seen.
func (w *Wallet) rewindTo(ctx context.Context, client connection, height int32) error {
	stamp, err := stampAt(ctx, client, height)
	if err != nil {
		return err
	}
	err = w.edit(func(e edit) error {
		if err := e.in.TxStore.Rollback(e.txs, height+1); err != nil {
			return fmt.Errorf("%w: %w", errMixed, err)
		}
		return code.Wrap(code.ChainDeepReorg, e.in.Manager.SetSyncedTo(e.addrs, stamp),
			"the wallet cannot go back to block %d", height)
	})
	if errors.Is(err, errMixed) {
		return w.forgetHistory(err)
	}
	return err
}

func stampAt(ctx context.Context, client connection, height int32) (*waddrmgr.BlockStamp, error) {
	hash, err := blockHash(ctx, client, height)
	if err != nil {
		return nil, err
	}
	header, err := await(ctx, func() (*wire.BlockHeader, error) { return client.GetBlockHeader(hash) })
	if err != nil {
		return nil, unavailable(err, "the node")
	}
	return &waddrmgr.BlockStamp{Height: height, Hash: *hash, Timestamp: header.Timestamp}, nil
}

func blockHash(ctx context.Context, client connection, height int32) (*chainhash.Hash, error) {
	hash, err := await(ctx, func() (*chainhash.Hash, error) { return client.GetBlockHash(int64(height)) })
	return hash, unavailable(err, "the node")
}
