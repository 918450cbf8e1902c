package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
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
		world.node, world.err = btcdnode.Start(context.Background(), btcdnode.Options{Blocks: 150})
	})
	if world.err != nil {
		t.Fatal(world.err)
	}
	return world.node
}

func logger() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// relayOf is a relay that can be stopped and started again on its directory.
type relayOf struct {
	*relay.Server
	t    *testing.T
	dir  string
	cfg  relay.Config
	stop func()
}

func newRelay(t *testing.T) *relayOf {
	t.Helper()
	n := node(t)
	c := relay.DefaultConfig(identity.Regtest)
	c.Listen, c.Admin = "127.0.0.1:0", "127.0.0.1:0"
	c.Bitcoin = relay.Bitcoin{RPC: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	c.Offer.FreeBytesDay, c.Offer.PowBits = 100<<20, 4
	c.Store.MemtableMiB, c.Store.CacheMiB = 4, 8
	r := &relayOf{t: t, dir: t.TempDir(), cfg: c}
	if _, err := relay.Init(r.dir, relay.InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.cfg.Listen = r.Addr() // the same address after a restart
	return r
}

func (r *relayOf) start() {
	r.t.Helper()
	s, err := relay.New(relay.Options{Dir: r.dir, Config: r.cfg, Poll: 100 * time.Millisecond, Ask: 200 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.Server = s
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("relay: %v", err)
		}
		if err := s.Close(); err != nil {
			r.t.Errorf("relay: %v", err)
		}
	})
	r.t.Cleanup(r.stop)
	eventually(r.t, "the relay is ready", func() bool {
		st, err := s.Status(context.Background())
		return err == nil && st.Ready
	})
}

func (r *relayOf) ref() identity.RelayRef {
	return identity.RelayRef{Key: r.Key(), Addresses: slices.Clone(r.OfferAddresses())}
}

// person is an agent that can be stopped and opened again on its directory.
type person struct {
	halt func() // ends the last run
	*client.Agent
	t   *testing.T
	dir string
	cfg client.Config
	now func() time.Time
}

// newPerson makes an agent without a node: messages need none.
func newPerson(t *testing.T, label string) *person {
	t.Helper()
	c := client.DefaultConfig(identity.Regtest)
	c.Label = label
	p := &person{t: t, dir: t.TempDir(), cfg: c}
	if _, err := client.Init(p.dir, client.InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	p.open()
	t.Cleanup(func() { p.close() })
	return p
}

func (p *person) open() {
	p.t.Helper()
	a, err := client.Open(client.Options{Dir: p.dir, Config: p.cfg, Log: logger(), Now: p.now, Farewell: patience})
	if err != nil {
		p.t.Fatal(err)
	}
	p.Agent = a
}

func (p *person) close() {
	if p.Agent == nil {
		return
	}
	if err := p.Agent.Close(); err != nil {
		p.t.Errorf("close: %v", err)
	}
	p.Agent = nil
}

func (p *person) reopen() {
	p.t.Helper()
	p.close()
	p.open()
}

func (p *person) use(r *relayOf) {
	p.t.Helper()
	i, err := p.UseRelay(p.t.Context(), r.ref())
	if err != nil {
		p.t.Fatal(err)
	}
	if !i.Own || !i.Connected || i.FreeBytesDay == 0 {
		p.t.Fatalf("relay: %+v", i)
	}
}

// meets makes each a contact of the other.
func (p *person) meets(q *person) {
	p.t.Helper()
	p.knows(q)
	q.knows(p)
}

func (p *person) knows(q *person) client.Contact {
	p.t.Helper()
	file, err := q.Export(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := p.PutContact(p.t.Context(), file, "")
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *person) send(to, text string) client.SendResult {
	p.t.Helper()
	return p.sendRequest(client.SendRequest{To: to, Body: []byte(text)})
}

func (p *person) sendRequest(r client.SendRequest) client.SendResult {
	p.t.Helper()
	out, err := p.Send(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *person) sync() {
	p.t.Helper()
	if err := p.Sync(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) inbox() []client.Message {
	p.t.Helper()
	m, err := p.Inbox(p.t.Context(), false)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// read gives the text of the only message that is new.
func (p *person) read(id identity.Digest) client.Message {
	p.t.Helper()
	m, err := p.Read(p.t.Context(), id.String())
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// state is that of an own message.
func (p *person) state(id identity.Digest) string {
	p.t.Helper()
	all, err := p.Outbox(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range all {
		if m.Digest == id {
			return m.State
		}
	}
	p.t.Fatalf("message %s is not in the outbox", id.Short())
	return ""
}

func (p *person) wants(id identity.Digest, state string) {
	p.t.Helper()
	if got := p.state(id); got != state {
		p.t.Fatalf("message %s is %s, not %s", id.Short(), got, state)
	}
}

// patience bounds what takes a moment on a machine that has nothing else to do.
const patience = 90 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("it did not happen that %s", what)
}

func wantCode(t *testing.T, err error, want code.Code) {
	t.Helper()
	if code.Of(err) != want {
		t.Fatalf("%v where %s is wanted", err, want)
	}
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMessageReadAcknowledgedAnswered(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	bob.use(r)
	ada.meets(bob)

	sent := ada.send("bob", "hello bob")
	if sent.State != client.StateStored || sent.Receipt.IsZero() || sent.Records != 1 || !sent.Contract.IsZero() {
		t.Fatalf("sent: %+v", sent)
	}
	bob.sync()
	in := bob.inbox()
	if len(in) != 1 || in[0].Digest != sent.Digest || in[0].Preview != "hello bob" || in[0].State != client.StateNew || in[0].PeerLabel != "ada" {
		t.Fatalf("inbox: %+v", in)
	}
	m := bob.read(sent.Digest)
	if string(m.Body) != "hello bob" || m.Sequence != 1 || m.Gap {
		t.Fatalf("read: %+v", m)
	}
	if left, err := bob.Inbox(t.Context(), true); err != nil || len(left) != 0 {
		t.Fatalf("new after reading: %+v %v", left, err)
	}
	ada.wants(sent.Digest, client.StateStored)
	ada.sync() // brings bob's acknowledgement record
	ada.wants(sent.Digest, client.StateAcknowledged)

	answer := bob.sendRequest(client.SendRequest{To: "ada", Body: []byte("hello ada"), Regarding: sent.Digest})
	ada.sync()
	if m := ada.read(answer.Digest); string(m.Body) != "hello ada" {
		t.Fatalf("answer: %+v", m)
	}
	bob.sync()
	bob.wants(answer.Digest, client.StateAcknowledged)
	// Nothing is read or acknowledged twice.
	for range 2 {
		ada.sync()
		bob.sync()
	}
	if len(ada.inbox()) != 1 || len(bob.inbox()) != 1 {
		t.Fatalf("inboxes: %+v %+v", ada.inbox(), bob.inbox())
	}
}

func TestSentOfflineReceivedLater(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	bob.use(r)
	ada.meets(bob)
	r.stop()

	first, second := ada.send("bob", "one"), ada.send("bob", "two")
	if first.State != client.StateQueued || first.Reason == "" {
		t.Fatalf("sent offline: %+v", first)
	}
	ada.wants(second.Digest, client.StateQueued)
	if err := bob.Sync(t.Context()); err == nil {
		t.Fatal("a round without the relay is said to be complete")
	}
	ada.reopen() // the queue is on disk
	r.start()
	ada.sync()
	ada.wants(first.Digest, client.StateStored)
	ada.wants(second.Digest, client.StateStored)
	bob.sync()
	in := bob.inbox()
	if len(in) != 2 || in[0].Preview != "one" || in[1].Preview != "two" || in[1].Gap {
		t.Fatalf("inbox: %+v", in)
	}
}

func TestAttachments(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	bob.use(r)
	ada.meets(bob)

	big := randomBytes(t, 3<<20+123) // seven pieces, several orders
	sent := ada.sendRequest(client.SendRequest{To: "bob", Body: []byte("see file"), Attachments: []client.Attachment{
		{Name: "big.bin", Data: big}, {Name: "empty.txt", MediaType: "text/plain"},
	}})
	if sent.State != client.StateStored || sent.Records != 8 {
		t.Fatalf("sent: %+v", sent)
	}
	bob.sync()
	in := bob.inbox()
	if len(in) != 1 || len(in[0].Attachments) != 2 || in[0].Attachments[0].Size != uint64(len(big)) || in[0].Attachments[0].Data != nil {
		t.Fatalf("inbox: %+v", in)
	}
	r.stop() // everything is here already
	m := bob.read(sent.Digest)
	if !bytes.Equal(m.Attachments[0].Data, big) || m.Attachments[0].Name != "big.bin" || len(m.Attachments[1].Data) != 0 {
		t.Fatal("the files are not what was sent")
	}
	r.start()
	ada.sync()
	ada.wants(sent.Digest, client.StateAcknowledged)

	out, err := ada.Delete(t.Context(), sent.Digest.String()[:10])
	if err != nil || out.State != client.StateDeleted {
		t.Fatalf("delete: %+v %v", out, err)
	}
}

func TestDelete(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	ada.meets(bob)

	kept, gone := ada.send("bob", "kept"), ada.send("bob", "gone")
	if m, err := ada.Delete(t.Context(), gone.Path); err != nil || m.State != client.StateDeleted {
		t.Fatalf("delete: %+v %v", m, err)
	}
	// A second time, and after a restart, it is deleted all the same.
	ada.reopen()
	if m, err := ada.Delete(t.Context(), gone.Path); err != nil || m.State != client.StateDeleted {
		t.Fatalf("delete again: %+v %v", m, err)
	}
	bob.sync()
	if in := bob.inbox(); len(in) != 1 || in[0].Digest != kept.Digest {
		t.Fatalf("inbox: %+v", in)
	}

	// A delete while the relay is away is done when it is back; a message in the queue never leaves.
	r.stop()
	queued := ada.send("bob", "never")
	if m, err := ada.Delete(t.Context(), kept.Digest.String()); err != nil || m.State == client.StateDeleted {
		t.Fatalf("delete without a relay: %+v %v", m, err)
	}
	if m, err := ada.Delete(t.Context(), queued.Digest.String()); err != nil || m.State != client.StateFailed {
		t.Fatalf("delete from the queue: %+v %v", m, err)
	}
	ada.reopen()
	r.start()
	ada.sync()
	ada.wants(kept.Digest, client.StateDeleted)
	ada.wants(queued.Digest, client.StateFailed)

	// What was received can be forgotten, and does not come again.
	if _, err := bob.Delete(t.Context(), kept.Digest.String()); err != nil {
		t.Fatal(err)
	}
	bob.sync()
	if in := bob.inbox(); len(in) != 0 {
		t.Fatalf("inbox: %+v", in)
	}
	_, err := bob.Delete(t.Context(), kept.Digest.String())
	wantCode(t, err, code.NotFound)
}
