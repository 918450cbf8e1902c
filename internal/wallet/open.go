package wallet

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2/hdkeychain"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"
	btcwallet "github.com/btcsuite/btcwallet/wallet"
	"github.com/btcsuite/btcwallet/walletdb"
	_ "github.com/btcsuite/btcwallet/walletdb/bdb" // the only database driver that btcwallet has
	"github.com/btcsuite/btcwallet/wtxmgr"

	"relaymarket/internal/code"
)

const (
	// lockWait is how long Open waits for another process to let go of the file: long enough
	// for one that is just ending, short enough for a person.
	lockWait = 500 * time.Millisecond

	// lookAhead is how many unused addresses in a row a search of the chain bridges.
	lookAhead = 250

	// syncRetry is btcwallet's pause after a failed step of its synchronisation.
	syncRetry = time.Second
)

// The top-level buckets: btcwallet's two under the names that it uses itself, and our own.
var (
	addrBucket  = []byte("waddrmgr")
	txBucket    = []byte("wtxmgr")
	ownBucket   = []byte("relaymarket")
	leaseBucket = []byte("leases")
	boundBucket = []byte("bound")

	networkKey   = []byte("network")
	seedKey      = []byte("seed-check")
	recoveredKey = []byte("recovered")

	// scanKey is the height (u32) from which a scan began that is not finished.
	scanKey = []byte("scan-from")
)

// nextPrefix and a branch are the key of the count of addresses given out.
const nextPrefix = 'n'

// init limits btcwallet to taproot. By default every wallet also has three branches of older address
// types, which are never given out here but would be derived and searched for: three quarters of
// the time of a first start.
func init() {
	taproot := waddrmgr.KeyScopeBIP0086
	waddrmgr.DefaultKeyScopes = []waddrmgr.KeyScope{taproot}
	waddrmgr.ScopeAddrMap = map[waddrmgr.KeyScope]waddrmgr.ScopeAddrSchema{
		taproot: waddrmgr.ScopeAddrMap[taproot],
	}
}

// stretch is the work of deriving a key from the passphrase. Stretching makes guessing a human's
// password expensive; a passphrase of 256 random bits cannot be guessed at any speed, and every
// start and every reconnection would pay for it.
func stretch() *waddrmgr.ScryptOptions { return &waddrmgr.FastScryptOptions }

func openDB(dir string) (walletdb.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, code.Wrap(code.BadConfig, err, "the wallet's directory")
	}
	path := filepath.Join(dir, btcwallet.WalletDBName)
	db, err := walletdb.Create("bdb", path, true, lockWait, false)
	if err == nil {
		return db, nil
	}
	// bbolt's own error value, from a module that this one does not depend on directly.
	if err.Error() == "timeout" {
		return nil, code.Wrap(code.WalletLocked, err, "the wallet in %s is in use", dir)
	}
	return nil, code.Wrap(code.BadConfig, err, "the wallet in %s does not open", dir)
}

// create fills an empty database in one transaction, so that a crash leaves either nothing or a
// whole wallet. A database that is not empty is left alone.
func (w *Wallet) create(cfg Config, check []byte) error {
	root, err := hdkeychain.NewMaster(cfg.Seed, cfg.Params)
	if err != nil {
		return code.Wrap(code.WalletWrongPhrase, err, "the seed gives no key")
	}
	defer root.Zero()
	return walletdb.Update(w.db, func(tx walletdb.ReadWriteTx) error {
		if tx.ReadBucket(ownBucket) != nil {
			return nil
		}
		if err := w.createOwn(tx, check, cfg.Fresh); err != nil {
			return err
		}
		addrs, err := tx.CreateTopLevelBucket(addrBucket)
		if err != nil {
			return err
		}
		// The public half is encrypted under the same passphrase: addresses tell who paid whom.
		if err := waddrmgr.Create(addrs, root, w.pass, w.pass, cfg.Params, stretch(), birthday(cfg)); err != nil {
			return err
		}
		txs, err := tx.CreateTopLevelBucket(txBucket)
		if err != nil {
			return err
		}
		return wtxmgr.Create(txs)
	})
}

