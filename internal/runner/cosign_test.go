package runner_test

import (
	"context"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

// pool is what waits at the node.
func (p *pair) pool() []*chainhash.Hash {
	p.t.Helper()
	all, err := p.node.Client().GetRawMempool()
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

// closed mines until both sides have booked the end, and gives it.
func (p *pair) closed(id usage.ContractID) contract.Spend {
	p.t.Helper()
	p.mine(4)
	a, b := p.client.wait(id, contract.StateClosed), p.relay.wait(id, contract.StateClosed)
	s, _, _ := a.Spend()
	if o, _, _ := b.Spend(); o != s || s.Client+s.Relay+s.Fee != a.Terms().Value {
		p.t.Fatalf("the client has %+v, the relay %+v", s, o)
	}
	return s
}

// wantKeyPath holds a closing transaction of the chain against what was planned: fee, shares, weight.
func (p *pair) wantKeyPath(s contract.Spend, plan contract.ClosePlan) {
	p.t.Helper()
	if s.Kind != contract.SpendClose || !s.KeyPath || s.Fee != plan.Fee || s.Client != plan.Client || s.Relay != plan.Relay {
		p.t.Fatalf("closed %+v, planned %+v", s, plan)
	}
	tx, err := p.node.Client().GetRawTransaction(&s.TxID)
	if err != nil {
		p.t.Fatal(err)
	}
	if w := blockchain.GetTransactionWeight(btcutil.NewTx(tx.MsgTx())); w != 616 || s.Fee != contract.FeeFor(2000, w) {
		p.t.Fatalf("weight %d, fee %d", w, s.Fee)
	}
}

func TestCloseByKeyPath(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	if _, err := p.client.r.Pay(t.Context(), c.ID(), 5000, identity.Digest{}, p.exchange); err != nil {
		t.Fatal(err)
	}
	got, err := p.client.r.CloseByKey(t.Context(), c.ID(), 5000, 2000, p.exchange)
	if err != nil {
		t.Fatal(err)
	}
	plan, ok := got.Closing()
	if !ok || plan.Client != 95_000 || plan.Relay+plan.Fee != 5000 {
		t.Fatalf("%+v", plan)
	}
	p.wantKeyPath(p.closed(c.ID()), plan)

	// The relay asks, and the client's side agrees by itself to what is paid already.
	c = p.openActive()
	request, err := p.relay.r.AskClose(t.Context(), c.ID(), c.Paid(), 2000)
	if err != nil {
		t.Fatal(err)
	}
	p.answer(request)
	got, err = p.relay.r.Contract(c.ID())
	if plan, ok = got.Closing(); err != nil || !ok {
		t.Fatalf("the relay is %s (%v)", got.State(), err)
	}
	p.wantKeyPath(p.closed(c.ID()), plan)

	// More than what is paid is not for the client's side to decide alone.
	c = p.openActive()
	if request, err = p.relay.r.AskClose(t.Context(), c.ID(), c.Paid()+1, 2000); err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.r.Receive(t.Context(), p.relay.key.Public(), request); code.Of(err) != code.LimitExceeded {
		t.Fatalf("%v", err)
	}
}

// answer has the client answer what the relay asks, and the relay take the answer.
func (p *pair) answer(request identity.Signed) {
	p.t.Helper()
	s, err := p.client.r.Receive(p.t.Context(), p.relay.key.Public(), request)
	if err == nil {
		_, err = p.relay.r.Receive(p.t.Context(), p.client.key.Public(), s)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// nonces are the public nonces of a request and an answer.
func nonces(t *testing.T, all ...identity.Signed) []contract.PubNonce {
	t.Helper()
	var out []contract.PubNonce
	for _, s := range all {
		m, err := contract.Decode(s.Statement)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *contract.CloseNonce:
			out = append(out, m.Nonce)
		case *contract.CloseSig:
			out = append(out, m.Nonce)
		}
	}
	return out
}

func distinct(t *testing.T, all []contract.PubNonce) {
	t.Helper()
	seen := map[contract.PubNonce]bool{}
	for _, n := range all {
		if seen[n] {
			t.Fatal("a nonce was used twice")
		}
		seen[n] = true
	}
}

// TestFault25NoNonceOutlivesACrash: a crash between contractCloseNonce and contractCloseSig, on either side,
// leads to a new session with a new nonce; nothing of the old one is left to sign with.
func TestFault25NoNonceOutlivesACrash(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	id, ctx := c.ID(), t.Context()
	var all []identity.Signed

	// The relay crashes after it has answered, and before the client hears of it.
	lost := func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		first, err := p.exchange(ctx, s)
		if err != nil {
			return first, err
		}
		p.relay.restart()
		if got, _ := p.relay.r.Contract(id); got.State() != contract.StateClosing {
			t.Fatalf("the relay, whose signature has left, is %s", got.State())
		}
		second, err := p.exchange(ctx, s) // the same request again
		all = append(all, s, first, second)
		if err != nil {
			t.Error(err)
		}
		return identity.Signed{}, code.New(code.Disconnected, "the line is cut")
	}
	if _, err := p.client.r.CloseByKey(ctx, id, c.Paid(), 2000, lost); code.Of(err) != code.Disconnected {
		t.Fatal(err)
	}

	// The client's session went with the line: no answer completes anything now, and after a crash neither.
	for range 2 {
		if _, err := p.client.r.Receive(ctx, p.relay.key.Public(), all[2]); code.Of(err) != code.NoSigningSession {
			t.Fatalf("an answer without a session: %v", err)
		}
		p.client.restart()
	}
	if n := len(p.pool()); n != 0 {
		t.Fatalf("%d transactions were broadcast", n)
	}
	got, err := p.client.r.CloseByKey(ctx, id, c.Paid(), 2000, func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		answer, err := p.exchange(ctx, s)
		all = append(all, s, answer)
		return answer, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 5 {
		t.Fatalf("%d statements", len(all))
	}
	distinct(t, nonces(t, all...))
	plan, _ := got.Closing()
	p.wantKeyPath(p.closed(id), plan)
}

// TestFault26BadPartialSignature: a relay answers with a share that does not fit. It is blamed, nothing is
// broadcast, and the leaf closes the contract.
func TestFault26BadPartialSignature(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	spoilt := func(change func(*contract.CloseSig)) runner.Exchange {
		return func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
			answer, err := p.exchange(ctx, s)
			if err != nil {
				return answer, err
			}
			m, err := contract.Decode(answer.Statement)
			if err != nil {
				return answer, err
			}
			change(m.(*contract.CloseSig))
			raw, err := contract.Encode(m)
			if err != nil {
				return answer, err
			}
			return identity.SignOne(p.relay.key, raw)
		}
	}
	for name, change := range map[string]func(*contract.CloseSig){
		"a bit":         func(m *contract.CloseSig) { m.Partial[7] ^= 4 },
		"another nonce": func(m *contract.CloseSig) { copy(m.Nonce[:33], m.Nonce[33:]) },
	} {
		got, err := p.client.r.CloseByKey(t.Context(), c.ID(), c.Paid(), 2000, spoilt(change))
		if code.Of(err) != code.BadPartial || got.State() != contract.StateActive || len(p.pool()) != 0 {
			t.Fatalf("%s: %v, the contract is %s", name, err, got.State())
		}
	}
	p.sessionsEnd(c)
	if _, err := p.client.r.Close(t.Context(), c.ID(), c.Paid(), 2000, p.exchange); err != nil {
		t.Fatal(err)
	}
	if s := p.closed(c.ID()); s.Kind != contract.SpendClose || s.KeyPath {
		t.Fatalf("%+v", s)
	}
}

// sessionsEnd: a session of the relay takes one answer, good or bad, and none once the client is gone.
func (p *pair) sessionsEnd(c contract.Contract) {
	p.t.Helper()
	ctx, client, relay := p.t.Context(), p.client.key.Public(), p.relay.key.Public()
	for name, spoil := range map[string]func(identity.Signed){
		"a bad answer": func(answer identity.Signed) {
			m, err := contract.Decode(answer.Statement)
			if err != nil {
				p.t.Fatal(err)
			}
			m.(*contract.CloseSig).Partial[30] ^= 1
			raw, err := contract.Encode(m)
			if err != nil {
				p.t.Fatal(err)
			}
			bad, err := identity.SignOne(p.client.key, raw)
			if err != nil {
				p.t.Fatal(err)
			}
			if _, err := p.relay.r.Receive(ctx, client, bad); code.Of(err) != code.BadPartial {
				p.t.Fatalf("a bad share: %v", err)
			}
		},
		"the end of the connection": func(identity.Signed) { p.relay.r.DropSignings(client) },
		"no answer in time":         func(identity.Signed) { p.relay.r.DropSigning(c.ID()) },
		"asking again": func(identity.Signed) {
			if _, err := p.relay.r.AskClose(ctx, c.ID(), c.Paid(), 2000); err != nil {
				p.t.Fatal(err)
			}
		},
	} {
		request, err := p.relay.r.AskClose(ctx, c.ID(), c.Paid(), 2000)
		if err != nil {
			p.t.Fatal(err)
		}
		p.relay.r.DropSignings(relay) // somebody else's connection
		answer, err := p.client.r.Receive(ctx, relay, request)
		if err != nil {
			p.t.Fatal(err)
		}
		spoil(answer)
		if _, err := p.relay.r.Receive(ctx, client, answer); code.Of(err) != code.NoSigningSession {
			p.t.Fatalf("an answer after %s: %v", name, err)
		}
	}
}

// TestFault39CloseRacedBySettlement: close and settlement spend the same output. Whichever the node has
// first stays; whichever confirms is booked by both sides.
func TestFault39CloseRacedBySettlement(t *testing.T) {
	p := newPair(t)
	settle := func(id usage.ContractID) error {
		_, err := p.relay.r.Settle(t.Context(), id)
		return err
	}
	// The relay agrees to the close, and settles before the client has its answer.
	racing := func(id usage.ContractID) runner.Exchange {
		return func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
			answer, err := p.exchange(ctx, s)
			if err == nil {
				err = settle(id)
			}
			return answer, err
		}
	}
	c := p.openActive()
	got, err := p.client.r.CloseByKey(t.Context(), c.ID(), c.Paid(), 2000, racing(c.ID()))
	if code.Of(err) != code.ChainRejected || got.State() != contract.StateClosing || len(p.pool()) != 1 {
		t.Fatalf("%v, the contract is %s", err, got.State())
	}
	p.mine(2) // the settlement, then the client's sweep
	if s := p.closed(c.ID()); s.Kind != contract.SpendSettlement || s.Relay+s.Fee != c.Paid() {
		t.Fatalf("%+v", s)
	}

	// A close at a higher rate takes the settlement's place in the mempool.
	c = p.openActive()
	if got, err = p.client.r.CloseByKey(t.Context(), c.ID(), c.Paid()+500, 5000, racing(c.ID())); err != nil {
		t.Fatal(err)
	}
	plan, _ := got.Closing()
	if all := p.pool(); len(all) != 1 || *all[0] != plan.Tx.TxHash() {
		t.Fatalf("the node has %v", all)
	}
	if s := p.closed(c.ID()); !s.KeyPath || s.Fee != plan.Fee {
		t.Fatalf("%+v", s)
	}

	// The close is there first: the settlement is refused.
	c = p.openActive()
	if _, err := p.client.r.CloseByKey(t.Context(), c.ID(), c.Paid(), 2000, p.exchange); err != nil {
		t.Fatal(err)
	}
	if err := settle(c.ID()); code.Of(err) != code.ChainRejected {
		t.Fatalf("the settlement: %v", err)
	}
	if s := p.closed(c.ID()); !s.KeyPath {
		t.Fatalf("%+v", s)
	}
}
