package btcd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

func TestBlocks(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 5})
	b, ctx := connect(t, node), t.Context()

	tip, err := b.Tip(ctx)
	check(t, err)
	hash, height, err := node.Tip()
	check(t, err)
	if tip.Hash != hash || tip.Height != uint32(height) || time.Since(tip.Time).Abs() > time.Hour {
		t.Errorf("tip %+v, want %s at %d", tip, hash, height)
	}
	at, err := b.BlockAt(ctx, 4)
	check(t, err)
	if at != tip.Prev {
		t.Errorf("block at 4 is %s, the tip's parent %s", at, tip.Prev)
	}
	msg, height4, err := b.Block(ctx, at)
	check(t, err)
	if msg.BlockHash() != at || height4 != 4 {
		t.Errorf("got block %s at %d", msg.BlockHash(), height4)
	}
	_, height0, err := b.Block(ctx, *chaincfg.RegressionNetParams.GenesisHash)
	if err != nil || height0 != 0 {
		t.Errorf("genesis: height %d, %v", height0, err)
	}

	check(t, node.Reorg(1, 2))
	for name, ask := range map[string]func() error{
		"height above the tip":  func() error { _, err := b.BlockAt(ctx, 7); return err },
		"absurd height":         func() error { _, err := b.BlockAt(ctx, 1<<31+5); return err },
		"unknown block":         func() error { _, _, err := b.Block(ctx, chainhash.Hash{1}); return err },
		"block off the chain":   func() error { _, _, err := b.Block(ctx, tip.Hash); return err },
		"unknown block, again ": func() error { _, _, err := b.Block(ctx, chainhash.Hash{}); return err },
	} {
		if err := ask(); !errors.Is(err, chain.ErrNotOnChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutputs(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 105})
	b, ctx, p := connect(t, node), t.Context(), newPerson(t)
	op := fund(t, node, p, 50_000)
	out := func(op wire.OutPoint, mempool bool) *chain.TxOut {
		t.Helper()
		out, err := b.TxOut(ctx, op, mempool)
		check(t, err)
		return out
	}

	if out(op, false) != nil {
		t.Error("an unconfirmed output counts without the mempool")
	}
	if o := out(op, true); o == nil || o.Value != 50_000 || string(o.PkScript) != string(p.script) || o.Confirmations != 0 || o.Coinbase {
		t.Errorf("in the mempool: %+v", o)
	}
	mine(t, node, 3)
	if o := out(op, false); o == nil || o.Confirmations != 3 {
		t.Errorf("confirmed: %+v", o)
	}
	if o := out(wire.OutPoint{Hash: op.Hash, Index: 77}, true); o != nil {
		t.Errorf("an output that does not exist: %+v", o)
	}

	spend := p.spend(t, op, 50_000, 0, wire.NewTxOut(40_000, p.script))
	if spender, err := b.Spending(ctx, op); err != nil || spender != nil {
		t.Fatalf("spender %v, %v", spender, err)
	}
	check(t, b.Broadcast(ctx, spend))
	if spender, err := b.Spending(ctx, op); err != nil || spender == nil || *spender != spend.TxHash() {
		t.Errorf("spender %v, %v", spender, err)
	}
	if out(op, true) != nil {
		t.Error("the mempool spends it, and it counts")
	}
	if out(op, false) == nil {
		t.Error("no block spends it, and it does not count")
	}
	mine(t, node, 1)
	if out(op, false) != nil || out(op, true) != nil {
		t.Error("spent in a block, and it counts")
	}
}

func TestCoinbaseIsNamed(t *testing.T) {
	p := newPerson(t)
	node := startNode(t, btcdnode.Options{Blocks: 99, MiningAddr: p.addr})
	b, ctx := connect(t, node), t.Context()
	first, err := b.BlockAt(ctx, 1)
	check(t, err)
	msg, _, err := b.Block(ctx, first)
	check(t, err)
	op := wire.OutPoint{Hash: msg.Transactions[0].TxHash()}
	out, err := b.TxOut(ctx, op, true)
	check(t, err)
	if out == nil || !out.Coinbase || out.Confirmations != 99 {
		t.Fatalf("reward: %+v", out)
	}
	spend := p.spend(t, op, out.Value, 0, wire.NewTxOut(out.Value-1000, p.script))
	rejected(t, b.TestAccept(ctx, spend), "before required maturity")
	mine(t, node, 1)
	check(t, b.TestAccept(ctx, spend))
}

