package client

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// pair is two agents without relays, each a contact of the other, and a relay's key.
type pair struct {
	t        *testing.T
	ada, bob *Agent
	relay    identity.PublicKey
}

func openAgent(t *testing.T, label string) *Agent {
	t.Helper()
	dir, c := t.TempDir(), DefaultConfig(identity.Regtest)
	c.Label = label
	if _, err := Init(dir, InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	a, err := Open(Options{Dir: dir, Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, ada: openAgent(t, "ada"), bob: openAgent(t, "bob")}
	k, err := identity.NewPrivateKey(bytes.Repeat([]byte{5}, 32))
	if err != nil {
		t.Fatal(err)
	}
	p.relay = k.Public()
	for _, x := range [][2]*Agent{{p.ada, p.bob}, {p.bob, p.ada}} {
		file, err := x[0].Export(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x[1].PutContact(t.Context(), file, ""); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// write seals something from ada to bob, as if it had been stored and were now read: the download
// of the message, which is the last of the drafts.
func (p *pair) write(kind store.Kind, c records.Content) *download {
	p.t.Helper()
	box, at := p.compose(kind, c)
	return p.enqueue(box, at)
}

func (p *pair) compose(kind store.Kind, c records.Content) (parcel, identity.UnixMilli) {
	p.t.Helper()
	to, err := p.ada.store.Contact(p.t.Context(), p.bob.Key())
	if err != nil {
		p.t.Fatal(err)
	}
	d, err := p.ada.documentOf(to)
	if err != nil {
		p.t.Fatal(err)
	}
	at := p.ada.nowMilli()
	box, err := p.ada.compose(p.t.Context(), letter{to: to, content: c, kind: kind, ttl: 7200}, d, at)
	if err != nil {
		p.t.Fatal(err)
	}
	return box, at
}

func (p *pair) enqueue(box parcel, at identity.UnixMilli) *download {
	p.t.Helper()
	o, err := p.ada.order(box.drafts, payer{relay: p.relay}, at)
	if err != nil {
		p.t.Fatal(err)
	}
	o.Epochs = []records.SendEpoch{box.epoch}
	if err := p.ada.store.Enqueue(p.t.Context(), at, o); err != nil {
		p.t.Fatal(err)
	}
	last := o.Records[len(o.Records)-1].Record
	return p.download(last)
}

func (p *pair) download(r records.Record) *download {
	p.t.Helper()
	w := wish{record: r.Digest(), from: p.ada.Key(), size: r.StoredBytes()}
	raw, err := p.bob.requestStatement(p.relay, w, p.bob.nowMilli())
	if err != nil {
		p.t.Fatal(err)
	}
	q, err := identity.SignOne(p.bob.home.Key(), raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return &download{wish: w, request: q, header: r.Signed().Bytes(), content: slices.Clone(r.Content())}
}

func (p *pair) arrive(d *download) {
	p.t.Helper()
	if _, _, err := p.bob.arrived(p.t.Context(), p.relay, d); err != nil {
		p.t.Fatal(err)
	}
}

// wantAcks checks what bob has to say to the relay and to ada; 0 is nothing.
func (p *pair) wantAcks(relay, sender usage.Verdict) {
	p.t.Helper()
	for name, x := range map[string]struct {
		want usage.Verdict
		list func(context.Context, identity.PublicKey, int) ([]store.PendingStatement, error)
		to   identity.PublicKey
	}{
		"relay":  {relay, p.bob.store.DeliveryAcks, p.relay},
		"sender": {sender, p.bob.store.SenderAcks, p.ada.Key()},
	} {
		all, err := x.list(p.t.Context(), x.to, 10)
		if err != nil {
			p.t.Fatal(err)
		}
		if x.want == 0 {
			if len(all) != 0 {
				p.t.Fatalf("%d acknowledgements wait for the %s", len(all), name)
			}
			continue
		}
		if len(all) != 1 {
			p.t.Fatalf("%d acknowledgements wait for the %s, not 1", len(all), name)
		}
		a, err := usage.OpenAcknowledgement(all[0].Signed)
		if err != nil || a.Verdict != x.want || a.To != x.to || a.Relay != p.relay {
			p.t.Fatalf("the %s is told %+v %v", name, a, err)
		}
	}
}

func text(s string) records.Content {
	return records.Content{MediaType: records.MediaText, Body: []byte(s)}
}

func TestArrivedWell(t *testing.T) {
	p := newPair(t)
	d := p.write(store.KindMessage, text("hello"))
	again := *d
	p.arrive(d)
	p.wantAcks(usage.VerdictOK, usage.VerdictOK)
	p.arrive(&again) // from another relay, say
	in, err := p.bob.Inbox(t.Context(), false)
	if err != nil || len(in) != 1 || in[0].Preview != "hello" {
		t.Fatalf("%+v %v", in, err)
	}
	if due, err := p.bob.store.AcksDue(t.Context()); err != nil || len(due) != 1 || due[0].Count != 1 {
		t.Fatalf("the sender is told twice: %+v %v", due, err)
	}
}

func TestArrivedSpoiled(t *testing.T) {
	p := newPair(t)
	d := p.write(store.KindMessage, text("hello"))
	good := *d
	good.content = slices.Clone(d.content)
	d.content[len(d.content)-1] ^= 1
	p.arrive(d)
	p.wantAcks(usage.VerdictBad, usage.VerdictBad)
	in, err := p.bob.Inbox(t.Context(), false)
	if err != nil || len(in) != 1 || in[0].State != StateBroken {
		t.Fatalf("%+v %v", in, err)
	}
	p.arrive(&good) // another relay has it whole
	if in, err = p.bob.Inbox(t.Context(), false); err != nil || len(in) != 1 || in[0].State != StateNew {
		t.Fatalf("%+v %v", in, err)
	}
}

func TestArrivedSomethingElse(t *testing.T) {
	p := newPair(t)
	d, other := p.write(store.KindMessage, text("one")), p.write(store.KindMessage, text("two"))
	d.header, d.content = other.header, other.content
	p.arrive(d)
	p.wantAcks(0, 0)
	if in, err := p.bob.Inbox(t.Context(), false); err != nil || len(in) != 0 {
		t.Fatalf("%+v %v", in, err)
	}
	if e, err := p.bob.store.Evidence(t.Context()); err != nil || len(e) != 1 || e[0].Relay != p.relay {
		t.Fatalf("evidence: %+v %v", e, err)
	}
}

// TestArrivedUnreadable: the relay delivered what was signed, so it is told OK; the sender is told
// nothing, because the message was not understood.
func TestArrivedUnreadable(t *testing.T) {
	p := newPair(t)
	d := p.write(store.KindMessage, text("hello"))
	keys, err := p.bob.store.SealingKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.bob.store.DeleteSealingKeys(t.Context(), []records.KeyID{keys[0].ID()}); err != nil {
		t.Fatal(err)
	}
	p.arrive(d)
	p.wantAcks(usage.VerdictOK, 0)
	in, err := p.bob.Inbox(t.Context(), false)
	if err != nil || len(in) != 1 || in[0].State != StateBroken {
		t.Fatalf("%+v %v", in, err)
	}
	_, err = p.bob.Read(t.Context(), d.record.String())
	if code.Of(err) != code.Undecryptable {
		t.Fatal(err)
	}
}

// TestArrivedAcknowledgements: only those count that their signer could give, and none is
// acknowledged itself.
func TestArrivedAcknowledgements(t *testing.T) {
	p := newPair(t)
	mine := p.write(store.KindMessage, text("hello"))
	back := &pair{t: t, ada: p.bob, bob: p.ada, relay: p.relay}
	_, good, err := p.bob.acknowledgements(p.relay, mine, p.ada.Key(), 10, usage.VerdictOK)
	if err != nil {
		t.Fatal(err)
	}
	toRelay, forged, err := p.ada.acknowledgements(p.relay, mine, p.ada.Key(), 10, usage.VerdictBad)
	if err != nil {
		t.Fatal(err)
	}
	send := func(acks ...identity.Signed) {
		body, err := records.AcknowledgementsBody(acks)
		if err != nil {
			t.Fatal(err)
		}
		back.arrive(back.write(store.KindAcknowledgements, records.Content{MediaType: records.MediaAcknowledgements, Body: body}))
	}
	state := func() string {
		out, err := p.ada.Outbox(t.Context())
		if err != nil || len(out) != 1 {
			t.Fatalf("%+v %v", out, err)
		}
		return out[0].State
	}
	send(forged, toRelay)
	if s := state(); s != StateQueued {
		t.Fatalf("a forged acknowledgement made the message %s", s)
	}
	send(good)
	if s := state(); s != StateAcknowledged {
		t.Fatalf("the message is %s", s)
	}
	if due, err := p.ada.store.AcksDue(t.Context()); err != nil || len(due) != 0 {
		t.Fatalf("acknowledgements are acknowledged: %+v %v", due, err)
	}
}

func TestArrivedIdentity(t *testing.T) {
	p := newPair(t)
	p.ada.cfg.Label = "ada the second"
	d, err := p.ada.ownDocument(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.arrive(p.write(store.KindIdentity, records.Content{MediaType: records.MediaIdentity, Body: records.IdentityBody(d.Signed())}))
	all, err := p.bob.Contacts(t.Context())
	if err != nil || len(all) != 1 || all[0].Label != "ada the second" {
		t.Fatalf("%+v %v", all, err)
	}
	// Somebody else's document does not come this way.
	b, err := p.bob.ownDocument(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.arrive(p.write(store.KindIdentity, records.Content{MediaType: records.MediaIdentity, Body: records.IdentityBody(b.Signed())}))
	if in, err := p.bob.Inbox(t.Context(), false); err != nil || len(in) != 0 {
		t.Fatalf("%+v %v", in, err)
	}
}

func TestSplitKeepsOrderAndLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := usage.DefaultLimits()
		l.MaxFrame = rapid.Uint32Range(usage.LimitMinFrame+1000, 1<<20).Draw(t, "frame")
		l.MaxContent = l.MaxFrame - usage.LimitMinFrame
		l.MaxBundle = rapid.Uint16Range(1, 20).Draw(t, "bundle")
		sizes := rapid.SliceOfN(rapid.IntRange(0, int(l.MaxContent)), 1, 40).Draw(t, "sizes")
		all := make([]draft, len(sizes))
		for i, n := range sizes {
			all[i] = draft{raw: []byte{byte(i)}, content: make([]byte, n)}
		}
		runs, err := split(all, l)
		if err != nil {
			t.Fatal(err)
		}
		next := byte(0)
		for _, run := range runs {
			sum := 0
			for _, d := range run {
				if d.raw[0] != next {
					t.Fatal("the order changed")
				}
				next++
				sum += len(d.raw) + len(d.content)
			}
			if len(run) == 0 || len(run) > int(l.MaxBundle) || sum+frameRoom > int(l.MaxFrame) {
				t.Fatalf("a run of %d records and %d bytes", len(run), sum)
			}
		}
		if int(next) != len(all) {
			t.Fatalf("%d of %d", next, len(all))
		}
	})
}

func TestChoosePayer(t *testing.T) {
	facts := []usage.RecordFacts{{Stored: 1 << 20, Expiry: 1_000_000_000, MaxPulls: 3}}
	dear := payer{relay: identity.PublicKey{1}, contract: usage.ContractID{1}, prices: usage.Prices{EgressMsatPerGiB: 1 << 30}, funds: 1 << 40, limits: usage.DefaultLimits()}
	cheap := dear
	cheap.relay, cheap.prices.EgressMsatPerGiB = identity.PublicKey{2}, 1<<20
	poor := cheap
	poor.relay, poor.funds = identity.PublicKey{3}, 1
	away := cheap
	away.relay, away.fault = identity.PublicKey{4}, code.New(code.Disconnected, "away")
	free := payer{relay: identity.PublicKey{5}, free: 1 << 20, limits: usage.DefaultLimits()}
	short := cheap
	short.relay, short.limits.MaxTTL = identity.PublicKey{6}, 3600
	for _, c := range []struct {
		name  string
		all   []payer
		limit usage.Msat
		want  byte
		err   code.Code
	}{
		{name: "cheapest", all: []payer{dear, cheap}, want: 2},
		{name: "with funds", all: []payer{poor, dear}, want: 1},
		{name: "reachable before cheap", all: []payer{away, dear}, want: 1},
		{name: "away if there is no other", all: []payer{away, poor}, want: 4},
		{name: "long enough before cheap", all: []payer{short, dear}, want: 1},
		{name: "not long enough", all: []payer{short}, err: code.BadArgument},
		{name: "too poor", all: []payer{poor}, err: code.NoFunds},
		{name: "too little allowance", all: []payer{free}, err: code.AllowanceUsed},
		{name: "above the limit", all: []payer{dear}, limit: 1000, err: code.LimitExceeded},
		{name: "nobody", err: code.NoRelay},
	} {
		p, cost, err := choose(c.all, facts, 1_000_000, c.limit)
		if code.Of(err) != c.err || err == nil && (p.relay[0] != c.want || cost == 0) {
			t.Errorf("%s: relay %d for %d msat, %v", c.name, p.relay[0], cost, err)
		}
	}
}

func TestLives(t *testing.T) {
	all := []payer{{}, {}, {}}
	all[0].limits.MaxTTL, all[1].limits.MaxTTL, all[2].limits.MaxTTL = 3600, 365*86400, 86400
	if got := lives(0, all); !slices.Equal(got, []uint32{defaultTTL, 86400, 3600}) {
		t.Error(got)
	}
	if got := lives(7200, all); !slices.Equal(got, []uint32{7200}) {
		t.Error(got)
	}
}

func TestMatcher(t *testing.T) {
	d := identity.Digest{0xab, 0xcd, 0xef, 0x01, 0x23}
	for id, want := range map[string]bool{"abcdef01": true, "ABCDEF0123": true, "abcdef02": false, d.String(): true} {
		fits, err := matcher(id)
		if err != nil || fits(d, records.Header{}) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{"", "abcdef0", "abcdef0x", "/a/b/c"} {
		if _, err := matcher(id); err == nil {
			t.Errorf("%q is taken", id)
		}
	}
}
