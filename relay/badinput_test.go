package relay_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
	"relaymarket/records"
	"relaymarket/usage"
)

// spoil changes the parts that a write is made of before they are signed.
type spoil struct {
	order   func(*usage.StoreOrder)
	record  func(*records.Draft)
	content func([]byte) []byte // what is sent, after the record was signed over the original
	bundle  func([]byte) []byte // the signed bytes
}

// spoiled makes a write of one record with a fault in it.
func (p *person) spoiled(to identity.PublicKey, s spoil) *message.Write {
	p.t.Helper()
	content := []byte("sealed, for all the relay knows")
	id, err := records.NewID(rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	d := records.Draft{Network: identity.Regtest, From: p.key.Public(), To: to, ID: id, Time: now(), Serial: serial(), TTL: 7200}
	if s.record != nil {
		s.record(&d)
	}
	raw, err := d.Statement(content)
	if err != nil {
		p.t.Fatal(err)
	}
	digest := identity.StatementDigest(identity.TypeRecord, raw)
	order := usage.StoreOrder{
		Header: p.header(identity.TypeStoreOrder), N: 1, Root: identity.Root([]identity.Digest{digest}),
		TotalBytes: usage.BillableBytes(len(raw), len(content)), NotAfter: now() + 60_000,
	}
	if s.order != nil {
		s.order(&order)
	}
	oraw, err := order.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	out := &message.Write{Contents: [][]byte{content}}
	if s.content != nil {
		out.Contents[0] = s.content(content)
	}
	if d.Network == order.Network && d.From == order.From {
		b, err := identity.SignBundle(p.key, oraw, raw)
		if err != nil {
			p.t.Fatal(err)
		}
		out.Bundles = [][]byte{b.Bytes()}
	} else {
		for _, r := range [][]byte{oraw, raw} {
			b, err := identity.SignBundle(p.key, r)
			if err != nil {
				p.t.Fatal(err)
			}
			out.Bundles = append(out.Bundles, b.Bytes())
		}
	}
	if s.bundle != nil {
		out.Bundles[0] = s.bundle(out.Bundles[0])
	}
	return out
}

// TestBadInputWrites sends writes with one fault each: every one is answered with its code, and
// nothing of it is stored.
func TestBadInputWrites(t *testing.T) {
	cfg := config(node(t))
	cfg.Offer.MaxTTLDays = 30
	r := start(t, t.TempDir(), cfg)
	bob := newPerson(t, r)
	stranger, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		want  code.Code
		spoil spoil
	}{
		"flipped signature":   {code.BadSignature, spoil{bundle: func(b []byte) []byte { b[3] ^= 1; return b }}},
		"flipped statement":   {code.BadSignature, spoil{bundle: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }}},
		"garbage bundle":      {code.Malformed, spoil{bundle: func(b []byte) []byte { return b[:40] }}},
		"truncated bundle":    {code.Malformed, spoil{bundle: func(b []byte) []byte { return b[:len(b)-1] }}},
		"trailing byte":       {code.Malformed, spoil{bundle: func(b []byte) []byte { return append(b, 0) }}},
		"wrong content":       {code.BadContent, spoil{content: func(b []byte) []byte { return append([]byte("x"), b[1:]...) }}},
		"shorter content":     {code.BadContent, spoil{content: func(b []byte) []byte { return b[:5] }}},
		"foreign relay":       {code.WrongRecipient, spoil{order: func(o *usage.StoreOrder) { o.To = stranger.Public() }}},
		"wrong network order": {code.WrongNetwork, spoil{order: func(o *usage.StoreOrder) { o.Network = identity.Mainnet }}},
		"wrong network":       {code.WrongNetwork, spoil{record: func(d *records.Draft) { d.Network = identity.Mainnet }}},
		"expired order":       {code.Expired, spoil{order: func(o *usage.StoreOrder) { o.NotAfter = now() - 1 }}},
		"order from tomorrow": {code.NotYet, spoil{order: func(o *usage.StoreOrder) { o.Time = now() + 86_400_000; o.NotAfter = o.Time }}},
		"record of tomorrow":  {code.NotYet, spoil{record: func(d *records.Draft) { d.Time = now() + 86_400_000 }}},
		"expired record":      {code.Expired, spoil{record: func(d *records.Draft) { d.Time = now() - 7_200_000 }}},
		"ttl too long":        {code.TooLarge, spoil{record: func(d *records.Draft) { d.TTL = 31 * 86400 }}},
		"order over nothing":  {code.OrderMismatch, spoil{order: func(o *usage.StoreOrder) { o.Root[0] ^= 1 }}},
		"order too small":     {code.OrderMismatch, spoil{order: func(o *usage.StoreOrder) { o.TotalBytes-- }}},
		"order of two":        {code.OrderMismatch, spoil{order: func(o *usage.StoreOrder) { o.N = 2 }}},
		"no such contract":    {code.ContractUnknown, spoil{order: func(o *usage.StoreOrder) { o.Contract, o.Terms = usage.ContractID{1}, identity.Digest{2} }}},
	} {
		t.Run(name, func(t *testing.T) {
			ada := newPerson(t, r)
			ada.t = t
			_, err := call[*message.Written](ada, ada.spoiled(bob.key.Public(), c.spoil))
			if code.Of(err) != c.want {
				t.Errorf("%v, want %v", err, c.want)
			}
			if got := must[*message.InventoryPage](ada, &message.Inventory{Role: message.RoleSender}); len(got.Rows) != 0 {
				t.Error("something was stored")
			}
			if a := must[*message.AccountInfo](ada, &message.Account{}); a.FreeUsed != 0 {
				t.Errorf("%d bytes were charged", a.FreeUsed)
			}
		})
	}
	if got := must[*message.InventoryPage](bob, &message.Inventory{Role: message.RoleReceiver}); len(got.Rows) != 0 {
		t.Fatalf("bob was sent %d records", len(got.Rows))
	}
}

