package testnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/board"
	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
	"relaymarket/testnet/evil"
	"relaymarket/usage"
)

// RelaySpec is one relay of a World.
type RelaySpec struct {
	Name   string
	Prices relay.Prices
}

// Options say what a World consists of.
type Options struct {
	Dir     string // everything lies below; made if missing
	Relays  []RelaySpec
	Clients []string
	Log     *slog.Logger // nil: nobody
	// AckFlush is how long acknowledgement records wait, in seconds; 0: 1.
	AckFlush uint32
}

// World is a market.
type World struct {
	Node    *btcdnode.Node
	Dir     string
	opts    Options
	relays  map[string]*Relay
	clients map[string]*Client
	keys    sync.Map // identity.PublicKey to identity.PrivateKey of everybody; for those who are dishonest
	log     *slog.Logger
}

// Relay is a relay of a World.
type Relay struct {
	Name   string
	Dir    string
	cfg    relay.Config
	cable  *proxy
	front  *evil.Front   // nil unless it is dishonest
	server *relay.Server // nil while it is stopped
	cancel context.CancelFunc
	done   chan error
}

// Client is somebody's agent in a World.
type Client struct {
	Name   string
	Dir    string
	cfg    client.Config
	agent  *client.Agent // nil while it is stopped
	cancel context.CancelFunc
	done   chan error
}

// DefaultPrices are those of a testnet's relays unless a scenario says otherwise.
func DefaultPrices() relay.Prices {
	p := relay.DefaultConfig(identity.Regtest).Offer
	p.Storage, p.Egress = 20_000, 400_000_000
	p.ContractPrice, p.MinDeposit, p.MaxDeposit = 600, 20_000, 5_000_000
	p.CreditLimit, p.SettleFeeRate, p.FundingDepth = 20_000, 1, 2
	p.CreditStart = p.MaxDeposit // all of it at once
	p.MinDuration, p.PowBits, p.FreeBytesDay = 30, 8, 0
	return p
}

// New starts the node; relays and clients are started by their verbs. Close ends everything.
func New(ctx context.Context, o Options) (*World, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.AckFlush == 0 {
		o.AckFlush = 1
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, code.Wrap(code.BadArgument, err, "directory")
	}
	w := &World{Dir: o.Dir, opts: o, log: o.Log, relays: make(map[string]*Relay), clients: make(map[string]*Client)}
	node, err := btcdnode.Start(ctx, btcdnode.Options{Dir: filepath.Join(o.Dir, "bitcoin"), Blocks: 150})
	if err != nil {
		return nil, code.Wrap(code.ChainUnavailable, err, "the Bitcoin node did not start")
	}
	w.Node = node
	return w, nil
}

// Close stops everything that runs, people first.
func (w *World) Close() error {
	var errs []error
	for name := range w.clients {
		errs = append(errs, w.StopClient(name))
	}
	for name, r := range w.relays {
		errs = append(errs, w.StopRelay(name))
		r.cable.close()
	}
	return errors.Join(append(errs, w.Node.Stop())...)
}

// AddRelay makes a relay with keys of its own and starts it.
func (w *World) AddRelay(ctx context.Context, spec RelaySpec) (*Relay, error) {
	cable, err := newProxy()
	if err != nil {
		return nil, err
	}
	c := relay.DefaultConfig(identity.Regtest)
	c.Listen, c.Admin = "127.0.0.1:0", "127.0.0.1:0"
	c.Addresses = []string{"wss://" + cable.addr()}
	c.Bitcoin = relay.Bitcoin{RPC: w.Node.RPCHost(), User: w.Node.RPCUser(), Pass: w.Node.RPCPass()}
	c.Offer, c.Store = spec.Prices, relay.Disk{ReserveMiB: 64, MemtableMiB: 4, CacheMiB: 8}
	r := &Relay{Name: spec.Name, Dir: filepath.Join(w.Dir, "relay-"+spec.Name), cfg: c, cable: cable}
	w.relays[spec.Name] = r
	if _, err := relay.Init(r.Dir, relay.InitOptions{Config: c}); err != nil && code.Of(err) != code.AlreadyInitialised {
		return nil, err
	}
	return r, w.StartRelay(ctx, spec.Name)
}

