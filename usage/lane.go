package usage

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Lane is the part of a contract's log that belongs to one grant, or to the payer's own orders: every
// row belongs to the lane of its receipt's order. It is a plain value; methods give the next one. What
// all lanes of a log have used at one time is exactly what the log has billed.
type Lane struct {
	Rows    uint64
	Live    uint64 // billable bytes kept
	Used    Quantities
	Pledged Quantities         // what accepted records may still use; kept by the relay alone
	Last    identity.UnixMilli // time of the lane's last row
}

// state is the lane as if it were a log of its own.
func (l Lane) state() LogState {
	return LogState{Size: l.Rows, Live: l.Live, ByteSeconds: l.Used.ByteSeconds, Egress: l.Used.Egress, LastTime: l.Last}
}

// Append is the lane after a row of its own. Pledged is Spend's. Errors wrap ErrRow or ErrOverflow.
func (l Lane) Append(in RowInput) (Lane, error) {
	live, err := in.live(l.Live)
	if err != nil {
		return l, err
	}
	used, err := in.used(l.state())
	if err != nil {
		return l, err
	}
	l.Rows, l.Live, l.Used, l.Last = l.Rows+1, live, used, in.Time
	return l, nil
}

// At is the lane at a later time, with the storage of what it keeps until then. A time before its last
// row changes nothing.
func (l Lane) At(t identity.UnixMilli) (Lane, error) {
	used, err := l.Used.Add(Quantities{ByteSeconds: Mul64(l.Live, openSeconds(l.Last, t))})
	if err != nil {
		return l, err
	}
	l.Used, l.Last = used, max(l.Last, t)
	return l, nil
}

// Accept pledges the worst case of an order under a grant and gives what is then ordered today, of
// which ordered was before: each order counts with its max_msat, which its sponsor can read in the log
// as well. Codes LaneCap, LaneDayCap.
func (l Lane) Accept(g AccountGrant, o StoreOrder, worst Quantities, ordered Msat) (Lane, Msat, error) {
	pledged, err := l.Pledged.Add(worst)
	if err != nil {
		return l, ordered, code.Wrap(code.LaneCap, err, "the order is beyond all measure")
	}
	all, err := l.Used.Add(pledged)
	if err != nil {
		return l, ordered, code.Wrap(code.LaneCap, err, "the order is beyond all measure")
	}
	cost, err := CostCeil(g.Prices, all)
	if err != nil || cost > g.CapMsat {
		return l, ordered, code.New(code.LaneCap, "with this order the lane may cost %d msat, granted are %d", cost, g.CapMsat)
	}
	today, err := ordered.Add(o.MaxMsat)
	if err != nil || today > g.DayMsat {
		return l, ordered, code.New(code.LaneDayCap, "this may cost %d msat, %d of %d are ordered today", o.MaxMsat, ordered, g.DayMsat)
	}
	l.Pledged = pledged
	return l, today, nil
}

// Spend is Append that also moves what the row billed from Pledged to Used. Code Internal if more was
// billed than pledged.
func (l Lane) Spend(in RowInput) (Lane, error) {
	next, err := l.Append(in)
	if err != nil {
		return l, code.Wrap(code.Internal, err, "a row of a lane")
	}
	delta, err := next.Used.Sub(l.Used)
	if err == nil {
		next.Pledged, err = l.Pledged.Sub(delta)
	}
	return next, code.Wrap(code.Internal, err, "a lane used more than was pledged")
}

// Close releases what a closed record did not use: see Rest.
func (l Lane) Close(rest Quantities) (Lane, error) {
	pledged, err := l.Pledged.Sub(rest)
	if err != nil {
		return l, code.Wrap(code.Internal, err, "a lane releases more than is pledged")
	}
	l.Pledged = pledged
	return l, nil
}

// Reserved is what accepted records of the lane may still cost on top of what it has used.
func (l Lane) Reserved(p Prices) (Msat, error) {
	a := Account{Prices: p, Used: l.Used, Pledged: l.Pledged}
	return a.Reserved()
}

// laneVersion is the version of the encoding of lane entries.
const laneVersion = 1

// MaxLaneEntry bounds an encoded LaneEntry.
const MaxLaneEntry = 128

// ErrLane is wrapped where a lane entry does not read.
var ErrLane = errors.New("the lane entry is wrong")

// LaneEntry is one lane at the time of a log's last row: a leaf of the tree whose root the usage report
// signs.
type LaneEntry struct {
	Grant       identity.Digest // zero: the payer's own orders
	LiveBytes   uint64
	ByteSeconds U128
	Egress      uint64
	Owed        Msat // Cost of the two: rounded down by itself, so that together entries may lack a few msat
}

func (e *LaneEntry) fields(version *uint8, byteSeconds []byte) []codec.Field {
	return []codec.Field{
		codec.U8(0, version), codec.Optional(codec.Fixed(2, e.Grant[:])), codec.U64(4, &e.LiveBytes), codec.Fixed(6, byteSeconds),
		codec.U64(8, &e.Egress), codec.U64(10, &e.Owed),
	}
}

// Encode writes the leaf bytes. Errors wrap ErrLane.
func (e LaneEntry) Encode() ([]byte, error) {
	version, bs := uint8(laneVersion), e.ByteSeconds.Bytes()
	raw, err := codec.Encode(e.fields(&version, bs[:])...)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrLane, err)
	}
	return raw, nil
}

