package transport

import (
	"net"
	"net/netip"
)

// Network is the unit by which connections are counted against caps: an IPv4 address, or the
// /64 of an IPv6 address, because every subscriber has a /64 to choose addresses from. An
// address that is no IP address (a pipe, a unix socket) is the zero Prefix.
func Network(a net.Addr) netip.Prefix {
	if a == nil {
		return netip.Prefix{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := ap.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Shared tells that one network stands for many parties, so that caps per address do not
// apply to it: loopback, from where a Tor daemon or a proxy on the same machine connects, and
// whatever is no IP address.
func Shared(p netip.Prefix) bool { return !p.IsValid() || p.Addr().IsLoopback() }
