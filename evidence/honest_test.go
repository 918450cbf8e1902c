package evidence

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// history drives an honest relay, and the honest people around it, through a random schedule.
type history struct {
	*world
	heads    []head // every head that was ever signed, with its log
	n        uint32
	paid     usage.Sat
	sequence uint64
	backup   *backup
}

type head struct {
	report usage.VerifiedUsageReport
	leaves [][]byte
	tree   *usage.MemoryTree
}

type backup struct {
	rows, reports, kept int
	state               usage.LogState
}

func (h *history) Write(t *rapid.T) {
	var ds []draft
	for range rapid.IntRange(1, 3).Draw(t, "n") {
		ds = append(ds, draft{
			to: rapid.SampledFrom([]string{"bob", "carol"}).Draw(t, "to"), size: rapid.Uint32Range(0, rapid.SampledFrom([]uint32{records.ChunkSize, 1 << 20}).Draw(t, "most")).Draw(t, "size"),
			ttl:   hour + identity.UnixMilli(rapid.Uint64Range(0, 50).Draw(t, "ttl"))*hour,
			pulls: rapid.Uint16Range(1, 2).Draw(t, "pulls"), onAck: rapid.Bool().Draw(t, "onAck"),
		})
	}
	h.expire()
	h.write(ds...)
}

// Sponsor lets dora order under a grant of the client's.
func (h *history) Sponsor(t *rapid.T) {
	raw, err := usage.AccountGrant{
		Header: h.header("client", "relay"), Contract: h.id, Account: key("dora").Public(), Terms: h.terms.Digest(), Prices: h.terms.Prices,
		CapMsat: 1, DayMsat: 1, NotAfter: 9,
	}.Encode()
	grant := h.sign("client", raw, err)
	h.expire()
	s := h.newRecord(draft{to: "bob", size: 77, ttl: day, pulls: 1})
	o, err := usage.DecodeStoreOrder(h.order(s).Statement)
	if err != nil {
		t.Fatal(err)
	}
	o.Header, o.Grant = h.header("dora", "relay"), digestOf(grant)
	raw, err = o.Encode()
	h.store(h.sign("dora", raw, err), []identity.Signed{s})
}

func (h *history) pick(t *rapid.T) *kept {
	if len(h.kept) == 0 {
		t.Skip("nothing was ever kept")
	}
	return rapid.SampledFrom(h.kept).Draw(t, "record")
}

func (h *history) Read(t *rapid.T) {
	k := h.pick(t)
	h.read(k)
}

// Challenge asks for a chunk of a record, as its sender does.
func (h *history) Challenge(t *rapid.T) {
	k := h.pick(t)
	h.expire()
	if k.record.Header().ContentLen > records.ChunkSize || k.record.Header().From != key("client").Public() {
		t.Skip()
	}
	q := h.challengeBy("client", k)
	if k.ended == 0 {
		h.show(k, q, nil)
		return
	}
	var why []identity.Digest
	if k.ended != usage.ReasonExpired {
		why = append(why, k.why)
	}
	h.deny(k, q, k.ended, why...)
}

func (h *history) Delete(t *rapid.T) {
	k := h.pick(t)
	h.expire()
	if k.ended != 0 {
		t.Skip()
	}
	by := h.deletion(k)
	if k.record.Header().DeleteOnAck() && len(k.pulls) > 0 {
		by = h.ack(k, h.said[identity.TypeReadRequest][0])
	}
	h.remove(k, by)
}

func (h *history) Purge(t *rapid.T) {
	k := h.pick(t)
	h.expire()
	if k.ended != 0 || !rapid.Bool().Draw(t, "really") {
		t.Skip()
	}
	n := h.notice(contract.StepPurged, h.id)
	h.append(usage.RowInput{
		Kind: usage.RowPurge, Bytes: k.record.StoredBytes() + usage.RecordOverhead, Receipt: k.receipt.Digest(), Record: k.record.Digest(), Accepted: k.receipt.AcceptedMs,
	})
	k.ended, k.why = usage.ReasonPurged, digestOf(n)
}

// Unknown asks for a record that the relay never had.
func (h *history) Unknown(t *rapid.T) {
	s := h.newRecord(draft{to: "bob", size: 7, ttl: day, pulls: 1})
	q, err := usage.ReadRequest{Header: h.header("bob", "relay"), Record: digestOf(s), MaxBytes: 9999, NotAfter: h.now + 1000}.Encode()
	asked := h.sign("bob", q, err)
	raw, err := usage.Denial{
		Header: h.header("relay", "bob"), Request: digestOf(asked), Record: digestOf(s), Reason: usage.ReasonNone, AsOf: h.arrival, AsOfMs: h.now, StoreEpoch: h.epoch,
	}.Encode()
	h.sign("relay", raw, err)
	if rapid.Bool().Draw(t, "later") { // it comes after it was denied
		h.expire()
		h.store(h.order(s), []identity.Signed{s})
	}
}

