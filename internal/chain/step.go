package chain

import (
	"context"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

// catchUp brings the trail level with the node. A chain that moves under it is
// an ordinary thing and only means another round; but a node that keeps
// contradicting itself is reported as a failure.
func (w *Watcher) catchUp(ctx context.Context) error {
	const rounds = 5
	for contradictions := 0; ; {
		done, err := w.round(ctx)
		if errors.Is(err, errMoved) || errors.Is(err, ErrNotOnChain) {
			contradictions++
			if contradictions < rounds {
				continue
			}
		}
		if done || err != nil {
			return err
		}
		contradictions = 0
	}
}

// round looks for what new watches have missed, a bounded number of blocks at a
// time, and goes one step along the chain. It reports whether nothing is left.
// Old blocks that cannot be read must not keep the Watcher from new ones: that
// failure counts only when the chain stood still.
func (w *Watcher) round(ctx context.Context) (bool, error) {
	if err := w.begin(ctx); err != nil {
		return false, err
	}
	missed := w.rescan(ctx)
	if isHandlers(missed) {
		return false, missed
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	before := w.trail.last()
	done, err := w.step(ctx)
	if err == nil && before == w.trail.last() {
		err = missed
	}
	return done, err
}

// step goes one block up or down, or finds that the trail is level.
func (w *Watcher) step(ctx context.Context) (bool, error) {
	tip, err := w.backend.Tip(ctx)
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	w.health.NodeTip = tip
	w.mu.Unlock()
	last := w.trail.last()
	if tip.Hash == last.Hash {
		return !w.hasPending(), nil
	}
	if err := w.behind(tip); err != nil {
		return false, err
	}
	fork, err := w.fork(ctx)
	if err != nil {
		return false, err
	}
	if fork < last.Height {
		return false, w.disconnect(fork)
	}
	return false, w.connect(ctx, tip.Height)
}

// behind tells a node that has only a part of the chain that was seen before:
// one that starts, or catches up from scratch. Its missing blocks are no reorg.
func (w *Watcher) behind(tip Block) error {
	if tip.Height >= w.trail.last().Height {
		return nil
	}
	hash, known := w.trail.at(tip.Height)
	if known && hash != tip.Hash {
		return nil
	}
	return code.New(code.ChainUnavailable, "the node has only %d blocks, but %d were seen before: it is catching up",
		tip.Height, w.trail.last().Height)
}

// fork is the highest height at which the trail and the node agree.
func (w *Watcher) fork(ctx context.Context) (uint32, error) {
	for i := len(w.trail.blocks) - 1; i >= 0; i-- {
		b := w.trail.blocks[i]
		same, err := w.onChain(ctx, b)
		if err != nil {
			return 0, err
		}
		if same {
			return b.Height, nil
		}
	}
	return 0, w.tooDeep()
}

func (w *Watcher) tooDeep() error {
	return code.New(code.ChainDeepReorg,
		"none of the last %d blocks, %d to %d, is on the node's chain any more: "+
			"check that the node is the right one and is healthy; if it is, start again with a rescan from before height %d",
		len(w.trail.blocks), w.trail.first().Height, w.trail.last().Height, w.trail.first().Height)
}

func (w *Watcher) onChain(ctx context.Context, b Block) (bool, error) {
	hash, err := w.backend.BlockAt(ctx, b.Height)
	if errors.Is(err, ErrNotOnChain) {
		return false, nil
	}
	return err == nil && hash == b.Hash, err
}

// disconnect takes blocks off until the one at height fork is the last.
func (w *Watcher) disconnect(fork uint32) error {
	for w.trail.last().Height > fork {
		if err := w.deliver(newEvent(Disconnected, w.trail.last(), findings{})); err != nil {
			return err
		}
		w.scan.rewind(w.trail.last())
		w.trail.pop()
		w.setLast()
	}
	return nil
}

// connect puts blocks on until the trail is as high as the tip was, or a newly
// added watch has to be looked after. A block that does not fit on the last one
// belongs to another fork; the next round finds where that begins.
func (w *Watcher) connect(ctx context.Context, height uint32) error {
	for w.trail.last().Height < height {
		last := w.trail.last()
		msg, err := w.next(ctx, last)
		if err != nil {
			return err
		}
		b := blockOf(&msg.Header, last.Height+1)
		w.mu.Lock()
		found := w.active.match(msg)
		w.mu.Unlock()
		if err := w.deliver(newEvent(Connected, b, found)); err != nil {
			return err
		}
		w.trail.push(b)
		w.setLast()
		if w.hasPending() {
			return nil
		}
	}
	return nil
}

func (w *Watcher) deliver(e Event) error {
	if err := w.handle(e); err != nil {
		return handlerError{err}
	}
	return nil
}

func (w *Watcher) hasPending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) > 0
}

// next gets the block on top of the last one, as far as it can matter.
func (w *Watcher) next(ctx context.Context, last Block) (*wire.MsgBlock, error) {
	hash, err := w.backend.BlockAt(ctx, last.Height+1)
	if err != nil {
		return nil, fmt.Errorf("block at %d: %w", last.Height+1, err)
	}
	w.mu.Lock()
	scripts, ok := w.active.filter()
	w.mu.Unlock()
	msg, err := read(ctx, w.backend, hash, scripts, ok)
	if err != nil {
		return nil, fmt.Errorf("block at %d: %w", last.Height+1, err)
	}
	if msg.Header.PrevBlock != last.Hash || msg.BlockHash() != hash {
		return nil, errMoved
	}
	return msg, nil
}

// read gets a block, or its header alone when a filter says that it holds nothing
// of the scripts. Unless filterable, the block is wanted in any case.
func read(ctx context.Context, b Backend, hash chainhash.Hash, scripts [][]byte, filterable bool) (*wire.MsgBlock, error) {
	light, ok := b.(Filtering)
	if !ok || !filterable {
		msg, _, err := b.Block(ctx, hash)
		return msg, err
	}
	if len(scripts) > 0 {
		may, err := light.MayHold(ctx, hash, scripts)
		if err != nil {
			return nil, err
		}
		if may {
			msg, _, err := b.Block(ctx, hash)
			return msg, err
		}
	}
	header, _, err := b.Header(ctx, hash)
	if err != nil {
		return nil, err
	}
	return &wire.MsgBlock{Header: *header}, nil
}
