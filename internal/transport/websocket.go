//lint:file-ignore SA1019 the project's owner chose this module; its successor has the same API and a swap is one import line in this package.

package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"relaymarket/internal/code"

	"nhooyr.io/websocket"
)

// conn is a Conn over a WebSocket. Below the library lies a cork, and at the bottom a wire.
type conn struct {
	ws       *websocket.Conn
	cork     *cork
	wire     *wire
	exporter [32]byte
	limit    atomic.Int64
	buffers  *buffers
	lent     *[]byte // what the last Read returned
}

func newConn(ws *websocket.Conn, ck *cork, w *wire, exporter [32]byte, b *buffers) *conn {
	ws.SetReadLimit(-1) // readFrame has its own limit, which closes with a code
	c := &conn{ws: ws, cork: ck, wire: w, exporter: exporter, buffers: b}
	c.limit.Store(FirstLimit)
	return c
}

// SetLimit implements Conn.
func (c *conn) SetLimit(n int) { c.limit.Store(int64(n)) }

// Exporter implements Conn.
func (c *conn) Exporter() [32]byte { return c.exporter }

// RemoteAddr implements Conn.
func (c *conn) RemoteAddr() net.Addr { return c.wire.RemoteAddr() }

// Opened implements Conn.
func (c *conn) Opened() time.Time { return c.wire.opened }

// Read borrows its buffer only once a frame has begun to arrive, so that an idle connection
// holds none.
func (c *conn) Read(ctx context.Context) ([]byte, error) {
	c.giveBack()
	typ, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, broken(ctx, closeError(err), c.RemoteAddr())
	}
	if typ != websocket.MessageBinary {
		return nil, c.refuse(code.Malformed, "frames are binary")
	}
	c.lent = c.buffers.get()
	limit := int(c.limit.Load())
	n, err := readFrame(r, c.lent, limit)
	if errors.Is(err, errOverLimit) {
		return nil, c.refuse(code.TooLarge, "a frame over the limit")
	}
	if err != nil {
		return nil, broken(ctx, closeError(err), c.RemoteAddr())
	}
	return (*c.lent)[:n:n], nil
}

func (c *conn) giveBack() {
	if c.lent != nil {
		c.buffers.put(c.lent)
		c.lent = nil
	}
}

// refuse closes for a fault of the peer and gives the error of it.
func (c *conn) refuse(cd code.Code, why string) error {
	c.Close(cd, why)
	return code.New(cd, "%s sent what is refused: %s", c.RemoteAddr(), why)
}

var errOverLimit = errors.New("frame over the limit")

// readFrame reads r to its end into *buf, growing it as bytes arrive and never by what a
// length claims.
func readFrame(r io.Reader, buf *[]byte, limit int) (int, error) {
	n := 0
	for {
		if n == len(*buf) {
			grow(buf)
		}
		k, err := r.Read((*buf)[n:])
		n += k
		if n > limit {
			return 0, errOverLimit
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Write puts the cork in while the library writes, because it flushes after each frame.
func (c *conn) Write(ctx context.Context, frames ...[]byte) error {
	if err := c.wire.SetWriteDeadline(time.Now().Add(WriteStall)); err != nil {
		return broken(ctx, err, c.RemoteAddr())
	}
	defer c.wire.SetWriteDeadline(time.Time{}) // the library's own control frames come at any time
	c.cork.put()
	for _, f := range frames {
		if err := c.ws.Write(ctx, websocket.MessageBinary, f); err != nil {
			return broken(ctx, errors.Join(err, c.cork.pull()), c.RemoteAddr())
		}
	}
	return broken(ctx, c.cork.pull(), c.RemoteAddr())
}

// closeWait is how long Close waits for the peer's agreement.
const closeWait = time.Second

// Close implements Conn.
func (c *conn) Close(cd code.Code, reason string) {
	t := time.AfterFunc(closeWait, func() { c.wire.Conn.Close() })
	defer t.Stop()
	// The error says only that the peer did not agree in time or was gone already.
	_ = c.ws.Close(closeStatus(cd), clip(reason))
}

// firstStatus is where error codes begin in WebSocket's range for applications (RFC 6455
// §7.4.2): status = 4000 + code.
const firstStatus = 4000

func closeStatus(cd code.Code) websocket.StatusCode {
	if cd == code.OK || cd >= 1000 {
		return websocket.StatusNormalClosure
	}
	return firstStatus + websocket.StatusCode(cd)
}

// closeError finds a close frame in err and turns it into the code that the peer gave. Other
// errors stay.
func closeError(err error) error {
	var ce websocket.CloseError
	if !errors.As(err, &ce) {
		return err
	}
	cd := code.Disconnected
	switch {
	case ce.Code > firstStatus && ce.Code < firstStatus+1000:
		cd = code.Code(ce.Code - firstStatus)
	case ce.Code == websocket.StatusMessageTooBig:
		cd = code.TooLarge
	case ce.Code == websocket.StatusGoingAway:
		cd = code.ShuttingDown
	case ce.Code == websocket.StatusProtocolError:
		cd = code.Malformed
	}
	if ce.Reason == "" {
		ce.Reason = "no reason given"
	}
	return code.New(cd, "the other side closed: %s", printable(ce.Reason))
}

// buffers lends buffers to the connections of one server or dialer.
type buffers struct{ pool sync.Pool }

const firstBuffer = 4 << 10

func (b *buffers) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, firstBuffer)
	return &p
}

func (b *buffers) put(p *[]byte) { b.pool.Put(p) }

// grow doubles a buffer.
func grow(p *[]byte) {
	b := make([]byte, 2*len(*p))
	copy(b, *p)
	*p = b
}
