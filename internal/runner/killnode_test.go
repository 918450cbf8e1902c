package runner_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain/btcd"
	"relaymarket/internal/runner"
	"relaymarket/internal/wallet"
	"relaymarket/testnet/btcdnode"
)

// nodeGround is a real node's chain, on which lives come one after the other.
type nodeGround struct {
	*btcd.Backend
	t    *testing.T
	node *btcdnode.Node
}

func (g nodeGround) mine() {
	_, err := g.node.Mine(1)
	check(g.t, err)
}

func (g nodeGround) wake() {}

func (g nodeGround) spender(op wire.OutPoint) (chainhash.Hash, bool) {
	out, err := g.TxOut(context.Background(), op, true)
	check(g.t, err)
	return chainhash.Hash{}, out == nil
}

// peopleOn are people with wallets that follow a node, and as many coins as lives.
func peopleOn(t *testing.T, n *btcdnode.Node, coins int) (*people, ground) {
	t.Helper()
	p := &people{client: person{role: contract.Client}, relay: person{role: contract.Relay}, coin: 500_000}
	params := must(runner.Params(identity.Regtest))(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, x := range []*person{&p.client, &p.relay} {
		x.seed = make([]byte, 64)
		pass := make([]byte, 32)
		_, _ = rand.Read(x.seed)
		_, _ = rand.Read(pass)
		x.key = must(identity.FromSeed(x.seed, identity.Regtest))(t)
		x.wallet = must(wallet.Open(wallet.Config{
			Dir: t.TempDir(), Params: params, Seed: x.seed, Passphrase: pass,
			RPC: wallet.RPC{Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()},
		}))(t)
		t.Cleanup(func() { _ = x.wallet.Close() })
		wg.Go(func() {
			if err := x.wallet.Run(ctx); err != nil {
				t.Errorf("%v wallet: %v", x.role, err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	check(t, p.client.wallet.Synced(t.Context()))
	check(t, p.relay.wallet.Synced(t.Context()))
	var outs []*wire.TxOut
	for range coins {
		_, script, err := p.client.wallet.NewAddress()
		check(t, err)
		outs = append(outs, wire.NewTxOut(p.coin, script))
	}
	must(n.Pay(t.Context(), outs...))(t)
	must(n.Mine(1))(t)
	for i := 0; ; i++ {
		if b, err := p.client.wallet.Balance(); err == nil && b.ConfirmedSat == int64(coins)*p.coin {
			break
		}
		if i == 1000 {
			t.Fatal("the coins did not arrive")
		}
		time.Sleep(10 * time.Millisecond)
	}
	back := must(btcd.Dial(t.Context(), btcd.Config{Host: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass(), Params: params}))(t)
	t.Cleanup(back.Close)
	return p, nodeGround{back, t, n}
}

// TestKilledOnANode is a sample of TestKilledAtEveryPoint on a real node, with wallets that follow it.
func TestKilledOnANode(t *testing.T) {
	t.Parallel()
	sample := []struct {
		stage int // from which on points count; the last is the ending
		death death
	}{
		{0, death{role: contract.Client, at: 9}}, {0, death{role: contract.Relay, at: 7}}, // around the signatures
		{1, death{role: contract.Client, at: 12, both: true}}, {2, death{role: contract.Relay, at: 6, thenIn: 3}},
		{3, death{role: contract.Client, at: 8}}, {3, death{role: contract.Relay, at: 5}},
	}
	shared.start(t)
	p, g := peopleOn(t, shared.node, len(sample))
	for _, x := range sample {
		c := p.couple(t, g, vfs.NewCrashableMem(), vfs.NewCrashableMem())
		points, killed := c.live(fmt.Sprintf("stage %d", x.stage), stages[:x.stage], stages[x.stage:], endings[0], x.death)
		if !killed {
			t.Fatalf("no point %d of the %v", x.death.at, x.death.role)
		}
		t.Logf("stage %d, %v: died at %q", x.stage, x.death.role, points[x.death.at-1])
	}
}
