package evidence

import (
	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// Said is one statement of a proof.
type Said struct {
	Type   identity.Type
	From   identity.PublicKey
	Digest identity.Digest
}

// Finding is what a proof proves.
type Finding struct {
	Class      Class
	Network    identity.Network
	Culprit    identity.PublicKey // whose own signatures show it
	Against    identity.PublicKey // the other party; zero: everybody
	Contract   usage.ContractID   // zero: none
	What       string             // the fault in a sentence, with its numbers
	Bytes      uint64             // that were billed or lost by it; 0: it is not about bytes
	Msat       usage.Msat         // what it is worth, where Priced
	Priced     bool               // the prices are in evidence
	Statements []Said             // that prove it
	Rows       []uint64           // indexes of the rows that prove it
}

// VerifyFile is Decode and Verify.
func VerifyFile(raw []byte) (Finding, error) {
	p, err := Decode(raw)
	if err != nil {
		return Finding{}, err
	}
	return Verify(p)
}

// Verify tells what a proof proves. Code Malformed for a proof whose parts do not decode; code
// NotProven, with the condition that failed, for everything that does not follow.
func Verify(p Proof) (Finding, error) {
	if err := p.check(); err != nil {
		return Finding{}, err
	}
	c := &papers{proof: p}
	if err := c.open(); err != nil {
		return Finding{}, err
	}
	f := Finding{Class: p.Class, Network: c.network, Statements: c.said}
	for _, r := range p.Rows {
		f.Rows = append(f.Rows, r.Index)
	}
	if err := verdicts[p.Class](c, &f); err != nil {
		return Finding{}, err
	}
	return f, nil
}

// verdicts decide the classes. Each gives nil only if the fraud is proven.
var verdicts = [lastClass + 1]func(*papers, *Finding) error{
	NoEvidence: (*papers).noEvidence, Duplicate: (*papers).duplicate, WrongSum: (*papers).wrongSum, OverCap: (*papers).overCap,
	Oversize: (*papers).oversize, Lost: (*papers).lost, FalseDenial: (*papers).falseDenial, AfterEnd: (*papers).afterEnd,
	TwoReports: (*papers).twoReports, BadConsistency: (*papers).badConsistency, TwoRoots: (*papers).twoRoots, OtherRow: (*papers).otherRow,
	AfterDenial: (*papers).afterDenial, TwoOffers: (*papers).twoOffers, TwoUpdates: (*papers).twoUpdates,
	DishonouredOffer: (*papers).dishonouredOffer, RewrittenLog: (*papers).rewrittenLog, FalseReceipt: (*papers).falseReceipt,
	BrokenRow: (*papers).brokenRow, LostChallenged: (*papers).lost, FalseProof: (*papers).falseProof,
}

// unproven is a condition that failed.
func unproven(format string, args ...any) error { return code.New(code.NotProven, format, args...) }

// papers are the verified contents of a proof.
type papers struct {
	proof   Proof
	network identity.Network
	said    []Said

	record  *records.Verified
	order   *usage.VerifiedStoreOrder
	receipt *usage.VerifiedReceipt
	gone    *usage.VerifiedDeleteReceipt
	grant   *usage.VerifiedAccountGrant
	request *usage.VerifiedReadRequest
	asked   *usage.VerifiedStorageChallenge
	shown   *usage.VerifiedStorageProof
	denial  *usage.VerifiedDenial
	reports []usage.VerifiedUsageReport
	offers  []broadcast.VerifiedOffer
	talk    []contract.Verified
	cited   *Said // the last statement of a false denial, whatever it is
	named   identity.Signed
	rows    []usage.Row
	terms   *contract.Terms
}

// open verifies all that is in a proof, whatever it is needed for: signatures, one network, the places
// of rows, terms and records.
func (c *papers) open() error {
	if err := c.openRows(); err != nil { // hashes first, curves last
		return err
	}
	for i, s := range c.proof.Statements {
		if err := c.openStatement(i, s); err != nil {
			return err
		}
	}
	if err := c.openTerms(); err != nil {
		return err
	}
	return c.openPlace()
}

func (c *papers) openStatement(i int, s identity.Signed) error {
	h, d, err := identity.Verify(s)
	if code.Of(err) == code.BadSignature {
		return unproven("the signature of the %s does not hold", h.Type)
	}
	if err != nil {
		return err
	}
	if i == 0 {
		c.network = h.Network
	} else if h.Network != c.network {
		return unproven("its statements are of two networks")
	}
	said := Said{h.Type, h.From, d}
	c.said = append(c.said, said)
	if c.proof.Class == FalseDenial && c.denial != nil {
		c.cited, c.named = &said, s
		return nil
	}
	err = c.take(s, identity.Verdict{Header: h, Digest: d})
	switch code.Of(err) {
	case code.BadProofOfWork, code.BadAmount:
		return unproven("the offer is none: %v", err)
	}
	return err
}

// keep stores an opened statement.
func keep[T any](to **T, v T, err error) error {
	*to = &v
	return err
}

func (c *papers) take(s identity.Signed, v identity.Verdict) (err error) {
	switch v.Header.Type {
	case identity.TypeRecord:
		x, err := records.OpenHeaderVerified(s, v)
		return keep(&c.record, x, err)
	case identity.TypeStoreOrder:
		x, err := usage.OpenStoreOrderVerified(s, v)
		return keep(&c.order, x, err)
	case identity.TypeReceipt:
		x, err := usage.OpenReceiptVerified(s, v)
		return keep(&c.receipt, x, err)
	case identity.TypeDeleteReceipt:
		x, err := usage.OpenDeleteReceiptVerified(s, v)
		return keep(&c.gone, x, err)
	case identity.TypeAccountGrant:
		x, err := usage.OpenAccountGrantVerified(s, v)
		return keep(&c.grant, x, err)
	case identity.TypeReadRequest:
		x, err := usage.OpenReadRequestVerified(s, v)
		return keep(&c.request, x, err)
	case identity.TypeStorageChallenge:
		x, err := usage.OpenStorageChallengeVerified(s, v)
		return keep(&c.asked, x, err)
	case identity.TypeStorageProof:
		x, err := usage.OpenStorageProofVerified(s, v)
		return keep(&c.shown, x, err)
	case identity.TypeDenial:
		x, err := usage.OpenDenialVerified(s, v)
		return keep(&c.denial, x, err)
	case identity.TypeUsageReport:
		x, err := usage.OpenUsageReportVerified(s, v)
		c.reports = append(c.reports, x)
		return err
	case identity.TypeServerBroadcast:
		x, err := broadcast.OpenVerified(s, v, 0)
		c.offers = append(c.offers, x)
		return err
	}
	x, err := contract.OpenMessageVerified(s, v)
	c.talk = append(c.talk, x)
	return err
}

// openTerms holds the terms against the digest that the first report signs.
func (c *papers) openTerms() error {
	if len(c.proof.Terms) == 0 {
		return nil
	}
	t, err := contract.DecodeTerms(c.proof.Terms)
	if err != nil {
		return err
	}
	switch r := c.reports[0]; {
	case identity.Tagged("terms", c.proof.Terms) != r.Terms:
		return unproven("the terms are not those that the report names")
	case t.Network != r.Network || t.Relay != r.From || t.Client != r.To || t.Prices.Check() != nil:
		return unproven("the terms are not of this contract")
	}
	c.terms = &t
	return nil
}

// openPlace holds a record against the order that it is said to be in, and the order against its
// receipt.
func (c *papers) openPlace() error {
	if c.order != nil && c.receipt != nil && c.receipt.Order != c.order.Digest() {
		return unproven("the receipt is for another order")
	}
	if c.order == nil || c.record == nil {
		return nil
	}
	root, ok := identity.RootFromPath(c.record.Digest(), int(c.order.N), int(c.proof.Place), c.proof.OrderPath)
	if !ok || root != c.order.Root {
		return unproven("the order does not cover the record at place %d", c.proof.Place)
	}
	return nil
}

// openRows checks that each row is in the log whose head its report says; the signature comes later. A
// leaf that is no row is for the class of its own. The one leaf of a false denial is in no log.
func (c *papers) openRows() error {
	if len(c.proof.Rows) == 0 {
		return nil
	}
	heads, err := c.proof.heads()
	if err != nil {
		return err
	}
	for _, r := range c.proof.Rows {
		if c.proof.Class == FalseDenial {
			if r.Report != 0 || len(r.Path) > 0 {
				return code.New(code.Malformed, "a row that a denial names has no report and no path")
			}
		} else if int(r.Report) >= len(heads) {
			return code.New(code.Malformed, "a row of report %d of %d", r.Report, len(heads))
		} else if err := usage.CheckInclusion(heads[r.Report], r.Index, r.Leaf, r.Path); err != nil {
			return unproven("row %d is not in the signed log: %v", r.Index, err)
		}
		row, err := usage.DecodeRow(r.Leaf)
		switch {
		case c.proof.Class == BrokenRow:
		case err != nil:
			return unproven("leaf %d is no row: %v", r.Index, err)
		case row.Index != r.Index:
			return unproven("leaf %d says that it is row %d", r.Index, row.Index)
		}
		c.rows = append(c.rows, row)
	}
	return nil
}

// heads are the bodies of the usage reports.
func (p *Proof) heads() ([]usage.UsageReport, error) {
	var out []usage.UsageReport
	for _, s := range p.Statements {
		if h, err := identity.PeekHeader(s.Statement); err != nil || h.Type != identity.TypeUsageReport {
			continue
		}
		r, err := usage.DecodeUsageReport(s.Statement)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// report is the first report, which all classes of rows have; it names culprit, client and contract.
func (c *papers) report(f *Finding) usage.VerifiedUsageReport {
	r := c.reports[0]
	f.Culprit, f.Against, f.Contract = r.From, r.To, r.Contract
	return r
}

// price says what quantities cost, if the prices are in evidence.
func (c *papers) price(f *Finding, q usage.Quantities) {
	if c.terms == nil {
		return
	}
	if m, err := usage.Cost(c.terms.Prices, q); err == nil {
		f.Msat, f.Priced = m, true
	}
}

// sameLog tells whether two reports speak of one log. Heads on both sides of a log reset do not: a
// restored backup is an admitted loss.
func sameLog(a, b usage.VerifiedUsageReport) error {
	switch {
	case a.From != b.From || a.To != b.To || a.Contract != b.Contract:
		return unproven("the two reports are on different contracts")
	case a.LogEpoch != b.LogEpoch:
		return unproven("the two reports are of different log epochs: between them the relay admits a loss")
	}
	return nil
}
