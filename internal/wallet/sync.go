package wallet

import (
	"context"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	btcwallet "github.com/btcsuite/btcwallet/wallet"

	"relaymarket/internal/code"
)

// Synced waits until the wallet has seen every block that the node has. Run must be running. When
// ctx ends first the error is ChainUnavailable.
func (w *Wallet) Synced(ctx context.Context) error {
	pause := time.Millisecond
	for !w.atTip(ctx) {
		select {
		case <-ctx.Done():
			return unavailable(ctx.Err(), "the wallet has not caught up with the node")
		case <-time.After(pause):
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
	return nil
}

// Status is the height of the last block that the wallet has seen, and whether a node is
// connected and its rescan done.
func (w *Wallet) Status() (height int32, following bool) {
	in, client := w.current()
	if in == nil {
		return 0, false
	}
	return in.Manager.SyncedTo().Height, client != nil && w.isSettled()
}

func (w *Wallet) atTip(ctx context.Context) bool {
	in, client := w.current()
	if in == nil || client == nil || !w.isSettled() {
		return false
	}
	best, err := await(ctx, func() (*chainhash.Hash, error) { return client.GetBestBlockHash() })
	return err == nil && in.Manager.SyncedTo().Hash == *best && w.written()
}

// written waits for the change of the database that is under way: the wallet's height moves in
// memory a moment before the transaction with the block's coins is committed.
func (w *Wallet) written() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.inner == nil {
		return false
	}
	tx, err := w.db.BeginReadWriteTx()
	if err != nil {
		return false
	}
	return tx.Rollback() == nil
}

func (w *Wallet) current() (*btcwallet.Wallet, connection) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.inner, w.client
}

func (w *Wallet) isSearching() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.searching
}

// connected gives the client of the present connection. Error: ChainUnavailable.
func (w *Wallet) connected() (connection, error) {
	if _, client := w.current(); client != nil && !client.Disconnected() {
		return client, nil
	}
	return nil, unavailable(errLost, "the wallet is not connected to a node")
}

// await bounds a call that has no context. What it leaves behind ends with the connection.
func await[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		value, err := call()
		ch <- answer{value, err}
	}()
	timer := time.NewTimer(rpcTimeout)
	defer timer.Stop()
	var none T
	select {
	case a := <-ch:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timer.C:
		return none, errSilent
	}
}

func unavailable(err error, what string) error {
	return code.Wrap(code.ChainUnavailable, err, "%s", what)
}
