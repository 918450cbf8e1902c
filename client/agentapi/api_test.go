package agentapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"relaymarket/client"
	"relaymarket/client/agentapi"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// newAgent is a real agent without a node.
func newAgent(t *testing.T, label string) (*client.Agent, string) {
	t.Helper()
	c := client.DefaultConfig(identity.Regtest)
	c.Label = label
	c.Bitcoin.RPC = "127.0.0.1:1" // nobody
	dir := t.TempDir()
	if _, err := client.Init(dir, client.InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	a, err := client.Open(client.Options{Dir: dir, Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a, dir
}

// serve serves an agent in memory and gives a client; stop ends it.
func serve(t *testing.T, a agentapi.API) (c *agentapi.Client, stop func()) {
	t.Helper()
	m := agentapi.NewMemory()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agentapi.Serve(ctx, a, m) }()
	c = agentapi.NewClient(m.Dial)
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the server does not stop")
		}
		c.Close()
	}
	t.Cleanup(stop)
	return c, stop
}

func wantCode(t *testing.T, err error, want code.Code) {
	t.Helper()
	if code.Of(err) != want {
		t.Fatalf("%v where %s is wanted", err, want)
	}
}

// same compares what the agent says with what comes over the API, as the JSON that it is.
func same[T any](t *testing.T, what string, direct func() (T, error), over func() (T, error)) {
	t.Helper()
	d, derr := direct()
	o, oerr := over()
	if derr != nil || oerr != nil {
		t.Fatalf("%s: %v and %v", what, derr, oerr)
	}
	dj, _ := json.Marshal(d)
	oj, _ := json.Marshal(o)
	if string(dj) != string(oj) && !(len(dj) == 4 && string(oj) == "[]") {
		t.Fatalf("%s:\n%s\n%s", what, dj, oj)
	}
}

func TestRoundTripWithARealAgent(t *testing.T) {
	a, _ := newAgent(t, "ada")
	b, _ := newAgent(t, "bob")
	c, _ := serve(t, a)
	ctx := t.Context()
	file, err := b.Export(ctx)
	if err != nil {
		t.Fatal(err)
	}
	added, err := c.PutContact(ctx, file, "bobby")
	if err != nil || added.Key != b.Key() || added.Label != "bobby" {
		t.Fatalf("contact: %+v %v", added, err)
	}
	same(t, "identity", func() (client.IdentityInfo, error) { return a.Identity(ctx) }, func() (client.IdentityInfo, error) { return c.Identity(ctx) })
	same(t, "export", func() ([]byte, error) { return a.Export(ctx) }, func() ([]byte, error) { return c.Export(ctx) })
	same(t, "contacts", func() ([]client.Contact, error) { return a.Contacts(ctx) }, func() ([]client.Contact, error) { return c.Contacts(ctx) })
	same(t, "inbox", func() ([]client.Message, error) { return a.Inbox(ctx, true) }, func() ([]client.Message, error) { return c.Inbox(ctx, true) })
	same(t, "outbox", func() ([]client.Message, error) { return a.Outbox(ctx) }, func() ([]client.Message, error) { return c.Outbox(ctx) })
	same(t, "relays", func() ([]client.RelayInfo, error) { return a.Relays(ctx) }, func() ([]client.RelayInfo, error) { return c.Relays(ctx) })
	same(t, "evidence", func() ([]client.EvidenceInfo, error) { return a.Evidence(ctx) }, func() ([]client.EvidenceInfo, error) { return c.Evidence(ctx) })
	same(t, "contracts", func() ([]client.ContractInfo, error) { return a.Contracts(ctx) }, func() ([]client.ContractInfo, error) { return c.Contracts(ctx) })
	same(t, "grants", func() ([]client.GrantInfo, error) { return a.Grants(ctx) }, func() ([]client.GrantInfo, error) { return c.Grants(ctx) })
	if _, err := c.GrantImport(ctx, []byte("no grant")); code.Of(err) != code.Malformed {
		t.Fatalf("import: %v", err)
	}
	if _, err := c.GrantGive(ctx, client.GrantRequest{To: "bobby"}); code.Of(err) != code.ContractUnknown {
		t.Fatalf("give: %v", err)
	}
	for _, f := range []func() error{
		func() error { _, err := c.GrantRevoke(ctx, "0123456789"); return err }, func() error { _, err := c.GrantAudit(ctx, ""); return err },
	} {
		if err := f(); code.Of(err) != code.UnknownGrant {
			t.Fatalf("no such grant: %v", err)
		}
	}
	m := client.MarketRequest{Days: 30, FeeRateSatVB: 1, Sources: []string{"file:///nowhere/at/all"}}
	same(t, "market", func() (client.MarketResult, error) { return a.Market(ctx, m) }, func() (client.MarketResult, error) { return c.Market(ctx, m) })
	if addr, err := c.WalletAddress(ctx); err != nil || !strings.HasPrefix(addr, "bcrt1p") {
		t.Fatalf("address: %q %v", addr, err)
	}
	if checks, err := c.Doctor(ctx); err != nil || len(checks) == 0 {
		t.Fatalf("doctor: %+v %v", checks, err)
	}
	if err := c.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.DropContact(ctx, "bobby"); err != nil {
		t.Fatal(err)
	}
	if all, err := a.Contacts(ctx); err != nil || len(all) != 0 {
		t.Fatalf("after drop: %+v %v", all, err)
	}
}

