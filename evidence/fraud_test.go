package evidence

import (
	"bytes"
	"strings"
	"testing"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// story is a fraud and its negative twin: the same story, told by a relay that is honest, or shown
// with less than it takes.
type story struct {
	name  string
	class Class
	tell  func(w *world, fraud bool) Proof
}

// pick is a or b.
func pick[T any](fraud bool, a, b T) T {
	if fraud {
		return a
	}
	return b
}

func (w *world) letter(size uint32) *kept {
	return w.write(draft{to: "bob", size: size, ttl: day, pulls: 2})[0]
}

// served is one record that was read once: rows 0 and 1.
func (w *world) served() *kept {
	k := w.letter(50_000)
	w.now += 1000
	w.read(k)
	w.now += 1000
	return k
}

func (w *world) bill(in usage.RowInput) (usage.VerifiedUsageReport, []uint64) {
	r := w.append(in)
	return w.report(), []uint64{r.Index}
}

var rowStories = []story{
	{"a read without a request", NoEvidence, func(w *world, fraud bool) Proof {
		k := w.served()
		in := k.readIn(w.request(k))
		if fraud {
			in.Evidence = nil
		}
		u, rows := w.bill(in)
		return w.proof(NoEvidence, &u, rows)
	}},
	{"a read by another request", NoEvidence, func(w *world, fraud bool) Proof {
		k, other := w.served(), w.letter(1000)
		u, rows := w.bill(k.readIn(w.request(pick(fraud, other, k))))
		return w.proof(NoEvidence, &u, rows)
	}},
	{"a read by who is not the receiver", NoEvidence, func(w *world, fraud bool) Proof {
		k := w.served()
		u, rows := w.bill(k.readIn(w.requestBy(pick(fraud, "carol", "bob"), k)))
		return w.proof(NoEvidence, &u, rows, k.header)
	}},
	{"an order whose signature is false", NoEvidence, func(w *world, fraud bool) Proof {
		h := w.newRecord(draft{to: "bob", size: 1000, ttl: day, pulls: 1})
		o := w.order(h)
		if fraud {
			o.Proof.Sig[3] ^= 1
		}
		w.store(o, []identity.Signed{h})
		u := w.report()
		return w.proof(NoEvidence, &u, []uint64{0})
	}},
	{"an order for another contract", NoEvidence, func(w *world, fraud bool) Proof {
		h := w.newRecord(draft{to: "bob", size: 1000, ttl: day, pulls: 1})
		mine := w.id
		if fraud {
			w.id = usage.ContractID{8}
		}
		o := w.order(h)
		w.id = mine
		w.store(o, []identity.Signed{h})
		u := w.report()
		return w.proof(NoEvidence, &u, []uint64{0})
	}},
	{"an order by another key, which no grant allows", NoEvidence, func(w *world, fraud bool) Proof {
		h := w.newRecord(draft{to: "bob", size: 1000, ttl: day, pulls: 1})
		o := must(usage.DecodeStoreOrder(w.order(h).Statement))(w.t)
		o.Header = w.header("bob", "relay")
		if !fraud {
			o.Grant = identity.Digest{9}
		}
		raw, err := o.Encode()
		w.store(w.sign("bob", raw, err), []identity.Signed{h})
		u := w.report()
		return w.proof(NoEvidence, &u, []uint64{0})
	}},
	{"an order by a grant for somebody else", NoEvidence, func(w *world, fraud bool) Proof {
		h := w.newRecord(draft{to: "bob", size: 1000, ttl: day, pulls: 1})
		raw, err := usage.AccountGrant{
			Header: w.header("client", "relay"), Contract: w.id, Account: key("dora").Public(), Terms: w.terms.Digest(), Prices: w.terms.Prices,
			CapMsat: 1, DayMsat: 1, NotAfter: 9,
		}.Encode()
		grant := w.sign("client", raw, err)
		o := must(usage.DecodeStoreOrder(w.order(h).Statement))(w.t)
		who := pick(fraud, "bob", "dora")
		o.Header, o.Grant = w.header(who, "relay"), digestOf(grant)
		if raw, err = o.Encode(); err == nil {
			w.store(w.sign(who, raw, err), []identity.Signed{h})
		}
		u := w.report()
		return w.proof(NoEvidence, &u, []uint64{0}, grant)
	}},
	{"a deletion by who is not the sender", NoEvidence, func(w *world, fraud bool) Proof {
		k := w.served()
		who := pick(fraud, "bob", "client")
		raw, err := usage.Delete{Header: w.header(who, "relay"), Record: k.record.Digest()}.Encode()
		row := w.remove(k, w.sign(who, raw, err))
		u := w.report()
		return w.proof(NoEvidence, &u, []uint64{row.Index}, k.header)
	}},
	{"an acknowledgement that deletes what it may not", NoEvidence, func(w *world, fraud bool) Proof {
		k := w.write(draft{to: "bob", size: 1000, ttl: day, pulls: 1, onAck: !fraud})[0]
		row := w.remove(k, w.ack(k, w.request(k)))
		u := w.report()
		return w.proof(NoEvidence, &u, []uint64{row.Index}, k.header)
	}},
	{"one request billed twice", Duplicate, func(w *world, fraud bool) Proof {
		k := w.served()
		q := w.request(k)
		first := w.append(k.readIn(q))
		u, rows := w.bill(k.readIn(pick(fraud, q, w.request(k))))
		return w.proof(Duplicate, &u, append([]uint64{first.Index}, rows...))
	}},
	{"one order billed twice", Duplicate, func(w *world, fraud bool) Proof {
		k := w.served()
		h := []identity.Signed{w.newRecord(draft{to: "bob", size: 9, ttl: day, pulls: 1})}
		w.store(pick(fraud, k.order, w.order(h...)), h)
		u := w.report()
		return w.proof(Duplicate, &u, []uint64{0, 2})
	}},
	{"a sum that does not follow", WrongSum, func(w *world, fraud bool) Proof {
		k := w.served()
		row := w.append(k.readIn(w.request(k)))
		if fraud {
			w.leaves, row.Owed = w.leaves[:row.Index], row.Owed+5_000_000
			w.rebuild(row)
		}
		u := w.report()
		return w.proof(WrongSum, &u, []uint64{1, 2})
	}},
	{"prices that were not agreed", WrongSum, func(w *world, fraud bool) Proof {
		agreed := w.terms
		if fraud {
			w.terms.Prices.EgressMsatPerGiB *= 2
		}
		w.served()
		w.terms = agreed
		u := w.report()
		return w.proof(WrongSum, &u, []uint64{0, 1})
	}},
	{"a deletion that adds too much", WrongSum, func(w *world, fraud bool) Proof {
		k := w.served()
		by := w.deletion(k)
		row := w.append(usage.RowInput{
			Kind: usage.RowDelete, Bytes: k.record.StoredBytes() + usage.RecordOverhead, Receipt: k.receipt.Digest(), Record: k.record.Digest(),
			Accepted: pick(fraud, w.now, k.receipt.AcceptedMs), Evidence: by.Bytes(),
		})
		u := w.report()
		return w.proof(WrongSum, &u, []uint64{row.Index - 1, row.Index}, k.receipt.Signed())
	}},
	{"the first row of a log", WrongSum, func(w *world, fraud bool) Proof {
		if fraud {
			w.state.Egress, w.state.Owed = 1<<30, 2_000_000_000
		}
		w.letter(1000)
		u := w.report()
		return w.proof(WrongSum, &u, []uint64{0})
	}},
	{"a report with other totals than its last row", WrongSum, func(w *world, fraud bool) Proof {
		w.served()
		u := w.reportWith(func(r *usage.UsageReport) { r.Owed += pick[usage.Msat](fraud, 1000, 0) })
		p := w.proof(WrongSum, &u, []uint64{1})
		p.Terms = nil
		return p
	}},
	{"a report that bills nothing", WrongSum, func(w *world, fraud bool) Proof {
		u := w.reportWith(func(r *usage.UsageReport) { r.Owed += pick[usage.Msat](fraud, 1000, 0) })
		return Proof{Class: WrongSum, Statements: []identity.Signed{u.Signed()}}
	}},
	{"a read more than is allowed", OverCap, func(w *world, fraud bool) Proof {
		k := w.served()
		w.append(k.readIn(w.request(k)))
		rows := []uint64{1, 2}
		if fraud {
			w.append(k.readIn(w.request(k)))
			rows = append(rows, 3)
		}
		u := w.report()
		return w.proof(OverCap, &u, rows, k.header)
	}},
	{"more bytes than the record has", Oversize, func(w *world, fraud bool) Proof {
		k := w.served()
		in := k.readIn(w.request(k))
		in.Bytes += pick[uint64](fraud, 1, 0)
		u, rows := w.bill(in)
		return w.proof(Oversize, &u, rows, k.header)
	}},
	{"more bytes than were asked for", Oversize, func(w *world, fraud bool) Proof {
		k := w.served()
		in := k.readIn(w.request(k))
		in.Bytes += pick[uint64](fraud, 1, 0)
		u, rows := w.bill(in)
		return w.proof(Oversize, &u, rows)
	}},
	{"more bytes than were ordered", Oversize, func(w *world, fraud bool) Proof {
		k := w.served()
		h := w.newRecord(draft{to: "bob", size: 9, ttl: day, pulls: 1})
		o := w.order(h)
		total := must(usage.DecodeStoreOrder(o.Statement))(w.t).TotalBytes
		u, rows := w.bill(usage.RowInput{Kind: usage.RowWrite, Bytes: total + pick[uint64](fraud, 1, 0), Receipt: k.receipt.Digest(), Evidence: o.Bytes()})
		return w.proof(Oversize, &u, rows)
	}},
	{"a deletion that releases too little", Oversize, func(w *world, fraud bool) Proof {
		k := w.served()
		u, rows := w.bill(usage.RowInput{
			Kind: usage.RowDelete, Bytes: k.record.StoredBytes() + pick[uint64](fraud, 0, usage.RecordOverhead), Receipt: k.receipt.Digest(),
			Record: k.record.Digest(), Accepted: k.receipt.AcceptedMs, Evidence: w.deletion(k).Bytes(),
		})
		return w.proof(Oversize, &u, rows, k.header)
	}},
	{"a leaf that is no row", BrokenRow, func(w *world, fraud bool) Proof {
		w.served()
		if fraud {
			w.pushLeaf([]byte("nothing"), w.state)
			w.state.Size++
		} else {
			w.letter(9)
		}
		u := w.report()
		return w.proof(BrokenRow, &u, []uint64{2})
	}},
	{"a row at another place", BrokenRow, func(w *world, fraud bool) Proof {
		k := w.served()
		w.state.Size += pick[uint64](fraud, 1, 0)
		w.append(k.readIn(w.request(k)))
		w.state.Size = 3
		u := w.report()
		return w.proof(BrokenRow, &u, []uint64{2})
	}},
	{"a read after a deletion", AfterEnd, func(w *world, fraud bool) Proof {
		k, other := w.served(), w.letter(99)
		del := w.remove(k, w.deletion(k))
		u, rows := w.bill(pick(fraud, k, other).readIn(w.request(k)))
		return w.proof(AfterEnd, &u, append([]uint64{del.Index}, rows...))
	}},
	{"a read after the relay's delete receipt", AfterEnd, func(w *world, fraud bool) Proof {
		k := w.served()
		before := w.append(k.readIn(w.request(k)))
		w.remove(k, w.deletion(k))
		after := w.append(k.readIn(w.request(k)))
		u := w.report()
		gone := w.said[identity.TypeDeleteReceipt][0]
		return w.proof(AfterEnd, &u, []uint64{pick(fraud, after, before).Index}, gone)
	}},
	{"a read after the end of custody", AfterEnd, func(w *world, fraud bool) Proof {
		k := w.served()
		w.now = k.record.Header().Expiry() - pick[identity.UnixMilli](fraud, 0, 1)
		u, rows := w.bill(k.readIn(w.request(k)))
		return w.proof(AfterEnd, &u, rows, k.header, k.order, k.receipt.Signed()).in(k)
	}},
	{"a read after the time of its request", AfterEnd, func(w *world, fraud bool) Proof {
		k := w.served()
		q := w.request(k)
		w.now += 60_000 + pick[identity.UnixMilli](fraud, 1, 0)
		u, rows := w.bill(k.readIn(q))
		return w.proof(AfterEnd, &u, rows)
	}},
	{"an order after its time", AfterEnd, func(w *world, fraud bool) Proof {
		h := []identity.Signed{w.newRecord(draft{to: "bob", size: 9, ttl: day, pulls: 1})}
		o := w.order(h...)
		w.now += hour + pick[identity.UnixMilli](fraud, 1, 0)
		w.store(o, h)
		u := w.report()
		return w.proof(AfterEnd, &u, []uint64{0})
	}},
}

// rebuild replaces the last leaf of the log.
func (w *world) rebuild(row usage.Row) {
	leaves := w.leaves
	w.tree, w.leaves = new(usage.MemoryTree), nil
	for _, l := range leaves {
		w.pushLeaf(l, w.state)
	}
	w.push(row)
}

var headStories = []story{
	{"two reports with one number", TwoReports, func(w *world, fraud bool) Proof {
		w.served()
		a := w.report()
		w.letter(9)
		b := w.reportWith(func(r *usage.UsageReport) {
			if fraud {
				r.Number, r.Previous, r.PrevSize, r.PrevRoot, r.Consistency = 1, identity.Digest{}, 0, identity.Digest{}, nil
			}
		})
		return Proof{Class: TwoReports, Statements: []identity.Signed{a.Signed(), b.Signed()}}
	}},
	{"a consistency proof that fails", BadConsistency, func(w *world, fraud bool) Proof {
		w.served()
		w.report()
		w.letter(9)
		w.letter(9)
		b := w.reportWith(func(r *usage.UsageReport) { r.Consistency[0][7] ^= pick[byte](fraud, 1, 0) })
		return Proof{Class: BadConsistency, Statements: []identity.Signed{b.Signed()}}
	}},
	{"two roots of one size", TwoRoots, func(w *world, fraud bool) Proof {
		w.served()
		a := w.report()
		b := w.reportWith(func(r *usage.UsageReport) { r.Root[0] ^= pick[byte](fraud, 1, 0) })
		return Proof{Class: TwoRoots, Statements: []identity.Signed{a.Signed(), b.Signed()}}
	}},
	{"a report that names another predecessor", RewrittenLog, func(w *world, fraud bool) Proof {
		w.served()
		a := w.report()
		w.letter(9)
		b := w.reportWith(func(r *usage.UsageReport) { r.Previous[0] ^= pick[byte](fraud, 1, 0) })
		return Proof{Class: RewrittenLog, Statements: []identity.Signed{a.Signed(), b.Signed()}}
	}},
	{"totals that fall", RewrittenLog, func(w *world, fraud bool) Proof {
		w.served()
		a := w.report()
		w.letter(9)
		b := w.reportWith(func(r *usage.UsageReport) { r.Egress -= pick[uint64](fraud, 1, 0); r.Number++ })
		return Proof{Class: RewrittenLog, Statements: []identity.Signed{a.Signed(), b.Signed()}}
	}},
	{"another row than the receipt names", OtherRow, func(w *world, fraud bool) Proof {
		k := w.served()
		n := k.receipt
		if fraud {
			other := n.Receipt
			other.Header = w.header("relay", "client")
			other.WorstMsat++
			raw, err := other.Encode()
			n = must(usage.OpenReceipt(w.sign("relay", raw, err)))(w.t)
		}
		u := w.report()
		return w.proof(OtherRow, &u, []uint64{0}, n.Signed())
	}},
	{"another row than the receipt of a grant's account names", OtherRow, func(w *world, fraud bool) Proof {
		k := w.served()
		n := k.receipt.Receipt
		n.Header = w.header("relay", "dora")
		n.RowIndex += pick[uint64](fraud, 1, 9)
		raw, err := n.Encode()
		u := w.report()
		return w.proof(OtherRow, &u, []uint64{1}, w.sign("relay", raw, err))
	}},
	{"another row than the delete receipt names", OtherRow, func(w *world, fraud bool) Proof {
		k := w.served()
		w.state.Size += pick[uint64](fraud, 1, 0) // the receipt will name row 3
		raw, err := usage.DeleteReceipt{
			Header: w.header("relay", "client"), Order: identity.Digest{1}, Record: k.record.Digest(), Contract: w.id, LogEpoch: 1, RowIndex: 2,
		}.Encode()
		gone := w.sign("relay", raw, err)
		w.state.Size = 2
		if fraud {
			w.letter(9)
		} else {
			w.remove(k, w.deletion(k))
		}
		u := w.report()
		return w.proof(OtherRow, &u, []uint64{2}, gone)
	}},
	{"two rows at one place", OtherRow, func(w *world, fraud bool) Proof {
		k := w.served()
		a := w.report()
		first := w.row(a, 1)
		if fraud {
			row := must(usage.DecodeRow(w.leaves[1]))(w.t)
			w.leaves, row.Evidence = w.leaves[:1], w.request(k).Bytes()
			w.rebuild(row)
		}
		b := w.reportWith(func(r *usage.UsageReport) { r.Number = 5 })
		second := w.row(b, 1)
		second.Report = 1
		return Proof{Class: OtherRow, Statements: []identity.Signed{a.Signed(), b.Signed()}, Rows: []Row{first, second}}
	}},
	{"a receipt for more bytes than were ordered", FalseReceipt, func(w *world, fraud bool) Proof {
		k := w.letter(9)
		n := k.receipt.Receipt
		n.StoredBytes += pick[uint64](fraud, 1, 0)
		raw, err := n.Encode()
		return Proof{Class: FalseReceipt, Statements: []identity.Signed{k.order, w.sign("relay", raw, err)}}
	}},
	{"two offers with one sequence", TwoOffers, func(w *world, fraud bool) Proof {
		a := w.offer(4, nil)
		b := w.offer(pick[uint64](fraud, 4, 5), func(o *broadcast.Offer) { o.ContractPrice++ })
		return Proof{Class: TwoOffers, Statements: []identity.Signed{a.Signed(), b.Signed()}}
	}},
	{"two payments with one number", TwoUpdates, func(w *world, fraud bool) Proof {
		return Proof{Class: TwoUpdates, Statements: []identity.Signed{w.update(2, 5000), w.update(2, pick[usage.Sat](fraud, 4000, 5000))}}
	}},
	{"a payment that falls", TwoUpdates, func(w *world, fraud bool) Proof {
		return Proof{Class: TwoUpdates, Statements: []identity.Signed{w.update(2, 5000), w.update(3, pick[usage.Sat](fraud, 4000, 6000))}}
	}},
	{"terms that are dearer than the offer", DishonouredOffer, func(w *world, fraud bool) Proof {
		o := w.offer(4, nil)
		t := w.terms
		t.Offer, t.ContractPrice = o.Digest(), o.ContractPrice+pick[usage.Sat](fraud, 1, 0)
		m := w.message("relay", &contract.ServerAddInputs{Common: w.common("relay", "client"), Terms: must(t.Encode())(w.t), Tx: make([]byte, 60), Contract: w.id})
		return Proof{Class: DishonouredOffer, Statements: []identity.Signed{o.Signed(), m}}
	}},
	{"terms with more credit to earn than the offer, or with less", DishonouredOffer, func(w *world, fraud bool) Proof {
		o := w.offer(4, func(o *broadcast.Offer) { o.CreditToEarn = 1_000 })
		t := w.terms
		t.Offer, t.ContractPrice, t.CreditToEarn = o.Digest(), o.ContractPrice, pick[usage.Sat](fraud, 1_001, 400)
		m := w.message("relay", &contract.ServerAddInputs{Common: w.common("relay", "client"), Terms: must(t.Encode())(w.t), Tx: make([]byte, 60), Contract: w.id})
		return Proof{Class: DishonouredOffer, Statements: []identity.Signed{o.Signed(), m}}
	}},
	{"a refusal because of the price", DishonouredOffer, func(w *world, fraud bool) Proof {
		o := w.offer(4, nil)
		m := w.message("client", &contract.Open{
			Common: w.common("client", "relay"), Offer: o.Digest(), Value: 100_000, Payout: make([]byte, 22), Tx: make([]byte, 60), Inputs: [][]byte{make([]byte, 30)},
		})
		a := &contract.Abort{Common: w.common("relay", "client"), Code: pick(fraud, code.PriceTooHigh, code.NoCapacity)}
		a.Prev = digestOf(m)
		return Proof{Class: DishonouredOffer, Statements: []identity.Signed{o.Signed(), m, w.message("relay", a)}}
	}},
}

func TestFraudsAreProvenAndTheirTwinsAreNot(t *testing.T) {
	seen := map[Class]bool{}
	for _, s := range allStories() {
		t.Run(s.name, func(t *testing.T) {
			seen[s.class] = true
			w := newWorld(t)
			f, err := VerifyFile(must(s.tell(w, true).Encode())(t))
			if err != nil {
				t.Fatal(err)
			}
			culprit := pick(s.class == TwoUpdates, "client", "relay")
			if f.Class != s.class || f.Culprit != key(culprit).Public() || f.What == "" || len(f.Statements) == 0 || f.Network != identity.Regtest {
				t.Fatalf("found: %+v", f)
			}
			got, err := VerifyFile(must(s.tell(newWorld(t), false).Encode())(t))
			if code.Of(err) != code.NotProven {
				t.Fatalf("the twin: %+v %v", got, err)
			}
		})
	}
	for _, c := range Classes() {
		if !seen[c] {
			t.Errorf("no test commits %s", c)
		}
	}
}

func allStories() []story {
	return append(append(rowStories[:len(rowStories):len(rowStories)], headStories...), custodyStories...)
}

// TestWhatItCosts: the sums of findings, in msat and bytes, by the prices of the terms.
func TestWhatItCosts(t *testing.T) {
	w := newWorld(t)
	k := w.served()
	in := k.readIn(w.request(k))
	in.Evidence = nil
	u, rows := w.bill(in)
	f := must(Verify(w.proof(NoEvidence, &u, rows)))(t)
	want := must(usage.Cost(w.terms.Prices, usage.Quantities{Egress: in.Bytes}))(t)
	if !f.Priced || f.Msat != want || f.Bytes != in.Bytes || f.Contract != w.id || f.Against != key("client").Public() || f.Rows[0] != rows[0] {
		t.Fatalf("%+v, it is worth %d msat", f, want)
	}
	p := w.proof(NoEvidence, &u, rows)
	p.Terms = nil
	if f := must(Verify(p))(t); f.Priced || f.Msat != 0 {
		t.Fatal("priced without prices")
	}
}

func TestFilesOfAnotherForm(t *testing.T) {
	w := newWorld(t)
	good := must(rowStories[0].tell(w, true).Encode())(t)
	for name, c := range map[string]struct {
		raw  []byte
		want code.Code
	}{
		"empty":        {nil, code.Malformed},
		"no magic":     {good[1:], code.Malformed},
		"version 2":    {bytes.Replace(good, magic, []byte("rmfraud\x02"), 1), code.Unsupported},
		"trailing":     {append(bytes.Clone(good), 0), code.Malformed},
		"cut off":      {good[:len(good)-1], code.Malformed},
		"class 0":      {bytes.Replace(good, append(bytes.Clone(magic), 0, 1, 1), append(bytes.Clone(magic), 0, 1, 0), 1), code.Malformed},
		"other shape":  {bytes.Replace(good, append(bytes.Clone(magic), 0, 1, 1), append(bytes.Clone(magic), 0, 1, 2), 1), code.Malformed},
		"only a magic": {magic, code.Malformed},
	} {
		if _, err := VerifyFile(c.raw); code.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !IsProof(good) || IsProof([]byte("rmfrau")) {
		t.Error("IsProof is wrong")
	}
	if Class(0).String() != "class(0)" || !strings.Contains(Lost.What(), "lost") {
		t.Error("names of classes")
	}
}
