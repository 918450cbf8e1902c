package client

import "sync"

// nudges wakes everybody who waits for news. A nudge says only that there may be something to
// look for; those that come while one is waiting are merged.
type nudges struct {
	mu   sync.Mutex
	subs map[chan struct{}]bool // guarded by mu
}

func newNudges() *nudges { return &nudges{subs: make(map[chan struct{}]bool)} }

// wait gives a channel that gets a value after every nudge, and a function that ends it.
func (n *nudges) wait() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.subs[ch] = true
	return ch, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subs, ch)
	}
}

func (n *nudges) give() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ch := range n.subs {
		nudge(ch)
	}
}

// nudge leaves a value in a channel that has room for one.
func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // one is waiting already
	}
}
