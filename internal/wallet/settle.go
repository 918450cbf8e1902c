package wallet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	btcwallet "github.com/btcsuite/btcwallet/wallet"
	"github.com/btcsuite/btcwallet/wtxmgr"
)

var (
	// errReplaced ends a connection because blocks that the wallet may have seen are no longer in the node's chain.
	errReplaced = errors.New("blocks were replaced")

	// errMixed is a record of transactions that holds blocks of two branches, from before there was a gate.
	errMixed = errors.New("the wallet's record of transactions is mixed up")
)

// scan is the part of a connection until the wallet stands at the node's last block.
type scan struct {
	w      *Wallet
	in     *btcwallet.Wallet
	client connection
	// anchor was the node's last block at some time of the scan. When it is lost, blocks were replaced during the scan,
	// which btcwallet may not survive: its rescan can fail and is then never tried again.
	anchor block
}

// settle waits for the end of the scan and makes sure that all blocks it saw are of one branch, the node's.
func (s *scan) settle(ctx context.Context, ends ends) error {
	tick := time.NewTicker(searchPulse)
	defer tick.Stop()
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ends.lost:
			return unavailable(errLost, "the node")
		case <-ends.replaced:
			return errReplaced
		case <-tick.C:
		}
		done := s.in.ChainSynced()
		if !done && time.Since(looked) < pulse {
			continue
		}
		looked = time.Now()
		if err := s.hold(ctx); err != nil {
			return err
		}
		if done {
			return s.confirm(ctx)
		}
	}
}

// hold makes sure that the anchor is still in the chain, and moves it up.
func (s *scan) hold(ctx context.Context) error {
	tip, err := tipOf(ctx, s.client)
	if err != nil {
		return err
	}
	if tip.height < s.anchor.height {
		return errReplaced
	}
	hash, err := blockHash(ctx, s.client, s.anchor.height)
	if err != nil {
		return err
	}
	if *hash != s.anchor.hash {
		return errReplaced
	}
	s.anchor = tip
	return nil
}

// confirm compares what the scan wrote with the node, and notes that it is finished.
func (s *scan) confirm(ctx context.Context) error {
	top := s.in.Manager.SyncedTo().Height
	wrong := none
	theirs := map[int32]chainhash.Hash{}
	for height := top; height >= max(top-reorgDepth, 0); height-- {
		mine, err := s.w.hashAt(height)
		if err != nil {
			break // the wallet began to watch above it
		}
		hash, err := blockHash(ctx, s.client, height)
		if err != nil {
			return err
		}
		if *hash != mine {
			wrong = height
		}
		theirs[height] = *hash
	}
	stale, err := s.w.staleRecord(theirs)
	if err != nil {
		return s.w.forgetHistory(err)
	}
	return s.w.endScan(min(wrong, stale))
}

// none is no height.
const none int32 = math.MaxInt32

// staleRecord is the lowest height at which a transaction is recorded in a block that is not in the chain, or none.
func (w *Wallet) staleRecord(chain map[int32]chainhash.Hash) (stale int32, err error) {
	low := none
	for height := range chain {
		low = min(low, height)
	}
	stale = none
	err = w.view(func(v view) error {
		return v.in.TxStore.RangeTransactions(v.txs, low, none, func(txs []wtxmgr.TxDetails) (bool, error) {
			at := txs[0].Block
			if hash, ok := chain[at.Height]; ok && hash != at.Hash {
				stale = at.Height
			}
			return stale != none, nil
		})
	})
	return stale, err
}

// endScan notes that nothing is left of an unfinished scan; or else where the next one has to begin: below the lowest
// height at which something is wrong.
func (w *Wallet) endScan(wrong int32) error {
	err := w.edit(func(e edit) error {
		if wrong == none {
			return e.own.Delete(scanKey)
		}
		return e.own.Put(scanKey, heightBytes(wrong-1))
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errDatabase, err)
	}
	if wrong != none {
		return errReplaced
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled = !w.searching
	return nil
}

// forgetHistory makes the next connection search the chain anew for all coins, from the wallet's birthday. It is the way
// out where the record of transactions cannot be read or rolled back. Keys, addresses and leases stay.
func (w *Wallet) forgetHistory(why error) error {
	w.log.Warn("the chain is searched anew", "reason", why)
	err := btcwallet.DropTransactionHistory(w.db, false)
	if err == nil {
		err = w.edit(func(e edit) error {
			return errors.Join(e.own.Delete(recoveredKey), e.own.Delete(scanKey))
		})
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDatabase, err)
	}
	return errReplaced
}

func (w *Wallet) isSettled() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.settled
}
