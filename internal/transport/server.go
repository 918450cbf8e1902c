//lint:file-ignore SA1019 the project's owner chose this module; its successor has the same API and a swap is one import line in this package.

package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"relaymarket/internal/code"

	"nhooyr.io/websocket"
)

// Before a connection is a WebSocket it has this long, and this much for HTTP headers.
const (
	upgradeTime    = 8 * time.Second
	maxHeaderBytes = 4 << 10
)

// ServerOptions say what a Server does with connections.
type ServerOptions struct {
	// TLS comes from ServerTLS. Nil serves plain connections, whose Exporter is zero: only
	// for loopback.
	TLS *tls.Config
	// Accept runs one connection and returns when it is done; the connection is closed then.
	// Its ctx ends when the server stops.
	Accept func(ctx context.Context, c Conn)
	// Web answers HTTP requests that want no WebSocket. Nil answers 404.
	Web http.Handler
	// MaxPending bounds connections that are not yet a WebSocket, in all (0: 1024) and per
	// Network (0: 32; networks that are Shared are exempt). What is above is closed at once.
	MaxPending, MaxPendingPerNetwork int
	// Log gets TLS and HTTP faults of peers at debug level. Nil: nobody.
	Log *slog.Logger
}

// Server accepts WebSocket connections.
type Server struct {
	opts    ServerOptions
	buffers buffers
}

// run is one call of Serve and the connections that came of it.
type run struct {
	*Server
	ctx context.Context

	mu      sync.Mutex // orders start against the end of ctx
	running sync.WaitGroup
}

// start runs a connection in its own goroutine; false if the server is stopping.
func (r *run) start(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.running.Go(func() {
		defer c.Close(code.OK, "")
		r.opts.Accept(r.ctx, c)
	})
	return true
}

// stop ends the connections and waits for them.
func (r *run) stop(cancel func()) {
	r.mu.Lock()
	cancel()
	r.mu.Unlock()
	r.running.Wait()
}

// NewServer makes a server; Serve runs it.
func NewServer(o ServerOptions) *Server {
	if o.Web == nil {
		o.Web = http.NotFoundHandler()
	}
	if o.MaxPending == 0 {
		o.MaxPending = 1024
	}
	if o.MaxPendingPerNetwork == 0 {
		o.MaxPendingPerNetwork = 32
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{opts: o}
}

// Serve accepts on ln, which it closes, until ctx ends; then it ends the connections' ctx,
// waits until every Accept returned, and gives nil. It may be called for several listeners
// at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var under net.Listener = newPendingListener(ln, s.opts.MaxPending, s.opts.MaxPendingPerNetwork)
	if s.opts.TLS != nil {
		under = tls.NewListener(under, s.opts.TLS)
	}
	r := &run{Server: s, ctx: ctx}
	h := r.http()
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	err := h.Serve(under)
	r.stop(cancel)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (r *run) http() *http.Server {
	var one http.Protocols
	one.SetHTTP1(true)
	return &http.Server{
		Handler:           http.HandlerFunc(r.handle),
		ReadHeaderTimeout: upgradeTime, ReadTimeout: upgradeTime, WriteTimeout: 4 * upgradeTime, IdleTimeout: upgradeTime,
		MaxHeaderBytes: maxHeaderBytes, Protocols: &one,
		ErrorLog:    slog.NewLogLogger(r.opts.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, wireKey{}, c) },
	}
}

// wireKey is where a request's context has its connection.
type wireKey struct{}

// handle upgrades a request. The session runs in a goroutine of its own, so that what HTTP
// needed for the request is freed while the session lives.
func (r *run) handle(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") == "" {
		r.opts.Web.ServeHTTP(w, req)
		return
	}
	under, _ := req.Context().Value(wireKey{}).(net.Conn)
	if t, ok := under.(*tls.Conn); ok {
		under = t.NetConn()
	}
	wi, ok := under.(*wire)
	e, err := exporter(req.TLS)
	if !ok || err != nil {
		http.Error(w, "no channel binding", http.StatusInternalServerError)
		return
	}
	sl := &slim{ResponseWriter: w, buffers: &r.buffers}
	ws, err := websocket.Accept(sl, req, nil)
	if err != nil {
		r.opts.Log.Debug("not a WebSocket", "peer", req.RemoteAddr, "err", err)
		return
	}
	wi.admit()
	if c := newConn(ws, sl.cork, wi, e, &r.buffers); !r.start(c) {
		c.Close(code.ShuttingDown, "the relay is stopping")
	}
}

// slim gives the WebSocket library smaller buffers than net/http's, which at ten thousand
// idle sessions are most of the memory, and a cork above TLS, which makes up for them.
type slim struct {
	http.ResponseWriter
	buffers *buffers
	cork    *cork
}

const (
	slimRead  = 1 << 10
	slimWrite = 256
)

// Hijack takes over the connection with whatever the peer has sent already.
func (s *slim) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, brw, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, err := brw.Reader.Peek(brw.Reader.Buffered())
	if err != nil {
		return nil, nil, err
	}
	// The library takes over what is buffered and then reads the connection itself.
	r := bufio.NewReaderSize(bytes.NewReader(bytes.Clone(early)), max(slimRead, len(early)))
	if _, err := r.Peek(len(early)); err != nil {
		return nil, nil, err
	}
	s.cork = &cork{Conn: c, buffers: s.buffers}
	return s.cork, bufio.NewReadWriter(r, bufio.NewWriterSize(s.cork, slimWrite)), nil
}