func TestErrorsKeepCodeAndText(t *testing.T) {
	a, _ := newAgent(t, "ada")
	c, _ := serve(t, a)
	ctx := t.Context()
	id := usage.ContractID{7}
	for name, f := range map[string]func(agentapi.API) error{
		"send":     func(x agentapi.API) error { _, err := x.Send(ctx, client.SendRequest{To: "nobody"}); return err },
		"read":     func(x agentapi.API) error { _, err := x.Read(ctx, "00112233445566"); return err },
		"delete":   func(x agentapi.API) error { _, err := x.Delete(ctx, "00112233445566"); return err },
		"add":      func(x agentapi.API) error { _, err := x.AddEvidence(ctx, []byte("junk")); return err },
		"paper":    func(x agentapi.API) error { _, err := x.ExportEvidence(ctx, "0011223344"); return err },
		"drop":     func(x agentapi.API) error { return x.DropContact(ctx, "nobody") },
		"relay":    func(x agentapi.API) error { return x.DropRelay(ctx, identity.PublicKey{}) },
		"use":      func(x agentapi.API) error { _, err := x.UseRelay(ctx, identity.RelayRef{}); return err },
		"contact":  func(x agentapi.API) error { _, err := x.PutContact(ctx, []byte("junk"), ""); return err },
		"contract": func(x agentapi.API) error { _, err := x.Contract(ctx, id); return err },
		"pay":      func(x agentapi.API) error { _, err := x.ContractPay(ctx, id, 5); return err },
		"prepay":   func(x agentapi.API) error { _, err := x.ContractPrepay(ctx, id, 5); return err },
		"close":    func(x agentapi.API) error { _, err := x.ContractClose(ctx, id, "badly"); return err },
		"refund":   func(x agentapi.API) error { _, err := x.ContractRefund(ctx, id, 1); return err },
		"cancel":   func(x agentapi.API) error { _, err := x.ContractCancel(ctx, id, 1); return err },
		"export":   func(x agentapi.API) error { _, err := x.ContractExport(ctx, id, 1); return err },
		"import":   func(x agentapi.API) error { _, err := x.ContractImport(ctx, []byte("junk")); return err },
		"unspent":  func(x agentapi.API) error { _, err := x.WalletCoins(ctx); return err },
		"usage":    func(x agentapi.API) error { _, err := x.Usage(ctx, id, true); return err },
		"audit":    func(x agentapi.API) error { _, err := x.Audit(ctx, id); return err },
		"preview":  func(x agentapi.API) error { _, err := x.ContractPreview(ctx, client.OpenRequest{}); return err },
		"open":     func(x agentapi.API) error { _, err := x.ContractOpen(ctx, client.OpenRequest{}); return err },
		"renew": func(x agentapi.API) error {
			_, err := x.ContractRenew(ctx, client.RenewRequest{Contract: id})
			return err
		},
		"renewal": func(x agentapi.API) error {
			_, err := x.ContractRenewPreview(ctx, client.RenewRequest{Contract: id})
			return err
		},
		"challenge": func(x agentapi.API) error { _, err := x.Challenge(ctx, client.ChallengeRequest{All: true}); return err },
		"found":     func(x agentapi.API) error { _, err := x.RecoverFrom(ctx, nil); return err },
		"auto":      func(x agentapi.API) error { _, err := x.ContractAutoRenew(ctx, id, 5); return err },
		"balance":   func(x agentapi.API) error { _, err := x.WalletBalance(ctx); return err },
		"coins": func(x agentapi.API) error {
			_, err := x.WalletSend(ctx, client.WalletSendRequest{Address: "junk", Amount: 1})
			return err
		},
	} {
		direct, over := f(a), f(c)
		if direct == nil || over == nil {
			t.Fatalf("%s: no error: %v, %v", name, direct, over)
		}
		d, o := agentapi.FaultOf(direct), agentapi.FaultOf(over)
		if d.Code != o.Code || d.Code == code.Internal || d.Hint != o.Hint || d.Hint == "" {
			t.Errorf("%s: %+v came as %+v", name, d, o)
		}
		if d.Code != code.ChainUnavailable && d.Text != o.Text {
			t.Errorf("%s: %q came as %q", name, d.Text, o.Text)
		}
	}
}

