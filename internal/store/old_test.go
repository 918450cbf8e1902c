package store

import (
	"flag"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

var updateRelay = flag.Bool("update-relay", false, "write testdata/store-v1 again; only when no such store is in anybody's hands")

const oldStore = "testdata/store-v1"

// oldRecords are the records of the old store: one that is read once, one deleted, one free.
func (w *world) oldRecords() []records.Record {
	return []records.Record{
		w.record(draft{from: alice, to: bob, id: "kept", size: 5000, ttl: 86_400, pulls: 2}),
		w.record(draft{from: alice, to: bob, id: "gone", size: 10, ttl: 86_400}),
		w.record(draft{from: alice, to: bob, id: "free", size: 10, ttl: 86_400, tag: "t"}),
		w.record(draft{from: alice, to: bob, id: "sponsored", size: 10, ttl: 86_400}),
	}
}

// writeOldStore makes a store with something of everything.
func writeOldStore(t *testing.T) {
	w := newWorld(t, nil)
	a, c := w.contract(alice), w.contract(carol)
	w.fund(a)
	w.fund(c)
	r := w.oldRecords()
	w.do(w.order(a, r[0], r[1]))
	w.do(w.order(AccountTerms{Payer: alice}, r[2]))
	w.do(w.order(c, r[3]))
	w.now += 1000
	q := w.request(r[0])
	w.do(q)
	w.do(w.ack(q, r[0], usage.VerdictOK))
	w.do(w.deletion(r[1]))
	_, err := w.r.MakeReport(ctx, w.now, a.Contract, Tip{Height: 3})
	w.must(err)
	_, err = w.r.SaveContracts(ctx, ContractBatch{Effects: []Pending{{To: bob, Data: []byte("effect")}}, Cursor: []byte("tip")})
	w.must(err)
	w.must(w.r.SaveBoard(ctx, []BoardOffer{{bob, 5, []byte("offer")}}, nil))
	w.close()
	w.must(os.RemoveAll(oldStore))
	w.must(os.MkdirAll(oldStore, 0o755))
	_, err = vfs.Clone(w.fs, vfs.Default, "store", oldStore)
	w.must(err)
}

// TestRelayOpensAnOldStore: what this version's first operators have on disk can be read for
// ever, and goes on.
func TestRelayOpensAnOldStore(t *testing.T) {
	if *updateRelay {
		writeOldStore(t)
	}
	w := &world{t: t, fs: vfs.NewCrashableMem(), now: testStart, relay: person(0, 9)}
	r := w.oldRecords()
	_, err := vfs.Clone(vfs.Default, w.fs, oldStore, "store")
	w.must(err)
	w.open()
	a := w.contract(alice)
	w.count, w.now = 1000, testStart+5000
	in := w.inbox(bob)
	if len(in) != 3 || in[0].ID != "kept" || in[0].PullsLeft != 1 || string(in[1].Tag) != "t" || in[2].Home != uint16(carol[0]) {
		t.Fatalf("%+v", in)
	}
	w.checkContent(w.do(w.request(r[0])).Grant, r[0])
	w.denied(w.request(r[1]), usage.ReasonDeleted, identity.Digest{})
	w.logKinds(a, usage.RowWrite, usage.RowRead, usage.RowDelete, usage.RowRead)
	report, err := w.r.Report(ctx, a.Contract)
	w.must(err)
	h := &history{world: w}
	next, err := w.r.MakeReport(ctx, w.now, a.Contract, Tip{})
	w.must(err)
	w.must(usage.CheckReport(h.openReport(report), *h.openReport(next)))
	pending, err := w.r.PendingEffects(ctx)
	w.must(err)
	cursor, err := w.r.ChainCursor(ctx)
	w.must(err)
	board, err := w.r.Board(ctx)
	w.must(err)
	if len(pending) != 1 || pending[0].To != bob || string(cursor) != "tip" || len(board) != 1 {
		t.Fatalf("%+v %q %+v", pending, cursor, board)
	}
	w.now += 23 * testHour
	w.expire()
	w.now += 3 * testHour
	if n := w.expire(); n != 4 {
		t.Fatalf("%d records removed", n)
	}
	w.allReleased(a)
	w.close()
}
