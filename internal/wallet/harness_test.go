package wallet

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

// node is one real btcd for the whole package; tests run one after another on it.
var node *btcdnode.Node

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	if node, err = btcdnode.Start(ctx, btcdnode.Options{Blocks: 120}); err != nil {
		fmt.Fprintln(os.Stderr, "no node:", err)
		return 1
	}
	defer func() {
		if err := node.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// live is a wallet with its Run.
type live struct {
	*Wallet
	t    *testing.T
	cfg  Config
	stop func()
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func config(t *testing.T) Config {
	t.Helper()
	cfg := Config{
		Dir: t.TempDir(), Params: &chaincfg.RegressionNetParams,
		Seed: random(t, 64), Passphrase: random(t, 32), Birthday: time.Now(),
		RPC: RPC{Host: node.RPCHost(), User: node.RPCUser(), Pass: node.RPCPass()},
	}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return cfg
}

func start(t *testing.T, cfg Config) *live {
	t.Helper()
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	l := &live{Wallet: w, t: t, cfg: cfg}
	l.stop = func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error("Run:", err)
			}
		case <-time.After(time.Minute):
			t.Error("Run does not stop")
			return
		}
		if err := w.Close(); err != nil {
			t.Error("Close:", err)
		}
		l.stop = func() {}
	}
	t.Cleanup(func() { l.stop() })
	l.sync()
	return l
}

func (l *live) restart() *live {
	l.t.Helper()
	l.stop()
	return start(l.t, l.cfg)
}

func (l *live) sync() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := l.Synced(ctx); err != nil {
		l.t.Fatal(err)
	}
}

// funded gives the wallet confirmed coins of these values.
func (l *live) funded(values ...int64) []wire.OutPoint {
	l.t.Helper()
	var ops []wire.OutPoint
	for _, v := range values {
		_, script, err := l.NewAddress()
		if err != nil {
			l.t.Fatal(err)
		}
		op, err := node.Fund(context.Background(), script, v)
		if err != nil {
			l.t.Fatal(err)
		}
		ops = append(ops, op)
	}
	l.mine(1)
	return ops
}

func (l *live) mine(n int) {
	l.t.Helper()
	if _, err := node.Mine(n); err != nil {
		l.t.Fatal(err)
	}
	l.sync()
}

func (l *live) balance() Balance {
	l.t.Helper()
	b, err := l.Balance()
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// eventually waits for what the node tells through its mempool, which Synced does not cover.
func (l *live) eventually(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	l.t.Fatalf("%s: never; balance %+v", what, l.balance())
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %+v, want %+v", what, got, want)
	}
}

func wantCode(t *testing.T, err error, c code.Code) {
	t.Helper()
	if code.Of(err) != c || err == nil {
		t.Fatalf("error %v, want code %v", err, c)
	}
}

// foreignOutput is a taproot output of somebody else.
func foreignOutput(t *testing.T, sat int64) *wire.TxOut {
	t.Helper()
	key, err := btcec.NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	script := append([]byte{txscript.OP_1, 32}, schnorr.SerializePubKey(key.PubKey())...)
	return wire.NewTxOut(sat, script)
}

// build makes the transaction of shares and outputs, unsigned, and all its prevouts.
func build(outs []*wire.TxOut, shares ...Share) (*wire.MsgTx, map[wire.OutPoint]*wire.TxOut) {
	tx, prevouts := wire.NewMsgTx(2), map[wire.OutPoint]*wire.TxOut{}
	for _, s := range shares {
		for _, in := range s.Inputs {
			txIn := wire.NewTxIn(&in.OutPoint, nil, nil)
			txIn.Sequence = Sequence
			tx.AddTxIn(txIn)
			prevouts[in.OutPoint] = wire.NewTxOut(in.Value, in.PkScript)
		}
		if s.ChangeSat > 0 {
			outs = append(outs, wire.NewTxOut(s.ChangeSat, s.ChangeScript))
		}
	}
	for _, o := range outs {
		tx.AddTxOut(o)
	}
	return tx, prevouts
}

// signed adds one wallet's witnesses.
func (l *live) signed(tx *wire.MsgTx, prevouts map[wire.OutPoint]*wire.TxOut, s Share) {
	l.t.Helper()
	var own []wire.OutPoint
	for _, in := range s.Inputs {
		own = append(own, in.OutPoint)
	}
	got, err := l.SignOwn(tx, prevouts, own)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, in := range tx.TxIn {
		if w, ok := got[in.PreviousOutPoint]; ok {
			in.Witness = w
		}
	}
}

// accepted asks the node whether it would take the transaction, without sending it.
func accepted(t *testing.T, tx *wire.MsgTx) {
	t.Helper()
	res, err := node.Client().TestMempoolAccept([]*wire.MsgTx{tx}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(res) != 1 || !res[0].Allowed {
		t.Fatalf("the node would refuse it: %+v", res[0])
	}
}