// TestBadInputSamePathOtherDigest: the first write of a path wins, and the second is told so.
func TestBadInputSamePathOtherDigest(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	same := func(d *records.Draft) { d.ID = "the-same-id" }
	must[*message.Written](ada, ada.spoiled(bob.key.Public(), spoil{record: same}))
	_, err := call[*message.Written](ada, ada.spoiled(bob.key.Public(), spoil{record: same}))
	if code.Of(err) != code.Conflict {
		t.Fatalf("%v", err)
	}
	if got := must[*message.InventoryPage](bob, &message.Inventory{Role: message.RoleReceiver}); len(got.Rows) != 1 {
		t.Fatalf("%d records at one path", len(got.Rows))
	}
}

// TestBadInputForeignRecord: nobody stores what somebody else signed, unless it pays or wrote it.
func TestBadInputForeignRecord(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob, eve := newPerson(t, r), newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("ada's own"))
	if _, err := call[*message.Written](eve, w); code.Of(err) != code.Forbidden {
		t.Fatalf("%v", err)
	}
}

// TestBadInputAllowanceUsed: an identity without a contract gets its allowance and no more.
func TestBadInputAllowanceUsed(t *testing.T) {
	c := config(node(t))
	c.Offer.FreeBytesDay = 5000
	r := start(t, t.TempDir(), c)
	ada, bob := newPerson(t, r), newPerson(t, r)
	must[*message.Written](ada, ada.draft(bob.key.Public(), make([]byte, 500)))
	_, err := call[*message.Written](ada, ada.draft(bob.key.Public(), make([]byte, 1500)))
	if code.Of(err) != code.AllowanceUsed {
		t.Fatalf("%v", err)
	}
}

