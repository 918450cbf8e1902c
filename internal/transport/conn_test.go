package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"relaymarket/internal/code"

	"pgregory.net/rapid"
)

// bothConns runs a test over a WebSocket and over a pipe: a pair of connected Conns.
func bothConns(t *testing.T, f func(t *testing.T, a, b Conn)) {
	t.Run("websocket", func(t *testing.T) {
		got, release := make(chan Conn), make(chan struct{})
		addr := start(t, ServerOptions{Accept: func(_ context.Context, c Conn) {
			got <- c
			<-release
		}})
		a := dial(t, DialOptions{URL: "ws://" + addr, AllowPlain: true})
		defer close(release)
		f(t, a, <-got)
	})
	t.Run("pipe", func(t *testing.T) {
		a, b := Pipe([32]byte{1}, nil, &net.TCPAddr{})
		f(t, a, b)
	})
}

func TestFrameOverTheLimit(t *testing.T) {
	for _, limit := range []int{FirstLimit, 100, 70000} {
		bothConns(t, func(t *testing.T, a, b Conn) {
			ctx := testContext(t)
			if limit != FirstLimit {
				b.SetLimit(limit)
			}
			write := func(n int) { go a.Write(ctx, make([]byte, n)) }
			write(limit)
			if f, err := b.Read(ctx); err != nil || len(f) != limit {
				t.Fatalf("a frame of the limit: %d bytes, %v", len(f), err)
			}
			write(limit + 1)
			told := make(chan error)
			go func() {
				_, err := a.Read(ctx)
				told <- err
			}()
			if _, err := b.Read(ctx); code.Of(err) != code.TooLarge {
				t.Errorf("a frame over the limit: %v", err)
			}
			if err := <-told; code.Of(err) != code.TooLarge {
				t.Errorf("its sender is told %v", err)
			}
		})
	}
}

func TestCloseTellsWhy(t *testing.T) {
	long := strings.Repeat("ä", 100)
	for _, c := range []struct {
		code code.Code
		text string
		want code.Code
		part string
	}{
		{code.OK, "", code.Disconnected, ""}, {code.Busy, "too many", code.Busy, "too many"},
		{code.SequenceGap, "x", code.SequenceGap, "x"}, {code.BadSignature, long, code.BadSignature, "äää"},
		{5000, "", code.Disconnected, ""}, {code.Malformed, "a\nb", code.Malformed, "a"},
	} {
		bothConns(t, func(t *testing.T, a, b Conn) {
			ctx := testContext(t)
			go a.Read(ctx) // as every session does
			go a.Close(c.code, c.text)
			_, err := b.Read(ctx)
			if c.code == 5000 && code.Of(err) == 5000 {
				return // a pipe keeps any code
			}
			if code.Of(err) != c.want || !strings.Contains(code.Text(err), c.part) {
				t.Errorf("closed with %v %q, told %v", c.code, c.text, err)
			}
		})
	}
}

func TestCloseIsQuick(t *testing.T) {
	bothConns(t, func(t *testing.T, a, b Conn) {
		begin := time.Now()
		b.Close(code.Busy, "nobody listens")
		b.Close(code.OK, "twice")
		if d := time.Since(begin); d > 3*closeWait {
			t.Errorf("closing takes %v when the other side does not answer", d)
		}
		if _, err := b.Read(testContext(t)); code.Of(err) != code.Disconnected {
			t.Errorf("read after close: %v", err)
		}
		if err := b.Write(testContext(t), []byte("x")); code.Of(err) != code.Disconnected {
			t.Errorf("write after close: %v", err)
		}
	})
}

func TestEndingTheContextEndsTheConnection(t *testing.T) {
	bothConns(t, func(t *testing.T, a, b Conn) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := b.Read(ctx)
		if code.Of(err) != code.Timeout {
			t.Errorf("a read past its deadline: %v", err)
		}
		if _, err := a.Read(testContext(t)); code.Of(err) != code.Disconnected {
			t.Errorf("the other side: %v", err)
		}
		ctx, cancel = context.WithCancel(context.Background())
		cancel()
		if err := a.Write(ctx, []byte("x")); err == nil {
			t.Error("a write with an ended context")
		}
	})
}

