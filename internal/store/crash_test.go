package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// history drives a store at random, with crashes in the middle of commits, and remembers
// everything that was ever said.
type history struct {
	*world
	rt       *rapid.T
	accounts []AccountTerms // the last one is the free allowance of alice
	written  []*written
	reports  map[usage.ContractID]*usage.VerifiedUsageReport // the last ones heard
	doubt    map[identity.Digest]bool                        // presented when the machine crashed; nobody heard the answer
	grant    GrantOp                                         // of the first account to dave
	shown    usage.Arrival                                   // the highest watermark that anybody saw
}

// written is a record with what was said about it.
type written struct {
	records.Record
	op      WriteOp
	receipt []byte
	body    usage.Receipt
	arrival usage.Arrival
	free    bool
	reads   []*served
	deleted []byte
}

type served struct {
	op    ReadOp
	acked bool
}

func newHistory(rt *rapid.T) *history {
	var rng *rand.Rand
	if seed := rapid.Uint64Range(0, 3).Draw(rt, "faults"); seed > 0 {
		rng = rand.New(rand.NewPCG(seed, rapid.Uint64().Draw(rt, "seed")))
	}
	h := &history{world: newWorld(rt, rng), rt: rt, doubt: make(map[identity.Digest]bool), reports: make(map[usage.ContractID]*usage.VerifiedUsageReport)}
	h.accounts = []AccountTerms{h.contract(alice), h.contract(carol), {Payer: alice}}
	h.accounts[1].ServiceUntil = testStart + 3*testHour // tombstones outlive it
	h.fund(h.accounts[0])
	h.fund(h.accounts[1])
	h.grant = h.world.grant(h.accounts[0], dave, nil)
	h.do(h.grant)
	return h
}

func (h *history) pick(name string) *written {
	if len(h.written) == 0 {
		h.rt.Skip("nothing is written")
	}
	return h.written[rapid.IntRange(0, len(h.written)-1).Draw(h.rt, name)]
}

func (h *history) draft(i int) draft {
	return draft{
		from: rapid.SampledFrom([]identity.PublicKey{alice, carol}).Draw(h.rt, "from"), to: bob,
		id: fmt.Sprintf("%d.%d", h.count, i), pulls: uint16(rapid.IntRange(1, 3).Draw(h.rt, "pulls")),
		ttl:   uint32(rapid.SampledFrom([]int{3600, 3700, 9000, 40_000}).Draw(h.rt, "ttl")),
		size:  rapid.SampledFrom([]int{0, 5, 3000, 70_000}).Draw(h.rt, "size"),
		flags: records.Flags(rapid.IntRange(0, 1).Draw(h.rt, "flags")),
	}
}

func (h *history) newWrite() WriteOp {
	a := rapid.SampledFrom(h.accounts).Draw(h.rt, "account")
	var recs []records.Record
	for i := range rapid.IntRange(1, 3).Draw(h.rt, "n") {
		recs = append(recs, h.record(h.draft(i)))
	}
	if rapid.IntRange(0, 2).Draw(h.rt, "sponsored") == 0 {
		return h.orderUnder(h.accounts[0], h.grant, 1<<30, recs...)
	}
	return h.order(a, recs...)
}

// anyOp draws an operation on what is there.
func (h *history) anyOp() Op {
	kind := rapid.IntRange(0, 6).Draw(h.rt, "kind")
	if len(h.written) == 0 || kind <= 1 {
		return h.newWrite()
	}
	w := h.pick("record")
	hint := rapid.SampledFrom([]Shard{NoShard, w.body.HomeShard, w.body.HomeShard, 77}).Draw(h.rt, "hint")
	switch {
	case kind == 2:
		return w.op
	case kind == 3:
		return DeleteOp{h.deletion(w.Record).Delete, hint}
	case kind < 6 || len(w.reads) == 0:
		return ReadOp{Request: h.request(w.Record).Request, Home: hint}
	}
	r := w.reads[rapid.IntRange(0, len(w.reads)-1).Draw(h.rt, "read")]
	return AckOp{h.ack(r.op, w.Record, usage.VerdictOK).Ack, hint}
}

