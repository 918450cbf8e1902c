package relay

import (
	"context"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
)

// Bounds of one group: more would only make the first in it wait longer.
const (
	maxGroupOps   = 1024
	committerRoom = 4096 // operations waiting; beyond that callers wait to hand over
)

// answer is what the committer gives back for one operation: the durable outcome and, where
// the outcome has a statement, the statement signed.
type answer struct {
	store.Outcome
	signed identity.Signed
}

type job struct {
	op   store.Op
	done chan answer // room for one, so that the committer never waits for a session
}

// committer is the one goroutine that decides operations. It takes whatever has gathered
// while the last group was being synced, commits it with one fsync, and signs one root over
// all of its answers.
type committer struct {
	store *store.Relay
	key   identity.PrivateKey
	now   func() time.Time
	jobs  chan job
	// arrived is told what became readable, after it is durable.
	arrived func([]store.Arrived)
	metrics *metrics
}

func newCommitter(s *store.Relay, key identity.PrivateKey, now func() time.Time, m *metrics, arrived func([]store.Arrived)) *committer {
	return &committer{store: s, key: key, now: now, jobs: make(chan job, committerRoom), arrived: arrived, metrics: m}
}

// do hands operations over and waits until they are decided and durable. The answers are in
// the order of the operations; an operation's own failure is in its answer.
func (c *committer) do(ctx context.Context, ops ...store.Op) ([]answer, error) {
	jobs := make([]job, len(ops))
	for i, op := range ops {
		jobs[i] = job{op, make(chan answer, 1)}
		select {
		case c.jobs <- jobs[i]:
		case <-ctx.Done():
			return nil, code.New(code.ShuttingDown, "the request was given up before it was decided")
		}
	}
	out := make([]answer, len(ops))
	for i := range jobs {
		select {
		case out[i] = <-jobs[i].done:
		case <-ctx.Done():
			return nil, code.New(code.ShuttingDown, "the request was given up; send it again to learn its outcome")
		}
	}
	return out, nil
}

// run decides until ctx ends, then decides what was already handed over.
func (c *committer) run(ctx context.Context) error {
	for {
		select {
		case j := <-c.jobs:
			c.commit(c.gather(j))
		case <-ctx.Done():
			c.drain()
			return nil
		}
	}
}

func (c *committer) drain() {
	for {
		select {
		case j := <-c.jobs:
			c.commit(c.gather(j))
		default:
			return
		}
	}
}

func (c *committer) gather(first job) []job {
	group := []job{first}
	for len(group) < maxGroupOps {
		select {
		case j := <-c.jobs:
			group = append(group, j)
		default:
			return group
		}
	}
	return group
}

// commit uses a context of its own: a group that has begun is finished even while the relay
// stops, so that nothing is in doubt.
func (c *committer) commit(group []job) {
	ops := make([]store.Op, len(group))
	for i, j := range group {
		ops[i] = j.op
	}
	start := time.Now()
	outcomes, err := c.store.Apply(context.Background(), unixMilli(c.now()), ops)
	c.metrics.group(len(ops), time.Since(start))
	answers := make([]answer, len(group))
	for i := range answers {
		if err != nil {
			answers[i].Err = code.Wrap(code.Internal, err, "the store could not decide")
		} else {
			answers[i].Outcome = outcomes[i]
		}
	}
	c.sign(answers)
	for i, j := range group {
		j.done <- answers[i]
	}
	c.announce(answers)
}

// sign signs all statements of a group in trees of at most MaxBatch.
func (c *committer) sign(answers []answer) {
	var raws [][]byte
	var owners []int
	flush := func() {
		if len(raws) == 0 {
			return
		}
		signed, err := identity.Sign(c.key, raws...)
		for i, o := range owners {
			if err != nil {
				answers[o].Err = code.Wrap(code.Internal, err, "signing")
			} else {
				answers[o].signed = signed[i]
			}
		}
		raws, owners = nil, nil
	}
	for i := range answers {
		if answers[i].Err != nil || len(answers[i].Statement) == 0 {
			continue
		}
		raws, owners = append(raws, answers[i].Statement), append(owners, i)
		if len(raws) == identity.MaxBatch {
			flush()
		}
	}
	flush()
}

func (c *committer) announce(answers []answer) {
	for _, a := range answers {
		if len(a.Arrived) > 0 {
			c.arrived(a.Arrived)
		}
	}
}

func unixMilli(t time.Time) identity.UnixMilli { return identity.UnixMilli(t.UnixMilli()) }