func (w *Wallet) createOwn(tx walletdb.ReadWriteTx, check []byte, fresh bool) error {
	own, err := tx.CreateTopLevelBucket(ownBucket)
	if err != nil {
		return err
	}
	for _, name := range [][]byte{leaseBucket, boundBucket} {
		if _, err := own.CreateBucket(name); err != nil {
			return err
		}
	}
	if err := own.Put(networkKey, networkBytes(w.params)); err != nil {
		return err
	}
	if fresh {
		if err := own.Put(recoveredKey, []byte{1}); err != nil {
			return err
		}
	}
	return own.Put(seedKey, check)
}

func networkBytes(p *chaincfg.Params) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(p.Net))
}

// birthday is the configured time or, without one, the activation of taproot on the main network
// (block 709,632) and the first block elsewhere.
func birthday(cfg Config) time.Time {
	if !cfg.Birthday.IsZero() {
		return cfg.Birthday
	}
	if cfg.Params.Net == wire.MainNet {
		return time.Date(2021, 11, 14, 0, 0, 0, 0, time.UTC)
	}
	return cfg.Params.GenesisBlock.Header.Timestamp
}

// checkOwner refuses another network's or another seed's wallet.
func (w *Wallet) checkOwner(check []byte) error {
	return walletdb.View(w.db, func(tx walletdb.ReadTx) error {
		own := tx.ReadBucket(ownBucket)
		if !bytes.Equal(own.Get(networkKey), networkBytes(w.params)) {
			return code.New(code.WrongNetwork, "this wallet was not made for %s", w.params.Name)
		}
		if !bytes.Equal(own.Get(seedKey), check) {
			return code.New(code.WalletWrongPhrase, "this wallet was made from another phrase")
		}
		return nil
	})
}

// takeUnused gives btcwallet's object that Open made to the first connection: once.
func (w *Wallet) takeUnused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := w.unused
	w.unused = false
	return had
}

// reopen builds btcwallet's object anew over the open database. btcwallet can be stopped only
// once, so every connection gets a fresh one. It is never unlocked: private keys are in memory only
// while SignOwn needs them, and btcwallet would test each that it derives with two
// signatures, which is four fifths of the time of a first start. The search of the chain is
// switched on until it has succeeded once, and then off: btcwallet's search does not look for the
// spending of coins that are already promised to an unconfirmed transaction, its plain rescan does.
func (w *Wallet) reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	window := uint32(lookAhead)
	err := walletdb.View(w.db, func(tx walletdb.ReadTx) error {
		if tx.ReadBucket(ownBucket).Get(recoveredKey) != nil {
			window = 0
		}
		return nil
	})
	if err != nil {
		return err
	}
	in, err := btcwallet.OpenWithRetry(w.db, w.pass, nil, w.params, window, syncRetry)
	if waddrmgr.IsError(err, waddrmgr.ErrWrongPassphrase) {
		return code.Wrap(code.WalletWrongPhrase, err, "the passphrase does not open this wallet")
	}
	if err != nil {
		return err
	}
	w.inner, w.searching, w.settled = in, window > 0, false
	return nil
}

// finishSearch ends the search of the chain. Addresses beyond the last one found are watched from
// now on; and unconfirmed transactions are dropped, to be learned anew from the node at the next
// connection, because until now their outputs were not compared with those addresses.
func (w *Wallet) finishSearch() error {
	return w.edit(func(e edit) error {
		for _, branch := range []byte{external, change} {
			have, err := e.watched(branch)
			if err != nil {
				return err
			}
			if err := e.watch(branch, have+watchAhead); err != nil {
				return err
			}
		}
		if err := e.dropUnconfirmed(); err != nil {
			return err
		}
		return e.own.Put(recoveredKey, []byte{1})
	})
}

// dropUnconfirmed removes children before their parents.
func (e edit) dropUnconfirmed() error {
	txs, err := e.in.TxStore.UnminedTxs(e.txs)
	if err != nil {
		return err
	}
	for _, tx := range slices.Backward(txs) {
		rec, err := wtxmgr.NewTxRecordFromMsgTx(tx, time.Time{})
		if err != nil {
			return err
		}
		if err := e.in.TxStore.RemoveUnminedTx(e.txs, rec); err != nil {
			return err
		}
	}
	return nil
}