func TestWriteToAStalledPeerCanBeStopped(t *testing.T) {
	bothConns(t, func(t *testing.T, a, b Conn) {
		wrote := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				err = a.Write(context.Background(), make([]byte, 1<<20), make([]byte, 1<<20))
			}
			wrote <- err
		}()
		time.Sleep(100 * time.Millisecond)
		a.Close(code.Timeout, "stalled")
		select {
		case err := <-wrote:
			if code.Of(err) != code.Disconnected {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the write still waits")
		}
	})
}

func TestTextFramesAreRefused(t *testing.T) {
	failed := make(chan error, 1)
	addr := start(t, ServerOptions{Accept: func(ctx context.Context, c Conn) {
		_, err := c.Read(ctx)
		failed <- err
	}})
	c, _ := upgrade(t, addr, "")
	c.Write([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}) // one masked text frame (RFC 6455 §5.2)
	if err := <-failed; code.Of(err) != code.Malformed {
		t.Error(err)
	}
}

// upgrade does the client's half of RFC 6455 by hand and gives connection and status.
func upgrade(t *testing.T, addr, extra string) (net.Conn, int) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", extra)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, r.StatusCode
}

// TestEarlyFrameIsNotLost sends the first frame in one packet with the request.
func TestEarlyFrameIsNotLost(t *testing.T) {
	got := make(chan string, 1)
	addr := start(t, ServerOptions{Accept: func(ctx context.Context, c Conn) {
		f, err := c.Read(ctx)
		got <- fmt.Sprint(string(f), err)
	}})
	_, status := upgrade(t, addr, "\r\n\x82\x85\x00\x00\x00\x00early")
	if status != http.StatusSwitchingProtocols {
		t.Fatal(status)
	}
	if s := <-got; s != "early<nil>" {
		t.Error(s)
	}
}

func TestBrowsersOfOtherPagesAreRefused(t *testing.T) {
	addr := start(t, ServerOptions{Accept: echo})
	if _, status := upgrade(t, addr, "Origin: https://evil.example\r\n"); status != http.StatusForbidden {
		t.Errorf("status %d", status)
	}
}

