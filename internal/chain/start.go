package chain

import (
	"context"
	"slices"
)

// begin makes the trail usable: on a first run it starts near the node's tip,
// and in any case it is continued downwards with the node's own blocks, so that the
// first reorgs after a start can be followed as well as later ones.
func (w *Watcher) begin(ctx context.Context) error {
	if w.filled {
		return nil
	}
	if w.trail.empty() {
		if err := w.beginFresh(ctx); err != nil {
			return err
		}
	}
	return w.fill(ctx)
}

// freshBlocks is how many blocks a first run handles at once. The caller stores
// them, and can so follow a reorg that happens soon after while it is down.
const freshBlocks = 12

// beginFresh starts a little below the node's tip. The first block is handed
// over like all later ones: before the caller has a block to store, nothing that
// it stores could be placed.
func (w *Watcher) beginFresh(ctx context.Context) error {
	tip, err := w.backend.Tip(ctx)
	if err != nil {
		return err
	}
	height := tip.Height - min(tip.Height, freshBlocks)
	hash, err := w.backend.BlockAt(ctx, height)
	if err != nil {
		return err
	}
	header, _, err := w.backend.Header(ctx, hash)
	if err != nil {
		return err
	}
	start := blockOf(header, height)
	if err := w.deliver(newEvent(Connected, start, findings{})); err != nil {
		return err
	}
	w.trail.push(start)
	w.settle(height)
	return nil
}

// fill puts older blocks below the trail. When the trail's first block is not
// on the node's chain there is nothing to put there yet: either the node is
// catching up, or step will find the deep reorg.
func (w *Watcher) fill(ctx context.Context) error {
	first := w.trail.first()
	same, err := w.onChain(ctx, first)
	if err != nil || !same {
		return err
	}
	older, err := w.older(ctx, first)
	if err != nil {
		return err
	}
	same, err = w.onChain(ctx, first)
	if err != nil {
		return err
	}
	if !same {
		return errMoved
	}
	if n := len(older); n > 0 {
		w.trail.blocks[0].Prev = older[n-1].Hash
	}
	w.trail.extend(older)
	w.filled = true
	return nil
}

// older asks for the blocks below one, oldest first, as many as the trail can
// take. Their times are not known.
func (w *Watcher) older(ctx context.Context, first Block) ([]Block, error) {
	room := uint32(w.trail.depth - len(w.trail.blocks))
	var blocks []Block
	for height := first.Height; height > 0 && first.Height-height < room; height-- {
		hash, err := w.backend.BlockAt(ctx, height-1)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, Block{Hash: hash, Height: height - 1})
	}
	slices.Reverse(blocks)
	for i := range blocks {
		if i > 0 {
			blocks[i].Prev = blocks[i-1].Hash
		}
	}
	return blocks, nil
}
