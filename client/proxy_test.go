package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

const (
	hiddenHost = "expyuzz4wqqyqhjnexpyuzz4wqqyqhjnexpyuzz4wqqyqhjnexpyuzad.onion"
	boardHost  = "board.example" // no resolver knows it
)

// socksProxy is a SOCKS5 server (RFC 1928) that resolves names by its own table, as Tor does.
type socksProxy struct {
	net.Listener
	mu    sync.Mutex
	names map[string]string // guarded by mu: host:port as asked for, to where it leads
	asked []string          // guarded by mu
}

func newSocksProxy(t *testing.T) *socksProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &socksProxy{Listener: ln, names: make(map[string]string)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _ = p.serve(c) }()
		}
	}()
	return p
}

func (p *socksProxy) url() string { return "socks5://" + p.Addr().String() }

func (p *socksProxy) leads(name, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[name] = to
}

func (p *socksProxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func (p *socksProxy) serve(c net.Conn) error {
	name, err := greet(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.asked = append(p.asked, name)
	to, known := p.names[name]
	p.mu.Unlock()
	if !known {
		_, err := c.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0}) // host unreachable
		return err
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(out, c); out.Close() }()
	_, err = io.Copy(c, out)
	return err
}

// greet takes the greeting and a request to connect to a name.
func greet(c net.Conn) (string, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil || head[0] != 5 {
		return "", errors.New("no greeting")
	}
	if _, err := io.ReadFull(c, make([]byte, head[1])); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	req := make([]byte, 5)
	if _, err := io.ReadFull(c, req); err != nil {
		return "", err
	}
	if req[1] != 1 || req[3] != 3 {
		return fmt.Sprintf("command %d, address of kind %d", req[1], req[3]), nil
	}
	rest := make([]byte, int(req[4])+2)
	if _, err := io.ReadFull(c, rest); err != nil {
		return "", err
	}
	n := len(rest) - 2
	return fmt.Sprintf("%s:%d", rest[:n], binary.BigEndian.Uint16(rest[n:])), nil
}

// noResolver makes every question to a resolver an error of the test.
func noResolver(t *testing.T) {
	t.Helper()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a resolver was asked")
		return nil, errors.New("no resolver here")
	}}
	t.Cleanup(func() { net.DefaultResolver = before })
}

// hide moves a relay to a .onion address and gives it as others name it.
func (r *relayOf) hide() identity.RelayRef {
	r.t.Helper()
	r.stop()
	r.cfg.Addresses = []string{"wss://" + hiddenHost + ":443"}
	r.start()
	return r.ref()
}