func (h *history) Wait(t *rapid.T) {
	h.now += identity.UnixMilli(rapid.Uint64Range(1, uint64(day)).Draw(t, "ms"))
}

func (h *history) Report(*rapid.T) {
	if n := len(h.reports); n > 0 && h.reports[n-1].Size == h.state.Size && h.reports[n-1].LogEpoch == h.state.Epoch {
		return // a relay makes a new one only if the log has grown
	}
	u := h.report()
	h.heads = append(h.heads, head{u, h.leaves[:len(h.leaves):len(h.leaves)], h.tree})
	h.tree = cloneTree(h.leaves)
}

func cloneTree(leaves [][]byte) *usage.MemoryTree {
	m := new(usage.MemoryTree)
	for _, l := range leaves {
		if err := m.Append(l); err != nil {
			panic(err)
		}
	}
	return m
}

func (h *history) Pay(t *rapid.T) {
	h.n++
	h.paid += usage.Sat(rapid.Uint64Range(0, 1000).Draw(t, "sat"))
	h.update(h.n, h.paid)
	h.update(h.n, h.paid) // the same once more, in a new message
}

func (h *history) Offer(t *rapid.T) {
	h.sequence++
	o := h.offer(h.sequence, func(o *broadcast.Offer) { o.ContractPrice += usage.Sat(h.sequence) })
	terms := h.terms
	terms.Offer, terms.ContractPrice = o.Digest(), o.ContractPrice
	raw, err := terms.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h.message("relay", &contract.ServerAddInputs{Common: h.common("relay", "client"), Terms: raw, Tx: make([]byte, 60), Contract: h.id})
	m := h.message("client", &contract.Open{
		Common: h.common("client", "relay"), Offer: o.Digest(), Value: 100_000, Payout: make([]byte, 22), Tx: make([]byte, 60), Inputs: [][]byte{make([]byte, 30)},
	})
	a := &contract.Abort{Common: h.common("relay", "client"), Code: rapid.SampledFrom([]code.Code{code.NoCapacity, code.BadAmount, code.StaleTip}).Draw(t, "code")}
	a.Prev = digestOf(m)
	h.message("relay", a)
}

func (h *history) Backup(*rapid.T) {
	if h.backup == nil {
		h.backup = &backup{len(h.leaves), len(h.reports), len(h.kept), h.state}
	}
}

// Recover restores the backup, once: what came after it is lost, and the relay admits it.
func (h *history) Recover(t *rapid.T) {
	b := h.backup
	if b == nil {
		return
	}
	if h.epoch[0] > 1 || !rapid.Bool().Draw(t, "really") {
		t.Skip()
	}
	for _, k := range h.kept[:b.kept] {
		if k.ended != 0 || len(k.pulls) > 0 {
			t.Skip("the backup has another state of the records")
		}
	}
	h.recover(b.rows, b.reports, b.state)
	h.kept = h.kept[:b.kept]
}

func (h *history) Check(*rapid.T) {}

// TestNothingIsProvenOfTheHonest puts proofs of every class together from what an honest history has
// signed, rows and places included: none is accepted.
func TestNothingIsProvenOfTheHonest(t *testing.T) {
	tried := map[Class]int{}
	judged := map[Class]int{}
	rapid.Check(t, func(t *rapid.T) {
		h := &history{world: newWorld(t)}
		t.Repeat(rapid.StateMachineActions(h))
		h.Report(t)
		first := rapid.IntRange(0, 2).Draw(t, "classes")
		for i, c := range Classes() {
			for range 5 * ((i + first) % 3 / 2) { // a third of the classes: over all histories there are enough
				p, ok := h.any(t, c)
				if !ok {
					continue
				}
				tried[c]++
				f, err := Verify(p)
				if err == nil {
					t.Fatalf("proven of the honest: %+v", f)
				}
				if code.Of(err) == code.NotProven {
					judged[c]++
				} else if code.Of(err) != code.Malformed {
					t.Fatalf("%s: %v", c, err)
				}
			}
		}
	})
	for _, c := range Classes() {
		if judged[c] < tried[c]/2 || judged[c] < 10 {
			t.Errorf("%s: only %d of %d proofs had the right form", c, judged[c], tried[c])
		}
	}
}

