package usage

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// simLane is a grant at the simulated relay.
type simLane struct {
	grant  VerifiedAccountGrant
	books  Lane
	day    map[uint64]Msat
	orders []HeldOrder
}

// give makes a grant to somebody.
func (s *sim) give(to string, limit, day Msat) *simLane {
	s.t.Helper()
	raw, err := AccountGrant{
		Header: s.header("client", "relay"), Contract: simContract, Account: testKey(to).Public(), Terms: simTerms, Prices: simPrices,
		CapMsat: limit, DayMsat: day, NotAfter: 1000,
	}.Encode()
	g, err := OpenAccountGrant(sign(s.t, "client", raw, err))
	s.must(err)
	l := &simLane{grant: g, day: make(map[uint64]Msat)}
	s.lanes[g.Digest()] = l
	s.in.Grants = append(s.in.Grants, HeldGrant{Grant: g.Signed()})
	return l
}

// orderUnder is an order under a grant for exactly what its records can cost.
func (s *sim) orderUnder(l *simLane, who string, records []RecordFacts) (VerifiedStoreOrder, Quantities) {
	s.t.Helper()
	o := s.orderBy(who, records)
	o.Grant = l.grant.Digest()
	worst, err := OrderWorst(records, s.now, simUntil)
	s.must(err)
	o.MaxMsat, err = CostCeil(simPrices, worst)
	s.must(err)
	raw, err := o.Encode()
	v, err := OpenStoreOrder(sign(s.t, who, raw, err))
	s.must(err)
	return v, worst
}

// writeUnder orders records under a grant and lets the relay accept them; a code if it does not.
func (s *sim) writeUnder(l *simLane, who string, records ...RecordFacts) code.Code {
	s.t.Helper()
	s.expire()
	o, worst := s.orderUnder(l, who, records)
	today := uint64(s.now) / (Day * 1000)
	books, ordered, err := l.books.Accept(l.grant.AccountGrant, o.StoreOrder, worst, l.day[today])
	if err != nil {
		return code.Of(err)
	}
	account, err := s.account.Reserve(worst)
	if err != nil {
		return code.Of(err)
	}
	s.account, l.books, l.day[today] = account, books, ordered
	s.accepted(o, o.MaxMsat, records, l)
	return code.OK
}

// laneRows is what a relay shows the account of a grant.
func (s *sim) laneRows(l *simLane) []RowEntry {
	var out []RowEntry
	for _, e := range s.rows {
		r, err := DecodeRow(e.Row)
		s.must(err)
		if s.laneOf[r.Receipt] == l {
			out = append(out, e)
		}
	}
	return out
}

// auditLane is the audit by the account of a grant.
func (s *sim) auditLane(l *simLane) Result {
	s.t.Helper()
	res, err := ReconcileLane(Input{
		Network: testNet, Relay: testKey("relay").Public(), Client: l.grant.Account, Contract: simContract, Terms: simTerms,
		Prices: l.grant.Prices, Now: s.now, Purged: s.in.Purged, Rows: s.laneRows(l), Orders: l.orders, Lane: l.grant.Digest(),
		Policy: s.in.Policy,
	})
	s.must(err)
	return res
}

// sponsoredHistory is a history with two accounts beside the payer.
type sponsoredHistory struct {
	*history
	given []*simLane
}

func (h *sponsoredHistory) WriteUnder(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "lane")
	records := make([]RecordFacts, rapid.IntRange(1, 2).Draw(t, "n"))
	for j := range records {
		records[j] = h.facts([]string{"dora", "emil"}[i], rapid.SampledFrom([]string{"bob", "carol"}).Draw(t, "receiver"),
			rapid.Uint64Range(100, 1<<20).Draw(t, "stored"), simHour+identity.UnixMilli(rapid.Uint64Range(0, uint64(simDay)).Draw(t, "ttl")),
			rapid.Uint16Range(1, 3).Draw(t, "pulls"), rapid.Bool().Draw(t, "onAck"))
	}
	switch c := h.writeUnder(h.given[i], []string{"dora", "emil"}[i], records...); c {
	case code.OK, code.LaneCap, code.LaneDayCap, code.NoFunds:
	default:
		t.Fatal(c)
	}
}