// StartRelay starts a stopped relay and waits until it is ready.
func (w *World) StartRelay(ctx context.Context, name string) error {
	r, err := w.relay(name)
	if err != nil || r.server != nil {
		return err
	}
	s, err := relay.New(relay.Options{Dir: r.Dir, Config: r.cfg, Log: w.log.With("relay", name), Poll: 200 * time.Millisecond, Ask: time.Second})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.Background())
	r.server, r.cancel, r.done = s, cancel, make(chan error, 1)
	go func() { r.done <- s.Run(run) }()
	if err := r.connect(); err != nil {
		return err
	}
	return wait(ctx, "relay "+name+" is ready", func() (bool, error) {
		st, err := s.Status(ctx)
		return st.Ready, err
	})
}

// StopRelay stops a relay; to everybody else it has vanished.
func (w *World) StopRelay(name string) error {
	r, err := w.relay(name)
	if err != nil || r.server == nil {
		return err
	}
	r.cable.point("")
	if r.front != nil {
		err = r.front.Close()
	}
	r.cancel()
	err = errors.Join(err, <-r.done, r.server.Close())
	r.server = nil
	return err
}

// Cut takes the cable of a relay out, Heal puts it in again.
func (w *World) Cut(name string) error { return w.cable(name, true) }

// Heal ends a Cut.
func (w *World) Heal(name string) error { return w.cable(name, false) }

func (w *World) cable(name string, cut bool) error {
	r, err := w.relay(name)
	if err == nil {
		r.cable.setCut(cut)
	}
	return err
}

func (w *World) relay(name string) (*Relay, error) {
	if r, ok := w.relays[name]; ok {
		return r, nil
	}
	return nil, code.New(code.BadArgument, "there is no relay %q", name)
}

// Relay finds a relay by its name.
func (w *World) Relay(name string) (*Relay, error) { return w.relay(name) }

// Server is the running relay; nil while it is stopped.
func (r *Relay) Server() *relay.Server { return r.server }

// Board is where the relay serves its list of offers.
func (r *Relay) Board() string { return "https://" + r.cable.addr() + board.Path }

// Boards are the boards of all relays.
func (w *World) Boards() []string {
	var out []string
	for _, spec := range w.opts.Relays {
		if r, ok := w.relays[spec.Name]; ok {
			out = append(out, r.Board())
		}
	}
	return out
}

// AddClient makes an identity and starts its agent.
func (w *World) AddClient(ctx context.Context, name string) (*Client, error) {
	return w.addClient(name, client.Bitcoin{RPC: w.Node.RPCHost(), User: w.Node.RPCUser(), Pass: w.Node.RPCPass()})
}

// AddLightClient is AddClient for somebody who has no node: the agent follows the chain by itself, from
// the node as from any stranger's.
func (w *World) AddLightClient(ctx context.Context, name string) (*Client, error) {
	c, err := w.addClient(name, client.Bitcoin{Backend: backends.Neutrino, Peers: []string{w.Node.P2PAddr()}})
	if err != nil {
		return nil, err
	}
	return c, w.Follow(ctx)
}

func (w *World) addClient(name string, chain client.Bitcoin) (*Client, error) {
	c := client.DefaultConfig(identity.Regtest)
	c.Label, c.Boards = name, w.Boards()
	c.Bitcoin = chain
	c.Limits.AckFlushSeconds = w.opts.AckFlush
	c.Limits.BudgetSat = 0 // in a story nothing is paid that nobody asked for
	p := &Client{Name: name, Dir: filepath.Join(w.Dir, "client-"+name), cfg: c}
	w.clients[name] = p
	if _, err := client.Init(p.Dir, client.InitOptions{Config: c}); err != nil && code.Of(err) != code.AlreadyInitialised {
		return nil, err
	}
	h, err := home.Open(p.Dir, identity.Regtest, "")
	if err != nil {
		return nil, err
	}
	w.keys.Store(h.Key().Public(), h.Key())
	return p, errors.Join(h.Close(), w.StartClient(name))
}

