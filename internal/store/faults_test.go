package store

import (
	"context"
	"math/rand/v2"
	"sync"
)

// faulty is an engine whose commits are often stale or in doubt, as those of a database across
// a network are: it commits for somebody else in between, keeps the outcome to itself, or
// loses the commit.
type faulty struct {
	Engine
	mu  sync.Mutex
	rng *rand.Rand
	off bool
}

func (f *faulty) over(e Engine) *faulty {
	f.Engine = e
	return f
}

func (f *faulty) Commit(ctx context.Context, groups []Group) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off || f.rng.IntN(3) > 0 {
		return f.Engine.Commit(ctx, groups)
	}
	at := f.rng.IntN(len(groups))
	switch f.rng.IntN(4) {
	case 0: // another committer was faster
		f.foreign(ctx, groups[at].Shard)
		return f.Engine.Commit(ctx, groups)
	case 1: // committed, but nobody says so
		return f.doubt(f.Engine.Commit(ctx, groups[:at+1]), at, len(groups))
	case 2: // lost
		return f.doubt(f.Engine.Commit(ctx, groups[:at]), at, len(groups))
	default: // committed, and covered by another's commit before anybody can look
		errs := f.doubt(f.Engine.Commit(ctx, groups[:at+1]), at, len(groups))
		f.foreign(ctx, groups[at].Shard)
		return errs
	}
}

// doubt makes group at unknown and the later ones skipped, unless an earlier one failed.
func (f *faulty) doubt(errs []error, at, n int) []error {
	out := make([]error, n)
	failed := false
	for i := range out {
		switch {
		case failed:
			out[i] = ErrSkipped
		case i < at:
			out[i] = errs[i]
		default:
			out[i] = ErrUnknown
		}
		failed = failed || out[i] != nil
	}
	return out
}

// foreign moves a shard's version as another process would.
func (f *faulty) foreign(ctx context.Context, shard uint8) {
	v, err := shardVersion(ctx, f.Engine, shard)
	if err != nil {
		panic(err)
	}
	g := Group{Shard: shard, Expect: v.Number}
	for i := range g.ID {
		g.ID[i] = byte(f.rng.IntN(256))
	}
	if errs := f.Engine.Commit(ctx, []Group{g}); errs[0] != nil {
		panic(errs[0])
	}
}
