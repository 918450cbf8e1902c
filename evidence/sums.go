package evidence

import (
	"strconv"

	"relaymarket/identity"
	"relaymarket/usage"
)

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// wrongSum proves that the totals of a row do not follow from the row before, or those of a report
// from its last row.
func (c *papers) wrongSum(f *Finding) error {
	u := c.report(f)
	switch {
	case len(c.reports) == 1 && len(c.rows) == 0:
		return c.emptyTotals(f, u)
	case c.terms == nil:
		return c.headTotals(f, u)
	}
	prev, r := usage.LogState{Epoch: c.rows[0].LogEpoch}, c.rows[0]
	if len(c.rows) == 2 {
		prev, r = c.rows[0].State(), c.rows[1]
	}
	switch {
	case r.Index != prev.Size:
		return unproven("row %d does not follow row %d", r.Index, c.rows[0].Index)
	case r.LogEpoch != prev.Epoch:
		return unproven("between rows %d and %d the log was reset", c.rows[0].Index, r.Index)
	}
	accepted := r.Time
	if r.Kind.Closes() {
		switch {
		case c.receipt == nil:
			return unproven("what a %s row adds depends on its receipt, which is not shown", r.Kind)
		case c.receipt.Digest() != r.Receipt || c.receipt.From != u.From:
			return unproven("the receipt shown is not that of row %d", r.Index)
		}
		accepted = c.receipt.AcceptedMs
	}
	err := usage.CheckRow(c.terms.Prices, prev, r, accepted)
	if err == nil {
		return unproven("the totals of row %d follow from the row before", r.Index)
	}
	f.What = "the totals of row " + number(r.Index) + " do not follow: " + err.Error()
	c.overcharge(f, prev, r, accepted)
	return nil
}

// overcharge is by how much the sum of a row is too high, if it can be computed.
func (c *papers) overcharge(f *Finding, prev usage.LogState, r usage.Row, accepted identity.UnixMilli) {
	want, _, err := usage.AppendRow(prev, c.terms.Prices, usage.RowInput{
		Kind: r.Kind, Arrival: r.Arrival, Time: r.Time, Bytes: r.Bytes, Receipt: r.Receipt, Record: r.Record, Accepted: accepted, Evidence: r.Evidence,
	})
	if err == nil && r.Owed > want.Owed {
		f.Msat, f.Priced = r.Owed-want.Owed, true
	}
}

// headTotals proves that a report's totals are not those of its last row.
func (c *papers) headTotals(f *Finding, u usage.VerifiedUsageReport) error {
	r := c.rows[0]
	switch {
	case len(c.rows) != 1 || r.Index+1 != u.Size:
		return unproven("without the terms only the last row and its report can be compared")
	case u.LiveBytes == r.LiveBytes && u.ByteSeconds == r.ByteSeconds && u.Egress == r.Egress && u.Owed == r.Owed:
		return unproven("the totals of the report are those of its last row")
	}
	f.What = "the totals of report " + number(u.Number) + " are not those of its last row"
	if u.Owed > r.Owed {
		f.Msat, f.Priced = u.Owed-r.Owed, true
	}
	return nil
}

// emptyTotals proves that a report bills a log without rows.
func (c *papers) emptyTotals(f *Finding, u usage.VerifiedUsageReport) error {
	if u.Size != 0 || u.LiveBytes == 0 && u.ByteSeconds == (usage.U128{}) && u.Egress == 0 && u.Owed == 0 {
		return unproven("no row is shown")
	}
	f.What = "report " + number(u.Number) + " bills a log without rows"
	f.Msat, f.Priced = u.Owed, true
	return nil
}

// falseReceipt proves that a receipt names an order and says other things than it.
func (c *papers) falseReceipt(f *Finding) error {
	r := *c.receipt
	f.Culprit, f.Against, f.Contract = r.From, c.order.From, c.order.Contract
	if r.From != c.order.To {
		return unproven("the receipt is by another relay than was ordered from")
	}
	err := r.Answers(*c.order)
	if err == nil {
		return unproven("the receipt answers its order")
	}
	f.What, f.Bytes = "the receipt does not fit its order: "+cause(err), r.StoredBytes
	return nil
}
