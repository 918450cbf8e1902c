package evidence

import (
	"relaymarket/identity"
	"relaymarket/usage"
)

// afterEnd proves that something was billed when it was over: after a row that ended the record, after
// the relay's own delete receipt, after the end of custody, or past the time of its own order.
func (c *papers) afterEnd(f *Finding) error {
	u := c.report(f)
	r := c.rows[len(c.rows)-1]
	var err error
	switch {
	case len(c.rows) == 2:
		err = c.afterRow(f)
	case c.gone != nil:
		err = c.afterReceipt(f, u, r)
	case c.receipt != nil:
		err = c.afterCustody(f, u, r)
	default:
		err = c.afterTime(f, u, r)
	}
	if err != nil {
		return err
	}
	f.Bytes = r.Bytes
	c.price(f, billed(r))
	return nil
}

// ends tells whether a row ends the record that it names.
func ends(r usage.Row) bool { return r.Kind == usage.RowDelete || r.Kind == usage.RowPurge }

func (c *papers) afterRow(f *Finding) error {
	a, b := c.rows[0], c.rows[1]
	switch {
	case a.Index >= b.Index:
		return unproven("row %d does not come before row %d", a.Index, b.Index)
	case !ends(a):
		return unproven("row %d, a %s row, does not end one record", a.Index, a.Kind)
	case a.Record != b.Record || a.Receipt != b.Receipt || a.LogEpoch != b.LogEpoch:
		return unproven("the rows are not about one custody of one record")
	}
	f.What = "the record has a " + b.Kind.String() + " row at " + number(b.Index) + ", after its " + a.Kind.String() + " row at " + number(a.Index)
	return nil
}

func (c *papers) afterReceipt(f *Finding, u usage.VerifiedUsageReport, r usage.Row) error {
	n := c.gone
	switch {
	case n.From != u.From || n.Contract != u.Contract:
		return unproven("the delete receipt is of another contract")
	case n.LogEpoch != r.LogEpoch:
		return unproven("between the delete receipt and the row the log was reset")
	case n.Record != r.Record:
		return unproven("row %d is about another record", r.Index)
	case r.Index <= n.RowIndex:
		return unproven("row %d does not come after row %d, by which the record was deleted", r.Index, n.RowIndex)
	}
	f.What = "the record has a " + r.Kind.String() + " row at " + number(r.Index) + ", after the relay said that row " + number(n.RowIndex) + " deleted it"
	return nil
}

func (c *papers) afterCustody(f *Finding, u usage.VerifiedUsageReport, r usage.Row) error {
	n := c.receipt
	switch {
	case c.record == nil || c.order == nil:
		return unproven("the end of custody needs record, order and receipt")
	case n.From != u.From || n.Contract != u.Contract || n.Digest() != r.Receipt:
		return unproven("the receipt is not that of row %d", r.Index)
	case r.Kind != usage.RowRead || r.Record != c.record.Digest():
		return unproven("row %d is no read of the record", r.Index)
	case r.Time < c.custodyEnd():
		return unproven("row %d lies within the custody of the record", r.Index)
	}
	f.What = "row " + number(r.Index) + " bills a read after the end of the record's custody"
	return nil
}

// afterTime compares a row with the time to which its own order or request was good.
func (c *papers) afterTime(f *Finding, u usage.VerifiedUsageReport, r usage.Row) error {
	if c.record != nil || c.order != nil || len(c.proof.OrderPath) > 0 {
		return unproven("nothing that ends is shown")
	}
	why, err := c.evidenceFault(u, r)
	if err == errGrant { // whoever ordered it, the order has its time
		err = nil
	}
	if err == nil && why != "" {
		err = unproven("the statement in row %d does not hold", r.Index)
	}
	if err != nil {
		return err
	}
	s, _, err := evidenceOf(r)
	if err != nil {
		return err
	}
	var until identity.UnixMilli
	switch r.Kind {
	case usage.RowWrite:
		o, err := usage.DecodeStoreOrder(s.Statement)
		if err != nil {
			return err
		}
		until = o.NotAfter
	case usage.RowRead:
		q, err := usage.DecodeReadRequest(s.Statement)
		if err != nil {
			return err
		}
		until = q.NotAfter
	default:
		return unproven("the statement in a %s row has no time that ends", r.Kind)
	}
	if r.Time <= until {
		return unproven("row %d is within the time of its statement", r.Index)
	}
	f.What = "row " + number(r.Index) + " is later than its own " + map[bool]string{true: "order", false: "request"}[r.Kind == usage.RowWrite] + " allows"
	return nil
}