// Check holds after every step: lanes are within their caps, and together they are the log.
func (h *sponsoredHistory) Check(t *rapid.T) {
	h.history.Check(t)
	ls, err := LanesOf(h.rows)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ls.Entries(simPrices)
	if err != nil {
		t.Fatal(err)
	}
	var live uint64
	var sum Quantities
	for _, e := range entries {
		live += e.LiveBytes
		if sum, err = sum.Add(Quantities{e.ByteSeconds, e.Egress}); err != nil {
			t.Fatal(err)
		}
		if raw, err := e.Encode(); err != nil || len(raw) > MaxLaneEntry {
			t.Fatal(len(raw), err)
		}
		if l := h.lanes[e.Grant]; l != nil {
			at, err := l.books.At(h.state.LastTime)
			if err != nil || at.Live != e.LiveBytes || at.Used != (Quantities{e.ByteSeconds, e.Egress}) {
				t.Fatalf("the relay's lane %+v, by the rows %+v: %v", at, e, err)
			}
		}
	}
	if live != h.state.Live || sum != h.state.Used() {
		t.Fatalf("lanes keep %d and used %v, the log %d and %v", live, sum, h.state.Live, h.state.Used())
	}
	for _, l := range h.given {
		all, err := l.books.Used.Add(l.books.Pledged)
		if err != nil {
			t.Fatal(err)
		}
		if cost, err := CostCeil(simPrices, all); err != nil || cost > l.grant.CapMsat {
			t.Fatalf("a lane may cost %d msat of %d: %v", cost, l.grant.CapMsat, err)
		}
		for _, m := range l.day {
			if m > l.grant.DayMsat {
				t.Fatalf("%d msat are ordered on a day, granted are %d", m, l.grant.DayMsat)
			}
		}
	}
}

// Whatever honest people order and read, the sponsor confirms all of it, the accounts find their own
// lanes in order, and no cap is ever passed.
func TestLanesAddUpAndStayWithinTheirCaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &sponsoredHistory{history: &history{sim: newSim(t)}}
		h.in.Policy.AckDeadline = 1000 * simDay
		h.given = []*simLane{h.give("dora", 20_000_000, 9_000_000), h.give("emil", 5_000_000, 5_000_000)}
		t.Repeat(rapid.StateMachineActions(h))
		h.expire()
		if res := h.audit(); len(res.Refused) != 0 || res.ConfirmedMsat != h.state.Owed || res.Confirmed != h.state.Used() {
			t.Fatalf("%s%v, by the log %v", explain(res), res.Confirmed, h.state.Used())
		}
		for _, l := range h.given {
			res := h.auditLane(l)
			at, err := l.books.At(h.now)
			if err != nil || len(res.Refused) != 0 || res.Confirmed != at.Used || res.ConfirmedMsat != res.ClaimedMsat {
				t.Fatalf("%s%v, by the books %v: %v", explain(res), res.Confirmed, at.Used, err)
			}
		}
	})
}

// smallLane is a log with one order of the payer and one of dora under a grant, read once.
func smallLane(t *testing.T) (*sim, *simLane, *kept) {
	s := newSim(t)
	l := s.give("dora", 100_000_000, 5_000_000)
	s.write(s.facts("client", "bob", 5000, simDay, 2, false))
	if c := s.writeUnder(l, "dora", s.facts("dora", "bob", 1_000_000, simDay, 2, false)); c != code.OK {
		t.Fatal(c)
	}
	k := s.live[1]
	i, q, _ := s.read(k)
	s.attach(i, s.ack(k, q, "relay", VerdictOK))
	return s, l, k
}

