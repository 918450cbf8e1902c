package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

var cctx = context.Background()

const cnow identity.UnixMilli = 1_790_000_000_000

type clientT interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func ok(t clientT, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func val[T any](v T, err error) func(clientT) T {
	return func(t clientT) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func coded(t clientT, err error, c code.Code) {
	t.Helper()
	if code.Of(err) != c {
		t.Fatalf("%v, expected %v", err, c)
	}
}

// market is an agent with its store, a friend who writes to it and reads from it, and a relay.
type market struct {
	me, friend, relay identity.PrivateKey
	myKey, friendKey  records.SealingKey
	fs                *vfs.MemFS
	c                 *Client
	run               records.RunID
	friendSend        records.SendEpoch
	friendThread      records.Thread
	serial            uint64
	contract          usage.ContractID
	contents          map[identity.Digest][]byte // of what the friend sent
}

func key(t clientT, b byte) identity.PrivateKey {
	return val(identity.NewPrivateKey(bytes.Repeat([]byte{b}, 32)))(t)
}

func newMarket(t clientT) *market {
	m := &market{me: key(t, 1), friend: key(t, 2), relay: key(t, 3), fs: vfs.NewCrashableMem(), run: records.RunID{1}}
	m.contract, m.contents = usage.ContractID{7}, make(map[identity.Digest][]byte)
	m.myKey = val(records.GenerateSealingKey(rand.Reader, cnow))(t)
	m.friendKey = val(records.GenerateSealingKey(rand.Reader, cnow))(t)
	m.c = val(OpenClient(m.options(m.fs)))(t)
	ok(t, m.c.SaveSealingKey(cctx, m.myKey))
	return m
}

func (m *market) options(fs FS) ClientOptions {
	return ClientOptions{Dir: "client", FS: fs, Network: identity.Regtest, Owner: m.me.Public()}
}

// crash gives the store as it would be after a crash now, with nothing that was not synced.
func (m *market) crash(t clientT) *Client {
	t.Helper()
	return val(OpenClient(m.options(m.fs.CrashClone(vfs.CrashCloneCfg{}))))(t)
}

// restart crashes the agent and goes on with what is on disk.
func (m *market) restart(t clientT) {
	t.Helper()
	m.fs = m.fs.CrashClone(vfs.CrashCloneCfg{})
	_ = m.c.Close() // the old one writes to a disk that is gone
	m.c = val(OpenClient(m.options(m.fs)))(t)
	m.run[0]++
}

func (m *market) head(from, to identity.PublicKey) identity.Header {
	m.serial++
	h := identity.Header{Network: identity.Regtest, From: from, To: to, Time: cnow}
	copy(h.Serial[:], fmt.Sprintf("serial %9d", m.serial))
	return h
}

func (m *market) sign(t clientT, k identity.PrivateKey, raw []byte, err error) identity.Signed {
	t.Helper()
	ok(t, err)
	return val(identity.SignOne(k, raw))(t)
}

// record signs content as a record.
func (m *market) record(t clientT, from, to identity.PrivateKey, content []byte) records.Record {
	h := m.head(from.Public(), to.Public())
	d := records.Draft{
		Network: h.Network, From: h.From, To: h.To, Time: h.Time, Serial: h.Serial, TTL: 86400,
		ID: records.ID(fmt.Sprintf("id%d", m.serial)),
	}
	raw, err := d.Statement(content)
	return val(records.Open(m.sign(t, from, raw, err), content))(t)
}

// sealed seals a message; its id must be the one that the record will get.
func (m *market) sealed(t clientT, e records.SendEpoch, c records.Content) ([]byte, records.SendEpoch) {
	content, next, err := e.SealContent(records.ID(fmt.Sprintf("id%d", m.serial+1)), c)
	ok(t, err)
	return content, next
}

// compose makes an order with n messages to the friend from the agent's saved states.
func (m *market) compose(t clientT, n int) Outgoing {
	t.Helper()
	e := val(m.c.SendEpoch(cctx, m.friend.Public()))(t)
	if e.Due(m.run, m.friendKey.ID(), cnow) {
		peer := records.Peer{Network: identity.Regtest, From: m.me.Public(), To: m.friend.Public(), SealingKey: m.friendKey.Public()}
		e = val(records.NewEpoch(rand.Reader, peer, m.run, cnow))(t)
	}
	thread := val(m.c.SendThread(cctx, m.friend.Public()))(t)
	var o Outgoing
	for range n {
		c := records.Content{MediaType: records.MediaText, Body: []byte("hello")}
		c.Sequence, c.Previous = thread.Next()
		content, next := m.sealed(t, e, c)
		e = next
		r := m.record(t, m.me, m.friend, content)
		thread, _ = thread.Observe(c.Sequence, c.Previous, r.Digest())
		plain := val(c.Encode())(t)
		o.Records = append(o.Records, OutgoingRecord{Record: r, Kind: KindMessage, Sequence: c.Sequence, Previous: c.Previous, Plain: plain, Summary: summaryOf(c)})
	}
	o.Epochs = []records.SendEpoch{e}
	o.Order = m.order(t, o.Records)
	return o
}

func summaryOf(c records.Content) *Summary {
	return &Summary{
		MediaType: c.MediaType, Body: uint64(len(c.Body)), Preview: string(c.Body), Files: []SummaryFile{{Name: "a", MediaType: "b/c", Size: 1}},
	}
}

// order signs an order for records.
func (m *market) order(t clientT, rs []OutgoingRecord) usage.VerifiedStoreOrder {
	t.Helper()
	o := usage.StoreOrder{
		Header: m.head(m.me.Public(), m.relay.Public()), Contract: m.contract, Terms: identity.Digest{1},
		N: uint16(len(rs)), MaxMsat: 1_000_000, NotAfter: cnow + 3_600_000,
	}
	var digests []identity.Digest
	for _, r := range rs {
		digests = append(digests, r.Record.Digest())
		o.TotalBytes += r.Record.StoredBytes() + usage.RecordOverhead
	}
	o.Root = identity.Root(digests)
	raw, err := o.Encode()
	return val(usage.OpenStoreOrder(m.sign(t, m.me, raw, err)))(t)
}

func (m *market) receipt(t clientT, o usage.VerifiedStoreOrder) usage.VerifiedReceipt {
	t.Helper()
	r := usage.Receipt{
		Header: m.head(m.relay.Public(), m.me.Public()), Order: o.Digest(), StoredBytes: o.TotalBytes, Arrival: 1,
		AcceptedMs: cnow, ServiceUntil: cnow + 1e10, WorstMsat: o.MaxMsat, Contract: o.Contract, Terms: o.Terms, HomeShard: 3,
	}
	raw, err := r.Encode()
	return val(usage.OpenReceipt(m.sign(t, m.relay, raw, err)))(t)
}

// incoming is a message from the friend, opened with the agent's saved state.
func (m *market) incoming(t clientT) Incoming {
	t.Helper()
	if m.friendSend.Due(records.RunID{9}, m.myKey.ID(), cnow) {
		peer := records.Peer{Network: identity.Regtest, From: m.friend.Public(), To: m.me.Public(), SealingKey: m.myKey.Public()}
		m.friendSend = val(records.NewEpoch(rand.Reader, peer, records.RunID{9}, cnow))(t)
	}
	c := records.Content{MediaType: records.MediaText, Body: []byte("from a friend")}
	c.Sequence, c.Previous = m.friendThread.Next()
	content, next := m.sealed(t, m.friendSend, c)
	m.friendSend = next
	r := m.record(t, m.friend, m.me, content)
	m.contents[r.Digest()] = content
	m.friendThread, _ = m.friendThread.Observe(c.Sequence, c.Previous, r.Digest())
	return m.open(t, r)
}

// open opens a record of the friend with the saved state and makes everything that follows.
func (m *market) open(t clientT, r records.Record) Incoming {
	t.Helper()
	s := val(records.ParseSealed(r.Content()))(t)
	state := val(m.c.RecvEpoch(cctx, r.Header().From, s.Epoch))(t)
	c, after, err := records.OpenContent(val(m.c.SealingKeys(cctx))(t), state, r)
	ok(t, err)
	return Incoming{
		Record: r.Verified, Kind: KindMessage, Relay: m.relay.Public(), Arrival: usage.Arrival(c.Sequence), Home: 3,
		Verdict: usage.VerdictOK, Opened: true, Sequence: c.Sequence, Previous: c.Previous, Plain: val(c.Encode())(t), Summary: summaryOf(c), Epoch: &after,
		DeliveryAck: m.ack(t, m.me, m.relay.Public(), r.Digest(), usage.VerdictOK).Signed(),
		SenderAck:   m.ack(t, m.me, r.Header().From, r.Digest(), usage.VerdictOK).Signed(),
		Cursor:      &CursorMove{Relay: m.relay.Public(), Cursor: Cursor{usage.Arrival(c.Sequence), [16]byte{1}}},
	}
}

func (m *market) request(t clientT, record identity.Digest) Request {
	q := usage.ReadRequest{Header: m.head(m.me.Public(), m.relay.Public()), Record: record, MaxBytes: 1 << 21, NotAfter: cnow + 60_000}
	raw, err := q.Encode()
	return Request{Signed: m.sign(t, m.me, raw, err), Relay: m.relay.Public(), Home: 3}
}

func (m *market) ack(t clientT, from identity.PrivateKey, to identity.PublicKey, record identity.Digest, v usage.Verdict) usage.VerifiedAcknowledgement {
	t.Helper()
	a := usage.Acknowledgement{Header: m.head(from.Public(), to), Record: record, Bytes: 1, Request: identity.Digest{5}, Verdict: v, Relay: m.relay.Public()}
	raw, err := a.Encode()
	return val(usage.OpenAcknowledgement(m.sign(t, from, raw, err)))(t)
}

func TestClientMarketHelper(t *testing.T) {
	m := newMarket(t)
	if in := m.incoming(t); len(in.Plain) == 0 || in.Sequence != 1 {
		t.Fatalf("%+v", in)
	}
	ok(t, m.c.Close())
}
