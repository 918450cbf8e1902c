package relay_test

import (
	"context"
	"testing"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

// TestContractPaysForItsOwnerOnly: an order must be its payer's, name the terms that were signed, and
// fit into what is paid; the log is shown to the payer alone; a new payment makes room again.
func TestContractPaysForItsOwnerOnly(t *testing.T) {
	cfg := dear(t)
	cfg.Offer.CreditLimit = 0
	r := start(t, t.TempDir(), cfg)
	p, bob := newPayer(t, r), newPerson(t, r)
	early, err := p.runner.Open(t.Context(), p.opening(300_000, 8_000), p.exchange)
	if err != nil {
		t.Fatal(err)
	}
	write := func(who *person, change func(*usage.StoreOrder)) error {
		_, err := call[*message.Written](who, who.draftOn(change, once, bob.key.Public(), noise(3000)))
		return err
	}
	if err := write(p.person, on(early)); code.Of(err) != code.NoFunds && code.Of(err) != code.ContractUnknown {
		t.Errorf("a write before the funding is confirmed: %v", err)
	}
	p.mine(int(early.Terms().Depth))
	p.until("the contract is in service", func() bool { return p.state(early.ID()).State == "active" })
	c, _ := p.runner.ByNonce(early.Nonce())

	// 8,000 sat are prepaid: two records with one pull each fit, at about 3,000 sat a pull.
	for range 2 {
		if err := write(p.person, on(c)); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(p.person, on(c)); code.Of(err) != code.NoFunds {
		t.Errorf("a write beyond what is paid: %v", err)
	}
	if got := p.state(c.ID()); got.Rows != 2 || got.Owed+got.Reserved > 8_000_000 {
		t.Errorf("the account: %+v", got)
	}
	for name, x := range map[string]struct {
		who    *person
		change func(*usage.StoreOrder)
		want   []code.Code
	}{
		"somebody else's": {bob, on(c), []code.Code{code.ContractUnknown, code.Forbidden}},
		"other terms":     {p.person, func(o *usage.StoreOrder) { on(c)(o); o.Terms[0] ^= 1 }, []code.Code{code.TermsMismatch}},
		"a low limit":     {p.person, func(o *usage.StoreOrder) { on(c)(o); o.MaxMsat = 1 }, []code.Code{code.OrderMismatch}},
		"no such one":     {p.person, func(o *usage.StoreOrder) { on(c)(o); o.Contract[0] ^= 1 }, []code.Code{code.ContractUnknown}},
	} {
		if got := code.Of(write(x.who, x.change)); got != x.want[0] && got != x.want[len(x.want)-1] {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
	if _, err := call[*message.UsageReport](bob, &message.RequestUsage{Contract: c.ID(), Fresh: true}); code.Of(err) != code.ContractUnknown {
		t.Errorf("a stranger asks for the log: %v", err)
	}
	if a := must[*message.AccountInfo](bob, &message.Account{}); len(a.Contracts) != 0 {
		t.Errorf("a stranger sees %d contracts", len(a.Contracts))
	}

	if _, err := p.runner.Pay(t.Context(), c.ID(), c.Paid()+4_000, identity.Digest{}, p.exchange); err != nil {
		t.Fatal(err)
	}
	if err := write(p.person, on(c)); err != nil {
		t.Errorf("a write after a payment: %v", err)
	}
}

// TestCloseEndsServiceAndTakesWhatIsDue: a client cannot close for less than it owes; after a close for
// what was used nothing more is stored, and nothing served that the close does not pay for: its
// receiver is denied it with the client's own close as the reason. The transaction pays what was agreed.
func TestCloseEndsServiceAndTakesWhatIsDue(t *testing.T) {
	t.Run("by leaf", func(t *testing.T) { closesForWhatIsDue(t, (*runner.Runner).Close, false) })
	t.Run("by key path", func(t *testing.T) { closesForWhatIsDue(t, (*runner.Runner).CloseByKey, true) })
}

// wayToClose is a close at the client's wish.
type wayToClose func(*runner.Runner, context.Context, usage.ContractID, usage.Sat, uint64, runner.Exchange) (contract.Contract, error)

func closesForWhatIsDue(t *testing.T, shut wayToClose, byKey bool) {
	r := start(t, t.TempDir(), dear(t))
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	w := p.draftOn(on(c), nil, bob.key.Public(), noise(1000))
	must[*message.Written](p.person, w)
	if _, _, err := bob.read(bob.request(digestOf(t, w, 0), 1<<20)); err != nil {
		t.Fatal(err)
	}
	m := p.due(c.ID())
	if m <= c.Paid() {
		t.Fatalf("%d sat are due of a contract that was used", m)
	}
	rate := c.Terms().SettleFeeRate
	if _, err := shut(p.runner, t.Context(), c.ID(), c.Paid(), rate, p.exchange); code.Of(err) != code.PaymentTooLow {
		t.Errorf("a close that pays nothing of what is due: %v", err)
	}
	var said identity.Digest
	if _, err := shut(p.runner, t.Context(), c.ID(), m, rate, p.hearing(&said)); err != nil {
		t.Fatal(err)
	}
	if _, err := call[*message.Written](p.person, p.draftOn(on(c), once, bob.key.Public(), noise(10))); code.Of(err) != code.NoFunds {
		t.Errorf("a write after the close: %v", err)
	}
	if _, d, err := bob.read(bob.request(digestOf(t, w, 0), 1<<20)); err != nil || d == nil || d.Reason != usage.ReasonSuspended ||
		len(d.Evidence) != 1 || d.Evidence[0] != said {
		t.Errorf("a read after the close: %+v %v", d, err)
	}
	p.mine(4)
	p.until("the close is final", func() bool { return p.state(c.ID()).State == "closed" })
	k, err := p.runner.Contract(c.ID())
	if err != nil {
		t.Fatal(err)
	}
	if s, _, ok := k.Spend(); !ok || s.KeyPath != byKey || s.Relay+s.Fee != m || s.Relay+s.Fee+s.Client != 200_000 {
		t.Errorf("the close: %+v, due were %d", s, m)
	}
}

// hearing is exchange that notes the digest of what is said last.
func (p *payer) hearing(d *identity.Digest) runner.Exchange {
	return func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		h, err := identity.PeekHeader(s.Statement)
		if err != nil {
			return identity.Signed{}, err
		}
		*d = identity.StatementDigest(h.Type, s.Statement)
		return p.exchange(ctx, s)
	}
}

// TestCloseThatPaysKeepsTheRecords: a close that pays for all that was accepted ends writes only: what
// is stored is served to its end, also after a restart and when the close is final; its rows stay
// within what was paid.
func TestCloseThatPaysKeepsTheRecords(t *testing.T) {
	dir, cfg := t.TempDir(), dear(t)
	r := start(t, dir, cfg)
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	w := p.draftOn(on(c), once, bob.key.Public(), noise(1000), noise(500))
	must[*message.Written](p.person, w)
	acc := p.state(c.ID())
	all := c.Terms().ContractPrice + (acc.Owed + acc.Reserved).CeilSat()
	if _, err := p.runner.Close(t.Context(), c.ID(), all, c.Terms().SettleFeeRate, p.exchange); err != nil {
		t.Fatal(err)
	}
	if _, err := call[*message.Written](p.person, p.draftOn(on(c), once, bob.key.Public(), noise(10))); code.Of(err) != code.NoFunds {
		t.Errorf("a write after the close: %v", err)
	}
	if got := bob.denied(digestOf(t, w, 0)); got != 0 {
		t.Errorf("right after the close: denied for %d", got)
	}
	p.mine(4)
	p.until("the close is final", func() bool { return p.state(c.ID()).State == "closed" })
	r.stop()
	r = start(t, dir, cfg)
	p.connect(r)
	bob.connect(r)
	for i, want := range []usage.Reason{usage.ReasonCap, 0} {
		if got := bob.denied(digestOf(t, w, i)); got != want {
			t.Errorf("record %d after the close is final: denied for %d, not %d", i, got, want)
		}
	}
	if got := p.state(c.ID()); (got.Owed+got.Reserved).CeilSat() > all-c.Terms().ContractPrice || got.Rows != 3 {
		t.Errorf("%d rows for %d msat, with %d reserved", got.Rows, got.Owed, got.Reserved)
	}
}

// TestDeletedBeforeAClose: a sender who wants to leave and not to pay for what it keeps deletes that;
// what is left is then covered, even if it is deleted after the close.
func TestDeletedBeforeAClose(t *testing.T) {
	r := start(t, t.TempDir(), dear(t))
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	w := p.draftOn(on(c), once, bob.key.Public(), noise(3000))
	kept := p.draftOn(on(c), once, bob.key.Public(), noise(100))
	must[*message.Written](p.person, w)
	must[*message.Written](p.person, kept)
	acc := p.state(c.ID())
	most := c.Terms().ContractPrice + (acc.Owed + acc.Reserved).CeilSat()
	if _, err := p.runner.Close(t.Context(), c.ID(), most/2, c.Terms().SettleFeeRate, p.exchange); err != nil {
		t.Fatal(err)
	}
	if got := bob.denied(digestOf(t, kept, 0)); got != usage.ReasonSuspended {
		t.Errorf("the close pays for half: %d", got)
	}
	p.remove(digestOf(t, w, 0))
	if got := bob.denied(digestOf(t, kept, 0)); got != 0 {
		t.Errorf("what is left is covered: %d", got)
	}
}

// TestRelayKeepsWhatItPromised: a relay that ends a contract by its own will, with an offer to close or a
// settlement, has its receipts to answer for: it serves on.
func TestRelayKeepsWhatItPromised(t *testing.T) {
	r := start(t, t.TempDir(), dear(t))
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	w := p.draftOn(on(c), nil, bob.key.Public(), noise(1000))
	must[*message.Written](p.person, w)
	if _, err := r.CloseContract(t.Context(), c.ID()); err != nil {
		t.Fatal(err)
	}
	if got := bob.denied(digestOf(t, w, 0)); got != 0 {
		t.Errorf("after the relay's offer to close: denied for %d", got)
	}
	p.pushed()
	if _, err := p.runner.AcceptClose(t.Context(), c.ID(), c.Terms().Value); err != nil {
		t.Fatal(err)
	}
	p.mine(4)
	p.until("the close is final", func() bool { return p.state(c.ID()).State == "closed" })
	if got := bob.denied(digestOf(t, w, 0)); got != 0 {
		t.Errorf("after the relay's close: denied for %d", got)
	}
}

// due is what the relay's log says is to be paid in all.
func (p *payer) due(id usage.ContractID) usage.Sat {
	rep, _ := p.report(id)
	c, err := p.runner.Contract(id)
	if err != nil {
		p.t.Fatal(err)
	}
	return c.Terms().ContractPrice + rep.Owed.CeilSat()
}
