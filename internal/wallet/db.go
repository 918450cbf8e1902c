package wallet

import (
	"github.com/btcsuite/btcd/address/v2"
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
	own    walletdb.ReadWriteBucket
	leases walletdb.ReadWriteBucket
	boundB walletdb.ReadWriteBucket
	// fresh collects the addresses that the node must be told about after the change.
	fresh *[]address.Address
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
	fresh, err := w.change(f)
	if err == nil {
		w.tellNode(fresh)
	}
	return err
}

func (w *Wallet) change(f func(edit) error) (fresh []address.Address, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.inner == nil {
		return nil, ErrClosed
	}
	err = walletdb.Update(w.db, func(tx walletdb.ReadWriteTx) error {
		own := tx.ReadWriteBucket(ownBucket)
		return f(edit{
			in: w.inner, addrs: tx.ReadWriteBucket(addrBucket), txs: tx.ReadWriteBucket(txBucket),
			own:    own,
			leases: own.NestedReadWriteBucket(leaseBucket),
			boundB: own.NestedReadWriteBucket(boundBucket),
			fresh:  &fresh,
		})
	})
	return fresh, err
}