// TestLaneFaultsHaveTheirClass: what a relay can bill a sponsor that its accounts did not order is refused.
func TestLaneFaultsHaveTheirClass(t *testing.T) {
	for name, c := range map[string]struct {
		want string
		why  string
		do   func(s *sim, l *simLane, k *kept)
	}{
		"nothing wrong": {"", "", func(s *sim, l *simLane, k *kept) {}},
		"a grant that was never given": {"E", "not given", func(s *sim, l *simLane, k *kept) {
			s.in.Grants = nil
		}},
		"an account that bills without a grant": {"E", "other parties", func(s *sim, l *simLane, k *kept) {
			r := []RecordFacts{s.facts("dora", "bob", 1000, simDay, 1, false)}
			raw, err := s.orderBy("dora", r).Encode()
			o, err := OpenStoreOrder(sign(s.t, "dora", raw, err))
			s.must(err)
			s.flood(l)
			s.accepted(o, 1, r, nil)
		}},
		"another key under the grant": {"E", "not by the grant's account", func(s *sim, l *simLane, k *kept) {
			s.writeUnder(l, "emil", s.facts("emil", "bob", 1000, simDay, 1, false))
		}},
		"after the revocation": {"O", "revoked", func(s *sim, l *simLane, k *kept) {
			s.revoke(l)
			s.writeUnder(l, "dora", s.facts("dora", "bob", 1000, simDay, 1, false))
		}},
		"more than the day's cap": {"O", "one day", func(s *sim, l *simLane, k *kept) {
			s.force(l, s.facts("dora", "bob", 3_000_000, simDay, 1, false))
		}},
		"more than all": {"O", "the lane costs more", func(s *sim, l *simLane, k *kept) {
			s.in.Grants[0] = s.with(l, func(g *AccountGrant) { g.CapMsat = 1000 })
		}},
		"reads that nobody's order covers": {"O", "reads of its order", func(s *sim, l *simLane, k *kept) {
			for range 3 {
				s.flood(l)
				s.append(s.readIn(k, s.request(k)))
			}
		}},
		"a request billed twice": {"F", "billed before", func(s *sim, l *simLane, k *kept) {
			q := s.request(k)
			s.append(s.readIn(k, q))
			s.flood(l)
			s.append(s.readIn(k, q))
		}},
		"another receiver of the same record": {"E", "another receiver", func(s *sim, l *simLane, k *kept) {
			k.facts.Receiver = testKey("carol").Public()
			s.append(s.readIn(k, s.request(k)))
		}},
		"the order twice": {"F", "billed before", func(s *sim, l *simLane, k *kept) {
			s.flood(l)
			o, err := OpenStoreOrder(l.orders[0].Order)
			s.must(err)
			s.append(RowInput{Kind: RowWrite, Bytes: o.TotalBytes, Receipt: identity.Digest{9}, Evidence: o.Signed().Bytes()})
		}},
		"a delete for another record": {"E", "another record", func(s *sim, l *simLane, k *kept) {
			d := s.deletion(s.live[0], "dora")
			s.append(RowInput{Kind: RowDelete, Bytes: k.facts.Billable(), Receipt: k.receipt.Digest(), Record: k.facts.Digest, Accepted: k.accepted, Evidence: d.Bytes()})
		}},
		"lanes with another root": {"K", "lanes", func(s *sim, l *simLane, k *kept) {
			s.in.Report, s.in.Rows, s.in.Now = s.reportWith(func(r *UsageReport) { r.LanesRoot[3] ^= 1 }), s.rows, s.now
		}},
		"lanes left out": {"K", "lanes", func(s *sim, l *simLane, k *kept) {
			s.in.Report, s.in.Rows, s.in.Now = s.reportWith(func(r *UsageReport) { r.Lanes, r.LanesRoot = 0, identity.Digest{} }), s.rows, s.now
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, l, k := smallLane(t)
			c.do(s, l, k)
			if s.in.Rows == nil {
				s.in.Report, s.in.Rows, s.in.Now = s.report(), s.rows, s.now
			}
			res := s.reconcile()
			if refusedClasses(res) != c.want || c.want != "" && !strings.Contains(explain(res), c.why) {
				t.Fatalf("%s", explain(res))
			}
			if c.want == "" && res.ConfirmedMsat != s.state.Owed || c.want != "" && res.ConfirmedMsat > res.ClaimedMsat {
				t.Fatal(explain(res))
			}
		})
	}
}

// revoke takes a grant back, and the relay says from which row on.
func (s *sim) revoke(l *simLane) {
	raw, err := AccountRevoke{Header: s.header("client", "relay"), Grant: l.grant.Digest()}.Encode()
	r, err := OpenAccountRevoke(sign(s.t, "client", raw, err))
	s.must(err)
	raw, err = GrantReceipt{
		Header: s.header("relay", "client"), Order: r.Digest(), Grant: l.grant.Digest(), Contract: simContract, LogEpoch: 1, RowIndex: s.state.Size,
	}.Encode()
	s.in.Grants[0].Revoked = sign(s.t, "relay", raw, err)
}

