package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// fataler is what *testing.T, *testing.F and *rapid.T have in common here.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

var keys sync.Map

func key(name string) identity.PrivateKey {
	if k, ok := keys.Load(name); ok {
		return k.(identity.PrivateKey)
	}
	h := sha256.Sum256([]byte(name))
	k, err := identity.NewPrivateKey(h[:])
	if err != nil {
		panic(err)
	}
	keys.Store(name, k)
	return k
}

const (
	start = identity.UnixMilli(1_700_000_000_000)
	hour  = identity.UnixMilli(3_600_000)
	day   = 24 * hour
	until = start + 90*day
)

// kept is a record that the relay has taken, with all that shows it.
type kept struct {
	header  identity.Signed
	record  records.Verified
	order   identity.Signed
	receipt usage.VerifiedReceipt
	place   int
	path    []identity.Digest
	pulls   []identity.Digest // leaf hashes of its reads
	ended   usage.Reason      // 0: it is here
	why     identity.Digest   // of what ended it
}

// world is a relay that keeps the books of one contract, its client and two readers. It is honest;
// frauds reach past its methods.
type world struct {
	t       fataler
	now     identity.UnixMilli
	arrival usage.Arrival
	serial  uint64
	terms   contract.Terms
	id      usage.ContractID
	epoch   [16]byte
	state   usage.LogState
	tree    *usage.MemoryTree
	leaves  [][]byte
	kept    []*kept
	reports []usage.VerifiedUsageReport
	said    map[identity.Type][]identity.Signed // everything that was ever signed
	parts   []honestPart                        // records with their places
}

type honestPart struct {
	record, order identity.Digest
	place         uint16
	path          []identity.Digest
}

func newWorld(t fataler) *world {
	w := &world{t: t, now: start + 1234, arrival: 1_000_000, tree: new(usage.MemoryTree), said: map[identity.Type][]identity.Signed{}}
	w.id, w.epoch, w.state = usage.ContractID{7}, [16]byte{1}, usage.LogState{Epoch: 1}
	w.terms = contract.Terms{
		Network: identity.Regtest, Client: key("client").Public(), Relay: key("relay").Public(), Value: 1_000_000, Expiry: 5000,
		Prices: usage.Prices{StorageMsatPerGiBDay: 670_000_000, EgressMsatPerGiB: 2_000_000_000}, ContractPrice: 3000, FirstPayment: 4000,
		FundFeeRate: 2000, SettleFeeRate: 10_000, Depth: 3, CreditLimit: 10_000,
	}
	return w
}

func must[T any](v T, err error) func(fataler) T {
	return func(t fataler) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) header(from, to string) identity.Header {
	w.serial++
	h := identity.Header{Network: identity.Regtest, From: key(from).Public(), Time: w.now}
	if to != "" {
		h.To = key(to).Public()
	}
	binary.BigEndian.PutUint64(h.Serial[:], w.serial)
	return h
}

// sign signs and remembers a statement.
func (w *world) sign(who string, raw []byte, err error) identity.Signed {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	s := must(identity.SignOne(key(who), raw))(w.t)
	h := must(identity.PeekHeader(raw))(w.t)
	w.said[h.Type] = append(w.said[h.Type], s)
	return s
}

func digestOf(s identity.Signed) identity.Digest {
	h, err := identity.PeekHeader(s.Statement)
	if err != nil {
		panic(err)
	}
	return identity.StatementDigest(h.Type, s.Statement)
}

// draft is a record of so many bytes of content.
type draft struct {
	to    string
	size  uint32
	ttl   identity.UnixMilli
	pulls uint16
	onAck bool
}

func (w *world) newRecord(d draft) identity.Signed {
	h := records.Header{
		Header: w.header("client", d.to), ID: records.ID(fmt.Sprint("r", w.serial)), TTL: uint32(d.ttl / 1000), MaxPulls: d.pulls,
		ContentLen: d.size, ContentRoot: identity.Digest{1},
	}
	if d.size <= records.ChunkSize { // of what is larger no storage proof is made here
		h.ContentRoot = records.ContentRoot(make([]byte, d.size))
	}
	if d.onAck {
		h.Flags = records.DeleteOnAck
	}
	raw, err := h.Encode()
	return w.sign("client", raw, err)
}