// TestBadInputReads: only the receiver reads, each request once, as often as the sender allows.
func TestBadInputReads(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob, eve := newPerson(t, r), newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("for bob"))
	must[*message.Written](ada, w)
	d := digestOf(t, w, 0)

	for name, p := range map[string]*person{"stranger": eve, "sender": ada} {
		_, denial, err := p.read(p.request(d, 1000))
		if denial != nil || code.Of(err) != code.NotFound {
			t.Errorf("%s: %v %v", name, denial, err)
		}
	}
	if _, _, err := eve.read(bob.request(d, 1000)); code.Of(err) != code.Forbidden {
		t.Errorf("bob's request in eve's session: %v", err)
	}
	if _, _, err := bob.read(bob.request(d, 3)); code.Of(err) != code.TooLarge {
		t.Errorf("a record larger than asked for: %v", err)
	}
	old := bob.readAt(d, now()-700_000)
	if _, _, err := bob.read(old); code.Of(err) != code.Expired {
		t.Errorf("an expired request: %v", err)
	}
	req := bob.request(d, 1000)
	for i := range 2 {
		if got, _, err := bob.read(req); err != nil || string(got) != "for bob" {
			t.Fatalf("presentation %d: %q %v", i, got, err)
		}
	}
	if _, _, err := bob.read(req); code.Of(err) != code.RequestReused {
		t.Errorf("the third presentation of a request: %v", err)
	}
	for range 2 {
		if _, _, err := bob.read(bob.request(d, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, denial, err := bob.read(bob.request(d, 1000)); err != nil || denial == nil || denial.Reason != usage.ReasonCap || len(denial.Evidence) != 3 {
		t.Errorf("beyond the cap: %+v %v", denial, err)
	}
}

// readAt makes a read request that was signed at another time.
func (p *person) readAt(record identity.Digest, at identity.UnixMilli) *message.Read {
	p.t.Helper()
	h := p.header(identity.TypeReadRequest)
	h.Time = at
	raw, err := usage.ReadRequest{Header: h, Record: record, MaxBytes: 1000, NotAfter: at + 600_000}.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := identity.SignBundle(p.key, raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return &message.Read{Requests: b.Bytes()}
}

// TestBadInputNobodyDeletesForOthers: only the sender deletes.
func TestBadInputNobodyDeletesForOthers(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("stays"))
	must[*message.Written](ada, w)
	raw, err := usage.Delete{Header: bob.header(identity.TypeDelete), Record: digestOf(t, w, 0)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := identity.SignBundle(bob.key, raw)
	if err != nil {
		t.Fatal(err)
	}
	out := must[*message.Deleted](bob, &message.Delete{Deletes: b.Bytes()})
	if c := out.Results[0].Code; c == code.OK {
		t.Fatal("the receiver deleted the sender's record")
	}
	if got, _, err := bob.read(bob.request(digestOf(t, w, 0), 1000)); err != nil || string(got) != "stays" {
		t.Fatalf("%q %v", got, err)
	}
}

// TestBadInputFrames throws bytes at an open session: each bad frame is answered or ends the
// session with a code, and the relay goes on serving others.
func TestBadInputFrames(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	bob := newPerson(t, r)
	a := r.OfferAddresses()[0]
	for name, frame := range map[string][]byte{
		"empty":     {},
		"short":     {0, 1},
		"garbage":   []byte(strings.Repeat("garbage", 100)),
		"oversized": make([]byte, 64<<10),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		conn, err := transport.Dial(ctx, transport.DialOptions{URL: a.URL, Pins: a.Pins})
		if err != nil {
			t.Fatal(err)
		}
		conn.SetLimit(64 << 10)
		_ = conn.Write(ctx, frame) // the relay may hang up while it is written
		for {
			if _, err = conn.Read(ctx); err != nil {
				break
			}
		}
		if ctx.Err() != nil {
			t.Errorf("%s: the relay did not end the connection", name)
		}
		cancel()
	}
	must[*message.InventoryPage](bob, &message.Inventory{Role: message.RoleReceiver})
}

// TestBadInputAnonymous: without a proven identity there is nothing to see but the offer.
func TestBadInputAnonymous(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	bob := newPerson(t, r)
	a := r.OfferAddresses()[0]
	anon, err := session.Dial(t.Context(), transport.DialOptions{URL: a.URL, Pins: a.Pins},
		session.Config{Relay: r.Key(), Genesis: genesis(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer anon.Close()
	if _, err := anon.Call(t.Context(), &message.GetOffer{}); err != nil {
		t.Errorf("offer: %v", err)
	}
	for _, m := range []message.Message{
		&message.Inventory{Role: message.RoleReceiver}, &message.GetIdentity{Key: bob.key.Public()}, &message.Account{},
	} {
		if _, err := anon.Call(t.Context(), m); code.Of(err) != code.Unauthorized {
			t.Errorf("%s: %v", m.Type(), err)
		}
	}
}

// TestBadInputWrongChain: a client of another chain is turned away in the handshake.
func TestBadInputWrongChain(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	key, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := r.OfferAddresses()[0]
	_, err = session.Dial(t.Context(), transport.DialOptions{URL: a.URL, Pins: a.Pins},
		session.Config{Key: key, Relay: r.Key(), Genesis: [32]byte{1}})
	if code.Of(err) != code.WrongNetwork {
		t.Fatalf("%v", err)
	}
}

// TestBadInputSamePathTwiceInOneOrder: nor can one order put two records at one path.
func TestBadInputSamePathTwiceInOneOrder(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	w := ada.draftOn(nil, func(d *records.Draft) { d.ID = "the-same-id" }, bob.key.Public(), []byte("one"), []byte("two"))
	if _, err := call[*message.Written](ada, w); code.Of(err) != code.Conflict {
		t.Fatalf("%v", err)
	}
	if n := ada.outbox(); n != 0 {
		t.Fatalf("%d records at one path", n)
	}
}
