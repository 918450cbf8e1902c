package relay

import (
	"context"
	"sync"
	"time"
)

// The ten seconds of a stop: requests in hand have answerTime to be answered, then the sessions end,
// and what still runs in them has cutTime.
const (
	answerTime = 5 * time.Second
	cutTime    = 2 * time.Second
)

// inHand counts the requests that were taken and are not answered, so that a stop can wait for them
// while the sessions still live.
type inHand struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	over chan struct{} // guarded by mu; made by close, closed when nothing is in hand
}

// take counts one request more; false when no more are taken.
func (h *inHand) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over != nil {
		return false
	}
	h.n++
	return true
}

// done counts one request less. Call it after its answer was queued.
func (h *inHand) done() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n--; h.n == 0 && h.over != nil {
		close(h.over)
	}
}

// close takes no more requests and gives a channel that is closed when all are answered.
func (h *inHand) close() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over == nil {
		h.over = make(chan struct{})
		if h.n == 0 {
			close(h.over)
		}
	}
	return h.over
}

// outlive is the context of a session: it ends later than ctx, by what the requests in hand take,
// because a write that is committed and not answered leaves its sender in doubt.
func (s *Server) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	live, cut := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		wait(s.inHand.close(), answerTime)
		cut()
	})
	return live, func() { stop(); cut() }
}

// finish waits for what still runs in sessions that have ended, but not for ever.
func (s *Server) finish() {
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	if !wait(done, cutTime) {
		s.log.Warn("requests were cut off at the stop")
	}
}

// wait tells whether a channel was closed in time.
func wait(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
