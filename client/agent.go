package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain"
	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/internal/runner"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
	"relaymarket/records"
	"relaymarket/usage"
)

// Options is what Open needs.
type Options struct {
	Dir        string // made by Init
	Config     Config
	Passphrase string           // of the recovery phrase, if it has one
	Now        func() time.Time // nil: time.Now
	Log        *slog.Logger     // nil: nobody
	Poll       time.Duration    // between looks at the chain when no notification comes; 0: ten seconds
	Farewell   time.Duration    // bounds what a stop does over the network; 0: three seconds
	Rand       io.Reader        // nil: crypto/rand
	// Fatal is called, on any goroutine, when the disk fails so that nothing more can be made
	// durable. It must end the process, after telling its owner the error. nil: panic.
	Fatal func(error)
}

// Agent holds everything of one identity: keys, store, wallet, contracts and the sessions with
// relays. All methods may be called from any goroutine. Most work without Run, each by itself;
// Run adds what happens unasked: listening, acknowledging, paying, following the chain.
type Agent struct {
	dir     string
	cfg     Config
	network identity.Network
	params  *chaincfg.Params
	now     func() time.Time
	log     *slog.Logger
	rand    io.Reader
	runID   records.RunID // of this process: epochs are not continued over a restart
	disk    func() (free uint64, err error)

	proxy *url.URL // SOCKS, nil for none

	farewellTime time.Duration

	home   *home.Home
	store  *store.Client
	node   *backends.Opened // nil when the settings cannot work
	chain  *chain.View
	wallet *wallet.Wallet
	runner *runner.Runner
	money  *money

	renewer *renewer

	links  *links
	news   *nudges       // something was received
	change chan struct{} // contacts or relays changed: look again whom to listen to

	// One message is sealed, numbered and queued at a time: each builds on the state that the
	// one before left in the store.
	sealing sync.Mutex
	// opened are verified documents of contacts, by digest.
	opened sync.Map
	// document makes the own Identity document one version at a time.
	document sync.Mutex
	// flight holds the records that are being read, so that two relays that both have a record are
	// not both paid for it.
	flight flight
	parts  *parts
	seen   *seen
	papers papers
	// named are the PSBTs that named the coins of openings which wait for an outside wallet, by nonce: what they say about
	// keys goes into the file to be signed, as long as this process lives.
	named sync.Map

	life context.Context // of everything that outlives a call; ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // what else must end before the store is closed
	end  func() error   // Close, once

	faultMu sync.Mutex
	faults  map[string]error // guarded by faultMu; jobs that ended, for Doctor

	// paymentRequested is told when a relay asked for a payment of a contract; see wire.
	paymentRequested func(context.Context, usage.ContractID)
	// jobs run as long as Run does; see wire.
	jobs []job
}

// job is something that runs as long as the agent. It ends with its context, or with an error
// after which it is started again before long.
type job struct {
	name string
	run  func(context.Context) error
}

