package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// failer is *testing.T or *rapid.T.
type failer interface {
	Helper()
	Fatalf(string, ...any)
}

const (
	testStart = identity.UnixMilli(1_800_000_000_000)
	testHour  = identity.UnixMilli(hourMs)
	testNet   = identity.Regtest
)

var testPrices = usage.Prices{StorageMsatPerGiBDay: 5_000_000_000, EgressMsatPerGiB: 900_000_000}

// world is a relay's store with people who use it.
type world struct {
	t      failer
	fs     *vfs.MemFS
	faults *faulty // nil: none
	r      *Relay
	now    identity.UnixMilli
	count  uint64
	relay  identity.PublicKey
	tip    usage.Height
}

// person is a key that is on no curve; its first byte is its shard.
func person(shard, n byte) identity.PublicKey { return identity.PublicKey{shard, n, 0xaa} }

var (
	alice = person(10, 1) // pays for herself
	bob   = person(20, 2)
	carol = person(30, 3) // pays for alice
)

func newWorld(t failer, rng *rand.Rand) *world { return newWorldOf(t, person(0, 9), rng) }

func newWorldOf(t failer, relay identity.PublicKey, rng *rand.Rand) *world {
	w := &world{t: t, fs: vfs.NewCrashableMem(), now: testStart, relay: relay}
	if rng != nil {
		w.faults = &faulty{rng: rng}
	}
	w.open()
	return w
}

func (w *world) options() Options {
	return Options{Network: testNet, Relay: w.relay, FreeBytesPerDay: 100_000, Rand: &counting{}}
}

// counting is a source of bytes that differ from one call to the next.
type counting struct{ n uint64 }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = byte(c.n * 157)
	}
	return len(b), nil
}

func (w *world) open() { w.openOn(w.fs) }

func (w *world) openOn(fs FS) {
	w.t.Helper()
	e, err := openPebble("store", fs, Size{MemTable: 256 << 10, Cache: 1 << 20}, nil)
	w.must(err)
	var engine Engine = e
	if w.faults != nil {
		engine = w.faults.over(e)
	}
	w.r, err = openRelay(context.Background(), engine, w.options())
	w.must(err)
}

func (w *world) close() { w.must(w.r.Close()) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v", err)
	}
}

// fails checks an error's code.
func (w *world) fails(err error, want code.Code) {
	w.t.Helper()
	if code.Of(err) != want {
		w.t.Fatalf("got %v, want %v", err, want)
	}
}

func (w *world) serial() (s identity.Serial) {
	w.count++
	binary.BigEndian.PutUint64(s[:], w.count)
	return s
}

func (w *world) header(from, to identity.PublicKey) identity.Header {
	return identity.Header{Network: testNet, From: from, To: to, Time: w.now, Serial: w.serial()}
}

// signed gives a statement a proof that nobody checks here, and the verdict that it holds.
func (w *world) signed(raw []byte, err error) (identity.Signed, identity.Verdict) {
	w.t.Helper()
	w.must(err)
	h, err := identity.PeekHeader(raw)
	w.must(err)
	s := identity.Signed{Statement: raw, Proof: identity.Proof{N: 1}}
	return s, identity.Verdict{Header: h, Digest: identity.StatementDigest(h.Type, raw)}
}

func (w *world) contract(payer identity.PublicKey) AccountTerms {
	return AccountTerms{
		Contract: usage.ContractID{payer[0], 1}, Payer: payer, Terms: identity.Digest{payer[0], 7},
		Prices: testPrices, ContractPrice: 100, Value: 1_000_000, Credit: 500, Paid: 200_000,
		ServiceUntil: testStart + 1000*testHour, State: AccountActive,
	}
}

func (w *world) fund(a AccountTerms) {
	w.t.Helper()
	_, err := w.r.SaveContracts(ctx, ContractBatch{Rows: []ContractRow{{Nonce: a.Contract, Row: []byte("row"), Account: &a}}})
	w.must(err)
}

var ctx = context.Background()

// draft is what a test says about a record.
type draft struct {
	from, to identity.PublicKey
	id       string
	ttl      uint32
	pulls    uint16
	flags    records.Flags
	size     int
	tag      string
}

func (w *world) record(d draft) records.Record {
	w.t.Helper()
	content := make([]byte, d.size)
	for i := range content {
		content[i] = byte(i*7 + i>>8 + len(d.id))
	}
	if d.id == "" {
		d.id = fmt.Sprintf("r%d", w.count)
	}
	if d.ttl == 0 {
		d.ttl = 7200
	}
	raw, err := records.Draft{
		Network: testNet, From: d.from, To: d.to, ID: records.ID(d.id), Time: w.now, Serial: w.serial(),
		TTL: d.ttl, MaxPulls: d.pulls, Flags: d.flags, Tag: []byte(d.tag),
	}.Statement(content)
	v, err := records.OpenHeaderVerified(w.signed(raw, err))
	w.must(err)
	r, err := v.Attach(content)
	w.must(err)
	return r
}