// write lets the relay take records under one order.
func (w *world) write(ds ...draft) []*kept {
	w.t.Helper()
	var headers []identity.Signed
	for _, d := range ds {
		headers = append(headers, w.newRecord(d))
	}
	return w.store(w.order(headers...), headers)
}

func (w *world) order(headers ...identity.Signed) identity.Signed {
	o := usage.StoreOrder{
		Header: w.header("client", "relay"), Contract: w.id, Terms: w.terms.Digest(), N: uint16(len(headers)), MaxMsat: math.MaxUint64, NotAfter: w.now + hour,
	}
	if w.id.IsZero() {
		o.Terms = identity.Digest{}
	}
	var ds []identity.Digest
	for _, s := range headers {
		r := must(records.OpenHeader(s))(w.t)
		ds, o.TotalBytes = append(ds, r.Digest()), o.TotalBytes+r.StoredBytes()+usage.RecordOverhead
	}
	o.Root = identity.Root(ds)
	raw, err := o.Encode()
	return w.sign("client", raw, err)
}

func (w *world) store(order identity.Signed, headers []identity.Signed) []*kept {
	w.t.Helper()
	o := must(usage.DecodeStoreOrder(order.Statement))(w.t)
	n := usage.Receipt{
		Header: w.header("relay", "client"), Order: digestOf(order), StoredBytes: o.TotalBytes, Arrival: w.arrival + 1, AcceptedMs: w.now,
		ServiceUntil: until, WorstMsat: 1, Contract: w.id, LogEpoch: w.state.Epoch, RowIndex: w.state.Size, Terms: o.Terms, StoreEpoch: w.epoch,
	}
	n.To = o.From
	raw, err := n.Encode()
	receipt := must(usage.OpenReceipt(w.sign("relay", raw, err)))(w.t)
	if !w.id.IsZero() {
		w.append(usage.RowInput{Kind: usage.RowWrite, Bytes: o.TotalBytes, Receipt: receipt.Digest(), Evidence: order.Bytes()})
	}
	w.arrival += usage.Arrival(len(headers))
	var ds []identity.Digest
	for _, s := range headers {
		ds = append(ds, digestOf(s))
	}
	paths, _ := identity.Paths(ds)
	var out []*kept
	for i, s := range headers {
		k := &kept{header: s, record: must(records.OpenHeader(s))(w.t), order: order, receipt: receipt, place: i, path: paths[i]}
		out = append(out, k)
		w.parts = append(w.parts, honestPart{ds[i], digestOf(order), uint16(i), paths[i]})
	}
	w.kept = append(w.kept, out...)
	return out
}

// append adds a row that follows from the last one.
func (w *world) append(in usage.RowInput) usage.Row {
	w.t.Helper()
	if in.Time == 0 {
		in.Time = max(w.now, w.state.LastTime)
	}
	w.arrival++
	in.Arrival = w.arrival
	row, _, err := usage.AppendRow(w.state, w.terms.Prices, in)
	if err != nil {
		w.t.Fatal(err)
	}
	w.push(row)
	return row
}

// push adds a row as it is.
func (w *world) push(row usage.Row) { w.pushLeaf(must(row.Encode())(w.t), row.State()) }

func (w *world) pushLeaf(leaf []byte, next usage.LogState) {
	w.t.Helper()
	if err := w.tree.Append(leaf); err != nil {
		w.t.Fatal(err)
	}
	w.leaves, w.state = append(w.leaves, leaf), next
}

func (w *world) request(k *kept) identity.Signed {
	name := "bob"
	if key("carol").Public() == k.record.Header().To {
		name = "carol"
	}
	return w.requestBy(name, k)
}

func (w *world) requestBy(name string, k *kept) identity.Signed {
	raw, err := usage.ReadRequest{Header: w.header(name, "relay"), Record: k.record.Digest(), MaxBytes: k.record.StoredBytes(), NotAfter: w.now + 60_000}.Encode()
	return w.sign(name, raw, err)
}

