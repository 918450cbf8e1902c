package bitcoind

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
)

// exchange is one request that is expected, and its answer.
type exchange struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Status int             `json:"status"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	Body   *string         `json:"body"` // instead of a JSON answer
}

// parent and child are the transactions of the exchanges.
func parent() *wire.MsgTx {
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Hash: chainhash.Hash{1}}, nil, wire.TxWitness{make([]byte, 64)}))
	tx.AddTxOut(wire.NewTxOut(1000, []byte{0x51}))
	return tx
}

func child() *wire.MsgTx {
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Hash: parent().TxHash()}, nil, nil))
	tx.AddTxOut(wire.NewTxOut(500, []byte{0x51}))
	return tx
}

// recorded reads the exchanges of testdata/exchanges.json, by case.
func recorded(t *testing.T) map[string][]exchange {
	t.Helper()
	raw, err := os.ReadFile("testdata/exchanges.json")
	check(t, err)
	text := string(raw)
	for name, tx := range map[string]*wire.MsgTx{"TX": parent(), "CHILD": child()} {
		full, err := encode(tx)
		check(t, err)
		text = strings.ReplaceAll(text, "$"+name+"ID", tx.TxHash().String())
		text = strings.ReplaceAll(text, "$"+name, full)
	}
	var all map[string][]exchange
	check(t, json.Unmarshal([]byte(text), &all))
	return all
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fake is a node that expects certain requests in order.
type fake struct {
	t    *testing.T
	mu   sync.Mutex
	left []exchange
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	raw, err := io.ReadAll(r.Body)
	if user, pass, _ := r.BasicAuth(); err != nil || user != "u" || pass != "p" || r.Method != http.MethodPost || r.URL.Path != "/" ||
		r.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("a request that no node would take: %s %s %v %v", r.Method, r.URL, r.Header, err)
	}
	if len(f.left) == 0 {
		f.t.Errorf("one request too many: %s", raw)
		return
	}
	x := f.left[0]
	f.left = f.left[1:]
	var want bytes.Buffer
	_ = json.Compact(&want, x.Params)
	if exact := `{"jsonrpc":"1.0","id":"relaymarket","method":"` + x.Method + `","params":` + want.String() + `}`; string(raw) != exact {
		f.t.Errorf("request %s\nwant    %s", raw, exact)
	}
	w.WriteHeader(x.Status)
	if x.Body != nil {
		_, _ = io.WriteString(w, *x.Body)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"result": x.Result, "error": x.Error, "id": "relaymarket"})
}

// serve makes a backend of a fake node.
func serve(t *testing.T, xs ...exchange) (*Backend, *fake) {
	t.Helper()
	f := &fake{t: t, left: xs}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	b, err := New(Config{Host: s.Listener.Addr().String(), User: "u", Pass: "p", Params: &chaincfg.RegressionNetParams, Timeout: 10 * time.Second})
	check(t, err)
	t.Cleanup(b.Close)
	return b, f
}

var (
	hash  = must(chainhash.NewHashFromStr("3c2f7a1f9a5b2f7d4e5c6b7a8f9e0d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a6978"))
	other = must(chainhash.NewHashFromStr("6f1d2c3b4a5f6e7d8c9b0a1f2e3d4c5b6a7f8e9d0c1b2a3f4e5d6c7b8a9f0e1d"))
	coin  = wire.OutPoint{Hash: other, Index: 3}
)

func must(h *chainhash.Hash, err error) chainhash.Hash {
	if err != nil {
		panic(err)
	}
	return *h
}

// ask is a question of each case, and what must come of it.
func asks() map[string]func(context.Context, *Backend) (any, error) {
	genesis := *chaincfg.RegressionNetParams.GenesisHash
	type answer = any
	tx := func(f func(context.Context, *wire.MsgTx) error) func(context.Context) (answer, error) {
		return func(ctx context.Context) (answer, error) { return nil, f(ctx, parent()) }
	}
	q := map[string]func(context.Context, *Backend) (any, error){}
	for _, n := range []string{"introduction", "too old", "other network", "no index", "warming up", "wrong password", "queue full", "not JSON"} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) { return nil, b.introduce(ctx) }
	}
	q["tip"] = func(ctx context.Context, b *Backend) (any, error) { return b.Tip(ctx) }
	q["block at"] = func(ctx context.Context, b *Backend) (any, error) { return b.BlockAt(ctx, 120) }
	q["height out of range"] = func(ctx context.Context, b *Backend) (any, error) { return b.BlockAt(ctx, 121) }
	for n, h := range map[string]chainhash.Hash{"header": genesis, "header off the chain": hash, "unknown header": hash} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) {
			x, height, err := b.Header(ctx, h)
			if err != nil {
				return nil, err
			}
			return x.BlockHash() == h && height == 0, nil
		}
	}
	for n, h := range map[string]chainhash.Hash{"block": genesis, "pruned block": genesis, "another block": hash} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) {
			x, height, err := b.Block(ctx, h)
			if err != nil {
				return nil, err
			}
			return x.BlockHash() == h && len(x.Transactions) == 1 && height == 0, nil
		}
	}
	for n, pool := range map[string]bool{"output": true, "no output": false, "absurd output": false} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) {
			out, err := b.TxOut(ctx, coin, pool)
			if out == nil {
				return nil, err
			}
			return *out, err
		}
	}
	for _, n := range []string{"spender", "no spender", "spender of another"} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) {
			s, err := b.Spending(ctx, coin)
			if s == nil {
				return nil, err
			}
			return *s, err
		}
	}
	for n, id := range map[string]chainhash.Hash{
		"transaction in the mempool": parent().TxHash(), "transaction in a block": parent().TxHash(),
		"unknown transaction": parent().TxHash(), "another transaction": other,
	} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) {
			x, n, err := b.Tx(ctx, id)
			if x == nil {
				return nil, err
			}
			return n, err
		}
	}
	for _, n := range []string{"would accept", "in the mempool already", "would refuse", "missing, but in a block", "undecodable"} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) { return tx(b.TestAccept)(ctx) }
	}
	for _, n := range []string{
		"broadcast", "broadcast again, in a block", "broadcast again, spent", "broadcast refused", "broadcast of orphans",
		"broadcast undecodable", "refused, and then silence",
	} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) { return tx(b.Broadcast)(ctx) }
	}
	for _, n := range []string{"package", "package refused", "package of the wrong shape"} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) {
			return nil, chain.BroadcastPackage(ctx, chain.NewView(chain.ViewConfig{Main: b}), []*wire.MsgTx{parent(), child()})
		}
	}
	for n, blocks := range map[string]int{"fee rate": 6, "fee rate without data": -1, "fee rate for long": 5000} {
		q[n] = func(ctx context.Context, b *Backend) (any, error) { return b.FeeRate(ctx, blocks) }
	}
	return q
}

// wants are the answers, or the codes of refusals with a word of their text.
var wants = map[string]any{
	"too old": refusal{code.NodeTooOld, "27.99.0"}, "other network": refusal{code.ChainWrongNetwork, "regtest"},
	"no index": refusal{code.ChainUnavailable, "txindex=1"}, "warming up": refusal{code.ChainUnavailable, "Loading block index"},
	"wrong password": refusal{code.ChainUnavailable, "password"}, "queue full": refusal{code.ChainUnavailable, "503"},
	"not JSON": refusal{code.ChainUnavailable, ""},
	"tip":      chain.Block{Hash: hash, Height: 120, Prev: other, Time: time.Unix(1790000000, 0)},
	"block at": hash, "height out of range": chain.ErrNotOnChain,
	"header": true, "header off the chain": chain.ErrNotOnChain, "unknown header": chain.ErrNotOnChain,
	"block": true, "pruned block": refusal{code.ChainUnavailable, "pruned"}, "another block": refusal{code.ChainUnavailable, "another one"},
	"output":        out{29_999_999, 7, true},
	"absurd output": refusal{code.ChainUnavailable, "no amount"},
	"spender":       hash, "spender of another": refusal{code.ChainUnavailable, "another question"},
	"transaction in the mempool": uint32(0), "transaction in a block": uint32(5),
	"another transaction": refusal{code.ChainUnavailable, "another one"},
	"would refuse":        refusal{code.ChainRejected, "1 < 111"}, "undecodable": refusal{code.ChainRejected, "malformed"},
	"broadcast refused":    refusal{code.ChainRejected, "min relay fee not met"},
	"broadcast of orphans": refusal{code.ChainRejected, "missingorspent"}, "broadcast undecodable": refusal{code.ChainRejected, "decode"},
	"refused, and then silence": refusal{code.ChainUnavailable, "503"},
	"package refused":           refusal{code.ChainRejected, "0 < 111"}, "package of the wrong shape": refusal{code.ChainRejected, "topology"},
	"fee rate": int64(12_345), "fee rate without data": int64(0), "fee rate for long": int64(1000),
}

type refusal struct {
	code code.Code
	word string
}

type out struct {
	value         int64
	confirmations uint32
	coinbase      bool
}

// TestRecordedExchanges: every request is the described one byte for byte, and every
// described answer is read rightly. No Bitcoin Core node took part.
func TestRecordedExchanges(t *testing.T) {
	cases, questions := recorded(t), asks()
	for name := range questions {
		if cases[name] == nil {
			t.Errorf("%s is not recorded", name)
		}
	}
	for name, xs := range cases {
		t.Run(name, func(t *testing.T) {
			ask := questions[name]
			if ask == nil {
				t.Fatal("nobody asks this")
			}
			b, f := serve(t, xs...)
			if xs[0].Method != "getnetworkinfo" {
				b.known = true
			}
			got, err := ask(t.Context(), b)
			judge(t, got, err, wants[name])
			if len(f.left) > 0 {
				t.Errorf("%d exchanges are left", len(f.left))
			}
		})
	}
}

func judge(t *testing.T, got any, err error, want any) {
	t.Helper()
	if o, ok := got.(chain.TxOut); ok && string(o.PkScript) == "\x51\x20\xaa" {
		got = out{o.Value, o.Confirmations, o.Coinbase}
	}
	switch w := want.(type) {
	case refusal:
		if code.Of(err) != w.code || !strings.Contains(err.Error(), w.word) {
			t.Errorf("got %v, %v, want %+v", got, err, w)
		}
	case error:
		if !errors.Is(err, w) {
			t.Errorf("got %v, %v, want %v", got, err, w)
		}
	default:
		if err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
}

// TestCookie: it is read anew for each request, because a node makes a new one when it starts.
func TestCookie(t *testing.T) {
	b, _ := serve(t, recorded(t)["introduction"]...)
	b.cfg.User, b.cfg.Pass, b.cfg.CookieFile = "", "", filepath.Join(t.TempDir(), ".cookie")
	if err := b.introduce(t.Context()); code.Of(err) != code.ChainUnavailable {
		t.Errorf("no cookie: %v", err)
	}
	check(t, os.WriteFile(b.cfg.CookieFile, []byte("u:p\n"), 0o600))
	check(t, b.introduce(t.Context()))
}

// TestWakeUps: long polling, and short polling for a node that does not know it.
func TestWakeUps(t *testing.T) {
	wait := exchange{Method: "waitfornewblock", Params: json.RawMessage("[30000]"), Status: 200, Result: json.RawMessage(`{"hash":"aa","height":5}`)}
	b, _ := serve(t, wait, exchange{Method: "waitfornewblock", Params: wait.Params, Status: 404, Error: json.RawMessage(`{"code":-32601,"message":"Method not found"}`)},
		exchange{Method: "getbestblockhash", Params: json.RawMessage("[]"), Status: 200, Result: json.RawMessage(`"bb"`)},
		exchange{Method: "waitfornewblock", Params: wait.Params, Status: 503, Body: new(string)},
	)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wake := b.Notify(ctx)
	for i := range 2 {
		select {
		case <-wake:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d wake-ups", i)
		}
	}
	b.Close()
	if _, err := b.Tip(t.Context()); code.Of(err) != code.ChainUnavailable {
		t.Errorf("closed: %v", err)
	}
}

func TestSatoshi(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0.00000001": 1, "1e-8": 1, "21000000.00000000": 21e14, "0.29999999": 29_999_999, "0.1": 1e7,
		"-0.1": -1, "0.000000001": -1, "21000000.00000001": -1, "": -1, "NaN": -1, "1e300000000": -1, "1e99999999999999999999999999999999": -1,
	} {
		if got, err := satoshi(json.Number(text)); got != max(want, 0) || (err == nil) != (want >= 0) {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Host: "127.0.0.1:8332", User: "u", Params: &chaincfg.MainNetParams}
	for name, change := range map[string]func(*Config){
		"no network": func(c *Config) { c.Params = nil }, "no port": func(c *Config) { c.Host = "localhost" },
		"no user": func(c *Config) { c.User = "" }, "far away": func(c *Config) { c.Host = "192.0.2.1:8332" },
	} {
		c := good
		change(&c)
		if b, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
			b.Close()
		}
	}
	b, err := New(good)
	check(t, err)
	b.Close()
}
