package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/board"
	"relaymarket/internal/chain"
	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/internal/runner"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/internal/transport"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// Version is the version of the programs.
const Version = "0.1.0"

// Options is what New needs.
type Options struct {
	Dir        string // made by Init
	Config     Config
	Passphrase string
	Now        func() time.Time // nil: time.Now
	Log        *slog.Logger     // nil: nobody
	// Poll is the time between looks at the chain when no notification comes; 0: ten seconds.
	Poll time.Duration
	// Ask is the time between looks at what clients owe; 0: ten seconds.
	Ask time.Duration
	// Fatal is called, on any goroutine, when the disk fails so that nothing more can be made
	// durable. It must end the process, after telling its owner the error. nil: panic.
	Fatal func(error)
}

// Server is a relay.
type Server struct {
	cfg     Config
	home    *home.Home
	net     identity.Network
	params  *chaincfg.Params
	now     func() time.Time
	log     *slog.Logger
	started time.Time
	limits  usage.Limits
	ask     time.Duration
	fatal   func(error)

	store     *store.Relay
	node      *backends.Opened
	chain     *chain.View
	wallet    *wallet.Wallet
	runner    *runner.Runner
	board     *board.Board
	offers    *offerBook
	committer *committer
	listeners *listeners
	sessions  *sessions
	opener    *opener
	metrics   *metrics
	guard     *session.Guard

	public net.Listener
	admin  net.Listener
	front  *transport.Server
	work   sync.WaitGroup // what runs for sessions
	inHand inHand         // requests that end by themselves
	room   *semaphore.Weighted

	clockWrong atomic.Bool            // by the last look; see expire
	compared   sync.Map               // usage.ContractID of contracts whose client has shown its record since the start
	purged     sync.Map               // usage.ContractID to the identity.Digest of the notice that was carried out
	viewDoubt  atomic.Pointer[string] // by the last look; see watchView
}

// New opens the store, the wallet and the listening sockets; Run serves. Errors say what to
// do: AlreadyRunning, AddressInUse, ChainUnavailable, WalletWrongPhrase, StoreLocked and others.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := o.Config.check(); err != nil {
		return nil, code.Wrap(code.BadConfig, err, "configuration")
	}
	network, err := identity.ParseNetwork(o.Config.Network)
	if err != nil {
		return nil, code.Wrap(code.BadConfig, err, "network")
	}
	if o.Ask <= 0 {
		o.Ask = askInterval
	}
	s := &Server{
		ask: o.Ask, fatal: o.Fatal, room: semaphore.NewWeighted(maxRoom),
		cfg: o.Config, net: network, now: o.Now, log: o.Log, started: o.Now(), limits: o.Config.limits(),
		listeners: newListeners(), sessions: newSessions(), metrics: newMetrics(),
	}
	if err := s.open(o); err != nil {
		s.Close()
		return nil, err
	}
	s.gauges()
	return s, nil
}

