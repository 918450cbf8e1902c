package store

import (
	"bytes"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

func TestClientReceivesInOneStep(t *testing.T) {
	m := newMarket(t)
	in := m.incoming(t)
	q := m.request(t, in.Record.Digest())
	ok(t, m.c.SaveRequests(cctx, []Request{q}))
	m.restart(t)
	if got, found, err := m.c.Request(cctx, q.Relay, in.Record.Digest()); err != nil || !found || !got.Signed.Equal(q.Signed) || got.Home != 3 {
		t.Fatalf("%+v %v", got, err)
	}
	if place := val(m.c.SaveReceived(cctx, cnow, in))(t); place != records.InOrder {
		t.Fatal(place)
	}
	m.restart(t)
	if _, found, err := m.c.Request(cctx, q.Relay, in.Record.Digest()); err != nil || found {
		t.Fatal("the request is kept", err)
	}
	box := val(m.c.Inbox(cctx, 0, 10))(t)
	if len(box) != 1 || box[0].Digest != in.Record.Digest() || box[0].Read || !box[0].Opened || box[0].Place != records.InOrder || box[0].Home != 3 {
		t.Fatalf("%+v", box)
	}
	if !bytes.Equal(val(m.c.Plain(cctx, box[0].Digest))(t), in.Plain) {
		t.Fatal("another content")
	}
	if c := val(m.c.Cursor(cctx, m.relay.Public(), identity.PublicKey{}))(t); c.Through != 1 {
		t.Fatalf("%+v", c)
	}
	acks := val(m.c.DeliveryAcks(cctx, m.relay.Public(), 10))(t)
	if len(acks) != 1 || !acks[0].Signed.Equal(in.DeliveryAck) || acks[0].Record != in.Record.Digest() {
		t.Fatalf("%+v", acks)
	}
	due := val(m.c.AcksDue(cctx))(t)
	if len(due) != 1 || due[0].Sender != m.friend.Public() || due[0].Count != 1 || due[0].Oldest != cnow {
		t.Fatalf("%+v", due)
	}
	m.flush(t, acks[0].ID)
	ok(t, m.c.MarkRead(cctx, in.Record.Digest()))
	if !val(m.c.Received(cctx, in.Record.Digest()))(t).Read {
		t.Fatal("still new")
	}
}

// flush lets the relay take its acknowledgement and puts the sender's into a record.
func (m *market) flush(t *testing.T, delivery PendingID) {
	ok(t, m.c.DonePending(cctx, []PendingID{delivery, delivery, 999}))
	o := m.compose(t, 1)
	for _, a := range val(m.c.SenderAcks(cctx, m.friend.Public(), 256))(t) {
		o.Flushed = append(o.Flushed, a.ID)
	}
	ok(t, m.c.Enqueue(cctx, cnow, o))
	m.restart(t)
	if len(val(m.c.DeliveryAcks(cctx, m.relay.Public(), 10))(t))+len(val(m.c.AcksDue(cctx))(t)) != 0 {
		t.Fatal("acknowledgements still wait")
	}
}

func TestClientTakesARecordOnce(t *testing.T) {
	m := newMarket(t)
	in := m.incoming(t)
	val(m.c.SaveReceived(cctx, cnow, in))(t)
	in.Cursor.Through = 50
	if place := val(m.c.SaveReceived(cctx, cnow, in))(t); place != records.Outside {
		t.Fatal(place)
	}
	if len(val(m.c.Inbox(cctx, 0, 10))(t)) != 1 || val(m.c.AcksDue(cctx))(t)[0].Count != 1 {
		t.Fatal("taken twice")
	}
	if val(m.c.Cursor(cctx, m.relay.Public(), identity.PublicKey{}))(t).Through != 50 {
		t.Fatal("the cursor stays")
	}
}

func TestClientReplacesABrokenCopy(t *testing.T) {
	m := newMarket(t)
	good := m.incoming(t)
	bad := Incoming{
		Record: good.Record, Kind: KindMessage, Relay: m.relay.Public(), Verdict: usage.VerdictBad,
		DeliveryAck: m.ack(t, m.me, m.relay.Public(), good.Record.Digest(), usage.VerdictBad).Signed(),
	}
	val(m.c.SaveReceived(cctx, cnow, bad))(t)
	if val(m.c.Known(cctx, []identity.Digest{good.Record.Digest()}))(t)[0] {
		t.Fatal("a broken copy must not keep us from reading a good one")
	}
	val(m.c.SaveReceived(cctx, cnow, good))(t)
	box := val(m.c.Inbox(cctx, 0, 10))(t)
	if len(box) != 1 || box[0].Verdict != usage.VerdictOK || len(val(m.c.DeliveryAcks(cctx, m.relay.Public(), 10))(t)) != 2 {
		t.Fatalf("%+v", box)
	}
}

func TestClientRefusesAStaleReceiveEpoch(t *testing.T) {
	m := newMarket(t)
	a, b := m.incoming(t), m.incoming(t) // both opened from the state before
	val(m.c.SaveReceived(cctx, cnow, a))(t)
	_, err := m.c.SaveReceived(cctx, cnow, b)
	coded(t, err, code.StoreStale)
	if len(val(m.c.Inbox(cctx, 0, 10))(t)) != 1 || val(m.c.Cursor(cctx, m.relay.Public(), identity.PublicKey{}))(t).Through != 1 {
		t.Fatal("a refused record left traces")
	}
}

func TestClientCursors(t *testing.T) {
	m := newMarket(t)
	at := func() Cursor { return val(m.c.Cursor(cctx, m.relay.Public(), m.friend.Public()))(t) }
	move := func(through usage.Arrival, epoch byte) {
		ok(t, m.c.SaveCursor(cctx, CursorMove{m.relay.Public(), m.friend.Public(), Cursor{through, [16]byte{epoch}}}))
	}
	if at() != (Cursor{}) {
		t.Fatal("not at the beginning")
	}
	move(10, 1)
	if move(5, 1); at().Through != 10 {
		t.Fatal("a cursor went back")
	}
	if move(2, 2); at() != (Cursor{2, [16]byte{2}}) {
		t.Fatal("a restored relay is listed again from its beginning")
	}
	if val(m.c.Cursor(cctx, m.relay.Public(), identity.PublicKey{}))(t) != (Cursor{}) {
		t.Fatal("another list's cursor")
	}
}

func TestClientCleansUp(t *testing.T) {
	m := newMarket(t)
	in := m.incoming(t)
	val(m.c.SaveReceived(cctx, cnow, in))(t)
	ok(t, m.c.SaveRequests(cctx, []Request{m.request(t, identity.Digest{1})}))
	second := val(records.GenerateSealingKey(bytes.NewReader(bytes.Repeat([]byte{4}, 32)), cnow+1000))(t)
	ok(t, m.c.SaveSealingKey(cctx, second))
	if n := val(m.c.CleanUp(cctx, cnow, 86_400_000))(t); n != 0 {
		t.Fatalf("%d things gone at once", n)
	}
	if n := val(m.c.CleanUp(cctx, cnow+100*24*hourMs, 86_400_000))(t); n != 4 {
		t.Fatalf("%d things gone, expected key, epoch, digest and request", n)
	}
	m.restart(t)
	keys := val(m.c.SealingKeys(cctx))(t)
	if len(keys) != 1 || keys[0].ID() != second.ID() || val(m.c.Known(cctx, []identity.Digest{in.Record.Digest()}))(t)[0] {
		t.Fatal("the wrong things are gone")
	}
	if !val(m.c.RecvEpoch(cctx, m.friend.Public(), in.Epoch.ID))(t).IsZero() || len(val(m.c.Inbox(cctx, 0, 9))(t)) != 1 {
		t.Fatal("the epoch stays, or the message went")
	}
}
