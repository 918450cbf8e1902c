package session

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
	"relaymarket/usage"
)

// testKey makes a fixed key per name.
func testKey(t *testing.T, name string) identity.PrivateKey {
	t.Helper()
	d := identity.Tagged("test-key", []byte(name))
	k, err := identity.NewPrivateKey(d[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var testGenesis = [32]byte{1, 2, 3}

// handlerFunc is a Handler in tests.
type handlerFunc func(ctx context.Context, s *Server, r Request)

func (f handlerFunc) Handle(ctx context.Context, s *Server, r Request) { f(ctx, s, r) }

// answer gives the plainest right answer to a request.
func answer(_ context.Context, s *Server, r Request) {
	switch m := r.Message.(type) {
	case *message.Write:
		s.Reply(r.ID, &message.Written{Receipt: m.Contents[0]})
	case *message.Account:
		s.Reply(r.ID, &message.AccountInfo{FreeUsed: r.ID})
	case *message.GetOffer:
		s.Reply(r.ID, &message.Offer{Offer: []byte("offer")})
	case *message.Contract:
		s.Reply(r.ID, &message.OK{})
	default:
		s.Fail(r.ID, code.New(code.NotFound, "no such thing"))
	}
}

func serverConfig(t *testing.T, h handlerFunc) ServerConfig {
	return ServerConfig{
		Key: testKey(t, "relay"), Genesis: testGenesis, Limits: usage.DefaultLimits(),
		StoreEpoch: func() [16]byte { return [16]byte{9} }, Handler: h,
	}
}

func clientConfig(t *testing.T) Config {
	return Config{Key: testKey(t, "client"), Relay: testKey(t, "relay").Public(), Genesis: testGenesis, KeepAlive: -1}
}

var (
	clientAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1000}
	relayAddr  = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 443}
)

// served is a relay's side that runs, and how it ended.
type served struct {
	done chan struct{}
	err  error
	stop context.CancelFunc
}

// serve runs the relay's side of a pipe and gives the client's end of it.
func serve(cfg ServerConfig) (transport.Conn, *served) {
	c, s := transport.Pipe([32]byte{7}, clientAddr, relayAddr)
	return c, serveOn(s, cfg)
}

func serveOn(conn transport.Conn, cfg ServerConfig) *served {
	ctx, cancel := context.WithCancel(context.Background())
	r := &served{done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(r.done)
		defer cancel()
		r.err = Serve(ctx, conn, cfg)
	}()
	return r
}

// ended waits for the relay's side to end and gives the code of the reason.
func (s *served) ended() code.Code {
	<-s.done
	return code.Of(s.err)
}

// connect makes a session that is closed at the end of the test; it must run in a bubble.
func connect(t *testing.T, sc ServerConfig, cc Config) (*Client, *served) {
	t.Helper()
	conn, s := serve(sc)
	c, err := Connect(context.Background(), conn, cc)
	if err != nil {
		t.Fatalf("connect: %v (relay: %v)", err, s.ended())
	}
	t.Cleanup(func() {
		c.Close()
		<-s.done
	})
	return c, s
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestHandshakeTellsBothSides(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := serverConfig(t, answer)
		ahead := 42 * time.Second
		sc.Now = func() time.Time { return time.Now().Add(ahead) }
		sc.Features, sc.FreeBytes = 0b1110, func(identity.PublicKey) uint64 { return 77 }
		var opened, over []identity.PublicKey
		sc.Opened = func(s *Server) { opened = append(opened, s.Identity()) }
		sc.Ended = func(s *Server) { over = append(over, s.Identity()) }
		cc := clientConfig(t)
		cc.Features = 0b0110
		// The relay's bit 2 is even and known to the client; bit 3 is odd and may be unknown.
		c, s := connect(t, sc, cc)
		i := c.Info()
		if i.Key != sc.Key.Public() || i.Limits != sc.Limits || i.StoreEpoch != [16]byte{9} || i.Version != 1 ||
			i.Features != 0b0110 || i.FreeBytesLeft != 77 {
			t.Errorf("the client learned %+v", i)
		}
		if d := i.TimeOffset - ahead; d < -2*time.Millisecond || d > 2*time.Millisecond {
			t.Errorf("time offset %v", i.TimeOffset)
		}
		if _, err := c.Call(t.Context(), &message.Account{}); err != nil {
			t.Error(err)
		}
		c.Close()
		if got := s.ended(); got != code.Disconnected {
			t.Errorf("the relay's side ended with %v", s.err)
		}
		want := cc.Key.Public()
		if len(opened) != 1 || len(over) != 1 || opened[0] != want || over[0] != want {
			t.Errorf("opened %v, ended %v", opened, over)
		}
	})
}

func TestConnectRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		relay  func(*ServerConfig)
		client func(*Config)
		want   code.Code
	}{
		"another relay":               {nil, func(c *Config) { c.Relay = testKey(t, "other").Public() }, code.WrongRelay},
		"another chain":               {nil, func(c *Config) { c.Genesis[0]++ }, code.WrongNetwork},
		"relay must have a feature":   {nil, func(c *Config) { c.Features = 1 << 4 }, code.Unsupported},
		"client must have a feature":  {func(s *ServerConfig) { s.Features = 1 << 4 }, nil, code.Unsupported},
		"key shown to an unknown one": {nil, func(c *Config) { c.Relay = identity.PublicKey{} }, code.BadArgument},
		"limits nobody can work with": {func(s *ServerConfig) { s.Limits.MaxPage = 0 }, nil, code.BadAmount},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sc, cc := serverConfig(t, answer), clientConfig(t)
				if c.relay != nil {
					c.relay(&sc)
				}
				if c.client != nil {
					c.client(&cc)
				}
				conn, s := serve(sc)
				if _, err := Connect(t.Context(), conn, cc); code.Of(err) != c.want {
					t.Errorf("%v, want %v", err, c.want)
				}
				<-s.done
			})
		})
	}
}

func TestOddFeaturesMayBeUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc, cc := serverConfig(t, answer), clientConfig(t)
		sc.Features, cc.Features = 1<<5, 1<<7
		if c, _ := connect(t, sc, cc); c.Info().Features != 0 {
			t.Errorf("chosen %#x", c.Info().Features)
		}
	})
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		min, max, want uint16
		err            code.Code
	}{
		{1, 1, 1, code.OK}, {0, 9, 1, code.OK}, {1, 2, 1, code.OK}, {2, 3, 0, code.Unsupported},
		{0, 0, 0, code.Unsupported}, {2, 1, 0, code.Malformed},
	} {
		if v, err := commonVersion(c.min, c.max); v != c.want || code.Of(err) != c.err {
			t.Errorf("%d to %d: %d, %v", c.min, c.max, v, err)
		}
	}
}

func TestAnonymousSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked []message.Type
		var mu sync.Mutex
		sc := serverConfig(t, func(ctx context.Context, s *Server, r Request) {
			mu.Lock()
			asked = append(asked, r.Message.Type())
			mu.Unlock()
			if !s.Identity().IsZero() {
				t.Error("an anonymous session has an identity")
			}
			answer(ctx, s, r)
		})
		sc.Opened = func(*Server) { t.Error("opened without proof") }
		cc := clientConfig(t)
		cc.Key, cc.Relay = identity.PrivateKey{}, identity.PublicKey{}
		c, s := connect(t, sc, cc)
		if m, err := c.Call(t.Context(), &message.GetOffer{}); err != nil || string(m.(*message.Offer).Offer) != "offer" {
			t.Errorf("offer: %v %v", m, err)
		}
		if _, err := c.Call(t.Context(), &message.Ping{Nonce: 1}); err != nil {
			t.Errorf("ping: %v", err)
		}
		var texts []string
		for _, info := range message.Types() {
			if info.From == message.FromRelay || info.Anonymous || info.Streams || info.Type == message.TypeCancel {
				continue
			}
			_, err := c.Call(t.Context(), sample(info.Type))
			if code.Of(err) != code.Unauthorized {
				t.Errorf("%s: %v", info.Name, err)
			}
			texts = append(texts, code.Text(err))
		}
		for _, text := range texts {
			if text != texts[0] {
				t.Errorf("refusals differ: %q, %q", text, texts[0])
			}
		}
		if len(asked) != 1 {
			t.Errorf("the handler saw %v", asked)
		}
		begin := time.Now()
		if got := s.ended(); got != code.Timeout || time.Since(begin) > proofTime {
			t.Errorf("ended with %v after %v", s.err, time.Since(begin))
		}
		<-c.Done()
		if code.Of(c.Err()) != code.Timeout {
			t.Errorf("the client was told %v", c.Err())
		}
	})
}

// sample is a small request of a type.
func sample(typ message.Type) message.Message {
	switch typ {
	case message.TypeWrite:
		return &message.Write{Bundles: [][]byte{{1}}, Contents: [][]byte{{1}}}
	case message.TypeInventory:
		return &message.Inventory{Role: message.RoleReceiver}
	case message.TypeDelete:
		return &message.Delete{Deletes: []byte{1}}
	case message.TypeAcknowledge:
		return &message.Acknowledge{Acks: []byte{1}}
	case message.TypeRequestUsage:
		return &message.RequestUsage{}
	case message.TypePutIdentity:
		return &message.PutIdentity{Document: []byte{1}}
	case message.TypeGetIdentity:
		return &message.GetIdentity{}
	case message.TypeContract:
		return &message.Contract{Statement: []byte{1}}
	}
	return &message.Account{}
}

func TestErrorsKeepTheirInsideInside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		secret := errors.New("open /secret: denied")
		var err error
		sc := serverConfig(t, func(_ context.Context, s *Server, r Request) { s.Fail(r.ID, err) })
		c, _ := connect(t, sc, clientConfig(t))
		for _, e := range []error{
			secret, code.Wrap(code.NoFunds, secret, "pay first"),
			message.WithRetry(code.New(code.Busy, "later"), 250),
		} {
			err = e
			_, got := c.Call(t.Context(), &message.Account{})
			want := message.NewError(e)
			if code.Of(got) != want.Code || code.Text(got) != want.Text || errors.Is(got, secret) ||
				message.RetryAfter(got) != want.RetryAfter {
				t.Errorf("%v became %v", e, got)
			}
		}
	})
}

// newStoppedTimer stands in for the timer that Serve starts.
func newStoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
