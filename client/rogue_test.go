package client

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
	"relaymarket/usage"
)

// rogue is a relay that answers as a test wants.
type rogue struct {
	t   *testing.T
	key identity.PrivateKey
	ref identity.RelayRef
	// answer is asked first; false leaves the request to what an idle relay says.
	answer func(ctx context.Context, s *session.Server, r session.Request) bool
	stop   func()

	mu    sync.Mutex
	epoch [16]byte
	open  []*session.Server
	calls map[message.Type]int
}

func newRogue(t *testing.T, a *Agent) *rogue {
	t.Helper()
	key, err := identity.NewPrivateKey(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{t: t, key: key, calls: make(map[message.Type]int)}
	cfg := session.ServerConfig{
		Key: key, Genesis: *a.params.GenesisHash, Limits: usage.DefaultLimits(), Handler: r,
		StoreEpoch: func() [16]byte { r.mu.Lock(); defer r.mu.Unlock(); return r.epoch },
		Opened:     func(s *session.Server) { r.mu.Lock(); defer r.mu.Unlock(); r.open = append(r.open, s) },
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.ref = identity.RelayRef{Key: key.Public(), Addresses: []identity.Address{{URL: "ws://" + ln.Addr().String()}}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := transport.NewServer(transport.ServerOptions{Accept: func(ctx context.Context, c transport.Conn) { _ = session.Serve(ctx, c, cfg) }})
	go func() { done <- srv.Serve(ctx, ln) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// Handle implements session.Handler.
func (r *rogue) Handle(ctx context.Context, s *session.Server, q session.Request) {
	r.mu.Lock()
	r.calls[q.Message.Type()]++
	epoch := r.epoch
	r.mu.Unlock()
	if r.answer != nil && r.answer(ctx, s, q) {
		return
	}
	switch q.Message.(type) {
	case *message.PutIdentity:
		s.Reply(q.ID, &message.OK{})
	case *message.Account:
		s.Reply(q.ID, &message.AccountInfo{FreeLimit: 1 << 30})
	case *message.Inventory:
		s.Reply(q.ID, &message.InventoryPage{StoreEpoch: epoch, Through: 1})
	case *message.Listen:
	default:
		s.Fail(q.ID, code.New(code.NotFound, "there is nothing here"))
	}
}

func (r *rogue) count(t message.Type) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[t]
}

// servedBy makes an agent use a relay without a contract.
func servedBy(t *testing.T, a *Agent, r *rogue) {
	t.Helper()
	if err := a.saveChosen(t.Context(), []identity.RelayRef{r.ref}); err != nil {
		t.Fatal(err)
	}
}

// receipt is what an honest relay would answer to a write.
func (r *rogue) receipt(m *message.Write) usage.Receipt {
	b, err := identity.ParseBundle(m.Bundles[0])
	if err != nil {
		panic(err)
	}
	all, err := b.Split()
	if err != nil {
		panic(err)
	}
	o, err := usage.OpenStoreOrder(all[0])
	if err != nil {
		panic(err)
	}
	now := identity.UnixMilli(time.Now().UnixMilli())
	return usage.Receipt{
		Header: identity.Header{Network: o.Network, From: r.key.Public(), To: o.From, Time: now},
		Order:  o.Digest(), StoredBytes: o.TotalBytes, Arrival: usage.Arrival(now) * 1000, AcceptedMs: now,
		ServiceUntil: now + 1e10, WorstMsat: o.MaxMsat, Contract: o.Contract, Terms: o.Terms,
	}
}

func (r *rogue) written(x usage.Receipt) *message.Written {
	raw, err := x.Encode()
	if err != nil {
		panic(err)
	}
	s, err := identity.SignOne(r.key, raw)
	if err != nil {
		panic(err)
	}
	return &message.Written{Receipt: s.Bytes()}
}
