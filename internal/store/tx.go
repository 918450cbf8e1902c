package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// job decides on one thing with the state that a tx shows and gives what is to be written;
// nil if nothing is. It may be run again, on newer state, if its commit did not succeed, so
// it must be idempotent towards what it wrote before.
type job func(*tx) *step

// tx is one attempt to commit: state as of its beginning, overlaid with what its jobs write.
type tx struct {
	*Relay
	ctx      context.Context
	now      identity.UnixMilli        // the clock, but never before the last commit
	badClock error                     // it cannot be believed
	asOf     usage.Arrival             // everything up to here was synced when the attempt began
	last     usage.Arrival             // last arrival given
	next     clock                     // the clock as it is saved after this attempt
	seen     [Shards]map[string][]byte // by key: what was read, overlaid with writes
	changed  map[accountRef]*ledger
	packer   packer
	steps    []*step
	pulled   map[place][]pulled
	free     *uint64 // bytes left on the disk, once asked
	beat     bool    // write the clock even if nothing else is written
	fault    error
}

// Bounds of the clock's steps between two commits, in milliseconds.
const (
	maxClockAhead  = 24 * 3_600_000
	maxClockBehind = 60_000
	// clockStep is how often the clock is written.
	clockStep = 1000
	// ceilingStep is how far ahead, in microseconds, arrivals are reserved.
	ceilingStep = 1_000_000
)

func (r *Relay) begin(ctx context.Context, now identity.UnixMilli) *tx {
	t := &tx{
		Relay: r, ctx: ctx, now: max(now, r.clock), asOf: r.Watermark(), last: r.last, next: r.saved,
		changed: make(map[accountRef]*ledger),
		pulled:  make(map[place][]pulled),
	}
	if r.clock != 0 && (now > r.clock+maxClockAhead || now+maxClockBehind < r.clock) {
		t.now = r.clock
		t.badClock = code.New(code.ClockWrong, "the clock shows %d ms, the last commit was at %d ms; the operator must confirm the clock", now, r.clock)
	}
	return t
}

// maxAttempts bounds how often a commit is tried against other committers.
const maxAttempts = 16

// fail gives up the whole attempt.
func (t *tx) fail(err error) *step {
	t.fault = err
	return nil
}

// commit runs the jobs and makes what they write durable, again and again until every one is
// settled. Callers hold r.mu.
func (r *Relay) commit(ctx context.Context, now identity.UnixMilli, beat bool, jobs []job) error {
	pending := make([]int, len(jobs))
	for i := range jobs {
		pending[i] = i
	}
	for range maxAttempts {
		t := r.begin(ctx, now)
		t.beat = beat
		for _, i := range pending {
			if s := jobs[i](t); s != nil && !s.empty() {
				t.accept(i, s)
			}
		}
		if t.fault != nil {
			return t.fault
		}
		done, err := t.commit()
		if err == nil {
			return nil
		}
		r.forget()
		if !errors.Is(err, ErrStale) && !errors.Is(err, ErrSkipped) {
			return err
		}
		pending = without(pending, done)
	}
	return code.New(code.StoreStale, "%d attempts met another committer", maxAttempts)
}

func without(all []int, done map[int]bool) []int {
	var out []int
	for _, i := range all {
		if !done[i] {
			out = append(out, i)
		}
	}
	return out
}

// see notes what is at a key: as read, or as it will be.
func (t *tx) see(shard uint8, key, value []byte) {
	if t.seen[shard] == nil {
		t.seen[shard] = make(map[string][]byte)
	}
	t.seen[shard][string(key)] = value
}

// get reads one key.
func (t *tx) get(shard uint8, key []byte) ([]byte, error) {
	if v, ok := t.seen[shard][string(key)]; ok {
		return v, nil
	}
	if err := t.fetch(shard, [][]byte{key}); err != nil {
		return nil, err
	}
	return t.seen[shard][string(key)], nil
}

