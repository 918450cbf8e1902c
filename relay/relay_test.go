package relay_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
	"relaymarket/records"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
	"relaymarket/usage"
)

// world is one node, shared by the tests of this package, since starting one takes a while.
var world struct {
	once sync.Once
	node *btcdnode.Node
	err  error
}

func TestMain(m *testing.M) {
	n := m.Run()
	if world.node != nil {
		if err := world.node.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(n)
}

func node(t *testing.T) *btcdnode.Node {
	t.Helper()
	world.once.Do(func() {
		dir, err := os.MkdirTemp("", "relay-test")
		if err != nil {
			world.err = err
			return
		}
		world.node, world.err = btcdnode.Start(context.Background(), btcdnode.Options{Dir: dir, Blocks: 150})
	})
	if world.err != nil {
		t.Fatal(world.err)
	}
	return world.node
}

// running is a relay that serves.
type running struct {
	*relay.Server
	dir  string
	stop func()
}

func config(n *btcdnode.Node) relay.Config {
	c := relay.DefaultConfig(identity.Regtest)
	c.Listen, c.Admin = "127.0.0.1:0", "127.0.0.1:0"
	c.Bitcoin = relay.Bitcoin{RPC: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	c.Offer.FreeBytesDay, c.Offer.PowBits = 10<<20, 4
	c.Store.MemtableMiB, c.Store.CacheMiB = 4, 8
	return c
}

func start(t *testing.T, dir string, c relay.Config) *running {
	t.Helper()
	r := launch(t, dir, c)
	r.waitReady(t)
	return r
}

// launch is start for a relay that need not become ready.
func launch(t *testing.T, dir string, c relay.Config) *running {
	t.Helper()
	if _, err := relay.Init(dir, relay.InitOptions{Config: c}); err != nil && code.Of(err) != code.AlreadyInitialised {
		t.Fatal(err)
	}
	s, err := relay.New(relay.Options{Dir: dir, Config: c, Log: quiet(t), Now: clock, Poll: 100 * time.Millisecond, Ask: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &running{Server: s, dir: dir}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// quiet is a log that shows with -v only.
func quiet(t *testing.T) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("test", t.Name())
}

func (r *running) waitReady(t *testing.T) {
	t.Helper()
	for range 300 {
		st, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Ready {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the relay did not become ready")
}

// person is somebody with a key and a session.
type person struct {
	t    *testing.T
	key  identity.PrivateKey
	r    *running
	sess *session.Client
}

func newPerson(t *testing.T, r *running) *person {
	t.Helper()
	key, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, key: key}
	p.connect(r)
	return p
}

func (p *person) connect(r *running) {
	p.t.Helper()
	a := r.address(p.t)
	p.r = r
	var err error
	p.sess, err = session.Dial(p.t.Context(), transport.DialOptions{URL: a.URL, Pins: a.Pins},
		session.Config{Key: p.key, Relay: r.Key(), Genesis: genesis(p.t)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.sess.Close)
}

// address waits for the offer with the address of this start: the port is another one each time.
func (r *running) address(t *testing.T) identity.Address {
	t.Helper()
	for range 500 {
		if all := r.OfferAddresses(); len(all) > 0 && all[0].URL == "wss://"+r.Addr() {
			return all[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no offer tells the relay's address")
	return identity.Address{}
}

func genesis(t *testing.T) [32]byte {
	t.Helper()
	params, err := runner.Params(identity.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	return *params.GenesisHash
}

// ahead is how far, in nanoseconds, the clock of relays and people is ahead of the machine's.
var ahead atomic.Int64

func clock() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }

// shift moves the clock for the rest of a test.
func shift(t *testing.T, d time.Duration) {
	ahead.Add(int64(d))
	t.Cleanup(func() { ahead.Store(0) })
}

func now() identity.UnixMilli { return identity.UnixMilli(clock().UnixMilli()) }

func serial() (s identity.Serial) {
	_, _ = rand.Read(s[:])
	return s
}

func (p *person) header(t identity.Type) identity.Header {
	return identity.Header{Type: t, Network: identity.Regtest, From: p.key.Public(), To: p.r.Key(), Time: now(), Serial: serial()}
}

// draft makes records for a receiver and an order on the free allowance that covers them.
func (p *person) draft(to identity.PublicKey, contents ...[]byte) *message.Write {
	p.t.Helper()
	return p.draftOn(nil, nil, to, contents...)
}

// draftOn is draft with changes to the order and to the records.
func (p *person) draftOn(order func(*usage.StoreOrder), record func(*records.Draft), to identity.PublicKey, contents ...[]byte) *message.Write {
	p.t.Helper()
	var raws [][]byte
	var digests []identity.Digest
	var total uint64
	for _, c := range contents {
		id, err := records.NewID(rand.Reader)
		if err != nil {
			p.t.Fatal(err)
		}
		d := records.Draft{Network: identity.Regtest, From: p.key.Public(), To: to, ID: id, Time: now(), Serial: serial(), TTL: 7200}
		if record != nil {
			record(&d)
		}
		raw, err := d.Statement(c)
		if err != nil {
			p.t.Fatal(err)
		}
		raws = append(raws, raw)
		digests = append(digests, identity.StatementDigest(identity.TypeRecord, raw))
		total += usage.BillableBytes(len(raw), len(c))
	}
	o := usage.StoreOrder{
		Header: p.header(identity.TypeStoreOrder), N: uint16(len(contents)), Root: identity.Root(digests),
		TotalBytes: total, NotAfter: now() + 60_000,
	}
	if order != nil {
		order(&o)
	}
	raw, err := o.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := identity.SignBundle(p.key, append([][]byte{raw}, raws...)...)
	if err != nil {
		p.t.Fatal(err)
	}
	return &message.Write{Bundles: [][]byte{b.Bytes()}, Contents: contents}
}

func call[T message.Message](p *person, m message.Message) (T, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	a, err := p.sess.Call(ctx, m)
	if err != nil {
		var none T
		return none, err
	}
	return a.(T), nil
}

func must[T message.Message](p *person, m message.Message) T {
	p.t.Helper()
	a, err := call[T](p, m)
	if err != nil {
		p.t.Fatalf("%s: %v", m.Type(), err)
	}
	return a
}

// request signs a read request.
func (p *person) request(record identity.Digest, max uint64) *message.Read {
	p.t.Helper()
	raw, err := usage.ReadRequest{Header: p.header(identity.TypeReadRequest), Record: record, MaxBytes: max, NotAfter: now() + 60_000}.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := identity.SignBundle(p.key, raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return &message.Read{Requests: b.Bytes()}
}

// read gives the content, or the denial, of one read.
func (p *person) read(m *message.Read) (content []byte, denial *usage.VerifiedDenial, err error) {
	p.t.Helper()
	st, err := p.sess.Stream(p.t.Context(), m)
	if err != nil {
		return nil, nil, err
	}
	defer st.Close()
	for {
		a, err := st.Next(p.t.Context())
		if err != nil {
			return nil, nil, err
		}
		d := a.(*message.ReadData)
		if len(d.Denial) > 0 {
			s, err := identity.ParseSigned(d.Denial)
			if err != nil {
				return nil, nil, err
			}
			v, err := usage.OpenDenial(s)
			if err != nil {
				return nil, nil, err
			}
			denial = &v
		}
		content = append(content, d.Data...)
		if d.End {
			return content, denial, nil
		}
	}
}

func digestOf(t *testing.T, w *message.Write, i int) identity.Digest {
	t.Helper()
	b, err := identity.ParseBundle(w.Bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	return identity.StatementDigest(identity.TypeRecord, b.Statements[i+1])
}

func TestWriteListenReadAcknowledgeDelete(t *testing.T) {
	dir := t.TempDir()
	c := config(node(t))
	r := start(t, dir, c)
	ada, bob := newPerson(t, r), newPerson(t, r)

	content := make([]byte, 700_000)
	_, _ = rand.Read(content)
	w := ada.draft(bob.key.Public(), content, []byte("second"))
	first := must[*message.Written](ada, w)
	again := must[*message.Written](ada, w)
	a, b := openReceipt(t, first), openReceipt(t, again)
	if a.Digest() != b.Digest() {
		t.Fatal("the same order got two different receipts")
	}

	inv := must[*message.InventoryPage](bob, &message.Inventory{Role: message.RoleReceiver})
	if len(inv.Rows) != 2 || inv.Rows[0].Digest != digestOf(t, w, 0) {
		t.Fatalf("inventory: %+v", inv.Rows)
	}
	if got := must[*message.InventoryPage](ada, &message.Inventory{Role: message.RoleReceiver}); len(got.Rows) != 0 {
		t.Fatal("the sender sees the receiver's inbox")
	}

	listen, err := bob.sess.Stream(t.Context(), &message.Listen{After: inv.Through})
	if err != nil {
		t.Fatal(err)
	}
	w2 := ada.draft(bob.key.Public(), []byte("third"))
	must[*message.Written](ada, w2)
	for {
		ev, err := listen.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rows := ev.(*message.ListenEvent).Rows; len(rows) == 1 && rows[0].Digest == digestOf(t, w2, 0) {
			break
		} else if len(rows) > 0 {
			t.Fatalf("listen pushed %+v", rows)
		}
	}
	listen.Close()

	req := bob.request(digestOf(t, w, 0), 1<<20)
	got, denial, err := bob.read(req)
	if err != nil || denial != nil || string(got) != string(content) {
		t.Fatalf("read: %d bytes, %v %v", len(got), denial, err)
	}

	// Another relay process on the same directory: everything is still there.
	r.stop()
	r = start(t, dir, c)
	ada.connect(r)
	bob.connect(r)
	if got, _, err := bob.read(bob.request(digestOf(t, w, 1), 1<<20)); err != nil || string(got) != "second" {
		t.Fatalf("after a restart: %q %v", got, err)
	}
	if inv := must[*message.InventoryPage](bob, &message.Inventory{Role: message.RoleReceiver}); len(inv.Rows) != 3 {
		t.Fatalf("after a restart the inbox has %d rows", len(inv.Rows))
	}

	// Delete, then read: a denial that names the delete.
	raw, err := usage.Delete{Header: ada.header(identity.TypeDelete), Record: digestOf(t, w, 1)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	del, err := identity.SignBundle(ada.key, raw)
	if err != nil {
		t.Fatal(err)
	}
	out := must[*message.Deleted](ada, &message.Delete{Deletes: del.Bytes()})
	if out.Results[0].Code != code.OK || len(out.Receipts[0]) == 0 {
		t.Fatalf("delete: %+v", out.Results)
	}
	if _, d, err := bob.read(bob.request(digestOf(t, w, 1), 1<<20)); err != nil || d == nil || d.Reason != 2 {
		t.Fatalf("read after delete: %+v %v", d, err)
	}
}

func openReceipt(t *testing.T, w *message.Written) usage.VerifiedReceipt {
	t.Helper()
	s, err := identity.ParseSigned(w.Receipt)
	if err != nil {
		t.Fatal(err)
	}
	v, err := usage.OpenReceipt(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
