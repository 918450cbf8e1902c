package usage

import (
	"strings"
	"testing"

	"relaymarket/identity"
)

// small is a history to commit faults in: three records, the first read once and matched.
// Everything in it is good, and reads are acknowledged.
func small(t *testing.T) (*sim, []*kept) {
	s := newSim(t)
	s.account.Paid, s.account.Value = 10_000_000, 10_000_000
	s.write(
		s.facts("client", "bob", 10_000_000, 2*simDay, 2, false),
		s.facts("client", "bob", 20_000_000, 3*simDay, 2, true),
		s.facts("client", "carol", 30_000_000, 3*simDay, 2, false),
	)
	s.now += simHour
	k := append([]*kept(nil), s.live...)
	s.readAcked(k[0])
	return s, k
}

func (s *sim) readAcked(k *kept) uint64 {
	i, q, ok := s.read(k)
	if !ok {
		s.t.Fatal("no pull left")
	}
	s.in.Acks = append(s.in.Acks, s.ack(k, q, "client", VerdictOK))
	return i
}

// rawRow appends a row outside of all booking, as a cheating relay can.
func (s *sim) rawRow(in RowInput) Row {
	s.t.Helper()
	if in.Time == 0 {
		in.Time = s.now
	}
	s.arrival++
	in.Arrival = s.arrival
	row, next, err := AppendRow(s.state, simPrices, in)
	s.must(err)
	s.state = next
	s.push(row)
	return row
}

func (s *sim) requestWith(k *kept, who string, change func(*ReadRequest)) identity.Signed {
	q := ReadRequest{Header: s.header(who, "relay"), Record: k.facts.Digest, MaxBytes: k.facts.Stored, NotAfter: s.now + 1000}
	change(&q)
	raw, err := q.Encode()
	return sign(s.t, who, raw, err)
}

// faultCase commits one fault in a good history; class is the letters of all refusals that
// must follow.
type faultCase struct {
	name   string
	class  string
	commit func(s *sim, k []*kept)
}

