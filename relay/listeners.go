package relay

import (
	"sync"

	"relaymarket/identity"
	"relaymarket/internal/store"
)

// listeners knows which sessions wait for records of which receiver. A nudge carries nothing:
// the session reads what is new from the store by its own cursor, so a slow receiver costs no
// memory and loses nothing.
type listeners struct {
	mu  sync.Mutex
	all map[identity.PublicKey]map[chan struct{}]bool // guarded by mu
}

func newListeners() *listeners {
	return &listeners{all: make(map[identity.PublicKey]map[chan struct{}]bool)}
}

// add registers a listener; the returned function takes it off again.
func (l *listeners) add(key identity.PublicKey) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[key] == nil {
		l.all[key] = make(map[chan struct{}]bool)
	}
	l.all[key][ch] = true
	return ch, func() { l.remove(key, ch) }
}

func (l *listeners) remove(key identity.PublicKey, ch chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all[key], ch)
	if len(l.all[key]) == 0 {
		delete(l.all, key)
	}
}

// arrived nudges the sessions of every receiver named.
func (l *listeners) arrived(rows []store.Arrived) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range rows {
		for ch := range l.all[r.Receiver] {
			select {
			case ch <- struct{}{}:
			default: // a nudge is already waiting
			}
		}
	}
}

// count is the number of listening sessions.
func (l *listeners) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, m := range l.all {
		n += len(m)
	}
	return n
}