// any is some proof of a class, made of honest parts. A record and an order of one custody are drawn
// together half of the time, so that places fit.
func (h *history) any(t *rapid.T, c Class) (Proof, bool) {
	p := Proof{Class: c}
	var u []head
	var fit *kept
	if len(h.kept) > 0 && rapid.IntRange(0, 3).Draw(t, "fit") > 0 {
		fit = rapid.SampledFrom(h.kept).Draw(t, "custody")
	}
	for _, s := range rules[c].slots {
		if s.optional && rapid.IntRange(0, 2).Draw(t, "leave out") == 0 {
			continue
		}
		switch {
		case s.typ == identity.TypeUsageReport:
			x := rapid.SampledFrom(h.heads).Draw(t, "head")
			u, p.Statements = append(u, x), append(p.Statements, x.report.Signed())
			continue
		case fit != nil && s.typ == identity.TypeRecord:
			p.Statements = append(p.Statements, fit.header)
			continue
		case fit != nil && s.typ == identity.TypeStoreOrder:
			p.Statements = append(p.Statements, fit.order)
			continue
		case fit != nil && s.typ == identity.TypeReceipt:
			p.Statements = append(p.Statements, fit.receipt.Signed())
			continue
		}
		all := h.ofType(t, s.typ, fit)
		if len(all) == 0 {
			if s.optional {
				continue
			}
			return p, false
		}
		p.Statements = append(p.Statements, rapid.SampledFrom(all).Draw(t, "statement"))
	}
	if c == FalseDenial || c == AfterDenial || c == Lost {
		h.answer(&p)
	}
	h.place(&p)
	return p, h.rowsFor(t, &p, u)
}

// ofType is what was signed of a type; of denials, those of the record if there are any.
func (h *history) ofType(t *rapid.T, typ identity.Type, fit *kept) []identity.Signed {
	if typ == anyType {
		typ = rapid.SampledFrom([]identity.Type{identity.TypeDelete, identity.TypeAcknowledgement, identity.TypeContractNotice, identity.TypeReadRequest}).Draw(t, "type")
	}
	all := h.said[typ]
	if typ != identity.TypeDenial || fit == nil {
		return all
	}
	var own []identity.Signed
	for _, s := range all {
		if d, err := usage.DecodeDenial(s.Statement); err == nil && d.Record == fit.record.Digest() {
			own = append(own, s)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

// answer puts the request before the denial that answers it.
func (h *history) answer(p *Proof) {
	for i, s := range p.Statements {
		d, err := usage.DecodeDenial(s.Statement)
		if err != nil || i == 0 {
			continue
		}
		for _, q := range slices.Concat(h.said[identity.TypeReadRequest], h.said[identity.TypeStorageChallenge]) {
			if digestOf(q) == d.Request {
				p.Statements[i-1] = q
			}
		}
	}
}

// place gives record and order their place, if one is in the other.
func (h *history) place(p *Proof) {
	var record, order identity.Digest
	for _, s := range p.Statements {
		switch hd, _ := identity.PeekHeader(s.Statement); hd.Type {
		case identity.TypeRecord:
			record = digestOf(s)
		case identity.TypeStoreOrder:
			order = digestOf(s)
		}
	}
	if !rules[p.Class].place {
		return
	}
	for _, x := range h.parts {
		if x.record == record && x.order == order {
			p.Place, p.OrderPath = x.place, x.path
		}
	}
}

// rowsFor adds rows of the logs, mostly neighbours, and the terms.
func (h *history) rowsFor(t *rapid.T, p *Proof, u []head) bool {
	r := rules[p.Class]
	n := r.minRows
	if most := min(r.maxRows, 3); most > n {
		n = rapid.IntRange(n, most).Draw(t, "rows")
	}
	if r.terms && rapid.IntRange(0, 4).Draw(t, "terms") > 0 {
		raw, err := h.terms.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p.Terms = raw
	}
	for i := range n {
		at := 0
		if len(u) > 1 {
			at = i % len(u)
		}
		x := head{leaves: h.leaves}
		if len(u) > 0 {
			x = u[at]
		}
		if len(x.leaves) == 0 {
			return false
		}
		index := uint64(rapid.IntRange(0, len(x.leaves)-1).Draw(t, "row"))
		if i > 0 && len(u) == 1 && rapid.Bool().Draw(t, "next") {
			index = min(p.Rows[i-1].Index+1, uint64(len(x.leaves)-1))
		} else if i > 0 && len(u) == 2 {
			index = min(p.Rows[0].Index, uint64(len(x.leaves)-1))
		}
		row := Row{Report: uint8(at), Index: index, Leaf: x.leaves[index]}
		if p.Class != FalseDenial {
			path, err := usage.ProveInclusion(x.report.Size, index, x.tree)
			if err != nil {
				t.Fatal(err)
			}
			row.Path = path
		}
		p.Rows = append(p.Rows, row)
	}
	return true
}
