package evidence

import (
	"bytes"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// evidenceOf is the statement in a row, and what is wrong with it by itself: nil if it is a statement
// of a type that rows of this kind carry, signed by whoever it names.
func evidenceOf(r usage.Row) (identity.Signed, identity.Header, error) {
	if len(r.Evidence) == 0 {
		return identity.Signed{}, identity.Header{}, unproven("it has none")
	}
	s, err := identity.ParseSigned(r.Evidence)
	if err != nil {
		return s, identity.Header{}, err
	}
	h, _, err := identity.Verify(s)
	if err != nil {
		return s, h, err
	}
	fits := r.Kind == usage.RowWrite && h.Type == identity.TypeStoreOrder ||
		r.Kind == usage.RowRead && h.Type == identity.TypeReadRequest ||
		r.Kind == usage.RowDelete && (h.Type == identity.TypeDelete || h.Type == identity.TypeAcknowledgement)
	if !fits {
		return s, h, unproven("it is a %s", h.Type)
	}
	return s, h, nil
}

// noEvidence proves that the statement in a row is missing, invalid, or not what such a row needs.
func (c *papers) noEvidence(f *Finding) error {
	u, r := c.report(f), c.rows[0]
	if r.Kind == usage.RowExpire || r.Kind == usage.RowPurge {
		return unproven("a %s row needs no statement", r.Kind)
	}
	if err := c.ofRecord(r); err != nil {
		return err
	}
	why, err := c.evidenceFault(u, r)
	if err != nil {
		return err
	}
	if why == "" {
		return unproven("the statement in row %d is good, as far as this file shows", r.Index)
	}
	f.What, f.Bytes = "the statement that "+r.Kind.String()+" row "+number(r.Index)+" rests on does not hold: "+why, r.Bytes
	c.price(f, billed(r))
	return nil
}

// ofRecord checks that the record that is shown, if one is, is the row's.
func (c *papers) ofRecord(r usage.Row) error {
	if c.record != nil && c.record.Digest() != r.Record {
		return unproven("row %d is about another record than the one shown", r.Index)
	}
	return nil
}

// evidenceFault says what is wrong with the statement in a row; "" if nothing is. The error is for what
// this version of the program cannot judge: a statement by the right key that it does not read.
func (c *papers) evidenceFault(u usage.VerifiedUsageReport, r usage.Row) (string, error) {
	s, h, err := evidenceOf(r)
	switch c := code.Of(err); {
	case c == code.TooLarge || c == code.WrongNetwork: // bounds and networks that a later version may know
		return "", unproven("this version does not know such a statement: %v", cause(err))
	case err != nil:
		return cause(err), nil
	case h.Network != u.Network:
		return "it is of another network", nil
	case h.To != u.From:
		return "it is addressed to " + h.To.Name(), nil
	}
	switch r.Kind {
	case usage.RowWrite:
		return c.orderFault(u, s, h)
	case usage.RowRead:
		return c.requestFault(r, s, h)
	}
	return c.deleteFault(r, s, h)
}

func (c *papers) orderFault(u usage.VerifiedUsageReport, s identity.Signed, h identity.Header) (string, error) {
	o, err := usage.DecodeStoreOrder(s.Statement)
	switch {
	case err != nil:
		return unread(h, err)
	case o.Contract != u.Contract || o.Terms != u.Terms:
		return "the order is for another contract", nil
	case !o.Grant.IsZero():
		return c.grantFault(u, o)
	case h.From != u.To:
		return "the order is by " + h.From.Name() + ", who is not the contract's client", nil
	}
	return "", nil
}

// errGrant is that nothing can be said of an order without the grant that it names.
var errGrant = unproven("the order names a grant, which is not shown")

// grantFault: who has a grant of the contract's client may order; whether it was revoked or used up is not
// judged.
func (c *papers) grantFault(u usage.VerifiedUsageReport, o usage.StoreOrder) (string, error) {
	switch g := c.grant; {
	case g == nil || g.Digest() != o.Grant:
		return "", errGrant
	case g.From != u.To || g.Contract != u.Contract || g.To != u.From:
		return "the grant that the order names is not the client's for this contract", nil
	case g.Account != o.From:
		return "the grant that the order names is for " + g.Account.Name() + ", the order is by " + o.From.Name(), nil
	}
	return "", nil
}

func (c *papers) requestFault(r usage.Row, s identity.Signed, h identity.Header) (string, error) {
	q, err := usage.DecodeReadRequest(s.Statement)
	switch {
	case err != nil:
		return unread(h, err)
	case q.Record != r.Record:
		return "the request is for another record", nil
	case c.record != nil && h.From != c.record.Header().To:
		return "the request is by " + h.From.Name() + ", who is not the record's receiver", nil
	}
	return "", nil
}

func (c *papers) deleteFault(r usage.Row, s identity.Signed, h identity.Header) (string, error) {
	if h.Type == identity.TypeDelete {
		d, err := usage.DecodeDelete(s.Statement)
		switch {
		case err != nil:
			return unread(h, err)
		case d.Record != r.Record:
			return "the order deletes another record", nil
		case c.record != nil && h.From != c.record.Header().From:
			return "the order is by " + h.From.Name() + ", who is not the record's sender", nil
		}
		return "", nil
	}
	a, err := usage.DecodeAcknowledgement(s.Statement)
	switch {
	case err != nil:
		return unread(h, err)
	case a.Record != r.Record:
		return "the acknowledgement is of another record", nil
	case !a.Delivery() || a.Verdict != usage.VerdictOK:
		return "the acknowledgement deletes nothing", nil
	case c.record != nil && !c.record.Header().DeleteOnAck():
		return "the record is not to be deleted when it is acknowledged", nil
	case c.record != nil && h.From != c.record.Header().To:
		return "the acknowledgement is by " + h.From.Name() + ", who is not the record's receiver", nil
	}
	return "", nil
}

// unread is a statement that its signer signed and that this version does not understand.
func unread(h identity.Header, err error) (string, error) {
	return "", unproven("the %s is signed by %s, but this version does not read it: %v", h.Type, h.From.Name(), err)
}

// cause is an error without its code.
func cause(err error) string {
	if e, ok := err.(*code.Error); ok {
		return e.Text
	}
	return err.Error()
}

// billed is what a row costs at least: the bytes of a read, the least storage of a write.
func billed(r usage.Row) usage.Quantities {
	switch r.Kind {
	case usage.RowRead:
		return usage.Quantities{Egress: r.Bytes}
	case usage.RowWrite:
		return usage.Quantities{ByteSeconds: usage.Mul64(r.Bytes, usage.MinStorageSeconds)}
	}
	return usage.Quantities{}
}

// duplicate proves that two rows of one log rest on one statement.
func (c *papers) duplicate(f *Finding) error {
	c.report(f)
	a, b := c.rows[0], c.rows[1]
	if a.Index >= b.Index || a.Kind != b.Kind {
		return unproven("rows %d and %d are not two rows of one kind, in order", a.Index, b.Index)
	}
	s, h, err := evidenceOf(a)
	if err != nil {
		return unproven("the statement in row %d does not hold: %v", a.Index, cause(err))
	}
	t, _, err := evidenceOf(b)
	if err != nil || !s.Equal(t) {
		return unproven("rows %d and %d rest on different statements", a.Index, b.Index)
	}
	f.What = "rows " + number(a.Index) + " and " + number(b.Index) + " both bill the one " + h.Type.String()
	f.Bytes = b.Bytes
	c.price(f, billed(b))
	return nil
}

// overCap proves that one custody of a record has more READ rows than its sender allowed.
func (c *papers) overCap(f *Finding) error {
	c.report(f)
	most := int(c.record.Header().MaxPulls)
	for i, r := range c.rows {
		if err := c.ofRecord(r); err != nil {
			return err
		}
		switch {
		case r.Kind != usage.RowRead:
			return unproven("row %d is a %s row", r.Index, r.Kind)
		case i > 0 && r.Index <= c.rows[i-1].Index:
			return unproven("the rows do not ascend")
		case r.Receipt != c.rows[0].Receipt:
			return unproven("the rows belong to two receipts")
		}
	}
	if len(c.rows) <= most {
		return unproven("%d reads are shown, %d are allowed", len(c.rows), most)
	}
	for _, r := range c.rows[most:] {
		f.Bytes += r.Bytes // at most 1,001 of them; a sum that wraps is of a relay's own making
	}
	f.What = number(uint64(len(c.rows))) + " reads of a record are billed, its sender allows " + number(uint64(most))
	c.price(f, usage.Quantities{Egress: f.Bytes})
	return nil
}

// oversize proves that a row says more bytes than there are, or that a deletion releases fewer.
func (c *papers) oversize(f *Finding) error {
	u, r := c.report(f), c.rows[0]
	if err := c.ofRecord(r); err != nil {
		return err
	}
	real, what, err := c.bytesOf(u, r)
	if err != nil {
		return err
	}
	if r.Kind == usage.RowDelete || r.Kind == usage.RowPurge {
		if r.Bytes >= real {
			return unproven("row %d releases %d bytes, the record has %d", r.Index, r.Bytes, real)
		}
		f.What, f.Bytes = "row "+number(r.Index)+" releases "+number(r.Bytes)+" bytes, "+what+" has "+number(real), real-r.Bytes
		return nil
	}
	if r.Bytes <= real {
		return unproven("row %d bills %d bytes, %s has %d", r.Index, r.Bytes, what, real)
	}
	f.What, f.Bytes = "row "+number(r.Index)+" bills "+number(r.Bytes)+" bytes, "+what+" has "+number(real), r.Bytes-real
	r.Bytes = f.Bytes
	c.price(f, billed(r))
	return nil
}

// bytesOf is how many bytes a row may bill by the record, or by its own evidence.
func (c *papers) bytesOf(u usage.VerifiedUsageReport, r usage.Row) (uint64, string, error) {
	if c.record != nil {
		if r.Kind == usage.RowRead {
			return c.record.StoredBytes(), "the record", nil
		}
		return c.record.StoredBytes() + usage.RecordOverhead, "the record", nil
	}
	if why, err := c.evidenceFault(u, r); why != "" || err != nil && err != errGrant {
		return 0, "", unproven("the statement in row %d does not hold", r.Index)
	}
	s, _, err := evidenceOf(r)
	if err != nil {
		return 0, "", unproven("the statement in row %d does not hold", r.Index)
	}
	switch r.Kind {
	case usage.RowWrite:
		o, err := usage.DecodeStoreOrder(s.Statement)
		return o.TotalBytes, "its order", err
	case usage.RowRead:
		q, err := usage.DecodeReadRequest(s.Statement)
		return q.MaxBytes, "its request", err
	}
	return 0, "", unproven("a %s row says nothing of bytes without its record", r.Kind)
}

// rowHead is how every row begins, with its version behind it.
var rowHead = []byte{0, 1}

const rowVersion = 1

// brokenRow proves that a leaf of the log is no row of it at its place.
func (c *papers) brokenRow(f *Finding) error {
	u, p := c.report(f), c.proof.Rows[0]
	row, err := usage.DecodeRow(p.Leaf)
	switch {
	case len(p.Leaf) > len(rowHead) && bytes.HasPrefix(p.Leaf, rowHead) && p.Leaf[len(rowHead)] != rowVersion:
		return unproven("leaf %d is a row of version %d; this program reads %d", p.Index, p.Leaf[len(rowHead)], rowVersion)
	case err != nil:
		f.What = "leaf " + number(p.Index) + " of the log is no row: " + err.Error()
	case row.Index != p.Index:
		f.What = "leaf " + number(p.Index) + " of the log says that it is row " + number(row.Index)
	case row.LogEpoch > u.LogEpoch:
		f.What = "row " + number(p.Index) + " is of a later log epoch than its report"
	default:
		return unproven("leaf %d is row %d", p.Index, row.Index)
	}
	return nil
}