// open acquires what must be released again; Close releases whatever was acquired.
func (s *Server) open(o Options) (err error) {
	if s.params, err = runner.Params(s.net); err != nil {
		return err
	}
	if s.home, err = home.Open(o.Dir, s.net, o.Passphrase); err != nil {
		return err
	}
	if err := s.openStore(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := s.openChain(ctx); err != nil {
		return err
	}
	s.opener = &opener{network: s.net, relay: s.Key(), limits: s.limits}
	s.committer = newCommitter(s.store, s.home.Key(), s.now, s.metrics, s.listeners.arrived)
	if err := s.openNetwork(); err != nil {
		return err
	}
	return s.openRunner(ctx, o.Poll)
}

func (s *Server) openStore() (err error) {
	s.store, err = store.OpenRelay(s.storeOptions())
	return err
}

func (s *Server) storeOptions() store.Options {
	return store.Options{
		Dir:     s.home.Path("store"),
		Size:    store.Size{MemTable: s.cfg.Store.MemtableMiB << 20, Cache: int64(s.cfg.Store.CacheMiB) << 20},
		Network: s.net, Relay: s.Key(), Limits: s.limits, FreeBytesPerDay: s.cfg.Offer.FreeBytesDay,
		FreeDisk: s.diskLeft, Fatal: s.fatal,
	}
}

// diskLeft is how many bytes may still be written, as the store is told: what the disk has, less
// what the operator reserves beyond the store's own reserve.
func (s *Server) diskLeft() (uint64, error) {
	free, err := diskFree(s.home.Path())
	extra := max(s.cfg.Store.ReserveMiB<<20, store.DiskReserve) - store.DiskReserve
	return free - min(free, extra), err
}

func diskFree(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// openNetwork makes certificate, sockets, board and offers.
func (s *Server) openNetwork() error {
	cert, pin, err := s.certificate()
	if err != nil {
		return err
	}
	if s.public, err = listen(s.cfg.Listen); err != nil {
		return err
	}
	if s.admin, err = listen(s.cfg.Admin); err != nil {
		return err
	}
	if host, _, _ := net.SplitHostPort(s.cfg.Listen); len(s.cfg.Addresses) == 0 && isLoopback(host) && s.net != identity.Regtest {
		s.log.Warn("the offer tells clients a loopback address, which only this machine can reach: set addresses", "listen", s.Addr())
	}
	s.board = board.New(board.Config{Network: s.net, Dir: board.NewDir(s.home.Path("board")), Now: s.now})
	if err := s.board.Restore(); err != nil {
		s.log.Warn("some offers of the board were not restored", "err", err)
	}
	mux := http.NewServeMux()
	mux.Handle(board.Path, s.board.Handler())
	s.guard = session.NewGuard(session.DefaultGuardLimits())
	s.front = transport.NewServer(transport.ServerOptions{TLS: transport.ServerTLS(cert), Accept: s.Accept, Web: mux, Log: s.log})
	s.offers = &offerBook{
		dir: s.home.Path("offers"), key: s.home.Key(), net: s.net, cfg: s.cfg.Offer, limits: s.limits,
		addrs: func() []identity.Address { return addresses(s.cfg.Addresses, s.Addr(), pin) },
		next:  s.store.NextOfferSequence, now: s.now, log: s.log,
	}
	return s.offers.load()
}

func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, code.New(code.AddressInUse, "%s is taken", addr)
	}
	return ln, code.Wrap(code.BadConfig, err, "listening on %s", addr)
}

func (s *Server) openRunner(ctx context.Context, poll time.Duration) (err error) {
	var payout []byte
	if a := s.cfg.Offer.Payout; a != "" {
		if payout, err = s.wallet.ScriptOf(a); err != nil {
			return err
		}
	}
	s.runner, err = runner.New(ctx, runner.Config{
		Role: contract.Relay, Key: s.home.Key(), Seed: s.home.Seed(), Network: s.net, Params: s.params,
		Store: s.store, Chain: s.chain, Wallet: s.wallet, Poll: poll, Now: s.now, Log: s.log,
		Head:  s.logHead,
		Sound: s.chain.Check, FallbackFeeRate: s.cfg.Bitcoin.FallbackRate(),
		Policy: runner.Policy{
			Offer: s.ownOffer, MaxContracts: s.cfg.Offer.MaxContracts, MaxLocked: s.cfg.Offer.MaxLocked, Payout: payout, OwnReport: s.ownReport, Due: s.due,
		},
	})
	return err
}

