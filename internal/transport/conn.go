package transport

import (
	"context"
	"errors"
	"net"
	"time"

	"relaymarket/internal/code"
)

// FirstLimit is the largest frame in bytes that a connection reads until SetLimit raises it:
// whoever has proven nothing gets no more memory than this.
const FirstLimit = 1 << 10

// Conn carries frames between two sides. It is implemented by WebSocket connections and by
// Pipe. One goroutine may read and one may write at a time; all else may be called from
// anywhere.
//
// Errors are coded: Timeout when a deadline passed, TooLarge when a frame passed a limit
// (either side's), the code that the other side gave to Close, else Disconnected. After any
// error the connection is of no more use but must still be closed.
type Conn interface {
	// Read gives the next frame. The bytes are valid until the next Read. A frame over the
	// limit closes the connection. Ending ctx closes the connection too.
	Read(ctx context.Context) ([]byte, error)
	// Write sends frames in order, together in as few system calls as it can. It fails when
	// the other side takes nothing for WriteStall. It keeps nothing of the frames.
	Write(ctx context.Context, frames ...[]byte) error
	// SetLimit sets the largest frame in bytes that Read accepts, from the next one on.
	SetLimit(n int)
	// Exporter is the TLS channel binding (RFC 9266, tls-exporter), equal on both sides of
	// one TLS connection and of no two; zero on a plain connection.
	Exporter() [32]byte
	// RemoteAddr is the other side's network address.
	RemoteAddr() net.Addr
	// Opened is when the connection was made, before TLS and HTTP: the time that a peer has
	// to prove itself counts from here.
	Opened() time.Time
	// Close tells the other side a code and a sentence of at most 120 bytes, waits at most a
	// second for it to agree, and closes. Later calls do nothing.
	Close(c code.Code, reason string)
}

// WriteStall is how long the other side may take no bytes before a Write fails.
const WriteStall = 30 * time.Second

// broken turns the error of a read or write into a coded one, given that ctx bounded it.
func broken(ctx context.Context, err error, addr net.Addr) error {
	var coded *code.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return code.Wrap(code.Timeout, err, "%s was silent for too long", addr)
	case ctx.Err() != nil:
		return code.Wrap(code.Disconnected, errors.Join(ctx.Err(), err), "connection to %s given up", addr)
	}
	return code.Wrap(code.Disconnected, err, "connection to %s broke", addr)
}
