package usage

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"sync"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

var testKeys sync.Map

func testKey(name string) identity.PrivateKey {
	if k, ok := testKeys.Load(name); ok {
		return k.(identity.PrivateKey)
	}
	h := sha256.Sum256([]byte(name))
	k, err := identity.NewPrivateKey(h[:])
	if err != nil {
		panic(err)
	}
	testKeys.Store(name, k)
	return k
}

const (
	testNet   = identity.Regtest
	simStart  = identity.UnixMilli(1_700_000_000_000)
	simHour   = identity.UnixMilli(3_600_000)
	simDay    = 24 * simHour
	simUntil  = simStart + 90*simDay
	freeReads = 64
)

var (
	simContract = ContractID{7}
	simTerms    = identity.Digest{8}
	simPrices   = Prices{StorageMsatPerGiBDay: 670_000_000, EgressMsatPerGiB: 2_000_000_000}
)

// kept is a record in the custody of the simulated relay.
type kept struct {
	facts    RecordFacts
	receipt  VerifiedReceipt
	accepted identity.UnixMilli
	pulls    uint16
}

// sim is an honest relay, payer and receivers in one, on top of AppendRow; faults are made by
// reaching past its methods.
type sim struct {
	t       fataler
	now     identity.UnixMilli
	arrival Arrival
	serial  uint64
	state   LogState
	account Account
	rows    []RowEntry
	live    []*kept
	in      Input
	reports []VerifiedUsageReport

	lanes  map[identity.Digest]*simLane // by grant
	laneOf map[identity.Digest]*simLane // by receipt
}

func newSim(t fataler) *sim {
	s := &sim{t: t, now: simStart + 1234, arrival: 1_000_000, state: LogState{Epoch: 1}}
	s.lanes, s.laneOf = make(map[identity.Digest]*simLane), make(map[identity.Digest]*simLane)
	s.account = Account{Paid: 100_000, ContractPrice: 1000, CreditLimit: 5000, Value: 1_000_000, Prices: simPrices}
	s.in = Input{
		Network: testNet, Relay: testKey("relay").Public(), Client: testKey("client").Public(), Contract: simContract,
		Terms: simTerms, Prices: simPrices, Start: simStart, Until: simUntil, Policy: DefaultPolicy(),
		Seen: make(map[identity.Digest]identity.UnixMilli),
	}
	return s
}

func (s *sim) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// header is a header between two named parties, with a fresh serial.
func (s *sim) header(from, to string) identity.Header {
	s.serial++
	h := identity.Header{Network: testNet, From: testKey(from).Public(), To: testKey(to).Public(), Time: s.now}
	binary.BigEndian.PutUint64(h.Serial[:], s.serial)
	return h
}

// headerTo is a header of the relay to a key.
func (s *sim) headerTo(to identity.PublicKey) identity.Header {
	h := s.header("relay", "client")
	h.To = to
	return h
}

