package transport

import (
	"net"
	"net/netip"
	"sync"
)

// pendingListener makes wires and bounds how many of them are not yet upgraded, so that
// strangers who only open connections cannot take all descriptors.
type pendingListener struct {
	net.Listener
	max, maxPer int

	mu  sync.Mutex
	all int
	per map[netip.Prefix]int
}

func newPendingListener(ln net.Listener, max, maxPer int) *pendingListener {
	return &pendingListener{Listener: ln, max: max, maxPer: maxPer, per: make(map[netip.Prefix]int)}
}

// Accept closes what is over the caps and goes on.
func (l *pendingListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		n := Network(c.RemoteAddr())
		if !l.enter(n) {
			c.Close()
			continue
		}
		return newWire(c, sync.OnceFunc(func() { l.leave(n) })), nil
	}
}

func (l *pendingListener) enter(n netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.max || !Shared(n) && l.per[n] >= l.maxPer {
		return false
	}
	l.all++
	l.per[n]++
	return true
}

func (l *pendingListener) leave(n netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.per[n]--; l.per[n] == 0 {
		delete(l.per, n)
	}
}
