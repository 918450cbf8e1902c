package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// place is where a record is: its home shard, its expiry bucket, and its arrival, which is its
// number there.
type place struct {
	home    uint8
	bucket  Bucket
	arrival usage.Arrival
}

// Relay is the durable state of one relay. Apply, Expire, SaveContracts and MakeReport commit
// and run one at a time; queries run at any time and see synced state only.
type Relay struct {
	engine    Engine
	options   Options
	header    storeRow
	nums      numbers
	watermark atomic.Uint64 // arrival
	shown     atomic.Uint64 // time of the last commit, by which queries hide what has ended
	lists     lists
	homes     homes

	mu         sync.Mutex         // held by whoever commits; guards what follows
	clock      identity.UnixMilli // at the last commit; never back but by ConfirmClock
	last       usage.Arrival      // last arrival given
	saved      clock
	versions   map[uint8]uint64 // of shards, as far as known
	acked      map[uint8]uint64 // the highest acknowledged, never forgotten
	doubt      map[uint8]bool   // shards where a commit may still be under way
	ledgers    map[accountRef]*ledger
	nextDue    [Shards]uint64 // earliest end of custody in a shard; 0: unknown
	groupBase  GroupID
	groupCount uint64
}

// OpenRelay opens or creates the store. Errors carry code StoreLocked, StoreVersion,
// StoreCorrupt, WrongNetwork, BadConfig or Internal.
func OpenRelay(o Options) (*Relay, error) {
	e, err := openPebble(o.Dir, o.FS, o.Size, o.Fatal)
	if err != nil {
		return nil, err
	}
	if o.FreeDisk == nil && o.FS == nil {
		o.FreeDisk = func() (uint64, error) {
			u, err := vfs.Default.GetDiskUsage(o.Dir)
			return u.AvailBytes, err
		}
	}
	r, err := openRelay(context.Background(), e, o)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return r, nil
}

func (o Options) withDefaults() Options {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Limits == (usage.Limits{}) {
		o.Limits = usage.DefaultLimits()
	}
	return o
}

// openRelay opens the relay's state in an engine.
func openRelay(ctx context.Context, e Engine, o Options) (*Relay, error) {
	o = o.withDefaults()
	_, err := relayFormat.open(ctx, e, func() ([]Pair, error) {
		v, err := newStoreRow(o)
		return []Pair{{storeKey, v.encode()}}, err
	})
	if err != nil {
		return nil, err
	}
	r := &Relay{
		engine: e, options: o, versions: make(map[uint8]uint64), acked: make(map[uint8]uint64), doubt: make(map[uint8]bool),
		ledgers: make(map[accountRef]*ledger),
	}
	if _, err := io.ReadFull(o.Rand, r.groupBase[:8]); err != nil {
		return nil, code.Wrap(code.Internal, err, "no randomness")
	}
	return r, r.load(ctx)
}

// load reads the header and the clock. Arrivals go on above the ceiling.
func (r *Relay) load(ctx context.Context) error {
	got, err := r.engine.Get(ctx, metaShard, [][]byte{storeKey, clockKey})
	if err != nil {
		return err
	}
	if r.header, err = decodeStoreRow(got[0]); err != nil {
		return err
	}
	if err := r.header.belongs(r.options); err != nil {
		return err
	}
	if r.saved, err = decodeClock(got[1]); err != nil {
		return err
	}
	r.nums, r.last = r.header.numbers, r.saved.ceiling
	r.clock = r.saved.ms
	r.watermark.Store(uint64(r.last))
	r.shown.Store(uint64(r.clock))
	return r.loadHomes(ctx)
}

// Close releases the store. No query may be under way.
func (r *Relay) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine.Close()
}

// Watermark is the arrival up to which everything is synced: `through` and `as_of`.
func (r *Relay) Watermark() usage.Arrival { return usage.Arrival(r.watermark.Load()) }

// StoreEpoch changes when a store is restored.
func (r *Relay) StoreEpoch() [16]byte { return r.header.epoch }

// ConfirmClock is the operator's word that the clock is right although it is far from the
// last commit. If it went back, the logs that have later rows already keep their last time
// until the clock reaches it again.
func (r *Relay) ConfirmClock(ctx context.Context, now identity.UnixMilli) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = now
	r.saved.ms = 0 // so that it is written
	return r.commit(ctx, now, true, nil)
}
