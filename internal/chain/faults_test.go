//go:build unix

package chain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/rpcclient"

	"relaymarket/internal/chain"
	"relaymarket/internal/chain/btcd"
	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

func startNode(t *testing.T, blocks int) (*btcdnode.Node, *btcd.Backend) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node, err := btcdnode.Start(ctx, btcdnode.Options{Blocks: blocks})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	b, err := btcd.New(btcd.Config{
		Host: node.RPCHost(), User: node.RPCUser(), Pass: node.RPCPass(),
		Params: &chaincfg.RegressionNetParams, Timeout: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return node, b
}

// estimator is a node that says whatever a test wants about fees.
type estimator struct {
	chain.Backend
	say func(context.Context) (int64, error)
}

func (e estimator) FeeRate(ctx context.Context, _ int) (int64, error) { return e.say(ctx) }

// TestFault43EstimatorWithoutData: no data, nonsense, an outage and silence of the
// estimator all end in a usable fee rate.
func TestFault43EstimatorWithoutData(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate     int64
		err      error
		fallback int64
		want     int64
	}{
		"no data":                 {0, nil, 0, chain.DefaultFeeRate},
		"no data, own fallback":   {0, nil, 7_000, 7_000},
		"absurd fallback":         {0, nil, math.MaxInt64, chain.MaxFeeRate},
		"negative":                {-5, nil, 0, chain.DefaultFeeRate},
		"below the least":         {3, nil, 0, chain.MinFeeRate},
		"in between":              {12_345, nil, 0, 12_345},
		"a market gone mad":       {math.MaxInt64, nil, 0, chain.MaxFeeRate},
		"an outage":               {0, errors.New("down"), 9_000, 9_000},
		"an outage with a number": {400_000, errors.New("down"), 0, chain.DefaultFeeRate},
	} {
		node := estimator{say: func(context.Context) (int64, error) { return c.rate, c.err }}
		rate, err := chain.FeeRate(t.Context(), node, c.fallback)
		if rate != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, %v, want %d", name, rate, err, c.want)
		}
	}

	silent := estimator{say: func(ctx context.Context) (int64, error) { <-ctx.Done(); return 0, ctx.Err() }}
	began := time.Now()
	rate, err := chain.FeeRate(t.Context(), silent, 0)
	if rate != chain.DefaultFeeRate || err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("silence: %d, %v after %s", rate, err, time.Since(began))
	}

	// A real node that has seen no market: whatever it says, the rate is in bounds.
	node, b := startNode(t, 1)
	rate, err = chain.FeeRate(t.Context(), b, 0)
	if err != nil || rate < chain.MinFeeRate || rate > chain.MaxFeeRate {
		t.Errorf("btcd without data: %d, %v", rate, err)
	}
	if err := node.Halt(); err != nil {
		t.Fatal(err)
	}
	if rate, err = chain.FeeRate(t.Context(), b, 0); code.Of(err) != code.ChainUnavailable || rate != chain.DefaultFeeRate {
		t.Errorf("btcd halted: %d, %v", rate, err)
	}
}

// doubtful wants a view that is not to be trusted, for a reason that a person understands.
func doubtful(t *testing.T, when string, v *chain.View, want code.Code, words string) {
	t.Helper()
	err := v.Check(t.Context())
	if code.Of(err) != want || !strings.Contains(err.Error(), words) || code.Of(err).Hint() == "" {
		t.Errorf("%s: %v", when, err)
	}
}