func (k *kept) readIn(q identity.Signed) usage.RowInput {
	return usage.RowInput{Kind: usage.RowRead, Bytes: k.record.StoredBytes(), Receipt: k.receipt.Digest(), Record: k.record.Digest(), Evidence: q.Bytes()}
}

// read serves or denies a record as an honest relay does.
func (w *world) read(k *kept) {
	w.t.Helper()
	w.expire()
	q := w.request(k)
	switch {
	case k.ended == usage.ReasonExpired:
		w.deny(k, q, usage.ReasonExpired)
	case k.ended != 0:
		w.deny(k, q, k.ended, k.why)
	case len(k.pulls) == int(k.record.Header().MaxPulls):
		w.deny(k, q, usage.ReasonCap, k.pulls...)
	default:
		row := w.append(k.readIn(q))
		k.pulls = append(k.pulls, leafHash(must(row.Encode())(w.t)))
	}
}

func (w *world) deny(k *kept, q identity.Signed, reason usage.Reason, evidence ...identity.Digest) identity.Signed {
	h := must(identity.PeekHeader(q.Statement))(w.t)
	d := usage.Denial{
		Header: w.header("relay", "bob"), Request: digestOf(q), Record: k.record.Digest(), Reason: reason, AsOf: w.arrival, AsOfMs: w.now,
		StoreEpoch: w.epoch, Evidence: evidence,
	}
	d.To = h.From
	raw, err := d.Encode()
	return w.sign("relay", raw, err)
}

// remove deletes a record by order of its sender, or by its receiver's acknowledgement.
func (w *world) remove(k *kept, by identity.Signed) usage.Row {
	w.t.Helper()
	row := w.append(usage.RowInput{
		Kind: usage.RowDelete, Bytes: k.record.StoredBytes() + usage.RecordOverhead, Receipt: k.receipt.Digest(), Record: k.record.Digest(),
		Accepted: k.receipt.AcceptedMs, Evidence: by.Bytes(),
	})
	raw, err := usage.DeleteReceipt{
		Header: w.header("relay", "client"), Order: digestOf(by), Record: k.record.Digest(), Arrival: row.Arrival, Contract: w.id,
		LogEpoch: row.LogEpoch, RowIndex: row.Index,
	}.Encode()
	w.sign("relay", raw, err)
	k.ended, k.why = usage.ReasonDeleted, digestOf(by)
	return row
}

func (w *world) deletion(k *kept) identity.Signed {
	raw, err := usage.Delete{Header: w.header("client", "relay"), Record: k.record.Digest()}.Encode()
	return w.sign("client", raw, err)
}

func (w *world) ack(k *kept, q identity.Signed) identity.Signed {
	name := "bob"
	if key("carol").Public() == k.record.Header().To {
		name = "carol"
	}
	raw, err := usage.Acknowledgement{
		Header: w.header(name, "relay"), Record: k.record.Digest(), Bytes: k.record.StoredBytes(), Request: digestOf(q),
		Verdict: usage.VerdictOK, Relay: key("relay").Public(),
	}.Encode()
	return w.sign(name, raw, err)
}

// expire ends what is over. Each record has an EXPIRE row of its own here, or shares it with nobody: ends
// of custody differ by a millisecond at least.
func (w *world) expire() {
	for {
		var next *kept
		for _, k := range w.kept {
			if end := k.record.Header().Expiry(); k.ended == 0 && end <= w.now && (next == nil || end < next.record.Header().Expiry()) {
				next = k
			}
		}
		if next == nil {
			return
		}
		next.ended = usage.ReasonExpired
		w.append(usage.RowInput{
			Kind: usage.RowExpire, Time: max(next.record.Header().Expiry(), w.state.LastTime), Bytes: next.record.StoredBytes() + usage.RecordOverhead,
			Receipt: next.receipt.Digest(), Accepted: next.receipt.AcceptedMs,
		})
	}
}

// report signs the head of the log as it is.
func (w *world) report() usage.VerifiedUsageReport { return w.reportWith(nil) }

