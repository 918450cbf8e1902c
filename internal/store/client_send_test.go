package store

import (
	"bytes"
	"errors"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

func TestClientSendsUntilReceipted(t *testing.T) {
	m := newMarket(t)
	o := m.compose(t, 3)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	ok(t, m.c.Enqueue(cctx, cnow, o)) // the same again is nothing new

	m.restart(t)
	q := val(m.c.Queue(cctx, identity.PublicKey{}))(t)
	if len(q) != 1 || q[0].Order != o.Order.Digest() || q[0].State != OrderQueued || q[0].Records != 3 || q[0].Contract != m.contract {
		t.Fatalf("%+v", q)
	}
	if len(val(m.c.Queue(cctx, m.friend.Public()))(t)) != 0 {
		t.Fatal("another relay's queue")
	}
	w := val(m.c.QueuedWrite(cctx, q[0].Order))(t)
	for i, r := range o.Records {
		if !bytes.Equal(w.Contents[i], r.Record.Content()) || !w.Headers[i].Equal(r.Record.Signed()) {
			t.Fatal("another record")
		}
	}
	ok(t, m.c.MarkTried(cctx, cnow+1, q[0].Order, code.New(code.Busy, "later")))
	ok(t, m.c.MarkTried(cctx, cnow+2, q[0].Order, nil))
	m.restart(t)
	if q = val(m.c.Queue(cctx, m.relay.Public()))(t); q[0].Tries != 2 || q[0].State != OrderSent || q[0].Error != code.OK {
		t.Fatalf("%+v", q)
	}
	m.receipted(t, o)
}

// receipted saves the receipt and looks at what is left.
func (m *market) receipted(t *testing.T, o Outgoing) {
	r := m.receipt(t, o.Order)
	_, err := m.c.Receipt(cctx, o.Order.Digest())
	coded(t, err, code.NotFound)
	ok(t, m.c.SaveReceipt(cctx, r))
	ok(t, m.c.SaveReceipt(cctx, r))
	m.restart(t)
	if len(val(m.c.Queue(cctx, identity.PublicKey{}))(t)) != 0 || !val(m.c.Receipt(cctx, o.Order.Digest()))(t).Equal(r.Signed()) {
		t.Fatal("still waits, or the receipt is lost")
	}
	_, err = m.c.QueuedWrite(cctx, o.Order.Digest())
	coded(t, err, code.NotFound)
	sent := val(m.c.Outbox(cctx, 0, 10))(t)
	if len(sent) != 3 || sent[1].Stored != cnow || sent[2].Sequence != 3 || len(val(m.c.Outbox(cctx, sent[0].Seq, 1))(t)) != 1 {
		t.Fatalf("%+v", sent)
	}
	_, err = m.c.Sealed(cctx, sent[0].Digest)
	coded(t, err, code.NotFound)
	if plain := val(m.c.Plain(cctx, sent[0].Digest))(t); !bytes.Equal(plain, o.Records[0].Plain) {
		t.Fatal("the user's copy is gone")
	}
}

func TestClientRefusesForeignReceipts(t *testing.T) {
	m := newMarket(t)
	a, err := m.compose(t, 1), error(nil)
	r := m.receipt(t, a.Order)
	coded(t, m.c.SaveReceipt(cctx, r), code.NotFound)
	ok(t, m.c.Enqueue(cctx, cnow, a))
	wrong := r.Receipt
	wrong.StoredBytes++
	raw, err := wrong.Encode()
	v := val(usage.OpenReceipt(m.sign(t, m.relay, raw, err)))(t)
	coded(t, m.c.SaveReceipt(cctx, v), code.Conflict)
}

// TestClientNeverUsesACounterTwice: two compositions from one state, as two goroutines or a
// crash between sealing and saving would make them.
func TestClientNeverUsesACounterTwice(t *testing.T) {
	m := newMarket(t)
	ok(t, m.c.Enqueue(cctx, cnow, m.compose(t, 1)))
	a, b := m.compose(t, 2), m.compose(t, 1)
	ok(t, m.c.Enqueue(cctx, cnow, a))
	coded(t, m.c.Enqueue(cctx, cnow, b), code.StoreStale)
	e := val(m.c.SendEpoch(cctx, m.friend.Public()))(t)
	if e.Counter != 3 || len(val(m.c.Outbox(cctx, 0, 10))(t)) != 3 {
		t.Fatalf("counter %d", e.Counter)
	}
	m.restart(t) // a new run: a new epoch, while the conversation goes on
	c := m.compose(t, 1)
	ok(t, m.c.Enqueue(cctx, cnow, c))
	if c.Epochs[0].ID == e.ID || c.Records[0].Sequence != 4 {
		t.Fatal("the epoch of an earlier run goes on")
	}
	forgotten := m.compose(t, 1)
	forgotten.Epochs = nil
	coded(t, m.c.Enqueue(cctx, cnow, forgotten), code.BadState)
	// Outside of the conversation the epoch alone shows that a state is old.
	d, late := m.compose(t, 1), m.compose(t, 1)
	late.Records[0].Sequence = 0
	ok(t, m.c.Enqueue(cctx, cnow, d))
	coded(t, m.c.Enqueue(cctx, cnow, late), code.StoreStale)
	other := m.compose(t, 2)
	other.Order = m.order(t, other.Records[:1])
	coded(t, m.c.Enqueue(cctx, cnow, other), code.OrderMismatch)
}

func TestClientOrdersAgainAndMirrors(t *testing.T) {
	m := newMarket(t)
	o := m.compose(t, 2)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	again := Outgoing{Order: m.order(t, o.Records), Records: o.Records, Replaces: o.Order.Digest()}
	ok(t, m.c.Enqueue(cctx, cnow, again))
	m.restart(t)
	q := val(m.c.Queue(cctx, identity.PublicKey{}))(t)
	if len(q) != 1 || q[0].Order != again.Order.Digest() {
		t.Fatalf("%+v", q)
	}
	mirror := Outgoing{Order: m.order(t, o.Records[1:]), Records: o.Records[1:]}
	ok(t, m.c.Enqueue(cctx, cnow, mirror))
	ok(t, m.c.SaveReceipt(cctx, m.receipt(t, again.Order)))
	if w := val(m.c.QueuedWrite(cctx, mirror.Order.Digest()))(t); !bytes.Equal(w.Contents[0], o.Records[1].Record.Content()) {
		t.Fatal("the mirror's content is gone")
	}
	_, err := m.c.Sealed(cctx, o.Records[0].Record.Digest())
	coded(t, err, code.NotFound)
	ok(t, m.c.Abandon(cctx, mirror.Order.Digest()))
	_, err = m.c.Sealed(cctx, o.Records[1].Record.Digest())
	coded(t, err, code.NotFound)
	if got := len(val(m.c.Outbox(cctx, 0, 10))(t)); got != 2 {
		t.Fatalf("%d records in the outbox", got)
	}
	p := val(m.c.AuditPapers(cctx, m.contract))(t)
	if len(p.Orders) != 3 || p.Orders[1].Receipt.IsZero() || !p.Orders[0].Receipt.IsZero() || len(p.Orders[1].Records) != 2 {
		t.Fatalf("%+v", p.Orders)
	}
	if err := again.Order.Names(p.Orders[1].Records); err != nil {
		t.Fatal(err)
	}
}

func TestClientAcknowledgementsCoverOwnRecordsOnly(t *testing.T) {
	m := newMarket(t)
	o := m.compose(t, 2)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	first, second := o.Records[0].Record.Digest(), o.Records[1].Record.Digest()
	in := m.incoming(t)
	in.Kind = KindAcknowledgements
	in.Acks = []usage.VerifiedAcknowledgement{
		m.ack(t, m.friend, m.relay.Public(), first, usage.VerdictOK), // to the relay
		m.ack(t, m.relay, m.me.Public(), first, usage.VerdictOK),     // by somebody else
		m.ack(t, m.friend, m.me.Public(), in.Record.Digest(), 1),     // of a record that is not ours
		m.ack(t, m.friend, m.me.Public(), second, usage.VerdictBad),  // broken
		m.ack(t, m.friend, m.me.Public(), identity.Digest{9}, 1),     // of nothing
	}
	val(m.c.SaveReceived(cctx, cnow, in))(t)
	s := val(m.c.Sent(cctx, first))(t)
	if s.Verdict != 0 || val(m.c.Sent(cctx, second))(t).Verdict != usage.VerdictBad || val(m.c.SendEpoch(cctx, m.friend.Public()))(t).Acknowledged {
		t.Fatalf("%+v", s)
	}
	in = m.incoming(t)
	in.Acks = []usage.VerifiedAcknowledgement{m.ack(t, m.friend, m.me.Public(), second, usage.VerdictOK)}
	val(m.c.SaveReceived(cctx, cnow, in))(t)
	m.restart(t)
	if s := val(m.c.Sent(cctx, second))(t); s.Verdict != usage.VerdictOK || s.Acked != cnow {
		t.Fatalf("%+v", s)
	}
	if !val(m.c.SendEpoch(cctx, m.friend.Public()))(t).Acknowledged {
		t.Fatal("the encapsulation is still repeated")
	}
	if p := val(m.c.AuditPapers(cctx, m.contract))(t); len(p.Acks) != 2 {
		t.Fatalf("%d acknowledgements", len(p.Acks))
	}
}

// TestClientKeepsAnAcknowledgementThatCameWhileSealing: the mark on the epoch survives a state
// that was taken before it.
func TestClientKeepsAnAcknowledgementThatCameWhileSealing(t *testing.T) {
	m := newMarket(t)
	o := m.compose(t, 1)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	next := m.compose(t, 1)
	in := m.incoming(t)
	in.Acks = []usage.VerifiedAcknowledgement{m.ack(t, m.friend, m.me.Public(), o.Records[0].Record.Digest(), usage.VerdictOK)}
	val(m.c.SaveReceived(cctx, cnow, in))(t)
	ok(t, m.c.Enqueue(cctx, cnow, next))
	if e := val(m.c.SendEpoch(cctx, m.friend.Public()))(t); !e.Acknowledged || e.Counter != 2 {
		t.Fatalf("%+v", e.Counter)
	}
}

func TestClientDeletes(t *testing.T) {
	m := newMarket(t)
	o := m.compose(t, 2)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	record := o.Records[0].Record.Digest()
	d := usage.Delete{Header: m.head(m.me.Public(), m.relay.Public()), Record: record}
	raw, err := d.Encode()
	v := val(usage.OpenDelete(m.sign(t, m.me, raw, err)))(t)
	ok(t, m.c.EnqueueDelete(cctx, cnow, v, 3))
	m.restart(t)
	if p := val(m.c.Deletes(cctx, m.relay.Public(), 10))(t); len(p) != 1 || p[0].Record != record || p[0].Home != 3 {
		t.Fatalf("%+v", p)
	}
	r := usage.DeleteReceipt{Header: m.head(m.relay.Public(), m.me.Public()), Order: v.Digest(), Record: record, Arrival: 9, Contract: m.contract}
	raw, err = r.Encode()
	ok(t, m.c.SaveDeleteReceipt(cctx, val(usage.OpenDeleteReceipt(m.sign(t, m.relay, raw, err)))(t)))
	m.restart(t)
	if len(val(m.c.Deletes(cctx, m.relay.Public(), 10))(t)) != 0 || val(m.c.Sent(cctx, record))(t).Deleted != cnow {
		t.Fatal("the delete still waits")
	}
	if p := val(m.c.AuditPapers(cctx, m.contract))(t); len(p.Deleted) != 1 {
		t.Fatalf("%+v", p)
	}
}

func TestClientForget(t *testing.T) {
	m := newMarket(t)
	o := m.compose(t, 1)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	in := m.incoming(t)
	in.Sealed = make([]byte, 3*clientPiece)
	val(m.c.SaveReceived(cctx, cnow, in))(t)
	for _, d := range []identity.Digest{o.Records[0].Record.Digest(), in.Record.Digest()} {
		if s, kept, err := m.c.Summary(cctx, d); err != nil || !kept || s.Preview == "" {
			t.Fatalf("%+v %v", s, err)
		}
		ok(t, m.c.Forget(cctx, d))
		_, err := m.c.Plain(cctx, d)
		coded(t, err, code.NotFound)
		if _, kept, err := m.c.Summary(cctx, d); err != nil || kept {
			t.Fatal("the summary stays", err)
		}
	}
	coded(t, m.c.Forget(cctx, in.Record.Digest()), code.NotFound)
	if len(val(m.c.Inbox(cctx, 0, 10))(t)) != 0 || !val(m.c.Known(cctx, []identity.Digest{in.Record.Digest()}))(t)[0] {
		t.Fatal("a forgotten record must stay known")
	}
	if p := val(m.c.AuditPapers(cctx, m.contract))(t); len(p.Orders) != 1 || len(p.Orders[0].Records) != 1 {
		t.Fatal("evidence is gone")
	}
	if _, err := m.c.Sealed(cctx, o.Records[0].Record.Digest()); err != nil {
		t.Fatal("what waits to be sent is gone", err)
	}
}

func TestClientLargeContents(t *testing.T) {
	m := newMarket(t)
	var rs []OutgoingRecord
	for range 5 {
		content := append([]byte{byte(records.SuiteChunk)}, make([]byte, records.MaxContent-1)...)
		rs = append(rs, OutgoingRecord{Record: m.record(t, m.me, m.friend, content), Kind: KindPiece})
	}
	o := Outgoing{Order: m.order(t, rs), Records: rs}
	ok(t, m.c.Enqueue(cctx, cnow, o))
	m.restart(t)
	w := val(m.c.QueuedWrite(cctx, o.Order.Digest()))(t)
	for i := range rs {
		if _, err := records.Open(w.Headers[i], w.Contents[i]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClientIsOneIdentitysOnOneNetwork(t *testing.T) {
	m := newMarket(t)
	_, err := OpenClient(m.options(m.fs))
	coded(t, err, code.StoreLocked)
	ok(t, m.c.Close())
	other := m.options(m.fs)
	other.Owner = m.friend.Public()
	_, err = OpenClient(other)
	coded(t, err, code.BadConfig)
	other = m.options(m.fs)
	other.Network = identity.Mainnet
	_, err = OpenClient(other)
	coded(t, err, code.WrongNetwork)
	coded(t, m.c.SetValue(cctx, "a", []byte("b")), code.ShuttingDown)
	if errors.Is(m.c.SetValue(cctx, "a", nil), ErrStale) {
		t.Fatal("closed is not stale")
	}
}