func (h *history) someOps() []Op {
	var ops []Op
	for range rapid.IntRange(1, 4).Draw(h.rt, "ops") {
		ops = append(ops, h.anyOp())
	}
	return ops
}

// batch applies operations and remembers what was said.
func (h *history) batch(ops []Op) {
	h.look()
	for i, out := range h.apply(ops...) {
		h.heard(ops[i], out)
	}
}

// look sees the watermark, which never goes back.
func (h *history) look() {
	w := h.r.Watermark()
	if w < h.shown {
		h.t.Fatalf("the watermark went back from %d to %d", h.shown, w)
	}
	h.shown = w
}

// beat is what a relay does every minute, also when it is idle.
func (h *history) beat() {
	h.expire()
	if w := h.r.Watermark(); w < usage.Arrival(h.now)*1000 {
		h.t.Fatalf("the watermark is %d at %d ms", w, h.now)
	}
	h.look()
}

func (h *history) heard(op Op, out Outcome) {
	switch op := op.(type) {
	case WriteOp:
		h.heardWrite(op, out)
	case ReadOp:
		h.heardRead(op, out)
	case DeleteOp:
		h.heardDelete(op.Delete.Record, out)
	case AckOp:
		h.heardDelete(op.Ack.Record, out)
		for _, r := range h.find(op.Ack.Record).reads {
			r.acked = r.acked || out.Err == nil && r.op.Request.Digest() == op.Ack.Request
		}
	}
}

func (h *history) find(d identity.Digest) *written {
	for _, w := range h.written {
		if w.Digest() == d {
			return w
		}
	}
	return nil
}

func (h *history) heardWrite(op WriteOp, out Outcome) {
	known := h.find(op.Records[0].Digest())
	if out.Err != nil {
		if known != nil {
			h.t.Fatalf("a resent order is refused: %v", out.Err)
		}
		return
	}
	if known != nil {
		if !bytes.Equal(known.receipt, out.Statement) {
			h.t.Fatalf("a resent order has another receipt")
		}
		return
	}
	body, err := usage.DecodeReceipt(out.Statement)
	h.must(err)
	h.must(body.Answers(op.Order))
	if !out.Repeat && body.Arrival <= h.shown {
		h.t.Fatalf("a record arrives at %d, below the watermark %d that was shown", body.Arrival, h.shown)
	}
	for i, r := range op.Records {
		h.written = append(h.written, &written{
			Record: r, op: op, receipt: out.Statement, body: body,
			arrival: body.Arrival + usage.Arrival(i), free: op.Order.Contract.IsZero(),
		})
	}
}

func (h *history) heardRead(op ReadOp, out Outcome) {
	if out.Err != nil {
		return
	}
	w := h.find(op.Request.Record)
	if out.Grant != nil {
		for _, r := range w.reads {
			if r.op.Request.Digest() == op.Request.Digest() {
				return
			}
		}
		w.reads = append(w.reads, &served{op: op})
		return
	}
	d, err := usage.DecodeDenial(out.Statement)
	h.must(err)
	end := min(w.Header().Expiry(), w.body.ServiceUntil)
	switch {
	case d.Reason == usage.ReasonNone && d.AsOf >= w.arrival && d.AsOfMs < end:
		h.t.Fatalf("the relay signed a loss")
	case d.Reason == usage.ReasonCap && len(d.Evidence) != int(w.Header().MaxPulls):
		h.t.Fatalf("a cap of %d with %d rows", w.Header().MaxPulls, len(d.Evidence))
	}
}

func (h *history) heardDelete(record identity.Digest, out Outcome) {
	if out.Err != nil || out.Statement == nil {
		return
	}
	w := h.find(record)
	if w.deleted != nil && !bytes.Equal(w.deleted, out.Statement) {
		h.t.Fatalf("a deletion has two receipts")
	}
	w.deleted = out.Statement
}

