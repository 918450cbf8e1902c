package transport

import (
	"context"
	"net"
	"sync"
	"time"

	"relaymarket/internal/code"
)

// Pipe is a pair of connected Conns in memory, without buffer: a Write returns when the other
// side has read. Both show the given channel binding and each the address of the other. It
// uses nothing but channels, so that tests can run it in a bubble of virtual time.
func Pipe(exporter [32]byte, a, b net.Addr) (Conn, Conn) {
	ab, ba := make(chan []byte), make(chan []byte)
	gone := &pipeEnd{closed: make(chan struct{})}
	now := time.Now()
	x := &pipe{in: ba, out: ab, end: gone, exporter: exporter, remote: b, opened: now, limit: FirstLimit}
	y := &pipe{in: ab, out: ba, end: gone, exporter: exporter, remote: a, opened: now, limit: FirstLimit}
	return x, y
}

// pipeEnd is how a pipe ended, known to both sides.
type pipeEnd struct {
	once   sync.Once
	closed chan struct{}
	by     *pipe
	err    error
}

type pipe struct {
	in       <-chan []byte
	out      chan<- []byte
	end      *pipeEnd
	exporter [32]byte
	remote   net.Addr
	opened   time.Time

	mu    sync.Mutex
	limit int
}

// Exporter implements Conn.
func (p *pipe) Exporter() [32]byte { return p.exporter }

// RemoteAddr implements Conn.
func (p *pipe) RemoteAddr() net.Addr { return p.remote }

// Opened implements Conn.
func (p *pipe) Opened() time.Time { return p.opened }

// SetLimit implements Conn.
func (p *pipe) SetLimit(n int) {
	p.mu.Lock()
	p.limit = n
	p.mu.Unlock()
}

// Read implements Conn.
func (p *pipe) Read(ctx context.Context) ([]byte, error) {
	select {
	case f := <-p.in:
		p.mu.Lock()
		over := len(f) > p.limit
		p.mu.Unlock()
		if over {
			p.Close(code.TooLarge, "a frame over the limit")
			return nil, code.New(code.TooLarge, "%s sent what is refused: a frame over the limit", p.remote)
		}
		return f, nil
	case <-p.end.closed:
		return nil, p.ended()
	case <-ctx.Done():
		p.Close(code.Disconnected, "given up")
		return nil, broken(ctx, ctx.Err(), p.remote)
	}
}

// Write implements Conn.
func (p *pipe) Write(ctx context.Context, frames ...[]byte) error {
	for _, f := range frames {
		if err := p.write(ctx, append([]byte(nil), f...)); err != nil {
			return err
		}
	}
	return nil
}

func (p *pipe) write(ctx context.Context, f []byte) error {
	stall := time.NewTimer(WriteStall)
	defer stall.Stop()
	select {
	case p.out <- f:
		return nil
	case <-p.end.closed:
		return p.ended()
	case <-ctx.Done():
		p.Close(code.Disconnected, "given up")
		return broken(ctx, ctx.Err(), p.remote)
	case <-stall.C:
		p.Close(code.Timeout, "stalled")
		return code.New(code.Timeout, "%s takes nothing", p.remote)
	}
}

// ended is the error after the end: the peer's code, or that this side closed itself.
func (p *pipe) ended() error {
	if p.end.by == p {
		return code.Wrap(code.Disconnected, net.ErrClosed, "connection to %s", p.remote)
	}
	return p.end.err
}

// Close implements Conn.
func (p *pipe) Close(c code.Code, reason string) {
	p.end.once.Do(func() {
		if c == code.OK {
			c = code.Disconnected
		}
		p.end.by, p.end.err = p, code.New(c, "the other side closed: %s", clip(reason))
		close(p.end.closed)
	})
}
