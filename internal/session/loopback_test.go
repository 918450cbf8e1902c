package session

import (
	"context"
	"crypto/rand"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
)

// listen runs a relay's sessions on loopback until stop is called, which waits for all of
// them. With plain there is no TLS.
func listen(t testing.TB, sc ServerConfig, plain bool) (o transport.DialOptions, stop func()) {
	t.Helper()
	so := transport.ServerOptions{Accept: func(ctx context.Context, c transport.Conn) { _ = Serve(ctx, c, sc) }}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o = transport.DialOptions{URL: "ws://" + ln.Addr().String(), AllowPlain: true}
	if !plain {
		certPEM, keyPEM, pin, err := transport.GenerateCertificate(rand.Reader, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, _, err := transport.ParseCertificate(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		so.TLS, o.URL, o.Pins = transport.ServerTLS(cert), "wss://"+ln.Addr().String(), []identity.Digest{pin}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- transport.NewServer(so).Serve(ctx, ln) }()
	return o, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestOverLoopback has many clients, calls and streams at once, over TLS and plain, and
// leaves no goroutine behind.
func TestOverLoopback(t *testing.T) {
	before := runtime.NumGoroutine()
	for name, plain := range map[string]bool{"tls": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			sc := serverConfig(t, answer)
			sc.Guard = NewGuard(DefaultGuardLimits())
			o, stop := listen(t, sc, plain)
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() { talk(t, o, clientConfig(t)) })
			}
			wg.Wait()
			lasting, err := Dial(t.Context(), o, clientConfig(t))
			if err != nil {
				t.Fatal(err)
			}
			stop()
			<-lasting.Done()
			if code.Of(lasting.Err()) != code.ShuttingDown {
				t.Error(lasting.Err())
			}
			lasting.Close()
			if a, b := sc.Guard.Count(); a+b != 0 {
				t.Errorf("%d strangers and %d sessions are still counted", a, b)
			}
		})
	}
	noGoroutinesSince(t, before)
}

func talk(t *testing.T, o transport.DialOptions, cc Config) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := Dial(ctx, o, cc)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	var wg sync.WaitGroup
	for i := range byte(100) {
		wg.Go(func() {
			content := make([]byte, 1+int(i)*100)
			content[0] = i
			m, err := c.Call(ctx, &message.Write{Bundles: [][]byte{{1}}, Contents: [][]byte{content}})
			if err != nil || m.(*message.Written).Receipt[0] != i {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if d := c.Info().TimeOffset.Abs(); d > 5*time.Second {
		t.Errorf("time offset %v on one machine", d)
	}
}

func noGoroutinesSince(t *testing.T, before int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines before, %d after\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
}

// TestTLSInTheMiddle has a man who shows a certificate that is pinned for him too, as he
// would with a stolen offer: the relay's proof does not hold on his connection.
func TestTLSInTheMiddle(t *testing.T) {
	far, stop := listen(t, serverConfig(t, answer), false)
	defer stop()
	var inner sync.WaitGroup
	certPEM, keyPEM, pin, err := transport.GenerateCertificate(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := transport.ParseCertificate(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	proxy := transport.NewServer(transport.ServerOptions{TLS: transport.ServerTLS(cert), Accept: func(ctx context.Context, near transport.Conn) {
		to, err := transport.Dial(ctx, far)
		if err != nil {
			t.Error(err)
			return
		}
		inner.Go(func() { copyFrames(to, near) })
		copyFrames(near, to)
		to.Close(code.OK, "")
	}})
	inner.Go(func() { _ = proxy.Serve(ctx, ln) })
	o := transport.DialOptions{URL: "wss://" + ln.Addr().String(), Pins: []identity.Digest{pin}}
	if _, err := Dial(t.Context(), o, clientConfig(t)); code.Of(err) != code.BadSignature {
		t.Error(err)
	}
	cancel()
	inner.Wait()
}

func copyFrames(from, to transport.Conn) {
	for {
		f, err := from.Read(context.Background())
		if err != nil || to.Write(context.Background(), f) != nil {
			return
		}
	}
}

// TestGarbageOnOpenConnections writes bytes that are no WebSocket, or no message, to a
// relay, which must go on.
func TestGarbageOnOpenConnections(t *testing.T) {
	o, stop := listen(t, serverConfig(t, answer), true)
	defer stop()
	for _, junk := range []string{"", "\x00\xff\xfe", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"} {
		c, err := net.Dial("tcp", o.URL[len("ws://"):])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(junk))
		c.Close()
	}
	for _, junk := range [][]byte{nil, {1}, make([]byte, 100), make([]byte, 5000)} {
		c, err := transport.Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Write(t.Context(), junk)
		if _, err := c.Read(t.Context()); err == nil {
			_, err = c.Read(t.Context())
			if err == nil {
				t.Errorf("%d bytes of junk are no end", len(junk))
			}
		}
		c.Close(code.OK, "")
	}
	talk(t, o, clientConfig(t))
}
