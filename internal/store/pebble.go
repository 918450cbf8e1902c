package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/internal/code"
)

// pebbleFormat is fixed, so that a store moves to a newer format of pebble by a decision and
// not by an update of the library.
const pebbleFormat = pebble.FormatValueSeparation

// pebbleEngine keeps all shards in one pebble database of this machine: every commit is one
// synced batch.
//
// Pebble shows a batch to readers when it is in memory, before it is synced. So readers get
// a snapshot that was taken after the last sync, and commits run one at a time.
type pebbleEngine struct {
	db   *pebble.DB
	lock *pebble.Lock
	end  end

	commit   sync.Mutex       // held while a batch is made and synced
	versions map[uint8]uint64 // of the shards committed to, under commit
	failed   error            // the first failed sync: what memory shows is no proof then

	mu   sync.Mutex
	view *view
}

// view is a snapshot of synced state with the number of its users.
type view struct {
	snap *pebble.Snapshot
	uses atomic.Int64
}

// openPebble opens or creates the database in a directory; fatal may be nil. Errors carry code
// StoreLocked, StoreCorrupt, StoreUnknown (the disk is full) or Internal.
func openPebble(dir string, fs FS, size Size, fatal func(error)) (_ *pebbleEngine, err error) {
	if fs == nil {
		fs = vfs.Default
	}
	if size == (Size{}) {
		size = Small
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, noRoom(dir, code.Wrap(code.Internal, err, "the store's directory"))
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, noRoom(dir, code.Wrap(code.StoreLocked, err, "%s", dir))
	}
	cache := pebble.NewCache(size.Cache)
	defer cache.Unref()
	e := &pebbleEngine{lock: lock, end: end{dir, fatal}, versions: make(map[uint8]uint64)}
	err = e.end.guard(func() (err error) {
		e.db, err = pebble.Open(dir, pebbleOptions(fs, size, cache, lock, e.end))
		return err
	})
	if err != nil {
		return nil, errors.Join(noRoom(dir, code.Wrap(openCode(err), err, "%s", dir)), lock.Close())
	}
	e.publish()
	return e, nil
}

func openCode(err error) code.Code {
	if errors.Is(err, pebble.ErrCorruption) {
		return code.StoreCorrupt
	}
	return code.Internal
}

func pebbleOptions(fs FS, size Size, cache *pebble.Cache, lock *pebble.Lock, x end) *pebble.Options {
	o := &pebble.Options{
		FS: fs, Lock: lock, Cache: cache, Logger: x, EventListener: &pebble.EventListener{BackgroundError: x.background},
		FormatMajorVersion:          pebbleFormat,
		MemTableSize:                size.MemTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
	}
	for i := range o.Levels {
		// Absent keys are asked for with every write; larger blocks let the records of one
		// bundle, which repeat keys and path digests, be compressed together.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].BlockSize = 32 << 10
	}
	return o
}

// publish lets readers see everything that is synced. Only without a commit under way.
func (e *pebbleEngine) publish() {
	next := &view{snap: e.db.NewSnapshot()}
	next.uses.Add(1)
	e.mu.Lock()
	old := e.view
	e.view = next
	e.mu.Unlock()
	if old != nil {
		old.release()
	}
}

func (e *pebbleEngine) acquire() *view {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.uses.Add(1)
	return e.view
}

// release ends a use; the last one closes the snapshot, whose error only repeats that the
// database is closed.
func (v *view) release() {
	if v.uses.Add(-1) == 0 {
		_ = v.snap.Close()
	}
}

func sharded(shard uint8, key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), shard), key...)
}

// manyKeys is from how many keys on one iterator is cheaper than as many single reads.
const manyKeys = 8

// Get implements Engine.
func (e *pebbleEngine) Get(_ context.Context, shard uint8, keys [][]byte) ([][]byte, error) {
	v := e.acquire()
	defer v.release()
	if len(keys) >= manyKeys {
		return v.seekAll(shard, keys)
	}
	out := make([][]byte, len(keys))
	for i, k := range keys {
		b, closer, err := v.snap.Get(sharded(shard, k))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, code.Wrap(openCode(err), err, "reading the store")
		}
		out[i] = append(make([]byte, 0, len(b)), b...)
		if err := closer.Close(); err != nil {
			return nil, code.Wrap(code.Internal, err, "reading the store")
		}
	}
	return out, nil
}

// seekAll reads many keys with one iterator; a prefix here is a whole key, so that filters
// answer for absent ones.
func (v *view) seekAll(shard uint8, keys [][]byte) ([][]byte, error) {
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: []byte{shard}, UpperBound: after([]byte{shard})})
	if err != nil {
		return nil, code.Wrap(openCode(err), err, "reading the store")
	}
	out := make([][]byte, len(keys))
	key := make([]byte, 0, 128)
	for i, k := range keys {
		key = append(append(key[:0], shard), k...)
		if it.SeekPrefixGE(key) && bytes.Equal(it.Key(), key) {
			out[i] = append(make([]byte, 0, len(it.Value())), it.Value()...)
		}
	}
	if err := it.Close(); err != nil {
		return nil, code.Wrap(openCode(err), err, "reading the store")
	}
	return out, nil
}