var faultCases = []faultCase{
	{"read without evidence", "E", func(s *sim, k []*kept) {
		s.rawRow(s.readIn(k[0], identity.Signed{}))
	}},
	{"read with a request signed by another", "E", func(s *sim, k []*kept) {
		s.rawRow(s.readIn(k[0], s.requestWith(k[0], "mallory", func(*ReadRequest) {})))
	}},
	{"read with a broken signature", "E", func(s *sim, k []*kept) {
		q := s.request(k[0])
		q.Proof.Sig[3] ^= 1
		s.rawRow(s.readIn(k[0], q))
	}},
	{"read with a request for another record", "E", func(s *sim, k []*kept) {
		s.rawRow(s.readIn(k[0], s.request(k[1])))
	}},
	{"read with a request to another relay", "E", func(s *sim, k []*kept) {
		s.rawRow(s.readIn(k[0], s.requestWith(k[0], "bob", func(q *ReadRequest) { q.To = testKey("rival").Public() })))
	}},
	{"read with a request on another network", "E", func(s *sim, k []*kept) {
		s.rawRow(s.readIn(k[0], s.requestWith(k[0], "bob", func(q *ReadRequest) { q.Network = identity.Mainnet })))
	}},
	{"read of a record stored elsewhere", "E", func(s *sim, k []*kept) {
		x := *k[0]
		x.facts.Digest[5] ^= 1
		s.rawRow(s.readIn(&x, s.request(&x)))
	}},
	{"write ordered by another", "E", func(s *sim, k []*kept) {
		o := s.order([]RecordFacts{k[0].facts})
		o.From = testKey("mallory").Public()
		raw, err := o.Encode()
		s.rawRow(RowInput{Kind: RowWrite, Bytes: o.TotalBytes, Receipt: identity.Digest{1}, Evidence: sign(s.t, "mallory", raw, err).Bytes()})
	}},
	{"write under another contract", "E", func(s *sim, k []*kept) {
		o := s.order([]RecordFacts{s.facts("client", "bob", 100, simDay, 1, false)})
		o.Contract = ContractID{9}
		raw, err := o.Encode()
		s.rawRow(RowInput{Kind: RowWrite, Bytes: o.TotalBytes, Receipt: identity.Digest{1}, Evidence: sign(s.t, "client", raw, err).Bytes()})
	}},
	{"delete by a stranger", "E", func(s *sim, k []*kept) { s.remove(k[0], s.deletion(k[0], "mallory")) }},
	{"delete by an acknowledgement without the flag", "E", func(s *sim, k []*kept) {
		s.remove(k[0], s.ack(k[0], s.request(k[0]), "relay", VerdictOK))
	}},
	{"delete by a bad acknowledgement", "E", func(s *sim, k []*kept) {
		s.remove(k[1], s.ack(k[1], s.request(k[1]), "relay", VerdictBad))
	}},
	{"delete by an acknowledgement to the sender", "E", func(s *sim, k []*kept) {
		s.remove(k[1], s.ack(k[1], s.request(k[1]), "client", VerdictOK))
	}},
	{"delete by an acknowledgement of a stranger", "E", func(s *sim, k []*kept) {
		a := Acknowledgement{
			Header: s.header("mallory", "relay"), Record: k[1].facts.Digest, Bytes: 1, Request: identity.Digest{1},
			Verdict: VerdictOK, Relay: testKey("relay").Public(),
		}
		raw, err := a.Encode()
		s.remove(k[1], sign(s.t, "mallory", raw, err))
	}},
	{"one request billed twice", "F", func(s *sim, k []*kept) {
		_, q, _ := s.read(k[1])
		s.in.Acks = append(s.in.Acks, s.ack(k[1], q, "client", VerdictOK))
		s.rawRow(s.readIn(k[1], q))
	}},
	{"one order billed twice", "F", func(s *sim, k []*kept) {
		o := s.in.Orders[0]
		s.rawRow(RowInput{Kind: RowWrite, Bytes: 60_000_768, Receipt: k[0].receipt.Digest(), Evidence: o.Order.Bytes()})
	}},
	{"a record billed under two orders", "F", func(s *sim, k []*kept) { s.write(k[0].facts) }},
	{"deleted twice", "F", func(s *sim, k []*kept) {
		s.remove(k[0], identity.Signed{})
		s.rawRow(RowInput{Kind: RowDelete, Bytes: 1, Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted, Evidence: s.deletion(k[0], "client").Bytes()})
	}},
	{"read of more than the record", "G", func(s *sim, k []*kept) {
		in := s.readIn(k[0], s.requestWith(k[0], "bob", func(q *ReadRequest) { q.MaxBytes *= 2 }))
		in.Bytes++
		s.rawRow(in)
	}},
	{"read of more than was asked for", "G", func(s *sim, k []*kept) {
		s.rawRow(s.readIn(k[0], s.requestWith(k[0], "bob", func(q *ReadRequest) { q.MaxBytes-- })))
	}},
	{"write of more than was ordered", "G", func(s *sim, k []*kept) {
		s.tamperWrite(func(r *Row) { r.Bytes, r.LiveBytes = r.Bytes+1, r.LiveBytes+1 })
	}},
	{"a sum that is too high", "H", func(s *sim, k []*kept) { s.tamperRead(k[0], func(r *Row) { r.Owed++ }) }},
	{"a sum that is too low", "H", func(s *sim, k []*kept) { s.tamperRead(k[0], func(r *Row) { r.Owed-- }) }},
	{"egress that jumps", "H", func(s *sim, k []*kept) { s.tamperRead(k[0], func(r *Row) { r.Egress += 1000 }) }},
	{"storage that jumps", "H", func(s *sim, k []*kept) { s.tamperRead(k[0], func(r *Row) { r.ByteSeconds.Hi++ }) }},
	{"live bytes that jump", "H", func(s *sim, k []*kept) { s.tamperRead(k[0], func(r *Row) { r.LiveBytes++ }) }},
	{"time that goes back", "H", func(s *sim, k []*kept) { s.tamperRead(k[0], func(r *Row) { r.Time = s.state.LastTime - 1 }) }},
	{"read after delete", "I", func(s *sim, k []*kept) {
		s.remove(k[0], identity.Signed{})
		s.rawRow(s.readIn(k[0], s.request(k[0])))
	}},
	{"read after expiry", "I", func(s *sim, k []*kept) {
		s.now += 10 * simDay
		s.expire()
		s.rawRow(s.readIn(k[0], s.request(k[0])))
	}},
	{"read after expiry, without an expiry", "I", func(s *sim, k []*kept) {
		s.now += 10 * simDay
		s.rawRow(s.readIn(k[0], s.request(k[0])))
	}},
	{"read with a request past its time", "I", func(s *sim, k []*kept) {
		q := s.request(k[0])
		s.now += 1001
		s.rawRow(s.readIn(k[0], q))
	}},
	{"expiry that comes too late", "I", func(s *sim, k []*kept) {
		s.now += 2 * simDay
		s.rawRow(RowInput{Kind: RowExpire, Bytes: k[0].facts.Billable(), Receipt: k[0].receipt.Digest(), Accepted: k[0].accepted})
	}},
	{"expiry that never comes", "I", func(s *sim, k []*kept) {
		s.now += 2*simDay + simHour
		s.rawRow(s.readIn(k[2], s.request(k[2])))
		s.in.Policy.AckDeadline = simDay
	}},
	{"delete after the end of custody", "I", func(s *sim, k []*kept) {
		s.now += 2 * simDay
		s.rawRow(RowInput{Kind: RowDelete, Bytes: k[0].facts.Billable(), Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted, Evidence: s.deletion(k[0], "client").Bytes()})
	}},
	{"delete after expiry", "I", func(s *sim, k []*kept) {
		s.now += 2 * simDay
		s.expire()
		s.rawRow(RowInput{Kind: RowDelete, Bytes: 1, Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted, Evidence: s.deletion(k[0], "client").Bytes()})
	}},
	{"read after the end of service", "I", func(s *sim, k []*kept) {
		s.rawRow(s.readIn(k[0], s.request(k[0])))
		s.in.Until = s.now
	}},
	{"read in the future", "I", func(s *sim, k []*kept) {
		now := s.now
		s.now += AcceptAhead + 1
		s.rawRow(s.readIn(k[0], s.request(k[0])))
		s.now = now
	}},
	{"expiry before its time", "I", func(s *sim, k []*kept) {
		s.rawRow(RowInput{Kind: RowExpire, Time: k[0].facts.Expiry, Bytes: k[0].facts.Billable(), Receipt: k[0].receipt.Digest(), Accepted: k[0].accepted})
	}},
	{"write before the service", "I", func(s *sim, k []*kept) { s.in.Start = k[0].accepted + 1 }},
	{"order accepted after its time", "I", func(s *sim, k []*kept) {
		o := s.order([]RecordFacts{s.facts("client", "bob", 500, simDay, 1, false)})
		raw, err := o.Encode()
		s.now = o.NotAfter + 1
		s.rawRow(RowInput{Kind: RowWrite, Bytes: o.TotalBytes, Receipt: identity.Digest{1}, Evidence: s.hold(raw, err, []RecordFacts{s.facts("client", "bob", 500, simDay, 1, false)}).Bytes()})
	}},
	{"a purge without notice", "E", func(s *sim, k []*kept) {
		s.rawRow(RowInput{Kind: RowPurge, Bytes: k[0].facts.Billable(), Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted})
	}},
	{"a purge before its notice", "E", func(s *sim, k []*kept) {
		s.in.Purged = s.now + 1
		s.rawRow(RowInput{Kind: RowPurge, Bytes: k[0].facts.Billable(), Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted})
	}},
	{"a record purged twice", "F", func(s *sim, k []*kept) {
		s.in.Purged = s.now
		for _, bytes := range []uint64{k[0].facts.Billable(), 0} {
			s.rawRow(RowInput{Kind: RowPurge, Bytes: bytes, Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted})
		}
	}},
	{"delete under another receipt", "J", func(s *sim, k []*kept) {
		s.write(s.facts("client", "bob", 1000, simDay, 1, false))
		other := s.live[len(s.live)-1]
		s.rawRow(RowInput{Kind: RowDelete, Bytes: 1256, Receipt: other.receipt.Digest(), Record: k[0].facts.Digest, Accepted: other.accepted, Evidence: s.deletion(k[0], "client").Bytes()})
	}},
	{"read under another receipt", "J", func(s *sim, k []*kept) {
		s.write(s.facts("client", "bob", 1000, simDay, 1, false))
		in := s.readIn(k[0], s.request(k[0]))
		in.Receipt = s.live[len(s.live)-1].receipt.Digest()
		s.rawRow(in)
	}},
	{"delete ordered for another record", "E", func(s *sim, k []*kept) { s.remove(k[0], s.deletion(k[1], "client")) }},
	{"delete without evidence", "E", func(s *sim, k []*kept) {
		s.rawRow(RowInput{Kind: RowDelete, Bytes: k[0].facts.Billable(), Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted})
	}},
	{"write without its order, though receipted", "E", func(s *sim, k []*kept) {
		s.tamperWrite(func(r *Row) { r.Evidence = nil })
	}},
	{"a receipt that names another row", "J", func(s *sim, k []*kept) {
		r := k[0].receipt.Receipt
		r.RowIndex = 1 << 20
		raw, err := r.Encode()
		s.in.Orders[0].Receipt = sign(s.t, "relay", raw, err)
		s.tamperWrite(func(row *Row) { row.Receipt = identity.StatementDigest(identity.TypeReceipt, raw) })
	}},
	{"another row where a receipt names its own", "K", func(s *sim, k []*kept) {
		state, n := s.state, len(s.rows)
		s.write(s.facts("client", "bob", 1000, simDay, 1, false))
		s.state, s.rows = state, s.rows[:n]
		s.readAcked(k[1])
	}},
	{"a row that names a receipt unknown to the client", "K", func(s *sim, k []*kept) {
		s.tamperWrite(func(r *Row) { r.Receipt[0] ^= 1 })
	}},
	{"a row that is none", "K", func(s *sim, k []*kept) {
		s.rows = append(s.rows, RowEntry{Row: []byte("no row")})
		s.state.Size++
		s.rawRow(s.readIn(k[1], s.request(k[1])))
	}},
	{"a row of another epoch", "K", func(s *sim, k []*kept) {
		s.state.Epoch = 9
		s.rawRow(s.readIn(k[1], s.request(k[1])))
		s.state.Epoch = 1
		s.rawRow(s.readIn(k[1], s.request(k[1])))
	}},
	{"numbers that overflow every sum", "H", func(s *sim, k []*kept) {
		for range 2 {
			s.tamperRead(k[1], func(r *Row) { r.Bytes = 1<<64 - 1 })
		}
	}},
	{"a receipt that is not held", "J", func(s *sim, k []*kept) { s.in.Orders[0].Receipt = identity.Signed{} }},
	{"a receipt that a stranger signed", "J", func(s *sim, k []*kept) {
		r := k[0].receipt.Receipt
		r.From = testKey("mallory").Public()
		raw, err := r.Encode()
		s.in.Orders[0].Receipt = sign(s.t, "mallory", raw, err)
	}},
	{"an order that the client lost", "EJ", func(s *sim, k []*kept) { s.in.Orders = nil }},
	{"fewer bytes than the receipt", "J", func(s *sim, k []*kept) {
		s.tamperWrite(func(r *Row) { r.Bytes, r.LiveBytes = r.Bytes-1, r.LiveBytes-1 })
	}},
	{"another time than the receipt", "J", func(s *sim, k []*kept) { s.tamperWrite(func(r *Row) { r.Time -= 2000 }) }},
	{"another arrival than the receipt", "J", func(s *sim, k []*kept) { s.tamperWrite(func(r *Row) { r.Arrival-- }) }},
	{"delete that releases too much", "J", func(s *sim, k []*kept) {
		s.rawRow(RowInput{Kind: RowDelete, Bytes: 50_000_000, Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted, Evidence: s.deletion(k[0], "client").Bytes()})
		s.now += simDay
		s.readAcked(k[1])
	}},
	{"expiry that releases too little", "J", func(s *sim, k []*kept) {
		s.now += 2*simDay - simHour
		s.rawRow(RowInput{Kind: RowExpire, Bytes: 5, Receipt: k[0].receipt.Digest(), Accepted: k[0].accepted})
	}},
	{"expiry of nothing", "J", func(s *sim, k []*kept) {
		s.rawRow(RowInput{Kind: RowExpire, Bytes: 0, Receipt: k[0].receipt.Digest(), Accepted: k[0].accepted})
	}},
	{"delete that releases too little", "J", func(s *sim, k []*kept) {
		s.rawRow(RowInput{Kind: RowDelete, Bytes: 5, Receipt: k[0].receipt.Digest(), Record: k[0].facts.Digest, Accepted: k[0].accepted, Evidence: s.deletion(k[0], "client").Bytes()})
	}},
	{"closing of an unknown receipt", "J", func(s *sim, k []*kept) {
		s.rawRow(RowInput{Kind: RowExpire, Bytes: 5, Receipt: identity.Digest{1}, Accepted: s.now - simDay})
	}},
	{"deletion receipt for another row", "K", func(s *sim, k []*kept) {
		s.in.Deleted = append(s.in.Deleted, s.deleteReceipt(k[0], s.deletion(k[0], "client"), Row{Index: 1, Arrival: 5}))
	}},
	{"receiver says bad", "L", func(s *sim, k []*kept) {
		_, q, _ := s.read(k[1])
		s.in.Acks = append(s.in.Acks, s.ack(k[1], q, "client", VerdictBad))
	}},
	{"receiver says bad behind the relay's back", "L", func(s *sim, k []*kept) {
		i, q, _ := s.read(k[1])
		s.attach(i, s.ack(k[1], q, "relay", VerdictOK))
		s.in.Acks = append(s.in.Acks, s.ack(k[1], q, "client", VerdictBad))
	}},
	{"receiver says bad to the relay", "L", func(s *sim, k []*kept) {
		i, q, _ := s.read(k[1])
		s.attach(i, s.ack(k[1], q, "relay", VerdictBad))
	}},
	{"receiver got fewer bytes", "L", func(s *sim, k []*kept) {
		_, q, _ := s.read(k[1])
		x := *k[1]
		x.facts.Stored--
		s.in.Acks = append(s.in.Acks, s.ack(&x, q, "client", VerdictOK))
	}},
	{"receiver got another record", "L", func(s *sim, k []*kept) {
		_, q, _ := s.read(k[1])
		x := *k[1]
		x.facts.Digest[0] ^= 1
		s.in.Acks = append(s.in.Acks, s.ack(&x, q, "client", VerdictOK))
	}},
	{"one pull too many", "M", func(s *sim, k []*kept) {
		s.readAcked(k[0])
		s.rawRow(s.readIn(k[0], s.request(k[0])))
	}},
	{"reads never acknowledged", "C", func(s *sim, k []*kept) {
		s.read(k[2])
		s.now += simHour
		s.in.Policy.AckDeadline = simHour - 1
	}},
	{"storage without a sign", "P", func(s *sim, k []*kept) {
		s.in.Policy.Storage = PayProven
		s.now += simDay
		s.readAcked(k[1])
	}},
}

