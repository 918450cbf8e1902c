package bitcoind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"relaymarket/internal/code"
)

// Error numbers of the interface.
const (
	rpcMisc           = -1  // among others: a block that was pruned
	rpcNotFound       = -5  // no such block or transaction
	rpcBadParameter   = -8  // height out of range, a package of the wrong shape
	rpcUndecodable    = -22 // not a transaction
	rpcVerify         = -25 // inputs missing or spent
	rpcRejected       = -26 // by the rules or by policy, with the reason
	rpcAlreadyInChain = -27
	rpcNoMethod       = -32601
)

// maxAnswer bounds an answer: a block of 4 MB in hexadecimal, and some.
const maxAnswer = 12 << 20

// rpcError is the node's own error.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error is the node's number and words.
func (e *rpcError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

// numberOf is the number of a node's own error, 0 for any other error.
func numberOf(err error) int {
	var rpc *rpcError
	if errors.As(err, &rpc) {
		return rpc.Code
	}
	return 0
}

// call asks once the node is known to be the right one.
func (b *Backend) call(ctx context.Context, into any, method string, params ...any) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	if err := b.introduce(ctx); err != nil {
		return err
	}
	return b.ask(ctx, into, method, params...)
}

// ask makes one request. Errors are the node's own (rpcError), a context's, or
// ChainUnavailable. Numbers are kept as they are written.
func (b *Backend) ask(ctx context.Context, into any, method string, params ...any) error {
	if b.life.Err() != nil {
		return code.New(code.ChainUnavailable, "the connection to the node was closed")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.life, cancel)()
	raw, err := b.post(ctx, method, params)
	if err != nil {
		if number := numberOf(err); number != 0 {
			return err
		}
		b.setKnown(false)
		return code.Wrap(code.ChainUnavailable, err, "the node at %s does not answer %s", b.cfg.Host, method)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return code.Wrap(code.ChainUnavailable, d.Decode(into), "the node's answer to %s cannot be read", method)
}

// post sends a request and returns its result.
func (b *Backend) post(ctx context.Context, method string, params []any) (json.RawMessage, error) {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      string `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}{"1.0", "relaymarket", method, params})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.cfg.Host+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	user, pass, err := b.credentials()
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(user, pass)
	req.Header.Set("Content-Type", "application/json")
	res, err := b.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	return result(res.StatusCode, text)
}

// result reads an answer. Errors of the node come with HTTP status 500 or 404, refused
// passwords and full queues with a status alone.
func result(status int, text []byte) (json.RawMessage, error) {
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	switch err := json.Unmarshal(text, &answer); {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, errors.New("it refuses the user or password (or the cookie file is an old one)")
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	case err != nil:
		return nil, fmt.Errorf("HTTP status %d: %w", status, err)
	case answer.Error != nil && answer.Error.Code == rpcWarmup:
		return nil, errors.New(answer.Error.Message)
	case answer.Error != nil:
		return nil, answer.Error
	case status != http.StatusOK:
		return nil, fmt.Errorf("HTTP status %d", status)
	}
	return answer.Result, nil
}

// rpcWarmup is what a node says that is starting: it does not answer yet.
const rpcWarmup = -28

// credentials are read for every request: the cookie changes when the node starts.
func (b *Backend) credentials() (user, pass string, err error) {
	if b.cfg.User != "" {
		return b.cfg.User, b.cfg.Pass, nil
	}
	raw, err := os.ReadFile(b.cfg.CookieFile)
	if err != nil {
		return "", "", err
	}
	user, pass, ok := strings.Cut(strings.TrimSpace(string(raw)), ":")
	if !ok {
		return "", "", fmt.Errorf("%s is no cookie file", b.cfg.CookieFile)
	}
	return user, pass, nil
}

// unavailable codes what is left of a call's errors once the caller has read those
// that it understands.
func unavailable(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	switch code.Of(err) {
	case code.ChainUnavailable, code.ChainWrongNetwork, code.NodeTooOld:
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return code.Wrap(code.ChainUnavailable, err, "the node does not tell %s", fmt.Sprintf(format, args...))
}
