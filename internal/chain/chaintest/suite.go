package chaintest

import (
	"errors"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

// Subject is a kind of backend.
type Subject struct {
	// Open makes a backend that looks at the chain of the node.
	Open func(t *testing.T, node *btcdnode.Node) chain.Backend

	// Close ends it. Later questions must fail with ChainUnavailable.
	Close func(chain.Backend)

	// Light is set for a light client.
	Light bool
}

// bench is a backend with its node.
type bench struct {
	Subject
	node *btcdnode.Node
	b    chain.Backend
}

func (s Subject) start(t *testing.T, o btcdnode.Options) *bench {
	node := StartNode(t, o)
	b := s.Open(t, node)
	t.Cleanup(func() { s.Close(b) })
	Level(t, b, node)
	return &bench{s, node, b}
}

// Run is the suite.
func Run(t *testing.T, s Subject) {
	x := s.start(t, btcdnode.Options{Blocks: 110})
	for _, part := range []struct {
		name string
		run  func(*bench, *testing.T)
	}{
		{"blocks", (*bench).blocks}, {"reorg", (*bench).reorg}, {"two nodes", (*bench).twoNodes}, {"wake-ups", (*bench).wakeUps},
		{"coins", (*bench).coins}, {"coinbase", (*bench).coinbase}, {"broadcast", (*bench).broadcast}, {"refusals", (*bench).refusals},
		{"double spend", (*bench).doubleSpend}, {"watching", (*bench).watching}, {"filters", (*bench).filters}, {"fee rate", (*bench).feeRate},
		{"away", (*bench).away}, {"closed", (*bench).closed}, // the last: they end what the others need
	} {
		t.Run(part.name, func(t *testing.T) { part.run(x, t) })
	}
}

func (x *bench) blocks(t *testing.T) {
	ctx := t.Context()
	tip := Level(t, x.b, x.node)
	hash, height, err := x.node.Tip()
	Check(t, err)
	real, err := x.node.Client().GetBlock(&hash)
	Check(t, err)
	if tip.Height != uint32(height) || tip.Prev != real.Header.PrevBlock || !tip.Time.Equal(real.Header.Timestamp) || time.Since(tip.Time).Abs() > time.Hour {
		t.Errorf("tip %+v, want %s at %d, made at %s", tip, hash, height, real.Header.Timestamp)
	}
	for _, h := range []uint32{0, 1, tip.Height - 1, tip.Height} {
		at, err := x.b.BlockAt(ctx, h)
		Check(t, err)
		want, err := x.node.Client().GetBlockHash(int64(h))
		Check(t, err)
		header, headerHeight, err := x.b.Header(ctx, at)
		Check(t, err)
		if at != *want || header.BlockHash() != at || headerHeight != h {
			t.Errorf("at %d: %s, want %s; its header is %s at %d", h, at, want, header.BlockHash(), headerHeight)
		}
	}
	msg, blockHeight, err := x.b.Block(ctx, tip.Prev)
	Check(t, err)
	if msg.BlockHash() != tip.Prev || blockHeight != tip.Height-1 || len(msg.Transactions) == 0 {
		t.Errorf("got block %s at %d with %d transactions", msg.BlockHash(), blockHeight, len(msg.Transactions))
	}
	if _, height, err := x.b.Header(ctx, *chaincfg.RegressionNetParams.GenesisHash); err != nil || height != 0 {
		t.Errorf("genesis: height %d, %v", height, err)
	}
	x.notOnChain(t, chainhash.Hash{1}, chainhash.Hash{})
	for _, h := range []uint32{tip.Height + 1, 1<<31 + 5, 1<<32 - 1} {
		if _, err := x.b.BlockAt(ctx, h); !errors.Is(err, chain.ErrNotOnChain) {
			t.Errorf("height %d: %v", h, err)
		}
	}
}

// notOnChain wants every question about these blocks to be answered so.
func (x *bench) notOnChain(t *testing.T, hashes ...chainhash.Hash) {
	t.Helper()
	for _, h := range hashes {
		_, _, blockErr := x.b.Block(t.Context(), h)
		_, _, headerErr := x.b.Header(t.Context(), h)
		if !errors.Is(blockErr, chain.ErrNotOnChain) || !errors.Is(headerErr, chain.ErrNotOnChain) {
			t.Errorf("block %s: %v, %v", h, blockErr, headerErr)
		}
		if light, ok := x.b.(chain.Filtering); ok {
			if _, err := light.MayHold(t.Context(), h, [][]byte{{1}}); !errors.Is(err, chain.ErrNotOnChain) {
				t.Errorf("filter of %s: %v", h, err)
			}
		}
	}
}

// reorg: blocks are declared invalid, others come in their place, and then the
// first ones are right after all.
func (x *bench) reorg(t *testing.T) {
	Mine(t, x.node, 3)
	old := Level(t, x.b, x.node)
	Check(t, x.node.Reorg(2, 3))
	tip := Level(t, x.b, x.node)
	x.notOnChain(t, old.Hash, old.Prev)
	fork, err := x.b.BlockAt(t.Context(), old.Height-1)
	Check(t, err)
	if fork == old.Prev || tip.Height != old.Height+1 {
		t.Fatalf("after the reorg: %+v, block %s", tip, fork)
	}
	client := x.node.Client()
	Check(t, client.InvalidateBlock(&fork))
	Check(t, client.ReconsiderBlock(&old.Prev))
	Mine(t, x.node, 2) // longer than what it replaces: a light client follows work
	tip = Level(t, x.b, x.node)
	if at, err := x.b.BlockAt(t.Context(), old.Height); err != nil || at != old.Hash || tip.Height != old.Height+2 {
		t.Errorf("the first blocks are back, but at %d is %s, %v, and the tip %+v", old.Height, at, err, tip)
	}
	x.notOnChain(t, fork)
}

// twoNodes: the node hears from another node of a longer chain.
func (x *bench) twoNodes(t *testing.T) {
	other := StartNode(t, btcdnode.Options{})
	Check(t, other.Client().AddNode(x.node.P2PAddr(), "add"))
	same := func() bool {
		mine, _, err := x.node.Tip()
		Check(t, err)
		theirs, _, err := other.Tip()
		Check(t, err)
		return mine == theirs
	}
	Eventually(t, "the nodes have one chain", same)
	Check(t, other.Client().AddNode(x.node.P2PAddr(), "remove"))
	Mine(t, x.node, 1)
	lost := Level(t, x.b, x.node)
	Mine(t, other, 3)
	Check(t, other.Client().AddNode(x.node.P2PAddr(), "add"))
	Eventually(t, "the longer chain wins", same)
	tip := Level(t, x.b, x.node)
	if tip.Height != lost.Height+2 {
		t.Errorf("tip %+v", tip)
	}
	x.notOnChain(t, lost.Hash)
	Check(t, other.Client().AddNode(x.node.P2PAddr(), "remove"))
}

// wakeUps come for blocks and for reorgs.
func (x *bench) wakeUps(t *testing.T) {
	wake := x.b.Notify(t.Context())
	for name, change := range map[string]func() error{
		"block": func() error { _, err := x.node.Mine(1); return err },
		"reorg": func() error { return x.node.Reorg(1, 2) },
	} {
		Level(t, x.b, x.node)
		select { // what came before
		case <-wake:
		case <-time.After(300 * time.Millisecond):
		}
		Check(t, change())
		select {
		case <-wake:
		case <-time.After(patience):
			t.Errorf("no wake-up for a %s", name)
		}
	}
}

func (x *bench) feeRate(t *testing.T) {
	for _, blocks := range []int{-1, 0, 1, 6, 1000} {
		rate, err := x.b.FeeRate(t.Context(), blocks)
		if err != nil || rate < 0 {
			t.Errorf("for %d blocks: %d, %v", blocks, rate, err)
		}
	}
	rate, err := chain.FeeRate(t.Context(), x.b, 0)
	if err != nil || rate < chain.MinFeeRate || rate > chain.MaxFeeRate {
		t.Errorf("chosen: %d, %v", rate, err)
	}
}

// away: without the node the backend says so, and works again when it is back.
func (x *bench) away(t *testing.T) {
	Check(t, x.node.Halt())
	tip := func() error { _, err := x.b.Tip(t.Context()); return err }
	Eventually(t, "the backend notices that the node is away", func() bool { return code.Of(tip()) == code.ChainUnavailable })
	if err := x.b.Broadcast(t.Context(), NewPerson(t).Spend(t, someOutPoint(1), 2_000, 0, NewPerson(t).Pay(1_000))); code.Of(err) != code.ChainUnavailable {
		t.Errorf("broadcast to nobody: %v", err)
	}
	Check(t, x.node.Restart(t.Context()))
	Mine(t, x.node, 1)
	Level(t, x.b, x.node)
}

func (x *bench) closed(t *testing.T) {
	x.Close(x.b)
	if _, err := x.b.Tip(t.Context()); code.Of(err) != code.ChainUnavailable {
		t.Errorf("got %v", err)
	}
}