// rejected wants a refusal with the node's reason in it.
func rejected(t *testing.T, err error, reason string) {
	t.Helper()
	if code.Of(err) != code.ChainRejected || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want a refusal because of %q", err, reason)
	}
}

func TestRefusals(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 110})
	b, ctx, p := connect(t, node), t.Context(), newPerson(t)
	op := fund(t, node, p, 50_000)
	mine(t, node, 1) // height 111
	pay := func(sats int64) *wire.TxOut { return wire.NewTxOut(sats, p.script) }

	badSig := p.spend(t, op, 50_000, 0, pay(40_000))
	badSig.TxIn[0].Witness[0][5] ^= 1
	for reason, tx := range map[string]*wire.MsgTx{
		"failed to validate input": badSig,
		"insufficient priority":    p.spend(t, op, 50_000, 0, pay(49_999)),
		"dust":                     p.spend(t, op, 50_000, 0, pay(49_000), pay(329)),
		"not finalized":            p.spend(t, op, 50_000, 112, pay(40_000)),
		"missing-inputs":           p.spend(t, wire.OutPoint{Hash: op.Hash, Index: 9}, 50_000, 0, pay(40_000)),
	} {
		rejected(t, b.TestAccept(ctx, tx), reason)
		if err := b.Broadcast(ctx, tx); code.Of(err) != code.ChainRejected {
			t.Errorf("%s: broadcast: %v", reason, err)
		}
	}
	rejected(t, b.TestAccept(ctx, wire.NewMsgTx(2)), "")
	rejected(t, b.Broadcast(ctx, wire.NewMsgTx(2)), "")
	check(t, b.TestAccept(ctx, p.spend(t, op, 50_000, 111, pay(40_000)))) // lock time at the tip's height
}

func TestBroadcastMayBeRepeated(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 110})
	b, ctx, p := connect(t, node), t.Context(), newPerson(t)
	op := fund(t, node, p, 50_000)
	tx := p.spend(t, op, 50_000, 0, wire.NewTxOut(40_000, p.script))
	again := func(when string) {
		t.Helper()
		for range 2 {
			if err := errors.Join(b.Broadcast(ctx, tx), b.TestAccept(ctx, tx)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	confirmations := func(want uint32) {
		t.Helper()
		got, n, err := b.Tx(ctx, tx.TxHash())
		if err != nil || got == nil || n != want || got.WitnessHash() != tx.WitnessHash() {
			t.Errorf("got %v with %d confirmations, %v", got, n, err)
		}
	}

	if got, _, err := b.Tx(ctx, tx.TxHash()); got != nil || err != nil {
		t.Errorf("before: %v, %v", got, err)
	}
	again("in the mempool")
	confirmations(0)
	mine(t, node, 2)
	again("in a block")
	confirmations(2)
	spend := p.spend(t, wire.OutPoint{Hash: tx.TxHash()}, 40_000, 0, wire.NewTxOut(30_000, p.script))
	check(t, b.Broadcast(ctx, spend))
	mine(t, node, 1)
	again("in a block, with its outputs spent")
}

func TestDoubleSpend(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 110})
	b, ctx, p := connect(t, node), t.Context(), newPerson(t)
	op := fund(t, node, p, 50_000)
	mine(t, node, 1)
	first := p.spend(t, op, 50_000, 0, wire.NewTxOut(40_000, p.script))
	cheaper := p.spend(t, op, 50_000, 0, wire.NewTxOut(41_000, p.script))
	dearer := p.spend(t, op, 50_000, 0, wire.NewTxOut(30_000, p.script))
	check(t, b.Broadcast(ctx, first))
	rejected(t, b.Broadcast(ctx, cheaper), "")
	check(t, b.Broadcast(ctx, dearer)) // replaces: both said they may be
	mine(t, node, 1)
	rejected(t, b.TestAccept(ctx, first), "")
	rejected(t, b.Broadcast(ctx, first), "")
}

