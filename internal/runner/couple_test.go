package runner_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// errKilled is what a dead program's calls give: nothing of it is heard any more.
var errKilled = errors.New("killed")

// person is what outlives every program: keys and wallet.
type person struct {
	role   contract.Role
	key    identity.PrivateKey
	seed   []byte
	wallet *wallet.Wallet
}

// people are a client with one coin and a relay, whose wallets look at the first blocks of every chain that
// is cloned from base.
type people struct {
	client, relay person
	base          *double
	coin          int64
}

func newPeople(t *testing.T) *people { return newPeopleWith(t) }

// newPeopleWith are people whose relay has coins too.
func newPeopleWith(t *testing.T, relayCoins ...int64) *people {
	t.Helper()
	p := &people{client: person{role: contract.Client}, relay: person{role: contract.Relay}, coin: 500_000}
	params, err := runner.Params(identity.Regtest)
	check(t, err)
	// The first coin's script must be known before the chain is, so the wallets wait for theirs.
	view := &later{}
	for _, x := range []*person{&p.client, &p.relay} {
		x.seed = make([]byte, 64)
		pass := make([]byte, 32)
		_, _ = rand.Read(x.seed)
		_, _ = rand.Read(pass)
		x.key, err = identity.FromSeed(x.seed, identity.Regtest)
		check(t, err)
		x.wallet, err = wallet.Open(wallet.Config{Dir: t.TempDir(), Params: params, Seed: x.seed, Passphrase: pass, Chain: view, Fresh: true})
		check(t, err)
	}
	_, script, err := p.client.wallet.NewAddress()
	check(t, err)
	outs, relayHas := []*wire.TxOut{wire.NewTxOut(p.coin, script)}, int64(0)
	for _, sat := range relayCoins {
		_, script, err := p.relay.wallet.NewAddress()
		check(t, err)
		outs, relayHas = append(outs, wire.NewTxOut(sat, script)), relayHas+sat
	}
	p.base = newDouble(20, outs...)
	view.Backend = p.base
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, x := range []*person{&p.client, &p.relay} {
		wg.Go(func() {
			if err := x.wallet.Run(ctx); err != nil {
				t.Errorf("%v wallet: %v", x.role, err)
			}
		})
		t.Cleanup(func() { _ = x.wallet.Close() })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	for range 1000 {
		b, err := p.client.wallet.Balance()
		r, err2 := p.relay.wallet.Balance()
		if err == nil && err2 == nil && b.ConfirmedSat == p.coin && r.ConfirmedSat == relayHas && p.client.wallet.Synced(t.Context()) == nil && p.relay.wallet.Synced(t.Context()) == nil {
			return p
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the coin did not arrive")
	return nil
}

// later is a backend that is filled in after it was handed out.
type later struct{ chain.Backend }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// host is one side of a life: what is on its disk, the program that runs, and the points that it has passed.
type host struct {
	person
	t      *testing.T
	chain  chain.Backend
	offer  contract.OfferTerms
	client *host // of a relay: the other side

	mu       sync.Mutex // guards what follows, and is held while a point is decided
	fs       *vfs.MemFS
	counting bool
	points   []string // passed while counting
	killAt   int      // the point at which it dies, from 1; 0: never
	thenIn   int      // how many points after its death it dies again; 0: never
	killed   string   // where it died last
	prog     *program
}

// program is one run of a side, from its start to its end or its death.
type program struct {
	h      *host
	r      *runner.Runner
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
	store  runner.Store
	close  func() error
	dead   bool // guarded by h.mu
}

// point is a place where the program may die. An error means that it is dead, now or since before: what
// follows must not happen.
func (p *program) point(what string) error {
	h := p.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.dead {
		return errKilled
	}
	if !h.counting {
		return nil
	}
	h.points = append(h.points, what)
	if len(h.points) != h.killAt {
		return nil
	}
	h.killed = what
	h.killAt, h.thenIn = h.killAt+h.thenIn, 0
	p.die()
	return errKilled
}

// die ends the program as kill -9 and a loss of power do. Callers hold h.mu.
func (p *program) die() {
	p.dead = true
	p.h.fs = p.h.fs.CrashClone(vfs.CrashCloneCfg{}) // what was not synced is gone
	p.cancel()
}

func (p *program) isDead() bool {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	return p.dead
}

// killingStore and killingChain die before and after what cannot be taken back.
type killingStore struct {
	runner.Store
	p *program
}

func (s killingStore) SaveContracts(ctx context.Context, b store.ContractBatch) ([]store.Pending, error) {
	if err := s.p.point("before a commit"); err != nil {
		return nil, err
	}
	out, err := s.Store.SaveContracts(ctx, b)
	return out, errors.Join(err, s.p.point("after a commit"))
}

type killingChain struct {
	chain.Backend
	p *program
}

func (c killingChain) Broadcast(ctx context.Context, tx *wire.MsgTx) error {
	if err := c.p.point("before a broadcast"); err != nil {
		return err
	}
	err := c.Backend.Broadcast(ctx, tx)
	return errors.Join(err, c.p.point("after a broadcast"))
}

// tiny is enough for one contract, and quick to make.
var tiny = store.Size{MemTable: 128 << 10, Cache: 256 << 10}

// begin starts the program on what is on the disk, and waits until it has seen the whole chain.
func (h *host) begin() {
	h.t.Helper()
	p := &program{h: h, ended: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if h.role == contract.Relay {
		x, err := store.OpenRelay(store.Options{Dir: "store", FS: h.fs, Size: tiny, Network: identity.Regtest, Relay: h.key.Public()})
		check(h.t, err)
		p.store, p.close = x, x.Close
	} else {
		x, err := store.OpenClient(store.ClientOptions{Dir: "store", FS: h.fs, Size: tiny, Network: identity.Regtest, Owner: h.key.Public()})
		check(h.t, err)
		p.store, p.close = x, x.Close
	}
	params, err := runner.Params(identity.Regtest)
	check(h.t, err)
	p.r, err = runner.New(p.ctx, runner.Config{
		Role: h.role, Key: h.key, Seed: h.seed, Network: identity.Regtest, Params: params, Store: killingStore{p.store, p},
		Chain: killingChain{h.chain, p}, Wallet: h.wallet, Poll: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Policy: runner.Policy{
			Offer:        func(d identity.Digest) (contract.OfferTerms, bool) { return h.offer, d == h.offer.Digest },
			MaxContracts: 10, MaxLocked: 100_000,
			OwnReport: func(context.Context, usage.ContractID, identity.Digest) (bool, error) { return true, nil },
			Due:       func(_ context.Context, c contract.Contract) (usage.Sat, error) { return c.Paid(), nil },
		},
	})
	check(h.t, err)
	h.mu.Lock()
	h.prog = p
	h.mu.Unlock()
	go func() {
		defer close(p.ended)
		if err := p.r.Run(p.ctx); err != nil {
			h.t.Errorf("%v runner: %v", h.role, err)
		}
	}()
}

// end stops the program, if it still runs.
func (h *host) end() {
	if h.prog == nil {
		return
	}
	h.prog.cancel()
	<-h.prog.ended
	_ = h.prog.close() // of a dead one, the disk is gone
	h.prog = nil
}

func (h *host) dead() bool { return h.prog != nil && h.prog.isDead() }

func (h *host) count(on bool) {
	h.mu.Lock()
	h.counting = on
	h.mu.Unlock()
}

// level waits until the program has handled every block and looked for everything that it watches, or is dead.
func (h *host) level(d ground) {
	h.t.Helper()
	if h.prog == nil {
		return
	}
	since := time.Now()
	for time.Since(since) < 10*time.Second {
		tip, _ := d.Tip(context.Background())
		if x := h.prog.r.Health(); h.prog.isDead() || x.Last.Hash == tip.Hash && x.OK.After(since) {
			return
		}
		d.wake()
		time.Sleep(100 * time.Microsecond)
	}
	h.t.Fatalf("%v: still at height %d", h.role, h.prog.r.Tip())
}

// live is the contract of this side that is not dropped; on the relay's, that which the client has, if it has any.
func (h *host) live() (contract.Contract, bool) {
	if h.client != nil {
		if c, ok := h.client.live(); ok && h.prog != nil {
			return h.prog.r.ByNonce(c.Nonce())
		}
	}
	if h.prog == nil {
		return contract.Contract{}, false
	}
	for _, c := range h.prog.r.Contracts() {
		if c.State() != contract.StateAborted {
			return c, true
		}
	}
	return contract.Contract{}, false
}

func (h *host) state() contract.State {
	c, _ := h.live()
	return c.State()
}

// ground is the chain of a life: a double, or a node.
type ground interface {
	chain.Backend
	mine() // a block of what waits
	wake() // whoever follows looks again
	// spender is the transaction that spends an output of the chain, in a block or not.
	spender(op wire.OutPoint) (chainhash.Hash, bool)
}

// couple is a life: a client, a relay, the line between them and a chain.
type couple struct {
	t             *testing.T
	chain         ground
	client, relay *host
	together      bool // whoever lives when the other has died dies too
	record        bool // what is said is kept
	said          []saying
}

// saying is a statement that was said.
type saying struct {
	from, to *host
	what     identity.Signed
}

func (c *couple) note(from, to *host, s identity.Signed) {
	if c.record && !s.IsZero() {
		c.said = append(c.said, saying{from, to, s})
	}
}

// moment is a point of a life at which both programs stand still: what is on their disks, and the chain.
type moment struct {
	p             *people
	chain         *double
	client, relay *vfs.MemFS
}

// born is the moment before anything happened.
func (p *people) born() moment {
	return moment{p, p.base, vfs.NewCrashableMem(), vfs.NewCrashableMem()}
}

// again lives on from a moment, as often as wanted.
func (m moment) again(t *testing.T) *couple {
	t.Helper()
	return m.p.couple(t, m.chain.clone(), m.client.CrashClone(vfs.CrashCloneCfg{}), m.relay.CrashClone(vfs.CrashCloneCfg{}))
}

// couple starts both programs on a chain and two disks.
func (p *people) couple(t *testing.T, g ground, client, relay *vfs.MemFS) *couple {
	t.Helper()
	c := &couple{t: t, chain: g}
	c.client = &host{person: p.client, t: t, chain: g, fs: client}
	c.relay = &host{person: p.relay, t: t, chain: g, fs: relay}
	c.relay.offer, c.relay.client = offerOf(p.relay.key.Public()), c.client
	for _, h := range c.hosts() {
		h.begin()
	}
	c.level()
	return c
}

// pause ends both programs.
func (c *couple) pause(p *people) moment {
	c.end()
	return moment{p, c.chain.(*double), c.client.fs, c.relay.fs}
}

func offerOf(relay identity.PublicKey) contract.OfferTerms {
	return contract.OfferTerms{
		Network: identity.Regtest, Relay: relay, Digest: identity.Digest{7},
		ValidUntil: identity.UnixMilli(time.Now().Add(time.Hour).UnixMilli()),
		Prices:     usage.Prices{StorageMsatPerGiBDay: 1000, EgressMsatPerGiB: 20000}, ContractPrice: 2500,
		MinDeposit: 10_000, MaxDeposit: 1_000_000, MinDuration: 30, MaxDuration: 1000, FundingDepth: 2,
		SettleFeeRate: 2000, MinFundFeeRate: 1000, MaxCollateral: 60_000,
	}
}

func (c *couple) hosts() []*host { return []*host{c.client, c.relay} }

func (c *couple) end() {
	for _, h := range c.hosts() {
		h.end()
	}
}

var errLine = code.New(code.Disconnected, "the other side is gone")

// ask carries a statement from one side to the other, and the answer back.
func (c *couple) ask(ctx context.Context, from, to *host, s identity.Signed) (identity.Signed, error) {
	sender, receiver := from.prog, to.prog
	if receiver == nil {
		return identity.Signed{}, errLine
	}
	if err := sender.point("before a statement"); err != nil {
		return identity.Signed{}, err
	}
	c.note(from, to, s)
	answer, err := receiver.r.Receive(receiver.ctx, from.key.Public(), s)
	c.note(to, from, answer)
	if gone := sender.point("after a statement"); gone != nil {
		return identity.Signed{}, gone
	}
	if receiver.point("before an answer") != nil {
		return identity.Signed{}, errLine
	}
	_ = receiver.point("after an answer")
	return answer, err
}

// exchange is the client's line to the relay.
func (c *couple) exchange(ctx context.Context, s identity.Signed) (identity.Signed, error) {
	return c.ask(ctx, c.client, c.relay, s)
}

// push is the relay's line to the client: what comes back is given to the relay.
func (c *couple) push(s identity.Signed) error {
	if s.IsZero() {
		return nil
	}
	answer, err := c.ask(c.relay.prog.ctx, c.relay, c.client, s)
	if err != nil || answer.IsZero() {
		return err
	}
	_, err = c.relay.prog.r.Receive(c.relay.prog.ctx, c.client.key.Public(), answer)
	return err
}

// session is what both sides do when they are connected again.
func (c *couple) session() error {
	waiting, err := c.relay.prog.r.Pending(c.client.key.Public())
	for _, s := range waiting {
		err = errors.Join(err, c.push(s))
	}
	return errors.Join(err, c.client.prog.r.Resume(c.client.prog.ctx, c.relay.key.Public(), c.exchange))
}
