package store

import (
	"testing"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// TestTombstoneLastsAsLongAsTheRecord: a path that was deleted stays taken, and its reader is told
// so, until the record itself would have ended, although the contract served for a shorter time and
// everything else of the record is gone. The second record is a sponsor's, so that path and record
// are in two shards.
func TestTombstoneLastsAsLongAsTheRecord(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, c, later := w.contract(alice), w.contract(carol), w.contract(alice)
		a.ServiceUntil, c.ServiceUntil = testStart+3*testHour, testStart+3*testHour
		later.Contract[1] = 2
		w.fund(a)
		w.fund(c)
		w.fund(later)
		own := w.record(draft{from: alice, to: bob, id: "own", size: 70_000, ttl: 10 * 3600})
		sponsored := w.record(draft{from: alice, to: bob, id: "sponsored", size: 10, ttl: 10 * 3600})
		kept := w.record(draft{from: alice, to: bob, id: "kept", size: 10, ttl: 10 * 3600})
		w.do(w.order(a, own, kept))
		w.do(w.order(c, sponsored))
		w.now += 1000
		gone, gone2 := w.deletion(own), w.deletion(sponsored)
		w.do(gone)
		w.do(gone2)
		taken := func() {
			t.Helper()
			w.denied(w.request(own), usage.ReasonDeleted, gone.Delete.Digest())
			w.denied(w.request(sponsored), usage.ReasonDeleted, gone2.Delete.Digest())
			for _, id := range []string{"own", "sponsored"} {
				w.refused(w.order(later, w.record(draft{from: alice, to: bob, id: id})), code.TombstoneExists)
			}
			w.refused(w.order(later, own), code.TombstoneExists)
			w.refused(w.order(later, sponsored), code.TombstoneExists)
		}
		for range 4 {
			w.now += 2 * testHour
			taken()
			_, err := w.r.purgeShard(ctx, w.now, alice[0]) // the shard of the paths, before that of the records
			w.must(err)
			taken()
			if n := w.expire(); n > 1 {
				t.Fatalf("%d records are removed", n)
			}
			taken()
			if out := w.do(gone2); !out.Repeat {
				t.Fatal("a deletion is made again")
			}
		}
		w.denied(w.request(kept), usage.ReasonNone) // its custody was over, as its receipt said
		w.do(w.order(later, w.record(draft{from: alice, to: bob, id: "kept"})))
		w.close()
		w.open()
		taken()
		w.now += 4 * testHour
		if n := w.expire(); n != 3 { // and the second record of id kept
			t.Fatalf("%d records and tombstones are removed", n)
		}
		w.denied(w.request(own), usage.ReasonNone)
		w.do(w.order(later, w.record(draft{from: alice, to: bob, id: "own"}), w.record(draft{from: alice, to: bob, id: "sponsored"})))
		w.allReleased(a)
		w.allReleased(c)
	})
}