func TestTLS(t *testing.T) {
	node := startNode(t, btcdnode.Options{TLS: true, Blocks: 3})
	b := connect(t, node)
	tip, err := b.Tip(t.Context())
	if err != nil || tip.Height != 3 {
		t.Errorf("tip %+v, %v", tip, err)
	}
	stranger := startNode(t, btcdnode.Options{TLS: true})
	c := config(node)
	c.CertFile = stranger.CertFile()
	if _, err := Dial(t.Context(), c); code.Of(err) != code.ChainUnavailable {
		t.Errorf("a certificate that is not the node's: %v", err)
	}
}

func TestFeeRate(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 1})
	b := connect(t, node)
	for _, blocks := range []int{-1, 0, 1, 6, 1000} {
		rate, err := b.FeeRate(t.Context(), blocks)
		if err != nil || rate < 0 {
			t.Errorf("for %d blocks: %d, %v", blocks, rate, err)
		}
	}
}

func TestDialRefusals(t *testing.T) {
	node := startNode(t, btcdnode.Options{})
	try := func(change func(*Config)) error {
		c := config(node)
		change(&c)
		b, err := Dial(t.Context(), c)
		if err == nil {
			b.Close()
		}
		return err
	}
	noPEM := filepath.Join(t.TempDir(), "none")
	for name, refusal := range map[string]struct {
		want   code.Code
		change func(*Config)
	}{
		"other network":  {code.ChainWrongNetwork, func(c *Config) { c.Params = &chaincfg.MainNetParams }},
		"no network":     {code.ChainWrongNetwork, func(c *Config) { c.Params = nil }},
		"plain far away": {code.ChainUnavailable, func(c *Config) { c.Host = "192.0.2.1:8334" }},
		"no host":        {code.ChainUnavailable, func(c *Config) { c.Host = "nonsense" }},
		"no password":    {code.ChainUnavailable, func(c *Config) { c.Pass = "" }},
		"bad password":   {code.ChainUnavailable, func(c *Config) { c.Pass = "wrong" }},
		"no certificate": {code.ChainUnavailable, func(c *Config) { c.CertFile = noPEM }},
		"nobody there":   {code.ChainUnavailable, func(c *Config) { c.Host = closedPort(t) }},
	} {
		if err := try(refusal.change); code.Of(err) != refusal.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(t, try(func(*Config) {}))
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestSilentNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close() // connections wait in the queue, and nobody answers
	c := Config{Host: l.Addr().String(), User: "u", Pass: "p", Params: &chaincfg.RegressionNetParams, Timeout: 50 * time.Millisecond}
	if _, err := Dial(t.Context(), c); code.Of(err) != code.ChainUnavailable {
		t.Errorf("got %v", err)
	}
	c.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestClosed(t *testing.T) {
	node := startNode(t, btcdnode.Options{})
	b := connect(t, node)
	b.Close()
	if _, err := b.Tip(t.Context()); code.Of(err) != code.ChainUnavailable {
		t.Errorf("got %v", err)
	}
}

// TestFrozenNode: a node that stops answering costs one timeout, and works again
// when it wakes up.
func TestFrozenNode(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 1})
	c := config(node)
	c.Timeout = 300 * time.Millisecond
	b, err := Dial(t.Context(), c)
	check(t, err)
	defer b.Close()
	proc, err := os.FindProcess(node.PID())
	check(t, err)
	if err := proc.Signal(freeze); err != nil {
		t.Skip("this system cannot freeze a process: ", err)
	}
	for range 100 { // until the signal has arrived
		if _, err = b.Tip(t.Context()); err != nil {
			break
		}
	}
	_, again := b.Tip(t.Context())
	if code.Of(err) != code.ChainUnavailable || code.Of(again) != code.ChainUnavailable {
		t.Errorf("frozen: %v, then %v", err, again)
	}
	check(t, proc.Signal(thaw))
	for attempt := range 20 {
		if _, err = b.Tip(t.Context()); err == nil {
			return
		}
		time.Sleep(time.Duration(attempt) * 10 * time.Millisecond)
	}
	t.Fatalf("awake again, but: %v", err)
}
