package contract

import (
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// copyOf is a backup of a party's record.
func (w *world) copyOf(p *party) string { return w.encode(p.c) }

// restore puts a backup back, and lets the party catch up with the chain.
func (w *world) restore(p *party, backup string) {
	w.t.Helper()
	c, err := DecodeContract([]byte(backup))
	if err != nil {
		w.t.Fatalf("restore: %v", err)
	}
	p.c, p.inbox = c, nil
	w.perform(p, p.c.Resume())
	for h := p.c.Tip() + 1; h <= w.chain.tip(); h++ {
		b := w.chain.blocks[h-w.chain.start-1]
		w.do(p, BlockConnected{Height: h, Hash: b.hash(), Txs: b.txs, Key: p.key, FeeRate: 2_000, Stamp: w.stamp()})
	}
	w.other(p).inbox = nil // what a restored party says again at once is not what is tested
}

// reconnect is the beginning of a session.
func (w *world) reconnect() {
	w.t.Helper()
	w.do(w.client, Reconnect{Stamp: w.stamp()})
	w.deliver()
}

// payTo pays n times, up to a sum.
func (w *world) payments(sums ...usage.Sat) {
	w.t.Helper()
	for _, s := range sums {
		w.pay(s)
	}
}

func (w *world) wantUpdate(n uint32, paid usage.Sat) {
	w.t.Helper()
	for _, p := range []*party{w.client, w.relay} {
		if p.c.Updates() != n || p.c.Paid() != paid {
			w.t.Fatalf("%s has update %d of %d sat, wanted %d of %d", p.role, p.c.Updates(), p.c.Paid(), n, paid)
		}
	}
	if w.client.c.Acknowledged() != n {
		w.t.Fatalf("acknowledged are %d of %d updates", w.client.c.Acknowledged(), n)
	}
}

// goesOn shows that the conversation works in both directions, to the end.
func (w *world) goesOn(t *testing.T, n uint32, paid usage.Sat) {
	t.Helper()
	w.wantStates(StateActive, StateActive)
	w.pay(paid + 1_000)
	w.do(w.relay, AskPayment{Amount: paid + 2_000, Stamp: w.stamp()})
	w.deliver()
	w.pay(paid + 2_000)
	w.wantUpdate(n+2, paid+2_000)
	w.do(w.relay, OfferClose{Amount: paid + 2_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.deliver()
	w.do(w.client, AcceptClose{Max: paid + 2_000, Key: w.client.key})
	w.finishAfter(t)
}

// TestFault27ClientRestoredFromAnOldBackup: it adopts its own newer signature and never pays less.
func TestFault27ClientRestoredFromAnOldBackup(t *testing.T) {
	w := active(t)
	w.payments(3_000, 4_000)
	backup := w.copyOf(w.client)
	w.payments(5_000, 6_000, 7_000, 8_000)
	w.mine(2)
	w.restore(w.client, backup)
	if w.client.c.Updates() != 3 {
		t.Fatal("the backup is not old")
	}
	w.reconnect()
	w.wantUpdate(7, 8_000)
	w.goesOn(t, 7, 8_000)
}

// TestFault28RelayRestoredFromAnOldBackup: the client returns the updates that the relay has lost.
func TestFault28RelayRestoredFromAnOldBackup(t *testing.T) {
	w := active(t)
	w.payments(3_000, 4_000)
	backup := w.copyOf(w.relay)
	w.payments(5_000, 6_000, 7_000, 8_000)
	w.mine(2)
	w.restore(w.relay, backup)
	if w.relay.c.Updates() != 3 {
		t.Fatal("the backup is not old")
	}
	w.reconnect()
	w.wantUpdate(7, 8_000)
	w.goesOn(t, 7, 8_000)
}

// TestFault29BothRestored: they agree on the highest update that either still has.
func TestFault29BothRestored(t *testing.T) {
	for _, x := range []struct {
		name          string
		client, relay int // after how many payments each was copied
	}{{"the client's is newer", 4, 2}, {"the relay's is newer", 1, 3}, {"the same", 2, 2}} {
		t.Run(x.name, func(t *testing.T) {
			w := active(t)
			var copies [2]string
			for i := range 6 {
				w.pay(usage.Sat(3_000 + 1_000*i))
				if i+1 == x.client {
					copies[0] = w.copyOf(w.client)
				}
				if i+1 == x.relay {
					copies[1] = w.copyOf(w.relay)
				}
			}
			w.restore(w.client, copies[0])
			w.restore(w.relay, copies[1])
			w.reconnect()
			most := max(x.client, x.relay)
			w.wantUpdate(uint32(most+1), usage.Sat(2_000+1_000*most))
			w.goesOn(t, uint32(most+1), usage.Sat(2_000+1_000*most))
		})
	}
}

// TestReconnectChangesNothingBetweenTheHonest: at any point of a life, and what is pending still works.
func TestReconnectChangesNothingBetweenTheHonest(t *testing.T) {
	w, s := countersigned(t)
	w.do(w.client, Reconnect{Stamp: w.stamp()}) // before the relay has the signatures
	w.deliver()
	if w.client.c.State() != StateSigned || w.relay.c.State() != StateOffered {
		t.Fatalf("%s, %s", w.client.c.State(), w.relay.c.State())
	}
	w.client.deaf = true
	w.do(w.relay, w.event(w.relay, w.open(s)))
	w.client.deaf = false
	w.reconnect() // the confirmation was lost: the standing shows what it would have said
	if w.client.c.Acknowledged() != 1 || w.client.c.State() != StateFunding || w.client.c.Pending() != nil {
		t.Fatalf("%+v", w.client.c.Summary())
	}
	w.mine(3)
	w.reconnect()
	w.relay.deaf = true
	w.do(w.client, Pay{Amount: 5_000, Key: w.client.key, Stamp: w.stamp()})
	w.relay.deaf = false
	w.reconnect()
	w.wantUpdate(2, 5_000) // rule (b)
	w.perform(w.client, w.client.c.Resume())
	w.deliver()
	w.goesOn(t, 2, 5_000)
	w.wantCode(w.client, Reconnect{Stamp: w.stamp()}, code.BadState)
}

// TestRuleDTwoUpdatesWithOneNumber: a client restored from a backup pays again before it has asked.
func TestRuleDTwoUpdatesWithOneNumber(t *testing.T) {
	for _, second := range []usage.Sat{4_500, 5_500} {
		w := active(t)
		w.pay(3_000)
		backup := w.copyOf(w.client)
		w.pay(5_000)
		w.restore(w.client, backup)
		w.relay.deaf = true
		w.do(w.client, Pay{Amount: second, Key: w.client.key, Stamp: w.stamp()})
		w.relay.deaf = false
		w.do(w.client, Reconnect{Stamp: w.stamp()})
		w.deliver()
		w.wantStates(StateFrozen, StateFrozen)
		for _, p := range []*party{w.client, w.relay} {
			why, paper := p.c.Frozen()
			s, err := identity.ParseSigned(paper)
			if err != nil || why != FrozenUpdate {
				t.Fatal(why, err)
			}
			if v := w.open(s); v.Header().From != p.c.Peer() {
				t.Fatal("the evidence is not the other side's")
			}
			if p.c.Paid() != max(second, 5_000) {
				t.Fatalf("the %s keeps %d of %d and 5000", p.role, p.c.Paid(), second)
			}
		}
		w.wantCode(w.client, Pay{Amount: 9_000, Key: w.client.key, Stamp: w.stamp()}, code.BadState)
		if w.relay.c.Service() {
			t.Fatal("service goes on")
		}
		w.do(w.client, Close{Amount: 6_000, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
		w.deliver()
		w.finishAfter(t)
	}
}

// TestRuleELogBehindTheReportedOne: a relay that shows less than it has reported, or something else.
func TestRuleELogBehindTheReportedOne(t *testing.T) {
	seen := Head{Epoch: 1, Size: 7, Root: identity.Tagged("root")}
	for _, x := range []struct {
		relay Head
		want  Freeze
	}{
		{Head{Epoch: 1, Size: 9, Root: identity.Tagged("later")}, NotFrozen},
		{seen, NotFrozen},
		{Head{Epoch: 1, Size: 6, Root: identity.Tagged("earlier")}, FrozenLog},
		{Head{Epoch: 2, Size: 9, Root: identity.Tagged("later")}, FrozenLog},
		{Head{}, FrozenLog},
		{Head{Epoch: 1, Size: 7, Root: identity.Tagged("other")}, FrozenFork},
	} {
		w := active(t)
		w.pay(5_000)
		w.relay.head, w.client.head = x.relay, seen
		w.do(w.client, Reconnect{Head: seen, Stamp: w.stamp()})
		w.deliver()
		if why, _ := w.client.c.Frozen(); why != x.want || w.client.c.Service() != (x.want == NotFrozen) {
			t.Fatalf("%+v: %s", x.relay, why)
		}
		w.wantUpdate(2, 5_000)
	}
}

// TestRuleFRelayRestoredFromBeforeTheOpening: the client shows the opening, and the relay is paid.
func TestRuleFRelayRestoredFromBeforeTheOpening(t *testing.T) {
	w := active(t)
	w.payments(3_000, 4_000)
	w.relay.c, w.relay.inbox = Contract{}, nil
	w.do(w.client, Reconnect{Opening: true, Stamp: w.stamp()})
	v := w.open(w.relay.inbox[0])
	w.wantCode(w.relay, w.event(w.relay, v), code.ContractUnknown)
	adopt := Adopt{Message: v, Key: KeyOf(w.relay.key), Tip: startHeight}
	wrong := adopt
	wrong.Key = KeyOf(w.client.key)
	w.wantCode(w.relay, wrong, code.BadKey)
	wrong = adopt
	wrong.KeyUsed = true
	w.wantCode(w.relay, wrong, code.BadKey)
	w.do(w.relay, adopt)
	w.restore(w.relay, w.copyOf(w.relay)) // catches up with the chain
	w.client.inbox = nil
	w.do(w.relay, w.event(w.relay, v))
	w.deliver()
	w.wantUpdate(3, 4_000)
	w.goesOn(t, 3, 4_000)
}

// TestAdoptRefuses what does not belong together.
func TestAdoptRefuses(t *testing.T) {
	w := active(t)
	w.do(w.client, Reconnect{Opening: true, Stamp: w.stamp()})
	good := w.open(w.relay.inbox[0])
	w.relay.c = Contract{}
	for name, x := range map[string]struct {
		change func(*Reestablish)
		want   code.Code
	}{
		"nothing shown":  {func(m *Reestablish) { m.Opening = nil }, code.NotFound},
		"wrong order":    {func(m *Reestablish) { m.Opening[0], m.Opening[2] = m.Opening[2], m.Opening[0] }, code.Malformed},
		"no answer":      {func(m *Reestablish) { m.Opening[1] = m.Opening[0] }, code.Malformed},
		"other nonce":    {func(m *Reestablish) { m.Nonce[0] ^= 1 }, code.ContractUnknown},
		"other contract": {func(m *Reestablish) { m.Contract[0] ^= 1 }, code.TermsMismatch},
		"another client": {func(m *Reestablish) { m.From = seedIdentity("eve").Public() }, code.WrongRecipient},
	} {
		m := *good.Message().(*Reestablish)
		m.Opening = append([][]byte(nil), m.Opening...)
		x.change(&m)
		raw, err := Encode(&m)
		if err != nil {
			t.Fatal(name, err)
		}
		by := w.client.id
		if m.From != by.Public() {
			by = seedIdentity("eve")
		}
		s, err := identity.SignOne(by, raw)
		if err != nil {
			t.Fatal(name, err)
		}
		_, _, err = w.relay.c.Apply(Adopt{Message: w.open(s), Key: KeyOf(w.relay.key), Tip: startHeight})
		if code.Of(err) != x.want {
			t.Errorf("%s: %v, wanted %s", name, err, x.want)
		}
	}
}

// TestNobodyInventsUpdates: a standing whose signatures are not the client's changes nothing.
func TestNobodyInventsUpdates(t *testing.T) {
	w := active(t)
	w.pay(5_000)
	forged := func(from *party, change func(*Reestablish)) Verified {
		m := from.c.standing(w.stamp(), Head{})
		change(m)
		raw, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		s, err := identity.SignOne(from.id, raw)
		if err != nil {
			t.Fatal(err)
		}
		return w.open(s)
	}
	for _, from := range []*party{w.client, w.relay} {
		to := w.other(from)
		w.wantCode(to, w.event(to, forged(from, func(m *Reestablish) { m.N, m.Amount = 9, 90_000 })), code.BadSignature)
		w.wantCode(to, w.event(to, forged(from, func(m *Reestablish) { m.N = 9; m.Amount = 200_000 })), code.BadAmount)
		w.wantCode(to, w.event(to, forged(from, func(m *Reestablish) { m.Amount = 4_000 })), code.BadSignature)
		w.wantCode(to, w.event(to, forged(from, func(m *Reestablish) { m.Contract[3] ^= 1 })), code.ContractUnknown)
		w.do(to, w.event(to, forged(from, func(m *Reestablish) { m.N = 1; m.Amount = 1_600; m.Heard = maxSeq })))
	}
	w.client.inbox, w.relay.inbox = nil, nil
	if why, _ := w.client.c.Frozen(); why != NotFrozen || w.relay.c.Paid() != 5_000 || w.client.c.Paid() != 5_000 {
		t.Fatal("a standing without the client's signature changed something")
	}
	w.wantCode(w.client, Pay{Amount: 6_000, Key: w.client.key, Stamp: w.stamp()}, code.LimitExceeded)
}

// TestReadyTellsOfAnotherChain: both sides announce the funding; a fork between them is refused.
func TestReadyTellsOfAnotherChain(t *testing.T) {
	w, s := countersigned(t)
	w.do(w.relay, w.event(w.relay, w.open(s)))
	w.deliver()
	w.mine(2)
	w.wantCode(w.client, AnnounceReady{w.stamp()}, code.NotDue)
	w.mine(1)
	w.do(w.client, AnnounceReady{w.stamp()})
	w.deliver() // the relay answers
	if !w.client.c.PeerReady() || !w.relay.c.PeerReady() || !w.relay.c.ReadySaid() {
		t.Fatal("not ready")
	}
	fork := w.client.c
	if _, err := DecodeContract([]byte(w.encode(fork))); err != nil {
		t.Fatal(err)
	}
	w.client.c.ready.block[0] ^= 1
	w.do(w.client, AnnounceReady{w.stamp()})
	v := w.open(w.relay.inbox[0])
	w.wantCode(w.relay, w.event(w.relay, v), code.StaleTip)
	w.do(w.relay, BlockDisconnected{w.relay.c.facts.fundedAt})
	if w.relay.c.PeerReady() || w.relay.c.ReadySaid() {
		t.Fatal("ready although the funding has left the chain")
	}
}

// TestReferencesOutliveLostAnswers: after one side has forgotten, sessions may begin and break again
// before anything else is said; what was said in between still finds its reference.
func TestReferencesOutliveLostAnswers(t *testing.T) {
	for name, restored := range map[string]func(*world) *party{
		"client": func(w *world) *party { return w.client },
		"relay":  func(w *world) *party { return w.relay },
	} {
		t.Run(name, func(t *testing.T) {
			w := active(t)
			w.payments(3_000)
			p := restored(w)
			backup := w.copyOf(p)
			w.payments(5_000, 6_000)
			w.restore(p, backup)
			w.reconnect()
			w.wantUpdate(4, 6_000)
			w.reconnect()
			w.do(w.relay, AskPayment{Amount: 7_000, Stamp: w.stamp()})
			w.deliver()
			if w.client.c.Asked().Amount != 7_000 {
				t.Fatal("the relay's request refers to what the client has forgotten")
			}
			for range 3 { // the answers to these are lost
				w.do(w.client, Reconnect{Stamp: w.stamp()})
				w.do(w.relay, w.event(w.relay, w.open(w.relay.inbox[0])))
				w.relay.inbox = nil
				w.client.inbox = nil
			}
			w.pay(7_000)
			w.wantUpdate(5, 7_000)
			w.goesOn(t, 5, 7_000)
		})
	}
}
