package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"relaymarket/internal/code"
)

// ParseProxy reads socks5://[user:password@]host:port, the address of a SOCKS proxy (RFC 1928)
// such as Tor's. Code BadArgument.
func ParseProxy(s string) (*url.URL, error) {
	p, err := url.Parse(s)
	if err != nil || p.Scheme != "socks5" || p.Hostname() == "" || p.Port() == "" || p.Path != "" || p.RawQuery != "" || p.Fragment != "" {
		return nil, code.New(code.BadArgument, "the proxy is written socks5://host:port, for Tor usually socks5://127.0.0.1:9050")
	}
	return p, nil
}

// Onion tells whether a host is a .onion name. Those are reached through a proxy only and never
// given to a resolver (RFC 7686).
func Onion(host string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".onion")
}

// Loopback tells whether a host, by its address or as localhost, is this machine.
func Loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// proxyTime bounds CheckProxy where ctx does not.
const proxyTime = 5 * time.Second

// What the two sides of a SOCKS connection say first (RFC 1928 §3): the version and the ways to
// authenticate that the client knows, none and a password (RFC 1929); the version and the proxy's choice.
const (
	socksVersion  = 5
	socksNoAuth   = 0
	socksPassword = 2
)

// CheckProxy connects to a proxy and tells whether a SOCKS proxy answers there. Codes Timeout,
// Disconnected.
func CheckProxy(ctx context.Context, p *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, proxyTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.Host)
	if err != nil {
		return code.Wrap(code.Disconnected, err, "no proxy answers at %s", p.Host)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	answer := make([]byte, 2)
	_, err = c.Write([]byte{socksVersion, 2, socksNoAuth, socksPassword})
	if err == nil {
		_, err = io.ReadFull(c, answer)
	}
	if err == nil && (answer[0] != socksVersion || answer[1] != socksNoAuth && answer[1] != socksPassword) {
		err = errors.New("it gives another answer than a SOCKS proxy")
	}
	return code.Wrap(code.Disconnected, err, "what answers at %s is no SOCKS proxy that can be used", p.Host)
}
