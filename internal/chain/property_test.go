package chain

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"relaymarket/internal/code"
)

// keeper is a caller as the package comment wants one: it stores facts by
// block, drops them at Disconnected, and starts again from what it has stored.
type keeper struct {
	rows    []Block
	facts   map[chainhash.Hash]map[string]bool
	watches []Watch // as they were asked for
	covered map[string]bool

	scanAtOnce int
	light      bool // the backend has filters
}

// backend is the model, or the model as a light client sees it.
func (k *keeper) backend(m *model) Backend {
	if k.light {
		return lightModel{m}
	}
	return m
}

// facts names what an event tells.
func factsOf(e Event) []string {
	var facts []string
	for _, s := range e.Spends {
		facts = append(facts, fmt.Sprint(s.Key, " spent ", s.OutPoint, " by ", s.Tx.TxHash(), s.Txid, s.Input))
	}
	for _, c := range e.Confirms {
		facts = append(facts, fmt.Sprint(c.Key, " confirmed ", c.Tx.TxHash(), c.Txid))
	}
	for _, p := range e.Payments {
		facts = append(facts, fmt.Sprintf("%s paid %s %x", p.Key, p.OutPoint, p.Tx.TxOut[p.OutPoint.Index].PkScript))
	}
	return facts
}

// store is the transaction of a handler. It checks the order of events.
func (k *keeper) store(e Event) error {
	top := len(k.rows) - 1
	switch e.Kind {
	case Connected:
		if top >= 0 && !follows(e.Block, k.rows[top]) {
			return fmt.Errorf("%v does not follow %v", e.Block, k.rows[top])
		}
		k.rows = append(k.rows, e.Block)
	case Disconnected:
		delete(k.facts, e.Block.Hash)
		if top >= 0 {
			if e.Block.Hash != k.rows[top].Hash {
				return fmt.Errorf("%v went, but %v is the last", e.Block, k.rows[top])
			}
			k.rows = k.rows[:top]
		}
	case Covered:
		for _, key := range e.Keys {
			k.covered[key] = true
		}
	}
	for _, f := range factsOf(e) {
		if k.facts[e.Block.Hash] == nil {
			k.facts[e.Block.Hash] = make(map[string]bool)
		}
		k.facts[e.Block.Hash][f] = true
	}
	return nil
}

// restart makes the Watcher that a restarted program would make.
func (k *keeper) restart(m *model) *Watcher {
	w := New(k.backend(m), Config{Recent: k.rows, Depth: depth})
	w.scanAtOnce = k.scanAtOnce
	for _, x := range k.watches {
		if k.covered[x.key] {
			x.from = 0
		}
		w.Watch(x)
	}
	return w
}

// truth is what a watch would find in a block.
func truth(x Watch, b Block, msg *wire.MsgBlock) []string {
	i := newIndex()
	i.add(x)
	return factsOf(newEvent(Connected, b, i.match(msg)))
}

var errCrash = errors.New("crash")

// world is one run of the property: a chain, a caller, and chance. The rare
// events come from an even source; rapid's numbers favour small ones so much that
// nothing longer would ever get through.
type world struct {
	t    *rapid.T
	luck *rand.Rand
	m    *model
	k    *keeper
	w    *Watcher
	calm bool
}

func (x *world) block() {
	var txs []*wire.MsgTx
	for range rapid.IntRange(0, 2).Draw(x.t, "txs") {
		some := rapid.SliceOfN(rapid.ByteRange(0, 5), 0, 3)
		txs = append(txs, spendOf(int32(rapid.IntRange(1, 3).Draw(x.t, "variant")),
			append(some.Draw(x.t, "ins"), 0), some.Draw(x.t, "outs")))
	}
	x.m.extend(txs)
}

// depth is how far the property's Watchers follow reorgs.
const depth = 30

// floor is the height below which no reorg goes: the first block that the caller
// has stored, and what the Watcher follows. Deeper ones are an error, and another
// test's subject.
func (x *world) floor() int {
	n := len(x.k.rows)
	if n == 0 {
		return x.m.height()
	}
	return int(max(x.k.rows[0].Height, x.k.rows[n-1].Height+5-min(depth, x.k.rows[n-1].Height)))
}

// mutate changes the chain in one of the ways a chain changes.
func (x *world) mutate() {
	if rapid.Bool().Draw(x.t, "reorg") {
		x.m.cut(max(0, min(rapid.IntRange(1, 4).Draw(x.t, "depth"), x.m.height()-x.floor())))
	}
	for range rapid.IntRange(0, 5).Draw(x.t, "new") {
		x.block()
	}
}

