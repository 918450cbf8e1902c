package session

import (
	"bytes"
	"context"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
)

// relayThrough connects a client to a relay through a man in the middle, who may change any
// frame, and gives both outcomes.
func relayThrough(t *testing.T, sc ServerConfig, cc Config, change func(message.Message)) (*served, error) {
	t.Helper()
	clientEnd, left := transport.Pipe([32]byte{7}, clientAddr, relayAddr)
	right, relayEnd := transport.Pipe([32]byte{7}, clientAddr, relayAddr)
	left.SetLimit(1 << 20)
	right.SetLimit(1 << 20)
	s := serveOn(relayEnd, sc)
	forward := func(from, to transport.Conn) {
		for {
			frame, err := from.Read(context.Background())
			if err != nil {
				to.Close(code.Of(err), code.Text(err))
				return
			}
			if id, m, err := message.Decode(frame, len(frame)); err == nil {
				change(m)
				if frame, err = message.Encode(id, m); err != nil {
					t.Error(err)
				}
			}
			if to.Write(context.Background(), frame) != nil {
				return
			}
		}
	}
	go forward(left, right)
	go forward(right, left)
	c, err := Connect(context.Background(), clientEnd, cc)
	if err == nil {
		_, err = c.Call(context.Background(), &message.Account{})
		c.Close()
	}
	clientEnd.Close(code.OK, "")
	<-s.done
	return s, err
}

func TestNobodyInTheMiddleChangesTheHandshake(t *testing.T) {
	hello := func(f func(*message.Hello)) func(message.Message) {
		return func(m message.Message) {
			if h, ok := m.(*message.Hello); ok {
				f(h)
			}
		}
	}
	relay := func(f func(*message.HelloRelay)) func(message.Message) {
		return func(m message.Message) {
			if h, ok := m.(*message.HelloRelay); ok {
				f(h)
			}
		}
	}
	other := testKey(t, "other").Public()
	for name, c := range map[string]struct {
		change func(message.Message)
		want   code.Code
	}{
		"nothing":             {func(message.Message) {}, code.OK},
		"hello min version":   {hello(func(h *message.Hello) { h.MinVersion = 0 }), code.BadSignature},
		"hello max version":   {hello(func(h *message.Hello) { h.MaxVersion = 7 }), code.BadSignature},
		"hello features":      {hello(func(h *message.Hello) { h.Features ^= 2 }), code.BadSignature},
		"hello genesis":       {hello(func(h *message.Hello) { h.Genesis[31]++ }), code.WrongNetwork},
		"hello nonce":         {hello(func(h *message.Hello) { h.Nonce[0]++ }), code.BadSignature},
		"relay version":       {relay(func(h *message.HelloRelay) { h.Version = 2 }), code.BadSignature},
		"relay features":      {relay(func(h *message.HelloRelay) { h.Features = 0 }), code.BadSignature},
		"relay offered":       {relay(func(h *message.HelloRelay) { h.Offered |= 8 }), code.BadSignature},
		"relay genesis":       {relay(func(h *message.HelloRelay) { h.Genesis[0]++ }), code.BadSignature},
		"relay nonce":         {relay(func(h *message.HelloRelay) { h.Nonce[0]++ }), code.BadSignature},
		"relay key":           {relay(func(h *message.HelloRelay) { h.Key = other }), code.WrongRelay},
		"relay sig":           {relay(func(h *message.HelloRelay) { h.Sig[63]++ }), code.BadSignature},
		"relay without sig":   {relay(func(h *message.HelloRelay) { h.Sig = [64]byte{} }), code.BadSignature},
		"relay limits":        {relay(func(h *message.HelloRelay) { h.Limits[len(h.Limits)-1]++ }), code.BadSignature},
		"relay store epoch":   {relay(func(h *message.HelloRelay) { h.StoreEpoch[0]++ }), code.BadSignature},
		"relay time":          {relay(func(h *message.HelloRelay) { h.Time++ }), code.BadSignature},
		"client key":          {changeAuth(func(a *message.Auth) { a.Key = other }), code.BadSignature},
		"client key to none":  {changeAuth(func(a *message.Auth) { a.Key = identity.PublicKey{} }), code.BadSignature},
		"client key off it":   {changeAuth(func(a *message.Auth) { a.Key = identity.PublicKey{0xff, 0xff} }), code.BadSignature},
		"client sig":          {changeAuth(func(a *message.Auth) { a.Sig[0]++ }), code.BadSignature},
		"another is welcomed": {changeWelcome, code.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sc, cc := serverConfig(t, answer), clientConfig(t)
				sc.Features, cc.Features = 2, 2
				if _, err := relayThrough(t, sc, cc, c.change); code.Of(err) != c.want {
					t.Errorf("%v, want %v", err, c.want)
				}
			})
		})
	}
}

