package runner_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain"
	"relaymarket/internal/chain/btcd"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
	"relaymarket/testnet/btcdnode"
	"relaymarket/usage"
)

// openWait is short here, and longer than an opening takes.
const openWait = time.Second

// side is one runner with everything under it.
type side struct {
	t      *testing.T
	role   contract.Role
	key    identity.PrivateKey
	seed   []byte
	pass   []byte
	dir    string
	fs     store.FS
	node   *btcdnode.Node
	offer  contract.OfferTerms
	r      *runner.Runner
	wallet *wallet.Wallet
	store  *store.Relay
	stop   func()
	ahead  atomic.Int64                      // nanoseconds that its clock is ahead
	doubt  atomic.Bool                       // its view of the chain is in doubt
	view   func(chain.Backend) chain.Backend // what the runner sees of its node; nil: all
}

func newSide(t *testing.T, n *btcdnode.Node, role contract.Role) *side {
	t.Helper()
	s := &side{t: t, role: role, dir: t.TempDir(), fs: store.MemoryFS(), node: n, seed: make([]byte, 64), pass: make([]byte, 32)}
	_, _ = rand.Read(s.seed)
	_, _ = rand.Read(s.pass)
	var err error
	if s.key, err = identity.FromSeed(s.seed, identity.Regtest); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *side) start() {
	t := s.t
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	params, err := runner.Params(identity.Regtest)
	must(err)
	dir := "store"
	if s.fs == nil {
		dir = filepath.Join(s.dir, "store")
	}
	s.store, err = store.OpenRelay(store.Options{Dir: dir, FS: s.fs, Network: identity.Regtest, Relay: s.key.Public()})
	must(err)
	back, err := btcd.Dial(t.Context(), btcd.Config{Host: s.node.RPCHost(), User: s.node.RPCUser(), Pass: s.node.RPCPass(), Params: params})
	must(err)
	s.wallet, err = wallet.Open(wallet.Config{
		Dir: s.dir, Params: params, Seed: s.seed, Passphrase: s.pass, Fresh: true,
		RPC: wallet.RPC{Host: s.node.RPCHost(), User: s.node.RPCUser(), Pass: s.node.RPCPass()},
	})
	must(err)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("side", s.role.String())
	}
	seen := chain.Backend(back)
	if s.view != nil {
		seen = s.view(back)
	}
	s.r, err = runner.New(t.Context(), runner.Config{
		Role: s.role, Key: s.key, Seed: s.seed, Network: identity.Regtest, Params: params, Store: s.store,
		Chain: seen, Wallet: s.wallet, Poll: 50 * time.Millisecond, OpenWait: openWait, Log: log,
		Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
		Sound: func(context.Context) error {
			if s.doubt.Load() {
				return code.New(code.ChainDisagrees, "two views")
			}
			return nil
		},
		Policy: runner.Policy{
			Offer:        func(d identity.Digest) (contract.OfferTerms, bool) { return s.offer, d == s.offer.Digest },
			MaxContracts: 10, MaxLocked: 60_000,
			OwnReport: func(context.Context, usage.ContractID, identity.Digest) (bool, error) { return true, nil },
			Due:       func(_ context.Context, c contract.Contract) (usage.Sat, error) { return c.Paid(), nil },
		},
	})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.wallet.Run(ctx); err != nil {
			t.Errorf("%v wallet: %v", s.role, err)
		}
	})
	wg.Go(func() {
		if err := s.r.Run(ctx); err != nil {
			t.Errorf("%v runner: %v", s.role, err)
		}
	})
	s.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		_ = s.wallet.Close()
		back.Close()
		if err := s.store.Close(); err != nil {
			t.Errorf("store: %v", err)
		}
	})
}

func (s *side) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// wait polls until a contract is in a state, by this side's own view.
func (s *side) wait(id usage.ContractID, want contract.State) contract.Contract {
	s.t.Helper()
	var last string
	for range 2000 {
		c, err := s.r.Contract(id)
		if err == nil {
			if c.State() == want {
				return c
			}
			last = c.State().String()
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatalf("%v: the contract is %s, not %s", s.role, last, want)
	return contract.Contract{}
}

type pair struct {
	t             *testing.T
	node          *btcdnode.Node
	client, relay *side
	down          bool // the connection between them
}

// ownPair is a pair on a node of its own: for tests that stop it, and those that run beside others.
func ownPair(t *testing.T) *pair {
	t.Helper()
	n, err := btcdnode.Start(t.Context(), btcdnode.Options{Dir: t.TempDir(), Blocks: 110})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop() })
	return newPairOn(t, n)
}

