package usage

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"relaymarket/identity"
)

// StoragePolicy says whether storage is paid that nothing shows to have happened.
type StoragePolicy uint8

const (
	// PayAll pays storage for the whole custody of a record. It is the default: records that
	// wait for a receiver who is away are the normal case, and a relay is noticed when it
	// fails to deliver.
	PayAll StoragePolicy = iota
	// PayProven pays storage up to the last good delivery or challenge of the record only;
	// the rest is refused as ClassUnproven.
	PayProven
)

// Policy is how the client settles what its papers leave open.
type Policy struct {
	AckDeadline      identity.UnixMilli          // how long, in ms, a read may wait for its acknowledgement
	TolerancePercent uint8                       // share of read bytes paid although overdue; at most 100
	Storage          StoragePolicy               // what to do with ClassUnproven
	Contacts         map[identity.PublicKey]bool // known receivers; nil: everybody is known
}

// DefaultPolicy waits 14 days for an acknowledgement, tolerates 10 % and pays all storage.
func DefaultPolicy() Policy {
	return Policy{AckDeadline: 14 * Day * 1000, TolerancePercent: 10, Storage: PayAll}
}

// HeldOrder is an order that the client signed, with the facts of its records in their order
// and the relay's receipt if it arrived (else zero).
type HeldOrder struct {
	Order   identity.Signed
	Receipt identity.Signed
	Records []RecordFacts
}

// Input is all that an audit of one contract's log looks at. Nothing in it but Report and
// Previous has to be verified before.
type Input struct {
	Network  identity.Network
	Relay    identity.PublicKey
	Client   identity.PublicKey // who ordered and pays
	Contract ContractID
	Terms    identity.Digest
	Prices   Prices             // of the terms
	Start    identity.UnixMilli // of the service; rows before it are outside
	Until    identity.UnixMilli // end of the service; 0: open
	Purged   identity.UnixMilli // time of the relay's first notice of a purge; 0: none came
	Now      identity.UnixMilli

	Report   VerifiedUsageReport
	Previous *VerifiedUsageReport // the last report audited of this log epoch, or nil
	Rows     []RowEntry           // from index 0 on, all that Report.Size counts; more are ignored

	Orders  []HeldOrder
	Grants  []HeldGrant
	Acks    []identity.Signed                      // acknowledgements that came over the receivers' own relays
	Deleted []identity.Signed                      // DeleteReceipts
	Seen    map[identity.Digest]identity.UnixMilli // by record: the last good challenge, by the relay's clock

	// Lane is the grant whose lane is audited by its account (ReconcileLane); zero: a whole log, by
	// the contract's client.
	Lane identity.Digest

	Policy Policy
}

// Tally is what fell into one class.
type Tally struct {
	Rows  uint64 // rows; of ClassUnproven and of storage beyond custody: receipts
	Bytes uint64 // delivered by reads, stored by writes
	Msat  Msat   // Cost of all quantities of the class
}

// Refusal is a row, or a part of its storage, that is not paid, and why. Whether the fault is
// the relay's, a lost paper or a broken disk, an audit does not say.
type Refusal struct {
	Index uint64
	Class Class
	Msat  Msat // of this refusal alone, rounded down
	Why   string
}

// Result is what an audit found. Sums per class are rounded one by one, so that together they
// may lack a few msat to ClaimedMsat.
type Result struct {
	ClaimedMsat   Msat       // what the report says is owed
	ConfirmedMsat Msat       // Cost of Confirmed, but never more than is claimed
	Confirmed     Quantities // what is accepted, added up from nothing but good rows
	Classes       map[Class]Tally
	ViaRelay      Tally     // the part of ClassMatched that is acknowledged only via the serving relay
	Rows          []Class   // by index
	Refused       []Refusal // ascending by index
}

// Dissent is the refused rows in the form of a Dissent statement, without repetition.
func (r Result) Dissent() []DissentRow {
	var rows []DissentRow
	for _, f := range r.Refused {
		row := DissentRow{f.Index, f.Class}
		if n := len(rows); n == 0 || rows[n-1] != row {
			rows = append(rows, row)
		}
	}
	return rows
}

