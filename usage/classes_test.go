package usage

import (
	"reflect"
	"strings"
	"testing"

	"relaymarket/identity"
)

func TestPendingReadsArePaid(t *testing.T) {
	s, k := small(t)
	s.read(k[2])
	s.now += s.in.Policy.AckDeadline
	s.in.Until = 0
	s.in.Report, s.in.Rows, s.in.Now = s.report(), s.rows, s.now
	res := s.reconcile()
	if res.Rows[2] != ClassPending || len(res.Refused) != 0 || res.ConfirmedMsat != s.state.Owed {
		t.Fatal(res.Rows, explain(res))
	}
	s.in.Now++
	if res = s.reconcile(); res.Rows[2] != ClassUnacknowledged || refusedClasses(res) != "C" {
		t.Fatal(res.Rows, explain(res))
	}
	s.in.Policy.TolerancePercent = 75 // of 40,000,000 read bytes, 30,000,000 are overdue
	if res = s.reconcile(); res.Rows[2] != ClassUnacknowledged || len(res.Refused) != 0 || res.ConfirmedMsat != s.state.Owed {
		t.Fatal(res.Rows, explain(res))
	}
	s.in.Policy.TolerancePercent = 74
	if res = s.reconcile(); refusedClasses(res) != "C" {
		t.Fatal(explain(res))
	}
}

// Of several overdue reads the earlier ones fill the tolerated share.
func TestToleranceGoesByOrderOfTheLog(t *testing.T) {
	s := newSim(t)
	s.account.Paid, s.account.Value = 10_000_000, 10_000_000
	s.write(s.facts("client", "bob", 1_000_000, simDay, 20, false))
	for range 8 {
		s.readAcked(s.live[0])
	}
	s.read(s.live[0])
	s.read(s.live[0])
	s.in.Policy.AckDeadline = 0
	s.now++
	res := s.audit()
	if res.Rows[9] != ClassUnacknowledged || len(res.Refused) != 1 || res.Refused[0].Index != 10 {
		t.Fatal(explain(res))
	}
	if got := res.Classes[ClassUnacknowledged]; got.Rows != 2 || got.Bytes != 2_000_000 {
		t.Fatalf("%+v", got)
	}
}

func TestAcknowledgementWithoutRowIsCounted(t *testing.T) {
	s, k := small(t)
	a := s.ack(k[1], s.request(k[1]), "client", VerdictOK)
	foreign := *k[1]
	foreign.facts.Digest[1] ^= 1
	lie, err := OpenAcknowledgement(a)
	s.must(err)
	lie.From, lie.Request = testKey("mallory").Public(), identity.Digest{5}
	raw, err := lie.Encode()
	s.in.Acks = append(s.in.Acks, sign(t, "mallory", raw, err), a, a, s.ack(&foreign, s.request(k[1]), "client", VerdictOK))
	res := s.audit()
	if got := res.Classes[ClassNoRow]; got.Rows != 1 || got.Bytes != k[1].facts.Stored || got.Msat != 0 {
		t.Fatalf("%+v", got)
	}
	if len(res.Refused) != 0 || res.ConfirmedMsat != res.ClaimedMsat {
		t.Fatal(explain(res))
	}
}

func TestStrangersAreOnlyReported(t *testing.T) {
	s, _ := small(t)
	s.in.Policy.Contacts = map[identity.PublicKey]bool{testKey("carol").Public(): true}
	res := s.audit()
	if res.Classes[ClassStranger].Rows != 1 || len(res.Refused) != 0 || res.ConfirmedMsat != res.ClaimedMsat {
		t.Fatal(res.Classes, explain(res))
	}
}

// What only the serving relay says is shown as such; what came over the receiver's own relays
// is not.
func TestViaServingRelay(t *testing.T) {
	s, k := small(t)
	i, q, _ := s.read(k[1])
	s.attach(i, s.ack(k[1], q, "relay", VerdictOK))
	res := s.audit()
	if res.Classes[ClassMatched].Rows != 3 || res.ViaRelay.Rows != 1 || res.ViaRelay.Bytes != k[1].facts.Stored {
		t.Fatal(res.Classes, res.ViaRelay)
	}
	s.in.Acks = append(s.in.Acks, s.ack(k[1], q, "client", VerdictOK))
	if res = s.reconcile(); res.ViaRelay.Rows != 0 || len(res.Refused) != 0 {
		t.Fatal(res.Classes, res.ViaRelay)
	}
	// against the receiver's own word, a bad one at the relay has no weight
	s.rows[i].Ack = s.ack(k[1], q, "relay", VerdictBad).Bytes()
	if res = s.reconcile(); len(res.Refused) != 0 {
		t.Fatal(explain(res))
	}
}

