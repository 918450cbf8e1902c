package client

import (
	"sync"

	"relaymarket/identity"
)

// flight is the set of records that are on their way from some relay at this moment.
type flight struct {
	mu      sync.Mutex
	records map[identity.Digest]bool // guarded by mu
}

// take claims a record; false if somebody else has it.
func (f *flight) take(d identity.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.records[d] {
		return false
	}
	f.records[d] = true
	return true
}

func (f *flight) release(ds ...identity.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range ds {
		delete(f.records, d)
	}
}