func trusted(t *testing.T, when string, v *chain.View) {
	t.Helper()
	if err := v.Check(t.Context()); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// join makes two nodes peers.
func join(t *testing.T, a, b *btcdnode.Node) {
	t.Helper()
	if err := a.Client().AddNode(b.P2PAddr(), rpcclient.ANAdd); err != nil {
		t.Fatal(err)
	}
	agree(t, a, b)
}

// feed gives all blocks of one node to another, as a peer would: btcd does not always take up a
// connection again that was broken while a node was frozen.
func feed(t *testing.T, from, to *btcdnode.Node) {
	t.Helper()
	_, tip, err := from.Tip()
	if err != nil {
		t.Fatal(err)
	}
	for h := int64(1); h <= int64(tip); h++ {
		hash, err := from.Client().GetBlockHash(h)
		if err != nil {
			t.Fatal(err)
		}
		b, err := from.Client().GetBlock(hash)
		if err != nil {
			t.Fatal(err)
		}
		_ = to.Client().SubmitBlock(btcutil.NewBlock(b), nil) // one that it has is refused; agree looks at the outcome
	}
	agree(t, from, to)
}

// agree waits until two nodes have one tip.
func agree(t *testing.T, a, b *btcdnode.Node) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		x, _, errA := a.Tip()
		y, _, errB := b.Tip()
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if x == y {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the nodes stay at %s and %s", x, y)
		}
	}
}

func mine(t *testing.T, node *btcdnode.Node, n int) {
	t.Helper()
	if _, err := node.Mine(n); err != nil {
		t.Fatal(err)
	}
}

// TestFault31StaleView: a real node that is cut off and stands still, one that is
// on a fork of its own, one that is frozen, and a tip that is old.
func TestFault31StaleView(t *testing.T) {
	t.Parallel()
	mineNode, b := startNode(t, 10)
	other, second := startNode(t, 0)
	join(t, other, mineNode)
	v := chain.NewView(chain.ViewConfig{Main: b, Second: second})
	trusted(t, "two nodes in touch", v)

	// The tip grows old: four hours later by the clock, with no new block. Blocks that are made quickly
	// are some seconds ahead of it.
	late := chain.NewView(chain.ViewConfig{Main: b, Now: func() time.Time { return time.Now().Add(chain.MaxTipAge + time.Hour) }})
	doubtful(t, "an old tip", late, code.StaleTip, " old: the Bitcoin node")
	trusted(t, "an old tip on regtest", chain.NewView(chain.ViewConfig{Main: b, AnyAge: true, Now: func() time.Time { return time.Now().Add(time.Hour * 99) }}))

	// Cut off: the other one goes on, and this one stands still.
	if err := other.Client().AddNode(mineNode.P2PAddr(), rpcclient.ANRemove); err != nil {
		t.Fatal(err)
	}
	mine(t, other, 3)
	trusted(t, "three blocks behind for a moment", v)
	mine(t, other, 1)
	doubtful(t, "four blocks behind", v, code.ChainDisagrees, "4 blocks apart")

	// Fed a fork of its own, of the same length.
	mine(t, mineNode, 4)
	doubtful(t, "on a fork", v, code.ChainDisagrees, "different blocks at height 12")

	// Frozen: the main one shows nothing, then the second one.
	freeze(t, mineNode, func() {
		doubtful(t, "frozen", v, code.ChainUnavailable, "does not show its chain")
	})
	freeze(t, other, func() { doubtful(t, "the second is frozen", v, code.ChainDisagrees, "cannot confirm block 14") })

	// In touch again, the longer chain wins, and all is well.
	mine(t, other, 1)
	feed(t, other, mineNode)
	for end := time.Now().Add(20 * time.Second); v.Check(t.Context()) != nil && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond) // connections of the frozen time are made anew
	}
	trusted(t, "in touch again", v)
}

// freeze stops a node's process for the time of f.
func freeze(t *testing.T, node *btcdnode.Node, f func()) {
	t.Helper()
	proc, err := os.FindProcess(node.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := proc.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	for end := time.Now().Add(5 * time.Second); !stopped(proc.Pid) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // the signal has been sent, not yet obeyed
	}
	f()
}

// stopped tells whether all threads of a process stand still; where the system does not show it, that is not known.
func stopped(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, s := range stats {
		raw, err := os.ReadFile(s)
		if err == nil && !bytes.Contains(raw, []byte(") T ")) {
			return false
		}
	}
	return len(stats) > 0
}