// Reconcile compares a contract's log with what the client holds and says, row by row, what
// is owed: matched rows and reads that may still be acknowledged are confirmed, overdue reads
// up to the tolerated share, all else is refused by row and class. It is a pure function: the
// same input gives the same result on every machine.
//
// The error is for input that cannot be audited at all (rows missing, prices outside their
// bounds, sums beyond measure). A log that contradicts its signed head is not such an error:
// then every row is ClassLog.
func Reconcile(in Input) (Result, error) {
	if err := in.Prices.Check(); err != nil {
		return Result{}, err
	}
	if uint64(len(in.Rows)) < in.Report.Size {
		return Result{}, fmt.Errorf("the report counts %d rows, here are %d", in.Report.Size, len(in.Rows))
	}
	in.Rows = in.Rows[:in.Report.Size]
	a := newAudit(in)
	if err := in.checkHead(); err != nil {
		a.refuseAll(err)
		return a.result()
	}
	a.judge()
	a.namedRows()
	a.tolerate()
	a.storage()
	a.unmatchedAcks()
	return a.result()
}

// judge gives every row its class by itself.
func (a *audit) judge() {
	a.collect()
	for i := range a.rows {
		a.row(i)
	}
}

// ReconcileLane is Reconcile for the account of a grant: Client is the account, Orders are its own under
// the grant, Rows those of its lane alone. The totals in rows are the contract's, which one lane does not
// show, and there is no report, so that neither is looked at; ClaimedMsat is the lane's by its own rows up to
// now, and what is confirmed is what the account can answer for towards its sponsor.
func ReconcileLane(in Input) (Result, error) {
	if err := in.Prices.Check(); err != nil {
		return Result{}, err
	}
	in.Deleted = nil // they name rows by their place in the whole log
	a := newAudit(in)
	a.judge()
	a.head = in.Now
	a.tolerate()
	a.storage()
	a.unmatchedAcks()
	claimed, err := a.laneClaim()
	if err != nil {
		return Result{}, err
	}
	a.in.Report.Owed = claimed
	return a.result()
}

// laneClaim is what the rows of one lane cost up to now.
func (a *audit) laneClaim() (Msat, error) {
	var l Lane
	for i, r := range a.rows {
		if a.bad[i] != nil {
			continue
		}
		at, _ := a.acceptedAt(r)
		next, err := l.Append(r.input(at))
		if err != nil {
			continue // refused by itself
		}
		l = next
	}
	l, err := l.At(a.in.Now)
	if err != nil {
		return 0, err
	}
	return a.priceOf(l.Used), nil
}

// checkHead checks that the rows are the log whose head is signed, and that this log
// continues the one audited before.
func (in Input) checkHead() error {
	r := in.Report
	if r.Network != in.Network || r.From != in.Relay || r.To != in.Client || r.Contract != in.Contract || r.Terms != in.Terms {
		return fmt.Errorf("%w: it is of another contract", ErrReport)
	}
	if err := CheckReport(in.Previous, r); err != nil && !isGap(err) {
		return err
	}
	var tree MemoryTree
	for i, e := range in.Rows {
		if in.Previous != nil && uint64(i) == in.Previous.Size {
			if err := checkRoot(&tree, in.Previous.UsageReport); err != nil {
				return err
			}
		}
		if err := tree.Append(e.Row); err != nil {
			return err
		}
	}
	if err := checkRoot(&tree, r.UsageReport); err != nil {
		return err
	}
	if err := in.checkTotals(); err != nil {
		return err
	}
	if r.Lanes == 0 && !slices.ContainsFunc(in.Rows, isGranted) {
		return nil // rows that do not follow are judged one by one
	}
	return CheckLanes(r.UsageReport, in.Prices, in.Rows)
}