// Acknowledgements by anybody else than the requester change nothing.
func TestForeignAcknowledgementsAreIgnored(t *testing.T) {
	s, k := small(t)
	i, q, _ := s.read(k[1])
	bad := Acknowledgement{
		Header: s.header("mallory", "relay"), Record: k[1].facts.Digest, Bytes: 1,
		Request: identity.StatementDigest(identity.TypeReadRequest, q.Statement), Verdict: VerdictBad, Relay: testKey("relay").Public(),
	}
	raw, err := bad.Encode()
	elsewhere := bad
	elsewhere.From, elsewhere.Relay = testKey("bob").Public(), testKey("rival").Public()
	raw2, err2 := elsewhere.Encode()
	s.in.Acks = append(s.in.Acks, sign(t, "mallory", raw, err), sign(t, "bob", raw2, err2), identity.Signed{Statement: []byte{1, 2}}, identity.Signed{})
	s.rows[i].Ack = []byte("rubbish")
	res := s.audit()
	if res.Rows[i] != ClassPending || len(res.Refused) != 0 {
		t.Fatal(res.Rows, explain(res))
	}
}

// Storage that nothing shows is paid by default and refused by policy; a good challenge or a
// matched read proves it up to its time.
func TestUnprovenStorage(t *testing.T) {
	s := newSim(t)
	s.write(s.facts("client", "bob", 1_000_000-RecordOverhead, 9*simDay, 2, false))
	k := s.live[0]
	s.now += 2 * simDay
	s.readAcked(k)
	s.now += 2 * simDay
	s.write(s.facts("client", "bob", 10, simDay, 1, false))
	res := s.audit()
	want := Quantities{ByteSeconds: Mul64(1_000_000, 2*Day)}
	price := func(q Quantities) Msat {
		m, err := Cost(simPrices, q)
		s.must(err)
		return m
	}
	if len(res.Refused) != 0 || res.Classes[ClassUnproven].Msat != price(want) || res.ConfirmedMsat != s.state.Owed {
		t.Fatal(res.Classes, explain(res))
	}
	s.in.Policy.Storage = PayProven
	if res = s.reconcile(); refusedClasses(res) != "P" || res.Refused[0].Index != 0 || res.Confirmed.ByteSeconds != want.ByteSeconds {
		t.Fatal(explain(res))
	}
	s.in.Seen[k.facts.Digest] = s.now
	if res = s.reconcile(); len(res.Refused) != 0 || res.ConfirmedMsat != s.state.Owed {
		t.Fatal(explain(res))
	}
}

// Storage past custody is refused exactly, while the rest of the receipt is paid.
func TestStorageBeyondCustodyIsCutOff(t *testing.T) {
	s, k := small(t)
	s.now = k[0].facts.Expiry + 5*simHour
	late := k[0].facts.Billable()
	s.rawRow(RowInput{Kind: RowExpire, Bytes: late, Receipt: k[0].receipt.Digest(), Accepted: k[0].accepted})
	res := s.audit()
	over, err := s.state.ByteSeconds.Sub(res.Confirmed.ByteSeconds)
	if err != nil || over != Mul64(late, 5*3600) {
		t.Fatal(over, err, explain(res))
	}
}

// Once the relay has receipted a deletion, storage ends at the row that the receipt names,
// whatever the log says there.
func TestReceiptedDeletionEndsStorage(t *testing.T) {
	s, k := small(t)
	s.in.Deleted = append(s.in.Deleted, s.deleteReceipt(k[2], s.deletion(k[2], "client"), Row{Index: 1}))
	s.now += 5 * simHour
	s.readAcked(k[1])
	res := s.audit()
	over, err := s.state.ByteSeconds.Sub(res.Confirmed.ByteSeconds)
	if err != nil || over != Mul64(k[2].facts.Billable(), 5*3600) {
		t.Fatal(over, err, explain(res))
	}
	// of two receipts the earlier row counts
	s.in.Deleted = append(s.in.Deleted, s.deleteReceipt(k[2], s.deletion(k[2], "client"), Row{Index: 2}))
	if again := s.reconcile(); again.Confirmed != res.Confirmed {
		t.Fatal(explain(again))
	}
}

// Deletion receipts that are not this relay's, or of another log, end nothing.
func TestForeignDeletionReceiptsAreIgnored(t *testing.T) {
	s, k := small(t)
	good := DeleteReceipt{Header: s.header("relay", "client"), Order: identity.Digest{1}, Record: k[2].facts.Digest, Contract: simContract, LogEpoch: 1, RowIndex: 1}
	for who, change := range map[string]func(d *DeleteReceipt){
		"mallory": func(d *DeleteReceipt) { d.From = testKey("mallory").Public() },
		"relay":   func(d *DeleteReceipt) { d.LogEpoch = 2 },
		" relay":  func(d *DeleteReceipt) { d.Contract[0] ^= 1 },
		"relay ":  func(d *DeleteReceipt) { d.Network = identity.Mainnet },
		" relay ": func(d *DeleteReceipt) { d.RowIndex = 1000 },
	} {
		d := good
		change(&d)
		raw, err := d.Encode()
		s.in.Deleted = append(s.in.Deleted, sign(t, strings.TrimSpace(who), raw, err))
	}
	if res := s.audit(); len(res.Refused) != 0 || res.ConfirmedMsat != res.ClaimedMsat {
		t.Fatal(explain(res))
	}
}