func TestCompressionIsOff(t *testing.T) {
	addr := start(t, ServerOptions{Accept: echo})
	c, status := upgrade(t, addr, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
	c.Write([]byte{0xc2, 0x81, 0, 0, 0, 0, 'x'}) // compressed bit set
	buf := make([]byte, 2)
	if _, err := io.ReadFull(c, buf); status != http.StatusSwitchingProtocols || err != nil || buf[0] != 0x88 {
		t.Errorf("status %d, answer %x, %v; wanted a close frame", status, buf, err)
	}
}

func TestWebRequests(t *testing.T) {
	addr := start(t, ServerOptions{Accept: echo, Web: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "board")
	})})
	r, err := http.Get("http://" + addr + "/offers")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, _ := io.ReadAll(r.Body); string(b) != "board" {
		t.Errorf("%q", b)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestIdleConnectionHoldsNoBuffer: a buffer is borrowed for a frame and given back at the
// next Read, even if no frame comes.
func TestIdleConnectionHoldsNoBuffer(t *testing.T) {
	addr := start(t, ServerOptions{Accept: echo})
	c := dial(t, DialOptions{URL: "ws://" + addr, AllowPlain: true}).(*conn)
	if err := c.Write(testContext(t), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(testContext(t)); err != nil || c.lent == nil || c.cork.held != nil {
		t.Fatalf("%v, lent %v, held %v", err, c.lent, c.cork.held)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Read(ctx); err == nil || c.lent != nil {
		t.Errorf("%v, lent %v", err, c.lent)
	}
}

// TestServeStopsItsConnections: Accept's context ends and Serve waits for it.
func TestServeStopsItsConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	over := false
	s := NewServer(ServerOptions{Accept: func(ctx context.Context, c Conn) {
		close(running)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond)
		over = true
	}})
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln) }()
	dial(t, DialOptions{URL: "ws://" + ln.Addr().String(), AllowPlain: true})
	<-running
	cancel()
	if err := <-done; err != nil || !over {
		t.Errorf("%v, Accept returned: %v", err, over)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := NewServer(ServerOptions{Accept: echo}).Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestPendingConnectionsAreFew: those that never upgrade are held in bounds, those that did
// do not count, and whoever leaves makes room.
func TestPendingConnectionsAreFew(t *testing.T) {
	addr := start(t, ServerOptions{Accept: echo, MaxPending: 3})
	for range 5 {
		dial(t, DialOptions{URL: "ws://" + addr, AllowPlain: true})
	}
	var idle []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	refused := func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c, err := Dial(ctx, DialOptions{URL: "ws://" + addr, AllowPlain: true})
		if err == nil {
			c.Close(code.OK, "")
		}
		return err != nil
	}
	if !refused() {
		t.Error("a connection over the cap was served")
	}
	idle[0].Close()
	for range 100 {
		if !refused() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a connection that left still counts")
}

func TestPendingCountsPerNetwork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newPendingListener(nil, 10, 3)
		var in []netip.Prefix
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(in) > 0 && rapid.Bool().Draw(t, "leave") {
				l.leave(in[0])
				in = in[1:]
				continue
			}
			n := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "net") % 5}), 32)
			count := 0
			for _, x := range in {
				if x == n {
					count++
				}
			}
			want := len(in) < 10 && count < 3
			if l.enter(n) != want {
				t.Fatalf("%d in all, %d of this network: entry is %v", len(in), count, !want)
			}
			if want {
				in = append(in, n)
			}
		}
		for _, n := range in {
			l.leave(n)
		}
		if l.all != 0 || len(l.per) != 0 {
			t.Fatalf("all left, %d and %v remain", l.all, l.per)
		}
	})
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7/32", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"[::ffff:192.0.2.7]:80": "192.0.2.7/32", "[fe80::1%eth0]:80": "fe80::/64", "127.0.0.1:5": "127.0.0.1/32", "@": "invalid Prefix",
	} {
		p := Network(addr(in))
		if p.String() != want {
			t.Errorf("%s is of network %s", in, p)
		}
		if Shared(p) != (in == "127.0.0.1:5" || in == "@") {
			t.Errorf("%s shared: %v", in, Shared(p))
		}
	}
	if Network(nil).IsValid() {
		t.Error("no address has a network")
	}
}

type addr string

func (addr) Network() string  { return "test" }
func (a addr) String() string { return string(a) }

// TestCorkKeepsTheOrder puts the cork in and out at random and compares.
func TestCorkKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := net.Pipe()
		w := &cork{Conn: a, buffers: &buffers{}}
		sizes := rapid.SliceOfN(rapid.IntRange(0, corkMax+10), 1, 20).Draw(t, "sizes")
		corks := rapid.SliceOfN(rapid.Bool(), len(sizes), len(sizes)).Draw(t, "corks")
		var want strings.Builder
		for i, n := range sizes {
			want.WriteString(strings.Repeat(string(rune('a'+i)), n))
		}
		var got []byte
		var wg sync.WaitGroup
		wg.Go(func() { got, _ = io.ReadAll(b) })
		for i, n := range sizes {
			if corks[i] {
				w.put()
			}
			if _, err := w.Write([]byte(strings.Repeat(string(rune('a'+i)), n))); err != nil {
				t.Fatal(err)
			}
			if !corks[i] {
				if err := w.pull(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.pull(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		wg.Wait()
		if string(got) != want.String() {
			t.Fatalf("wrote %d bytes, %d arrived, equal: %v", want.Len(), len(got), false)
		}
	})
}
