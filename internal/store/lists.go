package store

import (
	"context"
	"sync"
)

// box is the part of an inbox or outbox that lies in one shard.
type box struct {
	kind  byte // kindInbox or kindOutbox
	n     num
	shard uint8
}

// lists remembers in which shards inboxes and outboxes have anything, so that a page is read
// from a few shards and not from 256. It may name a shard too many, never one too few.
type lists struct {
	mu    sync.Mutex
	known map[listName]*shardSet

	// unsure tells that a commit has failed, of which a part may be there: what was asked
	// meanwhile is asked again. Guarded by Relay.mu.
	unsure bool
}

type listName struct {
	kind byte
	n    num
}

// maxLists bounds the memory; beyond it everything is forgotten and asked again.
const maxLists = 100_000

type shardSet struct {
	ask  sync.Once
	err  error
	mu   sync.Mutex
	bits [Shards / 64]uint64
}

func (s *shardSet) add(shard uint8) {
	s.mu.Lock()
	s.bits[shard/64] |= 1 << (shard % 64)
	s.mu.Unlock()
}

func (s *shardSet) shards() []uint8 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []uint8
	for i := range Shards {
		if s.bits[i/64]&(1<<(i%64)) != 0 {
			out = append(out, uint8(i))
		}
	}
	return out
}

// mark is called before a commit that puts something into the box, and again before what was
// committed is shown. A set that begins between the two may have asked the shard before it had
// anything; one that begins later finds it there.
func (l *lists) mark(b box) {
	l.mu.Lock()
	s := l.known[listName{b.kind, b.n}]
	l.mu.Unlock()
	if s != nil {
		s.add(b.shard)
	}
}

// set finds or begins the set of a list. One that has begun is marked by commits.
func (l *lists) set(name listName) *shardSet {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil || len(l.known) >= maxLists {
		l.known = make(map[listName]*shardSet)
	}
	s := l.known[name]
	if s == nil {
		s = &shardSet{}
		l.known[name] = s
	}
	return s
}

func (l *lists) drop(name listName) {
	l.mu.Lock()
	delete(l.known, name)
	l.mu.Unlock()
}

// reset forgets everything, once nothing is in doubt any more.
func (l *lists) reset() {
	l.mu.Lock()
	l.known = nil
	l.mu.Unlock()
	l.unsure = false
}

// shardsOf tells in which shards a list has anything.
func (r *Relay) shardsOf(ctx context.Context, name listName) ([]uint8, error) {
	s := r.lists.set(name)
	s.ask.Do(func() {
		for i := range Shards {
			if s.err = r.askShard(ctx, name, uint8(i), s); s.err != nil {
				r.lists.drop(name)
				return
			}
		}
	})
	return s.shards(), s.err
}

func (r *Relay) askShard(ctx context.Context, name listName, shard uint8, s *shardSet) error {
	prefix := key8(name.kind, uint64(name.n))
	got, err := r.engine.Scan(ctx, shard, prefix, after(prefix), 1)
	if err == nil && len(got) > 0 {
		s.add(shard)
	}
	return err
}
