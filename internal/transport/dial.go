//lint:file-ignore SA1019 the project's owner chose this module; its successor has the same API and a swap is one import line in this package.

package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"syscall"

	"relaymarket/identity"
	"relaymarket/internal/code"

	"nhooyr.io/websocket"
)

// DialOptions say where a relay is and how to know it.
type DialOptions struct {
	// URL is wss://host[:port][/path]; host may be a DNS name, an IP address or a .onion
	// name. ws:// needs AllowPlain and a loopback host.
	URL string
	// Pins are the certificate keys that the relay's offer names; at least one for wss.
	Pins []identity.Digest
	// AllowPlain allows ws:// to a loopback address, for tests and private networks of one
	// machine.
	AllowPlain bool
	// Proxy is socks5://host:port of a SOCKS proxy (RFC 1928), which also resolves the name;
	// .onion names need one. Empty: none, whatever the environment says.
	Proxy string
}

// Dial connects to a relay. Time is bounded by ctx, which has no effect on the connection
// once Dial returned. Errors carry PinMismatch, BadArgument (the options make no sense),
// WrongRelay (it redirects or does not speak WebSocket), Timeout or Disconnected.
func Dial(ctx context.Context, o DialOptions) (Conn, error) {
	u, err := o.parse()
	if err != nil {
		return nil, err
	}
	b := &buffers{}
	t, err := o.transport(u, b)
	if err != nil {
		return nil, err
	}
	defer t.CloseIdleConnections()
	var under net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { under = i.Conn },
	})
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: t, CheckRedirect: noRedirect},
		HTTPHeader: http.Header{"User-Agent": {""}},
	})
	if err != nil {
		return nil, dialError(ctx, u, resp, err)
	}
	c, err := dialled(ws, under, b)
	if err != nil {
		_ = ws.CloseNow()
		return nil, code.Wrap(code.Disconnected, err, "connect to %s", u.Host)
	}
	return c, nil
}

// dialled finds cork, wire and channel binding below a fresh WebSocket. On this side the cork
// lies below TLS, because net/http makes the TLS connection.
func dialled(ws *websocket.Conn, under net.Conn, b *buffers) (*conn, error) {
	var state *tls.ConnectionState
	if t, ok := under.(*tls.Conn); ok {
		cs := t.ConnectionState()
		state, under = &cs, t.NetConn()
	}
	ck, ok := under.(*cork)
	if !ok {
		return nil, errors.New("the connection is not the one that was dialled")
	}
	w := ck.Conn.(*wire)
	e, err := exporter(state)
	if err != nil {
		return nil, err
	}
	return newConn(ws, ck, w, e, b), nil
}

// noRedirect hands the redirect back as the answer: the library would follow one from wss to
// plain http.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func dialError(ctx context.Context, u *url.URL, resp *http.Response, err error) error {
	var coded *code.Error
	switch {
	case errors.As(err, &coded):
		return coded
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
		return code.Wrap(code.Timeout, err, "connect to %s", u.Host)
	case resp != nil && resp.StatusCode >= 300 && resp.StatusCode < 400:
		return code.Wrap(code.WrongRelay, err, "%s redirects elsewhere, which is refused", u.Host)
	case resp != nil:
		return code.Wrap(code.WrongRelay, err, "%s answers HTTP %d instead of a WebSocket", u.Host, resp.StatusCode)
	}
	return code.Wrap(code.Disconnected, err, "connect to %s", u.Host)
}

// parse checks the options against each other.
func (o DialOptions) parse() (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		return nil, code.New(code.BadArgument, "relay address %q: %s", o.URL, why)
	}
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return bad("not a URL")
	case u.Scheme != "wss" && u.Scheme != "ws":
		return bad("it must begin with wss://")
	case u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return bad("it must be wss://host[:port][/path]")
	case u.Scheme == "wss" && len(o.Pins) == 0:
		return bad("no certificate key is pinned for it")
	case u.Scheme == "ws" && !o.AllowPlain:
		return bad("plain ws:// is refused")
	case u.Scheme == "ws" && (!Loopback(u.Hostname()) || o.Proxy != ""):
		return bad("plain ws:// is for loopback only")
	case Onion(u.Hostname()) && o.Proxy == "":
		return bad("a .onion name needs a SOCKS proxy (Tor)")
	}
	return u, nil
}

// transport is made for one connection and shares nothing.
func (o DialOptions) transport(u *url.URL, b *buffers) (*http.Transport, error) {
	d := &net.Dialer{}
	if u.Scheme == "ws" {
		d.Control = loopbackOnly
	}
	t := &http.Transport{
		TLSClientConfig: clientTLS(u.Hostname(), o.Pins), DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: 16 << 10,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &cork{Conn: newWire(c, nil), buffers: b}, nil
		},
	}
	if o.Proxy == "" {
		return t, nil
	}
	p, err := ParseProxy(o.Proxy)
	t.Proxy = http.ProxyURL(p)
	return t, err
}

// loopbackOnly refuses an address that a name like localhost was resolved to outside the
// machine.
func loopbackOnly(_, addr string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().Unmap().IsLoopback() {
		return code.New(code.BadArgument, "%s is not on this machine; plain ws:// is for loopback only", addr)
	}
	return nil
}
