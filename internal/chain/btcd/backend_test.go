package btcd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/chain/chaintest"
	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

func config(node *btcdnode.Node) Config {
	return Config{
		Host: node.RPCHost(), User: node.RPCUser(), Pass: node.RPCPass(), CertFile: node.CertFile(),
		Params: &chaincfg.RegressionNetParams, Timeout: 10 * time.Second,
	}
}

func open(t *testing.T, node *btcdnode.Node) chain.Backend {
	t.Helper()
	b, err := Dial(t.Context(), config(node))
	chaintest.Check(t, err)
	return b
}

func TestConformance(t *testing.T) {
	chaintest.Run(t, chaintest.Subject{Open: open, Close: func(b chain.Backend) { b.(*Backend).Close() }})
}

func TestTLS(t *testing.T) {
	node := chaintest.StartNode(t, btcdnode.Options{TLS: true, Blocks: 3})
	b := open(t, node)
	defer b.(*Backend).Close()
	tip, err := b.Tip(t.Context())
	if err != nil || tip.Height != 3 {
		t.Errorf("tip %+v, %v", tip, err)
	}
	stranger := chaintest.StartNode(t, btcdnode.Options{TLS: true})
	c := config(node)
	c.CertFile = stranger.CertFile()
	if _, err := Dial(t.Context(), c); code.Of(err) != code.ChainUnavailable {
		t.Errorf("a certificate that is not the node's: %v", err)
	}
}

func TestDialRefusals(t *testing.T) {
	node := chaintest.StartNode(t, btcdnode.Options{})
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
	chaintest.Check(t, try(func(*Config) {}))
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	chaintest.Check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestSilentNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	chaintest.Check(t, err)
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

// TestFrozenNode: a node that stops answering costs one timeout, and works again
// when it wakes up.
func TestFrozenNode(t *testing.T) {
	node := chaintest.StartNode(t, btcdnode.Options{Blocks: 1})
	c := config(node)
	c.Timeout = 300 * time.Millisecond
	b, err := Dial(t.Context(), c)
	chaintest.Check(t, err)
	defer b.Close()
	proc, err := os.FindProcess(node.PID())
	chaintest.Check(t, err)
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
	chaintest.Check(t, proc.Signal(thaw))
	for attempt := range 20 {
		if _, err = b.Tip(t.Context()); err == nil {
			return
		}
		time.Sleep(time.Duration(attempt) * 10 * time.Millisecond)
	}
	t.Fatalf("awake again, but: %v", err)
}
