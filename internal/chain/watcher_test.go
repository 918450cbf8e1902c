package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

// follow runs a Watcher until done says so about the events and the health, and
// returns the events in words.
func follow(t *testing.T, w *Watcher, done func(Event) bool) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var words []string
	err := w.Run(ctx, func(e Event) error {
		words = append(words, word(e))
		if done(e) {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Run ended with %v after %s", err, words)
	}
	return words
}

func word(e Event) string {
	s := fmt.Sprint(e.Kind, " ", e.Block.Height)
	for _, x := range e.Spends {
		s += " spend:" + x.Key
	}
	for _, x := range e.Confirms {
		s += " confirm:" + x.Key
	}
	for _, x := range e.Payments {
		s += " pay:" + x.Key
	}
	return s + strings.Join(append([]string{""}, e.Keys...), " ")
}

func upTo(height uint32) func(Event) bool {
	return func(e Event) bool { return e.Kind == Connected && e.Block.Height == height }
}

func quick() Config { return Config{Poll: 20 * time.Millisecond} }

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got  %s\nwant %s", strings.Join(got, " | "), strings.Join(want, " | "))
	}
}

func TestFirstRun(t *testing.T) {
	for _, height := range []int{0, 1, 12, 13, 40} {
		m := newModel(height)
		var want []string
		for h := max(0, height-freshBlocks); h <= height; h++ {
			want = append(want, fmt.Sprint("connected ", h))
		}
		same(t, follow(t, New(m, quick()), upTo(uint32(height))), want...)
	}
}

func TestFindings(t *testing.T) {
	m := newModel(3)
	w := New(m, Config{Start: blockOf(&m.best[3].Header, 3), Poll: 20 * time.Millisecond})
	tx := spendOf(2, []byte{5, 6, 7}, []byte{1, 2, 1})
	w.Watch(OutPoint("o", outpoint(6), 4), Txid("t", tx.TxHash(), 4), Script("s", payTo(1), 4), OutPoint("other", outpoint(9), 4))
	m.extend([]*wire.MsgTx{spendOf(2, []byte{1}, []byte{3}), tx})
	var got Event
	follow(t, w, func(e Event) bool { got = e; return true })
	if len(got.Spends) != 1 || got.Spends[0].Input != 1 || got.Spends[0].OutPoint != outpoint(6) || got.Spends[0].Tx != tx {
		t.Errorf("spends %+v", got.Spends)
	}
	if len(got.Confirms) != 1 || got.Confirms[0].Txid != tx.TxHash() || got.Confirms[0].Key != "t" {
		t.Errorf("confirms %+v", got.Confirms)
	}
	if len(got.Payments) != 2 || got.Payments[0].OutPoint.Index != 0 || got.Payments[1].OutPoint.Index != 2 ||
		got.Payments[1].OutPoint.Hash != tx.TxHash() {
		t.Errorf("payments %+v", got.Payments)
	}
}

func TestReorgInOrder(t *testing.T) {
	m := newModel(20)
	w := New(m, quick())
	w.Watch(OutPoint("a", outpoint(1), 1))
	m.extend([]*wire.MsgTx{spendOf(2, []byte{1}, nil)})
	words := follow(t, w, upTo(21))
	same(t, words[len(words)-3:], "connected 19", "connected 20", "connected 21 spend:a")
	m.change(func() {
		m.replace(3, 3)
		m.extend([]*wire.MsgTx{spendOf(3, []byte{1}, nil)})
	})
	same(t, follow(t, w, upTo(22)), "disconnected 21", "disconnected 20", "disconnected 19",
		"connected 19", "connected 20", "connected 21", "connected 22 spend:a")
}

func TestReorgWhileDown(t *testing.T) {
	m := newModel(20)
	start := blockOf(&m.best[20].Header, 20)
	parent := blockOf(&m.best[19].Header, 19)
	m.replace(1, 2)
	w := New(m, Config{Recent: []Block{parent, start}, Poll: 20 * time.Millisecond})
	same(t, follow(t, w, upTo(21)), "disconnected 20", "connected 20", "connected 21")
}

func TestRescanOfAnOldHeight(t *testing.T) {
	m := newModel(10)
	m.extend([]*wire.MsgTx{spendOf(2, []byte{1}, []byte{4})})
	m.replace(0, 200)
	w := New(m, quick())
	follow(t, w, upTo(211))
	w.Watch(OutPoint("a", outpoint(1), 11), Script("b", payTo(4), 5), Txid("c", spendOf(1, nil, nil).TxHash(), 200))
	w.Watch(OutPoint("gone", outpoint(1), 1))
	w.Unwatch("gone")
	words := follow(t, w, func(e Event) bool { return e.Kind == Covered })
	same(t, words, "rescanned 11 spend:a pay:b", "covered 211 a b c")
}

// TestLongRescanDelaysNothing: new blocks come through between the old ones.
func TestLongRescanDelaysNothing(t *testing.T) {
	m := newModel(300)
	w := New(m, quick())
	follow(t, w, upTo(300))
	w.Watch(OutPoint("a", outpoint(1), 1))
	m.change(func() { m.extend([]*wire.MsgTx{spendOf(2, []byte{1}, nil)}) })
	words := follow(t, w, func(e Event) bool { return e.Kind == Covered })
	same(t, words, "connected 301", "rescanned 301 spend:a", "covered 301 a")
}

