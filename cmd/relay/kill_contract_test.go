package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain/btcd"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/internal/wallet"
	"relaymarket/testnet/btcdnode"
	"relaymarket/usage"
)

// payer is a writer whose records a contract pays for.
type payer struct {
	*writer
	t      *testing.T
	v      *victim
	node   *btcdnode.Node
	wallet *wallet.Wallet
	runner *runner.Runner
	c      contract.Contract
}

// newPayer opens a contract with the victim and waits until both sides see it on the chain.
func newPayer(t *testing.T, v *victim, node *btcdnode.Node) *payer {
	t.Helper()
	p := &payer{writer: newWriter(t), t: t, v: v, node: node}
	p.lanes = 2
	p.live(seedKeys(t))
	p.fund(4_000_000)
	sess := p.session()
	defer sess.Close()
	c, err := p.runner.Open(t.Context(), runner.Opening{
		Offer: p.offer(sess), Value: 2_000_000, Prepaid: 1_900_000, Duration: 200, FundFeeRate: 2000,
	}, exchange(sess))
	if err != nil {
		t.Fatal(err)
	}
	p.mine(int(c.Terms().Depth))
	p.until("the relay serves the contract", func() bool {
		a, err := p.account(sess)
		return err == nil && a.State == uint8(contract.StateActive)
	})
	p.c, _ = p.runner.ByNonce(c.Nonce())
	p.contract, p.terms = p.c.ID(), p.c.Terms().Digest()
	return p
}

func seedKeys(t *testing.T) (seed, pass []byte) {
	seed, pass = make([]byte, 64), make([]byte, 32)
	_, _ = rand.Read(seed)
	_, _ = rand.Read(pass)
	return seed, pass
}

