package usage

import (
	"fmt"

	"relaymarket/identity"
)

// LogState is what the next row of a log depends on. It is derived from the last row alone;
// the state of an empty log is LogState{Epoch: epoch}.
type LogState struct {
	Epoch       uint32
	Size        uint64
	Live        uint64 // billable bytes kept
	ByteSeconds U128
	Egress      uint64
	Owed        Msat
	LastTime    identity.UnixMilli
	LastArrival Arrival
}

// Used is what the log has billed so far.
func (s LogState) Used() Quantities { return Quantities{s.ByteSeconds, s.Egress} }

// State is the state of the log that ends with the row.
func (r Row) State() LogState {
	return LogState{r.LogEpoch, r.Index + 1, r.LiveBytes, r.ByteSeconds, r.Egress, r.Owed, r.Time, r.Arrival}
}

// RowInput is what happened, for AppendRow.
type RowInput struct {
	Kind     RowKind
	Arrival  Arrival            // above the last row's
	Time     identity.UnixMilli // not before the last row's; expire rows: the end of custody itself
	Bytes    uint64             // as in Row
	Receipt  identity.Digest
	Record   identity.Digest    // read, delete, purge
	Accepted identity.UnixMilli // closing rows: when the receipt accepted the records
	Evidence []byte             // identity.Signed bytes
}

// AppendRow makes the next row of a log and the state after it. Before a row with time t the
// caller appends one RowExpire for every (receipt, end of custody ≤ t) with records left, in
// order of those ends, each with that end as its time. A row is charged the bytes kept before
// it for the seconds since the last row; a closing row also what its bytes lack to
// MinStorageSeconds. Errors wrap ErrRow (a step that no log may take) or ErrOverflow.
func AppendRow(s LogState, p Prices, in RowInput) (Row, LogState, error) {
	if s.Size > 0 && (in.Time < s.LastTime || in.Arrival <= s.LastArrival) {
		return Row{}, s, fmt.Errorf("%w: a row before the last one", ErrRow)
	}
	live, err := in.live(s.Live)
	if err != nil {
		return Row{}, s, err
	}
	used, err := in.used(s)
	if err != nil {
		return Row{}, s, err
	}
	owed, err := Cost(p, used)
	if err != nil {
		return Row{}, s, err
	}
	row := Row{
		LogEpoch: s.Epoch, Index: s.Size, Kind: in.Kind, Arrival: in.Arrival, Time: in.Time, Bytes: in.Bytes,
		Receipt: in.Receipt, Record: in.Record, Evidence: in.Evidence,
		LiveBytes: live, ByteSeconds: used.ByteSeconds, Egress: used.Egress, Owed: owed,
	}
	if err := row.check(); err != nil {
		return Row{}, s, err
	}
	return row, row.State(), nil
}

// live is the bytes kept after the row.
func (in RowInput) live(before uint64) (uint64, error) {
	switch {
	case in.Kind == RowWrite:
		return addBytes(before, in.Bytes)
	case in.Kind.Closes():
		if in.Bytes > before {
			return 0, fmt.Errorf("%w: %d bytes released of %d", ErrRow, in.Bytes, before)
		}
		return before - in.Bytes, nil
	}
	return before, nil
}

// used is what the log has billed after the row.
func (in RowInput) used(s LogState) (Quantities, error) {
	var elapsed uint64
	if s.Size > 0 {
		elapsed = openSeconds(s.LastTime, in.Time)
	}
	add := Quantities{ByteSeconds: Mul64(s.Live, elapsed)}
	switch {
	case in.Kind == RowRead:
		add.Egress = in.Bytes
	case in.Kind.Closes():
		lacking := storedSeconds(in.Accepted, in.Time) - openSeconds(in.Accepted, in.Time)
		bs, err := add.ByteSeconds.Add(Mul64(in.Bytes, lacking))
		if err != nil {
			return Quantities{}, err
		}
		add.ByteSeconds = bs
	}
	return s.Used().Add(add)
}

// input is what a row says that happened; accepted is needed for closing rows.
func (r Row) input(accepted identity.UnixMilli) RowInput {
	return RowInput{r.Kind, r.Arrival, r.Time, r.Bytes, r.Receipt, r.Record, accepted, r.Evidence}
}

// CheckRow checks that a row follows from the state before it; accepted is when the row's
// receipt was accepted, for closing rows. Errors wrap ErrRow.
func CheckRow(p Prices, prev LogState, r Row, accepted identity.UnixMilli) error {
	if r.LogEpoch != prev.Epoch || r.Index != prev.Size {
		return fmt.Errorf("%w: row %d of epoch %d where row %d of epoch %d belongs", ErrRow, r.Index, r.LogEpoch, prev.Size, prev.Epoch)
	}
	want, _, err := AppendRow(prev, p, r.input(accepted))
	if err != nil {
		return fmt.Errorf("row %d: %w", r.Index, err)
	}
	if want.LiveBytes != r.LiveBytes || want.ByteSeconds != r.ByteSeconds || want.Egress != r.Egress || want.Owed != r.Owed {
		return fmt.Errorf("%w: the totals of row %d are not those of the row before plus its own", ErrRow, r.Index)
	}
	return nil
}

// CheckRows checks that rows follow one another from a state on, and gives the state after
// them. accepted finds the time of acceptance of a receipt whose WRITE row lies before these
// rows (false: unknown); it may be nil if the rows begin the log. The first wrong row ends it
// with an error that wraps ErrRow; evidence is not looked at.
func CheckRows(p Prices, prev LogState, rows []RowEntry, accepted func(receipt identity.Digest) (identity.UnixMilli, bool)) (LogState, error) {
	written := make(map[identity.Digest]identity.UnixMilli)
	for _, e := range rows {
		r, err := DecodeRow(e.Row)
		if err != nil {
			return prev, fmt.Errorf("row %d: %w", prev.Size, err)
		}
		at, ok := written[r.Receipt]
		if !ok && accepted != nil {
			at, ok = accepted(r.Receipt)
		}
		if r.Kind == RowWrite {
			written[r.Receipt] = r.Time
		} else if !ok {
			return prev, fmt.Errorf("%w: row %d belongs to no receipt written before it", ErrRow, r.Index)
		}
		if err := CheckRow(p, prev, r, at); err != nil {
			return prev, err
		}
		prev = r.State()
	}
	return prev, nil
}
