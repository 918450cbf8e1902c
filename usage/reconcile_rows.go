package usage

import (
	"errors"
	"fmt"
	"math"

	"relaymarket/identity"
)

// fault is a class with its reason; the zero value is no fault.
type fault struct {
	class Class
	why   string
}

func (f fault) is() bool { return f.class != 0 }

// row judges one row: its own evidence first, then the step from the row before.
func (a *audit) row(i int) {
	r := a.rows[i]
	o := &a.out[i]
	*o = outcome{index: uint64(i), class: ClassMatched}
	if a.misplaced(i, r) {
		a.refuse(i, ClassLog, "it is no row of this log at this place")
		a.aligned = false
		return
	}
	accepted, known := a.acceptedAt(r)
	var f fault
	switch {
	case r.Kind == RowWrite:
		o.bytes = r.Bytes
		f = a.write(i, r)
	case r.Kind == RowRead:
		o.bytes, o.used.Egress = r.Bytes, r.Bytes
		f = a.read(i, r)
	default:
		f = a.closing(i, r)
	}
	if s := a.step(r, accepted, known); s.is() {
		f = s
	}
	if f.is() {
		a.refuse(i, f.class, f.why)
	}
	a.state, a.aligned = r.State(), true
}

// misplaced tells whether a row does not stand where it says. In the rows of one lane, others are between.
func (a *audit) misplaced(i int, r Row) bool {
	switch {
	case a.bad[i] != nil:
		return true
	case !a.in.Lane.IsZero():
		a.out[i].index = r.Index
		return i > 0 && r.Index <= a.rows[i-1].Index
	}
	return r.Index != uint64(i) || r.LogEpoch != a.in.Report.LogEpoch
}

// acceptedAt is when the row's receipt was accepted, by the log.
func (a *audit) acceptedAt(r Row) (identity.UnixMilli, bool) {
	if c := a.custodies[r.Receipt]; c != nil {
		return c.accepted, true
	}
	return r.Time, !r.Kind.Closes()
}

// step checks the arithmetic from the row before. After a row that could not be read there is
// nothing to compare with, and a closing row of an unknown receipt cannot be computed: the
// first is refused itself, the second as such.
func (a *audit) step(r Row, accepted identity.UnixMilli, known bool) fault {
	if !a.aligned || !known || !a.in.Lane.IsZero() {
		return fault{}
	}
	if err := CheckRow(a.in.Prices, a.state, r, accepted); err != nil {
		return fault{ClassArithmetic, err.Error()}
	}
	return fault{}
}

// horizon is the latest time that a row of an honest relay can have.
func (a *audit) horizon() identity.UnixMilli {
	return a.in.Now + min(AcceptAhead, math.MaxUint64-a.in.Now)
}

// inService checks the time of a row against the clock and the service of the contract.
func (a *audit) inService(r Row) fault {
	if r.Time > a.horizon() {
		return fault{ClassOutside, "it lies in the future"}
	}
	if r.Time < a.in.Start || a.in.Until != 0 && r.Time >= a.in.Until {
		return fault{ClassOutside, "it is outside the service of the contract"}
	}
	return fault{}
}

// write judges a WRITE row and takes its records into custody. A row without a valid order
// is never paid; if a receipt that the client holds belongs to it, its records are taken all
// the same, so that later rows are judged by what they are.
func (a *audit) write(i int, r Row) fault {
	o, f := a.orderOf(i)
	if f.is() {
		if h := a.receipts[r.Receipt]; h != nil {
			a.take(i, r, h)
		}
		return f
	}
	if !o.Grant.IsZero() && a.in.Lane.IsZero() {
		return a.laneWrite(i, r, o)
	}
	h := a.held[o.Digest()]
	if h == nil {
		return fault{ClassReceipts, "the client signed its order, but holds neither its records nor its receipt"}
	}
	if h.written {
		return fault{ClassDuplicate, "its order was billed before"}
	}
	h.written = true
	f = a.writeFault(r, h)
	a.take(i, r, h)
	return f
}

// orderOf opens the order of a WRITE row.
func (a *audit) orderOf(i int) (VerifiedStoreOrder, fault) {
	o, err := openAt(a, a.evidence[i], OpenStoreOrderVerified)
	if err != nil {
		return o, fault{ClassNoEvidence, "its order does not hold: " + err.Error()}
	}
	if why := a.orderFault(o); why != "" {
		return o, fault{ClassNoEvidence, why}
	}
	return o, fault{}
}

// writeFault compares a WRITE row with order and receipt.
func (a *audit) writeFault(r Row, h *held) fault {
	for _, f := range h.records {
		if a.records[f.Digest] != nil {
			return fault{ClassDuplicate, "record " + f.Digest.Short() + " was billed under another order before"}
		}
	}
	switch {
	case r.Bytes > h.order.TotalBytes:
		return fault{ClassOversize, fmt.Sprintf("%d bytes, ordered were %d", r.Bytes, h.order.TotalBytes)}
	case r.Time > h.order.NotAfter:
		return fault{ClassOutside, "the order was accepted after its time"}
	case !h.hasReceipt:
		return fault{ClassReceipts, h.why}
	case r.Receipt != h.receipt.Digest():
		return fault{ClassReceipts, "it names another receipt than the one held"}
	case r.Bytes != h.receipt.StoredBytes || r.Time != h.receipt.AcceptedMs || r.Arrival != h.receipt.Arrival:
		return fault{ClassReceipts, "bytes, time or arrival are not those of the receipt"}
	case r.LogEpoch != h.receipt.LogEpoch || r.Index != h.receipt.RowIndex:
		return fault{ClassReceipts, "the receipt names another row"}
	}
	return a.inService(r)
}

