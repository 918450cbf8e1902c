package wallet

import (
	btcwallet "github.com/btcsuite/btcwallet/wallet"
	"github.com/btcsuite/btcwallet/walletdb"
)

// view is one consistent look at the database.
type view struct {
	in     *btcwallet.Wallet
	addrs  walletdb.ReadBucket
	txs    walletdb.ReadBucket
	leases walletdb.ReadBucket
}

// edit is one atomic change of the database.
type edit struct {
	in     *btcwallet.Wallet
	addrs  walletdb.ReadWriteBucket
	txs    walletdb.ReadWriteBucket
	leases walletdb.ReadWriteBucket
	boundB walletdb.ReadWriteBucket
}

func (w *Wallet) view(f func(view) error) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.inner == nil {
		return ErrClosed
	}
	return walletdb.View(w.db, func(tx walletdb.ReadTx) error {
		return f(view{
			in: w.inner, addrs: tx.ReadBucket(addrBucket), txs: tx.ReadBucket(txBucket),
			leases: tx.ReadBucket(ownBucket).NestedReadBucket(leaseBucket),
		})
	})
}

func (w *Wallet) edit(f func(edit) error) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.inner == nil {
		return ErrClosed
	}
	return walletdb.Update(w.db, func(tx walletdb.ReadWriteTx) error {
		own := tx.ReadWriteBucket(ownBucket)
		return f(edit{
			in: w.inner, addrs: tx.ReadWriteBucket(addrBucket), txs: tx.ReadWriteBucket(txBucket),
			leases: own.NestedReadWriteBucket(leaseBucket),
			boundB: own.NestedReadWriteBucket(boundBucket),
		})
	})
}
