package evil

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/transport"
	"relaymarket/relay"
	"relaymarket/usage"
)

// Options are what a Front needs to pass for its relay.
type Options struct {
	Key         identity.PrivateKey // the relay's identity
	Certificate tls.Certificate     // the relay's, which its offers pin
	// Client finds the key of a client. A Front signs nothing with it that a client sees: it is
	// how it tells the honest relay, which knows its own reports only, that a payment is for one of
	// them. A modified relay would simply take the payment.
	Client func(identity.PublicKey) (identity.PrivateKey, bool)
	Log    *slog.Logger // nil: nobody
}

// Front is the dishonest face of an honest relay.
type Front struct {
	opts Options
	log  *slog.Logger

	mu     sync.Mutex
	lie    *Lie                         // guarded by mu; nil: honest
	told   int                          // guarded by mu; how often the lie was told
	tamper Tamper                       // guarded by mu; nil: nothing is changed
	books  map[usage.ContractID]*ledger // guarded by mu
	names  substitutes                  // guarded by mu

	behind *relay.Server
	addr   string
	stop   func() error
}

// New makes an honest Front; Open starts it.
func New(o Options) *Front {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Front{opts: o, log: o.Log, books: make(map[usage.ContractID]*ledger), names: newSubstitutes()}
}

// Open listens on a loopback port and serves the relay behind it, which runs, until Close.
func (f *Front) Open(behind *relay.Server) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return code.Wrap(code.AddressInUse, err, "a port for the dishonest relay")
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv := transport.NewServer(transport.ServerOptions{
		TLS: transport.ServerTLS(f.opts.Certificate), Web: board(behind.Addr()), Log: f.log,
		Accept: func(ctx context.Context, c transport.Conn) { behind.Accept(ctx, &wire{Conn: c, front: f}) },
	})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	f.behind, f.addr = behind, ln.Addr().String()
	f.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	return nil
}

// Close ends the Front and its connections; what it remembers stays for the next Open.
func (f *Front) Close() error {
	if f.stop == nil {
		return nil
	}
	return f.stop()
}

// Addr is where the Front listens.
func (f *Front) Addr() string { return f.addr }

// Tell makes the Front tell a lie from now on, or, with nil, the truth. What was said stays said.
func (f *Front) Tell(l *Lie) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lie, f.told = l, 0
}

// Tamper changes the fields of a contract statement, of the relay or of the client, and tells whether it did. What it
// changes is signed anew as its sender would: so it stands for a modified relay or a modified client.
type Tamper func(t identity.Type, fields []Field) bool

// Change makes the Front change contract statements from now on, or, with nil, none.
func (f *Front) Change(t Tamper) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tamper, f.told = t, 0
}

// changed is a contract statement after the present Tamper. Called with f.mu held.
func (f *Front) changed(raw []byte) ([]byte, error) {
	h, err := identity.PeekHeader(raw)
	if err != nil || f.tamper == nil {
		return raw, err
	}
	fields, err := Split(raw)
	if err != nil || !f.tamper(h.Type, fields) {
		return raw, err
	}
	f.told++
	return Join(fields), nil
}

// Told is how often the present lie was told, or a statement changed: a test in which it is 0 has shown nothing.
func (f *Front) Told() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told
}

// board serves the honest relay's list of offers.
func board(addr string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: addr}) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
}

// sign signs a statement as the relay.
func (f *Front) sign(raw []byte) ([]byte, error) {
	s, err := identity.SignOne(f.opts.Key, raw)
	return s.Bytes(), err
}