// hold makes the client sign an order and keep it without a receipt.
func (s *sim) hold(raw []byte, err error, records []RecordFacts) identity.Signed {
	o := sign(s.t, "client", raw, err)
	v, err := OpenStoreOrder(o)
	s.must(err)
	ds := make([]identity.Digest, len(records))
	for i := range records {
		ds[i] = records[i].Digest
	}
	v.Root = identity.Root(ds)
	raw, err = v.StoreOrder.Encode()
	o = sign(s.t, "client", raw, err)
	s.in.Orders = append(s.in.Orders, HeldOrder{Order: o, Records: records})
	return o
}

// tamperRead appends a read whose stated totals are changed; the log goes on from them.
func (s *sim) tamperRead(k *kept, change func(*Row)) {
	q := s.request(k)
	in := s.readIn(k, q)
	in.Time = s.now
	s.arrival++
	in.Arrival = s.arrival
	row, _, err := AppendRow(s.state, simPrices, in)
	s.must(err)
	change(&row)
	s.state = row.State()
	s.push(row)
	s.in.Acks = append(s.in.Acks, s.ack(k, q, "client", VerdictOK))
}

// tamperWrite replaces the first row, and makes the following row follow from it.
func (s *sim) tamperWrite(change func(*Row)) {
	first, err := DecodeRow(s.rows[0].Row)
	s.must(err)
	second, err := DecodeRow(s.rows[1].Row)
	s.must(err)
	change(&first)
	second.Receipt = first.Receipt
	second, s.state, err = AppendRow(first.State(), simPrices, second.input(0))
	s.must(err)
	s.rows = nil
	s.push(first)
	s.push(second)
}

