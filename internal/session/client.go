package session

import (
	"context"
	"errors"
	"log/slog"
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
	// dialTime bounds transport and handshake together, also over slow networks.
	dialTime = 30 * time.Second
	// keepAlive is the mean time between pings of a silent session; each is drawn between
	// half and one and a half of it, so that clients do not march in step.
	keepAlive = time.Minute
	// pongTime is how long a relay may take for a pong.
	pongTime = 20 * time.Second
	// maxPushes is how many unasked messages wait for their reader; older ones are dropped.
	maxPushes = 16
)

// Config is who a client is and whom it expects.
type Config struct {
	// Key is the client's identity; zero for an anonymous session, which sees the offer and
	// ping and is ended by the relay after eight seconds.
	Key identity.PrivateKey
	// Relay is the expected key. Zero accepts any relay, in anonymous sessions only.
	Relay   identity.PublicKey
	Genesis [32]byte
	// Features are the feature bits that this client offers; an even one is a must.
	Features uint64
	// Now is the clock that the relay's is compared with; nil is time.Now.
	Now func() time.Time
	// KeepAlive is the mean time between pings; 0 is a minute, below 0 there are none.
	KeepAlive time.Duration
	// Log gets oddities of the relay at debug level; nil is nobody.
	Log *slog.Logger
}

// Info is what the handshake told of the relay.
type Info struct {
	Key           identity.PublicKey
	Limits        usage.Limits
	StoreEpoch    [16]byte      // if it changed since the last session: list again from 0
	TimeOffset    time.Duration // relay's clock minus this one
	Version       uint16
	Features      uint64 // those that both sides offer
	FreeBytesLeft uint64 // of today's free allowance
}

// Client is the client's side of one session. Its methods may be called from any goroutine.
type Client struct {
	cfg   Config
	conn  transport.Conn
	info  Info
	out   outbox
	slots chan struct{} // one element per open request, listens aside
	heard atomic.Bool   // something came since the last look

	pushes chan message.Message
	done   chan struct{}
	work   sync.WaitGroup

	mu    sync.Mutex
	last  uint64 // request id
	open  map[uint64]*call
	err   error
	ended bool
}

// call is one open request: of Call (answer), of Stream (stream), or nobody's any more.
type call struct {
	typ     message.Type
	slot    bool
	answer  chan message.Message // nil if nobody waits
	stream  *Stream
	cancels uint64 // of a cancel: the request that ends with its answer
}

// Dial connects to a relay and does the handshake, in at most half a minute. Errors are those
// of transport.Dial and of Connect.
func Dial(ctx context.Context, o transport.DialOptions, cfg Config) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := transport.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	return Connect(ctx, conn, cfg)
}

// Connect does the handshake on a connection, which it closes if that fails. Errors carry
// WrongRelay (another key than expected), WrongNetwork, Unsupported (no common version, or a
// feature that one side must have), BadSignature, Malformed, Timeout, Disconnected, or the
// code by which the relay refuses: Busy above all.
func Connect(ctx context.Context, conn transport.Conn, cfg Config) (*Client, error) {
	c := newClient(conn, cfg)
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if err := c.handshake(ctx); err != nil {
		closeFor(conn, err)
		return nil, err
	}
	c.slots = make(chan struct{}, c.info.Limits.MaxInFlight)
	c.work.Go(c.read)
	if c.cfg.KeepAlive > 0 {
		c.work.Go(c.keepAlive)
	}
	return c, nil
}

func newClient(conn transport.Conn, cfg Config) *Client {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = keepAlive
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg: cfg, conn: conn, pushes: make(chan message.Message, maxPushes), done: make(chan struct{}),
		open: make(map[uint64]*call), last: handshakeID,
	}
	c.out = outbox{conn: conn, broke: c.end, freed: func(int) {}}
	return c
}

// Info is what the handshake told of the relay.
func (c *Client) Info() Info { return c.info }

// Done is closed when the session ends; Err says why then.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the session ended, a coded error; nil while it lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Pushes are the messages that the relay sends unasked: requests for payment. If nobody
// reads, older ones are dropped; a relay repeats what matters. It is closed when the session
// ends.
func (c *Client) Pushes() <-chan message.Message { return c.pushes }

// Close ends the session and waits until nothing of it is left. Open calls fail with
// Disconnected.
func (c *Client) Close() {
	c.end(code.New(code.Disconnected, "closed by this side"))
	c.work.Wait()
	c.out.writers.Wait()
}

// end ends the session once, whoever asks first.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.err = true, err
	close(c.done)
	for _, k := range c.open {
		if k.stream != nil {
			k.stream.fail(err)
		}
	}
	c.work.Go(func() {
		c.out.drain()
		closeFor(c.conn, err)
	})
}

// Call sends a request and waits for its one answer; a refusal comes back as the relay's
// coded error (message.RetryAfter may find when to try again). A request whose ctx ends may
// still be done by the relay. Errors of this side carry TooLarge (over the relay's frame
// limit), BadArgument, Timeout (ctx ended) or the reason of Err.
func (c *Client) Call(ctx context.Context, m message.Message) (message.Message, error) {
	if i, ok := m.Type().Info(); !ok || len(i.Answers) == 0 || i.Streams {
		return nil, code.New(code.BadArgument, "%s has no single answer", m.Type())
	}
	k := &call{typ: m.Type(), slot: takesSlot(m.Type()), answer: make(chan message.Message, 1)}
	if _, err := c.begin(ctx, k, m); err != nil {
		return nil, err
	}
	select {
	case a := <-k.answer:
		return verdict(a)
	case <-ctx.Done():
		return nil, code.Wrap(code.Timeout, ctx.Err(), "no answer to %s", m.Type())
	case <-c.done:
	}
	select {
	case a := <-k.answer: // it came just before the end
		return verdict(a)
	default:
		return nil, c.Err()
	}
}

// verdict turns an error message into an error.
func verdict(m message.Message) (message.Message, error) {
	if e, ok := m.(*message.Error); ok {
		return nil, e.Err()
	}
	return m, nil
}

// takesSlot tells which requests count against the relay's limit: those that it answers out
// of its own hand, and listens, do not.
func takesSlot(t message.Type) bool {
	return t != message.TypeListen && t != message.TypePing && t != message.TypeCancel
}

// begin registers a request and queues its frame.
func (c *Client) begin(ctx context.Context, k *call, m message.Message) (uint64, error) {
	if k.slot {
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return 0, code.Wrap(code.Timeout, ctx.Err(), "%d requests are open already", cap(c.slots))
		case <-c.done:
			return 0, c.Err()
		}
	}
	id, err := c.register(k)
	if err != nil {
		return 0, err
	}
	frame, err := message.Encode(id, m)
	if err == nil && len(frame) > int(c.info.Limits.MaxFrame) {
		err = code.New(code.TooLarge, "a %s of %d bytes, the relay takes %d", m.Type(), len(frame), c.info.Limits.MaxFrame)
	}
	if err == nil {
		err = c.out.putWait(ctx, frame, nil)
	}
	if err != nil {
		c.forget(id)
		if errors.Is(err, errEnded) && c.Err() != nil {
			err = c.Err()
		}
		return 0, err
	}
	return id, nil
}

func (c *Client) register(k *call) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, c.err
	}
	c.last++
	c.open[c.last] = k
	return c.last, nil
}

// forget closes a request and frees its slot.
func (c *Client) forget(id uint64) {
	c.mu.Lock()
	k := c.open[id]
	delete(c.open, id)
	c.mu.Unlock()
	if k != nil && k.slot {
		<-c.slots
	}
}
