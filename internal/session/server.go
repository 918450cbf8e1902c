package session

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
	"relaymarket/usage"
)

const (
	// maxListens bounds the listens of one session; they take no slot.
	maxListens = 4
	// maxStrikes is how many bad signatures end a session.
	maxStrikes = 8
	// idleTime ends a session from which nothing comes; clients ping within it.
	idleTime = 5 * time.Minute
)

// Request is one request of a client, decoded.
type Request struct {
	ID      uint64 // to be given to Reply, Send and Fail
	Message message.Message
}

// Handler does what requests ask for.
type Handler interface {
	// Handle takes one request and must see to it that it is ended by exactly one Reply or
	// Fail, at once or later, from any goroutine. It is called from the goroutine that reads
	// the session, one request at a time: while it runs nothing more is read.
	//
	// ctx ends with the session and, for a read or listen, when the client cancels it; the
	// request is to be ended then too. Hello, auth, ping and cancel never come here. From an
	// anonymous session, whose Identity is zero, only getOffer does.
	Handle(ctx context.Context, s *Server, r Request)
}

// ServerConfig is what all sessions of a relay share.
type ServerConfig struct {
	Key        identity.PrivateKey
	Genesis    [32]byte
	Limits     usage.Limits
	StoreEpoch func() [16]byte
	Handler    Handler
	// Features are the feature bits that this relay offers; an even one is a must.
	Features uint64
	// Guard holds the caps over all sessions; nil has none.
	Guard *Guard
	// Now is the relay's clock as told to clients; nil is time.Now.
	Now func() time.Time
	// FreeBytes tells in the welcome what is left of today's free allowance; nil tells 0.
	FreeBytes func(identity.PublicKey) uint64
	// Opened is called when a client has proven itself, before any of its requests; Ended,
	// for the same sessions, after the last. Either may be nil.
	Opened, Ended func(*Server)
	// Log gets internal errors with the request id, and at debug level how sessions end; nil
	// is nobody.
	Log *slog.Logger
}

// Server is the relay's side of one session.
type Server struct {
	cfg    ServerConfig
	conn   transport.Conn
	ticket *ticket
	ctx    context.Context // ends with the session
	cancel context.CancelCauseFunc
	out    outbox
	slots  chan struct{} // one element per request whose answer is not written
	timer  *time.Timer   // until proof, then until idle
	closer sync.WaitGroup

	// Of the reading goroutine alone.
	hello, helloRelay []byte // bodies, until the client's proof

	mu       sync.Mutex
	identity identity.PublicKey // zero until proven
	open     map[uint64]*openRequest
	listens  int
	strikes  int
	ended    bool
}

type openRequest struct {
	typ       message.Type
	slot      bool
	cancel    context.CancelFunc // of a read or listen; else nil
	cancelled atomic.Bool        // no further frame may carry the id
}

// Serve runs the relay's side of a session until it ends and gives the reason, which is a
// coded error: Disconnected if the client went away, ShuttingDown if ctx ended. It closes the
// connection and leaves no goroutine behind.
func Serve(ctx context.Context, conn transport.Conn, cfg ServerConfig) error {
	s := newServer(ctx, conn, cfg)
	if cfg.Guard != nil {
		t, err := cfg.Guard.enter(s.Network())
		if err != nil {
			conn.Close(code.Of(err), code.Text(err))
			return err
		}
		s.ticket = t
		defer t.leave()
	}
	s.timer = time.AfterFunc(time.Until(conn.Opened().Add(proofTime)), s.late)
	defer s.timer.Stop()
	stop := context.AfterFunc(ctx, func() { s.end(code.New(code.ShuttingDown, "the relay is stopping")) })
	defer stop()
	s.end(s.read())
	s.closer.Wait() // closes the outbox: no writer starts after it
	s.out.writers.Wait()
	if !s.Identity().IsZero() && s.cfg.Ended != nil {
		s.cfg.Ended(s)
	}
	err := context.Cause(s.ctx)
	s.cfg.Log.Debug("session ended", "client", s.Identity().Name(), "err", err)
	return err
}

func newServer(ctx context.Context, conn transport.Conn, cfg ServerConfig) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, conn: conn, slots: make(chan struct{}, cfg.Limits.MaxInFlight), open: make(map[uint64]*openRequest)}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.out = outbox{conn: conn, broke: s.end, freed: s.release}
	return s
}

// Identity is the client's proven key; zero while the session is anonymous.
func (s *Server) Identity() identity.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// Network is where the client comes from, as counted for caps.
func (s *Server) Network() netip.Prefix { return transport.Network(s.conn.RemoteAddr()) }

// Limits is what was announced to the client.
func (s *Server) Limits() usage.Limits { return s.cfg.Limits }

// Done is closed when the session ends.
func (s *Server) Done() <-chan struct{} { return s.ctx.Done() }

// Close ends the session for a reason that the client is told: the code and, unless it is
// Internal, the text of err. It does not wait.
func (s *Server) Close(err error) { s.end(err) }

// end ends the session once, whoever asks first; what is queued is still sent.
func (s *Server) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.cancel(err)
	s.closer.Go(func() {
		s.out.drain()
		closeFor(s.conn, err)
	})
}

// closeFor closes with what the peer may know of err.
func closeFor(conn transport.Conn, err error) {
	switch c := code.Of(err); c {
	case code.Disconnected:
		conn.Close(code.OK, "")
	case code.Internal:
		conn.Close(c, "")
	default:
		conn.Close(c, code.Text(err))
	}
}

// late is called by the timer.
func (s *Server) late() {
	if s.Identity().IsZero() {
		s.end(code.New(code.Timeout, "no proof of identity within %v", proofTime))
		return
	}
	s.end(code.New(code.Timeout, "nothing was heard for %v", idleTime))
}

// release frees slots.
func (s *Server) release(n int) {
	for range n {
		<-s.slots
	}
}

// Strike counts a bad signature of this client that was not reported through Fail, such as
// one of many in a request. The eighth ends the session.
func (s *Server) Strike() {
	s.mu.Lock()
	s.strikes++
	over := s.strikes >= maxStrikes
	s.mu.Unlock()
	if over {
		s.end(code.New(code.BadSignature, "%d bad signatures", maxStrikes))
	}
}