// live makes the payer's wallet and runner, and lets them follow the chain.
func (p *payer) live(seed, pass []byte) {
	p.t.Helper()
	must := func(err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	var err error
	p.key, err = identity.FromSeed(seed, identity.Regtest)
	must(err)
	params, err := runner.Params(identity.Regtest)
	must(err)
	n := p.node
	s, err := store.OpenRelay(store.Options{Dir: "store", FS: store.MemoryFS(), Network: identity.Regtest, Relay: p.key.Public()})
	must(err)
	back, err := btcd.Dial(p.t.Context(), btcd.Config{Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass(), Params: params})
	must(err)
	rpc := wallet.RPC{Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	p.wallet, err = wallet.Open(wallet.Config{Dir: p.t.TempDir(), Params: params, Seed: seed, Passphrase: pass, RPC: rpc, Birthday: time.Now(), Fresh: true})
	must(err)
	p.runner, err = runner.New(p.t.Context(), runner.Config{
		Role: contract.Client, Key: p.key, Seed: seed, Network: identity.Regtest, Params: params, Store: s,
		Chain: back, Wallet: p.wallet, Poll: 50 * time.Millisecond, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { must(p.wallet.Run(ctx)) })
	wg.Go(func() { must(p.runner.Run(ctx)) })
	p.t.Cleanup(func() {
		cancel()
		wg.Wait()
		back.Close()
		if err := errors.Join(p.wallet.Close(), s.Close()); err != nil {
			p.t.Error(err)
		}
	})
}

func (p *payer) fund(sat int64) {
	p.t.Helper()
	if err := p.wallet.Synced(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	_, script, err := p.wallet.NewAddress()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.node.Fund(p.t.Context(), script, sat); err != nil {
		p.t.Fatal(err)
	}
	p.mine(1)
	p.until("the coin is there", func() bool {
		b, err := p.wallet.Balance()
		return err == nil && b.ConfirmedSat >= sat
	})
}

// mine makes blocks, each handled by the payer before the next.
func (p *payer) mine(n int) {
	p.t.Helper()
	for range n {
		if _, err := p.node.Mine(1); err != nil {
			p.t.Fatal(err)
		}
		_, h, err := p.node.Tip()
		if err != nil {
			p.t.Fatal(err)
		}
		p.until("the block is handled", func() bool { return p.runner.Tip() == usage.Height(h) })
	}
}

func (p *payer) until(what string, ok func() bool) {
	p.t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("waiting until %s", what)
}

func (p *payer) session() *session.Client {
	p.t.Helper()
	sess, err := p.v.dial(p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return sess
}

// exchange carries contract statements to the relay.
func exchange(sess *session.Client) runner.Exchange {
	return func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		a, err := sess.Call(ctx, &message.Contract{Statement: s.Bytes()})
		if err != nil {
			return identity.Signed{}, err
		}
		if c, ok := a.(*message.Contract); ok {
			return identity.ParseSigned(c.Statement)
		}
		return identity.Signed{}, nil
	}
}

func (p *payer) offer(sess *session.Client) contract.OfferTerms {
	p.t.Helper()
	a, err := sess.Call(p.t.Context(), &message.GetOffer{})
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := identity.ParseSigned(a.(*message.Offer).Offer)
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := broadcast.Open(s, identity.UnixMilli(time.Now().UnixMilli()))
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

// account is how the relay says that the contract stands.
func (p *payer) account(sess *session.Client) (message.AccountContract, error) {
	a, err := sess.Call(p.t.Context(), &message.Account{})
	if err != nil {
		return message.AccountContract{}, err
	}
	if all := a.(*message.AccountInfo).Contracts; len(all) == 1 {
		return all[0], nil
	}
	return message.AccountContract{}, errors.New("not one contract")
}

// log fetches the signed head of the contract's log and all of its rows.
func (p *payer) log(sess *session.Client) (usage.VerifiedUsageReport, []usage.RowEntry) {
	p.t.Helper()
	var report usage.VerifiedUsageReport
	var rows []usage.RowEntry
	for {
		a, err := sess.Call(p.t.Context(), &message.RequestUsage{Contract: p.contract, FromRow: uint64(len(rows)), Fresh: true})
		if err != nil {
			p.t.Fatal(err)
		}
		m := a.(*message.UsageReport)
		s, err := identity.ParseSigned(m.Report)
		if err != nil {
			p.t.Fatal(err)
		}
		if report, err = usage.OpenUsageReport(s); err != nil {
			p.t.Fatal(err)
		}
		for _, raw := range m.Rows {
			e, err := usage.DecodeRowEntry(raw)
			if err != nil {
				p.t.Fatal(err)
			}
			rows = append(rows, e)
		}
		if !m.More {
			return report, rows
		}
	}
}

// check holds the contract's account and log against what the payer and the reader signed and got
// answers for: one row for each order and for each request, none for anything else.
func (p *payer) check() {
	t := p.t
	t.Helper()
	sess := p.session()
	defer sess.Close()
	report, rows := p.log(sess)
	if len(rows) != len(p.orders)+len(p.reads) || report.Size != uint64(len(rows)) {
		t.Errorf("%d rows, %d in the head, for %d orders and %d requests", len(rows), report.Size, len(p.orders), len(p.reads))
	}
	stored := make(map[identity.Digest]uint64)
	want := make(map[identity.Digest]uint64) // bytes, by the statement that is a row's evidence
	var live, egress uint64
	for _, o := range p.orders {
		v, err := usage.OpenStoreOrder(o.Order)
		if err != nil {
			t.Fatal(err)
		}
		want[v.Digest()] = v.TotalBytes
		live += v.TotalBytes
		for _, f := range o.Records {
			stored[f.Digest] = f.Stored
		}
	}
	for request, record := range p.reads {
		want[request] = stored[record]
		egress += stored[record]
	}
	for _, e := range rows {
		r, err := usage.DecodeRow(e.Row)
		if err != nil {
			t.Fatal(err)
		}
		d := evidence(t, r)
		if bytes, ok := want[d]; !ok || bytes != r.Bytes {
			t.Errorf("row %d, %s: %d bytes for a statement of %d that is unknown or billed before", r.Index, r.Kind, r.Bytes, bytes)
		}
		delete(want, d)
	}
	a, err := p.account(sess)
	if err != nil || len(want) > 0 || report.LiveBytes != live || report.Egress != egress || egress == 0 {
		t.Errorf("%d statements have no row; %d bytes kept, %d delivered, signed for were %d and %d: %v", len(want), report.LiveBytes, report.Egress, live, egress, err)
	}
	if a.OwedMsat != uint64(report.Owed) || a.Rows != report.Size || a.OwedMsat == 0 {
		t.Errorf("the account owes %d msat for %d rows, the head says %d for %d", a.OwedMsat, a.Rows, report.Owed, report.Size)
	}
	p.audit(report, rows)
}

// evidence is the digest of the statement that a row was billed for.
func evidence(t *testing.T, r usage.Row) identity.Digest {
	t.Helper()
	s, err := identity.ParseSigned(r.Evidence)
	if err != nil {
		t.Fatalf("row %d: %v", r.Index, err)
	}
	h, err := identity.PeekHeader(s.Statement)
	if err != nil {
		t.Fatal(err)
	}
	return identity.StatementDigest(h.Type, s.Statement)
}

// audit does what a client does before it pays: every row and every msat must be confirmed.
func (p *payer) audit(report usage.VerifiedUsageReport, rows []usage.RowEntry) {
	t := p.t
	t.Helper()
	terms := p.c.Terms()
	res, err := usage.Reconcile(usage.Input{
		Network: identity.Regtest, Relay: p.v.key, Client: p.key.Public(), Contract: p.contract, Terms: p.terms,
		Prices: terms.Prices, Now: identity.UnixMilli(time.Now().UnixMilli()), Report: report, Rows: rows, Orders: p.orders,
		Policy: usage.DefaultPolicy(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.Refused {
		t.Errorf("the audit refuses row %d: %s", f.Index, f.Why)
	}
	if res.ConfirmedMsat != report.Owed {
		t.Errorf("%d msat are confirmed of %d", res.ConfirmedMsat, report.Owed)
	}
	t.Logf("the contract's log: %d rows, %d orders, %d requests, %d msat", len(rows), len(p.orders), len(p.reads), report.Owed)
}
