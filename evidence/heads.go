package evidence

import (
	"bytes"

	"relaymarket/usage"
)

// pair gives the two reports of a proof, if they are different ones of one log.
func (c *papers) pair(f *Finding) (a, b usage.VerifiedUsageReport, err error) {
	a, b = c.report(f), c.reports[1]
	if a.Digest() == b.Digest() {
		return a, b, unproven("both are one report")
	}
	return a, b, sameLog(a, b)
}

func (c *papers) twoReports(f *Finding) error {
	a, b, err := c.pair(f)
	switch {
	case err != nil:
		return err
	case a.Number != b.Number:
		return unproven("the reports have the numbers %d and %d", a.Number, b.Number)
	}
	f.What = "two different reports have number " + number(a.Number)
	f.between(a, b)
	return nil
}

// between is what two reports differ by, in money.
func (f *Finding) between(a, b usage.VerifiedUsageReport) {
	if d := max(a.Owed, b.Owed) - min(a.Owed, b.Owed); d > 0 {
		f.Msat, f.Priced = d, true
	}
}

func (c *papers) badConsistency(f *Finding) error {
	u := c.report(f)
	err := usage.CheckReport(nil, u)
	if err == nil {
		return unproven("the embedded proof of report %d holds", u.Number)
	}
	f.What = "the log of report " + number(u.Number) + " does not go on from the " + number(u.PrevSize) + " rows before it, by its own proof"
	return nil
}

func (c *papers) twoRoots(f *Finding) error {
	a, b, err := c.pair(f)
	switch {
	case err != nil:
		return err
	case a.Size != b.Size:
		return unproven("the logs have %d and %d rows", a.Size, b.Size)
	case a.Root == b.Root:
		return unproven("both have one root")
	}
	f.What = "a log of " + number(a.Size) + " rows has two roots, in reports " + number(a.Number) + " and " + number(b.Number)
	f.between(a, b)
	return nil
}

// rewrittenLog proves that a later report does not go on from an earlier one.
func (c *papers) rewrittenLog(f *Finding) error {
	a, b, err := c.pair(f)
	if err != nil {
		return err
	}
	if a.Number >= b.Number {
		return unproven("the first report must have the lower number")
	}
	root := a.Root
	if a.Size == 0 {
		root = [32]byte{}
	}
	next := b.Number == a.Number+1
	switch {
	case b.Size < a.Size:
		f.What = "the log went back from " + number(a.Size) + " rows to " + number(b.Size)
	case b.Owed < a.Owed || b.Egress < a.Egress || b.ByteSeconds.Less(a.ByteSeconds):
		f.What = "the totals of the log fell"
	case next && b.Previous != a.Digest():
		f.What = "report " + number(b.Number) + " names another report before it"
	case next && (b.PrevSize != a.Size || b.PrevRoot != root):
		f.What = "report " + number(b.Number) + " names another log before it"
	default:
		return unproven("nothing in report %d contradicts report %d", b.Number, a.Number)
	}
	f.What += " between reports " + number(a.Number) + " and " + number(b.Number)
	f.between(a, b)
	return nil
}

// otherRow proves that the log has another row where a receipt, or another report, puts one.
func (c *papers) otherRow(f *Finding) error {
	u, r := c.report(f), c.rows[0]
	if len(c.reports) == 2 {
		return c.twoRows(f)
	}
	if len(c.rows) != 1 || (c.receipt == nil) == (c.gone == nil) {
		return unproven("one row and one receipt are needed, or two rows of two reports")
	}
	what, index, epoch, right := "receipt", uint64(0), uint32(0), false
	if n := c.receipt; n != nil {
		if n.From != u.From || n.Contract != u.Contract { // by a grant, the receipt is another's than the report
			return unproven("the receipt is of another contract")
		}
		index, epoch, right = n.RowIndex, n.LogEpoch, r.Kind == usage.RowWrite && r.Receipt == n.Digest()
	} else {
		n := c.gone
		if n.From != u.From || n.Contract != u.Contract {
			return unproven("the delete receipt is of another contract")
		}
		what, index, epoch, right = "delete receipt", n.RowIndex, n.LogEpoch, r.Kind == usage.RowDelete && r.Record == n.Record
	}
	switch {
	case r.Index != index:
		return unproven("the %s names row %d, row %d is shown", what, index, r.Index)
	case r.LogEpoch != epoch:
		return unproven("between the %s and the row the log was reset", what)
	case right:
		return unproven("row %d is the one that the %s names", index, what)
	}
	f.What, f.Bytes = "row "+number(index)+", a "+r.Kind.String()+" row, is another than the "+what+" says", r.Bytes
	return nil
}

// twoRows proves that two reports have different rows at one place.
func (c *papers) twoRows(f *Finding) error {
	_, _, err := c.pair(f)
	switch {
	case err != nil:
		return err
	case len(c.rows) != 2 || c.proof.Rows[0].Report != 0 || c.proof.Rows[1].Report != 1 || c.receipt != nil || c.gone != nil:
		return unproven("one row of each report is needed, and nothing else")
	case c.rows[0].Index != c.rows[1].Index || c.rows[0].LogEpoch != c.rows[1].LogEpoch:
		return unproven("the rows are of different places")
	case bytes.Equal(c.proof.Rows[0].Leaf, c.proof.Rows[1].Leaf):
		return unproven("the rows are equal")
	}
	f.What = "row " + number(c.rows[0].Index) + " of the log is two different rows in two reports"
	return nil
}
