package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// cert is one certificate for all tests.
var cert = sync.OnceValues(func() (tls.Certificate, identity.Digest) {
	certPEM, keyPEM, pin, err := GenerateCertificate(rand.Reader, time.Now())
	if err != nil {
		panic(err)
	}
	c, again, err := ParseCertificate(certPEM, keyPEM)
	if err != nil || again != pin {
		panic(fmt.Sprint("the certificate does not read back: ", err))
	}
	return c, pin
})

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// start runs a server on loopback until the end of the test and gives its address.
func start(t *testing.T, o ServerOptions) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(o).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// echo sends every frame back.
func echo(ctx context.Context, c Conn) {
	c.SetLimit(1 << 20)
	for {
		f, err := c.Read(ctx)
		if err != nil || c.Write(ctx, f) != nil {
			return
		}
	}
}

// startTLS serves TLS and gives dial options that fit.
func startTLS(t *testing.T, o ServerOptions) DialOptions {
	c, pin := cert()
	o.TLS = ServerTLS(c)
	return DialOptions{URL: "wss://" + start(t, o), Pins: []identity.Digest{pin}}
}

func dial(t *testing.T, o DialOptions) Conn {
	t.Helper()
	c, err := Dial(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(code.OK, "") })
	return c
}

func TestFramesBothWays(t *testing.T) {
	for name, o := range map[string]DialOptions{
		"tls":   startTLS(t, ServerOptions{Accept: echo}),
		"plain": {URL: "ws://" + start(t, ServerOptions{Accept: echo}), AllowPlain: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(testContext(t))
			c, err := Dial(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(code.OK, "")
			cancel() // has no effect on the connection any more
			c.SetLimit(1 << 20)
			var frames [][]byte
			for _, n := range []int{0, 1, 125, 126, 1024, 4096, 65535, 65536, 1 << 20} {
				f := make([]byte, n)
				rand.Read(f)
				frames = append(frames, f)
			}
			ctx = testContext(t)
			go func() {
				if err := c.Write(ctx, frames...); err != nil {
					t.Error(err)
				}
			}()
			for i, want := range frames {
				got, err := c.Read(ctx)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("frame %d of %d bytes: %d bytes, %v", i, len(want), len(got), err)
				}
			}
			if zero := c.Exporter() == [32]byte{}; zero != (name == "plain") {
				t.Errorf("exporter %x", c.Exporter())
			}
		})
	}
}

