package chain

import (
	"context"
	"errors"
	"sync"
	"time"

	"relaymarket/internal/code"
)

// DefaultDepth is how many blocks back a reorg is followed: two days.
const DefaultDepth = 288

// Config says where a Watcher starts and how it waits. The zero value starts
// near the node's tip and polls every ten seconds.
type Config struct {
	// Start is the last block that the caller has handled. The zero value with
	// an empty Recent means a first run: it begins with the node's last dozen
	// of blocks.
	Start Block

	// Recent are the last blocks that the caller has handled, oldest first,
	// with their Prev; DefaultDepth of them are enough. A reorg that happened
	// while the program was down is followed only as far back as these go. The
	// last of them is the start; Start may then be left out.
	Recent []Block

	// Depth is how far back reorgs are followed. 0: DefaultDepth.
	Depth int

	// Poll is the time between looks at the tip when no notification comes, and
	// the longest wait between attempts while the node is away. 0: 10 s.
	Poll time.Duration

	// Now is the clock of Health. Nil: time.Now.
	Now func() time.Time
}

// Health is what a Watcher knows about itself and the node.
type Health struct {
	Last     Block     // last block handed to the handler successfully
	NodeTip  Block     // tip of the node when it was last asked
	OK       time.Time // when the Watcher was last level with the node
	Err      error     // why it is not; nil when all is well
	Failures int       // attempts that failed since OK
	Rescan   uint32    // height that a rescan has reached; 0 when none runs
}

// handlerError carries what the handler said through the layers that retry
// everything else.
type handlerError struct{ err error }

// Error is the handler's.
func (e handlerError) Error() string { return e.err.Error() }

func isHandlers(err error) bool {
	var handler handlerError
	return errors.As(err, &handler)
}

// errMoved means that the node's chain changed between two questions.
var errMoved = errors.New("chain: the chain moved while it was read")

// Watcher follows a chain. See the package comment.
type Watcher struct {
	backend Backend
	poll    time.Duration
	now     func() time.Time
	wake    chan struct{} // a watch was added

	// scanAtOnce is how many missed blocks are read before the chain gets its
	// turn, so that a long rescan does not delay what happens now.
	scanAtOnce int

	// Of Run's goroutine alone.
	trail  trail
	filled bool   // trail reaches as far back as it can
	origin uint32 // first height that it hands over: what from 0 means
	scan   *scan  // a rescan under way
	handle func(Event) error

	mu      sync.Mutex // guards the fields below
	active  *index
	pending []*request
	health  Health
}

// New makes a Watcher. It asks nothing of the backend before Run.
func New(backend Backend, c Config) *Watcher {
	recent := c.Recent
	if len(recent) == 0 && c.Start != (Block{}) {
		recent = []Block{c.Start}
	}
	w := &Watcher{
		backend: backend, poll: c.Poll, now: c.Now, wake: make(chan struct{}, 1),
		scanAtOnce: 50, active: newIndex(),
	}
	if w.poll <= 0 {
		w.poll = 10 * time.Second
	}
	if w.now == nil {
		w.now = time.Now
	}
	depth := c.Depth
	if depth <= 0 {
		depth = DefaultDepth
	}
	w.trail = newTrail(recent, depth)
	if !w.trail.empty() {
		w.settle(w.trail.last().Height + 1)
	}
	return w
}

// settle takes the trail's end as the start, after which blocks from origin on
// are this Watcher's own.
func (w *Watcher) settle(origin uint32) {
	w.origin = origin
	w.setLast()
}

func (w *Watcher) setLast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health.Last = w.trail.last()
}

// Watch adds things to look for, before or during Run, also from within the
// handler. Adding something again repeats its rescan and is otherwise harmless.
func (w *Watcher) Watch(watches ...Watch) {
	w.mu.Lock()
	for _, x := range watches {
		w.pending = append(w.pending, &request{Watch: x})
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Unwatch removes everything that has one of these keys. Findings of a rescan
// that is under way may still come.
func (w *Watcher) Unwatch(keys ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		w.active.remove(key)
		for _, r := range w.pending {
			r.cancelled = r.cancelled || r.key == key
		}
	}
}

// Health reports the state at this moment. It may be called at any time.
func (w *Watcher) Health() Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.health
}

// Run follows the chain and calls handle with one event at a time until ctx is
// done (its error), the handler fails (the handler's error, unchanged), or a
// reorg goes deeper than the known blocks (ChainDeepReorg). One Run at a time.
// After a handler's error Run may be called again and repeats the event; a
// caller whose handler may have stored it all the same makes a new Watcher from
// its stored blocks instead.
func (w *Watcher) Run(ctx context.Context, handle func(Event) error) error {
	w.handle = handle
	notify := w.backend.Notify(ctx)
	for {
		err := w.catchUp(ctx)
		if stop := final(ctx, err); stop != nil {
			return stop
		}
		w.note(err)
		w.pause(ctx, notify)
	}
}

// final is the error that ends Run, or nil when err is one to wait out.
func final(ctx context.Context, err error) error {
	var handler handlerError
	if errors.As(err, &handler) {
		return handler.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if code.Of(err) == code.ChainDeepReorg {
		return err
	}
	return nil
}

func (w *Watcher) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health.Err = err
	if err != nil {
		w.health.Failures++
		return
	}
	w.health.Failures = 0
	w.health.OK = w.now()
}

// pause waits for a reason to look again. After failures it waits for time
// alone, longer each time, so that a node that starts is not hammered.
func (w *Watcher) pause(ctx context.Context, notify <-chan struct{}) {
	wait, wake := w.poll, w.wake
	if n := w.Health().Failures; n > 0 {
		wait, wake, notify = min(w.poll, backOff(n)), nil, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-notify:
	case <-wake:
	}
}

// backOff is 50 ms doubled per failure, up to about 50 s.
func backOff(failures int) time.Duration {
	return 50 * time.Millisecond << min(failures-1, 10)
}