// speaker is an agent that only listens; everything else would panic.
type speaker struct {
	agentapi.API
	say   chan client.Message
	fault chan error
	gone  chan struct{} // gets a value when a Listen has ended
}

func (s speaker) Listen(ctx context.Context, each func(client.Message) error) error {
	defer func() { s.gone <- struct{}{} }()
	for {
		select {
		case m := <-s.say:
			if err := each(m); err != nil {
				return err
			}
		case err := <-s.fault:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func TestListenStreams(t *testing.T) {
	s := speaker{say: make(chan client.Message), fault: make(chan error), gone: make(chan struct{}, 8)}
	c, stop := serve(t, s)
	listen := func(ctx context.Context, each func(client.Message) error) chan error {
		done := make(chan error, 1)
		go func() { done <- c.Listen(ctx, each) }()
		return done
	}
	got := make(chan client.Message, 10)
	take := func(m client.Message) error { got <- m; return nil }

	ctx, cancel := context.WithCancel(t.Context())
	done := listen(ctx, take)
	for _, text := range []string{"one", "two\nlines", strings.Repeat("x", 3<<20)} {
		s.say <- client.Message{Body: []byte(text)}
		if m := <-got; string(m.Body) != text {
			t.Fatalf("%d bytes came as %d", len(text), len(m.Body))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("a listener that stops: %v", err)
	}
	<-s.gone // the server notices that the caller went

	own := errors.New("enough")
	done = listen(t.Context(), func(client.Message) error { return own })
	s.say <- client.Message{}
	if err := <-done; !errors.Is(err, own) {
		t.Fatalf("a listener with an error: %v", err)
	}
	<-s.gone

	done = listen(t.Context(), take)
	s.fault <- code.New(code.StoreCorrupt, "the disk")
	wantCode(t, <-done, code.StoreCorrupt)

	done = listen(t.Context(), take)
	s.say <- client.Message{}
	<-got
	stop()
	wantCode(t, <-done, code.ShuttingDown)
	_, err := c.Identity(t.Context())
	wantCode(t, err, code.NoAgent)
}

// slow answers Identity after a while.
type slow struct {
	agentapi.API
	begun chan struct{}
}

func (s slow) Identity(context.Context) (client.IdentityInfo, error) {
	close(s.begun)
	time.Sleep(300 * time.Millisecond)
	return client.IdentityInfo{Label: "done"}, nil
}

func TestStopFinishesWhatIsInHand(t *testing.T) {
	s := slow{begun: make(chan struct{})}
	c, stop := serve(t, s)
	done := make(chan error, 1)
	go func() {
		i, err := c.Identity(context.Background())
		if err == nil && i.Label != "done" {
			err = errors.New("another answer")
		}
		done <- err
	}()
	<-s.begun
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestBadRequests(t *testing.T) {
	a, _ := newAgent(t, "ada")
	m := agentapi.NewMemory()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agentapi.Serve(ctx, a, m) }()
	defer func() { cancel(); <-done }()
	h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return m.Dial(ctx) }}}
	defer h.CloseIdleConnections()
	for _, x := range []struct {
		method, path string
		body         io.Reader
		want         code.Code
	}{
		{"POST", "/v1/identity", strings.NewReader("not json"), code.Malformed},
		{"POST", "/v1/identity", strings.NewReader(""), code.Malformed},
		{"POST", "/v1/identity", bytes.NewReader(make([]byte, 2<<20)), code.TooLarge},
		{"POST", "/v1/contract", strings.NewReader(`{"contract":"zz"}`), code.Malformed},
		{"POST", "/v1/market", strings.NewReader(`{"days":-1}`), code.Malformed},
		{"GET", "/v1/identity", nil, code.Unsupported},
		{"POST", "/v1/nothing", strings.NewReader("{}"), code.Unsupported},
		{"POST", "/v2/identity", strings.NewReader("{}"), code.Unsupported},
	} {
		req, err := http.NewRequest(x.method, "http://agent"+x.path, x.body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", x.method, x.path, err)
		}
		var f agentapi.Fault
		err = json.NewDecoder(resp.Body).Decode(&f)
		resp.Body.Close()
		if err != nil || f.Code != x.want || f.Name != x.want.String() || resp.StatusCode < 400 {
			t.Errorf("%s %s: %s %+v %v, wanted %s", x.method, x.path, resp.Status, f, err, x.want)
		}
	}
	c := agentapi.NewClient(m.Dial)
	_, err := c.Send(t.Context(), client.SendRequest{Attachments: []client.Attachment{{Data: make([]byte, agentapi.MaxAttachments+1)}}})
	wantCode(t, err, code.TooLarge)
}

func TestAnotherServerIsToldApart(t *testing.T) {
	m := agentapi.NewMemory()
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = srv.Serve(m) }()
	defer srv.Close()
	_, err := agentapi.NewClient(m.Dial).Identity(t.Context())
	wantCode(t, err, code.Unsupported)
}
