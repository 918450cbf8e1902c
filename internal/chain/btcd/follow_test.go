package btcd

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/testnet/btcdnode"
)

// follower collects what a Watcher tells about a real node.
type follower struct {
	t      *testing.T
	w      *chain.Watcher
	events chan string
	stop   func() error
}

func follow(t *testing.T, b *Backend) *follower {
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{
		t: t, events: make(chan string, 1000),
		w: chain.New(b, chain.Config{Poll: 200 * time.Millisecond}),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- f.w.Run(ctx, func(e chain.Event) error {
			f.events <- describe(e)
			return nil
		})
	}()
	f.stop = func() error { cancel(); return <-ended }
	t.Cleanup(func() { cancel() })
	return f
}

func describe(e chain.Event) string {
	s := fmt.Sprint(e.Kind, " ", e.Block.Height)
	for _, c := range e.Confirms {
		s += " confirmed:" + c.Key
	}
	for _, x := range e.Spends {
		s += " spent:" + x.Key
	}
	for _, p := range e.Payments {
		s += " paid:" + p.Key
	}
	return s
}

// want wants these events next.
func (f *follower) want(events ...string) {
	f.t.Helper()
	for _, want := range events {
		select {
		case got := <-f.events:
			if got != want {
				f.t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(15 * time.Second):
			f.t.Fatalf("no %q: %+v", want, f.w.Health())
		}
	}
}

// start skips the first blocks of a Watcher.
func (f *follower) skipTo(event string) {
	f.t.Helper()
	for {
		select {
		case got := <-f.events:
			if got == event {
				return
			}
		case <-time.After(15 * time.Second):
			f.t.Fatalf("no %q: %+v", event, f.w.Health())
		}
	}
}

// TestWatcherOnARealNode: confirmation, spending, reorgs of one and three
// blocks, a double spend, and a node that goes away, in one story.
func TestWatcherOnARealNode(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 110})
	b, ctx, p := connect(t, node), t.Context(), newPerson(t)
	f := follow(t, b)
	f.skipTo("connected 110")

	op := fund(t, node, p, 50_000)
	f.w.Watch(chain.Txid("fund", op.Hash, 111), chain.Script("fund", p.script, 111), chain.OutPoint("fund", op, 111))
	mine(t, node, 1)
	f.want("connected 111 confirmed:fund paid:fund")

	spend := p.spend(t, op, 50_000, 0, wire.NewTxOut(40_000, p.script))
	check(t, b.Broadcast(ctx, spend))
	mine(t, node, 1)
	f.want("connected 112 spent:fund paid:fund")

	// One block goes and comes again; the node put its transaction back.
	check(t, node.Reorg(1, 2))
	f.want("disconnected 112", "connected 112 spent:fund paid:fund", "connected 113")

	// Three blocks go, and in the new ones the other spender is confirmed.
	other := p.spend(t, op, 50_000, 0, wire.NewTxOut(30_000, []byte{0x6a}))
	check(t, node.Fork(2, nil, []*wire.MsgTx{other}, nil))
	f.want("disconnected 113", "disconnected 112", "connected 112", "connected 113 spent:fund", "connected 114")

	for _, end := range []func() error{node.Halt, node.Kill} {
		check(t, end())
		f.unhealthy()
		check(t, node.Restart(ctx))
		_, height, err := node.Tip()
		check(t, err)
		mine(t, node, 1)
		f.want(fmt.Sprint("connected ", height+1))
	}
	f.w.Watch(chain.Txid("fund", op.Hash, 100))
	f.want("rescanned 111 confirmed:fund", "covered 116")
	if err := f.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
}

// unhealthy waits until the Watcher has noticed that the node is away.
func (f *follower) unhealthy() {
	f.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); f.w.Health().Err == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatal("nobody noticed that the node is away")
		}
	}
}

// TestNotifications: without them this would take an hour.
func TestNotifications(t *testing.T) {
	node := startNode(t, btcdnode.Options{Blocks: 3})
	b := connect(t, node)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := chain.New(b, chain.Config{Poll: time.Hour})
	err := w.Run(ctx, func(e chain.Event) error {
		if e.Block.Height == 8 {
			cancel()
		}
		if e.Block.Height >= 3 {
			go func() { _, _ = node.Mine(1) }() // a failure shows as a timeout
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Run ended with %v, health %+v", err, w.Health())
	}
}
