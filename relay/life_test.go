package relay_test

import (
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/records"
	"relaymarket/usage"
)

// acknowledgement signs a delivery acknowledgement for a read.
func (p *person) acknowledgement(q *message.Read, record identity.Digest, size uint64, v usage.Verdict) *message.Acknowledge {
	p.t.Helper()
	b, err := identity.ParseBundle(q.Requests)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := usage.Acknowledgement{
		Header: p.header(identity.TypeAcknowledgement), Record: record, Bytes: size,
		Request: identity.StatementDigest(identity.TypeReadRequest, b.Statements[0]), Verdict: v, Relay: p.r.Key(),
	}.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := identity.SignBundle(p.key, raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return &message.Acknowledge{Acks: s.Bytes()}
}

// remove signs a delete and sends it.
func (p *person) remove(record identity.Digest) *message.Deleted {
	p.t.Helper()
	raw, err := usage.Delete{Header: p.header(identity.TypeDelete), Record: record}.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := identity.SignBundle(p.key, raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return must[*message.Deleted](p, &message.Delete{Deletes: b.Bytes()})
}

// denied reads and gives the reason of the denial; 0 if the record came.
func (p *person) denied(record identity.Digest) usage.Reason {
	p.t.Helper()
	_, d, err := p.read(p.request(record, 1<<20))
	if err != nil {
		p.t.Fatal(err)
	}
	if d == nil {
		return 0
	}
	return d.Reason
}

// TestPullsAreCapped: the sender's cap holds, the denial names what used it up, and the same request
// again is no further pull.
func TestPullsAreCapped(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	w := ada.draftOn(nil, func(d *records.Draft) { d.MaxPulls = 2 }, bob.key.Public(), noise(5000))
	must[*message.Written](ada, w)
	d := digestOf(t, w, 0)
	first := bob.request(d, 1<<20)
	for range 2 {
		if got, _, err := bob.read(first); err != nil || len(got) != 5000 {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
	}
	if _, _, err := bob.read(first); code.Of(err) != code.RequestReused {
		t.Errorf("one request a third time: %v", err)
	}
	if got := bob.denied(d); got != 0 {
		t.Errorf("the second pull: denied for %d", got)
	}
	_, denial, err := bob.read(bob.request(d, 1<<20))
	if err != nil || denial == nil || denial.Reason != usage.ReasonCap || len(denial.Evidence) != 2 {
		t.Errorf("the third pull: %+v %v", denial, err)
	}
	if rows := must[*message.InventoryPage](bob, &message.Inventory{Role: message.RoleReceiver}).Rows; len(rows) != 1 || rows[0].PullsLeft != 0 {
		t.Errorf("the inventory: %+v", rows)
	}
	if _, _, err := ada.read(ada.request(d, 1<<20)); code.Of(err) != code.NotFound {
		t.Errorf("the sender reads: %v", err)
	}
}

// TestDeleteOnAcknowledgement: only an OK for a read that took place deletes, and only a record whose
// sender wished so; the sender gets the receipt of it in the relay's answer to nobody else.
func TestDeleteOnAcknowledgement(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob, eve := newPerson(t, r), newPerson(t, r), newPerson(t, r)
	w := ada.draftOn(nil, func(d *records.Draft) { d.Flags = records.DeleteOnAck }, bob.key.Public(), noise(500))
	must[*message.Written](ada, w)
	d := digestOf(t, w, 0)
	q := bob.request(d, 1<<20)
	send := func(p *person, m *message.Acknowledge) (code.Code, bool) {
		t.Helper()
		a := must[*message.Acknowledged](p, m)
		return a.Results[0].Code, len(a.Receipts[0]) > 0
	}
	result := func(p *person, v usage.Verdict) (code.Code, bool) {
		t.Helper()
		return send(p, p.acknowledgement(q, d, 500, v))
	}
	if c, deleted := result(bob, usage.VerdictOK); c != code.NotFound || deleted {
		t.Errorf("an acknowledgement before the read: %v %v", c, deleted)
	}
	if _, _, err := bob.read(q); err != nil {
		t.Fatal(err)
	}
	if c, deleted := result(eve, usage.VerdictOK); c != code.NotFound || deleted {
		t.Errorf("an acknowledgement of a stranger: %v %v", c, deleted)
	}
	if c, deleted := result(bob, usage.VerdictBad); c != code.OK || deleted {
		t.Errorf("content is bad: %v %v", c, deleted)
	}
	if got := bob.denied(d); got != 0 {
		t.Fatalf("after a complaint the record is denied for %d", got)
	}
	q = bob.request(d, 1<<20)
	if _, _, err := bob.read(q); err != nil {
		t.Fatal(err)
	}
	ok := bob.acknowledgement(q, d, 500, usage.VerdictOK)
	for range 2 { // the same again is answered the same
		if c, deleted := send(bob, ok); c != code.OK || !deleted {
			t.Errorf("content is good: %v %v", c, deleted)
		}
	}
	if got := bob.denied(d); got != usage.ReasonDeleted {
		t.Errorf("after the delete: denied for %d", got)
	}
	if n := ada.outbox(); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// TestExpiryOnARunningRelay: what has ended is denied as such, and is gone from lists and disk.
func TestExpiryOnARunningRelay(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), noise(900_000))
	kept := ada.draftOn(nil, func(d *records.Draft) { d.TTL = 100_000 }, bob.key.Public(), noise(1000))
	must[*message.Written](ada, w)
	must[*message.Written](ada, kept)
	shift(t, 2*time.Hour+10*time.Second)
	work(t, r)
	if got := bob.denied(digestOf(t, w, 0)); got != usage.ReasonExpired {
		t.Errorf("after its end the record is denied for %d", got)
	}
	shift(t, 3*time.Hour)
	work(t, r)
	if n := ada.outbox(); n != 1 {
		t.Errorf("%d records are listed", n)
	}
	if got := bob.denied(digestOf(t, kept, 0)); got != 0 {
		t.Errorf("the other record is denied for %d", got)
	}
	m := showing(bob.request(digestOf(t, w, 0), 1000), header(t, w, 0).Statement)
	if _, no, err := bob.read(m); err != nil || no == nil || no.Reason != usage.ReasonNone {
		t.Errorf("after it was purged the record is denied for %+v %v", no, err)
	}
}

// TestDiskReserve: with the disk at the operator's reserve nothing new is stored, while reading,
// deleting, paying and closing go on.
func TestDiskReserve(t *testing.T) {
	dir, c := t.TempDir(), dear(t)
	r := start(t, dir, c)
	p, bob := newPayer(t, r), newPerson(t, r)
	k := p.open(200_000, 20_000)
	w := p.draftOn(on(k), nil, bob.key.Public(), noise(300), noise(400))
	must[*message.Written](p.person, w)
	r.stop()
	c.Store.ReserveMiB = 1 << 40 // more than any disk has
	r = start(t, dir, c)
	p.connect(r)
	bob.connect(r)
	if _, err := call[*message.Written](p.person, p.draftOn(on(k), nil, bob.key.Public(), noise(10))); code.Of(err) != code.DiskReserve {
		t.Errorf("a write: %v", err)
	}
	must[*message.Written](p.person, w) // what is stored is answered as before
	if got := bob.denied(digestOf(t, w, 0)); got != 0 {
		t.Errorf("a read is denied for %d", got)
	}
	if res := p.remove(digestOf(t, w, 1)); res.Results[0].Code != code.OK {
		t.Errorf("a delete: %+v", res.Results)
	}
	if _, err := p.runner.Pay(t.Context(), k.ID(), 30_000, identity.Digest{}, p.exchange); err != nil || p.state(k.ID()).Paid != 30_000 {
		t.Errorf("a payment: %v", err)
	}
	if _, err := p.runner.Close(t.Context(), k.ID(), 30_000, k.Terms().SettleFeeRate, p.exchange); err != nil {
		t.Errorf("a close: %v", err)
	}
	if _, err := call[*message.OK](bob, &message.PutIdentity{Document: bob.document()}); code.Of(err) != code.DiskReserve {
		t.Errorf("an identity document of a stranger: %v", err)
	}
}

// document is a signed Identity document.
func (p *person) document() []byte {
	p.t.Helper()
	s, err := identity.SignDocument(p.key, identity.Regtest, identity.Document{
		Label: "bob", Sequence: 1, Expires: now() + 86_400_000, Devices: 1, SealingKey: noise(1216),
	}, now(), serial())
	if err != nil {
		p.t.Fatal(err)
	}
	return s.Bytes()
}

// work does at once what the relay does every minute.
func work(t *testing.T, r *running) {
	t.Helper()
	if _, err := r.ConfirmClock(t.Context()); err != nil {
		t.Fatal(err)
	}
}
