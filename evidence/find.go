package evidence

import (
	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// Bounds of what Find looks at and finds: a relay that breaks the rules more often is proven dishonest
// enough.
const (
	maxSuspects = 256
	maxFound    = 32
)

// Asked is a read request and the denial that answered it.
type Asked struct {
	Request identity.Signed
	Denial  identity.Signed
}

// Input is what an audit of one contract has before it. Nothing but Report has to be verified.
type Input struct {
	Report  usage.VerifiedUsageReport
	Others  []usage.VerifiedUsageReport         // what else the relay reported on the contract
	Rows    []usage.RowEntry                    // from 0 on, as many as Report counts; may be nil
	Terms   []byte                              // encoding of the contract's terms
	Refused []usage.Refusal                     // what Reconcile refuses: where to look
	Orders  []usage.HeldOrder                   // the client's orders, with receipts
	Headers map[identity.Digest]identity.Signed // the records of these orders
	Deleted []identity.Signed                   // delete receipts
	Asked   []Asked                             // denied reads of these records
	Named   []identity.Signed                   // statements that denials may name as their evidence
}

// Found is a proof that holds.
type Found struct {
	Proof   Proof
	Finding Finding
}

// Find puts together what can be proven of what an audit has found, each fault once. Everything that it
// gives has been through Verify.
func Find(in Input) []Found {
	s := &search{in: in, done: make(map[place]bool)}
	s.index()
	s.heads()
	s.suspects()
	s.denials()
	return s.found
}

// place is what a fault is about; of one place and class one proof is enough.
type place struct {
	class Class
	index uint64
	what  identity.Digest
}

// held is one order of the client's with its receipt.
type held struct {
	usage.HeldOrder
	receipt usage.Receipt
	digest  identity.Digest // of the receipt
	paths   [][]identity.Digest
}

type search struct {
	in    Input
	tree  *usage.MemoryTree // nil: the rows are not those of the report
	rows  []usage.Row
	bad   []bool // rows that do not decode
	held  []held
	of    map[identity.Digest][]where // by record
	found []Found
	done  map[place]bool
}

// where is a record's place.
type where struct{ order, place int }

// index reads rows, orders and receipts.
func (s *search) index() {
	s.of = make(map[identity.Digest][]where)
	for _, o := range s.in.Orders {
		h := held{HeldOrder: o}
		ds := make([]identity.Digest, len(o.Records))
		for i, f := range o.Records {
			ds[i] = f.Digest
			s.of[f.Digest] = append(s.of[f.Digest], where{len(s.held), i})
		}
		if len(ds) > 0 {
			h.paths, _ = identity.Paths(ds)
		}
		if r, err := usage.DecodeReceipt(o.Receipt.Statement); err == nil {
			h.receipt, h.digest = r, identity.StatementDigest(identity.TypeReceipt, o.Receipt.Statement)
		}
		s.held = append(s.held, h)
	}
	if uint64(len(s.in.Rows)) < s.in.Report.Size {
		return
	}
	tree := new(usage.MemoryTree)
	for _, e := range s.in.Rows[:s.in.Report.Size] {
		r, err := usage.DecodeRow(e.Row)
		s.rows, s.bad = append(s.rows, r), append(s.bad, err != nil)
		if tree.Append(e.Row) != nil {
			return
		}
	}
	if root, err := usage.TreeRoot(tree.Size(), tree); err == nil && root == s.in.Report.Root {
		s.tree = tree
	}
}

// try keeps a proof if it holds and its like is not kept yet.
func (s *search) try(at place, p Proof) bool {
	if s.done[at] || len(s.found) >= maxFound {
		return false
	}
	f, err := Verify(p)
	if err != nil {
		return false
	}
	s.done[at] = true
	s.found = append(s.found, Found{p, f})
	return true
}

// heads compares the report with itself, with its last row and with the other reports.
func (s *search) heads() {
	r := s.in.Report
	s.try(place{class: BadConsistency}, Proof{Class: BadConsistency, Statements: []identity.Signed{r.Signed()}})
	s.try(place{class: WrongSum}, Proof{Class: WrongSum, Statements: []identity.Signed{r.Signed()}})
	if n := len(s.rows); s.tree != nil && n > 0 {
		p := s.proof(WrongSum, []uint64{uint64(n - 1)})
		p.Terms = nil
		s.try(place{class: WrongSum, index: r.Size}, p)
	}
	for _, o := range s.in.Others {
		a, b := o, r
		if a.Number > b.Number {
			a, b = b, a
		}
		for _, c := range []Class{TwoReports, TwoRoots, RewrittenLog} {
			s.try(place{class: c}, Proof{Class: c, Statements: []identity.Signed{a.Signed(), b.Signed()}})
		}
	}
}

// proof is a proof of rows of the report, with statements before it.
func (s *search) proof(c Class, rows []uint64, before ...identity.Signed) Proof {
	p := Proof{Class: c, Statements: append(before, s.in.Report.Signed()), Terms: s.in.Terms}
	for _, i := range rows {
		path, err := usage.ProveInclusion(s.in.Report.Size, i, s.tree)
		if err != nil {
			return Proof{}
		}
		p.Rows = append(p.Rows, Row{Index: i, Leaf: s.in.Rows[i].Row, Path: path})
	}
	return p
}

// suspects tries all that can be wrong with each row that is refused.
func (s *search) suspects() {
	if s.tree == nil {
		return
	}
	seen := make(map[uint64]bool)
	for _, f := range s.in.Refused {
		if f.Index >= uint64(len(s.rows)) || seen[f.Index] || len(seen) >= maxSuspects {
			continue
		}
		seen[f.Index] = true
		s.suspect(f.Index)
	}
}

func (s *search) suspect(i uint64) {
	if s.bad[i] || s.rows[i].Index != i {
		s.try(place{class: BrokenRow, index: i}, without(s.proof(BrokenRow, []uint64{i})))
		return
	}
	r := s.rows[i]
	s.alone(i, r)
	s.sums(i, r)
	s.repeated(i, r)
	s.ended(i, r)
	s.receipted(i, r)
}

// without is a proof without the terms, for classes that have none.
func without(p Proof) Proof {
	p.Terms = nil
	return p
}

// alone tries what a row shows by itself, and with its record.
func (s *search) alone(i uint64, r usage.Row) {
	h, known := s.in.Headers[r.Record]
	for _, c := range []Class{NoEvidence, Oversize} {
		if !s.try(place{class: c, index: i}, s.proof(c, []uint64{i})) && known {
			s.try(place{class: c, index: i}, s.proof(c, []uint64{i}, h))
		}
	}
	s.try(place{class: AfterEnd, index: i}, s.proof(AfterEnd, []uint64{i}))
}

// sums tries the step from the row before.
func (s *search) sums(i uint64, r usage.Row) {
	rows := []uint64{i}
	if i > 0 {
		rows = []uint64{i - 1, i}
	}
	var receipt []identity.Signed
	for _, h := range s.held {
		if r.Kind.Closes() && h.digest == r.Receipt {
			receipt = append(receipt, h.Receipt)
			break
		}
	}
	s.try(place{class: WrongSum, index: i}, s.proof(WrongSum, rows, receipt...))
}

// repeated tries a row against those before it.
func (s *search) repeated(i uint64, r usage.Row) {
	var reads []uint64
	for j, o := range s.rows[:i] {
		if s.bad[j] {
			continue
		}
		if len(r.Evidence) > 0 && o.Kind == r.Kind && sameStatement(o.Evidence, r.Evidence) {
			s.try(place{class: Duplicate, index: i}, s.proof(Duplicate, []uint64{uint64(j), i}))
		}
		if r.Kind == usage.RowRead && o.Kind == usage.RowRead && o.Record == r.Record && o.Receipt == r.Receipt {
			reads = append(reads, uint64(j))
		}
	}
	h, known := s.in.Headers[r.Record]
	if header, err := records.DecodeHeader(h.Statement); known && err == nil && len(reads) >= int(header.MaxPulls) {
		s.try(place{class: OverCap, what: r.Record}, s.proof(OverCap, append(reads[len(reads)-int(header.MaxPulls):], i), h))
	}
}

// sameStatement compares what two rows rest on, proofs apart.
func sameStatement(a, b []byte) bool {
	x, err := identity.ParseSigned(a)
	if err != nil {
		return false
	}
	y, err := identity.ParseSigned(b)
	return err == nil && x.Equal(y)
}

// ended tries a row against what ended its record before.
func (s *search) ended(i uint64, r usage.Row) {
	if r.Record.IsZero() {
		return
	}
	at := place{class: AfterEnd, index: i}
	for j, o := range s.rows[:i] {
		if !s.bad[j] && ends(o) && o.Record == r.Record && o.Receipt == r.Receipt {
			s.try(at, s.proof(AfterEnd, []uint64{uint64(j), i}))
		}
	}
	for _, g := range s.in.Deleted {
		if d, err := usage.DecodeDeleteReceipt(g.Statement); err == nil && d.Record == r.Record {
			s.try(at, s.proof(AfterEnd, []uint64{i}, g))
		}
	}
	for _, w := range s.of[r.Record] {
		if s.held[w.order].digest == r.Receipt {
			s.try(at, s.inOrder(s.proof(AfterEnd, []uint64{i}, s.custody(w)...), w))
		}
	}
}

// custody are record, order and receipt.
func (s *search) custody(w where) []identity.Signed {
	h := s.held[w.order]
	return []identity.Signed{s.in.Headers[h.Records[w.place].Digest], h.Order, h.Receipt}
}

func (s *search) inOrder(p Proof, w where) Proof {
	p.Place, p.OrderPath = uint16(w.place), s.held[w.order].paths[w.place]
	return p
}

// receipted tries a row against the receipts that name its place.
func (s *search) receipted(i uint64, r usage.Row) {
	at := place{class: OtherRow, index: i}
	for _, h := range s.held {
		if !h.digest.IsZero() && h.receipt.RowIndex == i && h.digest != r.Receipt {
			s.try(at, without(s.proof(OtherRow, []uint64{i}, h.Receipt)))
		}
	}
	for _, g := range s.in.Deleted {
		if d, err := usage.DecodeDeleteReceipt(g.Statement); err == nil && d.RowIndex == i {
			s.try(at, without(s.proof(OtherRow, []uint64{i}, g)))
		}
	}
}

// denials tries every denied read with all that is known of its record.
func (s *search) denials() {
	for _, a := range s.in.Asked {
		d, err := usage.DecodeDenial(a.Denial.Statement)
		if err != nil {
			continue
		}
		at := place{class: FalseDenial, what: d.Request}
		if h, ok := s.in.Headers[d.Record]; ok {
			s.falseDenial(at, h, a, nil)
		}
		for _, w := range s.of[d.Record] {
			h := s.held[w.order]
			if h.receipt.From != d.From || h.digest.IsZero() {
				continue
			}
			before := append(s.custody(w), a.Request, a.Denial)
			s.try(place{class: Lost, what: d.Record}, s.inOrder(Proof{Class: Lost, Statements: before}, w))
			s.falseDenial(at, before[0], a, &w)
			s.afterDenial(d, before, w)
		}
	}
}

// falseDenial tries a denial alone, and with each statement that it may name.
func (s *search) falseDenial(at place, header identity.Signed, a Asked, w *where) {
	p := Proof{Class: FalseDenial, Statements: []identity.Signed{header, a.Request, a.Denial}}
	if w != nil {
		p = s.inOrder(Proof{Class: FalseDenial, Statements: append(s.custody(*w), a.Request, a.Denial)}, *w)
	}
	s.try(at, p)
	s.namedRows(at, p, a)
	for _, n := range s.in.Named {
		q := p
		q.Statements = append(p.Statements[:len(p.Statements):len(p.Statements)], n)
		s.try(at, q)
	}
}

// namedRows tries the rows that a denial names as the reads of its record and that are none.
func (s *search) namedRows(at place, p Proof, a Asked) {
	d, err := usage.DecodeDenial(a.Denial.Statement)
	if err != nil || d.Reason != usage.ReasonCap {
		return
	}
	for i, r := range s.rows {
		if leaf := s.in.Rows[i].Row; !(r.Kind == usage.RowRead && r.Record == d.Record) && names(d.Evidence, identity.Digest(tlog.RecordHash(leaf))) {
			p.Rows = []Row{{Index: uint64(i), Leaf: leaf}}
			s.try(at, p)
		}
	}
}

// afterDenial tries the rows of a denied record.
func (s *search) afterDenial(d usage.Denial, before []identity.Signed, w where) {
	if s.tree == nil {
		return
	}
	for i, r := range s.rows {
		if !s.bad[i] && r.Record == d.Record && r.Arrival > d.AsOf {
			p := s.proof(AfterDenial, []uint64{uint64(i)}, append([]identity.Signed(nil), before...)...)
			s.try(place{class: AfterDenial, what: d.Record}, s.inOrder(p, w))
		}
	}
}
