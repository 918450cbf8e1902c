package client_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// run starts the agent's own life and gives a function that ends it.
func (p *person) run() (stop func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Agent.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				p.t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			p.t.Error("the agent does not stop")
		}
	})
	p.t.Cleanup(stop)
	p.halt = stop
	return stop
}

// heard collects what Listen gives.
type heard struct {
	mu  sync.Mutex
	all []client.Message
}

func (h *heard) take(m client.Message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, m)
	return nil
}

func (h *heard) texts() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, m := range h.all {
		out = append(out, string(m.Body))
	}
	return out
}

func TestRunListensAcknowledgesAndComesBack(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	bob.cfg.Limits.AckFlushSeconds = 1
	bob.reopen()
	ada.use(r)
	bob.use(r)
	ada.meets(bob)
	before := ada.send("bob", "before")

	stopBob := bob.run()
	ada.run()
	var h heard
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- bob.Listen(ctx, h.take) }()
	eventually(t, "bob hears what was sent before", func() bool { return len(h.texts()) == 1 })
	began := time.Now()
	live := ada.send("bob", "live")
	eventually(t, "bob hears what is sent now", func() bool { return len(h.texts()) == 2 })
	t.Logf("heard after %s", time.Since(began))
	eventually(t, "ada has both acknowledgements", func() bool {
		return ada.state(before.Digest) == client.StateAcknowledged && ada.state(live.Digest) == client.StateAcknowledged
	})

	// The relay goes and comes back; both find it by themselves, and what waited is sent.
	r.stop()
	away := ada.send("bob", "away")
	ada.wants(away.Digest, client.StateQueued)
	r.start()
	eventually(t, "bob hears what waited", func() bool { return len(h.texts()) == 3 })
	if got := h.texts(); got[0] != "before" || got[1] != "live" || got[2] != "away" {
		t.Fatalf("heard %q", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("listen: %v", err)
	}

	// Going offline sends what acknowledgements there are.
	bob.cfg.Limits.AckFlushSeconds = 3600
	stopBob()
	bob.reopen()
	stopBob = bob.run()
	last := ada.send("bob", "last")
	eventually(t, "bob has the last message", func() bool { return len(bob.inbox()) == 4 })
	stopBob()
	bob.close()
	eventually(t, "ada has the last acknowledgement", func() bool { return ada.state(last.Digest) == client.StateAcknowledged })
}

// crash leaves the agent as it is and goes on with what is on its disk, as after a power cut.
func (p *person) crash() {
	p.t.Helper()
	old, dir := p.Agent, p.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(p.dir)); err != nil {
		p.t.Fatal(err)
	}
	p.dir = dir
	p.open()
	p.t.Cleanup(func() { _ = old.Close() })
}

func TestCrashLosesAndRepeatsNothing(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	bob.use(r)
	ada.meets(bob)
	var sent []client.SendResult
	sent = append(sent, ada.send("bob", "stored"))
	r.stop()
	sent = append(sent, ada.send("bob", "queued"))
	ada.crash()
	sent = append(sent, ada.send("bob", "after the crash")) // sealed in an epoch of its own
	r.start()
	ada.sync()
	ada.crash()
	ada.sync()
	bob.sync()
	bob.crash()
	bob.sync()
	in := bob.inbox()
	if len(in) != 3 {
		t.Fatalf("inbox: %+v", in)
	}
	for i, m := range in {
		if m.Digest != sent[i].Digest || m.Gap || m.State != client.StateNew {
			t.Fatalf("message %d: %+v", i, m)
		}
	}
	ada.sync()
	for _, s := range sent {
		ada.wants(s.Digest, client.StateAcknowledged)
	}
}

// cutter passes connections on to a relay and cuts those that carried too much.
type cutter struct {
	net.Listener
	to    string
	limit atomic.Int64 // bytes towards the client before a connection is cut; 0: none
	cuts  atomic.Int64
}

func newCutter(t *testing.T) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: ln}
	t.Cleanup(func() { ln.Close() })
	return c
}

func (c *cutter) serve() {
	for {
		in, err := c.Accept()
		if err != nil {
			return
		}
		go c.pass(in)
	}
}

