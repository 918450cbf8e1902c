package transport

import (
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
)

// wire is the TCP connection below everything else. It knows when it was opened and, on the
// accepting side, gives its place among the pending connections back.
type wire struct {
	net.Conn
	opened   time.Time
	admitted func() // nil on the dialling side
}

func newWire(c net.Conn, admitted func()) *wire {
	return &wire{Conn: c, opened: time.Now(), admitted: admitted}
}

// Close counts the connection no more among the pending.
func (w *wire) Close() error {
	w.admit()
	return w.Conn.Close()
}

// admit ends the time in which the connection counts against the listener's caps.
func (w *wire) admit() {
	if w.admitted != nil {
		w.admitted()
	}
}

// corkMax is how many bytes a cork holds back before it sends.
const corkMax = 64 << 10

// cork is a connection that, while it is in, collects small writes, so that many frames leave
// in one system call, and in few TLS records where it lies above TLS.
type cork struct {
	net.Conn
	buffers *buffers

	mu   sync.Mutex
	in   bool
	held *[]byte // borrowed while something is held back, else nil
	n    int
}

func (c *cork) put() {
	c.mu.Lock()
	c.in = true
	c.mu.Unlock()
}

// pull sends what is held back. The buffer is given back: an idle connection has none.
func (c *cork) pull() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = false
	err := c.flush()
	if c.held != nil {
		c.buffers.put(c.held)
		c.held = nil
	}
	return err
}

// Write is called by the WebSocket library, one call at a time.
func (c *cork) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in && c.n+len(p) <= corkMax {
		c.hold(p)
		return len(p), nil
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// hold keeps p for later; the lock is held.
func (c *cork) hold(p []byte) {
	if c.held == nil {
		c.held = c.buffers.get()
	}
	for c.n+len(p) > len(*c.held) {
		grow(c.held)
	}
	c.n += copy((*c.held)[c.n:], p)
}

// flush sends what is held back; the lock is held.
func (c *cork) flush() error {
	if c.n == 0 {
		return nil
	}
	_, err := c.Conn.Write((*c.held)[:c.n])
	c.n = 0
	return err
}

// clip cuts a close reason to what a control frame holds (RFC 6455 §5.5).
func clip(s string) string {
	if len(s) > 120 {
		s = s[:120]
	}
	return strings.ToValidUTF8(s, "")
}

// printable makes a peer's sentence safe for terminals and logs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
