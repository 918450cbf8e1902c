package wallet

import (
	"context"
	"fmt"

	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	btcchain "github.com/btcsuite/btcwallet/chain"
)

// connection is what the wallet needs of one: what btcwallet wants, and what the
// wallet asks by itself. There are two: btcwallet's own client of btcd, which also tells of the
// mempool, and puller, which works with every backend of internal/chain.
type connection interface {
	btcchain.Interface
	GetBestBlockHash() (*chainhash.Hash, error)
	GetBlockCount() (int64, error)
	GetTxOut(txid *chainhash.Hash, index uint32, mempool bool) (*btcjson.GetTxOutResult, error)
	GetTxSpendingPrevOut([]wire.OutPoint) ([]*btcjson.GetTxSpendingPrevOutResult, error)
	Disconnected() bool
}

var (
	_ connection = (*btcchain.RPCClient)(nil)
	_ connection = (*puller)(nil)
)

// awaitLoss returns when a connection has ended, wanted or not.
func awaitLoss(n connection) {
	if rpc, ok := n.(*btcchain.RPCClient); ok {
		rpc.Client.WaitForShutdown() // its handlers may still wait for the wallet
		return
	}
	n.WaitForShutdown()
}

// pull connects to a backend of internal/chain.
func (w *Wallet) pull(ctx context.Context) (connection, error) {
	if _, err := w.chain.Tip(ctx); err != nil {
		return nil, fmt.Errorf("the chain: %w", err)
	}
	return newPuller(w.chain, w.params), nil
}