// with makes the log again under the grant with a change, whatever its caps say.
func (s *sim) with(l *simLane, change func(*AccountGrant)) HeldGrant {
	g := l.grant.AccountGrant
	change(&g)
	raw, err := g.Encode()
	v, err := OpenAccountGrant(sign(s.t, "client", raw, err))
	s.must(err)
	fresh := newSim(s.t)
	next := &simLane{grant: v, day: make(map[uint64]Msat)}
	fresh.write(fresh.facts("client", "bob", 5000, simDay, 2, false))
	fresh.force(next, fresh.facts("dora", "bob", 1_000_000, simDay, 2, false))
	s.rows, s.state, s.now = fresh.rows, fresh.state, fresh.now
	s.in.Orders = fresh.in.Orders
	return HeldGrant{Grant: v.Signed()}
}

// flood pledges so much that no row is too much for the simulated relay.
func (s *sim) flood(l *simLane) {
	much := Quantities{Mul64(1<<40, 1<<20), 1 << 40}
	s.account.Pledged, l.books.Pledged = much, much
}

// force writes under a grant whatever its caps are.
func (s *sim) force(l *simLane, records ...RecordFacts) {
	s.t.Helper()
	o, _ := s.orderUnder(l, "dora", records)
	s.flood(l)
	s.accepted(o, o.MaxMsat, records, l)
	s.now += 23 * simHour
	k := s.live[len(s.live)-1]
	s.append(s.readIn(k, s.request(k)))
}

// The account finds in its lane what it did not order or nobody asked for.
func TestAnAccountAuditsItsOwnLane(t *testing.T) {
	s, l, k := smallLane(t)
	if res := s.auditLane(l); len(res.Refused) != 0 || !reflect.DeepEqual(res.Rows, []Class{ClassMatched, ClassMatched}) {
		t.Fatal(explain(res), res.Rows)
	}
	q := s.request(k)
	s.append(s.readIn(k, q))
	s.account.Pledged.Egress, l.books.Pledged.Egress = 1<<40, 1<<40
	s.append(s.readIn(k, s.request(k)))
	if res := s.auditLane(l); refusedClasses(res) != "M" || res.Refused[0].Index != 4 {
		t.Fatal(explain(res))
	}
	l.orders = nil
	if res := s.auditLane(l); refusedClasses(res) != "EJ" {
		t.Fatal(explain(res))
	}
}

func TestGrantAdmits(t *testing.T) {
	s := newSim(t)
	l := s.give("dora", 100, 100)
	g := l.grant.AccountGrant
	g.NotBefore, g.NotAfter = 10, 20
	o := StoreOrder{Header: s.header("dora", "relay"), Contract: simContract, Terms: simTerms}
	for name, c := range map[string]struct {
		want   code.Code
		change func(o *StoreOrder, tip *Height)
	}{
		"good":             {code.OK, func(o *StoreOrder, tip *Height) {}},
		"first block":      {code.OK, func(o *StoreOrder, tip *Height) { *tip = 10 }},
		"last block":       {code.OK, func(o *StoreOrder, tip *Height) { *tip = 20 }},
		"too early":        {code.GrantNotYet, func(o *StoreOrder, tip *Height) { *tip = 9 }},
		"too late":         {code.GrantExpired, func(o *StoreOrder, tip *Height) { *tip = 21 }},
		"another account":  {code.UnknownGrant, func(o *StoreOrder, tip *Height) { o.From = testKey("bob").Public() }},
		"another contract": {code.UnknownGrant, func(o *StoreOrder, tip *Height) { o.Contract[0]++ }},
		"other terms":      {code.TermsMismatch, func(o *StoreOrder, tip *Height) { o.Terms[0]++ }},
	} {
		o, tip := o, Height(15)
		c.change(&o, &tip)
		if err := g.Admits(o, tip); code.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeLaneEntry(f *testing.F) {
	raw, err := LaneEntry{Grant: identity.Digest{1}, LiveBytes: 2, ByteSeconds: U128{3, 4}, Egress: 5, Owed: 6}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := DecodeLaneEntry(raw)
		if err != nil {
			return
		}
		if again, err := e.Encode(); err != nil || string(again) != string(raw) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
	})
}
