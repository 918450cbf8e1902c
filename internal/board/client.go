package board

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/transport"
)

// Bounds of what one board may cost a client.
const (
	clientTimeout = 20 * time.Second
	maxRedirects  = 3
	maxText       = 200 // characters of a board's own words
	maxFailure    = 4 << 10
)

// Client reads and writes boards. A board is named by https://host, http://host (Path is
// added where no path is given), file:///dir or the plain path of a directory.
type Client struct{ http *http.Client }

// NewClient makes a client with bounded time, redirects and sizes. A SOCKS proxy, if one is given,
// carries what goes beyond this machine and resolves its names; the environment's is never asked.
func NewClient(proxy *url.URL) *Client {
	return &Client{&http.Client{
		Timeout:       clientTimeout,
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy: func(r *http.Request) (*url.URL, error) {
				if transport.Loopback(r.URL.Hostname()) {
					return nil, nil
				}
				return proxy, nil
			},
			DialContext: dialDirect,
			// An offer proves itself, and relays host boards under certificates of their own:
			// TLS only hides here what is read, and from no more than onlookers.
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
			DisableCompression: true, // so that the bound on the body is the bound on the wire
			ForceAttemptHTTP2:  false, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}}
}

// dialDirect connects without a proxy, or to the proxy. A .onion name that comes here has none.
func dialDirect(ctx context.Context, network, addr string) (net.Conn, error) {
	if host, _, err := net.SplitHostPort(addr); err == nil && transport.Onion(host) {
		return nil, code.New(code.BadConfig, "the board at %s is reached through Tor only, and no proxy is configured", host)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// checkRedirect follows a reader a few steps, never out of TLS; a writer never.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case via[0].Method != http.MethodGet:
		return http.ErrUseLastResponse
	case len(via) > maxRedirects:
		return errors.New("too many redirects")
	case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("a redirect out of TLS")
	}
	return nil
}

// Fetch reads all signed offers of a board, unverified. Offers may come beside an error that
// counts the unreadable ones. Errors carry code BadArgument (no such kind of board), NotFound,
// Timeout, Disconnected, TooLarge, Malformed, Unsupported, or what the board said.
func (c *Client) Fetch(ctx context.Context, source string) ([]identity.Signed, error) {
	if dir, ok := directory(source); ok {
		return NewDir(dir).Collect()
	}
	body, err := c.do(ctx, http.MethodGet, source, nil, MaxListBytes)
	if err != nil {
		return nil, err
	}
	return decodeList(body)
}

// Publish puts an offer on a board. Errors carry code BadArgument, Timeout, Disconnected, or
// the board's own reason: BoardFull, Conflict, BadSequence, BadProofOfWork, WrongNetwork, Busy.
func (c *Client) Publish(ctx context.Context, target string, o broadcast.VerifiedOffer) error {
	if dir, ok := directory(target); ok {
		return NewDir(dir).Publish(o)
	}
	body := []byte(hex.EncodeToString(o.Signed().Bytes()) + "\n")
	_, err := c.do(ctx, http.MethodPost, target, body, maxFailure)
	return err
}

// directory tells whether a board is a directory, and which.
func directory(source string) (string, bool) {
	if path, ok := strings.CutPrefix(source, "file://"); ok {
		return path, strings.HasPrefix(path, "/")
	}
	return source, source != "" && !strings.Contains(source, "://")
}

// endpoint is the URL of an HTTP board.
func endpoint(source string) (string, error) {
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return "", code.New(code.BadArgument, "%q is not a board: use https://…, http://…, file:///… or a directory", source)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = Path
	}
	return u.String(), nil
}

// do makes one request and reads at most limit bytes of its answer.
func (c *Client) do(ctx context.Context, method, source string, body []byte, limit int64) ([]byte, error) {
	to, err := endpoint(source)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return nil, code.Wrap(code.BadArgument, err, "board")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, netError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, readFailure(resp)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, netError(err)
	}
	if int64(len(raw)) > limit {
		return nil, code.New(code.TooLarge, "the board answers with more than %d bytes", limit)
	}
	return raw, nil
}

func netError(err error) error {
	var coded *code.Error
	if errors.As(err, &coded) {
		return coded
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return code.Wrap(code.Timeout, err, "the board did not answer in time")
	}
	return code.Wrap(code.Disconnected, err, "the board cannot be reached")
}

// readFailure turns a refusal into the coded error that the board meant, if it is one of this
// program's boards.
func readFailure(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxFailure))
	var f failure
	if err != nil || json.Unmarshal(raw, &f) != nil || f.Code == code.OK {
		return code.New(code.Disconnected, "no board answers there: HTTP status %d", resp.StatusCode)
	}
	return code.New(f.Code, "%s", plain(f.Text))
}

// plain makes a stranger's words fit for a terminal.
func plain(s string) string {
	var out []rune
	for _, r := range s {
		if len(out) == maxText {
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}
