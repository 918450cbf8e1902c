package board

import (
	"net/netip"
	"sync"
	"time"

	"relaymarket/identity"
)

// maxAddresses bounds the memory of the limiter, maxBad that of the cache of bad offers.
const (
	maxAddresses = 4096
	maxBad       = 4096
)

// limiter gives every address perMinute requests a minute, as many of them at once as it has
// saved. It forgets arbitrary addresses when there are too many: who has thousands of them is
// not held by any count per address.
type limiter struct {
	perMinute int
	mu        sync.Mutex
	full      map[netip.Prefix]time.Time // when the bucket of an address is full again
}

// allow takes one token, or tells how long to wait for one.
func (l *limiter) allow(remote string, now time.Time) (wait time.Duration, ok bool) {
	each := time.Minute / time.Duration(l.perMinute)
	key := prefix(remote)
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.full[key]
	if full.Before(now) {
		full = now
	}
	full = full.Add(each)
	if over := full.Sub(now) - time.Minute; over > 0 {
		return over, false
	}
	l.remember(key, full)
	return 0, true
}

func (l *limiter) remember(key netip.Prefix, full time.Time) {
	if l.full == nil {
		l.full = make(map[netip.Prefix]time.Time)
	}
	l.full[key] = full
	for other := range l.full {
		if len(l.full) <= maxAddresses {
			return
		}
		delete(l.full, other)
	}
}

// prefix is what counts as one address: an IPv4 address, or an IPv6 /64, which is what one
// customer has.
func prefix(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := ap.Addr().Unmap(), 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// badCache remembers the last maxBad offers with a bad signature by their whole bytes, so
// that repeating one costs no curve arithmetic.
type badCache struct {
	mu    sync.Mutex
	known map[identity.Digest]bool
	ring  [maxBad]identity.Digest
	next  int
}

func (c *badCache) has(d identity.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[d]
}

func (c *badCache) add(d identity.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[d] {
		return
	}
	delete(c.known, c.ring[c.next])
	c.ring[c.next], c.known[d] = d, true
	c.next = (c.next + 1) % maxBad
}
