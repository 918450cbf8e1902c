package wallet

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	btcwallet "github.com/btcsuite/btcwallet/wallet"
	"github.com/btcsuite/btcwallet/walletdb"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// RPC says where the btcd node is. Host is host:port. CertFile is the PEM file of the node's
// certificate; empty means plain text, which is allowed on loopback only because the password
// travels with it.
type RPC struct {
	Host, User, Pass, CertFile string
}

// Config is what Open needs.
type Config struct {
	// Dir is the wallet's own directory, made with mode 0700 when missing.
	Dir string
	// Params is the Bitcoin network. A directory belongs to one network for ever.
	Params *chaincfg.Params
	// Seed is the 64-byte BIP39 seed. It is not kept in the clear, in memory or on disk.
	Seed []byte
	// Passphrase encrypts the keys at rest. It must be 256 random bits that the caller keeps
	// elsewhere: key stretching is deliberately weak here (see stretch in open.go).
	Passphrase []byte
	// Birthday is a time before the first coin of the seed; blocks before it, less 48 hours,
	// are not searched. Zero means the first block that can hold a BIP86 coin.
	Birthday time.Time
	// Fresh says that the seed was drawn a moment ago and no wallet was ever made from it. A wallet that is made now
	// does not search the chain for coins of the seed before it follows the chain, from Birthday on as always.
	Fresh bool
	// RPC is the btcd node to follow. It is first used by Run.
	RPC RPC
	// Chain is what to follow instead of RPC: any backend, for those who have no btcd node.
	// Payments of others then show with their first confirmation.
	Chain chain.Backend
	// Log receives changes of the connection; nil means silence.
	Log *slog.Logger
	// Now is the clock for the expiry of leases; nil means time.Now.
	Now func() time.Time
}

// Errors that point at the caller rather than at the user, and so carry no code.
var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("wallet: closed")
	// ErrRunning is returned by a second Run, and by Close during Run.
	ErrRunning = errors.New("wallet: running")
	// ErrNotMine is returned when asked to sign for an output that the wallet does not own.
	ErrNotMine = errors.New("wallet: not a coin of this wallet")
	// ErrLeased is returned when a coin is already reserved under another id.
	ErrLeased = errors.New("wallet: coin is reserved under another id")
)

// Wallet is an open wallet. All methods may be called at any time from any goroutine; those that
// need the node fail with ChainUnavailable while there is no connection.
type Wallet struct {
	params *chaincfg.Params
	rpc    RPC
	chain  chain.Backend // nil: rpc
	cert   []byte
	pass   []byte
	log    *slog.Logger
	now    func() time.Time
	db     walletdb.DB

	// coinMu is held from looking at the coins to writing their leases, so that two callers
	// can never choose the same coin.
	coinMu sync.Mutex

	// running is held by Run and taken by Close.
	running sync.Mutex

	// mu guards what Run replaces for every connection.
	mu     sync.RWMutex
	inner  *btcwallet.Wallet
	client connection
	// unused: no connection has had inner yet.
	unused bool
	// searching: inner searches the chain for coins of the seed.
	searching bool
	// settled: this connection goes on from a finished search, its scan is finished, and all it saw is in the chain.
	settled bool
}

// Open opens the wallet in cfg.Dir, or creates it when there is none. It starts nothing and does
// not touch the network; creating and opening take some tens of milliseconds.
//
// Errors: WalletWrongPhrase when seed or passphrase are not those the wallet was created with,
// WalletLocked when another process has it open, WrongNetwork when it was created for another
// network, BadConfig.
func Open(cfg Config) (*Wallet, error) {
	cert, err := checkConfig(cfg)
	if err != nil {
		return nil, err
	}
	w := &Wallet{
		params: cfg.Params, rpc: cfg.RPC, chain: cfg.Chain, cert: cert, log: cfg.Log, now: cfg.Now,
		pass: append([]byte(nil), cfg.Passphrase...),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.db, err = openDB(cfg.Dir); err != nil {
		return nil, err
	}
	if err := w.load(cfg); err != nil {
		return nil, errors.Join(err, w.db.Close())
	}
	return w, nil
}

// load creates the wallet when the database is empty, and opens it.
func (w *Wallet) load(cfg Config) error {
	check, err := seedCheck(cfg.Seed)
	if err != nil {
		return err
	}
	if err := w.create(cfg, check); err != nil {
		return err
	}
	if err := w.checkOwner(check); err != nil {
		return err
	}
	if err := w.reopen(); err != nil {
		return err
	}
	w.unused = true
	return w.edit(func(e edit) error {
		return errors.Join(e.watch(external, watchAhead), e.watch(change, watchAhead))
	})
}

// Close closes the database. Run must have returned.
func (w *Wallet) Close() error {
	if !w.running.TryLock() {
		return fmt.Errorf("closing: %w", ErrRunning)
	}
	defer w.running.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inner == nil {
		return nil
	}
	w.inner = nil
	clear(w.pass)
	return w.db.Close()
}

func checkConfig(cfg Config) (cert []byte, err error) {
	switch {
	case cfg.Dir == "" || cfg.Params == nil:
		return nil, code.New(code.BadConfig, "the wallet needs a directory and a network")
	case len(cfg.Seed) != 64:
		return nil, code.New(code.BadConfig, "the wallet's seed must have 64 bytes, not %d", len(cfg.Seed))
	case len(cfg.Passphrase) < 32:
		return nil, code.New(code.BadConfig, "the wallet's passphrase must have 32 random bytes, not %d", len(cfg.Passphrase))
	case cfg.Chain != nil:
		return nil, nil
	case cfg.RPC.CertFile == "" && !onLoopback(cfg.RPC.Host):
		return nil, code.New(code.BadConfig, "the node at %q is not on this machine: name its certificate file", cfg.RPC.Host)
	case cfg.RPC.CertFile == "":
		return nil, nil
	}
	cert, err = os.ReadFile(cfg.RPC.CertFile)
	return cert, code.Wrap(code.BadConfig, err, "the node's certificate")
}

func onLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// seedCheck is what is kept of a seed to recognise it: a key derived for nothing else, from which
// 512 bits of seed cannot be found.
func seedCheck(seed []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, seed, nil, "relaymarket/v1/wallet-seed-check", sha256.Size)
}