// chance runs before each answer of the node.
func (x *world) chance() error {
	if x.calm {
		return nil
	}
	switch x.luck.IntN(60) {
	case 0, 1:
		x.mutate()
	case 2:
		return code.New(code.ChainUnavailable, "the line is dead")
	}
	return nil
}

func (x *world) addWatch() {
	n := len(x.k.watches)
	key := fmt.Sprint("key", n)
	from := uint32(max(1, x.m.height()+3-rapid.IntRange(0, x.m.height()+2).Draw(x.t, "age")))
	thing := rapid.ByteRange(0, 5).Draw(x.t, "thing")
	watch := OutPoint(key, outpoint(thing), from)
	switch rapid.IntRange(0, 2).Draw(x.t, "kind") {
	case 1:
		watch = Script(key, payTo(thing), from)
	case 2:
		watch = Txid(key, spendOf(1+int32(thing)%3, []byte{0}, nil).TxHash(), from)
	}
	if rapid.IntRange(0, 9).Draw(x.t, "findable") > 0 {
		watch = findable(watch, thing)
	}
	x.k.watches = append(x.k.watches, watch)
	x.w.Watch(watch)
}

// handler sometimes crashes before storing, sometimes after, and sometimes asks
// for more.
func (x *world) handler(e Event) error {
	fate := x.luck.IntN(40)
	if x.calm {
		fate = 9
	}
	if fate == 0 {
		return errCrash
	}
	if err := x.k.store(e); err != nil {
		x.t.Fatal(err)
	}
	if fate == 1 {
		return errCrash
	}
	if fate == 2 {
		x.addWatch()
	}
	return nil
}

// run lets the Watcher work until it is level, fails, or crashes.
func (x *world) run() error {
	x.w.handle = x.handler
	err := x.w.catchUp(x.t.Context())
	if isHandlers(err) {
		x.w = x.k.restart(x.m)
	}
	return err
}

// settleDown grows the chain beyond everything seen, in peace, and lets the
// Watcher come level.
func (x *world) settleDown() {
	x.calm = true
	for range 40 {
		x.block()
	}
	var err error
	for range 5 {
		if err = x.run(); err == nil {
			return
		}
	}
	x.t.Fatalf("the Watcher does not come level with a calm chain: %v", err)
}

// compare holds the facts against the chain.
func (x *world) compare() {
	onChain := make(map[chainhash.Hash]bool)
	for h, msg := range x.m.best {
		b := blockOf(&msg.Header, uint32(h))
		onChain[b.Hash] = true
		possible := make(map[string]bool)
		for _, watch := range x.k.watches {
			for _, f := range truth(watch, b, msg) {
				possible[f] = true
				if b.Height >= watch.from && !x.k.facts[b.Hash][f] {
					x.t.Fatalf("height %d: missed: %s", h, f)
				}
			}
		}
		for f := range x.k.facts[b.Hash] {
			if !possible[f] {
				x.t.Fatalf("height %d: invented: %s", h, f)
			}
		}
	}
	for hash, facts := range x.k.facts {
		if !onChain[hash] {
			x.t.Fatalf("facts of a lost block %s: %s", hash, strings.Join(slices.Collect(maps.Keys(facts)), ", "))
		}
	}
}

// TestWatcherFoldsToTheChain: whatever the chain, the line and the caller do on
// the way, the stored facts are those of the chain at the end.
func TestWatcherFoldsToTheChain(t *testing.T) {
	t.Parallel()
	for range 4 { // more than rapid's hundred: some faults need rare coincidences
		rapid.Check(t, foldsToTheChain)
	}
}

func foldsToTheChain(t *rapid.T) { foldsTo(t, false) }

// TestWatcherFoldsWithFilters is the same over a light client.
func TestWatcherFoldsWithFilters(t *testing.T) {
	t.Parallel()
	for range 2 {
		rapid.Check(t, func(t *rapid.T) { foldsTo(t, true) })
	}
}

func foldsTo(t *rapid.T, light bool) {
	luck := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "luck"), 0))
	x := &world{t: t, luck: luck, m: newModel(50), k: &keeper{
		facts: make(map[chainhash.Hash]map[string]bool), covered: make(map[string]bool), light: light,
	}}
	for range 10 {
		x.block()
	}
	x.k.scanAtOnce = rapid.IntRange(1, 8).Draw(t, "scan at once")
	x.w = x.k.restart(x.m)
	x.m.before = x.chance
	t.Repeat(map[string]func(*rapid.T){
		"run":     func(*rapid.T) { _ = x.run() }, // failures are part of the plan
		"mutate":  func(*rapid.T) { x.mutate() },
		"watch":   func(*rapid.T) { x.addWatch() },
		"restart": func(*rapid.T) { x.w = x.k.restart(x.m) },
	})
	x.settleDown()
	x.compare()
}
