package client_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

// newShop is a relay whose prices make a message worth some satoshi, and which gives nothing away.
func newShop(t *testing.T) *relayOf { return newShopOf(t, func(*relay.Config) {}) }

// newShopOf is a shop with other terms.
func newShopOf(t *testing.T, change func(*relay.Config)) *relayOf {
	t.Helper()
	n := node(t)
	c := relay.DefaultConfig(identity.Regtest)
	c.Listen, c.Admin = "127.0.0.1:0", "127.0.0.1:0"
	c.Bitcoin = relay.Bitcoin{RPC: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	c.Offer.PowBits, c.Offer.Egress, c.Offer.FreeBytesDay, c.Offer.CreditLimit = 4, 900_000_000, 0, 3000
	c.Offer.CreditStart = c.Offer.MaxDeposit // all of the credit at once
	c.Store.MemtableMiB, c.Store.CacheMiB = 4, 8
	change(&c)
	r := &relayOf{t: t, dir: t.TempDir(), cfg: c}
	if _, err := relay.Init(r.dir, relay.InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.cfg.Listen = r.Addr()
	return r
}

// newPayer is an agent with a node and coins that runs.
func newPayer(t *testing.T, label string, r *relayOf, sat int64, change ...func(*client.Config)) *person {
	t.Helper()
	n := node(t)
	c := client.DefaultConfig(identity.Regtest)
	c.Label = label
	c.Bitcoin = client.Bitcoin{RPC: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	c.Boards = []string{"https://" + r.Addr()}
	c.Limits.AckFlushSeconds = 1
	for _, f := range change {
		f(&c)
	}
	p := &person{t: t, dir: t.TempDir(), cfg: c}
	if _, err := client.Init(p.dir, client.InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	p.open()
	t.Cleanup(func() { p.close() })
	p.run()
	eventually(t, "the wallet has caught up", func() bool {
		_, err := p.WalletBalance(t.Context())
		return err == nil
	})
	if sat > 0 {
		p.fund(sat)
	}
	return p
}

// fund pays to the agent's wallet and confirms that.
func (p *person) fund(sat int64) {
	p.t.Helper()
	n := node(p.t)
	text, err := p.WalletAddress(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	addr, err := address.DecodeAddress(text, n.Params())
	if err != nil {
		p.t.Fatal(err)
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := n.Pay(p.t.Context(), wire.NewTxOut(sat, script)); err != nil {
		p.t.Fatal(err)
	}
	mine(p.t, 1)
	eventually(p.t, "the coins are there", func() bool {
		b, err := p.WalletBalance(p.t.Context())
		return err == nil && b.Confirmed >= usage.Sat(sat)
	})
}

func mine(t *testing.T, blocks int) {
	t.Helper()
	if _, err := node(t).Mine(blocks); err != nil {
		t.Fatal(err)
	}
}

func (p *person) contract(id usage.ContractID) client.ContractInfo {
	p.t.Helper()
	c, err := p.Contract(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// sees waits until a contract has heard of the newest block.
func (p *person) sees(id usage.ContractID) {
	p.t.Helper()
	_, tip, err := node(p.t).Tip()
	if err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "the contract has heard of the newest block", func() bool {
		c := p.contract(id)
		return c.TipHeight >= usage.Height(tip) || c.State == "closed" || c.State == "failed"
	})
}

// awaits mines until a contract is in a state: block by block, each when the agent has seen the
// one before and has had a moment to send what it sends then.
func (p *person) awaits(id usage.ContractID, state string) client.ContractInfo {
	p.t.Helper()
	var c client.ContractInfo
	for range 40 {
		if c = p.contract(id); c.State == state {
			return c
		}
		mine(p.t, 1)
		p.sees(id)
		time.Sleep(100 * time.Millisecond)
	}
	p.t.Fatalf("the contract is %s and not %s: %s", c.State, state, c.Sentence)
	return c
}

// opens opens a contract and mines until both sides use it.
func (p *person) opens(r *relayOf, q client.OpenRequest) client.ContractInfo {
	p.t.Helper()
	q.Relay = r.Key()
	c, err := p.ContractOpen(p.t.Context(), q)
	if err != nil {
		p.t.Fatal(err)
	}
	c = p.awaits(c.ID, "active")
	eventually(p.t, "the relay serves the contract", func() bool {
		st, err := r.Status(context.Background())
		if err != nil {
			return false
		}
		for _, k := range st.Contracts {
			if k.Contract == c.ID && k.State == "active" {
				return true
			}
		}
		return false
	})
	return c
}

func TestContractFromMarketToClose(t *testing.T) {
	r := newShop(t)
	ada, bob := newPayer(t, "ada", r, 500_000), newPayer(t, "bob", r, 0)
	ctx := t.Context()

	m, err := ada.Market(ctx, client.MarketRequest{StoredBytes: 1 << 20, Days: 30, EgressBytes: 10 << 20})
	if err != nil || len(m.Quotes) != 1 || m.Quotes[0].Relay != r.Key() || m.Quotes[0].Total == 0 {
		t.Fatalf("market: %+v %v", m, err)
	}
	pre, err := ada.ContractPreview(ctx, client.OpenRequest{Relay: r.Key(), Deposit: 100_000, Prepaid: 1000})
	if err != nil || pre.Missing != 0 || pre.MaxLoss < pre.ContractPrice+pre.Prepaid+pre.FundFee || pre.ExpiryHeight != pre.TipHeight+pre.Duration {
		t.Fatalf("preview: %+v %v", pre, err)
	}
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000, Prepaid: 1000, MaxLoss: pre.MaxLoss})
	if c.Paid != pre.ContractPrice+1000 || c.FundFee != pre.FundFee || c.Deposit != 100_000 {
		t.Fatalf("opened: %+v, previewed %+v", c, pre)
	}

	// Bob can be reached without a relay of his own; he reads at the sender's.
	eventually(t, "ada's document names her relay", func() bool {
		i, err := ada.Identity(ctx)
		return err == nil && len(i.Relays) == 1
	})
	ada.meets(bob)
	sent := ada.sendRequest(client.SendRequest{To: "bob", MediaType: "application/octet-stream", Body: randomBytes(t, 600_000), MaxPulls: 2})
	if sent.State != client.StateStored || sent.Contract != c.ID || sent.WorstCost == 0 {
		t.Fatalf("sent: %+v", sent)
	}
	eventually(t, "bob has the message", func() bool { return len(bob.inbox()) == 1 })

	var a client.AuditResult
	eventually(t, "the read is billed and acknowledged", func() bool {
		if a, err = ada.Audit(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
		return a.Classes["A"].Rows == 2
	})
	if !a.Usage.Consistent || len(a.Refused) != 0 || a.Confirmed != a.Usage.Owed || a.Usage.Rows != 2 || a.Usage.Egress < 600_000 {
		t.Fatalf("audit: %+v", a)
	}
	if a.Due != pre.ContractPrice+a.Confirmed.CeilSat() && a.Due != c.Paid {
		t.Fatalf("due %d, confirmed %d", a.Due, a.Confirmed)
	}
	if len(a.Usage.Entries) != 2 || a.Usage.Entries[1].Kind != "read" || a.Usage.Entries[1].Receiver != bob.Key() || a.Usage.Entries[1].Path != sent.Path {
		t.Fatalf("entries: %+v", a.Usage.Entries)
	}

	// More of it, until something is due beyond what was prepaid.
	for range 3 {
		ada.sendRequest(client.SendRequest{To: "bob", MediaType: "application/octet-stream", Body: randomBytes(t, 600_000), MaxPulls: 1})
	}
	eventually(t, "bob has all of it", func() bool { return len(bob.inbox()) == 4 })
	eventually(t, "all is billed", func() bool {
		a, err = ada.Audit(ctx, c.ID)
		return err == nil && a.Classes["A"].Rows == 8
	})
	if a.Due <= c.Paid {
		t.Fatalf("nothing is due: %+v", a)
	}
	_, err = ada.ContractPay(ctx, c.ID, c.Paid)
	wantCode(t, err, code.NotDue)
	p, err := ada.ContractPay(ctx, c.ID, a.Due)
	if err != nil || p.Paid != a.Due || p.Added != a.Due-c.Paid || p.Unpaid != 0 || p.Number != 2 {
		t.Fatalf("paid: %+v %v", p, err)
	}
	_, err = ada.ContractPay(ctx, c.ID, 1_000_000)
	if err != nil {
		wantCode(t, err, code.NotDue) // storage goes on; it may be a satoshi more by now
	}
	info := ada.contract(c.ID)
	if info.Paid < p.Paid || info.Owed == 0 || info.Funds == 0 {
		t.Fatalf("info: %+v", info)
	}

	closed, err := ada.ContractClose(ctx, c.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	said := closed
	closed = ada.awaits(closed.ID, "closed")
	if closed.ClosedBy != "close" || closed.ClientPayout+closed.RelayPayout+closed.CloseFee != closed.Deposit || closed.ClientPayout != closed.Deposit-closed.Paid {
		t.Fatalf("closed: %+v", closed)
	}
	if said.Note != "" || closed.ClosePath != "key-path" || said.CloseFee != closed.CloseFee || said.ClosingTxid != closed.ClosingTxid || said.RelayPayout != closed.RelayPayout {
		t.Fatalf("said %+v, closed %+v", said, closed)
	}
	eventually(t, "the rest is back", func() bool {
		b, err := ada.WalletBalance(ctx)
		return err == nil && b.Confirmed == 500_000-closed.Deposit-closed.FundFee+closed.ClientPayout && b.Leased == 0
	})
}

func TestLimitsAndMissingCoins(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 0)
	ctx := t.Context()
	open := client.OpenRequest{Relay: r.Key(), Deposit: 100_000}
	pre, err := ada.ContractPreview(ctx, open)
	if err != nil || pre.Missing < 100_000 {
		t.Fatalf("preview without coins: %+v %v", pre, err)
	}
	_, err = ada.ContractOpen(ctx, open)
	wantCode(t, err, code.NotEnoughCoins)
	ada.fund(200_000)

	with := func(change func(*client.OpenRequest)) error {
		q := open
		change(&q)
		_, err := ada.ContractOpen(ctx, q)
		return err
	}
	wantCode(t, with(func(q *client.OpenRequest) { q.MaxLoss = 10 }), code.LimitExceeded)
	wantCode(t, with(func(q *client.OpenRequest) { q.MaxEgress = 1 }), code.PriceTooHigh)
	wantCode(t, with(func(q *client.OpenRequest) { q.MaxStorage = 1 }), code.PriceTooHigh)
	wantCode(t, with(func(q *client.OpenRequest) { q.Deposit = 1 }), code.BadAmount)
	wantCode(t, with(func(q *client.OpenRequest) { q.Duration = 1 }), code.BadDeadline)
	wantCode(t, with(func(q *client.OpenRequest) { q.FeeRateSatVB = 1_000_000 }), code.BadFeeRate)
	wantCode(t, with(func(q *client.OpenRequest) { q.Relay = ada.Key() }), code.BadArgument)
	other := newPayer(t, "bob", r, 0)
	wantCode(t, with(func(q *client.OpenRequest) { q.Relay = other.Key() }), code.NoRelay)
	if b, err := ada.WalletBalance(ctx); err != nil || b.Leased != 0 || b.Confirmed != 200_000 {
		t.Fatalf("refusals left something behind: %+v %v", b, err)
	}
	m, err := ada.Market(ctx, client.MarketRequest{Days: 30, MaxEgress: 1, ShowRefused: true})
	if err != nil || len(m.Quotes) != 1 || !strings.Contains(m.Quotes[0].Refused, "limit") {
		t.Fatalf("market: %+v %v", m, err)
	}
	if m, err = ada.Market(ctx, client.MarketRequest{Days: 30, MaxEgress: 1}); err != nil || len(m.Quotes) != 0 {
		t.Fatalf("market: %+v %v", m, err)
	}
}

func TestRelayAsksAndIsPaidWithinTheBudget(t *testing.T) {
	r := newShop(t)
	ada, bob := newPayer(t, "ada", r, 500_000), newPayer(t, "bob", r, 0)
	eve := newPayer(t, "eve", r, 500_000, func(c *client.Config) { c.Limits.BudgetSat = 0 })
	spend := func(p *person, had int) client.ContractInfo {
		c := p.opens(r, client.OpenRequest{Deposit: 100_000, Prepaid: 1000})
		p.meets(bob)
		for i := range 4 {
			p.sendRequest(client.SendRequest{To: "bob", MediaType: "application/octet-stream", Body: randomBytes(t, 900_000), MaxPulls: 1})
			eventually(t, "bob has it", func() bool { return len(bob.inbox()) == had+i+1 })
		}
		return c
	}
	c, e := spend(ada, 0), spend(eve, 4)
	eventually(t, "the relay asks and the agent pays by itself", func() bool { return ada.contract(c.ID).Paid > c.Paid })
	a, err := ada.Audit(t.Context(), c.ID)
	if err != nil || a.Paid > a.Usage.Owed.CeilSat()+c.ContractPrice {
		t.Fatalf("audit: %+v %v", a, err)
	}
	// Without a budget nothing is paid; the request is shown, and paid when the user says so.
	var left client.ContractInfo
	eventually(t, "eve is asked", func() bool { left = eve.contract(e.ID); return left.Asked > left.Paid })
	if left.Paid != e.Paid || !strings.Contains(left.Sentence, "asks for") {
		t.Fatalf("asked: %+v", left)
	}
	_, err = eve.ContractPay(t.Context(), e.ID, 0)
	wantCode(t, err, code.LimitExceeded)
	p, err := eve.ContractPay(t.Context(), e.ID, left.Asked)
	if err != nil || p.Paid > left.Asked || p.Added == 0 {
		t.Fatalf("paid: %+v %v", p, err)
	}
	more, err := eve.ContractPrepay(t.Context(), e.ID, 700)
	if err != nil || more.Added != 700 || more.Paid != p.Paid+700 {
		t.Fatalf("prepaid: %+v %v", more, err)
	}
	_, err = eve.ContractPrepay(t.Context(), e.ID, 1_000_000)
	wantCode(t, err, code.EscrowUsedUp)
	if !strings.Contains(err.Error(), "contract renew "+e.ID.String()[:12]+" --deposit ") {
		t.Fatalf("%v says no way on", err)
	}
}

// TestCloseKeepingLetsReceiversRead: who closes and pays for what is stored leaves nobody without it: a
// receiver who was away reads it when the contract is long closed, and the books balance.
func TestCloseKeepingLetsReceiversRead(t *testing.T) {
	r := newShop(t)
	ada, bob := newPayer(t, "ada", r, 300_000), newPerson(t, "bob")
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000})
	ada.meets(bob)
	ada.sendRequest(client.SendRequest{To: "bob", MediaType: "application/octet-stream", Body: randomBytes(t, 300_000), MaxPulls: 1})
	before := ada.contract(c.ID)
	closed, err := ada.ContractClose(t.Context(), c.ID, client.CloseKeeping)
	if err != nil {
		t.Fatal(err)
	}
	closed = ada.awaits(closed.ID, "closed")
	pays := closed.RelayPayout + closed.CloseFee
	if least := c.ContractPrice + (before.Owed + before.Reserved).CeilSat(); before.Reserved == 0 || pays < least || pays > least+1 {
		t.Fatalf("the close pays %d, used and reserved were %d: %+v", pays, least, closed)
	}
	if i, err := ada.Identity(t.Context()); err != nil || len(i.Relays) != 1 {
		t.Fatalf("ada's document names %d relays: %v", len(i.Relays), err)
	}
	bob.run()
	eventually(t, "bob has it", func() bool { return len(bob.inbox()) == 1 })
}

func TestRelayOffersToClose(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 300_000)
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000})
	if _, err := r.CloseContract(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	closed, err := ada.ContractClose(t.Context(), c.ID, client.CloseRequest)
	if err != nil {
		t.Fatal(err)
	}
	closed = ada.awaits(closed.ID, "closed")
	if closed.ClosedBy != "close" || closed.ClosePath != "key-path" || closed.Paid != c.ContractPrice || closed.ClientPayout != closed.Deposit-c.ContractPrice {
		t.Fatalf("closed: %+v", closed)
	}
}

// TestRelayOffersToCloseForMore: what is used and not paid is the user's to agree to. The relay's offer
// stands; accepting it goes by the key path, at the user's word.
func TestRelayOffersToCloseForMore(t *testing.T) {
	r := newShop(t)
	ada, bob := newPayer(t, "ada", r, 300_000), newPayer(t, "bob", r, 0)
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000})
	eventually(t, "ada's document names her relay", func() bool {
		i, err := ada.Identity(t.Context())
		return err == nil && len(i.Relays) == 1
	})
	ada.meets(bob)
	ada.sendRequest(client.SendRequest{To: "bob", MediaType: "application/octet-stream", Body: randomBytes(t, 600_000), MaxPulls: 1})
	eventually(t, "bob has it", func() bool { return len(bob.inbox()) == 1 })
	eventually(t, "it is billed", func() bool {
		a, err := ada.Audit(t.Context(), c.ID)
		return err == nil && a.Due > c.Paid && a.Classes["A"].Rows == 2
	})
	st, err := r.CloseContract(t.Context(), c.ID)
	if err != nil || st.State != "closing" {
		t.Fatalf("%+v %v", st, err)
	}
	if st, err = r.CloseContract(t.Context(), c.ID); err != nil || st.Txid != "" {
		t.Fatalf("closed without the client's word: %+v %v", st, err)
	}
	closed, err := ada.ContractClose(t.Context(), c.ID, client.CloseRequest)
	if err != nil {
		t.Fatal(err)
	}
	closed = ada.awaits(closed.ID, "closed")
	if closed.ClosePath != "key-path" || closed.ClientPayout >= closed.Deposit-c.Paid {
		t.Fatalf("closed: %+v", closed)
	}
}

