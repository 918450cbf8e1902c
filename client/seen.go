package client

import (
	"bytes"
	"sync"

	"relaymarket/identity"
	"relaymarket/internal/message"
)

// seen are the statements of records that relays listed for this agent, by digest. Who shows the
// statement of a record is entitled to a signed denial of it, also from a relay that has lost it.
// They are kept in memory only: a record is read as soon as it is listed, and one that is asked
// for again is listed again.
type seen struct {
	mu       sync.Mutex
	now, old map[identity.Digest][]byte // guarded by mu
}

// maxSeen bounds the memory, twice 8192 statements of at most 512 bytes. The oldest are forgotten
// first.
const maxSeen = 8192

func newSeen() *seen { return &seen{now: make(map[identity.Digest][]byte)} }

// learn keeps the statement of a row, if it is that of the record that the row names.
func (s *seen) learn(r message.Row) {
	if len(r.Statement) == 0 || identity.StatementDigest(identity.TypeRecord, r.Statement) != r.Digest {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.now) >= maxSeen {
		s.old, s.now = s.now, make(map[identity.Digest][]byte)
	}
	s.now[r.Digest] = bytes.Clone(r.Statement) // not the whole frame
}

// of is the statement of a record; nil if none was seen.
func (s *seen) of(record identity.Digest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.now[record]; b != nil {
		return b
	}
	return s.old[record]
}
