package relay_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain/btcd"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
	"relaymarket/relay"
	"relaymarket/usage"
)

// payer is a person with coins, who has contracts with the relay.
type payer struct {
	*person
	wallet *wallet.Wallet
	runner *runner.Runner
}

func newPayer(t *testing.T, r *running) *payer {
	t.Helper()
	n, seed, pass := node(t), make([]byte, 64), make([]byte, 32)
	_, _ = rand.Read(seed)
	_, _ = rand.Read(pass)
	key, err := identity.FromSeed(seed, identity.Regtest)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	params, err := runner.Params(identity.Regtest)
	must(err)
	s, err := store.OpenRelay(store.Options{Dir: "store", FS: store.MemoryFS(), Network: identity.Regtest, Relay: key.Public()})
	must(err)
	back, err := btcd.Dial(t.Context(), btcd.Config{Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass(), Params: params})
	must(err)
	rpc := wallet.RPC{Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	w, err := wallet.Open(wallet.Config{Dir: t.TempDir(), Params: params, Seed: seed, Passphrase: pass, RPC: rpc, Birthday: time.Now(), Fresh: true})
	must(err)
	p := &payer{person: &person{t: t, key: key}, wallet: w}
	p.runner, err = runner.New(t.Context(), runner.Config{
		Role: contract.Client, Key: key, Seed: seed, Network: identity.Regtest, Params: params, Store: s,
		Chain: back, Wallet: w, Poll: 50 * time.Millisecond, Now: time.Now, Log: quiet(t),
	})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { must(w.Run(ctx)) })
	wg.Go(func() { must(p.runner.Run(ctx)) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		back.Close()
		if err := errors.Join(w.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	p.connect(r)
	p.fund(1_000_000)
	return p
}

// fund gives the payer a confirmed coin.
func (p *payer) fund(sat int64) {
	p.t.Helper()
	if err := p.wallet.Synced(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	_, script, err := p.wallet.NewAddress()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := node(p.t).Fund(p.t.Context(), script, sat); err != nil {
		p.t.Fatal(err)
	}
	p.mine(1)
	p.until("the coin is there", func() bool {
		b, err := p.wallet.Balance()
		return err == nil && b.ConfirmedSat >= sat
	})
}

// mine makes blocks, each handled by both sides before the next.
func (p *payer) mine(n int) {
	p.t.Helper()
	for range n {
		if _, err := node(p.t).Mine(1); err != nil {
			p.t.Fatal(err)
		}
		_, h, err := node(p.t).Tip()
		if err != nil {
			p.t.Fatal(err)
		}
		p.until("the block is handled", func() bool {
			return p.r.Tip() == usage.Height(h) && p.runner.Tip() == usage.Height(h)
		})
	}
}

func (p *payer) until(what string, ok func() bool) {
	p.t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("waiting until %s", what)
}

// exchange carries a contract statement to the relay.
func (p *payer) exchange(ctx context.Context, s identity.Signed) (identity.Signed, error) {
	a, err := p.sess.Call(ctx, &message.Contract{Statement: s.Bytes()})
	if err != nil {
		return identity.Signed{}, err
	}
	if c, ok := a.(*message.Contract); ok {
		return identity.ParseSigned(c.Statement)
	}
	return identity.Signed{}, nil
}

// offer is the relay's offer, as the contract's package wants it.
func (p *payer) offer() contract.OfferTerms {
	p.t.Helper()
	s, err := identity.ParseSigned(must[*message.Offer](p.person, &message.GetOffer{}).Offer)
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := broadcast.Open(s, now())
	if err != nil {
		p.t.Fatal(err)
	}
	return contract.OfferTerms{
		Network: v.Network, Relay: v.From, Digest: v.Digest(), ValidUntil: v.ValidUntil, Prices: v.Prices,
		ContractPrice: v.ContractPrice, MinDeposit: v.MinDeposit, MaxDeposit: v.MaxDeposit,
		MinDuration: usage.Height(v.MinDuration), MaxDuration: usage.Height(v.MaxDuration), FundingDepth: v.FundingDepth,
		CreditLimit: v.CreditLimit, CreditToEarn: v.CreditToEarn, SettleFeeRate: v.SettleFeeRate, MinFundFeeRate: v.MinFundFeeRate,
	}
}

// open opens a contract and waits until it is in service.
func (p *payer) open(value, prepaid usage.Sat) contract.Contract {
	p.t.Helper()
	c, err := p.runner.Open(p.t.Context(), p.opening(value, prepaid), p.exchange)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mine(int(c.Terms().Depth))
	p.until("the contract is active on both sides", func() bool {
		a, ok := p.runner.ByNonce(c.Nonce())
		return ok && a.Service() && p.state(c.ID()).State == "active"
	})
	c, _ = p.runner.ByNonce(c.Nonce())
	return c
}

func (p *payer) opening(value, prepaid usage.Sat) runner.Opening {
	return runner.Opening{Offer: p.offer(), Value: value, Prepaid: prepaid, Duration: 60, FundFeeRate: 2000}
}

// state is how the relay sees a contract.
func (p *payer) state(id usage.ContractID) relay.ContractStatus {
	p.t.Helper()
	st, err := p.r.Status(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, c := range st.Contracts {
		if c.Contract == id {
			return c
		}
	}
	return relay.ContractStatus{}
}

// on makes an order one that a contract pays for.
func on(c contract.Contract) func(*usage.StoreOrder) {
	return func(o *usage.StoreOrder) { o.Contract, o.Terms, o.MaxMsat = c.ID(), c.Terms().Digest(), 1<<50 }
}
