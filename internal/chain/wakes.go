package chain

import (
	"context"
	"sync"
)

// Wakes passes the announcements of a node on to those who wait; backends share it.
// The zero value is ready.
type Wakes struct {
	mu          sync.Mutex
	subscribers map[chan struct{}]bool
}

// All wakes everybody. It never blocks: one wake-up that waits is enough.
func (w *Wakes) All() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Notify is a channel that All fills until ctx is done, as Backend.Notify wants it.
func (w *Wakes) Notify(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subscribers == nil {
		w.subscribers = make(map[chan struct{}]bool)
	}
	w.subscribers[c] = true
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.subscribers, c)
	})
	return c
}
