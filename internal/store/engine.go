package store

import (
	"context"
	"errors"
)

// Shards is the number of logical shards. It is fixed by the store format: shards can move to
// another machine, keys are never hashed again.
const Shards = 256

// What a commit can meet. All three are ordinary results, not faults.
var (
	// ErrStale: the shard is at another version than the group expects: somebody else
	// committed. Reload, decide again.
	ErrStale = errors.New("store: another commit was faster")
	// ErrExists: a key that had to be absent is there. Nothing of the group was written.
	ErrExists = errors.New("store: the key exists")
	// ErrUnknown: the group may or may not have been committed. Read version and group id
	// before saying anything.
	ErrUnknown = errors.New("store: the commit is in doubt")
	// ErrSkipped: an earlier group of the same call failed, so this one was not tried.
	ErrSkipped = errors.New("store: an earlier group failed")
)

// Pair is a key with its value.
type Pair struct{ Key, Value []byte }

// GroupID names a group, so that a commit in doubt can be recognised afterwards.
type GroupID [16]byte

// Version is where a shard stands: how many groups it has committed, and the last one's id.
type Version struct {
	Number uint64
	Group  GroupID
}

// Group is an atomic write to one shard. The engine itself moves the shard's version from
// Expect to Expect+1 and stores ID beside it.
type Group struct {
	Shard        uint8
	Expect       uint64 // version that the shard must be at
	ID           GroupID
	MustBeAbsent [][]byte
	Puts         []Pair
	Deletes      [][]byte
}

// Limits of what an engine must take. Pebble takes more; databases that cannot are the reason
// for these numbers.
const (
	// MaxRow is the largest key and value together, in bytes.
	MaxRow = 64 << 10
	// MaxGroup is the size that a group should not pass, in bytes.
	MaxGroup = 1 << 20
)

// Engine is an ordered key-value space in shards. Keys do not contain the shard. Get and Scan
// see durable state only. Implementations are safe for concurrent use.
type Engine interface {
	// Get reads many keys of a shard at once; a missing key gives nil. Values must not be
	// changed.
	Get(ctx context.Context, shard uint8, keys [][]byte) ([][]byte, error)
	// Scan reads at most limit pairs with from ≤ key < to in ascending order; to nil is the
	// end of the shard.
	Scan(ctx context.Context, shard uint8, from, to []byte, limit int) ([]Pair, error)
	// Commit tries the groups in order and makes them durable before it returns; groups
	// may share one sync. It gives one error per group: nil, ErrStale, ErrExists,
	// ErrUnknown, or another fault. After the first group that does not succeed no later
	// one is tried: each of those gives ErrSkipped. Several groups for one shard expect
	// ascending versions.
	Commit(ctx context.Context, groups []Group) []error
	// DropExpired removes everything under an expiry bucket of a shard and gives the
	// space back to the disk. It may be repeated.
	DropExpired(ctx context.Context, shard uint8, bucket Bucket) error
	// Close releases the engine; nothing may be called afterwards.
	Close() error
}

// Bucket is an expiry bucket: the hour since 1970 from whose beginning on its contents may be
// gone.
type Bucket uint32

// shardVersion reads where a shard stands; an untouched shard is at version 0.
func shardVersion(ctx context.Context, e Engine, shard uint8) (Version, error) {
	got, err := e.Get(ctx, shard, [][]byte{versionKey})
	if err != nil {
		return Version{}, err
	}
	return decodeVersion(got[0])
}