// isGranted tells whether a row is a WRITE row of an order under a grant.
func isGranted(e RowEntry) bool {
	r, err := DecodeRow(e.Row)
	return err == nil && r.Kind == RowWrite && !r.Grant().IsZero()
}

// checkRoot compares the rows so far with a signed head of as many rows.
func checkRoot(tree *MemoryTree, r UsageReport) error {
	root, err := TreeRoot(tree.Size(), tree)
	if err != nil {
		return err
	}
	if root != r.Root {
		return fmt.Errorf("%w: the %d rows do not have the root of report %d", ErrReport, tree.Size(), r.Number)
	}
	return nil
}

// checkTotals compares the totals of the head with those of its last row.
func (in Input) checkTotals() error {
	want := LogState{Epoch: in.Report.LogEpoch}
	if n := len(in.Rows); n > 0 {
		last, err := DecodeRow(in.Rows[n-1].Row)
		if err != nil {
			return err
		}
		want = last.State()
	}
	r := in.Report
	if r.LogEpoch != want.Epoch || r.LiveBytes != want.Live || r.ByteSeconds != want.ByteSeconds || r.Egress != want.Egress || r.Owed != want.Owed || r.AsOf != want.LastArrival {
		return fmt.Errorf("%w: its totals are not those of its last row", ErrReport)
	}
	return nil
}

// part is quantities and rows of one class, before they are priced.
type part struct {
	rows, bytes uint64
	used        Quantities
}

// add adds up what a class holds. A relay may claim any number, so sums stop at the largest
// one instead of failing: such rows are refused, and an audit must be able to say so.
func (p *part) add(bytes uint64, used Quantities) {
	p.rows++
	p.bytes += min(bytes, math.MaxUint64-p.bytes)
	sum, err := p.used.Add(used)
	if err != nil {
		sum = Quantities{U128{math.MaxUint64, math.MaxUint64}, math.MaxUint64}
	}
	p.used = sum
}

// priceOf is Cost, or the largest sum where the cost is beyond it.
func (a *audit) priceOf(q Quantities) Msat {
	m, err := Cost(a.in.Prices, q)
	if err != nil {
		return math.MaxUint64
	}
	return m
}

func (a *audit) tally(p *part) Tally { return Tally{p.rows, p.bytes, a.priceOf(p.used)} }

// result adds up the outcomes of all rows and findings.
func (a *audit) result() (Result, error) {
	res := Result{ClaimedMsat: a.in.Report.Owed, Classes: make(map[Class]Tally), Rows: make([]Class, len(a.out))}
	classes, viaRelay := make(map[Class]*part), new(part)
	for i, o := range append(a.out[:len(a.out):len(a.out)], a.findings...) {
		if i < len(a.out) {
			res.Rows[i] = o.class
		}
		if classes[o.class] == nil {
			classes[o.class] = new(part)
		}
		classes[o.class].add(o.bytes, o.used)
		if o.class == ClassMatched && o.viaRelay {
			viaRelay.add(o.bytes, o.used)
		}
		if err := a.book(&res, o); err != nil {
			return Result{}, err
		}
	}
	for c, p := range classes {
		res.Classes[c] = a.tally(p)
	}
	res.ViaRelay = a.tally(viaRelay)
	sort.SliceStable(res.Refused, func(i, j int) bool {
		x, y := res.Refused[i], res.Refused[j]
		return x.Index < y.Index || x.Index == y.Index && x.Class < y.Class
	})
	confirmed, err := Cost(a.in.Prices, res.Confirmed)
	res.ConfirmedMsat = min(confirmed, res.ClaimedMsat)
	return res, err
}

// book adds one outcome to what is confirmed or refused.
func (a *audit) book(res *Result, o outcome) (err error) {
	switch {
	case o.info:
	case o.refused:
		res.Refused = append(res.Refused, Refusal{o.index, o.class, a.priceOf(o.used), o.why})
	default:
		res.Confirmed, err = res.Confirmed.Add(o.used)
	}
	return err
}
