// Package home owns the data directory of a relay or an agent: which files are secret, where
// each network's data lies, and that only one process at a time uses it.
//
// Layout, one directory per network below the given one:
//
//	DIR/NETWORK/phrase       recovery phrase, 0600; what must be backed up on paper
//	DIR/NETWORK/identity     public key that phrase and passphrase must give
//	DIR/NETWORK/wallet.key   random passphrase of the wallet database, 0600
//	DIR/NETWORK/born         when the phrase was drawn; absent when it was given
//	DIR/NETWORK/fresh        until the first wallet is made from a phrase that was drawn
//	DIR/NETWORK/lock         held while a process runs
//	DIR/NETWORK/store/       the store
//	DIR/NETWORK/wallet/      the wallet
//
// The optional passphrase of the phrase (BIP39) is never written down here: it comes from the
// caller each time.
package home

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Home is an opened data directory.
type Home struct {
	dir     string // DIR/NETWORK
	network identity.Network
	seed    []byte
	key     identity.PrivateKey
	wallet  []byte
	lock    *os.File
}

// Secrets are what a new home is made from. An empty Phrase draws a new one.
type Secrets struct {
	Phrase     string
	Passphrase string
	Rand       io.Reader
}

// Create makes the data directory of one network and gives the phrase it holds. A directory
// that holds an identity already is refused with AlreadyInitialised.
func Create(dir string, network identity.Network, s Secrets) (phrase string, key identity.PublicKey, err error) {
	base := filepath.Join(dir, network.String())
	if _, err := os.Stat(filepath.Join(base, "phrase")); err == nil {
		return "", key, code.New(code.AlreadyInitialised, "%s holds an identity", base)
	}
	var born []secret
	if s.Phrase == "" {
		now := time.Now().UTC().Format(time.RFC3339) + "\n"
		born = []secret{{"born", now}, {"fresh", now}}
		if s.Phrase, err = identity.NewPhrase(s.Rand); err != nil {
			return "", key, err
		}
	}
	seed, err := identity.Seed(s.Phrase, s.Passphrase)
	if err != nil {
		return "", key, err
	}
	priv, err := identity.FromSeed(seed, network)
	if err != nil {
		return "", key, err
	}
	var wallet [32]byte
	if _, err := io.ReadFull(s.Rand, wallet[:]); err != nil {
		return "", key, code.Wrap(code.Internal, err, "random bytes")
	}
	phrase = strings.Join(strings.Fields(strings.ToLower(s.Phrase)), " ")
	return phrase, priv.Public(), writeSecrets(base, append(born,
		secret{"identity", priv.Public().String() + "\n"},
		secret{"wallet.key", hex.EncodeToString(wallet[:]) + "\n"},
		secret{"phrase", phrase + "\n"}, // last: its presence means the home is complete
	))
}

type secret struct{ name, text string }

func writeSecrets(base string, files []secret) error {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return code.Wrap(code.BadConfig, err, "data directory")
	}
	for _, f := range files {
		if err := WriteFile(filepath.Join(base, f.name), []byte(f.text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile replaces a file atomically and durably: a temporary file, synced, renamed, and
// the directory synced.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return code.Wrap(code.Internal, err, "writing %s", path)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return code.Wrap(code.Internal, err, "writing %s", path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open reads the secrets and takes the lock. Errors: NotInitialised, AlreadyRunning,
// WalletWrongPhrase when the passphrase gives another identity.
func Open(dir string, network identity.Network, passphrase string) (*Home, error) {
	h := &Home{dir: filepath.Join(dir, network.String()), network: network}
	phrase, err := os.ReadFile(h.Path("phrase"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, code.New(code.NotInitialised, "%s holds no identity", h.dir)
	} else if err != nil {
		return nil, code.Wrap(code.BadConfig, err, "phrase")
	}
	if err := h.derive(string(phrase), passphrase); err != nil {
		return nil, err
	}
	if err := h.takeLock(); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Home) derive(phrase, passphrase string) (err error) {
	if h.seed, err = identity.Seed(phrase, passphrase); err != nil {
		return err
	}
	if h.key, err = identity.FromSeed(h.seed, h.network); err != nil {
		return err
	}
	want, err := os.ReadFile(h.Path("identity"))
	if err != nil {
		return code.Wrap(code.BadConfig, err, "identity")
	}
	if strings.TrimSpace(string(want)) != h.key.Public().String() {
		return code.New(code.WalletWrongPhrase, "phrase and passphrase give %s, this home belongs to %s", h.key.Public().Name(), strings.TrimSpace(string(want)))
	}
	raw, err := os.ReadFile(h.Path("wallet.key"))
	if err != nil {
		return code.Wrap(code.BadConfig, err, "wallet.key")
	}
	h.wallet, err = hex.DecodeString(strings.TrimSpace(string(raw)))
	return code.Wrap(code.BadConfig, err, "wallet.key")
}

// takeLock holds an advisory lock on DIR/NETWORK/lock. The kernel drops it when the process
// ends, however it ends.
func (h *Home) takeLock() error {
	f, err := os.OpenFile(h.Path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return code.Wrap(code.BadConfig, err, "lock")
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return code.New(code.AlreadyRunning, "%s is in use by another process", h.dir)
	}
	h.lock = f
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // for a person who wonders who holds it
	}
	return nil
}

// Close releases the lock.
func (h *Home) Close() error { return h.lock.Close() }

// Path joins names below the network's directory.
func (h *Home) Path(names ...string) string {
	return filepath.Join(append([]string{h.dir}, names...)...)
}

// Network is the Bitcoin network of this home.
func (h *Home) Network() identity.Network { return h.network }

// Key is the identity key.
func (h *Home) Key() identity.PrivateKey { return h.key }

// Seed is the 64-byte seed that money keys derive from.
func (h *Home) Seed() []byte { return h.seed }

// bornMargin is by how much the clock may have been wrong when the phrase was drawn.
const bornMargin = 30 * 24 * time.Hour

// Birthday is a time before which nothing can have been paid to the seed, so that nobody has to
// look; zero when that is not known, as for a phrase that was restored.
func (h *Home) Birthday() time.Time {
	born, err := h.born()
	if err != nil {
		return time.Time{}
	}
	return born.Add(-bornMargin)
}

func (h *Home) born() (time.Time, error) {
	raw, err := os.ReadFile(h.Path("born"))
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, strings.TrimSpace(string(raw)))
}

// freshFor is how long a phrase that was drawn counts as fresh.
const freshFor = time.Hour

// TakeFresh tells, to the first who asks, whether no wallet can ever have been made from the phrase: it was drawn here,
// and so lately that this is no old copy of the directory. Whoever is told so makes the wallet.
func (h *Home) TakeFresh() bool {
	if os.Remove(h.Path("fresh")) != nil || syncDir(h.dir) != nil {
		return false
	}
	born, err := h.born()
	age := time.Since(born)
	return err == nil && age > -time.Minute && age < freshFor
}

// WalletPassphrase encrypts the wallet database: 32 random bytes.
func (h *Home) WalletPassphrase() []byte { return h.wallet }
