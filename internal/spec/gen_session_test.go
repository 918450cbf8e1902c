package spec

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
	"relaymarket/usage"
)

// genesis is that of regtest, in the order in which it is hashed.
var genesis = [32]byte{
	0x06, 0x22, 0x6e, 0x46, 0x11, 0x1a, 0x0b, 0x59, 0xca, 0xaf, 0x12, 0x60, 0x43, 0xeb, 0x5b, 0xbf,
	0x28, 0xc3, 0x4f, 0x3a, 0x5e, 0x33, 0x2a, 0x1f, 0xc7, 0xb2, 0xb7, 0x3c, 0xf1, 0x88, 0x91, 0x0f,
}

// messages is one of each type with every field set, from real statements where they carry some.
func (m *maker) messages() []message.Message {
	g, l := m.goodBodies(), m.story()
	var raws [][]byte
	order, _ := m.order()
	raws = append(raws, order.Statement)
	for _, s := range m.batch() {
		raws = append(raws, s.Statement)
	}
	write := val(identity.SignBundle(key("alice"), raws...))(m).Bytes()
	one := func(by string, s identity.Signed) []byte {
		return val(identity.SignBundle(key(by), s.Statement))(m).Bytes()
	}
	row := message.Row{
		Digest: identity.StatementDigest(identity.TypeRecord, m.batch()[0].Statement), From: key("alice").Public(), To: key("bob").Public(),
		ID: "a", Arrival: 1_790_000_000_000_123, Size: 250, Expiry: now + 86_400_000, Home: 42, Tag: []byte("tag"), PullsLeft: 3,
		Statement: m.batch()[0].Statement,
	}
	results := []message.Result{{}, {Code: code.NotFound, Text: "not here"}}
	receipts := [][]byte{g["deleteReceipt"].Bytes(), {}}
	entry := val(usage.RowEntry{Row: l.rows[1], Ack: g["acknowledgement"].Bytes()}.Encode())(m)
	hello, answer, auth := m.handshake()
	return []message.Message{
		hello, answer, auth, &message.Welcome{Key: key("alice").Public(), FreeBytesLeft: 1 << 20},
		&message.Error{Code: code.Busy, Text: "too much at once", RetryAfter: 500}, &message.Ping{Nonce: 7}, &message.Pong{Nonce: 7, Time: now},
		&message.Write{Bundles: [][]byte{write}, Contents: [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d"), []byte("e")}},
		&message.Written{Receipt: g["receipt"].Bytes()},
		&message.Read{Requests: one("bob", g["readRequest"]), Homes: message.NewHomes(42), Offset: 4096, Statements: [][]byte{m.batch()[0].Statement}},
		&message.ReadData{Index: 1, Header: m.batch()[0].Bytes(), Offset: 4096, Data: []byte("data"), Last: true, Denial: g["denial"].Bytes(), End: true},
		&message.Inventory{Role: message.RoleSender, After: 1, Before: 2, Limit: 3},
		&message.InventoryPage{Rows: []message.Row{row, row}, Through: 1_790_000_000_000_124, More: true, StoreEpoch: [16]byte{7}},
		&message.Listen{After: 9}, &message.ListenEvent{Rows: []message.Row{row}, Through: 10, More: true},
		&message.Delete{Deletes: one("alice", g["delete"]), Homes: message.NewHomes(42)}, &message.Deleted{Receipts: receipts, Results: results},
		&message.Acknowledge{Acks: one("bob", g["acknowledgement"]), Homes: message.NewHomes(42)}, &message.Acknowledged{Results: results, Receipts: receipts},
		&message.RequestUsage{Contract: contractID, AfterTs: 1, BeforeTs: 2, FromRow: 3, Limit: 4, Fresh: true},
		&message.UsageReport{Report: l.reports[0].Bytes(), Rows: [][]byte{entry}, More: true},
		&message.PutIdentity{Document: g["identity"].Bytes()}, &message.OK{}, &message.GetIdentity{Key: key("alice").Public()},
		&message.Identity{Document: g["identity"].Bytes()}, &message.GetOffer{}, &message.Offer{Offer: []byte("see offer.json")}, &message.Account{},
		&message.AccountInfo{FreeUsed: 1, FreeLimit: 2, Contracts: []message.AccountContract{{
			Contract: contractID, State: 7, OwedMsat: 1, ReservedMsat: 2, PaidSat: 3, FundsMsat: 4, ValueSat: 5, ExpiryHeight: 6, Rows: 7,
		}}},
		&message.Grant{Statement: g["accountGrant"].Bytes()}, &message.Granted{Receipt: g["grantReceipt"].Bytes()},
		&message.RequestLane{Contract: contractID, Grant: identity.Tagged("spec/grant"), FromRow: 3, Limit: 4},
		&message.Lane{
			Grant: g["accountGrant"].Bytes(), Revoke: g["accountRevoke"].Bytes(), Open: true, LiveBytes: 1, ByteSeconds: [16]byte{15: 2}, Egress: 3,
			OwedMsat: 4, ReservedMsat: 5, DayMsat: 6, Rows: [][]byte{entry}, More: true,
		},
		&message.Challenge{Challenges: one("alice", g["storageChallenge"]), Homes: message.NewHomes(42), Statements: [][]byte{g["record"].Statement}},
		&message.Challenged{Answers: [][]byte{g["storageProof"].Bytes(), {}}, Chunks: [][]byte{[]byte("chunk"), {}}, Results: results},
		&message.Contract{Statement: tell(m.t).all[0].Bytes()}, &message.Cancel{ID: 12},
	}
}

// handshake is a whole one, signed by the words of PROTOCOL.md.
func (m *maker) handshake() (*message.Hello, *message.HelloRelay, *message.Auth) {
	exporter := identity.Tagged("spec/exporter")
	h := &message.Hello{MinVersion: 1, MaxVersion: 1, Features: 2, Genesis: genesis, Nonce: identity.Tagged("spec/hello")}
	a := &message.HelloRelay{
		Version: 1, Features: 2, Offered: 10, Genesis: genesis, Nonce: identity.Tagged("spec/helloRelay"), Key: key("relay").Public(),
		Limits: usage.DefaultLimits().Encode(), StoreEpoch: [16]byte{7}, Time: now,
	}
	hello := message.Body(val(message.Encode(1, h))(m))
	unsigned := with(scan(m.t, message.Body(val(message.Encode(1, a))(m))), 12, nil)
	a.Sig = val(key("relay").SignDigest(identity.Tagged("hello", hello, unsigned, exporter[:])))(m)
	c := &message.Auth{Key: key("alice").Public()}
	body := message.Body(val(message.Encode(1, a))(m))
	c.Sig = val(key("alice").SignDigest(identity.Tagged("hello-client", hello, body, c.Key[:], exporter[:])))(m)
	return h, a, c
}

func (m *maker) frames() {
	seen := map[message.Type]bool{}
	add := func(name, expect, what string, frame []byte, limit uint64) {
		m.add("frame/"+name, "frame", expect, what, values{"frame": text(frame), "limit": limit})
	}
	const limit = 2 << 20
	byName := map[string][]byte{}
	for i, x := range m.messages() {
		seen[x.Type()] = true
		f := val(message.Encode(uint64(i+1), x))(m)
		byName[x.Type().String()] = f
		add(x.Type().String(), "ok", "a "+x.Type().String()+" with every field", f, limit)
	}
	for _, i := range message.Types() {
		if !seen[i.Type] {
			m.t.Errorf("no frame of %s", i.Name)
		}
	}
	ping := byName["ping"]
	add("push", "ok", "request id 0 is a frame like any other", replace(byName["contract"], 2, make([]byte, 8), 8), limit)
	add("short", "malformed", "nine bytes", ping[:9], limit)
	add("over-limit", "too_large", "one byte over the limit", ping, uint64(len(ping)-1))
	add("unknown-type", "unsupported", "message type 9", replace(ping, 0, []byte{0, 9}, 2), limit)
	add("trailing-byte", "malformed", "a byte after the body", append(bytes.Clone(ping), 0), limit)
	add("present-zero", "malformed", "an optional nonce of zero", append(bytes.Clone(ping[:10]), 0, 8, 0, 0, 0, 0, 0, 0, 0, 0), limit)
	body := func(name string, typ uint64, value []byte) []byte {
		f := byName[name]
		return append(bytes.Clone(f[:10]), with(scan(m.t, f[10:]), typ, value)...)
	}
	add("bool", "malformed", "a bool of 2", body("readData", 8, []byte{2}), limit)
	add("offset", "malformed", "a read that does not resume at a chunk", body("read", 4, bigEndian(4097, 4)), limit)
	add("homes", "malformed", "home shards of three bytes", body("read", 2, []byte{1, 2, 3}), limit)
	add("uneven", "malformed", "more receipts than results", body("deleted", 2, []byte{}), limit)
	add("role", "malformed", "inventory role 3", body("inventory", 0, []byte{3}), limit)
	add("error-ok", "malformed", "an error with code 0", body("error", 0, []byte{0, 0}), limit)
	add("error-text", "malformed", "a control character in an error", body("error", 2, []byte("a\x1b")), limit)
	add("no-content", "malformed", "a write without contents", body("write", 2, []byte{}), limit)
	add("list-length", "malformed", "an item that passes the end of its list", body("write", 2, []byte{0, 0, 0, 9, 1}), limit)
}

func (m *maker) handshakes() {
	h, a, c := m.handshake()
	exporter := identity.Tagged("spec/exporter")
	in := values{
		"hello": text(val(message.Encode(1, h))(m)), "helloRelay": text(val(message.Encode(1, a))(m)), "auth": text(val(message.Encode(2, c))(m)),
		"exporter": exporter.String(),
	}
	change := func(name string, to any) values {
		out := values{}
		for k, v := range in {
			out[k] = v
		}
		out[name] = to
		return out
	}
	m.add("handshake/ok", "handshake", "ok", "both proofs hold", in)
	m.add("handshake/other-channel", "handshake", "bad_signature", "another TLS connection", change("exporter", identity.Digest{}.String()))
	h.Features = 0
	m.add("handshake/features-stripped", "handshake", "bad_signature", "somebody took the features out of hello", change("hello", text(val(message.Encode(1, h))(m))))
	c.Key = key("bob").Public()
	m.add("handshake/other-client", "handshake", "bad_signature", "the client's proof under another key", change("auth", text(val(message.Encode(2, c))(m))))
}

// tap records the frames that a connection reads and writes.
type tap struct {
	transport.Conn
	mu     sync.Mutex
	frames map[message.Type][]byte
}

func (c *tap) note(f []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames[message.Type(binary.BigEndian.Uint16(f))] = bytes.Clone(f)
}

func (c *tap) Read(ctx context.Context) ([]byte, error) {
	f, err := c.Conn.Read(ctx)
	if err == nil {
		c.note(f)
	}
	return f, err
}

func (c *tap) Write(ctx context.Context, frames ...[]byte) error {
	for _, f := range frames {
		c.note(f)
	}
	return c.Conn.Write(ctx, frames...)
}

type noHandler struct{}

func (noHandler) Handle(_ context.Context, s *session.Server, r session.Request) {
	s.Fail(r.ID, code.New(code.Unsupported, "nothing is served"))
}

// TestHandshakeOfTheProgram runs a real handshake and holds its frames against the words of
// PROTOCOL.md.
func TestHandshakeOfTheProgram(t *testing.T) {
	a, b := transport.Pipe([32]byte{5}, &net.TCPAddr{}, &net.TCPAddr{})
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() {
		done <- session.Serve(ctx, b, session.ServerConfig{
			Key: key("relay"), Genesis: genesis, Limits: usage.DefaultLimits(), StoreEpoch: func() [16]byte { return [16]byte{7} }, Handler: noHandler{},
		})
	}()
	spy := &tap{Conn: a, frames: map[message.Type][]byte{}}
	c, err := session.Connect(ctx, spy, session.Config{Key: key("alice"), Relay: key("relay").Public(), Genesis: genesis})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-done
	e := a.Exporter()
	v := vector{path: "live", Kind: "handshake", In: values{
		"hello": text(spy.frames[message.TypeHello]), "helloRelay": text(spy.frames[message.TypeHelloRelay]),
		"auth": text(spy.frames[message.TypeAuth]), "exporter": fmt.Sprintf("%x", e),
	}}
	if got, _ := v.decide(t); got != "ok" {
		t.Fatalf("the program's own handshake: %s", got)
	}
}