// Of a write that is refused, no storage is paid; reads of its records are judged by themselves.
func TestRefusedWriteIsNotPaid(t *testing.T) {
	for name, spoil := range map[string]func(s *sim, k []*kept){
		"no receipt":   func(s *sim, k []*kept) { s.in.Orders[0].Receipt = identity.Signed{} },
		"no evidence":  func(s *sim, k []*kept) { s.tamperWrite(func(r *Row) { r.Evidence = nil }) },
		"wrong sum":    func(s *sim, k []*kept) { s.tamperWrite(func(r *Row) { r.ByteSeconds.Lo++ }) },
		"other row":    func(s *sim, k []*kept) { s.tamperWrite(func(r *Row) { r.Receipt[0] ^= 1 }) },
		"before start": func(s *sim, k []*kept) { s.in.Start = k[0].accepted + 1 },
	} {
		s, k := small(t)
		s.now += simDay
		spoil(s, k)
		res := s.audit()
		if !res.Confirmed.ByteSeconds.Less(U128{0, 1}) || res.Confirmed.Egress != k[0].facts.Stored || len(res.Refused) != 1 || res.Rows[1] != ClassMatched {
			t.Errorf("%s: %v %s", name, res.Confirmed, explain(res))
		}
		if over := res.Classes[res.Rows[0]]; res.Refused[0].Msat != over.Msat || over.Msat == 0 {
			t.Errorf("%s: the refusal shows %d msat, the class %d", name, res.Refused[0].Msat, over.Msat)
		}
	}
}

// Rows after the end of custody are themselves refused, besides the storage.
func TestRowsAfterCustodyAreRefused(t *testing.T) {
	for name, row := range map[string]func(s *sim, k *kept) RowInput{
		"read": func(s *sim, k *kept) RowInput { return s.readIn(k, s.request(k)) },
		"expire": func(s *sim, k *kept) RowInput {
			return RowInput{Kind: RowExpire, Bytes: k.facts.Billable(), Receipt: k.receipt.Digest(), Accepted: k.accepted}
		},
		"delete": func(s *sim, k *kept) RowInput {
			return RowInput{Kind: RowDelete, Bytes: k.facts.Billable(), Receipt: k.receipt.Digest(), Record: k.facts.Digest, Accepted: k.accepted, Evidence: s.deletion(k, "client").Bytes()}
		},
	} {
		s, k := small(t)
		s.now = k[0].facts.Expiry + 1000
		s.rawRow(row(s, k[0]))
		if res := s.audit(); res.Rows[2] != ClassOutside || len(res.Refused) != 2 {
			t.Errorf("%s: %s", name, explain(res))
		}
		s, k = small(t)
		now := s.now
		s.now = k[0].facts.Expiry
		s.rawRow(row(s, k[0]))
		s.now = now
		if res := s.audit(); res.Rows[2] != ClassOutside || len(res.Refused) != 2 {
			t.Errorf("%s in the future: %s", name, explain(res))
		}
	}
}

// The least hour is paid under either policy if the record was seen at its end.
func TestLeastHourIsProvenByTheEnd(t *testing.T) {
	s := newSim(t)
	s.write(s.facts("client", "bob", 1_000_000-RecordOverhead, simDay, 1, false))
	k := s.live[0]
	s.now += simHour / 6
	s.remove(k, identity.Signed{})
	s.in.Policy.Storage = PayProven
	s.in.Seen[k.facts.Digest] = s.now
	res := s.audit()
	if len(res.Refused) != 0 || res.Confirmed.ByteSeconds != Mul64(1_000_000, 3600) {
		t.Fatal(res.Confirmed, explain(res))
	}
	delete(s.in.Seen, k.facts.Digest)
	if res = s.reconcile(); refusedClasses(res) != "P" || res.ConfirmedMsat != 0 {
		t.Fatal(explain(res))
	}
}

// A clock that the relay sets ahead earns it no storage.
func TestFutureIsNotPaid(t *testing.T) {
	s, k := small(t)
	want := s.audit()
	s.reports = nil
	now := s.now
	s.now += simDay
	s.rawRow(s.readIn(k[1], s.request(k[1])))
	s.now = now
	res := s.audit()
	more, err := res.Confirmed.ByteSeconds.Sub(want.Confirmed.ByteSeconds)
	if err != nil || more != Mul64(s.state.Live, uint64(AcceptAhead/1000)) || res.Confirmed.Egress != want.Confirmed.Egress {
		t.Fatal(more, err, explain(res))
	}
}