// take begins the custody of an order's records, whatever is wrong with the row.
func (a *audit) take(i int, r Row, h *held) {
	c := &custody{index: uint64(i), accepted: r.Time, until: h.receipt.ServiceUntil}
	if !h.hasReceipt {
		c.until = math.MaxUint64
	}
	for _, f := range h.records {
		if a.records[f.Digest] != nil {
			continue
		}
		k := &keep{facts: f, of: c, proven: a.in.Seen[f.Digest]}
		a.records[f.Digest] = k
		c.records = append(c.records, k)
	}
	if a.custodies[r.Receipt] == nil {
		a.custodies[r.Receipt] = c
	}
	a.writes[i] = c
	a.order = append(a.order, c)
}

// custodyEnd is when the relay's duty for a record ends.
func (k *keep) custodyEnd() identity.UnixMilli { return k.facts.CustodyEnd(k.of.until) }

// read judges a READ row.
func (a *audit) read(i int, r Row) fault {
	q, err := openAt(a, a.evidence[i], OpenReadRequestVerified)
	if err != nil {
		return fault{ClassNoEvidence, "its request does not hold: " + err.Error()}
	}
	if c := a.custodies[r.Receipt]; c != nil && c.lane != nil {
		return a.laneRead(i, r, q, c)
	}
	k := a.records[r.Record]
	if f := a.readEvidence(r, q, k); f.is() {
		return f
	}
	if a.served[q.Digest()] {
		return fault{ClassDuplicate, "its request was billed before"}
	}
	a.served[q.Digest()] = true
	if f := a.readBounds(r, q, k); f.is() {
		return f
	}
	if k.pulls >= k.facts.MaxPulls {
		return fault{ClassPulls, fmt.Sprintf("the record may be read %d times", k.facts.MaxPulls)}
	}
	k.pulls++
	if a.in.Policy.Contacts != nil && !a.in.Policy.Contacts[q.From] {
		a.note(outcome{index: uint64(i), class: ClassStranger, bytes: r.Bytes, used: Quantities{Egress: r.Bytes}, info: true})
	}
	return a.heard(i, r, q, k)
}

// readEvidence checks that the request asks this relay for this record by its receiver, and
// that the record is kept under the receipt that the row names.
func (a *audit) readEvidence(r Row, q VerifiedReadRequest, k *keep) fault {
	switch {
	case q.Network != a.in.Network || q.To != a.in.Relay:
		return fault{ClassNoEvidence, "its request is to another relay"}
	case q.Record != r.Record:
		return fault{ClassNoEvidence, "its request is for another record"}
	case k == nil:
		return fault{ClassNoEvidence, "its record was not stored under this contract"}
	case q.From != k.facts.Receiver:
		return fault{ClassNoEvidence, "its request is not by the record's receiver"}
	case a.custodies[r.Receipt] != k.of:
		return fault{ClassReceipts, "it names another receipt than its record's"}
	}
	return fault{}
}

// readBounds checks sizes and times of a read.
func (a *audit) readBounds(r Row, q VerifiedReadRequest, k *keep) fault {
	switch {
	case r.Bytes > k.facts.Stored:
		return fault{ClassOversize, fmt.Sprintf("%d bytes, the record has %d", r.Bytes, k.facts.Stored)}
	case r.Bytes > q.MaxBytes:
		return fault{ClassOversize, fmt.Sprintf("%d bytes, asked for were at most %d", r.Bytes, q.MaxBytes)}
	case r.Time > q.NotAfter:
		return fault{ClassOutside, "its request was past its time"}
	case k.closed:
		return fault{ClassOutside, fmt.Sprintf("a read after the record's %s row", k.how)}
	case r.Time >= k.custodyEnd():
		return fault{ClassOutside, "a read after the end of the record's custody"}
	}
	return a.inService(r)
}

// heard says what the receiver said of a good read: the acknowledgements that came over his
// own relays count before the one that the serving relay attached, and among equals one that
// disagrees counts first.
func (a *audit) heard(i int, r Row, q VerifiedReadRequest, k *keep) fault {
	o := &a.out[i]
	o.class = ClassUnacknowledged
	if deadline := r.Time + a.in.Policy.AckDeadline; deadline < r.Time || a.in.Now <= deadline {
		o.class = ClassPending
	}
	var last *word
	for _, w := range a.words[q.Digest()] {
		if w.ack.From != q.From || last != nil && w.viaRelay && !last.viaRelay {
			continue
		}
		if err := disagrees(w.ack, r); err != nil {
			return fault{ClassDisputed, err.Error()}
		}
		last = w
	}
	if last == nil {
		o.refused = o.class == ClassUnacknowledged // until tolerate
		return fault{}
	}
	o.class, o.viaRelay = ClassMatched, last.viaRelay
	if k != nil {
		k.proven = max(k.proven, r.Time)
	}
	return fault{}
}

// disagrees compares an acknowledgement with the row of its request.
func disagrees(k VerifiedAcknowledgement, r Row) error {
	switch {
	case k.Verdict != VerdictOK:
		return errors.New("its receiver calls the delivery bad")
	case k.Record != r.Record:
		return errors.New("its receiver acknowledges another record")
	case k.Bytes != r.Bytes:
		return fmt.Errorf("its receiver acknowledges %d bytes, billed are %d", k.Bytes, r.Bytes)
	}
	return nil
}
