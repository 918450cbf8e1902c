package neutrino

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcwallet/walletdb"
	_ "github.com/btcsuite/btcwallet/walletdb/bdb" // the only database driver that neutrino can use
	light "github.com/lightninglabs/neutrino"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// Config says how to be a light client.
type Config struct {
	// Dir is the light client's own directory, made with mode 0700 when missing. It
	// holds headers: about 110 MB on the main network.
	Dir string

	// Params is the network.
	Params *chaincfg.Params

	// Peers, host:port, are the only nodes to connect to. They must serve compact
	// filters. Empty: nodes found by DNS seeds, which regtest does not have.
	Peers []string

	// Timeout bounds each question that needs a peer. 0: 30 s.
	Timeout time.Duration

	// BroadcastTimeout is how long peers may take to ask for a transaction. A
	// peer that has it already does not ask. 0: 5 s.
	BroadcastTimeout time.Duration
}

const (
	// lockWait is how long New waits for another process to let go of the files.
	lockWait = 500 * time.Millisecond

	// stopPatience bounds the end of neutrino, which waits for its peers.
	stopPatience = 10 * time.Second
)

// reconnect is the pause before the first attempt to connect to a peer anew; the n-th waits n times as long, and five
// minutes at most. Neutrino drops a peer that tells of a reorg block by block, because the first block of the new
// branch has less work than the old branch: with one peer, its five seconds would come with every reorg.
const reconnect = 500 * time.Millisecond

func init() { light.ConnectionRetryInterval = reconnect }

// Backend is a light client. It implements chain.Filtering.
type Backend struct {
	cfg   Config
	db    walletdb.DB
	wakes chain.Wakes
	sent  sent
	level atomic.Bool // it was level with its peers once

	mu      sync.Mutex
	service *light.ChainService // nil before the first use
	closed  bool
}

var _ chain.Filtering = (*Backend)(nil)

// New opens the files and starts nothing. Codes: BadConfig, and StoreLocked when
// another process uses the directory.
func New(c Config) (*Backend, error) {
	switch {
	case c.Params == nil:
		return nil, code.New(code.ChainWrongNetwork, "no network was chosen for the light client")
	case c.Dir == "":
		return nil, code.New(code.BadConfig, "the light client has no directory")
	case len(c.Peers) == 0 && len(c.Params.DNSSeeds) == 0:
		return nil, code.New(code.BadConfig, "%s has no public nodes: name a peer for the light client", c.Params.Name)
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, code.Wrap(code.BadConfig, err, "the light client's directory")
	}
	db, err := walletdb.Create("bdb", filepath.Join(c.Dir, "neutrino.db"), true, lockWait, false)
	if err != nil && err.Error() == "timeout" { // bbolt's own error value
		return nil, code.Wrap(code.StoreLocked, err, "the light client in %s is in use", c.Dir)
	}
	if err != nil {
		return nil, code.Wrap(code.BadConfig, err, "the light client in %s does not open", c.Dir)
	}
	return &Backend{cfg: c, db: db}, nil
}

// running starts the light client at the first use.
func (b *Backend) running() (*light.ChainService, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, code.New(code.ChainUnavailable, "the light client was closed")
	}
	if b.service != nil {
		return b.service, nil
	}
	s, err := light.NewChainService(light.Config{
		DataDir: b.cfg.Dir, Database: b.db, ChainParams: *b.cfg.Params,
		ConnectPeers: b.cfg.Peers, BroadcastTimeout: b.cfg.BroadcastTimeout,
	})
	if err != nil {
		return nil, code.Wrap(code.ChainUnavailable, err, "the light client does not start")
	}
	if err := s.Start(context.Background()); err != nil {
		return nil, code.Wrap(code.ChainUnavailable, err, "the light client does not start")
	}
	b.service = s
	go b.announce(s)
	return s, nil
}

// announce wakes those who wait, until the light client ends.
func (b *Backend) announce(s *light.ChainService) {
	blocks, err := (&light.RescanChainSource{ChainService: s}).Subscribe(0)
	if err != nil {
		return // it only saves waiting
	}
	defer blocks.Cancel()
	for range blocks.Notifications {
		b.wakes.All()
	}
}

// Notify implements chain.Backend.
func (b *Backend) Notify(ctx context.Context) <-chan struct{} { return b.wakes.Notify(ctx) }

// Close ends the light client and closes its files. Calls under way fail. An
// error means that it did not end in ten seconds; its files stay open then.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.service == nil {
		return b.db.Close()
	}
	ended := make(chan error, 1)
	go func() { ended <- b.service.Stop() }()
	select {
	case err := <-ended:
		return errors.Join(err, b.db.Close())
	case <-time.After(stopPatience):
		return errors.New("neutrino: it does not stop")
	}
}

// Peers is how many nodes the light client is connected to.
func (b *Backend) Peers() int {
	b.mu.Lock()
	s := b.service
	b.mu.Unlock()
	if s == nil {
		return 0
	}
	return int(s.ConnectedCount())
}

// ready is the light client when it has a view of the chain that can be
// answered from.
func (b *Backend) ready() (*light.ChainService, error) {
	s, err := b.running()
	if err != nil {
		return nil, err
	}
	if s.ConnectedCount() == 0 {
		return nil, code.New(code.ChainUnavailable, "the light client has no peer that serves compact filters yet")
	}
	if b.level.Load() {
		return s, nil
	}
	best, err := s.BestBlock()
	if err != nil {
		return nil, code.Wrap(code.ChainUnavailable, err, "the light client does not know its tip")
	}
	if !b.isLevel(s, best.Height) {
		return nil, code.New(code.ChainUnavailable, "the light client is catching up: block %d", best.Height)
	}
	b.level.Store(true)
	return s, nil
}

// isLevel tells whether nothing is missing. On regtest the last block may be older than the
// day after which neutrino believes that blocks are missing, so peers are asked.
func (b *Backend) isLevel(s *light.ChainService, height int32) bool {
	if b.cfg.Params.Net != chaincfg.RegressionNetParams.Net {
		return s.IsCurrent()
	}
	for _, p := range s.Peers() {
		if p.LastBlock() > height {
			return false
		}
	}
	return true
}

// call runs a question that cannot be cancelled and gives up on it when it takes
// too long. What it leaves behind ends by itself, or with the light client.
func call[T any](ctx context.Context, b *Backend, what string, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := f()
		answers <- answer{value, err}
	}()
	timer := time.NewTimer(b.cfg.Timeout)
	defer timer.Stop()
	var none T
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timer.C:
		return none, code.New(code.ChainUnavailable, "no peer of the light client gives %s within %s", what, b.cfg.Timeout)
	}
}

// sent remembers what was given to the peers lately. Neutrino itself sends it again
// with every block and every minute.
type sent struct {
	mu sync.Mutex
	at map[chainhash.Hash]time.Time
}

// resend is how long a transaction needs not be sent again.
const resend = time.Minute

func (s *sent) lately(txid chainhash.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.at[txid]) < resend
}

func (s *sent) note(txid chainhash.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = make(map[chainhash.Hash]time.Time)
	}
	for id, at := range s.at {
		if time.Since(at) >= resend {
			delete(s.at, id)
		}
	}
	s.at[txid] = time.Now()
}