// crash commits on a file system that is cloned at one of its operations, and goes on with
// the clone: whatever was committed is in doubt.
func (h *history) crash() {
	ops := h.someOps()
	what := rapid.SampledFrom([]string{"apply", "apply", "expire", "report"}).Draw(h.rt, "what")
	at := rapid.IntRange(0, 12).Draw(h.rt, "at")
	percent := rapid.SampledFrom([]int{0, 50, 100}).Draw(h.rt, "unsynced")
	base := h.fs
	clone := h.cloneOf(base, percent)
	for _, op := range ops {
		h.doubt[opDigest(op)] = true
	}
	h.close()
	h.openOn(errorfs.Wrap(base, errorfs.InjectorFunc(clone.inject)))
	clone.arm(at)
	var err error
	switch what {
	case "apply":
		_, err = h.r.Apply(ctx, h.now, ops)
	case "expire":
		_, err = h.r.Expire(ctx, h.now)
	case "report":
		_, err = h.r.MakeReport(ctx, h.now, h.accounts[0].Contract, Tip{Height: 8})
	}
	h.must(err)
	after := clone.get()
	h.close()
	h.fs = after
	h.world.open()
	h.batch(ops) // whoever heard nothing asks again
}

func opDigest(op Op) identity.Digest {
	switch op := op.(type) {
	case WriteOp:
		return op.Order.Digest()
	case ReadOp:
		return op.Request.Digest()
	case DeleteOp:
		return op.Delete.Digest()
	case AckOp:
		return op.Ack.Digest()
	}
	return identity.Digest{}
}

// crashPoint clones the file system before its at-th change.
type crashPoint struct {
	mu    sync.Mutex
	at    int
	take  func() *vfs.MemFS
	taken *vfs.MemFS
}

func (h *history) cloneOf(base *vfs.MemFS, percent int) *crashPoint {
	rng := rand.New(rand.NewPCG(h.count, uint64(percent)))
	return &crashPoint{take: func() *vfs.MemFS {
		return base.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	}}
}

// arm starts counting, once the store is open: while pebble moves to a new manifest, it relies
// on a file system that keeps the order of directory entries, which this clone does not.
func (c *crashPoint) arm(at int) {
	c.mu.Lock()
	c.at = at
	c.mu.Unlock()
}

// inject is called before every operation of the file system.
func (c *crashPoint) inject(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		if c.at--; c.at == 0 && c.taken == nil {
			c.taken = c.take()
		}
	}
	return nil
}

func (c *crashPoint) get() *vfs.MemFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken == nil {
		c.taken = c.take()
	}
	return c.taken
}

func TestCrashesLoseAndInventNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHistory(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"batch":  func(rt *rapid.T) { h.rt = rt; h.batch(h.someOps()) },
			"crash":  func(rt *rapid.T) { h.rt = rt; h.crash() },
			"reopen": func(*rapid.T) { h.close(); h.world.open() },
			"resend": func(rt *rapid.T) { h.rt = rt; h.batch([]Op{h.pick("resend").op}) },
			"wait": func(rt *rapid.T) {
				h.now += identity.UnixMilli(rapid.IntRange(1, 5000).Draw(rt, "s")) * 1000
			},
			"expire": func(*rapid.T) { h.beat() },
			"report": func(rt *rapid.T) { h.rt = rt; h.report() },
		})
		h.checkAll()
		h.close()
	})
}

// report asks for the next report and checks the chain from the last one that was heard.
func (h *history) report() {
	a := h.accounts[rapid.IntRange(0, 1).Draw(h.rt, "of")]
	body, err := h.r.MakeReport(ctx, h.now, a.Contract, Tip{Height: 1})
	h.must(err)
	next, last := h.openReport(body), h.reports[a.Contract]
	for last != nil && last.Number+1 < next.Number { // made, but nobody heard of it
		between, err := h.r.ReportNo(ctx, a.Contract, last.Number+1)
		h.must(err)
		h.must(usage.CheckReport(last, *h.openReport(between)))
		last = h.openReport(between)
	}
	h.must(usage.CheckReport(last, *next))
	h.reports[a.Contract] = next
}