func changeAuth(f func(*message.Auth)) func(message.Message) {
	return func(m message.Message) {
		if a, ok := m.(*message.Auth); ok {
			f(a)
		}
	}
}

func changeWelcome(m message.Message) {
	if w, ok := m.(*message.Welcome); ok {
		w.Key[0]++
	}
}

// TestProofIsBoundToTheConnection is the man in the middle who changes nothing but has a TLS
// connection of his own on either side.
func TestProofIsBoundToTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		clientEnd, left := transport.Pipe([32]byte{1}, clientAddr, relayAddr)
		right, relayEnd := transport.Pipe([32]byte{2}, clientAddr, relayAddr)
		s := serveOn(relayEnd, serverConfig(t, answer))
		go func() {
			hello, _ := left.Read(context.Background())
			_ = right.Write(context.Background(), hello)
			answer, _ := right.Read(context.Background())
			_ = left.Write(context.Background(), answer)
			if frame, err := left.Read(context.Background()); err == nil {
				t.Errorf("the client went on with %x", frame)
			}
		}()
		if _, err := Connect(context.Background(), clientEnd, clientConfig(t)); code.Of(err) != code.BadSignature {
			t.Error(err)
		}
		right.Close(code.OK, "")
		<-s.done
	})
}

// stranger speaks raw frames to a relay.
type stranger struct {
	t    *testing.T
	conn transport.Conn
	*served
}

func meet(t *testing.T, sc ServerConfig) *stranger {
	conn, s := serve(sc)
	conn.SetLimit(1 << 24)
	return &stranger{t, conn, s}
}

// known is a stranger that has proven itself.
func known(t *testing.T, sc ServerConfig) *stranger {
	t.Helper()
	x := meet(t, sc)
	if err := newClient(x.conn, clientConfig(t)).handshake(context.Background()); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *stranger) send(frame []byte) {
	if err := x.conn.Write(context.Background(), frame); err != nil {
		x.t.Logf("send: %v", err)
	}
}

func (x *stranger) say(id uint64, m message.Message) {
	x.t.Helper()
	f, err := message.Encode(id, m)
	if err != nil {
		x.t.Fatal(err)
	}
	x.send(f)
}

// hear gives the next answer, or the code by which the relay closed.
func (x *stranger) hear() (uint64, message.Message, code.Code) {
	frame, err := x.conn.Read(context.Background())
	if err != nil {
		return 0, nil, code.Of(err)
	}
	id, m, err := message.Decode(frame, 1<<24)
	if err != nil {
		x.t.Errorf("the relay says %x: %v", frame, err)
	}
	return id, m, code.OK
}

// refused expects an error for a request and gives its code.
func (x *stranger) refused(want uint64) code.Code {
	x.t.Helper()
	id, m, closed := x.hear()
	e, ok := m.(*message.Error)
	if !ok || id != want {
		x.t.Fatalf("request %d: answer %d %+v, closed %v", want, id, m, closed)
	}
	return e.Code
}

