package session

import (
	"net/netip"
	"sync"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/transport"
	"relaymarket/usage"
)

// GuardLimits bound what all sessions of a relay may hold together. A network is an IPv4
// address or an IPv6 /64; networks that are transport.Shared (loopback: Tor, proxies) are
// exempt from the caps per network.
// What one identity and one network may have of proven sessions is announced to clients and
// therefore stands in usage.Limits.
type GuardLimits struct {
	Unproven           int // sessions without a proven identity, in all
	UnprovenPerNetwork int
	Sessions           int // proven sessions, in all
}

// DefaultGuardLimits suits a relay on one machine.
func DefaultGuardLimits() GuardLimits {
	return GuardLimits{Unproven: 1024, UnprovenPerNetwork: 16, Sessions: 16384}
}

// Guard counts the sessions of one relay. It is given to every Serve.
type Guard struct {
	limits GuardLimits

	mu        sync.Mutex
	unproven  int
	sessions  int
	strangers map[netip.Prefix]int
	networks  map[netip.Prefix]int
	keys      map[identity.PublicKey]int
}

// NewGuard makes a guard with nothing to guard yet.
func NewGuard(l GuardLimits) *Guard {
	return &Guard{
		limits: l, strangers: make(map[netip.Prefix]int), networks: make(map[netip.Prefix]int),
		keys: make(map[identity.PublicKey]int),
	}
}

// Count tells how many sessions there are without and with a proven identity.
func (g *Guard) Count() (unproven, proven int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.unproven, g.sessions
}

// ticket is one session's place in the counts.
type ticket struct {
	guard   *Guard
	network netip.Prefix
	key     identity.PublicKey
	proven  bool
}

// enter counts a stranger, or refuses with Busy.
func (g *Guard) enter(n netip.Prefix) (*ticket, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unproven >= g.limits.Unproven || !transport.Shared(n) && g.strangers[n] >= g.limits.UnprovenPerNetwork {
		return nil, code.New(code.Busy, "too many connections without a proof of identity")
	}
	g.unproven++
	g.strangers[n]++
	return &ticket{guard: g, network: n}, nil
}

// prove moves a stranger to the proven sessions of a key, or refuses with Busy.
func (t *ticket) prove(key identity.PublicKey, l usage.Limits) error {
	g := t.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.sessions >= g.limits.Sessions:
		return code.New(code.Busy, "the relay has as many sessions as it can hold")
	case !transport.Shared(t.network) && g.networks[t.network] >= int(l.SessionsPerAddress):
		return code.New(code.Busy, "%d sessions from this address", g.networks[t.network])
	case g.keys[key] >= int(l.SessionsPerKey):
		return code.New(code.Busy, "%d sessions of this identity", g.keys[key])
	}
	g.dropStranger(t.network)
	t.proven, t.key = true, key
	g.sessions++
	g.networks[t.network]++
	g.keys[key]++
	return nil
}

// leave ends the counting of a session.
func (t *ticket) leave() {
	g := t.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if !t.proven {
		g.dropStranger(t.network)
		return
	}
	g.sessions--
	drop(g.networks, t.network)
	drop(g.keys, t.key)
}

func (g *Guard) dropStranger(n netip.Prefix) {
	g.unproven--
	drop(g.strangers, n)
}

func drop[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] == 0 {
		delete(m, k)
	}
}