func sign(t fataler, who string, raw []byte, err error) identity.Signed {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := identity.SignOne(testKey(who), raw)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (s *sim) facts(sender, receiver string, stored uint64, ttl identity.UnixMilli, pulls uint16, onAck bool) RecordFacts {
	s.serial++
	d := identity.Tagged("test-record", binary.BigEndian.AppendUint64(nil, s.serial))
	return RecordFacts{
		Digest: d, Sender: testKey(sender).Public(), Receiver: testKey(receiver).Public(),
		Stored: stored, Expiry: s.now + ttl, MaxPulls: pulls, DeleteOnAck: onAck,
	}
}

func (s *sim) order(records []RecordFacts) StoreOrder { return s.orderBy("client", records) }

func (s *sim) orderBy(payer string, records []RecordFacts) StoreOrder {
	o := StoreOrder{
		Header: s.header(payer, "relay"), Contract: simContract, Terms: simTerms, N: uint16(len(records)),
		MaxMsat: math.MaxUint64, NotAfter: s.now + simHour,
	}
	ds := make([]identity.Digest, len(records))
	for i, f := range records {
		ds[i] = f.Digest
		o.TotalBytes += f.Billable()
	}
	o.Root = identity.Root(ds)
	return o
}

func (s *sim) receipt(o VerifiedStoreOrder, worst Msat) VerifiedReceipt {
	r := Receipt{
		Header: s.headerTo(o.From), Order: o.Digest(), StoredBytes: o.TotalBytes, Arrival: s.arrival + 1, AcceptedMs: s.now,
		ServiceUntil: simUntil, WorstMsat: worst, Contract: simContract, LogEpoch: 1, RowIndex: s.state.Size, Terms: simTerms,
	}
	raw, err := r.Encode()
	v, err := OpenReceipt(sign(s.t, "relay", raw, err))
	s.must(err)
	return v
}

// write orders records and lets the relay accept them; false if the account does not cover.
func (s *sim) write(records ...RecordFacts) bool {
	s.t.Helper()
	s.expire()
	raw, err := s.order(records).Encode()
	o, err := OpenStoreOrder(sign(s.t, "client", raw, err))
	s.must(err)
	worst, cost, err := CoverOrder(o.StoreOrder, records, simPrices, s.now, simUntil)
	s.must(err)
	account, err := s.account.Reserve(worst)
	if code.Of(err) == code.NoFunds {
		return false
	}
	s.must(err)
	s.account = account
	s.accepted(o, cost, records, nil)
	return true
}

// accepted gives the receipt of an order and its row.
func (s *sim) accepted(o VerifiedStoreOrder, cost Msat, records []RecordFacts, l *simLane) {
	s.t.Helper()
	r := s.receipt(o, cost)
	held := HeldOrder{o.Signed(), r.Signed(), records}
	if l == nil {
		s.in.Orders = append(s.in.Orders, held)
	} else {
		l.orders = append(l.orders, held)
		s.laneOf[r.Digest()] = l
	}
	s.append(RowInput{Kind: RowWrite, Bytes: o.TotalBytes, Receipt: r.Digest(), Evidence: o.Signed().Bytes()})
	s.arrival += Arrival(len(records))
	for _, f := range records {
		s.live = append(s.live, &kept{f, r, s.now, 0})
	}
}

// append adds a row and books it.
func (s *sim) append(in RowInput) Row {
	s.t.Helper()
	if in.Time == 0 {
		in.Time = s.now
	}
	s.arrival++
	in.Arrival = s.arrival
	row, next, err := AppendRow(s.state, simPrices, in)
	s.must(err)
	account, err := s.account.Spend(s.state.Used(), next.Used())
	s.must(err)
	s.account, s.state = account, next
	if l := s.laneOf[in.Receipt]; l != nil {
		l.books, err = l.books.Spend(in)
		s.must(err)
	}
	s.push(row)
	return row
}

// push adds a row as it is.
func (s *sim) push(row Row) {
	s.t.Helper()
	raw, err := row.Encode()
	s.must(err)
	s.rows = append(s.rows, RowEntry{Row: raw})
}

func (s *sim) request(k *kept) identity.Signed {
	q := ReadRequest{Header: s.header(s.reader(k), "relay"), Record: k.facts.Digest, MaxBytes: k.facts.Stored, NotAfter: s.now + 1000}
	raw, err := q.Encode()
	return sign(s.t, s.reader(k), raw, err)
}

// reader is the name of a record's receiver.
func (s *sim) reader(k *kept) string {
	for _, n := range []string{"bob", "carol"} {
		if testKey(n).Public() == k.facts.Receiver {
			return n
		}
	}
	s.t.Fatal("no such receiver")
	return ""
}

// readIn is the row of a good read.
func (s *sim) readIn(k *kept, q identity.Signed) RowInput {
	return RowInput{Kind: RowRead, Bytes: k.facts.Stored, Receipt: k.receipt.Digest(), Record: k.facts.Digest, Evidence: q.Bytes()}
}

// read serves a record once and gives its row's index and request; false if its pulls are used up.
func (s *sim) read(k *kept) (uint64, identity.Signed, bool) {
	s.t.Helper()
	s.expire()
	if k.pulls == k.facts.MaxPulls || !s.isLive(k) {
		return 0, identity.Signed{}, false
	}
	k.pulls++
	q := s.request(k)
	return s.append(s.readIn(k, q)).Index, q, true
}

func (s *sim) isLive(k *kept) bool {
	for _, x := range s.live {
		if x == k {
			return true
		}
	}
	return false
}

func (s *sim) ack(k *kept, q identity.Signed, to string, v Verdict) identity.Signed {
	a := Acknowledgement{
		Header: s.header(s.reader(k), to), Record: k.facts.Digest, Bytes: k.facts.Stored,
		Request: identity.StatementDigest(identity.TypeReadRequest, q.Statement), Verdict: v, Relay: testKey("relay").Public(),
	}
	raw, err := a.Encode()
	return sign(s.t, s.reader(k), raw, err)
}

func (s *sim) attach(index uint64, a identity.Signed) { s.rows[index].Ack = a.Bytes() }

// closed books the end of a record.
func (s *sim) closed(k *kept, at identity.UnixMilli) {
	rest, err := Rest(k.facts, k.accepted, at, simUntil, k.facts.MaxPulls-k.pulls)
	s.must(err)
	account, err := s.account.Close(rest)
	s.must(err)
	s.account = account
	if l := s.laneOf[k.receipt.Digest()]; l != nil {
		l.books, err = l.books.Close(rest)
		s.must(err)
	}
	for i, x := range s.live {
		if x == k {
			s.live = append(s.live[:i], s.live[i+1:]...)
			return
		}
	}
}

// remove deletes a record by order of its sender, or by the given acknowledgement.
func (s *sim) remove(k *kept, by identity.Signed) {
	s.t.Helper()
	s.expire()
	if !s.isLive(k) {
		return
	}
	if by.IsZero() {
		by = s.deletion(k, "client")
	}
	row := s.append(RowInput{
		Kind: RowDelete, Bytes: k.facts.Billable(), Receipt: k.receipt.Digest(), Record: k.facts.Digest,
		Accepted: k.accepted, Evidence: by.Bytes(),
	})
	s.in.Deleted = append(s.in.Deleted, s.deleteReceipt(k, by, row))
	s.closed(k, s.now)
}

func (s *sim) deletion(k *kept, by string) identity.Signed {
	raw, err := Delete{Header: s.header(by, "relay"), Record: k.facts.Digest}.Encode()
	return sign(s.t, by, raw, err)
}

func (s *sim) deleteReceipt(k *kept, by identity.Signed, row Row) identity.Signed {
	h, err := identity.PeekHeader(by.Statement)
	s.must(err)
	raw, err := DeleteReceipt{
		Header: s.header("relay", "client"), Order: identity.StatementDigest(h.Type, by.Statement), Record: k.facts.Digest,
		Arrival: row.Arrival, Contract: simContract, LogEpoch: 1, RowIndex: row.Index,
	}.Encode()
	return sign(s.t, "relay", raw, err)
}

// expire appends the EXPIRE rows that are due now.
func (s *sim) expire() {
	s.t.Helper()
	type group struct {
		end     identity.UnixMilli
		receipt identity.Digest
	}
	due := map[group][]*kept{}
	var order []group
	for _, k := range s.live {
		g := group{k.facts.CustodyEnd(simUntil), k.receipt.Digest()}
		if g.end > s.now {
			continue
		}
		if due[g] == nil {
			order = append(order, g)
		}
		due[g] = append(due[g], k)
	}
	sort.SliceStable(order, func(i, j int) bool { return order[i].end < order[j].end })
	for _, g := range order {
		s.expireGroup(g.end, due[g])
	}
}

func (s *sim) expireGroup(at identity.UnixMilli, group []*kept) {
	s.t.Helper()
	var bytes uint64
	for _, k := range group {
		bytes += k.facts.Billable()
	}
	s.append(RowInput{Kind: RowExpire, Time: at, Bytes: bytes, Receipt: group[0].receipt.Digest(), Accepted: group[0].accepted})
	for _, k := range group {
		s.closed(k, at)
	}
}

// report signs the head of the log as it is.
func (s *sim) report() VerifiedUsageReport {
	s.t.Helper()
	return s.reportWith(func(*UsageReport) {})
}

func (s *sim) reportWith(change func(*UsageReport)) VerifiedUsageReport {
	s.t.Helper()
	var tree MemoryTree
	for _, e := range s.rows {
		s.must(tree.Append(e.Row))
	}
	root, err := TreeRoot(tree.Size(), &tree)
	s.must(err)
	r := UsageReport{
		Header: s.header("relay", "client"), Contract: simContract, Number: 1, LogEpoch: 1, Size: tree.Size(), Root: root, Terms: simTerms,
		LiveBytes: s.state.Live, ByteSeconds: s.state.ByteSeconds, Egress: s.state.Egress, Owed: s.state.Owed, AsOf: s.state.LastArrival,
	}
	if n := len(s.reports); n > 0 {
		last := s.reports[n-1]
		r.Number, r.Previous, r.PrevSize = last.Number+1, last.Digest(), last.Size
		if last.Size > 0 {
			r.PrevRoot = last.Root
		}
		r.Consistency, err = ProveConsistency(last.Size, tree.Size(), &tree)
		s.must(err)
	}
	if ls, err := LanesOf(s.rows); err == nil {
		entries, err := ls.Entries(simPrices)
		s.must(err)
		r.Lanes, r.LanesRoot, err = LanesHead(entries)
		s.must(err)
	}
	change(&r)
	raw, err := r.Encode()
	v, err := OpenUsageReport(sign(s.t, "relay", raw, err))
	s.must(err)
	s.reports = append(s.reports, v)
	return v
}

// audit reports and reconciles.
func (s *sim) audit() Result {
	s.t.Helper()
	s.in.Report, s.in.Rows, s.in.Now = s.report(), s.rows, s.now
	return s.reconcile()
}

func (s *sim) reconcile() Result {
	s.t.Helper()
	res, err := Reconcile(s.in)
	s.must(err)
	return res
}

// refusedClasses is the classes of all refusals, as a string without repetition.
func refusedClasses(r Result) string {
	seen := map[Class]bool{}
	var out []byte
	for _, f := range r.Refused {
		if !seen[f.Class] {
			seen[f.Class] = true
			out = append(out, byte(f.Class))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return string(out)
}

func explain(r Result) string {
	s := fmt.Sprintf("claimed %d, confirmed %d\n", r.ClaimedMsat, r.ConfirmedMsat)
	for _, f := range r.Refused {
		s += fmt.Sprintf("row %d %s %d msat: %s\n", f.Index, f.Class, f.Msat, f.Why)
	}
	return s
}

var _ fataler = (*testing.T)(nil)
