package btcd

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/rpcclient"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// Config says how to reach a node.
type Config struct {
	Host       string // host:port of the RPC server
	User, Pass string

	// CertFile is a PEM file with the node's certificate (btcd's rpc.cert).
	// Empty: no TLS, which is refused unless Host is this machine, because the
	// password would travel in the clear.
	CertFile string

	// AllowPlain permits no TLS to another machine, for private networks that
	// encrypt by themselves.
	AllowPlain bool

	// Params is the network that the node must be on.
	Params *chaincfg.Params

	// Timeout bounds each call and each connection attempt. 0: 30 s.
	Timeout time.Duration
}

// Backend is a connection to a node. It implements chain.Backend.
type Backend struct {
	conn    rpcclient.ConnConfig
	params  *chaincfg.Params
	timeout time.Duration
	wakes   chain.Wakes

	gate    chan struct{} // holds one token: the right to the fields below
	client  *rpcclient.Client
	dialing chan dialed // an attempt under way, or nil
	closed  bool
}

type dialed struct {
	client *rpcclient.Client
	err    error
}

var _ chain.Backend = (*Backend)(nil)

// New makes a backend that connects at its first use, so that a program can start while its
// node is down. It fails only when the settings cannot work.
func New(c Config) (*Backend, error) {
	conn, err := connConfig(c)
	if err != nil {
		return nil, err
	}
	b := &Backend{
		conn: conn, params: c.Params, timeout: c.Timeout,
		gate: make(chan struct{}, 1),
	}
	if b.timeout <= 0 {
		b.timeout = 30 * time.Second
	}
	b.gate <- struct{}{}
	return b, nil
}

// Dial connects and checks that the node is on the wanted network. It fails with
// ChainUnavailable or ChainWrongNetwork, and with ChainUnavailable when the
// settings cannot work.
func Dial(ctx context.Context, c Config) (*Backend, error) {
	b, err := New(c)
	if err != nil {
		return nil, err
	}
	if _, err := b.connected(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func connConfig(c Config) (rpcclient.ConnConfig, error) {
	conn := rpcclient.ConnConfig{
		Host: c.Host, Endpoint: "ws", User: c.User, Pass: c.Pass,
		DisableAutoReconnect: true,
	}
	if c.Params == nil {
		return conn, code.New(code.ChainWrongNetwork, "no network was chosen for the node at %s", c.Host)
	}
	if c.Pass == "" {
		return conn, code.New(code.ChainUnavailable, "no RPC password is set for the node at %s", c.Host)
	}
	if c.CertFile == "" {
		if !c.AllowPlain && !isLoopback(c.Host) {
			return conn, code.New(code.ChainUnavailable,
				"the node at %s is not on this machine: its RPC certificate is needed to protect the password", c.Host)
		}
		conn.DisableTLS = true
		return conn, nil
	}
	pem, err := os.ReadFile(c.CertFile)
	if err != nil {
		return conn, code.Wrap(code.ChainUnavailable, err, "the node's RPC certificate cannot be read")
	}
	conn.Certificates = pem
	return conn, nil
}

func isLoopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close ends the connection. Calls under way and later ones fail.
func (b *Backend) Close() {
	<-b.gate
	defer func() { b.gate <- struct{}{} }()
	b.closed = true
	if b.client != nil {
		b.client.Shutdown()
	}
	if b.dialing != nil {
		go discard(b.dialing)
	}
}

// discard ends a connection that nobody waits for any more.
func discard(dialing <-chan dialed) {
	if d := <-dialing; d.client != nil {
		d.client.Shutdown()
	}
}

// connected returns a living connection, making one when needed.
func (b *Backend) connected(ctx context.Context) (*rpcclient.Client, error) {
	select {
	case <-b.gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { b.gate <- struct{}{} }()
	if b.closed {
		return nil, code.New(code.ChainUnavailable, "the connection to the node was closed")
	}
	if b.client != nil && !b.client.Disconnected() {
		return b.client, nil
	}
	client, err := b.redial(ctx)
	if err != nil {
		return nil, err
	}
	b.client = client
	b.wakes.All() // whatever happened in between was not announced
	return client, nil
}

// redial waits for a connection attempt. The library's attempt cannot be
// cancelled, so one that hangs is left to itself and met again by the next call
// instead of starting more of them.
func (b *Backend) redial(ctx context.Context) (*rpcclient.Client, error) {
	if b.dialing == nil {
		b.dialing = make(chan dialed, 1)
		go func(result chan<- dialed) {
			client, err := b.dial()
			result <- dialed{client, err}
		}(b.dialing)
	}
	timer := time.NewTimer(b.timeout)
	defer timer.Stop()
	select {
	case d := <-b.dialing:
		b.dialing = nil
		return d.client, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, code.New(code.ChainUnavailable, "the node at %s did not answer within %s", b.conn.Host, b.timeout)
	}
}

// dial connects, checks the network and asks for wake-ups.
func (b *Backend) dial() (*rpcclient.Client, error) {
	conn := b.conn
	client, err := rpcclient.New(&conn, handlers(&b.wakes))
	if err != nil {
		return nil, code.Wrap(code.ChainUnavailable, err, "no connection to the node at %s", b.conn.Host)
	}
	if err := b.introduce(client); err != nil {
		client.Shutdown()
		return nil, err
	}
	return client, nil
}

func (b *Backend) introduce(client *rpcclient.Client) error {
	genesis, err := client.GetBlockHash(0)
	if err != nil {
		return code.Wrap(code.ChainUnavailable, err, "the node at %s does not say its network", b.conn.Host)
	}
	if *genesis != *b.params.GenesisHash {
		return code.New(code.ChainWrongNetwork, "the node at %s is not on %s: its first block is %s, not %s",
			b.conn.Host, b.params.Name, genesis, b.params.GenesisHash)
	}
	if err := client.NotifyBlocks(); err != nil {
		return code.Wrap(code.ChainUnavailable, err, "the node at %s announces no blocks", b.conn.Host)
	}
	return nil
}

// call runs f with a living connection and gives up on it when it takes too
// long. An error of the node itself is returned as it is, for the caller to read;
// everything else is coded or a context's.
func call[T any](ctx context.Context, b *Backend, f func(*rpcclient.Client) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	client, err := b.connected(ctx)
	if err != nil {
		return none, err
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := f(client)
		answers <- answer{value, err}
	}()
	timer := time.NewTimer(b.timeout)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timer.C:
		client.Shutdown() // ends the goroutine, and the next call connects anew
		return none, code.New(code.ChainUnavailable, "the node at %s did not answer within %s", b.conn.Host, b.timeout)
	}
}

// unavailable codes what is left of a call's errors once the caller has read
// those that it understands.
func unavailable(ctx context.Context, err error, format string, args ...any) error {
	if err == nil || code.Of(err) == code.ChainUnavailable || code.Of(err) == code.ChainWrongNetwork {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return code.Wrap(code.ChainUnavailable, err, "the node does not tell %s", fmt.Sprintf(format, args...))
}

// Notify implements chain.Backend.
func (b *Backend) Notify(ctx context.Context) <-chan struct{} { return b.wakes.Notify(ctx) }
