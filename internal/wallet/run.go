package wallet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcwallet/chain"
	btcwallet "github.com/btcsuite/btcwallet/wallet"

	"relaymarket/internal/code"
)

const (
	// rpcTimeout is how long the node may take for one answer before it counts as gone.
	rpcTimeout = 30 * time.Second

	// dialTimeout is for the probe before a connection.
	dialTimeout = 5 * time.Second

	// firstPause and lastPause bound the pause between two connections; it doubles.
	firstPause, lastPause = 200 * time.Millisecond, 15 * time.Second

	// settled is how long a connection must have lived to start again with the first pause.
	settled = 10 * time.Second

	// pulse is how often the connection is checked.
	pulse = time.Second

	// searchPulse is how often the end of the first search is looked for.
	searchPulse = 10 * time.Millisecond

	// stallPulses is how many checks in a row may find the wallet standing still behind the
	// node. btcwallet misses a block that arrives in the moment when a rescan ends, and then
	// refuses all that follow; a new connection repairs that.
	stallPulses = 3
)

var (
	errSilent  = errors.New("no answer in time")
	errLost    = errors.New("connection lost")
	errStalled = errors.New("standing still behind the node")

	// errSearched ends the first connection of a new wallet, see reopen.
	errSearched = errors.New("the chain is searched")
)

// Run connects to the node and follows it until ctx ends, and then returns nil. A lost connection
// is made again, with a pause that grows to 15 seconds. It returns early only when the node is on
// another network (ChainWrongNetwork), when it shares no recent block with the wallet
// (ChainDeepReorg; the wallet's directory must then be made anew from the phrase), or when the
// database fails.
func (w *Wallet) Run(ctx context.Context) error {
	if !w.running.TryLock() {
		return ErrRunning
	}
	defer w.running.Unlock()
	if in, _ := w.current(); in == nil {
		return ErrClosed
	}
	pause := firstPause
	for {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		again := errors.Is(err, errReplaced) && time.Since(began) > firstPause
		if again || errors.Is(err, errSearched) {
			continue
		}
		if permanent(err) {
			return err
		}
		if time.Since(began) > settled {
			pause = firstPause
		}
		w.log.Warn("no connection to the node", "error", err, "again_in", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

func permanent(err error) bool {
	c := code.Of(err)
	return c == code.ChainWrongNetwork || c == code.ChainDeepReorg || errors.Is(err, errDatabase)
}

var errDatabase = errors.New("wallet database")

// session is the life of one connection.
func (w *Wallet) session(ctx context.Context) error {
	client, err := w.connect(ctx)
	if err != nil {
		return err
	}
	if !w.takeUnused() {
		if err := w.reopen(); err != nil {
			client.Stop()
			return fmt.Errorf("%w: %w", errDatabase, err)
		}
	}
	anchor, err := w.rewind(ctx, client)
	if err != nil {
		client.Stop()
		return err
	}
	in := w.attach(client)
	lost := make(chan struct{})
	go func() {
		awaitLoss(client)
		close(lost)
	}()
	g := newGate(client)
	in.SynchronizeRPC(g)
	w.log.Info("connected to the node")
	err = w.follow(ctx, &scan{w: w, in: in, client: client, anchor: anchor}, ends{lost: lost, replaced: g.replaced})
	g.stop()
	w.detach(in, client)
	<-lost
	return err
}

// ends are what a connection ends by, besides its context.
type ends struct{ lost, replaced <-chan struct{} }

func (w *Wallet) attach(client connection) *btcwallet.Wallet {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client = client
	return w.inner
}

// detach ends a connection. The client goes first: that fails every request under way, on which
// the other goroutines may be waiting.
func (w *Wallet) detach(in *btcwallet.Wallet, client connection) {
	client.Stop()
	in.Stop()
	in.WaitForShutdown()
	client.WaitForShutdown()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client = nil
}

// connect makes the connection that the configuration asks for.
func (w *Wallet) connect(ctx context.Context) (connection, error) {
	if w.chain != nil {
		return w.pull(ctx)
	}
	client, err := w.dial(ctx)
	if err != nil {
		return nil, err
	}
	return client, nil
}

// dial makes a client that never reconnects by itself. A plain probe comes first, because the
// library sleeps for five seconds after a refused connection, whatever the caller wants.
func (w *Wallet) dial(ctx context.Context) (*chain.RPCClient, error) {
	probe, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", w.rpc.Host)
	if err != nil {
		return nil, unavailable(err, "the node")
	}
	if err := probe.Close(); err != nil {
		return nil, unavailable(err, "the node")
	}
	conn := &rpcclient.ConnConfig{
		Host: w.rpc.Host, Endpoint: "ws", User: w.rpc.User, Pass: w.rpc.Pass,
		Certificates: w.cert, DisableTLS: w.cert == nil, Params: w.params.Name,
	}
	client, err := chain.NewRPCClientWithConfig(&chain.RPCClientConfig{
		Conn: conn, Chain: w.params, ReconnectAttempts: 1,
	})
	if err != nil {
		return nil, unavailable(err, "the node")
	}
	// The constructor switches reconnection on; the setting is read at Start.
	conn.DisableAutoReconnect = true
	_, err = await(ctx, func() (struct{}, error) { return struct{}{}, client.Start(ctx) })
	if err == nil {
		return client, nil
	}
	go client.Stop() // waits for Start, which may be sleeping
	if err.Error() == "mismatched networks" {
		return nil, code.Wrap(code.ChainWrongNetwork, err, "the node is not on %s", w.params.Name)
	}
	return nil, unavailable(err, "the node")
}

// follow watches a connection and returns the reason for its end.
func (w *Wallet) follow(ctx context.Context, s *scan, ends ends) error {
	if err := s.settle(ctx, ends); err != nil {
		return err
	}
	if w.isSearching() {
		if err := w.finishSearch(); err != nil {
			return fmt.Errorf("%w: %w", errDatabase, err)
		}
		return errSearched
	}
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	var watch stall
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ends.lost:
			return unavailable(errLost, "the node")
		case <-ends.replaced:
			return errReplaced
		case <-tick.C:
		}
		best, err := await(ctx, s.client.GetBestBlockHash)
		if err != nil {
			return unavailable(err, "the node")
		}
		if watch.stuck(*best, s.in.Manager.SyncedTo().Hash) {
			return errStalled
		}
	}
}

// stall notices a wallet that does not move although the node is elsewhere.
type stall struct {
	at    chainhash.Hash
	count int
}

func (s *stall) stuck(node, wallet chainhash.Hash) bool {
	if node == wallet || wallet != s.at {
		s.at, s.count = wallet, 0
		return false
	}
	s.count++
	return s.count >= stallPulses
}