func TestEveryFaultHasItsClass(t *testing.T) {
	for _, c := range faultCases {
		t.Run(c.name, func(t *testing.T) {
			s, k := small(t)
			if res := s.audit(); len(res.Refused) != 0 {
				t.Fatal("the history is not good before the fault\n" + explain(res))
			}
			s.reports = nil
			c.commit(s, k)
			res := s.audit()
			if got := refusedClasses(res); got != c.class {
				t.Fatalf("refused as %q, should be %q\n%s", got, c.class, explain(res))
			}
			if len(res.Dissent()) == 0 || len(res.Rows) != len(s.rows) {
				t.Fatal("a refusal must show in the dissent")
			}
			for _, f := range res.Refused {
				if f.Why == "" || strings.Contains(f.Why, "proven") || strings.Contains(f.Why, "fraud") {
					t.Errorf("row %d: a refusal needs a reason and accuses nobody: %q", f.Index, f.Why)
				}
			}
			if res.ConfirmedMsat > res.ClaimedMsat {
				t.Error("more is confirmed than claimed")
			}
		})
	}
}

// A refused read costs exactly its egress, and nothing else of the log.
func TestARefusedReadIsNotPaidAndAllElseIs(t *testing.T) {
	s, k := small(t)
	before := s.audit()
	s.reports = nil
	s.rawRow(s.readIn(k[0], identity.Signed{}))
	res := s.audit()
	if res.ConfirmedMsat != before.ConfirmedMsat || res.ClaimedMsat <= before.ClaimedMsat {
		t.Fatalf("confirmed %d, then %d of %d", before.ConfirmedMsat, res.ConfirmedMsat, res.ClaimedMsat)
	}
	if len(res.Refused) != 1 || res.Refused[0].Index != 2 || res.Rows[2] != ClassNoEvidence || res.Refused[0].Msat == 0 {
		t.Fatal(explain(res))
	}
	if got := res.Classes[ClassNoEvidence]; got.Rows != 1 || got.Bytes != k[0].facts.Stored || got.Msat != res.Refused[0].Msat {
		t.Fatalf("%+v", got)
	}
}