func newPairOn(t *testing.T, n *btcdnode.Node) *pair {
	t.Helper()
	p := &pair{t: t, node: n, client: newSide(t, n, contract.Client), relay: newSide(t, n, contract.Relay)}
	p.relay.offer = contract.OfferTerms{
		Network: identity.Regtest, Relay: p.relay.key.Public(), Digest: identity.Digest{7},
		ValidUntil: identity.UnixMilli(time.Now().Add(time.Hour).UnixMilli()),
		Prices:     usage.Prices{StorageMsatPerGiBDay: 1000, EgressMsatPerGiB: 20000}, ContractPrice: 2500,
		MinDeposit: 10_000, MaxDeposit: 1_000_000, MinDuration: 30, MaxDuration: 1000, FundingDepth: 2,
		SettleFeeRate: 2000, MinFundFeeRate: 1000,
	}
	p.fund(500_000)
	return p
}

// fund gives the client a confirmed coin.
func (p *pair) fund(sat int64) { p.fundSide(p.client, sat) }

func (p *pair) fundSide(s *side, sat int64) {
	p.t.Helper()
	if err := s.wallet.Synced(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	_, script, err := s.wallet.NewAddress()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.node.Fund(p.t.Context(), script, sat); err != nil {
		p.t.Fatal(err)
	}
	p.mine(1)
	for range 1000 {
		if b, err := s.wallet.Balance(); err == nil && b.ConfirmedSat >= sat {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.t.Fatal("the coin did not arrive")
}

// mine makes blocks one by one and waits until both sides have handled each.
func (p *pair) mine(n int) {
	p.t.Helper()
	p.mineFor(n, p.client, p.relay)
}

func (p *pair) mineFor(n int, sides ...*side) {
	p.t.Helper()
	for range n {
		if _, err := p.node.Mine(1); err != nil {
			p.t.Fatal(err)
		}
		_, height, err := p.node.Tip()
		if err != nil {
			p.t.Fatal(err)
		}
		for _, s := range sides {
			for i := 0; i < 5000 && s.r.Tip() != usage.Height(height); i++ {
				time.Sleep(2 * time.Millisecond)
			}
		}
	}
}

// exchange is the wire between the two.
func (p *pair) exchange(ctx context.Context, s identity.Signed) (identity.Signed, error) {
	if p.down {
		return identity.Signed{}, code.New(code.Disconnected, "the line is cut")
	}
	return p.relay.r.Receive(ctx, p.client.key.Public(), s)
}

func (p *pair) open() contract.Contract {
	p.t.Helper()
	c, err := p.client.r.Open(p.t.Context(), runner.Opening{
		Offer: p.relay.offer, Value: 100_000, Prepaid: 1000, Duration: 60, FundFeeRate: 2000,
	}, p.exchange)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *pair) openActive() contract.Contract {
	p.t.Helper()
	c := p.open()
	p.mine(2)
	p.relay.wait(c.ID(), contract.StateActive)
	return p.client.wait(c.ID(), contract.StateActive)
}

func TestOpenPayClose(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	id := c.ID()
	if c, err := p.client.r.Pay(t.Context(), id, 5000, identity.Digest{}, p.exchange); err != nil || c.Paid() != 5000 {
		t.Fatalf("pay: %v", err)
	}
	if got, err := p.relay.r.Contract(id); err != nil || got.Paid() != 5000 {
		t.Fatalf("the relay has %d sat", got.Paid())
	}
	if _, err := p.client.r.Close(t.Context(), id, 5000, 2000, p.exchange); err != nil {
		t.Fatal(err)
	}
	p.mine(4)
	a, b := p.client.wait(id, contract.StateClosed), p.relay.wait(id, contract.StateClosed)
	for _, c := range []contract.Contract{a, b} {
		sp, _, _ := c.Spend()
		if sp.Kind != contract.SpendClose || sp.Client+sp.Relay+sp.Fee != 100_000 || sp.Client != 95_000 {
			t.Fatalf("%v: %+v", c.Role(), sp)
		}
	}
}

func TestFault05RestartsInTheMiddle(t *testing.T) {
	p := newPair(t)
	c := p.open()
	p.client.restart()
	p.relay.restart()
	p.mine(2)
	p.client.wait(c.ID(), contract.StateActive)
	p.relay.wait(c.ID(), contract.StateActive)

	if err := p.client.r.Resume(t.Context(), p.relay.key.Public(), p.exchange); err != nil {
		t.Fatal(err)
	}
	// The line breaks while a payment is on its way: it is on disk, and goes on after a restart.
	p.down = true
	if _, err := p.client.r.Pay(t.Context(), c.ID(), 6000, identity.Digest{}, p.exchange); code.Of(err) != code.Disconnected {
		t.Fatalf("pay over a cut line: %v", err)
	}
	p.down = false
	p.client.restart()
	if err := p.client.r.Resume(t.Context(), p.relay.key.Public(), p.exchange); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.relay.r.Contract(c.ID()); got.Paid() != 6000 {
		t.Fatalf("the relay has %d sat", got.Paid())
	}
}

func TestFault06RelayGoneTheClientRefundsAlone(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	p.relay.stop()
	for p.client.r.Tip() < c.Terms().Expiry {
		p.mineFor(10, p.client)
	}
	p.mineFor(4, p.client)
	got := p.client.wait(c.ID(), contract.StateClosed)
	sp, _, _ := got.Spend()
	if sp.Kind != contract.SpendRefund || sp.Client+sp.Fee != 100_000 || sp.Relay != 0 {
		t.Fatalf("%+v", sp)
	}
}

func TestFault07ClientGoneTheRelaySettles(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	if _, err := p.client.r.Pay(t.Context(), c.ID(), 9000, identity.Digest{}, p.exchange); err != nil {
		t.Fatal(err)
	}
	p.client.stop()
	m, err := contract.MarginsOf(identity.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	for p.relay.r.Tip() < c.Terms().SettleFrom() {
		p.mineFor(1, p.relay)
	}
	p.mineFor(int(m.FinalDepth)+1, p.relay)
	got := p.relay.wait(c.ID(), contract.StateClosed)
	sp, _, _ := got.Spend()
	if sp.Kind != contract.SpendSettlement || sp.Relay+sp.Fee != 9000 || sp.Client != 91_000 {
		t.Fatalf("%+v", sp)
	}
	// The client comes back and sweeps its delayed share.
	p.client.start()
	for range 6 {
		p.mine(1)
		time.Sleep(100 * time.Millisecond) // the sweep is broadcast after the block's event was handled
	}
	p.client.wait(c.ID(), contract.StateClosed)
	for range 200 {
		if b, err := p.client.wallet.Balance(); err == nil && b.ConfirmedSat > 480_000 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	b, _ := p.client.wallet.Balance()
	t.Fatalf("the client's wallet has %+v", b)
}

func TestFault11FundingReorgedOutAndIn(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	if err := p.node.Reorg(2, 3); err != nil {
		t.Fatal(err)
	}
	p.mine(3)
	for _, s := range []*side{p.client, p.relay} {
		if got := s.wait(c.ID(), contract.StateActive); got.Summary().Depth < 2 {
			t.Fatal(fmt.Sprint(s.role, " is active at depth ", got.Summary().Depth))
		}
	}
}

func TestRelayRefusesUnknownOfferAndClientKeepsItsCoins(t *testing.T) {
	p := newPair(t)
	o := p.relay.offer
	o.Digest = identity.Digest{8}
	_, err := p.client.r.Open(t.Context(), runner.Opening{Offer: o, Value: 100_000, Duration: 60, FundFeeRate: 2000}, p.exchange)
	if code.Of(err) != code.OfferExpired {
		t.Fatalf("%v", err)
	}
	if b, err := p.client.wallet.Balance(); err != nil || b.LeasedSat != 0 || b.ConfirmedSat != 500_000 {
		t.Fatalf("coins after a refusal: %+v %v", b, err)
	}
}