// TestProofIsNotReplayed shows the recorded proof of one session in another.
func TestProofIsNotReplayed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := serverConfig(t, answer)
		var hello, auth []byte
		_, err := relayThrough(t, sc, clientConfig(t), func(m message.Message) {
			switch m.(type) {
			case *message.Hello:
				hello, _ = message.Encode(1, m)
			case *message.Auth:
				auth, _ = message.Encode(2, m)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		x := meet(t, sc)
		x.send(bytes.Clone(hello)) // the same hello: the relay's nonce differs
		x.hear()
		x.send(bytes.Clone(auth))
		if got := x.refused(2); got != code.BadSignature {
			t.Errorf("replayed: %v", got)
		}
		if _, _, closed := x.hear(); closed != code.BadSignature || x.ended() != code.BadSignature {
			t.Errorf("after a false proof: %v, %v", closed, x.err)
		}
	})
}

// TestRelayProofIsNoClientProof reflects the relay's own signature at it.
func TestRelayProofIsNoClientProof(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := meet(t, serverConfig(t, answer))
		x.say(1, &message.Hello{MinVersion: 1, MaxVersion: 1, Genesis: testGenesis})
		_, m, _ := x.hear()
		h := m.(*message.HelloRelay)
		x.say(2, &message.Auth{Key: h.Key, Sig: h.Sig})
		if got := x.refused(2); got != code.BadSignature {
			t.Errorf("reflected: %v", got)
		}
		<-x.done
	})
}

func TestSilenceEndsAtEightSeconds(t *testing.T) {
	for name, say := range map[string]func(*stranger){
		"nothing said": func(*stranger) {},
		"hello only": func(x *stranger) {
			x.say(1, &message.Hello{MinVersion: 1, MaxVersion: 1, Genesis: testGenesis})
			x.hear()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				begin := time.Now()
				x := meet(t, serverConfig(t, answer))
				say(x)
				if _, _, closed := x.hear(); closed != code.Timeout || x.ended() != code.Timeout {
					t.Errorf("%v, %v", closed, x.err)
				}
				if d := time.Since(begin); d != proofTime {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}

// TestTimeToProveCountsFromTheConnection: whoever spends it on TLS and HTTP has less left.
func TestTimeToProveCountsFromTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		begin := time.Now()
		c, s := transport.Pipe([32]byte{}, clientAddr, relayAddr)
		time.Sleep(5 * time.Second)
		r := serveOn(s, serverConfig(t, answer))
		if r.ended() != code.Timeout || time.Since(begin) != proofTime {
			t.Errorf("%v after %v", r.err, time.Since(begin))
		}
		c.Close(code.OK, "")
	})
}

func TestBadBeginnings(t *testing.T) {
	enc := func(id uint64, m message.Message) []byte {
		f, err := message.Encode(id, m)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	good := message.Hello{MinVersion: 1, MaxVersion: 1, Genesis: testGenesis}
	for name, c := range map[string]struct {
		frame []byte
		want  code.Code
	}{
		"empty":          {nil, code.Malformed},
		"short":          {[]byte{0, 1}, code.Malformed},
		"id zero":        {enc(0, &good), code.Malformed},
		"truncated":      {enc(1, &good)[:40], code.Malformed},
		"auth first":     {enc(1, &message.Auth{}), code.Malformed},
		"ping first":     {enc(1, &message.Ping{}), code.Malformed},
		"unknown first":  {append([]byte{9, 9}, enc(1, &good)[2:]...), code.Malformed},
		"http":           {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), code.Malformed},
		"over 1 KiB":     {make([]byte, transport.FirstLimit+1), code.TooLarge},
		"future version": {enc(1, &message.Hello{MinVersion: 2, MaxVersion: 3, Genesis: testGenesis}), code.Unsupported},
		"no version":     {enc(1, &message.Hello{MinVersion: 3, MaxVersion: 2, Genesis: testGenesis}), code.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				x := meet(t, serverConfig(t, answer))
				x.send(c.frame)
				_, m, closed := x.hear()
				if e, ok := m.(*message.Error); ok {
					if e.Code != c.want {
						t.Errorf("told %v", e.Code)
					}
					_, _, closed = x.hear()
				}
				if closed != c.want || x.ended() != c.want {
					t.Errorf("closed %v, ended %v, want %v", closed, x.err, c.want)
				}
			})
		})
	}
}