// StartClient starts a stopped agent.
func (w *World) StartClient(name string) error {
	p, err := w.client(name)
	if err != nil || p.agent != nil {
		return err
	}
	a, err := client.Open(client.Options{Dir: p.Dir, Config: p.cfg, Log: w.log.With("client", name), Poll: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.Background())
	p.agent, p.cancel, p.done = a, cancel, make(chan error, 1)
	go func() { p.done <- a.Run(run) }()
	return nil
}

// StopClient stops an agent: its person is offline.
func (w *World) StopClient(name string) error {
	p, err := w.client(name)
	if err != nil || p.agent == nil {
		return err
	}
	p.cancel()
	err = errors.Join(<-p.done, p.agent.Close())
	p.agent = nil
	return err
}

func (w *World) client(name string) (*Client, error) {
	if c, ok := w.clients[name]; ok {
		return c, nil
	}
	return nil, code.New(code.BadArgument, "there is no client %q", name)
}

// Client finds a client by its name.
func (w *World) Client(name string) (*Client, error) { return w.client(name) }

// Agent is the running agent; nil while it is stopped.
func (c *Client) Agent() *client.Agent { return c.agent }

// Fund gives a client coins and waits until its wallet shows them as confirmed.
func (w *World) Fund(ctx context.Context, name string, sat usage.Sat) error {
	c, err := w.client(name)
	if err != nil {
		return err
	}
	before, err := c.agent.WalletBalance(ctx)
	if err != nil {
		return err
	}
	addr, err := c.agent.WalletAddress(ctx)
	if err != nil {
		return err
	}
	script, err := scriptOf(addr)
	if err != nil {
		return err
	}
	if _, err := w.Node.Fund(ctx, script, int64(sat)); err != nil {
		return err
	}
	if err := w.Mine(ctx, 1); err != nil {
		return err
	}
	return wait(ctx, name+" has the coins", func() (bool, error) {
		b, err := c.agent.WalletBalance(ctx)
		return b.Confirmed >= before.Confirmed+sat, err
	})
}

// Mine makes blocks, one after another, and waits until everybody who runs has handled each: so
// whatever a block causes somebody to broadcast can be in the next one.
func (w *World) Mine(ctx context.Context, n int) error {
	for range n {
		if _, err := w.Node.Mine(1); err != nil {
			return err
		}
		if err := w.Follow(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Reorg replaces the last depth blocks by length new ones.
func (w *World) Reorg(ctx context.Context, depth, length int) error {
	if err := w.Node.Reorg(depth, length); err != nil {
		return err
	}
	return w.Follow(ctx)
}

// Follow waits until everybody who runs has handled the node's tip.
func (w *World) Follow(ctx context.Context) error {
	_, height, err := w.Node.Tip()
	if err != nil {
		return err
	}
	want := usage.Height(height)
	for name, r := range w.relays {
		if r.server == nil {
			continue
		}
		if err := waitFast(ctx, fmt.Sprintf("relay %s follows to height %d", name, want), func() (bool, error) { return r.server.Tip() == want, nil }); err != nil {
			return err
		}
	}
	for name, c := range w.clients {
		if c.agent == nil {
			continue
		}
		if err := waitFast(ctx, fmt.Sprintf("%s follows to height %d", name, want), func() (bool, error) { return c.agent.Tip() == want, nil }); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long a World waits for what should happen.
const patience = 60 * time.Second

func wait(ctx context.Context, what string, f func() (bool, error)) error {
	return poll(ctx, what, 50*time.Millisecond, f)
}

func waitFast(ctx context.Context, what string, f func() (bool, error)) error {
	return poll(ctx, what, 3*time.Millisecond, f)
}

func poll(ctx context.Context, what string, step time.Duration, f func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		ok, err := f()
		if err != nil {
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
		if ok {
			return nil
		}
		if time.Now().After(deadline) {
			return code.New(code.Timeout, "waited %s in vain until %s", patience, what)
		}
		select {
		case <-time.After(step):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
