package wallet

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/wtxmgr"

	"relaymarket/internal/code"
)

// paymentMark starts the lease id of every prepared payment, so that the reservation can be found
// again from the transaction alone. Ids of contracts are hashes or random.
const paymentMark = "relaymarket/pay/"

func paymentID() (LeaseID, error) {
	var id LeaseID
	n := copy(id[:], paymentMark)
	_, err := rand.Read(id[n:])
	return id, err
}

// Publish hands a signed transaction to the node and records it, so that it is sent again at every
// connection until it is in a block. A transaction that the node already has is a success. The
// reservation of a prepared payment ends, because the coins are spent or, when the node refuses,
// free again.
//
// Errors: ChainRejected with the node's reason; ChainUnavailable when the connection broke, in
// which case it is not known whether the node has it and the reservation stays.
func (w *Wallet) Publish(ctx context.Context, tx *wire.MsgTx) error {
	client, err := w.connected()
	if err != nil {
		return err
	}
	_, err = await(ctx, func() (struct{}, error) {
		w.mu.RLock()
		defer w.mu.RUnlock()
		if w.inner == nil {
			return struct{}{}, ErrClosed
		}
		return struct{}{}, w.inner.PublishTransaction(tx, "")
	})
	switch {
	case err == nil:
		return w.Discard(tx)
	case errors.Is(err, errSilent), code.Of(err) == code.ChainUnavailable, ctx.Err() != nil, client.Disconnected():
		return unavailable(err, "publishing")
	}
	return errors.Join(code.Wrap(code.ChainRejected, err, "the node refuses %v", tx.TxHash()), w.Discard(tx))
}

// Discard frees the coins of a prepared payment that is not to be published. Coins that are
// reserved for anything else stay so.
func (w *Wallet) Discard(tx *wire.MsgTx) error {
	w.coinMu.Lock()
	defer w.coinMu.Unlock()
	return w.edit(func(e edit) error {
		for _, in := range tx.TxIn {
			l, ok, err := findLease(e.leases, in.PreviousOutPoint)
			if err != nil {
				return err
			}
			if !ok || !bytes.HasPrefix(l.ID[:], []byte(paymentMark)) {
				continue
			}
			if err := e.release(func(x Lease) bool { return x.ID == l.ID }); err != nil {
				return err
			}
		}
		return nil
	})
}

// Forget removes an unconfirmed transaction, and what spends it, from the wallet's record: the
// coins that it spends are free again. It is for a transaction that can no longer confirm, for
// instance because the other side of a contract spent its own input elsewhere. Should it
// confirm after all, the wallet sees it in the block.
func (w *Wallet) Forget(tx *wire.MsgTx) error {
	rec, err := wtxmgr.NewTxRecordFromMsgTx(tx, w.now())
	if err != nil {
		return fmt.Errorf("wallet: forget: %w", err)
	}
	return w.edit(func(e edit) error {
		known, err := e.in.TxStore.TxDetails(e.txs, &rec.Hash)
		if err != nil || known == nil || known.Block.Height >= 0 {
			return err
		}
		return e.in.TxStore.RemoveUnminedTx(e.txs, rec)
	})
}