// A log that is not the signed one, or that does not continue the one seen before, confirms
// nothing at all.
func TestContradictedLogs(t *testing.T) {
	for name, spoil := range map[string]func(s *sim, k []*kept){
		"rows exchanged": func(s *sim, k []*kept) {
			s.in.Report = s.report()
			s.rows[0], s.rows[1] = s.rows[1], s.rows[0]
		},
		"a row swapped for another": func(s *sim, k []*kept) {
			s.in.Report = s.report()
			s.tamperWrite(func(r *Row) { r.Time-- })
		},
		"head with a higher sum": func(s *sim, k []*kept) {
			s.in.Report = s.reportWith(func(r *UsageReport) { r.Owed++ })
		},
		"head of another contract": func(s *sim, k []*kept) {
			s.in.Report = s.reportWith(func(r *UsageReport) { r.Contract[0]++ })
		},
		"head with other terms": func(s *sim, k []*kept) {
			s.in.Report = s.reportWith(func(r *UsageReport) { r.Terms[0]++ })
		},
		"head for another client": func(s *sim, k []*kept) {
			s.in.Report = s.reportWith(func(r *UsageReport) { r.To = testKey("mallory").Public() })
		},
		"rollback": func(s *sim, k []*kept) {
			prev := s.report()
			s.in.Previous = &prev
			s.rows = s.rows[:1]
			first, _ := DecodeRow(s.rows[0].Row)
			s.state = first.State()
			s.reports = nil
			s.in.Report = s.reportWith(func(r *UsageReport) { r.Number, r.Previous = 2, prev.Digest() })
		},
		"history rewritten behind a gap of reports": func(s *sim, k []*kept) {
			prev := s.report()
			s.in.Previous = &prev
			s.reports = nil
			s.tamperWrite(func(r *Row) { r.Time-- })
			s.rawRow(s.readIn(k[1], s.request(k[1])))
			s.in.Report = s.reportWith(func(r *UsageReport) { r.Number, r.Previous = 5, identity.Digest{1} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, k := small(t)
			spoil(s, k)
			s.in.Rows, s.in.Now = s.rows, s.now
			res := s.reconcile()
			if refusedClasses(res) != "K" || res.ConfirmedMsat != 0 || len(res.Refused) != len(s.in.Rows) {
				t.Fatal(explain(res))
			}
		})
	}
}

func TestReconcileNeedsAllRows(t *testing.T) {
	s, _ := small(t)
	s.audit()
	s.in.Rows = s.in.Rows[:1]
	if _, err := Reconcile(s.in); err == nil {
		t.Fatal("a log with rows missing cannot be audited")
	}
	s.in.Rows = append(append([]RowEntry(nil), s.rows...), RowEntry{Row: []byte("later")})
	if res := s.reconcile(); len(res.Refused) != 0 {
		t.Fatal("rows that the report does not count yet do not matter")
	}
	s.in.Prices.EgressMsatPerGiB = MaxPrice + 1
	if _, err := Reconcile(s.in); err == nil {
		t.Fatal("prices outside their bounds")
	}
}

// An empty log, before and after.
func TestEmptyLog(t *testing.T) {
	s := newSim(t)
	first := s.report()
	s.in.Report, s.in.Now = first, s.now
	if res := s.reconcile(); len(res.Rows) != 0 || res.ConfirmedMsat != 0 || first.Root != EmptyRoot {
		t.Fatal(explain(res))
	}
	s.in.Previous = &first
	s.write(s.facts("client", "bob", 100, simDay, 1, false))
	if res := s.audit(); len(res.Refused) != 0 {
		t.Fatal(explain(res))
	}
	if err := CheckReport(&first, s.in.Report); err != nil {
		t.Fatal(err)
	}
}

// The order in which papers are handed in, and handing them in twice, changes nothing.
func TestOrderOfPapersDoesNotMatter(t *testing.T) {
	s, k := small(t)
	s.write(s.facts("client", "bob", 1000, simDay, 1, false))
	s.readAcked(k[1])
	s.read(k[2])
	s.remove(k[2], identity.Signed{})
	want := s.audit()
	swap := s.in
	swap.Acks = append([]identity.Signed{s.in.Acks[1], s.in.Acks[0]}, s.in.Acks...)
	bare := HeldOrder{Order: s.in.Orders[0].Order, Records: s.in.Orders[0].Records}
	swap.Orders = append(append([]HeldOrder{s.in.Orders[1], bare}, s.in.Orders...), bare)
	swap.Deleted = append(swap.Deleted, s.in.Deleted...)
	got, err := Reconcile(swap)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatal(err, explain(got), explain(want))
	}
}