func (p *person) check(name string) client.Check {
	p.t.Helper()
	all, err := p.Doctor(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	p.t.Fatalf("no check %q in %+v", name, all)
	return client.Check{}
}

// A hidden relay and a board with a name are used through the proxy, which alone resolves.
func TestHiddenRelayThroughAProxy(t *testing.T) {
	noResolver(t)
	r := newRelay(t)
	ref := r.hide()
	proxy := newSocksProxy(t)
	hidden, list := hiddenHost+":443", boardHost+":443"
	proxy.leads(hidden, r.Addr())
	proxy.leads(list, r.Addr())
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	for _, p := range []*person{ada, bob} {
		p.cfg.Proxy, p.cfg.Boards = proxy.url(), []string{"https://" + boardHost}
		p.reopen()
	}
	m, err := ada.Market(t.Context(), client.MarketRequest{Days: 30, FeeRateSatVB: 1})
	if err != nil || len(m.Quotes) != 1 || m.Quotes[0].Addresses[0].URL != ref.Addresses[0].URL {
		t.Fatalf("market: %+v %v", m, err)
	}
	if _, err := ada.UseRelay(t.Context(), identity.RelayRef{Key: ref.Key}); err != nil { // it is where its offer says
		t.Fatal(err)
	}
	if _, err := bob.UseRelay(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	ada.meets(bob)
	sent := ada.send("bob", "through the proxy")
	bob.sync()
	if m := bob.read(sent.Digest); string(m.Body) != "through the proxy" {
		t.Fatalf("%+v", m)
	}
	asked := proxy.requests()
	if !slices.Contains(asked, hidden) || !slices.Contains(asked, list) {
		t.Fatalf("the proxy was asked for %q", asked)
	}
	for _, name := range asked {
		if name != hidden && name != list {
			t.Errorf("the proxy was asked for %q", name)
		}
	}

	if c := ada.check("proxy"); !c.OK {
		t.Errorf("%+v", c)
	}
	if c := ada.check("relay " + ref.Key.Name()); !c.OK {
		t.Errorf("%+v", c)
	}
	proxy.Close()
	ada.reopen()
	if c := ada.check("proxy"); c.OK || !strings.Contains(c.Hint, "start Tor") {
		t.Errorf("without the proxy: %+v", c)
	}
	if c := ada.check("relay " + ref.Key.Name()); c.OK {
		t.Errorf("without the proxy: %+v", c)
	}
}

func TestHiddenRelayWithoutAProxy(t *testing.T) {
	noResolver(t)
	r := newRelay(t)
	plain := r.ref()
	ref := r.hide()
	ada := newPerson(t, "ada")
	_, err := ada.UseRelay(t.Context(), ref)
	wantCode(t, err, code.BadConfig)
	if s := code.Explain(err); !strings.Contains(s, "Tor") || !strings.Contains(s, "proxy = ") || !strings.Contains(s, "client.toml") {
		t.Errorf("nobody is told what to do: %s", s)
	}
	m, err := ada.Market(t.Context(), client.MarketRequest{Days: 30, FeeRateSatVB: 1, Sources: []string{"https://" + hiddenHost}})
	if err != nil || len(m.Problems) != 1 || !strings.Contains(m.Problems[0], "Tor") {
		t.Errorf("a hidden board: %+v %v", m, err)
	}
	// One that can also be reached otherwise is.
	ref.Addresses = append(ref.Addresses, plain.Addresses...)
	if _, err := ada.UseRelay(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

// What is on this machine needs no proxy, and none would lead there.
func TestThisMachineIsReachedWithoutTheProxy(t *testing.T) {
	r := newRelay(t)
	proxy := newSocksProxy(t)
	ada := newPerson(t, "ada")
	ada.cfg.Proxy, ada.cfg.Boards = proxy.url(), []string{"https://" + r.Addr()}
	ada.reopen()
	if m, err := ada.Market(t.Context(), client.MarketRequest{Days: 30, FeeRateSatVB: 1}); err != nil || len(m.Quotes) != 1 {
		t.Fatalf("market: %+v %v", m, err)
	}
	ada.use(r)
	if asked := proxy.requests(); len(asked) != 0 {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

func TestProxyConfiguration(t *testing.T) {
	good := client.DefaultConfig(identity.Regtest)
	good.Proxy = "socks5://user:word@[::1]:9050"
	text, err := good.Text()
	if err != nil {
		t.Fatal(err)
	}
	if c, err := client.ParseConfig("x", text); err != nil || c.Proxy != good.Proxy {
		t.Fatalf("%+v %v", c, err)
	}
	// A file from before there was a proxy is read as before.
	old := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool { return strings.HasPrefix(line, "proxy") })
	if c, err := client.ParseConfig("x", []byte(strings.Join(old, ""))); err != nil || c.Proxy != "" {
		t.Fatalf("%+v %v", c, err)
	}
	for _, bad := range []string{"http://127.0.0.1:1", "socks5://127.0.0.1", "socks5://:9050", "127.0.0.1:9050", "socks5://127.0.0.1:9050/x"} {
		c := good
		c.Proxy = bad
		if text, err = c.Text(); err != nil {
			t.Fatal(err)
		}
		_, err := client.ParseConfig("x", text)
		wantCode(t, err, code.BadConfig)
		_, err = client.Init(t.TempDir(), client.InitOptions{Config: c})
		wantCode(t, err, code.BadConfig)
	}
	c := good
	c.Bitcoin.RPC = hiddenHost + ":8334"
	_, err = client.Init(t.TempDir(), client.InitOptions{Config: c})
	wantCode(t, err, code.BadConfig)
}
