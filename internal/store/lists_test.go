package store

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// TestPagesMergeShards writes from payers in many shards to one receiver, and reads pages of
// every size with all kinds of cursors.
func TestPagesMergeShards(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var arrivals []usage.Arrival
		for i := range 12 {
			payer := person(byte(17*i), 1)
			r := w.record(draft{from: payer, to: bob, size: 10, pulls: 1})
			out := w.do(w.order(AccountTerms{Payer: payer}, r))
			arrivals = append(arrivals, out.Arrived[0].Row.Arrival)
			if i == 5 {
				w.inbox(bob) // the lists are known before the rest arrives
			}
			w.now += identity.UnixMilli(i % 3)
		}
		for limit := 1; limit < 14; limit++ {
			for from := range arrivals {
				p, err := w.r.Inbox(ctx, bob, arrivals[from], 0, limit)
				w.must(err)
				want := arrivals[from+1:]
				if more := len(want) > limit; more != p.More {
					t.Fatalf("limit %d from %d: more is %v", limit, from, p.More)
				} else if more {
					want = want[:limit]
				} else if p.Through != w.r.Watermark() {
					t.Fatalf("the last page ends at %d", p.Through)
				}
				checkArrivals(t, p, want)
			}
		}
		p, err := w.r.Inbox(ctx, bob, arrivals[2], arrivals[5], 10)
		w.must(err)
		checkArrivals(t, p, arrivals[3:5])
		if p.Through != arrivals[5]-1 {
			t.Fatalf("a bounded page ends at %d", p.Through)
		}
		p, err = w.r.Outbox(ctx, person(17, 1), 0, 0, 10)
		w.must(err)
		checkArrivals(t, p, arrivals[1:2])
		p, err = w.r.Inbox(ctx, carol, 0, 0, 10)
		w.must(err)
		checkArrivals(t, p, nil)
	})
}

func checkArrivals(t *testing.T, p Page, want []usage.Arrival) {
	t.Helper()
	if len(p.Rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(p.Rows), len(want))
	}
	for i, r := range p.Rows {
		if r.Arrival != want[i] {
			t.Fatalf("row %d has arrival %d, want %d", i, r.Arrival, want[i])
		}
	}
}

// peeking is an engine that looks at the store in the middle of a commit.
type peeking struct {
	Engine
	peek func() // before the next commit; nil: nothing
}

func (p *peeking) Commit(ctx context.Context, groups []Group) []error {
	if f := p.peek; f != nil {
		p.peek = nil
		f()
	}
	return p.Engine.Commit(ctx, groups)
}

// TestListAskedDuringItsFirstCommit lets a receiver look for the first time just when the first
// record for it is being committed: neither that one nor a later one may be hidden from it.
func TestListAskedDuringItsFirstCommit(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		w.do(w.order(a, w.record(draft{from: alice, to: carol, size: 10, pulls: 1}))) // so that there is something to look for
		e := &peeking{Engine: w.r.engine}
		w.r.engine = e
		looked := false
		e.peek = func() {
			p, err := w.r.Inbox(ctx, bob, 0, 0, 10)
			w.must(err)
			checkArrivals(t, p, nil)
			looked = true
		}
		var want []usage.Arrival
		for range 2 {
			r := w.record(draft{from: alice, to: bob, size: 10, pulls: 1})
			want = append(want, w.do(w.order(a, r)).Arrived[0].Row.Arrival)
			p, err := w.r.Inbox(ctx, bob, 0, 0, 10)
			w.must(err)
			checkArrivals(t, p, want)
		}
		if !looked {
			t.Fatal("nobody looked")
		}
	})
}

func TestPagesNeverEndInsideEqualArrivals(t *testing.T) {
	all := []place{{1, 0, 5}, {9, 0, 4}, {3, 0, 4}, {2, 0, 3}}
	var p Page
	if got := cut(all, 2, &p); len(got) != 3 || got[1].home != 3 || got[2].home != 9 || !p.More || p.Through != 4 {
		t.Fatalf("%v %+v", got, p)
	}
}

// TestQueriesBesideCommits: readers run while the committer works, and their pages never go
// back nor skip.
func TestQueriesBesideCommits(t *testing.T) {
	w := newWorld(t, rand.New(rand.NewPCG(5, 5)))
	a := w.contract(alice)
	w.fund(a)
	const total = 150
	var ops []Op
	for range total {
		ops = append(ops, w.order(a, w.record(draft{from: alice, to: bob, size: 10, pulls: 1})))
	}
	var readers sync.WaitGroup
	for range 3 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			seen, after := 0, usage.Arrival(0)
			for seen < total {
				p, err := w.r.Inbox(ctx, bob, after, 0, 10)
				if err != nil || p.Through < after {
					t.Errorf("through %d after %d: %v", p.Through, after, err)
					return
				}
				seen, after = seen+len(p.Rows), p.Through
			}
		}()
	}
	for i := 0; i < total; i += 5 {
		if outs, err := w.r.Apply(ctx, w.now, ops[i:i+5]); err != nil || outs[0].Err != nil {
			t.Fatal(outs, err)
		}
	}
	readers.Wait()
	w.close()
}

