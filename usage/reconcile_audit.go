package usage

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"relaymarket/identity"
)

func isGap(err error) bool { return errors.Is(err, ErrReportGap) }

// outcome is what became of one row, or of a part of its storage.
type outcome struct {
	index    uint64
	class    Class
	bytes    uint64
	used     Quantities
	refused  bool
	info     bool // counted, neither confirmed nor refused
	viaRelay bool // acknowledged, but only as far as the serving relay says
	why      string
}

// keep is the custody of one record.
type keep struct {
	facts  RecordFacts
	of     *custody
	pulls  uint16
	closed bool
	end    identity.UnixMilli // of storage by the log, once closed
	how    RowKind            // of the closing row
	proven identity.UnixMilli // last sign that the record was there
}

// custody is what one receipt took into custody by one WRITE row.
type custody struct {
	index    uint64
	accepted identity.UnixMilli // the time of the row
	until    identity.UnixMilli // end of service
	refused  bool
	records  []*keep
	lane     *sponsored // of an order under a grant, in the sponsor's audit; it has no records
}

// held is a verified HeldOrder.
type held struct {
	order      VerifiedStoreOrder
	receipt    VerifiedReceipt
	hasReceipt bool
	why        string // what is wrong with the receipt
	records    []RecordFacts
	written    bool
}

// word is what a receiver said of one request.
type word struct {
	ack      VerifiedAcknowledgement
	viaRelay bool
}

// audit is the state of one Reconcile.
type audit struct {
	in   Input
	rows []Row
	bad  []error // by row: why it does not decode
	out  []outcome

	signed   []identity.Signed
	verdicts []identity.Verdict
	evidence []int // by row: place in signed, −1 for none
	attached []int // by row: the same for the delivery acknowledgement

	held      map[identity.Digest]*held              // by order
	receipts  map[identity.Digest]*held              // by receipt
	custodies map[identity.Digest]*custody           // by receipt
	writes    map[int]*custody                       // by row
	order     []*custody                             // in order of the log
	records   map[identity.Digest]*keep              // by record
	known     map[identity.Digest]RecordFacts        // by record: all that was ever ordered
	served    map[identity.Digest]bool               // by request: a row billed it
	words     map[identity.Digest][]*word            // by request, stronger ones first
	spoken    []*word                                // the same in order of appearance
	deleted   map[identity.Digest]identity.UnixMilli // by record: the time of the row that its DeleteReceipt names

	state   LogState
	aligned bool // state is that of the row before
	head    identity.UnixMilli

	grants  map[identity.Digest]*granted // by grant
	ordered map[identity.Digest]bool     // by order under a grant: a row billed it

	findings []outcome
}

func newAudit(in Input) *audit {
	n := len(in.Rows)
	return &audit{
		in: in, rows: make([]Row, n), bad: make([]error, n), out: make([]outcome, n),
		evidence: make([]int, n), attached: make([]int, n),
		held: make(map[identity.Digest]*held), receipts: make(map[identity.Digest]*held),
		custodies: make(map[identity.Digest]*custody), writes: make(map[int]*custody),
		records: make(map[identity.Digest]*keep), known: make(map[identity.Digest]RecordFacts),
		served: make(map[identity.Digest]bool), words: make(map[identity.Digest][]*word),
		deleted: make(map[identity.Digest]identity.UnixMilli),
		grants:  make(map[identity.Digest]*granted), ordered: make(map[identity.Digest]bool),
		state: LogState{Epoch: in.Report.LogEpoch}, aligned: true,
	}
}

// refuseAll makes every row ClassLog: the log as a whole is not what the relay signed.
func (a *audit) refuseAll(err error) {
	for i := range a.out {
		a.out[i] = outcome{index: uint64(i), class: ClassLog, refused: true, why: "the log contradicts its signed head: " + err.Error()}
	}
}

// collect decodes all rows and verifies all signatures at once.
func (a *audit) collect() {
	for i, e := range a.in.Rows {
		a.rows[i], a.bad[i] = DecodeRow(e.Row)
		a.evidence[i], a.attached[i] = a.parse(a.rows[i].Evidence), a.parse(e.Ack)
	}
	var orders, receipts, acks, deleted, grants, revoked []int
	for _, g := range a.in.Grants {
		grants, revoked = append(grants, a.add(g.Grant)), append(revoked, a.add(g.Revoked))
	}
	for _, o := range a.in.Orders {
		orders, receipts = append(orders, a.add(o.Order)), append(receipts, a.add(o.Receipt))
	}
	for _, s := range a.in.Acks {
		acks = append(acks, a.add(s))
	}
	for _, s := range a.in.Deleted {
		deleted = append(deleted, a.add(s))
	}
	a.verdicts = identity.VerifyBatch(a.signed)
	for i := range grants {
		a.holdGrant(grants[i], revoked[i])
	}
	for i := range orders {
		a.hold(a.in.Orders[i].Records, orders[i], receipts[i])
	}
	for _, at := range acks {
		a.hear(at, false)
	}
	for _, at := range a.attached {
		a.hear(at, true)
	}
	for _, at := range deleted {
		a.holdDeleted(at)
	}
	if n := len(a.rows); n > 0 {
		a.head = a.rows[n-1].Time
	}
}

func (a *audit) add(s identity.Signed) int {
	if s.IsZero() {
		return -1
	}
	a.signed = append(a.signed, s)
	return len(a.signed) - 1
}

func (a *audit) parse(raw []byte) int {
	if len(raw) == 0 {
		return -1
	}
	s, err := identity.ParseSigned(raw)
	if err != nil {
		return -1
	}
	return a.add(s)
}

// errNone is why there is nothing to open.
var errNone = errors.New("it is missing or no signed statement")

