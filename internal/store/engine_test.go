package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"relaymarket/internal/code"
)

func put(shard uint8, expect uint64, key, value string) Group {
	return Group{Shard: shard, Expect: expect, ID: GroupID{byte(expect + 1)}, Puts: []Pair{{[]byte(key), []byte(value)}}}
}

func openTest(t *testing.T, fs FS) *pebbleEngine {
	t.Helper()
	e, err := openPebble("store", fs, Small, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func get(t *testing.T, e Engine, shard uint8, key string) string {
	t.Helper()
	got, err := e.Get(ctx, shard, [][]byte{[]byte(key)})
	if err != nil {
		t.Fatal(err)
	}
	return string(got[0])
}

func TestCommitIsOneCompareAndSetPerShard(t *testing.T) {
	fs := vfs.NewMem()
	e := openTest(t, fs)
	errs := e.Commit(ctx, []Group{put(1, 0, "a", "1"), put(1, 1, "b", "2"), put(2, 0, "a", "3")})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	exists := put(1, 2, "c", "4")
	exists.MustBeAbsent = [][]byte{[]byte("a")}
	behind, ahead := put(1, 1, "a", "x"), put(3, 1, "a", "x")
	for i, bad := range []Group{behind, ahead, exists} {
		want := ErrStale
		if i == 2 {
			want = ErrExists
		}
		e.versions = map[uint8]uint64{} // as after opening
		errs := e.Commit(ctx, []Group{put(4, uint64(i), "z", "9"), bad, put(2, 1, "a", "x")})
		if errs[0] != nil || !errors.Is(errs[1], want) || !errors.Is(errs[2], ErrSkipped) {
			t.Fatalf("%v, want %v in the middle", errs, want)
		}
		if get(t, e, 1, "a") != "1" || get(t, e, 2, "a") != "3" || get(t, e, 3, "a")+get(t, e, 1, "c") != "" {
			t.Fatal("a failed group was written")
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openTest(t, fs)
	v, err := shardVersion(ctx, e, 2)
	if err != nil || v.Number != 1 || v.Group != (GroupID{1}) || get(t, e, 1, "b") != "2" {
		t.Fatalf("after opening again: %+v %v", v, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMustBeAbsentSeesEarlierGroups(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	again := put(1, 1, "a", "2")
	again.MustBeAbsent = [][]byte{[]byte("a")}
	if errs := e.Commit(ctx, []Group{put(1, 0, "a", "1"), again}); errs[0] != nil || !errors.Is(errs[1], ErrExists) {
		t.Fatal(errs)
	}
	again.Expect = 2
	remove := Group{Shard: 1, Expect: 1, Deletes: [][]byte{[]byte("a")}}
	if err := errors.Join(e.Commit(ctx, []Group{remove, again})...); err != nil {
		t.Fatal(err)
	}
	if get(t, e, 1, "a") != "2" {
		t.Fatal("not written")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestScanStaysInItsShard(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	groups := []Group{put(254, 0, "b", ""), put(255, 0, "c", ""), put(255, 1, "d", "")}
	if err := errors.Join(e.Commit(ctx, groups)...); err != nil {
		t.Fatal(err)
	}
	for shard, want := range map[uint8]int{254: 1, 255: 2} {
		rows, err := e.Scan(ctx, shard, []byte("a"), nil, 10)
		if err != nil || len(rows) != want {
			t.Fatalf("shard %d: %d rows, %v", shard, len(rows), err)
		}
	}
	if rows, _ := e.Scan(ctx, 255, []byte("a"), nil, 1); len(rows) != 1 || string(rows[0].Key) != "c" {
		t.Fatalf("%v", rows)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReadersSeeSyncedStateOnly holds the sync of a commit back: pebble itself shows such a
// commit before it is durable.
func TestReadersSeeSyncedStateOnly(t *testing.T) {
	var mu sync.Mutex
	var hold chan struct{}
	reached := make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		h := hold
		if op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData && op.Kind != errorfs.OpFileSyncTo {
			h = nil
		}
		if h != nil {
			hold = nil
		}
		mu.Unlock()
		if h != nil {
			close(reached)
			<-h
		}
		return nil
	}))
	e := openTest(t, fs)
	release := make(chan struct{})
	mu.Lock()
	hold = release
	mu.Unlock()
	done := make(chan error)
	go func() { done <- errors.Join(e.Commit(ctx, []Group{put(1, 0, "a", "1")})...) }()
	select {
	case <-reached:
	case <-time.After(10 * time.Second):
		t.Fatal("no sync was asked for")
	}
	// Pebble itself shows a write as soon as it is applied, which may be a moment after its sync began.
	if !eventually(func() bool {
		b, closer, err := e.db.Get(sharded(1, []byte("a")))
		return err == nil && string(b) == "1" && closer.Close() == nil
	}) {
		t.Fatal("pebble does not show the write: the test shows nothing")
	}
	if got := get(t, e, 1, "a"); got != "" {
		t.Fatalf("a reader sees %q before it is synced", got)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if get(t, e, 1, "a") != "1" {
		t.Fatal("not visible after the sync")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusals(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Network: testNet, Relay: alice}
	r, err := OpenRelay(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRelay(o); code.Of(err) != code.StoreLocked {
		t.Fatalf("opened twice: %v", err)
	}
	if err := putMeta(ctx, r.engine, Pair{formatKey, relayFormat.value(relayFormat.version + 1)}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRelay(o); code.Of(err) != code.StoreVersion {
		t.Fatalf("a newer store: %v", err)
	}
	e, err := openPebble(dir, nil, Small, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := putMeta(ctx, e, Pair{formatKey, relayFormat.value(relayFormat.version)}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[code.Code]func(*Options){
		code.WrongNetwork: func(o *Options) { o.Network++ },
		code.BadConfig:    func(o *Options) { o.Relay = bob },
		code.Internal:     func(o *Options) { o.Dir = "/dev/null/x" },
	} {
		other := o
		change(&other)
		if _, err := OpenRelay(other); code.Of(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestMigrationsRunOnceEach(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	ran := ""
	note := func(s string) func(context.Context, Engine) error {
		return func(context.Context, Engine) error { ran += s; return nil }
	}
	f := format{magic: "test", version: 1}
	none := func() ([]Pair, error) { return nil, nil }
	if created, err := f.open(ctx, e, none); !created || err != nil {
		t.Fatal(created, err)
	}
	f.version, f.migrations = 3, map[uint16]func(context.Context, Engine) error{1: note("a"), 2: note("b")}
	for range 2 {
		if created, err := f.open(ctx, e, none); created || err != nil {
			t.Fatal(created, err)
		}
	}
	if ran != "ab" {
		t.Fatalf("ran %q", ran)
	}
	f.version = 2
	if _, err := f.open(ctx, e, none); code.Of(err) != code.StoreVersion {
		t.Fatalf("a newer store: %v", err)
	}
	if _, err := relayFormat.open(ctx, e, none); code.Of(err) != code.StoreVersion {
		t.Fatalf("another kind of store: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// shrunk shows an older version of every shard, as a failover with loss does.
type shrunk struct {
	Engine
	on bool
}

func (s *shrunk) Get(ctx context.Context, shard uint8, keys [][]byte) ([][]byte, error) {
	got, err := s.Engine.Get(ctx, shard, keys)
	for i, k := range keys {
		if s.on && string(k) == string(versionKey) {
			got[i] = encodeVersion(Version{})
		}
	}
	return got, err
}

func (s *shrunk) Commit(ctx context.Context, groups []Group) []error {
	if !s.on {
		return s.Engine.Commit(ctx, groups)
	}
	errs := make([]error, len(groups))
	for i := range errs {
		errs[i] = ErrSkipped
	}
	errs[0] = ErrStale
	return errs
}

func TestEngineThatLostCommitsStopsTheRelay(t *testing.T) {
	w := newWorld(t, nil)
	s := &shrunk{Engine: w.r.engine}
	w.r.engine = s
	a := w.contract(alice)
	w.fund(a)
	w.do(w.order(a, w.record(draft{from: alice, to: bob})))
	s.on = true
	_, err := w.r.Apply(ctx, w.now, []Op{w.order(a, w.record(draft{from: alice, to: bob}))})
	w.fails(err, code.StoreCorrupt)
	w.close()
}

func TestRecoverBeginsNewEpochs(t *testing.T) {
	w := newWorld(t, nil)
	a := w.contract(alice)
	w.fund(a)
	r := w.record(draft{from: alice, to: bob})
	w.do(w.order(a, r))
	_, err := w.r.MakeReport(ctx, w.now, a.Contract, Tip{})
	w.must(err)
	before := w.r.StoreEpoch()
	w.close()
	o := w.options()
	o.Dir, o.FS, o.Rand = "store", w.fs, nil
	w.must(RecoverRelay(o, w.now))
	w.open()
	if w.r.StoreEpoch() == before {
		t.Fatal("the store_epoch is the same")
	}
	w.do(w.request(r))
	acc, err := w.r.Account(ctx, a.Contract)
	w.must(err)
	if acc.LogEpoch != uint32(w.now/1000) || acc.Rows != 2 {
		t.Fatalf("%+v", acc)
	}
	seq, err := w.r.NextOfferSequence(ctx)
	w.must(err)
	if seq <= uint64(w.now) {
		t.Fatalf("an offer after the restore has number %d, which may be in use", seq)
	}
	_, err = w.r.MakeReport(ctx, w.now, a.Contract, Tip{})
	w.must(err)
	w.close()
	w.must(RecoverRelay(o, w.now)) // again within the second, or with a clock that stands
	w.open()
	if acc, err = w.r.Account(ctx, a.Contract); err != nil || acc.LogEpoch != uint32(w.now/1000)+1 {
		t.Fatalf("%+v %v", acc, err)
	}
	w.close()
}

// eventually waits until f holds, for at most ten seconds.
func eventually(f func() bool) bool {
	for range 1000 {
		if f() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