// fetch reads keys of one shard in one round trip, to be found by get.
func (t *tx) fetch(shard uint8, keys [][]byte) error {
	var missing [][]byte
	for _, k := range keys {
		if _, ok := t.seen[shard][string(k)]; !ok {
			missing = append(missing, k)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	got, err := t.engine.Get(t.ctx, shard, missing)
	if err != nil {
		return err
	}
	for i, k := range missing {
		t.see(shard, k, got[i])
	}
	return nil
}

// arrive gives n arrivals in a row.
func (t *tx) arrive(n int) usage.Arrival {
	first := max(t.last+1, usage.Arrival(t.now)*1000)
	t.last = first + usage.Arrival(n) - 1
	return first
}

// accept takes over what a job decided.
func (t *tx) accept(job int, s *step) {
	t.packer.add(job, s)
	t.steps = append(t.steps, s)
	for _, ws := range s.writes {
		for _, w := range ws {
			if !scannedOnly(w.key) {
				t.see(w.shard, w.key, w.value)
			}
		}
	}
	for _, l := range s.ledgers {
		t.changed[l.ref()] = l
	}
	for _, b := range s.boxes {
		t.lists.mark(b)
	}
}

// scannedOnly tells whether a key is never read by get within a commit: lists and content,
// which are most of all that is written.
func scannedOnly(key []byte) bool {
	return key[0] == kindInbox || key[0] == kindOutbox || key[0] == kindBucket && key[5] == inContent
}

// commit makes the accepted steps durable. On ErrStale or ErrSkipped it tells which jobs are durable all
// the same; the others must be decided again.
func (t *tx) commit() (map[int]bool, error) {
	t.keepClock()
	packed := t.fence(t.packer.all())
	if len(packed) == 0 {
		t.publish()
		return nil, nil
	}
	groups, err := t.groups(packed)
	if err != nil {
		return nil, err
	}
	done := make(map[int]bool)
	for i, err := range t.engine.Commit(t.ctx, groups) {
		if errors.Is(err, ErrUnknown) {
			err = t.settle(groups[i], err)
		}
		if err != nil {
			t.Relay.last, t.Relay.clock = t.last, t.now // they may have been used
			t.lists.unsure = true
			undo(done, packed[i:])
			return done, err
		}
		t.acked[groups[i].Shard] = groups[i].Expect + 1
		t.versions[groups[i].Shard] = groups[i].Expect + 1
		delete(t.doubt, groups[i].Shard)
		for _, j := range packed[i].jobs {
			done[j] = true
		}
	}
	t.publish()
	return done, nil
}

// undo takes out the jobs that also wrote to groups that were not committed.
func undo(done map[int]bool, open []*packing) {
	for _, p := range open {
		for _, j := range p.jobs {
			delete(done, j)
		}
	}
}

// keepClock adds the clock to the batch when it has moved far enough or arrivals pass the
// reserved ones. It comes before everything that uses those arrivals.
func (t *tx) keepClock() {
	idle := len(t.steps) == 0
	if t.badClock != nil || idle && !t.beat {
		return
	}
	if t.beat { // an idle watermark follows the clock, so that a denial speaks of now; arrivals go on above it
		t.last = max(t.last, usage.Arrival(t.now)*1000)
	}
	if t.last <= t.saved.ceiling && t.now < t.saved.ms+clockStep {
		return
	}
	t.next = clock{max(t.saved.ceiling, t.last+ceilingStep), t.now}
	first := &packing{shard: metaShard}
	first.add(write{metaShard, clockKey, t.next.encode()})
	t.packer.groups[phaseContent] = append([]*packing{first}, t.packer.groups[phaseContent]...)
}

var clockKey = metaKey("clock")

// groups gives the packed groups versions and ids.
func (t *tx) groups(packed []*packing) ([]Group, error) {
	out := make([]Group, len(packed))
	next := make(map[uint8]uint64)
	for i, p := range packed {
		at, ok := next[p.shard]
		if !ok {
			var err error
			if at, err = t.versionOf(t.ctx, p.shard); err != nil {
				return nil, err
			}
		}
		next[p.shard] = at + 1
		out[i] = Group{Shard: p.shard, Expect: at, ID: t.groupID(), Puts: p.puts, Deletes: p.deletes}
	}
	return out, nil
}

func (r *Relay) groupID() GroupID {
	r.groupCount++
	id := r.groupBase
	binary.BigEndian.PutUint64(id[8:], r.groupCount)
	return id
}

// versionOf is where a shard stands. An engine that shows less than was acknowledged has
// lost commits.
func (r *Relay) versionOf(ctx context.Context, shard uint8) (uint64, error) {
	if v, ok := r.versions[shard]; ok {
		return v, nil
	}
	v, err := shardVersion(ctx, r.engine, shard)
	if err != nil {
		return 0, err
	}
	if v.Number < r.acked[shard] {
		return 0, corrupt("shard %d is at version %d, acknowledged was %d: run relay recover", shard, v.Number, r.acked[shard])
	}
	r.versions[shard] = v.Number
	return v.Number, nil
}

// settle finds out about a group in doubt: nil if it was committed, ErrStale if its jobs must
// be decided again. If others have committed since, its id is covered by theirs; then the jobs
// are decided again too, and find what they wrote if they did.
func (t *tx) settle(g Group, doubt error) error {
	t.doubt[g.Shard] = true
	v, err := shardVersion(t.ctx, t.engine, g.Shard)
	switch {
	case err != nil:
		return code.Wrap(code.StoreUnknown, errors.Join(doubt, err), "a commit is in doubt")
	case v.Number < t.acked[g.Shard]:
		return corrupt("shard %d is at version %d, acknowledged was %d: run relay recover", g.Shard, v.Number, t.acked[g.Shard])
	case v == (Version{g.Expect + 1, g.ID}):
		return nil
	}
	return ErrStale
}

// fence adds an empty group for every shard where a commit is in doubt and nothing else is
// written: what is still under way there must not arrive after its jobs were decided again.
func (t *tx) fence(packed []*packing) []*packing {
	for shard := range t.doubt {
		if !slices.ContainsFunc(packed, func(p *packing) bool { return p.shard == shard }) {
			packed = append(packed, &packing{shard: shard})
		}
	}
	return packed
}

// publish takes over the state of a committed attempt and shows it.
func (t *tx) publish() {
	r := t.Relay
	r.last, r.saved, r.clock = t.last, t.next, t.now
	for ref, l := range t.changed {
		r.ledgers[ref] = l
	}
	for _, s := range t.steps {
		for _, d := range s.due {
			r.schedule(d)
		}
		for _, b := range s.boxes { // again: a set that began since the first time may have asked too early
			t.lists.mark(b)
		}
	}
	if t.lists.unsure && len(t.doubt) == 0 {
		t.lists.reset()
	}
	r.watermark.Store(uint64(t.last))
	r.shown.Store(uint64(t.now))
}

// forget drops everything that was remembered of the engine's state.
func (r *Relay) forget() {
	clear(r.versions)
	clear(r.ledgers)
	r.nextDue = [Shards]uint64{}
}