// openReport reads a report as if it were signed.
func (h *history) openReport(body []byte) *usage.VerifiedUsageReport {
	if body == nil {
		return nil
	}
	v, err := usage.OpenUsageReportVerified(h.signed(body, nil))
	h.must(err)
	return &v
}

// checkAll compares the store with everything that was said.
func (h *history) checkAll() {
	h.checkLists()
	h.checkTombstones()
	for _, a := range h.accounts[:2] {
		h.checkLog(a)
		h.checkLanes(a)
	}
	h.now += 30 * testHour
	h.must(h.r.ConfirmClock(ctx, h.now))
	h.expire()
	h.now += 3 * testHour
	h.expire()
	for _, a := range h.accounts[:2] {
		h.rows(a)
		h.allReleased(a)
		h.checkLanes(a)
	}
	h.laneReleased(h.accounts[0], h.grant)
	if left := h.inbox(bob); len(left) != 0 {
		h.t.Fatalf("%d records outlive their end", len(left))
	}
}

// checkLists: every live record is listed once, at the arrival of its receipt.
func (h *history) checkLists() {
	h.expire() // hides what has ended
	want := make(map[identity.Digest]usage.Arrival)
	for _, w := range h.written {
		if w.deleted == nil && h.now < min(w.Header().Expiry(), w.body.ServiceUntil) {
			want[w.Digest()] = w.arrival
		}
	}
	rows := h.inbox(bob)
	if !sort.SliceIsSorted(rows, func(i, j int) bool { return rows[i].Arrival < rows[j].Arrival }) {
		h.t.Fatalf("the inbox is out of order")
	}
	for i, r := range rows {
		if i > 0 && rows[i-1].Arrival == r.Arrival {
			h.t.Fatalf("two records have arrival %d", r.Arrival)
		}
		if want[r.Digest] != r.Arrival {
			h.t.Fatalf("record %s at arrival %d, its receipt says %d", r.Digest.Short(), r.Arrival, want[r.Digest])
		}
		delete(want, r.Digest)
	}
	if len(want) > 0 {
		h.t.Fatalf("%d acknowledged records are lost", len(want))
	}
}

// checkTombstones: what was deleted stays so until the record would have ended.
func (h *history) checkTombstones() {
	for _, w := range h.written {
		if w.deleted == nil || h.now >= w.Header().Expiry() {
			continue
		}
		d, err := usage.DecodeDeleteReceipt(w.deleted)
		h.must(err)
		h.denied(h.request(w.Record), usage.ReasonDeleted, d.Order)
		p := w.Header()
		h.refused(h.order(h.accounts[2], h.record(draft{from: p.From, to: p.To, id: string(p.ID)})), code.TombstoneExists)
	}
}

// checkLog: each order, read and deletion that was answered has exactly its one row, and no
// row is without one.
func (h *history) checkLog(a AccountTerms) {
	evidence := make(map[identity.Digest]int)
	for _, r := range h.rows(a) {
		if len(r.Evidence) == 0 {
			continue
		}
		d, err := signedDigest(r.Evidence)
		h.must(err)
		if evidence[d]++; evidence[d] > 1 {
			h.t.Fatalf("%v %s is charged twice", r.Kind, d.Short())
		}
	}
	for _, w := range h.written {
		if w.op.Order.Contract != a.Contract {
			continue
		}
		evidence[w.op.Order.Digest()] = 0
		for _, r := range w.reads {
			if evidence[r.op.Request.Digest()] != 1 {
				h.t.Fatalf("a read that was granted is not in the log")
			}
			delete(evidence, r.op.Request.Digest())
		}
		if w.deleted != nil {
			d, err := usage.DecodeDeleteReceipt(w.deleted)
			h.must(err)
			if evidence[d.Order] != 1 {
				h.t.Fatalf("a deletion is not in the log")
			}
			delete(evidence, d.Order)
		}
	}
	for d, n := range evidence {
		if n != 0 && !h.doubt[d] {
			h.t.Fatalf("row for %s, which nobody was answered", d.Short())
		}
	}
}
