package runner

import (
	"context"
	"errors"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
)

// perform does what a contract asked for. Every effect may be done again; a failed broadcast comes
// again with the next block by itself. The first error is given back after all were tried.
func (r *Runner) perform(ctx context.Context, nonce contract.Nonce, effects []contract.Effect, sent *[]identity.Signed) error {
	var first error
	for _, e := range effects {
		if err := r.performOne(ctx, nonce, e, sent); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (r *Runner) performOne(ctx context.Context, nonce contract.Nonce, e contract.Effect, sent *[]identity.Signed) error {
	switch e := e.(type) {
	case contract.Send:
		return r.send(e, sent)
	case contract.SignFunding:
		return r.signFunding(ctx, nonce, e, sent)
	case contract.SignBump:
		return r.bump(ctx, e)
	case contract.Cosign:
		return r.cosign(ctx, nonce, e, sent)
	case contract.Broadcast:
		return r.broadcast(ctx, nonce, e, sent)
	case contract.Watch:
		r.watch(nonce, e)
	case contract.Release:
		return r.Wallet.Release(wallet.LeaseID(nonce), e.Coins)
	case contract.Expose, contract.Forget:
		// The account is written with every row; a contract that is over keeps its row,
		// because its transactions are part of the books.
	}
	return nil
}

// send signs a statement. Without a place for it, nothing is lost: the contract keeps it as
// pending, and Pending gives it when the sides are connected again.
func (r *Runner) send(e contract.Send, sent *[]identity.Signed) error {
	if sent == nil {
		return nil
	}
	s, err := identity.SignOne(r.Key, e.Statement)
	if err != nil {
		return err
	}
	*sent = append(*sent, s)
	return nil
}

func (r *Runner) signFunding(ctx context.Context, nonce contract.Nonce, e contract.SignFunding, sent *[]identity.Signed) error {
	if e.Cancel {
		return r.signCancel(ctx, nonce, e)
	}
	if c, ok := r.ByNonce(nonce); ok && r.isOutside(c) {
		return nil // ImportFunding brings the witnesses
	}
	w, err := r.Wallet.SignOwn(e.Tx, e.Prevouts, e.Own)
	if err != nil {
		return err
	}
	key, err := r.keyOf(nonce)
	if err != nil {
		return err
	}
	stamp, err := r.stamp()
	if err != nil {
		return err
	}
	c, err := r.step(ctx, nonce, contract.SignedFunding{Witnesses: w, Key: key, Stamp: stamp}, sent)
	if err == nil && r.Signed != nil && r.Role == contract.Client {
		r.Signed(c)
	}
	return err
}

func (r *Runner) broadcast(ctx context.Context, nonce contract.Nonce, e contract.Broadcast, sent *[]identity.Signed) error {
	if err := r.Chain.Broadcast(ctx, e.Tx); err != nil {
		r.Log.Warn("a transaction was not taken; it is tried again with the next block",
			"why", e.Why.String(), "txid", e.Tx.TxHash().String(), "err", err)
		return err
	}
	r.Log.Info("broadcast", "what", e.Why.String(), "txid", e.Tx.TxHash().String())
	stamp, err := r.stamp()
	if err != nil {
		return err
	}
	_, err = r.step(ctx, nonce, contract.TxSeen{Tx: e.Tx, Stamp: stamp}, sent)
	return err
}

// bump gives the network a child of the own settlement that pays for both: together with it where the node
// takes them so, because a full mempool refuses the settlement alone. Its fee is stored with the contract, and a
// wallet that does not hold the payout script can only leave the settlement as it is.
func (r *Runner) bump(ctx context.Context, e contract.SignBump) error {
	if !r.Wallet.Owns(e.Prevout.PkScript) {
		r.Log.Warn("the settlement's fee is low, and its payout is not this wallet's: raise it with a child from the wallet that holds it",
			"txid", e.Parent.TxHash().String())
		return nil
	}
	w, err := r.Wallet.SignChild(e.Tx, e.Parent)
	if err != nil {
		return err
	}
	tx := e.Tx.Copy()
	tx.TxIn[0].Witness = w
	if err := chain.BroadcastPackage(ctx, r.Chain, []*wire.MsgTx{e.Parent, tx}); err != nil {
		r.Log.Warn("the child that raises the settlement's fee was not taken; it is tried again with the next block",
			"parent", e.Parent.TxHash().String(), "err", err)
		return err
	}
	r.Log.Info("broadcast", "what", "fee of the settlement", "txid", tx.TxHash().String())
	return nil
}

func (r *Runner) watch(nonce contract.Nonce, e contract.Watch) {
	key := string(nonce[:])
	if e.TxID != (chainhash.Hash{}) {
		r.watcher.Watch(chain.Txid(key, e.TxID, uint32(e.From)).At(e.Script))
		return
	}
	r.watcher.Watch(chain.OutPoint(key, e.OutPoint, uint32(e.From)).At(e.Script))
}

// lease reserves in the wallet what the contracts hold, and nothing else.
func (r *Runner) lease() error {
	keep := make(map[wire.OutPoint]bool)
	for _, c := range r.Contracts() {
		ops := c.Leases()
		if len(ops) == 0 {
			continue
		}
		for _, op := range ops {
			keep[op] = true
		}
		if err := r.Wallet.Lease(wallet.LeaseID(c.Nonce()), ops, time.Time{}); err != nil && !errors.Is(err, wallet.ErrLeased) {
			return err
		}
	}
	return r.Wallet.ReleaseAllExcept(keep)
}

// onChain applies one event of the chain to every contract that it can concern, stores all of
// them with the cursor in one batch, then performs their effects.
func (r *Runner) onChain(ctx context.Context, e chain.Event) error {
	done, err := r.commitBlock(ctx, e)
	if err != nil {
		return err
	}
	for nonce, effects := range done {
		if err := r.perform(ctx, nonce, effects, nil); err != nil {
			r.Log.Warn("an effect is left for the next block", "err", err)
		}
	}
	return nil
}

func (r *Runner) commitBlock(ctx context.Context, e chain.Event) (map[contract.Nonce][]contract.Effect, error) {
	feeRate := r.feeRate(ctx)
	doubt := r.doubt(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	recent := moveCursor(r.recent, e)
	batch := store.ContractBatch{Cursor: encodeCursor(recent)}
	next := make(map[contract.Nonce]contract.Contract)
	done := make(map[contract.Nonce][]contract.Effect)
	found := transactions(e)
	for nonce, c := range r.contracts {
		ev, err := r.chainEvent(nonce, c, e, found[string(nonce[:])], feeRate)
		if err != nil {
			return nil, err
		}
		if ev == nil {
			continue
		}
		n, effects, err := c.Apply(ev)
		if err != nil {
			return nil, code.Wrap(code.Internal, err, "contract %x cannot take block %d", nonce[:4], e.Block.Height)
		}
		r.hold(c, n, doubt)
		row, err := r.row(n)
		if err != nil {
			return nil, err
		}
		batch.Rows = append(batch.Rows, row)
		next[nonce], done[nonce] = n, effects
	}
	if _, err := r.Store.SaveContracts(ctx, batch); err != nil {
		return nil, err
	}
	r.recent = recent
	for nonce, c := range next {
		r.put(nonce, c)
	}
	r.changed()
	return done, nil
}

// chainEvent is what a block means to one contract; nil: nothing. Callers hold r.mu.
func (r *Runner) chainEvent(nonce contract.Nonce, c contract.Contract, e chain.Event, txs []*wire.MsgTx, feeRate uint64) (contract.Event, error) {
	if c.Forgettable() && e.Kind == chain.Connected {
		return nil, nil
	}
	switch e.Kind {
	case chain.Disconnected:
		return contract.BlockDisconnected{Height: heightOf(e)}, nil
	case chain.Rescanned:
		if len(txs) == 0 {
			return nil, nil
		}
	case chain.Connected:
	default:
		return nil, nil
	}
	key, err := r.keyAgain(nonce)
	if err != nil {
		return nil, err
	}
	stamp, err := r.stamp()
	if err != nil {
		return nil, err
	}
	return contract.BlockConnected{Height: heightOf(e), Hash: e.Block.Hash, Txs: txs, Key: key, FeeRate: feeRate, Stamp: stamp}, nil
}

// transactions sorts the findings of a block by the watch's key, which is the contract's nonce.
func transactions(e chain.Event) map[string][]*wire.MsgTx {
	out := make(map[string][]*wire.MsgTx)
	for _, s := range e.Spends {
		out[s.Key] = append(out[s.Key], s.Tx)
	}
	for _, c := range e.Confirms {
		out[c.Key] = append(out[c.Key], c.Tx)
	}
	return out
}

// feeRate is what the chain asks. The node's silence does not matter: the fallback is better than
// no refund.
func (r *Runner) feeRate(ctx context.Context) uint64 {
	rate, _ := chain.FeeRate(ctx, r.Chain, r.FallbackFeeRate)
	return uint64(rate)
}