// DecodeLaneEntry reads the leaf bytes. Errors wrap ErrLane.
func DecodeLaneEntry(raw []byte) (LaneEntry, error) {
	var (
		e       LaneEntry
		version uint8
		bs      [16]byte
	)
	if err := codec.Decode(raw, MaxLaneEntry, e.fields(&version, bs[:])...); err != nil {
		return LaneEntry{}, fmt.Errorf("%w: %w", ErrLane, err)
	}
	if version != laneVersion {
		return LaneEntry{}, fmt.Errorf("%w: version %d is unknown", ErrLane, version)
	}
	e.ByteSeconds = U128From(bs)
	return e, nil
}

// Entry is a lane as a report shows it, at the time of the log's last row.
func (l Lane) Entry(grant identity.Digest, p Prices, at identity.UnixMilli) (LaneEntry, error) {
	l, err := l.At(at)
	if err != nil {
		return LaneEntry{}, err
	}
	owed, err := Cost(p, l.Used)
	return LaneEntry{grant, l.Live, l.Used.ByteSeconds, l.Used.Egress, owed}, err
}

// LanesHead is what a report says of its lanes: how many there are, and the RFC 6962 tree head over
// their entries in ascending order of grants. Where no row belongs to a grant, both are zero. Errors
// wrap ErrLane.
func LanesHead(entries []LaneEntry) (uint32, identity.Digest, error) {
	if len(entries) == 0 || len(entries) == 1 && entries[0].Grant.IsZero() {
		return 0, identity.Digest{}, nil
	}
	var tree MemoryTree
	for i, e := range entries {
		if i > 0 && bytes.Compare(entries[i-1].Grant[:], e.Grant[:]) >= 0 {
			return 0, identity.Digest{}, fmt.Errorf("%w: lanes ascend by grant", ErrLane)
		}
		raw, err := e.Encode()
		if err != nil {
			return 0, identity.Digest{}, err
		}
		if err := tree.Append(raw); err != nil {
			return 0, identity.Digest{}, err
		}
	}
	root, err := TreeRoot(tree.Size(), &tree)
	return uint32(len(entries)), root, err
}

// Lanes is the lanes of a log, made from its rows. The zero value is those of the empty log.
type Lanes struct {
	lanes map[identity.Digest]Lane // by grant
	taken map[identity.Digest]took // by receipt
	last  identity.UnixMilli
}

// took is what a WRITE row says of its receipt.
type took struct {
	grant identity.Digest
	at    identity.UnixMilli
}

// Add adds a row of the log, as it follows from those before it (CheckRows). Errors wrap ErrRow or
// ErrOverflow.
func (ls *Lanes) Add(r Row) error {
	if ls.lanes == nil {
		ls.lanes, ls.taken = make(map[identity.Digest]Lane), make(map[identity.Digest]took)
	}
	if r.Kind == RowWrite {
		ls.taken[r.Receipt] = took{r.Grant(), r.Time}
	}
	of, ok := ls.taken[r.Receipt]
	if !ok {
		return fmt.Errorf("%w: row %d belongs to no receipt written before it", ErrRow, r.Index)
	}
	next, err := ls.lanes[of.grant].Append(r.input(of.at))
	if err != nil {
		return fmt.Errorf("row %d: %w", r.Index, err)
	}
	ls.lanes[of.grant], ls.last = next, r.Time
	return nil
}

// Grant is the grant that a WRITE row's order names. Zero where there is none, or no order that reads.
func (r Row) Grant() identity.Digest {
	s, err := identity.ParseSigned(r.Evidence)
	if err != nil {
		return identity.Digest{}
	}
	o, err := DecodeStoreOrder(s.Statement)
	if err != nil {
		return identity.Digest{}
	}
	return o.Grant
}

// Of is the grant of the lane that a receipt, and so each of its rows, belongs to.
func (ls *Lanes) Of(receipt identity.Digest) identity.Digest { return ls.taken[receipt].grant }

// Entries are the lanes at the time of the last row, ascending by grant. Errors are those of Cost.
func (ls *Lanes) Entries(p Prices) ([]LaneEntry, error) {
	out := make([]LaneEntry, 0, len(ls.lanes))
	for grant, l := range ls.lanes {
		e, err := l.Entry(grant, p, ls.last)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return bytes.Compare(out[i].Grant[:], out[j].Grant[:]) < 0 })
	return out, nil
}

// LanesOf makes the lanes of a whole log. Errors wrap ErrRow or ErrOverflow.
func LanesOf(rows []RowEntry) (*Lanes, error) {
	ls := new(Lanes)
	for _, e := range rows {
		r, err := DecodeRow(e.Row)
		if err != nil {
			return nil, err
		}
		if err := ls.Add(r); err != nil {
			return nil, err
		}
	}
	return ls, nil
}

// CheckLanes compares what a report says of its lanes with the rows that it counts, all of them and in
// order. Errors wrap ErrReport.
func CheckLanes(r UsageReport, p Prices, rows []RowEntry) error {
	ls, err := LanesOf(rows)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReport, err)
	}
	entries, err := ls.Entries(p)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReport, err)
	}
	n, root, err := LanesHead(entries)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReport, err)
	}
	if n != r.Lanes || root != r.LanesRoot {
		return fmt.Errorf("%w: its rows have %d lanes with another root than it signs for %d", ErrReport, n, r.Lanes)
	}
	return nil
}