func TestWatchFromWithinTheHandler(t *testing.T) {
	m := newModel(10)
	w := New(m, quick())
	follow(t, w, upTo(10))
	m.change(func() {
		m.extend([]*wire.MsgTx{spendOf(2, []byte{1}, nil), spendOf(2, []byte{2}, nil)})
		m.extend([]*wire.MsgTx{spendOf(2, []byte{3}, nil)})
	})
	var words []string
	follow(t, w, func(e Event) bool {
		words = append(words, word(e))
		if e.Kind == Connected && e.Block.Height == 11 {
			w.Watch(OutPoint("same block", outpoint(2), 11), OutPoint("next", outpoint(3), 12))
		}
		return upTo(12)(e)
	})
	same(t, words, "connected 11", "rescanned 11 spend:same block", "covered 11 next same block", "connected 12 spend:next")
}

func TestUnwatch(t *testing.T) {
	m := newModel(10)
	w := New(m, quick())
	w.Watch(OutPoint("a", outpoint(1), 1), OutPoint("b", outpoint(1), 1), Script("a", payTo(1), 1))
	follow(t, w, upTo(10))
	w.Unwatch("a")
	m.change(func() { m.extend([]*wire.MsgTx{spendOf(2, []byte{1}, []byte{1})}) })
	words := follow(t, w, upTo(11))
	same(t, words[len(words)-1:], "connected 11 spend:b")
}

func TestDeepReorgIsAnError(t *testing.T) {
	m := newModel(50)
	w := New(m, Config{Depth: 10, Poll: 20 * time.Millisecond})
	follow(t, w, upTo(50))
	m.change(func() { m.replace(9, 10) })
	follow(t, w, upTo(51)) // nine are followed
	m.change(func() { m.replace(10, 11) })
	err := w.Run(t.Context(), func(e Event) error {
		t.Errorf("event %s although nothing is certain", word(e))
		return nil
	})
	if code.Of(err) != code.ChainDeepReorg {
		t.Fatalf("got %v", err)
	}
}

// TestNodeThatCatchesUp: fewer blocks than before are no reorg.
func TestNodeThatCatchesUp(t *testing.T) {
	m := newModel(30)
	w := New(m, Config{Depth: 10, Poll: 5 * time.Millisecond})
	follow(t, w, upTo(30))
	full := slices.Clone(m.best)
	m.change(func() { m.cut(25) })
	go func() {
		for height := 6; height <= 30; height++ {
			time.Sleep(3 * time.Millisecond)
			m.change(func() { m.best, m.hashes = append(m.best, full[height]), append(m.hashes, full[height].BlockHash()) })
		}
		m.change(func() { m.extend(nil) })
	}()
	same(t, follow(t, w, upTo(31)), "connected 31")
}

func TestHandlerErrorEndsRunAndRepeats(t *testing.T) {
	m := newModel(20)
	w := New(m, quick())
	broken := errors.New("disk full")
	var got uint32
	for range 2 {
		err := w.Run(t.Context(), func(e Event) error {
			if e.Block.Height == 15 {
				got = e.Block.Height
				return broken
			}
			return nil
		})
		if err != broken || got != 15 {
			t.Fatalf("got %v at %d", err, got)
		}
		got = 0
	}
	if last := w.Health().Last.Height; last != 14 {
		t.Fatalf("last handled %d, want 14", last)
	}
	words := follow(t, w, upTo(20))
	same(t, words[:1], "connected 15")
}

func TestOutageIsWaitedOut(t *testing.T) {
	m := newModel(20)
	now := time.Unix(1_800_000_000, 0)
	w := New(m, Config{Poll: 5 * time.Millisecond, Now: func() time.Time { return now }})
	follow(t, w, upTo(20))
	seen := make(chan Health, 1)
	failures := 0
	m.before = func() error {
		if failures++; failures > 6 {
			return nil
		}
		if failures == 4 {
			seen <- w.Health()
		}
		return code.New(code.ChainUnavailable, "nobody home")
	}
	m.change(func() { m.extend(nil) })
	same(t, follow(t, w, upTo(21)), "connected 21")
	if h := <-seen; h.Failures != 3 || code.Of(h.Err) != code.ChainUnavailable || h.Last.Height != 20 {
		t.Fatalf("health during the outage: %+v", h)
	}
	m.change(func() { m.extend(nil) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for w.Health().OK != now || w.Health().Last.Height != 22 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_ = w.Run(ctx, func(Event) error { return nil }) // ends by cancel
	if h := w.Health(); h.Err != nil || h.Failures != 0 || h.NodeTip.Height != 22 {
		t.Fatalf("health afterwards: %+v", h)
	}
}

func TestTrailStopsAtAGap(t *testing.T) {
	m := newModel(9)
	var rows []Block
	for h, b := range m.best {
		if h != 5 {
			rows = append(rows, blockOf(&b.Header, uint32(h)))
		}
	}
	tr := newTrail(rows, 3)
	if tr.first().Height != 7 || tr.last().Height != 9 {
		t.Fatalf("depth 3: %d to %d", tr.first().Height, tr.last().Height)
	}
	tr = newTrail(rows, 100)
	if tr.first().Height != 6 || len(tr.blocks) != 4 {
		t.Fatalf("gap: from %d", tr.first().Height)
	}
	if _, ok := tr.at(5); ok {
		t.Fatal("a height below the trail is known")
	}
	if h, ok := tr.at(8); !ok || h != m.hashes[8] {
		t.Fatal("a height of the trail is not known")
	}
}

func TestClampFeeRate(t *testing.T) {
	for in, want := range map[int64]int64{-1: 1000, 0: 1000, 2040: 2040, 1 << 40: 500_000} {
		if got := ClampFeeRate(in); got != want {
			t.Errorf("ClampFeeRate(%d) = %d, want %d", in, got, want)
		}
	}
}