// Open takes the lock of the agent's directory and opens store and wallet. It starts nothing and
// needs neither node nor relay: without a node the agent still sends and receives on what is paid
// already. Errors: NotInitialised, AlreadyRunning, WalletWrongPhrase, BadConfig, StoreVersion,
// StoreCorrupt and others that say what to do.
func Open(o Options) (*Agent, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Farewell <= 0 {
		o.Farewell = farewellTime
	}
	network, err := identity.ParseNetwork(o.Config.Network)
	if err != nil {
		return nil, code.Wrap(code.BadConfig, err, "network")
	}
	a := &Agent{
		dir: o.Dir, cfg: o.Config, network: network, now: o.Now, log: o.Log, rand: o.Rand,
		links: newLinks(), news: newNudges(), change: make(chan struct{}, 1), faults: make(map[string]error),
		flight: flight{records: make(map[identity.Digest]bool)}, parts: newParts(), seen: newSeen(), money: newMoney(),
		renewer: newRenewer(),
	}
	a.disk, a.farewellTime = a.freeDisk, o.Farewell
	a.life, a.stop = context.WithCancel(context.Background())
	a.end = sync.OnceValue(a.release)
	if err := a.open(o); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// open acquires what must be released again; Close releases whatever was acquired.
func (a *Agent) open(o Options) (err error) {
	if a.params, err = runner.Params(a.network); err != nil {
		return err
	}
	if a.proxy, err = a.cfg.proxy(); err != nil {
		return err
	}
	if _, err := io.ReadFull(a.rand, a.runID[:]); err != nil {
		return code.Wrap(code.Internal, err, "random bytes")
	}
	if a.home, err = home.Open(o.Dir, a.network, o.Passphrase); err != nil {
		return err
	}
	a.store, err = store.OpenClient(store.ClientOptions{
		Dir: a.home.Path("store"), Network: a.network, Owner: a.Key(), Rand: a.rand, Fatal: o.Fatal,
	})
	if err != nil {
		return err
	}
	a.openChain()
	w := wallet.Config{
		Dir: a.home.Path("wallet"), Params: a.params, Seed: a.home.Seed(), Passphrase: a.home.WalletPassphrase(),
		Birthday: a.home.Birthday(), Fresh: a.home.TakeFresh(),
		Log: a.log, Now: a.now,
	}
	if b := a.cfg.Bitcoin; b.Kind() == backends.Btcd {
		w.RPC = wallet.RPC{Host: b.RPC, User: b.User, Pass: b.Pass, CertFile: b.Cert}
	} else {
		w.Chain = a.chain
	}
	if a.wallet, err = wallet.Open(w); err != nil {
		return err
	}
	a.runner, err = runner.New(a.life, runner.Config{
		Role: contract.Client, Key: a.home.Key(), Seed: a.home.Seed(), Network: a.network, Params: a.params,
		Store: a.store, Chain: a.chain, Wallet: a.wallet, Poll: o.Poll, Now: a.now, Rand: a.rand, Log: a.log,
		Head: a.logHead, Signed: a.signed,
		Sound: a.chain.Check, FallbackFeeRate: a.cfg.Bitcoin.FallbackRate(),
	})
	if err != nil {
		return err
	}
	a.wire()
	a.keepRecoveries()
	_, err = a.ownDocument(a.life)
	return err
}

// openChain connects to nothing yet. Settings that cannot work leave an agent that has no node;
// Doctor says why.
func (a *Agent) openChain() {
	node, err := backends.Open(backends.Options{
		First: a.cfg.Bitcoin, Second: a.cfg.Second, Params: a.params, Dir: a.home.Path(), Now: a.now,
	})
	if err != nil {
		a.log.Warn("no Bitcoin node can be used", "err", err)
		a.chain = chain.NewView(chain.ViewConfig{Main: noNode{err}})
		return
	}
	a.node, a.chain = node, node.View
}

// Key is the agent's identity.
func (a *Agent) Key() identity.PublicKey { return a.home.Key().Public() }

// Run does everything that nobody has to ask for, until ctx ends; then it sends what should not
// wait for the next start, closes the sessions and gives nil. A part that fails is reported by
// Doctor and does not stop the others.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.life, cancel)()
	jobs := append([]job{
		{"wallet", a.wallet.Run}, {"contracts", a.runner.Run}, {"relays", a.keepLinks}, {"upkeep", a.upkeep},
	}, a.jobs...)
	var running sync.WaitGroup
	for _, j := range jobs {
		running.Go(func() { a.keep(ctx, j) })
	}
	running.Wait()
	a.farewell()
	return nil
}

// jobPause is how long a part that has stopped rests before it is tried again: a disk that was full
// for a moment must not end the watch over the money.
const jobPause = 30 * time.Second

// keep runs one part of the agent until ctx ends.
func (a *Agent) keep(ctx context.Context, j job) {
	for {
		err := j.run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		a.log.Error("a part of the agent has stopped", "part", j.name, "err", err)
		a.fault(j.name, err)
		if !a.sleep(ctx, jobPause) {
			return
		}
		a.fault(j.name, nil)
	}
}

// fault notes why a part has stopped, or with nil that it runs again.
func (a *Agent) fault(name string, err error) {
	a.faultMu.Lock()
	defer a.faultMu.Unlock()
	if err == nil {
		delete(a.faults, name)
		return
	}
	a.faults[name] = err
}

// farewellTime is how long a stop may wait for the network if nobody says otherwise.
const farewellTime = 3 * time.Second

// farewell sends waiting acknowledgements over the sessions that are still open.
func (a *Agent) farewell() {
	if !a.links.anyLive() {
		return
	}
	ctx, cancel := context.WithTimeout(a.life, a.farewellTime)
	defer cancel()
	if err := a.flushAcks(ctx, true); err != nil {
		a.log.Info("acknowledgements wait for the next start", "err", err)
	}
	a.links.close()
}

// Close sends what should not wait, ends all sessions and releases store, wallet and lock. Call it
// after Run has returned.
func (a *Agent) Close() error { return a.end() }

func (a *Agent) release() error {
	if a.runner != nil {
		a.farewell()
	}
	a.stop()
	a.links.shut()
	a.work.Wait()
	var errs []error
	if a.wallet != nil {
		errs = append(errs, a.wallet.Close())
	}
	if a.node != nil {
		errs = append(errs, a.node.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.home != nil {
		errs = append(errs, a.home.Close())
	}
	return errors.Join(errs...)
}

func (a *Agent) nowMilli() identity.UnixMilli { return identity.UnixMilli(a.now().UnixMilli()) }

// serial is 16 random bytes for a statement.
func (a *Agent) serial() (s identity.Serial, err error) {
	_, err = io.ReadFull(a.rand, s[:])
	return s, code.Wrap(code.Internal, err, "random bytes")
}

// header begins a statement to somebody. The time is the relay's where its clock is known, so that
// a clock that is fast does not spoil what is sent there.
func (a *Agent) header(to identity.PublicKey, at identity.UnixMilli) (identity.Header, error) {
	s, err := a.serial()
	return identity.Header{Network: a.network, From: a.Key(), To: to, Time: at, Serial: s}, err
}