func TestIdentityDocuments(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key, err := identity.NewPrivateKey(bytes.Repeat([]byte{3}, 32))
		w.must(err)
		doc := func(seq uint64, devices uint8, label string) IdentityOp {
			s, err := identity.SignDocument(key, testNet, identity.Document{
				Label: label, Sequence: seq, Devices: devices, Expires: w.now + 2*testHour,
			}, w.now, w.serial())
			w.must(err)
			d, err := identity.OpenDocument(s, w.now)
			w.must(err)
			return IdentityOp{d}
		}
		first := doc(1, 1, "a")
		w.do(first)
		if out := w.do(first); !out.Repeat {
			t.Fatal("the same document is news")
		}
		w.refused(doc(1, 1, "b"), code.Conflict)
		second := doc(2, 2, "c")
		w.do(second)
		w.refused(first, code.IdentityRollback)
		got, err := w.r.Identity(ctx, key.Public())
		w.must(err)
		if !got.Equal(second.Document.Signed()) {
			t.Fatal("another document is kept")
		}
		a := w.contract(alice)
		w.fund(a)
		r := w.record(draft{from: alice, to: key.Public(), size: 10, flags: records.DeleteOnAck})
		w.do(w.order(a, r))
		q := w.request(r)
		w.do(q)
		if out := w.do(w.ack(q, r, usage.VerdictOK)); out.Statement != nil {
			t.Fatal("one of two devices deletes the record")
		}
		w.now += 5 * testHour
		w.expire()
		if _, err := w.r.Identity(ctx, key.Public()); code.Of(err) != code.NotFound {
			t.Fatalf("an expired document is kept: %v", err)
		}
	})
}

func TestRowsByArrival(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.contract(alice)
		w.fund(a)
		for range 9 {
			w.do(w.order(a, w.record(draft{from: alice, to: bob, size: 1})))
			w.now++
		}
		all := w.rows(a)
		for after := range all {
			for before := after + 1; before < len(all); before++ {
				got, more, err := w.r.Rows(ctx, a.Contract, RowsQuery{After: all[after].Arrival, Before: all[before].Arrival, Limit: 100})
				w.must(err)
				if len(got) != before-after-1 || more {
					t.Fatalf("%d rows between %d and %d", len(got), after, before)
				}
			}
		}
		if _, _, err := w.r.Rows(ctx, usage.ContractID{9}, RowsQuery{}); code.Of(err) != code.ContractUnknown {
			t.Fatal(err)
		}
	})
}

// TestExpiredBytesLeaveTheDisk is measured on a real directory.
func TestExpiredBytesLeaveTheDisk(t *testing.T) {
	dir := t.TempDir()
	w := &world{t: t, now: testStart, relay: person(0, 9)}
	o := w.options()
	o.Dir, o.Size = dir, Size{MemTable: 1 << 20, Cache: 1 << 20}
	var err error
	w.r, err = OpenRelay(o)
	w.must(err)
	a := w.contract(alice)
	a.Prices = usage.Prices{}
	w.fund(a)
	rng := rand.New(rand.NewPCG(1, 2))
	content := func(d draft) records.Record { return w.randomRecord(d, rng) }
	kept := content(draft{from: alice, to: bob, size: 300_000, ttl: 100_000})
	w.do(w.order(a, kept))
	for range 40 {
		w.do(w.order(a, content(draft{from: alice, to: bob, size: 500_000}), content(draft{from: alice, to: bob, size: 500_000})))
	}
	full := diskUsage(t, dir)
	w.now += 5 * testHour
	if n := w.expire(); n != 80 {
		t.Fatalf("%d records removed", n)
	}
	left := diskUsage(t, dir)
	for until := time.Now().Add(10 * time.Second); left > full/4 && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond) // pebble removes files in the background
		left = diskUsage(t, dir)
	}
	t.Logf("%d MB before, %d MB after 40 MB expired", full>>20, left>>20)
	if full < 40<<20 || left > full/4 {
		t.Fatalf("%d bytes before, %d after", full, left)
	}
	w.checkContent(w.do(w.request(kept)).Grant, kept)
	w.close()
}

func (w *world) randomRecord(d draft, rng *rand.Rand) records.Record {
	w.t.Helper()
	content := make([]byte, d.size)
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	if d.ttl == 0 {
		d.ttl = 7200
	}
	raw, err := records.Draft{
		Network: testNet, From: d.from, To: d.to, ID: records.ID(rapidID(w.count)), Time: w.now, Serial: w.serial(), TTL: d.ttl,
	}.Statement(content)
	v, err := records.OpenHeaderVerified(w.signed(raw, err))
	w.must(err)
	r, err := v.Attach(content)
	w.must(err)
	return r
}

func rapidID(n uint64) string { return string([]byte{'a' + byte(n/26%26), 'a' + byte(n%26), 'x'}) }

func diskUsage(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			sum += info.Size()
		}
		return nil // files come and go
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