func (c *cutter) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer out.Close()
	go func() { _, _ = io.Copy(out, in); out.Close() }()
	limit := c.limit.Load()
	if limit == 0 {
		_, _ = io.Copy(in, out)
		return
	}
	if n, _ := io.CopyN(in, out, limit); n == limit {
		c.cuts.Add(1)
	}
}

func TestBrokenDownload(t *testing.T) {
	t.Run("resumes", func(t *testing.T) { testBrokenDownload(t, 4, func(*person) {}) })
	t.Run("begins again after a crash", func(t *testing.T) { testBrokenDownload(t, 1, (*person).crash) })
}

func testBrokenDownload(t *testing.T, tries int, between func(*person)) {
	r := newRelay(t)
	c := newCutter(t)
	c.to = r.Addr()
	go c.serve()
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	ada.meets(bob)
	ref := r.ref()
	ref.Addresses[0].URL = "wss://" + c.Addr().String()

	// The record is larger than what a connection carries, so it cannot arrive in one. It may be
	// read once only, so it must not be asked for a second time.
	body := randomBytes(t, 900_000)
	sent := ada.sendRequest(client.SendRequest{To: "bob", MediaType: "application/octet-stream", Body: body, MaxPulls: 1})
	r.cfg.Addresses = []string{ref.Addresses[0].URL} // from now on the relay says that it is there
	r.stop()
	r.start()
	c.to = r.Addr()
	ada.sync()
	bob.knows(ada)

	c.limit.Store(600_000)
	for range tries {
		if err := bob.Sync(t.Context()); err == nil {
			break
		}
	}
	between(bob)
	if c.cuts.Load() == 0 {
		t.Fatal("no connection was cut, so nothing was tested")
	}
	c.limit.Store(0)
	bob.sync()
	if m := bob.read(sent.Digest); !bytes.Equal(m.Body, body) {
		t.Fatal("the body is not what was sent")
	}
}

func TestWrongPinWrongKeyUnknownRelay(t *testing.T) {
	r := newRelay(t)
	ada := newPerson(t, "ada")

	ref := r.ref()
	ref.Addresses[0].Pins = []identity.Digest{{1, 2, 3}}
	_, err := ada.UseRelay(t.Context(), ref)
	wantCode(t, err, code.PinMismatch)

	other, err := identity.NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	ref = r.ref()
	ref.Key = other.Public()
	_, err = ada.UseRelay(t.Context(), ref)
	wantCode(t, err, code.WrongRelay)

	third, err := identity.NewPrivateKey(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ada.UseRelay(t.Context(), identity.RelayRef{Key: third.Public()})
	wantCode(t, err, code.NoRelay)
	if _, err := ada.Relays(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestOneAgentPerDirectory(t *testing.T) {
	ada := newPerson(t, "ada")
	_, err := client.Open(client.Options{Dir: ada.dir, Config: ada.cfg})
	wantCode(t, err, code.AlreadyRunning)
	if _, err := os.Stat(filepath.Join(ada.dir, "regtest", "lock")); err != nil {
		t.Fatal(err)
	}
	i, err := ada.Identity(t.Context())
	if err != nil || i.Label != "ada" || i.Sequence == 0 {
		t.Fatalf("identity: %+v %v", i, err)
	}
	ada.reopen()
	again, err := ada.Identity(t.Context())
	if err != nil || again.Sequence != i.Sequence || again.Card != i.Card {
		t.Fatalf("after a restart: %+v %v", again, err)
	}
}

func TestDoctor(t *testing.T) {
	r := newRelay(t)
	n := node(t)
	ada := newPerson(t, "ada")
	ada.use(r)
	find := func(name string) client.Check {
		t.Helper()
		all, err := ada.Doctor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.Name == name {
				return c
			}
		}
		t.Fatalf("no check %q in %+v", name, all)
		return client.Check{}
	}
	if c := find("bitcoin node"); c.OK || c.Hint == "" {
		t.Fatalf("without a node: %+v", c)
	}
	if c := find("relay " + r.Key().Name()); !c.OK {
		t.Fatalf("relay: %+v", c)
	}
	ada.cfg.Bitcoin = client.Bitcoin{RPC: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	ada.reopen()
	ada.run()
	eventually(t, "the wallet follows", func() bool { return find("wallet").OK })
	for _, name := range []string{"bitcoin node", "chain tip", "store", "disk", "socket"} {
		if c := find(name); !c.OK {
			t.Fatalf("%+v", c)
		}
	}
}
