package chain

import (
	"context"
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// request is a watch that waits until the blocks it has missed are looked
// through.
type request struct {
	Watch

	// Guarded by Watcher.mu.
	cancelled bool // by Unwatch
	served    bool // active now
}

// scan is the way through the missed blocks, up to the trail's end. It is kept
// between attempts, so that a node that goes away in the middle of a long one
// costs no work.
type scan struct {
	requests []*request
	index    *index
	next     uint32         // height to look at
	prev     chainhash.Hash // its parent; zero when that is not known
	missed   bool           // a block was looked at
	events   []Event
}

// rewind takes a disconnected block out of what was found. A nil scan is none.
func (s *scan) rewind(b Block) {
	if s == nil || b.Height >= s.next {
		return
	}
	s.next, s.prev = b.Height, b.Prev
	s.events = slices.DeleteFunc(s.events, func(e Event) bool { return e.Block.Height >= b.Height })
}

// rescan activates the pending watches, after delivering what they missed. The
// events come only when the way to the last block is complete: what they say is
// then part of the handler's chain, and a later Disconnected undoes it.
func (w *Watcher) rescan(ctx context.Context) error {
	if w.scan == nil {
		if !w.hasPending() {
			return nil
		}
		w.scan = w.newScan()
	}
	if err := w.readMissed(ctx, w.scan); err != nil {
		return err
	}
	if w.scan.next <= w.trail.last().Height {
		return nil // more of it in the next round
	}
	if err := w.deliverMissed(w.scan); err != nil {
		return err
	}
	w.promote(w.scan.requests)
	w.endScan()
	return nil
}

// newScan takes all that is pending now and begins at the lowest height that
// any of it asks for. Even a watch that has missed nothing takes part: while
// the others are served, blocks arrive for which it is not yet active.
func (w *Watcher) newScan() *scan {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &scan{requests: slices.Clone(w.pending), index: newIndex(), next: w.trail.last().Height + 1}
	for _, r := range s.requests {
		if r.cancelled {
			continue
		}
		from := r.from
		if from == 0 {
			from = w.origin
		}
		s.next = min(s.next, from)
		s.index.add(r.Watch)
	}
	return s
}

func (w *Watcher) endScan() {
	w.scan = nil
	w.setRescan(0)
}

func (w *Watcher) setRescan(height uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health.Rescan = height
}

func (w *Watcher) readMissed(ctx context.Context, s *scan) error {
	for range w.scanAtOnce {
		if s.next > w.trail.last().Height {
			return nil
		}
		w.setRescan(s.next)
		if err := w.readOne(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watcher) readOne(ctx context.Context, s *scan) error {
	msg, err := w.missedBlock(ctx, s)
	if err != nil {
		return err
	}
	if s.prev != (chainhash.Hash{}) && msg.Header.PrevBlock != s.prev {
		// What was read is another chain's. That takes a reorg below the
		// trail, which ends Run, or a node that was exchanged: begin anew.
		w.endScan()
		return errMoved
	}
	if f := s.index.match(msg); !f.empty() {
		s.events = append(s.events, newEvent(Rescanned, blockOf(&msg.Header, s.next), f))
	}
	s.prev, s.missed = msg.BlockHash(), true
	s.next++
	return nil
}

// missedBlock is the block that the handler knows at a height. Within the trail
// that is certain even while the node is already on another fork.
func (w *Watcher) missedBlock(ctx context.Context, s *scan) (*wire.MsgBlock, error) {
	hash, known := w.trail.at(s.next)
	if !known {
		var err error
		if hash, err = w.backend.BlockAt(ctx, s.next); err != nil {
			return nil, err
		}
	}
	scripts, ok := s.index.filter()
	return read(ctx, w.backend, hash, scripts, ok)
}

// deliverMissed hands over the findings and then the note that they are all.
func (w *Watcher) deliverMissed(s *scan) error {
	for _, e := range s.events {
		if err := w.deliver(e); err != nil {
			return err
		}
	}
	if !s.missed {
		return nil
	}
	return w.deliver(Event{Kind: Covered, Block: w.trail.last(), Keys: w.keys(s.requests)})
}

// keys lists the keys of requests that are still wanted.
func (w *Watcher) keys(requests []*request) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for _, r := range requests {
		if !r.cancelled {
			keys = append(keys, r.key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// promote makes served requests active.
func (w *Watcher) promote(served []*request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range served {
		r.served = true
		if !r.cancelled {
			w.active.add(r.Watch)
		}
	}
	w.pending = slices.DeleteFunc(w.pending, func(r *request) bool { return r.served })
}