// order covers records by a contract; the zero AccountTerms with a payer is the free allowance.
func (w *world) order(a AccountTerms, recs ...records.Record) WriteOp {
	w.t.Helper()
	o := usage.StoreOrder{
		Header: w.header(a.Payer, w.relay), Contract: a.Contract, Terms: a.Terms, N: uint16(len(recs)),
		MaxMsat: 1 << 60, NotAfter: w.now + testHour,
	}
	var ds []identity.Digest
	for _, r := range recs {
		ds = append(ds, r.Digest())
		o.TotalBytes += r.StoredBytes() + usage.RecordOverhead
	}
	o.Root = identity.Root(ds)
	v, err := usage.OpenStoreOrderVerified(w.signed(o.Encode()))
	w.must(err)
	return WriteOp{Order: v, Records: recs, Tip: w.tip}
}

func (w *world) request(r records.Record) ReadOp {
	w.t.Helper()
	q := usage.ReadRequest{
		Header: w.header(r.Header().To, w.relay), Record: r.Digest(), MaxBytes: 2 << 20, NotAfter: w.now + 600_000,
	}
	v, err := usage.OpenReadRequestVerified(w.signed(q.Encode()))
	w.must(err)
	w.must(v.CheckEntitled(r.Signed().Statement))
	return ReadOp{Request: v, Home: NoShard, Entitled: true}
}

func (w *world) deletion(r records.Record) DeleteOp {
	w.t.Helper()
	d := usage.Delete{Header: w.header(r.Header().From, w.relay), Record: r.Digest()}
	v, err := usage.OpenDeleteVerified(w.signed(d.Encode()))
	w.must(err)
	return DeleteOp{v, NoShard}
}

func (w *world) ack(q ReadOp, r records.Record, verdict usage.Verdict) AckOp {
	w.t.Helper()
	a := usage.Acknowledgement{
		Header: w.header(r.Header().To, w.relay), Record: r.Digest(), Bytes: r.StoredBytes(),
		Request: q.Request.Digest(), Verdict: verdict, Relay: w.relay,
	}
	v, err := usage.OpenAcknowledgementVerified(w.signed(a.Encode()))
	w.must(err)
	return AckOp{v, NoShard}
}

func (w *world) apply(ops ...Op) []Outcome {
	w.t.Helper()
	outs, err := w.r.Apply(ctx, w.now, ops)
	w.must(err)
	return outs
}

// do applies one operation that must succeed.
func (w *world) do(op Op) Outcome {
	w.t.Helper()
	out := w.apply(op)[0]
	w.must(out.Err)
	return out
}

// refused applies one operation that must fail with a code.
func (w *world) refused(op Op, want code.Code) {
	w.t.Helper()
	w.fails(w.apply(op)[0].Err, want)
}

// each runs a test on plain pebble, and on an engine that is often stale or in doubt.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("plain", func(t *testing.T) {
		w := newWorld(t, nil)
		test(t, w)
		w.close()
	})
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("faults%d", seed), func(t *testing.T) {
			w := newWorld(t, rand.New(rand.NewPCG(seed, 1)))
			test(t, w)
			w.close()
		})
	}
}

// rows reads the whole log of a contract and checks that it is one.
func (w *world) rows(a AccountTerms) []usage.Row {
	w.t.Helper()
	var entries []usage.RowEntry
	for more := true; more; {
		var part []usage.RowEntry
		var err error
		part, more, err = w.r.Rows(ctx, a.Contract, RowsQuery{From: uint64(len(entries)), Limit: 7})
		w.must(err)
		entries = append(entries, part...)
	}
	_, err := usage.CheckRows(a.Prices, usage.LogState{}, entries, nil)
	w.must(err)
	var tree usage.MemoryTree
	out := make([]usage.Row, len(entries))
	for i, e := range entries {
		w.must(tree.Append(e.Row))
		out[i], err = usage.DecodeRow(e.Row)
		w.must(err)
	}
	want, err := usage.TreeRoot(tree.Size(), &tree)
	w.must(err)
	got, err := usage.TreeRoot(tree.Size(), w.r.Hashes(ctx, a.Contract))
	w.must(err)
	if got != want {
		w.t.Fatalf("the stored hashes give another root than the %d rows", len(out))
	}
	return out
}

// inbox lists everything for a receiver, in pages.
func (w *world) inbox(k identity.PublicKey) []InboxRow {
	w.t.Helper()
	var out []InboxRow
	var after usage.Arrival
	for {
		p, err := w.r.Inbox(ctx, k, after, 0, 3)
		w.must(err)
		out = append(out, p.Rows...)
		if !p.More {
			return out
		}
		if p.Through <= after {
			w.t.Fatalf("a page that does not advance")
		}
		after = p.Through
	}
}