// Run serves until ctx ends, then finishes what is in hand and gives nil.
func (s *Server) Run(ctx context.Context) error {
	// Commits outlive the sessions: what was accepted is answered.
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()
	g, gctx := errgroup.WithContext(inner)
	stopping := func(err error) bool { return ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) }
	run := func(name string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(gctx); err != nil && !stopping(err) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	run("wallet", s.wallet.Run)
	run("contracts", s.runner.Run)
	run("committer", s.committer.run)
	run("offers", s.publishOffers)
	run("expiry", s.expire)
	run("view", s.watchView)
	run("payments", s.requestPayments)
	run("ready", s.sayReady)
	run("notices", s.takeSteps)
	run("admin", s.serveAdmin)
	outer, stopOuter := context.WithCancel(ctx)
	defer stopOuter()
	context.AfterFunc(gctx, stopOuter) // a fault inside ends the serving too
	err := s.front.Serve(outer, s.public)
	s.finish()
	stopInner()
	return errors.Join(g.Wait(), err)
}

// Close releases what New acquired. Call it after Run has returned.
func (s *Server) Close() error {
	var errs []error
	for _, c := range []func() error{
		closer(s.public), closer(s.admin),
		func() error { return ifSet(s.wallet, s.wallet.Close) },
		func() error { return ifSet(s.node, s.node.Close) },
		func() error { return ifSet(s.store, s.store.Close) },
		func() error { return ifSet(s.home, s.home.Close) },
	} {
		if err := c(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func closer(ln net.Listener) func() error {
	return func() error {
		if ln == nil {
			return nil
		}
		return ln.Close()
	}
}

func ifSet[T any](p *T, f func() error) error {
	if p == nil {
		return nil
	}
	return f()
}

// Key is the relay's identity.
func (s *Server) Key() identity.PublicKey { return s.home.Key().Public() }

// Addr is where the relay listens.
func (s *Server) Addr() string { return s.public.Addr().String() }

// AdminAddr is where the admin port listens.
func (s *Server) AdminAddr() string { return s.admin.Addr().String() }

// serveAdmin serves the loopback port.
func (s *Server) serveAdmin(ctx context.Context) error {
	srv := board.NewServer(s.adminHandler())
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(s.admin); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// every calls f at once and then in intervals until ctx ends or f fails.
func every(ctx context.Context, d time.Duration, f func() error) error {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		if err := f(); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Accept runs one connection and returns when it has ended: those of the own port come here, and
// those that reach the relay in another way, through a port of somebody who embeds it. It ends
// with ctx. It needs Run.
func (s *Server) Accept(ctx context.Context, conn transport.Conn) {
	ctx, end := s.outlive(ctx)
	defer end()
	err := session.Serve(ctx, conn, session.ServerConfig{
		Key: s.home.Key(), Genesis: *s.params.GenesisHash, Limits: s.limits, StoreEpoch: s.store.StoreEpoch,
		Handler: s, Guard: s.guard, Now: s.now, FreeBytes: s.freeLeft, Opened: s.opened, Ended: s.ended, Log: s.log,
	})
	s.log.Debug("connection ended", "from", conn.RemoteAddr(), "err", err)
}

// certificate reads the relay's TLS certificate, or makes it at the first start.
func (s *Server) certificate() (cert tlsCertificate, pin identity.Digest, err error) {
	crt, errC := os.ReadFile(s.home.Path("tls.crt"))
	key, errK := os.ReadFile(s.home.Path("tls.key"))
	if errors.Is(errC, os.ErrNotExist) || errors.Is(errK, os.ErrNotExist) {
		if crt, key, _, err = transport.GenerateCertificate(rand.Reader, s.now()); err != nil {
			return cert, pin, err
		}
		if err := home.WriteFile(s.home.Path("tls.key"), key, 0o600); err != nil {
			return cert, pin, err
		}
		if err := home.WriteFile(s.home.Path("tls.crt"), crt, 0o644); err != nil {
			return cert, pin, err
		}
	} else if err := errors.Join(errC, errK); err != nil {
		return cert, pin, code.Wrap(code.BadConfig, err, "TLS certificate")
	}
	return transport.ParseCertificate(crt, key)
}

// OfferAddresses are the addresses that the current offer tells.
func (s *Server) OfferAddresses() []identity.Address { return s.offers.get().Addresses }

// Tip is the height of the last block that the relay has handled.
func (s *Server) Tip() usage.Height { return s.runner.Tip() }
