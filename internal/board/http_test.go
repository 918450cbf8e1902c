package board

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"relaymarket/broadcast"
	"relaymarket/internal/code"
)

func serve(t *testing.T, b *Board) string {
	t.Helper()
	s := httptest.NewTLSServer(b.Handler())
	t.Cleanup(s.Close)
	return s.URL
}

func many(c *Config) { c.PerMinute = 1_000_000 }

func TestPublishAndFetch(t *testing.T) {
	b, _ := newBoard(many)
	url := serve(t, b) // a certificate that no one vouches for
	c := NewClient(nil)
	if got, err := c.Fetch(t.Context(), url); err != nil || len(got) != 0 {
		t.Fatalf("an empty board: %d, %v", len(got), err)
	}
	weak, strong := offer(t, 1, bits(1)), offer(t, 2, bits(5))
	for _, v := range []broadcast.VerifiedOffer{weak, strong} {
		if err := c.Publish(t.Context(), url, v); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Fetch(t.Context(), url+"/")
	if err != nil || len(got) != 2 || !got[0].Equal(strong.Signed()) || !got[1].Equal(weak.Signed()) {
		t.Fatalf("%d offers: %v", len(got), err)
	}
	if _, err := broadcast.Open(got[0], testTime); err != nil {
		t.Fatalf("what came back does not prove itself: %v", err)
	}
	older := offer(t, 1, func(o *broadcast.Offer) { o.Sequence = 2 })
	if err := c.Publish(t.Context(), url, older); code.Of(err) != code.BadSequence {
		t.Fatalf("an older offer: %v", err)
	}
}

func TestListChangesWithTime(t *testing.T) {
	b, clock := newBoard(many)
	url := serve(t, b)
	short := offer(t, 1, func(o *broadcast.Offer) { o.ValidUntil = o.Time + 5000 })
	if err := b.Add(short.Signed()); err != nil {
		t.Fatal(err)
	}
	if got, err := NewClient(nil).Fetch(t.Context(), url); err != nil || len(got) != 1 {
		t.Fatalf("%d offers: %v", len(got), err)
	}
	clock.wind(5000)
	if got, err := NewClient(nil).Fetch(t.Context(), url); err != nil || len(got) != 0 {
		t.Fatalf("an expired offer is still served: %d, %v", len(got), err)
	}
}

func post(t *testing.T, url string, body io.Reader) (int, failure) {
	t.Helper()
	resp, err := NewClient(nil).http.Post(url+Path, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var f failure
	raw, err := io.ReadAll(resp.Body)
	if err != nil || len(raw) > 0 && json.Unmarshal(raw, &f) != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("pages of other origins may read the answer")
	}
	return resp.StatusCode, f
}

func TestPostRefuses(t *testing.T) {
	b, _ := newBoard(func(c *Config) { many(c); c.MinPowBits = 1 })
	url := serve(t, b)
	good := offer(t, 1, bits(1)).Signed()
	hexed := fmt.Sprintf("%x", good.Bytes())
	for name, c := range map[string]struct {
		body   string
		status int
		want   code.Code
	}{
		"nothing":      {"", 400, code.Malformed},
		"prose":        {"hello", 400, code.Malformed},
		"zeros":        {string(make([]byte, 500)), 400, code.Malformed},
		"half of one":  {hexed[:200], 400, code.Malformed},
		"one and more": {hexed + "00", 400, code.Malformed},
		"forged":       {string(forged(offer(t, 2, bits(1)), 0).Bytes()), 400, code.BadSignature},
		"no work":      {string(offer(t, 2, nil).Signed().Bytes()), 400, code.BadProofOfWork},
		"too large":    {strings.Repeat("00", maxBody), 413, code.TooLarge},
		"a list":       {`{"version":1,"broadcasts":[]}`, 400, code.Malformed},
	} {
		status, f := post(t, url, strings.NewReader(c.body))
		if status != c.status || f.Code != c.want || f.Name != c.want.String() || f.Hint == "" {
			t.Errorf("%s: %d %+v", name, status, f)
		}
	}
	for _, body := range []string{hexed, " " + strings.ToUpper(hexed) + "\r\n", string(good.Bytes())} {
		if status, f := post(t, url, strings.NewReader(body)); status != 204 {
			t.Errorf("a good one: %d %+v", status, f)
		}
	}
	resp, err := NewClient(nil).http.Get(url + "/elsewhere")
	if err != nil || resp.StatusCode != 404 {
		t.Errorf("%v, %v", resp.StatusCode, err)
	}
	resp.Body.Close()
}

func TestRateLimit(t *testing.T) {
	b, clock := newBoard(func(c *Config) { c.PerMinute = 5 })
	url := serve(t, b)
	for range 5 {
		if _, err := NewClient(nil).Fetch(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewClient(nil).Fetch(t.Context(), url); code.Of(err) != code.Busy {
		t.Fatalf("the sixth request: %v", err)
	}
	clock.wind(12_000)
	if _, err := NewClient(nil).Fetch(t.Context(), url); err != nil {
		t.Fatal(err)
	}
}

// TestConcurrentFlood posts and reads from many goroutines; the race detector watches.
func TestConcurrentFlood(t *testing.T) {
	b, _ := newBoard(func(c *Config) { many(c); c.MaxOffers = 10 })
	h := b.Handler()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				body := offer(t, 100*g+i, bits(uint8(i%4))).Signed().Bytes()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", Path, bytes.NewReader(body)))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
				if got, err := decodeList(w.Body.Bytes()); err != nil || len(got) > 10 {
					t.Errorf("%d offers: %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(b.Offers()); n != 10 {
		t.Fatalf("%d offers after the flood", n)
	}
}

// TestSlowClients: neither a header nor a body that never ends holds a connection.
func TestSlowClients(t *testing.T) {
	b, _ := newBoard(many)
	b.bodyTimeout = 200 * time.Millisecond
	s := NewServer(b.Handler())
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Fatal("a timeout is not set")
	}
	s.ReadHeaderTimeout = 200 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	for name, sent := range map[string]string{
		"header": "GET /broadcasts HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"body":   "POST /broadcasts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n00",
	} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := io.Copy(io.Discard, conn); err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("a slow %s held its connection for %v: %v", name, time.Since(start), err)
		}
		conn.Close()
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != http.ErrServerClosed {
		t.Fatal(err)
	}
}

// TestHostileServers: what a client survives.
func TestHostileServers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte{' '}, 1<<16)
		for range MaxListBytes/len(chunk) + 2 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/hop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/empty", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/empty", http.StatusFound)
	})
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":1,"broadcasts":[]}`) })
	mux.HandleFunc("/future", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":2,"broadcasts":[]}`) })
	mux.HandleFunc("/html", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	mux.HandleFunc("/escape", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"code":32,"text":"\u001b[31m%s"}`, strings.Repeat("x", 1000))
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewTLSServer(mux)
	defer s.Close()
	c := NewClient(nil)
	for path, want := range map[string]code.Code{
		"/large": code.TooLarge, "/loop": code.Disconnected, "/hop": code.OK, "/plain": code.Disconnected,
		"/future": code.Unsupported, "/html": code.Malformed, "/escape": code.BoardFull, "/none": code.Disconnected,
	} {
		_, err := c.Fetch(t.Context(), s.URL+path)
		if code.Of(err) != want {
			t.Errorf("%s: %v, not %v", path, err, want)
		}
		if err != nil && (strings.ContainsRune(err.Error(), '\x1b') || len(err.Error()) > 1000) {
			t.Errorf("%s: the error carries the server's bytes: %q", path, err)
		}
	}
	if err := c.Publish(t.Context(), s.URL+"/hop", offer(t, 1, nil)); code.Of(err) != code.Disconnected {
		t.Errorf("an offer followed a redirect: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Fetch(ctx, s.URL+"/slow"); code.Of(err) != code.Timeout {
		t.Errorf("a silent server: %v", err)
	}
	for _, source := range []string{"", "ftp://x", "https://", "https://user@x", "file://relative", "://"} {
		if _, err := c.Fetch(t.Context(), source); code.Of(err) != code.BadArgument {
			t.Errorf("%q: %v", source, err)
		}
	}
}