// openAt opens the statement at a place found by add or parse.
func openAt[T any](a *audit, at int, open func(identity.Signed, identity.Verdict) (T, error)) (T, error) {
	if at < 0 {
		var none T
		return none, errNone
	}
	return open(a.signed[at], a.verdicts[at])
}

// hold takes in one of the client's orders. One that is not the client's, or not for these
// records, is left out: it can speak for no row.
func (a *audit) hold(records []RecordFacts, order, receipt int) {
	o, err := openAt(a, order, OpenStoreOrderVerified)
	if err != nil || o.Grant != a.in.Lane || a.orderFault(o) != "" || o.Names(records) != nil {
		return
	}
	h := &held{order: o, records: records, why: "no receipt for its order is held"}
	if r, err := openAt(a, receipt, OpenReceiptVerified); err == nil {
		if err = r.Answers(o); err == nil {
			h.receipt, h.hasReceipt = r, true
		} else {
			h.why = "the receipt held does not answer the order: " + err.Error()
		}
	}
	if old := a.held[o.Digest()]; old != nil && old.hasReceipt {
		return
	}
	a.held[o.Digest()] = h
	if h.hasReceipt {
		a.receipts[h.receipt.Digest()] = h
	}
	for _, f := range records {
		a.known[f.Digest] = f
	}
}

// orderFault is what keeps an order from being one of the client to the relay under this
// contract.
func (a *audit) orderFault(o VerifiedStoreOrder) string {
	switch {
	case o.Network != a.in.Network || o.To != a.in.Relay:
		return "the order is between other parties"
	case o.Contract != a.in.Contract || o.Terms != a.in.Terms:
		return "the order is for another contract"
	case !o.Grant.IsZero():
		return a.grantFault(o)
	case o.From != a.in.Client:
		return "the order is between other parties"
	}
	return ""
}

// hear takes in an acknowledgement that speaks of this relay.
func (a *audit) hear(at int, viaRelay bool) {
	k, err := openAt(a, at, OpenAcknowledgementVerified)
	if err != nil || k.Network != a.in.Network || k.Relay != a.in.Relay {
		return
	}
	w := &word{ack: k, viaRelay: viaRelay}
	a.words[k.Request] = append(a.words[k.Request], w)
	a.spoken = append(a.spoken, w)
}

// holdDeleted takes in a DeleteReceipt of the relay: storage ends with the row that it names,
// and if another row stands there, that row is ClassLog.
func (a *audit) holdDeleted(at int) {
	d, err := openAt(a, at, OpenDeleteReceiptVerified)
	if err != nil || d.Network != a.in.Network || d.From != a.in.Relay || d.Contract != a.in.Contract || d.LogEpoch != a.in.Report.LogEpoch {
		return
	}
	if d.RowIndex >= uint64(len(a.rows)) {
		return
	}
	r := a.rows[d.RowIndex]
	if r.Kind != RowDelete || r.Record != d.Record {
		a.note(outcome{index: d.RowIndex, class: ClassLog, refused: true, why: "a deletion receipt of the relay names another row at this index"})
	}
	if old, ok := a.deleted[d.Record]; !ok || r.Time < old {
		a.deleted[d.Record] = r.Time
	}
}

func (a *audit) note(o outcome) { a.findings = append(a.findings, o) }

// namedRows checks that every receipt finds its own row at the index that it names.
func (a *audit) namedRows() {
	for _, o := range a.in.Orders {
		h := a.heldOf(o.Order)
		if h == nil || !h.hasReceipt || h.receipt.LogEpoch != a.in.Report.LogEpoch || h.receipt.RowIndex >= uint64(len(a.rows)) {
			continue
		}
		i := h.receipt.RowIndex
		if r := a.rows[i]; r.Kind == RowWrite && r.Receipt == h.receipt.Digest() {
			continue
		}
		a.refuse(int(i), ClassLog, "a receipt of the relay names another row at this index")
	}
}

func (a *audit) heldOf(s identity.Signed) *held {
	h, err := identity.PeekHeader(s.Statement)
	if err != nil {
		return nil
	}
	return a.held[identity.StatementDigest(h.Type, s.Statement)]
}

// refuse turns the outcome of a row into a refusal.
func (a *audit) refuse(i int, c Class, why string) {
	o := &a.out[i]
	o.class, o.refused, o.why = c, true, why
	if c := a.writes[i]; c != nil {
		c.refused = true
	}
}

// tolerate pays overdue reads, in order of the log, as long as they stay within the tolerated
// share of all good reads' bytes.
func (a *audit) tolerate() {
	var all uint64
	for _, o := range a.out {
		if o.used.Egress > 0 && (!o.refused || o.class == ClassUnacknowledged) {
			all += min(o.bytes, math.MaxUint64-all)
		}
	}
	hi, lo := bits.Mul64(all, uint64(min(a.in.Policy.TolerancePercent, 100)))
	budget, _ := bits.Div64(hi, lo, 100)
	for i := range a.out {
		o := &a.out[i]
		if o.class != ClassUnacknowledged {
			continue
		}
		if o.bytes <= budget {
			budget -= o.bytes
			o.refused, o.why = false, ""
		} else {
			o.why = fmt.Sprintf("not acknowledged in time, and beyond the tolerated %d %%", a.in.Policy.TolerancePercent)
		}
	}
}

// unmatchedAcks counts acknowledgements of the client's records for which no row exists.
func (a *audit) unmatchedAcks() {
	for _, w := range a.spoken {
		f, ours := a.known[w.ack.Record]
		if ours && f.Receiver == w.ack.From && !a.served[w.ack.Request] {
			a.served[w.ack.Request] = true
			a.note(outcome{class: ClassNoRow, bytes: w.ack.Bytes, info: true})
		}
	}
}
