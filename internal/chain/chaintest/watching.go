package chaintest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
)

// follower collects what a Watcher tells.
type follower struct {
	w      *chain.Watcher
	events chan string
	stop   func() error
}

// follow runs a Watcher that gets no wake-up in time: polls alone must do, and
// wakeUps looks at the rest.
func (x *bench) follow(t *testing.T) *follower {
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{
		events: make(chan string, 1000), w: chain.New(x.b, chain.Config{Poll: 100 * time.Millisecond}),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- f.w.Run(ctx, func(e chain.Event) error {
			f.events <- describe(e)
			return nil
		})
	}()
	f.stop = func() error { cancel(); return <-ended }
	t.Cleanup(cancel)
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
func (f *follower) want(t *testing.T, events ...string) {
	t.Helper()
	for _, want := range events {
		select {
		case got := <-f.events:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("no %q: %+v", want, f.w.Health())
		}
	}
}

// skipTo passes over the first blocks of a Watcher.
func (f *follower) skipTo(t *testing.T, event string) {
	t.Helper()
	for {
		select {
		case got := <-f.events:
			if got == event {
				return
			}
		case <-time.After(patience):
			t.Fatalf("no %q: %+v", event, f.w.Health())
		}
	}
}

// watching: payment, confirmation, spending, reorgs of one and two blocks, a double
// spend, and a search in the past, in one story.
func (x *bench) watching(t *testing.T) {
	p, h := NewPerson(t), int(Level(t, x.b, x.node).Height)
	f := x.follow(t)
	f.skipTo(t, fmt.Sprint("connected ", h))

	op := Fund(t, x.node, p, 50_000)
	from := uint32(h + 1)
	f.w.Watch(
		chain.Txid("fund", op.Hash, from).At(p.Script), chain.Script("fund", p.Script, from),
		chain.OutPoint("fund", op, from).At(p.Script),
	)
	Mine(t, x.node, 1)
	f.want(t, fmt.Sprintf("connected %d confirmed:fund paid:fund", h+1))

	spend := p.Spend(t, op, 50_000, 0, p.Pay(40_000))
	Check(t, x.b.Broadcast(t.Context(), spend))
	Mine(t, x.node, 1)
	f.want(t, fmt.Sprintf("connected %d spent:fund paid:fund", h+2))

	// One block goes and its transaction comes again.
	Check(t, x.node.Fork(1, []*wire.MsgTx{spend}, nil))
	f.want(t, fmt.Sprint("disconnected ", h+2), fmt.Sprintf("connected %d spent:fund paid:fund", h+2), fmt.Sprint("connected ", h+3))

	// Two blocks go, and in the new ones another spender is confirmed.
	other := p.Spend(t, op, 50_000, 0, wire.NewTxOut(30_000, []byte{0x51}))
	Check(t, x.node.Fork(2, nil, []*wire.MsgTx{other}, nil))
	f.want(t, fmt.Sprint("disconnected ", h+3), fmt.Sprint("disconnected ", h+2), fmt.Sprint("connected ", h+2),
		fmt.Sprintf("connected %d spent:fund", h+3), fmt.Sprint("connected ", h+4))

	// What is asked for late is found in the past, also without a script to filter by.
	f.w.Watch(chain.Txid("late", op.Hash, uint32(h-5)))
	f.want(t, fmt.Sprintf("rescanned %d confirmed:late", h+1), fmt.Sprint("covered ", h+4))
	if err := f.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
}

// filters never say no to a block that holds something, and do say no.
func (x *bench) filters(t *testing.T) {
	light, ok := x.b.(chain.Filtering)
	if !ok {
		t.Skip("no filters")
	}
	p, q := NewPerson(t), NewPerson(t)
	op := Fund(t, x.node, p, 50_000)
	Mine(t, x.node, 1)
	paid := Level(t, x.b, x.node)
	Check(t, x.b.Broadcast(t.Context(), p.Spend(t, op, 50_000, 0, q.Pay(40_000))))
	Mine(t, x.node, 1)
	spent := Level(t, x.b, x.node)
	no := 0
	for _, block := range []chain.Block{paid, spent} {
		may, err := light.MayHold(t.Context(), block.Hash, [][]byte{NewPerson(t).Script, p.Script})
		if err != nil || !may {
			t.Errorf("block %d: %t, %v", block.Height, may, err)
		}
		for range 20 {
			may, err := light.MayHold(t.Context(), block.Hash, [][]byte{NewPerson(t).Script})
			Check(t, err)
			if !may {
				no++
			}
		}
	}
	if no < 39 { // one in 784,931 is wrong
		t.Errorf("only %d of 40 filters know that a stranger is not in a block", no)
	}
}
