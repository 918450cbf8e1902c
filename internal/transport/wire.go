package transport

import (
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
)

// corkMax is how many bytes a corked wire holds back before it sends.
const corkMax = 64 << 10

// wire is the TCP connection below TLS and WebSocket. While corked it collects small writes,
// so that many frames leave in one system call.
type wire struct {
	net.Conn
	opened time.Time
	// admitted gives back the listener's slot for connections that are not yet upgraded; nil
	// on the dialling side.
	admitted func()

	mu     sync.Mutex
	corked bool
	held   []byte
}

func newWire(c net.Conn, admitted func()) *wire {
	return &wire{Conn: c, opened: time.Now(), admitted: admitted}
}

func (w *wire) cork() {
	w.mu.Lock()
	w.corked = true
	w.mu.Unlock()
}

// uncork sends what is held back. The buffer is not kept: an idle wire holds none.
func (w *wire) uncork() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = false
	err := w.flush()
	w.held = nil
	return err
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.corked && len(w.held)+len(p) <= corkMax {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// flush sends what is held back; the lock is held.
func (w *wire) flush() error {
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.held)
	w.held = w.held[:0]
	return err
}

// Close gives the listener's slot back. It takes no lock, because a blocked Write holds it.
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
