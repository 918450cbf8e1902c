package usage

import "fmt"

// closing judges a DELETE, EXPIRE or PURGE row and ends the storage that it ends. Storage
// ends whatever is wrong with the row: nothing is paid beyond what the relay says it kept.
func (a *audit) closing(i int, r Row) fault {
	c := a.custodies[r.Receipt]
	var f fault
	switch {
	case c == nil:
		return fault{ClassReceipts, "it belongs to no receipt written before it"}
	case c.lane != nil:
		f = a.laneClosing(i, r, c)
	case r.Kind == RowExpire:
		f = a.expire(r, c)
	default:
		f = a.closeOne(i, r, c)
	}
	if !f.is() && r.Time > a.horizon() {
		f = fault{ClassOutside, "it lies in the future"}
	}
	return f
}

// closeOne judges a DELETE or PURGE row.
func (a *audit) closeOne(i int, r Row, c *custody) fault {
	k := a.records[r.Record]
	if k == nil || k.of != c {
		return fault{ClassReceipts, "its record is not one of its receipt"}
	}
	var f fault
	switch {
	case r.Kind == RowDelete:
		f = a.deleteEvidence(i, k)
	case a.in.Purged == 0 || r.Time < a.in.Purged:
		f = fault{ClassNoEvidence, "the relay had given no notice of a purge"}
	}
	closed := k.closed
	if !closed {
		k.close(r)
	}
	switch {
	case f.is():
		return f
	case closed && k.how == r.Kind:
		return fault{ClassDuplicate, fmt.Sprintf("the record had a %s row before", k.how)}
	case closed:
		return fault{ClassOutside, fmt.Sprintf("a %s row after the record's %s row", r.Kind, k.how)}
	case r.Bytes != k.facts.Billable():
		return fault{ClassReceipts, fmt.Sprintf("%d bytes released, the record has %d", r.Bytes, k.facts.Billable())}
	case r.Time > k.custodyEnd():
		return fault{ClassOutside, fmt.Sprintf("a %s row after the end of the record's custody", r.Kind)}
	}
	return fault{}
}

func (k *keep) close(r Row) { k.closed, k.end, k.how = true, r.Time, r.Kind }

// deleteEvidence checks who ordered a deletion: the sender, or the receiver by acknowledging
// a record that its sender marked for it.
func (a *audit) deleteEvidence(i int, k *keep) fault {
	if d, err := openAt(a, a.evidence[i], OpenDeleteVerified); err == nil {
		if d.Network == a.in.Network && d.To == a.in.Relay && d.From == k.facts.Sender && d.Record == k.facts.Digest {
			return fault{}
		}
		return fault{ClassNoEvidence, "its order to delete is not the sender's for this record"}
	}
	w, err := openAt(a, a.evidence[i], OpenAcknowledgementVerified)
	switch {
	case err != nil:
		return fault{ClassNoEvidence, "its order to delete does not hold"}
	case w.Network != a.in.Network || w.To != a.in.Relay || w.From != k.facts.Receiver || w.Record != k.facts.Digest || w.Verdict != VerdictOK:
		return fault{ClassNoEvidence, "its acknowledgement is not the receiver's for this record"}
	case !k.facts.DeleteOnAck:
		return fault{ClassNoEvidence, "its record is not to be deleted when acknowledged"}
	}
	return fault{}
}

// expire judges an EXPIRE row, which closes all of a receipt's records whose custody is over.
func (a *audit) expire(r Row, c *custody) fault {
	var bytes uint64
	late, any := false, false
	for _, k := range c.records {
		if k.closed || k.custodyEnd() > r.Time {
			continue
		}
		any, late = true, late || k.custodyEnd() < r.Time
		bytes += k.facts.Billable() // cannot wrap: Names added them up
		k.close(r)
	}
	switch {
	case !any:
		return fault{ClassReceipts, "nothing of its receipt ends then"}
	case bytes != r.Bytes:
		return fault{ClassReceipts, fmt.Sprintf("%d bytes released, expired are %d", r.Bytes, bytes)}
	case late:
		return fault{ClassOutside, "it comes after the end of custody: storage was billed too long"}
	}
	return fault{}
}

// span is the storage of one record in seconds: what the log bills, how much of it lies
// within custody, and how much of that is proven.
type span struct{ billed, good, proven uint64 }

// spanOf measures the storage of a record up to the last row of the log.
func (a *audit) spanOf(k *keep) span {
	from, billedTo := k.of.accepted, a.head
	if k.closed {
		billedTo = k.end
	}
	end, closed := min(billedTo, k.custodyEnd(), a.horizon()), k.closed
	if t, ok := a.deleted[k.facts.Digest]; ok && t <= end {
		end, closed = t, true
	}
	s := span{openSeconds(from, billedTo), openSeconds(from, end), openSeconds(from, min(k.proven, end))}
	if closed {
		s.good = max(s.good, MinStorageSeconds)
	}
	if k.proven >= end {
		s.proven = s.good
	}
	s.billed = max(s.billed, s.good)
	return s
}

// storage adds the storage of every receipt to its WRITE row: what is good there, what is
// billed beyond custody as ClassOutside, what nothing proves as ClassUnproven.
func (a *audit) storage() {
	for _, c := range a.order {
		if c.lane != nil {
			a.laneStorage(c)
			continue
		}
		var good, over, unproven part
		for _, k := range c.records {
			s, b := a.spanOf(k), k.facts.Billable()
			if c.refused {
				s.good, s.proven = s.billed, s.billed
			}
			good.add(0, Quantities{ByteSeconds: Mul64(b, s.proven)})
			over.add(0, Quantities{ByteSeconds: Mul64(b, s.billed-s.good)})
			unproven.add(0, Quantities{ByteSeconds: Mul64(b, s.good-s.proven)})
		}
		a.settle(c, good.used, over.used, unproven.used)
	}
}

func (a *audit) settle(c *custody, good, over, unproven Quantities) {
	a.out[c.index].used = good
	if !over.IsZero() {
		a.note(outcome{index: a.out[c.index].index, class: ClassOutside, used: over, refused: true, why: "storage is billed beyond the end of custody"})
	}
	if !unproven.IsZero() {
		a.note(outcome{
			index: a.out[c.index].index, class: ClassUnproven, used: unproven, refused: a.in.Policy.Storage == PayProven,
			why: "nothing shows that the records were still kept",
		})
	}
}