func TestExporterIsTheConnections(t *testing.T) {
	seen := make(chan [32]byte, 2)
	o := startTLS(t, ServerOptions{Accept: func(_ context.Context, c Conn) { seen <- c.Exporter() }})
	a, b := dial(t, o), dial(t, o)
	x, y := <-seen, <-seen
	if x == y || a.Exporter() == b.Exporter() {
		t.Error("two connections have one exporter")
	}
	if a.Exporter() != x && a.Exporter() != y || b.Exporter() != x && b.Exporter() != y {
		t.Error("the sides of a connection have different exporters")
	}
	// RFC 9266 §2, computed apart from the package.
	raw, err := tls.Dial("tcp", strings.TrimPrefix(o.URL, "wss://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	cs := raw.ConnectionState()
	want, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := exporter(&cs); err != nil || !bytes.Equal(got[:], want) {
		t.Errorf("%x %v, want %x", got, err, want)
	}
	if cs.NegotiatedProtocol != "" || cs.Version != tls.VersionTLS13 {
		t.Errorf("protocol %q, version %x", cs.NegotiatedProtocol, cs.Version)
	}
}

func TestPins(t *testing.T) {
	o := startTLS(t, ServerOptions{Accept: echo})
	good := o.Pins[0]
	o.Pins = []identity.Digest{{1}, {2}}
	if _, err := Dial(testContext(t), o); code.Of(err) != code.PinMismatch {
		t.Errorf("a wrong pin: %v", err)
	}
	o.Pins = []identity.Digest{{1}, good}
	dial(t, o)
	o.Pins = nil
	if _, err := Dial(testContext(t), o); code.Of(err) != code.BadArgument {
		t.Errorf("no pin: %v", err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	c, pin := cert()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c}, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go http.Serve(ln, nil)
	_, err = Dial(testContext(t), DialOptions{URL: "wss://" + ln.Addr().String(), Pins: []identity.Digest{pin}})
	if code.Of(err) != code.Disconnected || !strings.Contains(err.Error(), "version") {
		t.Errorf("a relay with TLS 1.2: %v", err)
	}
	o := startTLS(t, ServerOptions{Accept: echo})
	_, err = tls.Dial("tcp", strings.TrimPrefix(o.URL, "wss://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		t.Error("the server speaks TLS 1.2")
	}
}

func TestNoSessionTickets(t *testing.T) {
	o := startTLS(t, ServerOptions{Accept: echo, Web: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.DidResume)
	})})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}}}
	for range 3 {
		r, err := client.Get("https" + strings.TrimPrefix(o.URL, "wss"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(body) != "false" || r.ProtoMajor != 1 {
			t.Errorf("resumed %s, %s", body, r.Proto)
		}
	}
}

func TestRedirectsAreRefused(t *testing.T) {
	hit := make(chan string, 1)
	victim := start(t, ServerOptions{Accept: func(context.Context, Conn) { hit <- "followed" }})
	for _, to := range []string{"http://", "ws://", "https://"} {
		o := startTLS(t, ServerOptions{Accept: echo})
		o.URL = "wss://" + redirector(t, to+victim)
		if _, err := Dial(testContext(t), o); code.Of(err) != code.WrongRelay {
			t.Errorf("redirect to %s: %v", to, err)
		}
	}
	select {
	case <-hit:
		t.Error("a redirect was followed")
	default:
	}
}

// redirector answers every request, over TLS, with a redirect.
func redirector(t *testing.T, to string) string {
	c, _ := cert()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go http.Serve(ln, http.RedirectHandler(to, http.StatusFound))
	return ln.Addr().String()
}

func TestAddressesRefused(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	pins := []identity.Digest{{1}}
	for name, o := range map[string]DialOptions{
		"empty":              {Pins: pins},
		"not a URL":          {URL: "wss://[::1", Pins: pins},
		"http":               {URL: "https://127.0.0.1", Pins: pins},
		"no host":            {URL: "wss:///x", Pins: pins},
		"user":               {URL: "wss://a:b@127.0.0.1", Pins: pins},
		"fragment":           {URL: "wss://127.0.0.1/#x", Pins: pins},
		"plain":              {URL: "ws://127.0.0.1:1"},
		"plain elsewhere":    {URL: "ws://192.0.2.1:1", AllowPlain: true},
		"plain by name":      {URL: "ws://relay.example:1", AllowPlain: true},
		"plain by proxy":     {URL: "ws://127.0.0.1:1", AllowPlain: true, Proxy: "socks5://127.0.0.1:9050"},
		"onion without Tor":  {URL: "wss://abcdef.onion", Pins: pins},
		"onion with a dot":   {URL: "wss://abcdef.ONION.", Pins: pins},
		"proxy of no kind":   {URL: "wss://abcdef.onion", Pins: pins, Proxy: "http://127.0.0.1:1"},
		"proxy without port": {URL: "wss://abcdef.onion", Pins: pins, Proxy: "socks5://127.0.0.1"},
	} {
		if c, err := Dial(testContext(t), o); code.Of(err) != code.BadArgument || c != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := loopbackOnly("tcp", "192.0.2.1:80", nil); code.Of(err) != code.BadArgument {
		t.Errorf("a local name that leads elsewhere: %v", err)
	}
	dial(t, startTLS(t, ServerOptions{Accept: echo})) // in spite of HTTPS_PROXY
}

// TestOnionThroughProxy has a SOCKS proxy that resolves the name itself, as Tor does.
func TestOnionThroughProxy(t *testing.T) {
	o := startTLS(t, ServerOptions{Accept: echo})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	name := make(chan string, 1)
	go socks(ln, strings.TrimPrefix(o.URL, "wss://"), name)
	o.URL, o.Proxy = "wss://expyuzz4wqqyqhjn.onion:443/relay", "socks5://"+ln.Addr().String()
	c := dial(t, o)
	if got := <-name; got != "expyuzz4wqqyqhjn.onion:443" {
		t.Errorf("the proxy was asked for %q", got)
	}
	if err := c.Write(testContext(t), []byte("x")); err != nil {
		t.Error(err)
	}
	if f, err := c.Read(testContext(t)); err != nil || string(f) != "x" || c.Exporter() == [32]byte{} {
		t.Errorf("%q %v", f, err)
	}
}

// socks serves one CONNECT (RFC 1928) and pipes it to target.
func socks(ln net.Listener, target string, name chan<- string) {
	c, err := ln.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	head := make([]byte, 3)
	if _, err := io.ReadFull(c, head); err != nil {
		return
	}
	c.Write([]byte{5, 0})
	req := make([]byte, 5)
	if _, err := io.ReadFull(c, req); err != nil {
		return
	}
	rest := make([]byte, int(req[4])+2)
	if _, err := io.ReadFull(c, rest); err != nil {
		return
	}
	name <- fmt.Sprintf("%s:%d", rest[:len(rest)-2], binary.BigEndian.Uint16(rest[len(rest)-2:]))
	c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go io.Copy(to, c)
	io.Copy(c, to)
}

func TestNotARelay(t *testing.T) {
	c, pin := cert()
	for name, f := range map[string]struct {
		say  string
		want code.Code
	}{
		"garbage":         {"\x00\x01\x02 not http at all\r\n\r\n", code.Disconnected},
		"nothing":         {"", code.Disconnected},
		"other page":      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", code.WrongRelay},
		"not found":       {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", code.WrongRelay},
		"false upgrade":   {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: no\r\n\r\n", code.WrongRelay},
		"endless headers": {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 100) + "\r\n", code.Disconnected},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", ServerTLS(c))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				c.Read(make([]byte, 4096))
				io.WriteString(c, f.say)
			}()
			_, err = Dial(testContext(t), DialOptions{URL: "wss://" + ln.Addr().String(), Pins: []identity.Digest{pin}})
			if code.Of(err) != f.want {
				t.Errorf("%v, want %v", err, f.want)
			}
		})
	}
}

func TestSilentHostTimesOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = Dial(ctx, DialOptions{URL: "wss://" + ln.Addr().String(), Pins: []identity.Digest{{1}}})
	if code.Of(err) != code.Timeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("traffic", func(t *testing.T) {
		o := startTLS(t, ServerOptions{Accept: echo})
		for range 10 {
			c := dial(t, o)
			_ = c.Write(testContext(t), []byte("x"))
			_, _ = c.Read(testContext(t))
		}
		o.Pins = []identity.Digest{{1}}
		for range 5 {
			_, _ = Dial(testContext(t), o)
		}
	})
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines before, %d after\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
}