func (w *world) reportWith(change func(*usage.UsageReport)) usage.VerifiedUsageReport {
	w.t.Helper()
	s := w.state
	r := usage.UsageReport{
		Header: w.header("relay", "client"), Contract: w.id, Number: 1, LogEpoch: s.Epoch, Size: s.Size, Terms: w.terms.Digest(),
		Root: must(usage.TreeRoot(s.Size, w.tree))(w.t), LiveBytes: s.Live, ByteSeconds: s.ByteSeconds, Egress: s.Egress, Owed: s.Owed, AsOf: s.LastArrival,
	}
	if n := len(w.reports); n > 0 {
		last := w.reports[n-1]
		r.Number, r.Previous = last.Number+1, last.Digest()
		if last.LogEpoch == s.Epoch && last.Size > 0 {
			r.PrevSize, r.PrevRoot = last.Size, last.Root
			r.Consistency = must(usage.ProveConsistency(last.Size, s.Size, w.tree))(w.t)
		}
	}
	if change != nil {
		change(&r)
	}
	raw, err := r.Encode()
	v := must(usage.OpenUsageReport(w.sign("relay", raw, err)))(w.t)
	w.reports = append(w.reports, v)
	return v
}

// recover restores the backup that was made after so many rows and reports.
func (w *world) recover(rows, reports int, state usage.LogState) {
	w.t.Helper()
	w.tree = new(usage.MemoryTree)
	leaves := w.leaves[:rows:rows]
	w.leaves = nil
	for _, l := range leaves {
		w.pushLeaf(l, state)
	}
	w.reports = w.reports[:reports:reports]
	w.state = state
	w.state.Epoch++
	w.epoch[0]++
}

// offer is a signed offer.
func (w *world) offer(sequence uint64, change func(*broadcast.Offer)) broadcast.VerifiedOffer {
	w.t.Helper()
	o := broadcast.Offer{
		Header: w.header("relay", ""), Sequence: sequence, ValidUntil: w.now + day,
		Addresses: []identity.Address{{URL: "wss://relay.example:7448/ws", Pins: []identity.Digest{{1}}}},
		Prices:    w.terms.Prices, ContractPrice: 3000, MinDeposit: 35_800, MaxDeposit: 5_000_000, MinDuration: 1008, MaxDuration: 52_560,
		FundingDepth: 3, CreditLimit: 10_000, SettleFeeRate: 10_000, MinFundFeeRate: 1000, Limits: usage.DefaultLimits(), MaxTTL: 30 * 86400,
	}
	if change != nil {
		change(&o)
	}
	v := must(o.Sign(key("relay")))(w.t)
	w.said[identity.TypeServerBroadcast] = append(w.said[identity.TypeServerBroadcast], v.Signed())
	return v
}

// message signs a contract message.
func (w *world) message(who string, m contract.Message) identity.Signed {
	w.t.Helper()
	raw, err := contract.Encode(m)
	return w.sign(who, raw, err)
}

func (w *world) common(from, to string) contract.Common {
	return contract.Common{Header: w.header(from, to), Nonce: contract.Nonce{9}, Seq: uint32(w.serial)}
}

func (w *world) update(n uint32, amount usage.Sat) identity.Signed {
	return w.message("client", &contract.PaymentUpdate{Common: w.common("client", "relay"), Contract: w.id, N: n, Amount: amount, Signatures: make([][]byte, 3)})
}

// row is a leaf of the log with its proof in a report.
func (w *world) row(u usage.VerifiedUsageReport, index uint64) Row {
	w.t.Helper()
	return Row{Index: index, Leaf: w.leaves[index], Path: must(usage.ProveInclusion(u.Size, index, w.tree))(w.t)}
}

// proof puts a proof together: the record's custody where it is wanted, the report last.
func (w *world) proof(c Class, u *usage.VerifiedUsageReport, rows []uint64, statements ...identity.Signed) Proof {
	w.t.Helper()
	p := Proof{Class: c, Statements: statements}
	if u != nil {
		p.Statements = append(p.Statements, u.Signed())
		for _, i := range rows {
			p.Rows = append(p.Rows, w.row(*u, i))
		}
	}
	if rules[c].terms {
		p.Terms = must(w.terms.Encode())(w.t)
	}
	return p
}

// in adds the record's place in its order.
func (p Proof) in(k *kept) Proof {
	p.Place, p.OrderPath = uint16(k.place), k.path
	return p
}