// TestRelayClosesWhileTheClientIsAway: the offer waits for it, by the leaf or by the key path.
func TestRelayClosesWhileTheClientIsAway(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 300_000)
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000})
	ada.halt()
	ada.close()
	eventually(t, "the relay offers a close", func() bool {
		st, err := r.CloseContract(t.Context(), c.ID)
		return err == nil && st.State == "closing"
	})
	ada.reopen()
	ada.run()
	closed, err := ada.ContractClose(t.Context(), c.ID, client.CloseRequest)
	if err != nil {
		t.Fatal(err)
	}
	if closed = ada.awaits(closed.ID, "closed"); closed.ClosedBy != "close" || closed.RelayPayout == 0 {
		t.Fatalf("closed: %+v", closed)
	}
}

func TestRelayVanishesAndTheEscrowComesBack(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 300_000)
	c := ada.opens(r, client.OpenRequest{Deposit: 100_000, Duration: 30})
	_, err := ada.ContractRefund(t.Context(), c.ID, 2)
	if err == nil {
		t.Fatal("a refund before expiry")
	}
	r.stop()
	mine(t, int(c.ExpiryHeight-c.TipHeight))
	back := ada.awaits(c.ID, "closed")
	if back.ClosedBy != "refund" || back.RelayPayout != 0 || back.ClientPayout+back.CloseFee != back.Deposit {
		t.Fatalf("refunded: %+v", back)
	}
}

func TestUnconfirmedOpeningIsCancelled(t *testing.T) {
	r := newShop(t)
	ada := newPayer(t, "ada", r, 300_000)
	c, err := ada.ContractOpen(t.Context(), client.OpenRequest{Relay: r.Key(), Deposit: 100_000, Duration: 30})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = ada.ContractCancel(t.Context(), c.ID, 20); err != nil || c.State != "cancelling" || c.Sentence == "" {
		t.Fatalf("%+v %v", c, err)
	}
	ada.awaits(c.ID, "failed")
	eventually(t, "the coins are back", func() bool {
		b, err := ada.WalletBalance(t.Context())
		return err == nil && b.Leased == 0 && b.Confirmed > 290_000
	})
	if _, err := ada.ContractCancel(t.Context(), c.ID, 20); code.Of(err) != code.BadState {
		t.Fatal(err)
	}
}