// Scan implements Engine.
func (e *pebbleEngine) Scan(_ context.Context, shard uint8, from, to []byte, limit int) ([]Pair, error) {
	v := e.acquire()
	defer v.release()
	o := &pebble.IterOptions{LowerBound: sharded(shard, from), UpperBound: sharded(shard, to)}
	if to == nil {
		o.UpperBound = after([]byte{shard})
	}
	it, err := v.snap.NewIter(o)
	if err != nil {
		return nil, code.Wrap(openCode(err), err, "reading the store")
	}
	var out []Pair
	for ok := it.First(); ok && len(out) < limit; ok = it.Next() {
		out = append(out, Pair{bytes.Clone(it.Key()[1:]), bytes.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		return nil, code.Wrap(openCode(err), err, "reading the store")
	}
	return out, nil
}

// Commit implements Engine: all groups that pass their checks go into one synced batch.
func (e *pebbleEngine) Commit(ctx context.Context, groups []Group) []error {
	e.commit.Lock()
	defer e.commit.Unlock()
	errs := make([]error, len(groups))
	batch := e.db.NewBatchWithSize(batchSize(groups))
	defer func() { _ = batch.Close() }() // only gives memory back
	good := 0
	for ; good < len(groups); good++ {
		if errs[good] = e.check(ctx, batch, groups[:good], groups[good]); errs[good] != nil {
			break
		}
	}
	for i := good + 1; i < len(groups); i++ {
		errs[i] = ErrSkipped
	}
	if good == 0 {
		return errs
	}
	if err := e.sync(batch); err != nil {
		for i := range good {
			errs[i] = fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return errs
	}
	for _, g := range groups[:good] {
		e.versions[g.Shard] = g.Expect + 1
	}
	e.publish()
	return errs
}

// batchSize is about what the groups take as a batch, so that it need not grow.
func batchSize(groups []Group) int {
	size := 64
	for _, g := range groups {
		size += 64
		for _, p := range g.Puts {
			size += len(p.Key) + len(p.Value) + 8
		}
		for _, k := range g.Deletes {
			size += len(k) + 8
		}
	}
	return size
}

// sync makes the batch durable. After a failed sync nothing can be known without opening the
// store again, so the engine refuses all further work.
func (e *pebbleEngine) sync(batch *pebble.Batch) error {
	err := e.end.guard(func() error { return e.db.Apply(batch, pebble.Sync) })
	if err != nil {
		e.failed = err
	}
	return err
}

// check decides on one group and adds it to the batch.
func (e *pebbleEngine) check(ctx context.Context, batch *pebble.Batch, earlier []Group, g Group) error {
	if e.failed != nil {
		return code.Wrap(code.StoreUnknown, e.failed, "an earlier write failed; start the relay again")
	}
	at, err := e.version(ctx, earlier, g.Shard)
	if err != nil {
		return err
	}
	if at != g.Expect {
		return ErrStale
	}
	if err := e.absent(ctx, earlier, g); err != nil {
		return err
	}
	return addGroup(batch, g)
}

// version is where a shard stands after the groups before this one.
func (e *pebbleEngine) version(ctx context.Context, earlier []Group, shard uint8) (uint64, error) {
	for i := len(earlier) - 1; i >= 0; i-- {
		if earlier[i].Shard == shard {
			return earlier[i].Expect + 1, nil
		}
	}
	if v, ok := e.versions[shard]; ok {
		return v, nil
	}
	v, err := shardVersion(ctx, e, shard)
	return v.Number, err
}

func (e *pebbleEngine) absent(ctx context.Context, earlier []Group, g Group) error {
	if len(g.MustBeAbsent) == 0 {
		return nil
	}
	got, err := e.Get(ctx, g.Shard, g.MustBeAbsent)
	if err != nil {
		return err
	}
	for i, k := range g.MustBeAbsent {
		if written, present := lastWrite(earlier, g.Shard, k); present || !written && got[i] != nil {
			return ErrExists
		}
	}
	return nil
}

// lastWrite finds what earlier groups of the same call did to a key.
func lastWrite(earlier []Group, shard uint8, key []byte) (written, present bool) {
	for _, g := range earlier {
		if g.Shard != shard {
			continue
		}
		for _, p := range g.Puts {
			if bytes.Equal(p.Key, key) {
				written, present = true, true
			}
		}
		for _, d := range g.Deletes {
			if bytes.Equal(d, key) {
				written, present = true, false
			}
		}
	}
	return written, present
}

// addGroup writes a group's puts, then its deletes, then the new version.
func addGroup(batch *pebble.Batch, g Group) error {
	key := make([]byte, 0, 128)
	for _, p := range g.Puts {
		key = append(append(key[:0], g.Shard), p.Key...)
		if err := batch.Set(key, p.Value, nil); err != nil {
			return code.Wrap(code.Internal, err, "a batch")
		}
	}
	for _, k := range g.Deletes {
		if err := batch.Delete(sharded(g.Shard, k), nil); err != nil {
			return code.Wrap(code.Internal, err, "a batch")
		}
	}
	version := encodeVersion(Version{g.Expect + 1, g.ID})
	return code.Wrap(code.Internal, batch.Set(sharded(g.Shard, versionKey), version, nil), "a batch")
}

// compactFrom is the size from which on a dropped bucket is compacted away at once; less is
// left to pebble's own rhythm.
const compactFrom = 1 << 20

// DropExpired implements Engine.
func (e *pebbleEngine) DropExpired(ctx context.Context, shard uint8, bucket Bucket) error {
	from, to := bucketRange(bucket)
	from, to = sharded(shard, from), sharded(shard, to)
	size, err := e.db.EstimateDiskUsage(from, to)
	if err != nil {
		return code.Wrap(openCode(err), err, "measuring an expired bucket")
	}
	e.commit.Lock()
	err = e.end.guard(func() error { return e.db.DeleteRange(from, to, pebble.Sync) })
	e.publish()
	e.commit.Unlock()
	if err == nil && size >= compactFrom {
		err = e.db.Compact(ctx, from, to, false)
	}
	return code.Wrap(code.Internal, err, "dropping an expired bucket")
}

// Close implements Engine.
func (e *pebbleEngine) Close() error {
	e.view.release()
	return code.Wrap(code.Internal, errors.Join(e.db.Close(), e.lock.Close()), "closing the store")
}
