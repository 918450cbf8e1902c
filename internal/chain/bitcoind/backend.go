package bitcoind

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// minVersion is the oldest version whose answers are known here: 28.0.
const minVersion = 280_000

// Config says how to reach a node.
type Config struct {
	Host       string // host:port of the RPC server
	User, Pass string

	// CookieFile is the node's .cookie file, which changes with every start of
	// the node. It is used when User is empty.
	CookieFile string

	// AllowPlain permits another machine, for private networks that encrypt by
	// themselves: the interface has no TLS and the password travels in the clear.
	AllowPlain bool

	// Params is the network that the node must be on.
	Params *chaincfg.Params

	// Timeout bounds each call. 0: 30 s.
	Timeout time.Duration
}

// Backend asks a node. It implements chain.Backend and chain.PackageBroadcaster.
type Backend struct {
	cfg   Config
	http  *http.Client
	wakes chain.Wakes

	life context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup
	wait sync.Once // starts the waiting for blocks

	mu    sync.Mutex
	known bool // the node is the right one
}

var _ chain.PackageBroadcaster = (*Backend)(nil)

// New makes a backend that asks nothing before its first use. Codes:
// ChainWrongNetwork without a network, ChainUnavailable for settings that cannot work.
func New(c Config) (*Backend, error) {
	host, _, err := net.SplitHostPort(c.Host)
	switch ip := net.ParseIP(host); {
	case c.Params == nil:
		return nil, code.New(code.ChainWrongNetwork, "no network was chosen for the node at %s", c.Host)
	case err != nil:
		return nil, code.Wrap(code.ChainUnavailable, err, "the node's address %q is not host:port", c.Host)
	case c.User == "" && c.CookieFile == "":
		return nil, code.New(code.ChainUnavailable, "neither a user nor a cookie file is set for the node at %s", c.Host)
	case !c.AllowPlain && host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return nil, code.New(code.ChainUnavailable, "the node at %s is not on this machine, and its RPC has no TLS: use a tunnel", c.Host)
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	b := &Backend{cfg: c, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 4}, // no proxy: the node is near
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	b.life, b.stop = context.WithCancel(context.Background())
	return b, nil
}

// Close ends calls under way; later ones fail.
func (b *Backend) Close() {
	b.stop()
	b.work.Wait()
	b.http.CloseIdleConnections()
}

// introduce checks once per connection that the node can be used.
func (b *Backend) introduce(ctx context.Context) error {
	b.mu.Lock()
	known := b.known
	b.mu.Unlock()
	if known {
		return nil
	}
	var info struct {
		Version int `json:"version"`
	}
	var genesis string
	var indexes map[string]struct{}
	for _, q := range []struct {
		into   any
		method string
		params []any
	}{{&info, "getnetworkinfo", nil}, {&genesis, "getblockhash", []any{0}}, {&indexes, "getindexinfo", nil}} {
		if err := b.ask(ctx, q.into, q.method, q.params...); err != nil {
			return unavailable(ctx, err, "what it is")
		}
	}
	if info.Version < minVersion {
		return code.New(code.NodeTooOld, "the node at %s has version %s, at least 28.0 is needed", b.cfg.Host, version(info.Version))
	}
	if genesis != b.cfg.Params.GenesisHash.String() {
		return code.New(code.ChainWrongNetwork, "the node at %s is not on %s: its first block is %s, not %s",
			b.cfg.Host, b.cfg.Params.Name, genesis, b.cfg.Params.GenesisHash)
	}
	if _, ok := indexes["txindex"]; !ok {
		return code.New(code.ChainUnavailable, "the node at %s has no index of transactions: set txindex=1 in bitcoin.conf", b.cfg.Host)
	}
	b.setKnown(true)
	return nil
}

// version writes 280100 as 28.1.0.
func version(n int) string { return fmt.Sprintf("%d.%d.%d", n/10_000, n/100%100, n%100) }

func (b *Backend) setKnown(known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = known
}

const (
	// longPoll is how long one question for a new block stays open.
	longPoll = 30 * time.Second

	// shortPoll is the time between questions where the node cannot wait, or does
	// not answer.
	shortPoll = 2 * time.Second
)

// Notify implements chain.Backend. The node is asked to answer when there is a new
// block (waitfornewblock).
func (b *Backend) Notify(ctx context.Context) <-chan struct{} {
	b.wait.Do(func() { b.work.Go(b.awaitBlocks) })
	return b.wakes.Notify(ctx)
}

// awaitBlocks wakes those who wait at every change of the tip, until Close.
func (b *Backend) awaitBlocks() {
	last := ""
	for b.life.Err() == nil {
		hash, err := b.nextBlock()
		if err == nil && hash != last {
			last = hash
			b.wakes.All()
		}
		if err != nil {
			select {
			case <-time.After(shortPoll):
			case <-b.life.Done():
			}
		}
	}
}

// nextBlock returns the tip when it has changed or some time has passed.
func (b *Backend) nextBlock() (string, error) {
	ctx, cancel := context.WithTimeout(b.life, longPoll+b.cfg.Timeout)
	defer cancel()
	var tip struct {
		Hash string `json:"hash"`
	}
	err := b.ask(ctx, &tip, "waitfornewblock", longPoll.Milliseconds())
	if numberOf(err) != rpcNoMethod {
		return tip.Hash, err
	}
	select {
	case <-time.After(shortPoll):
	case <-b.life.Done():
		return "", b.life.Err()
	}
	err = b.ask(ctx, &tip.Hash, "getbestblockhash")
	return tip.Hash, err
}
