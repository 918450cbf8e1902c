package neutrino

import (
	"errors"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/chain/chaintest"
	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

func open(t *testing.T, node *btcdnode.Node) chain.Backend {
	t.Helper()
	b, err := New(Config{
		Dir: t.TempDir(), Params: &chaincfg.RegressionNetParams, Peers: []string{node.P2PAddr()},
		Timeout: 20 * time.Second, BroadcastTimeout: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	chaintest.Run(t, chaintest.Subject{
		Open: open, Light: true,
		Close: func(b chain.Backend) {
			if err := b.(*Backend).Close(); err != nil {
				t.Error(err)
			}
		},
	})
}

// TestDirectory: one process at a time, and what was downloaded is there after a
// restart without a peer; but without a peer nothing is said.
func TestDirectory(t *testing.T) {
	node := chaintest.StartNode(t, btcdnode.Options{Blocks: 5})
	c := Config{Dir: t.TempDir(), Params: &chaincfg.RegressionNetParams, Peers: []string{node.P2PAddr()}}
	b, err := New(c)
	chaintest.Check(t, err)
	if _, err := New(c); code.Of(err) != code.StoreLocked {
		t.Errorf("a second one: %v", err)
	}
	chaintest.Level(t, b, node)
	if b.Peers() != 1 {
		t.Errorf("%d peers", b.Peers())
	}
	chaintest.Check(t, errors.Join(b.Close(), b.Close(), node.Halt()))

	again, err := New(c)
	chaintest.Check(t, err)
	if _, err := again.Tip(t.Context()); code.Of(err) != code.ChainUnavailable {
		t.Errorf("without a peer: %v", err)
	}
	best, err := again.service.BestBlock()
	if err != nil || best.Height != 5 {
		t.Errorf("kept: %+v, %v", best, err)
	}
	chaintest.Check(t, again.Close())
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no network":                 {Dir: t.TempDir()},
		"no directory":               {Params: &chaincfg.MainNetParams},
		"no peer on a private chain": {Dir: t.TempDir(), Params: &chaincfg.RegressionNetParams},
	} {
		if b, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
			_ = b.Close()
		}
	}
	b, err := New(Config{Dir: t.TempDir(), Params: &chaincfg.MainNetParams})
	chaintest.Check(t, err) // connects to nobody until it is used
	chaintest.Check(t, b.Close())
}
