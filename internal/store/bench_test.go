package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// BenchmarkApply measures records per second that are durable, charged and receipted, on the
// real disk, by records per order and orders per batch; and the bytes that a record takes
// besides its content when all is compacted. Signatures are not part of it.
func BenchmarkApply(b *testing.B) {
	for _, shape := range [][2]int{{1, 1}, {1, 256}, {64, 1}, {64, 16}, {64, 32}} {
		b.Run(fmt.Sprintf("records=%d/orders=%d", shape[0], shape[1]), func(b *testing.B) {
			benchmarkApply(b, shape[0], shape[1])
		})
	}
}

func benchmarkApply(b *testing.B, perOrder, orders int) {
	w := &world{t: b, now: testStart, relay: person(0, 9)}
	o := w.options()
	dir := b.TempDir()
	o.Dir, o.Size = dir, Production
	var err error
	w.r, err = OpenRelay(o)
	w.must(err)
	a := w.contract(alice)
	a.Value, a.Paid, a.Prices = 21e14, 21e14, usage.Prices{StorageMsatPerGiBDay: 700, EgressMsatPerGiB: 20_000}
	w.fund(a)
	total, rounds := 0, 0
	b.StopTimer()
	b.ResetTimer()
	for range b.N {
		ops := make([]Op, orders)
		for i := range ops {
			ops[i] = w.bundle(a, perOrder)
			total += perOrder
		}
		w.now += 20
		rounds++
		b.StartTimer()
		for _, out := range w.apply(ops...) {
			w.must(out.Err)
		}
		b.StopTimer()
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "records/s")
	if total >= 20_000 {
		db := w.r.engine.(*pebbleEngine).db
		w.must(db.Compact(ctx, []byte{0}, []byte{255}, false))
		size, err := db.EstimateDiskUsage([]byte{0}, []byte{255})
		w.must(err)
		b.ReportMetric(float64(size)/float64(total)-300, "overhead-B/record")
	}
	w.close()
}

// bundle is an order with its records as a client signs them: under one signature, each with
// its path in one tree.
func (w *world) bundle(a AccountTerms, n int) WriteOp {
	rng := rand.New(rand.NewPCG(w.count, 1))
	contents, statements := make([][]byte, n), make([][]byte, n+1)
	for i := range n {
		contents[i] = make([]byte, 300)
		for j := range contents[i] {
			contents[i][j] = byte(rng.Uint32())
		}
		id := records.ID(fmt.Sprintf("%013x%013x", rng.Uint64()>>12, rng.Uint64()>>12))
		var serial identity.Serial
		for j := range serial {
			serial[j] = byte(rng.Uint32())
		}
		w.count++
		var err error
		statements[i+1], err = records.Draft{
			Network: testNet, From: alice, To: person(byte(i%3), 5), ID: id, Time: w.now, Serial: serial, TTL: 7200,
		}.Statement(contents[i])
		w.must(err)
	}
	return w.bundled(a, statements, contents, rng)
}

func (w *world) bundled(a AccountTerms, statements, contents [][]byte, rng *rand.Rand) WriteOp {
	digests := make([]identity.Digest, len(statements))
	o := usage.StoreOrder{
		Header: w.header(a.Payer, w.relay), Contract: a.Contract, Terms: a.Terms, N: uint16(len(contents)), MaxMsat: 1 << 60, NotAfter: w.now + testHour,
	}
	for i, s := range statements[1:] {
		digests[i+1] = identity.StatementDigest(identity.TypeRecord, s)
		o.TotalBytes += uint64(len(s)+len(contents[i])) + usage.RecordOverhead
	}
	o.Root = identity.Root(digests[1:])
	var err error
	statements[0], err = o.Encode()
	w.must(err)
	digests[0] = identity.StatementDigest(identity.TypeStoreOrder, statements[0])
	paths, _ := identity.Paths(digests)
	var sig [64]byte
	for i := range sig {
		sig[i] = byte(rng.Uint32())
	}
	signed := func(i int) (identity.Signed, identity.Verdict) {
		h, err := identity.PeekHeader(statements[i])
		w.must(err)
		p := identity.Proof{Sig: sig, N: uint16(len(digests)), Index: uint16(i), Path: paths[i]}
		return identity.Signed{Statement: statements[i], Proof: p}, identity.Verdict{Header: h, Digest: digests[i]}
	}
	order, err := usage.OpenStoreOrderVerified(signed(0))
	w.must(err)
	op := WriteOp{Order: order}
	for i := range contents {
		v, err := records.OpenHeaderVerified(signed(i + 1))
		w.must(err)
		r, err := v.Attach(contents[i])
		w.must(err)
		op.Records = append(op.Records, r)
	}
	return op
}
