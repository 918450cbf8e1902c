package board

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"relaymarket/broadcast"
	"relaymarket/internal/code"
)

// Path is where a board answers: GET for the list, POST for one more offer.
const Path = "/broadcasts"

// maxBody is the largest posted offer: the largest signed one in hex and a line end.
const maxBody = 2*broadcast.MaxSigned + 2

// writeTimeout is how long a reader may take to receive the list.
const writeTimeout = 30 * time.Second

// failure is how a board says no.
type failure struct {
	Code code.Code `json:"code"`
	Name string    `json:"name"`
	Text string    `json:"text"`
	Hint string    `json:"hint"`
}

// Handler answers GET Path with the list, strongest offers first, and POST Path, whose body is
// one signed offer raw or in hex. Refusals are JSON objects with code, name, text and hint. No
// header lets pages of other origins read the answers. Mount it on a server with the timeouts
// that NewServer sets; slow bodies and slow readers are cut off here in any case.
func (b *Board) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, b.get)
	mux.HandleFunc("POST "+Path, b.post)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.guard(mux, w, r) })
}

// guard counts the request against its address and puts deadlines on its connection. A server
// that does not support deadlines has its own.
func (b *Board) guard(next http.Handler, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache")
	if wait, ok := b.limit.allow(r.RemoteAddr, b.cfg.Now()); !ok {
		w.Header().Set("Retry-After", strconv.Itoa(1+int(wait/time.Second)))
		refuse(w, code.New(code.Busy, "too many requests from your address"))
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(b.bodyTimeout))
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	next.ServeHTTP(w, r)
	_ = rc.Flush()
	_ = rc.SetWriteDeadline(time.Time{})
}

func (b *Board) get(w http.ResponseWriter, _ *http.Request) {
	body, err := b.list()
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the reader is gone if this fails
}

func (b *Board) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, bodyError(err))
		return
	}
	s, err := parseOne(body)
	if err == nil {
		err = b.Add(s)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func bodyError(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return code.New(code.TooLarge, "more than %d bytes", large.Limit)
	}
	return code.Wrap(code.Timeout, err, "the offer did not arrive")
}

func refuse(w http.ResponseWriter, err error) {
	c := code.Of(err)
	body, jerr := json.Marshal(failure{c, c.String(), code.Text(err), c.Hint()})
	if jerr != nil {
		body = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status(c))
	_, _ = w.Write(append(body, '\n'))
}

// status maps codes to HTTP for programs that know only that; the body says more.
func status(c code.Code) int {
	switch c {
	case code.TooLarge:
		return http.StatusRequestEntityTooLarge
	case code.Busy:
		return http.StatusTooManyRequests
	case code.Timeout:
		return http.StatusRequestTimeout
	case code.Conflict, code.BadSequence:
		return http.StatusConflict
	case code.BoardFull:
		return http.StatusInsufficientStorage
	case code.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// NewServer is an HTTP server for strangers: no header, body or reader can hold a connection
// for long. The caller serves on a listener and shuts it down.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: writeTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
	}
}
