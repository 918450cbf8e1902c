package usage

import (
	"errors"
	"fmt"

	"relaymarket/identity"
	"relaymarket/internal/codec"
)

// RowKind is what a row of the log records.
type RowKind uint8

// The kinds of rows. The last three close records.
const (
	RowWrite  RowKind = 1 // an order was accepted; evidence: the StoreOrder
	RowRead   RowKind = 2 // a record is delivered once; evidence: the ReadRequest
	RowDelete RowKind = 3 // a record was deleted; evidence: the Delete or deleting Acknowledgement
	RowExpire RowKind = 4 // the records of one receipt with one end of custody expired; no evidence
	RowPurge  RowKind = 5 // a record was purged after suspension; no evidence
)

var rowKindNames = [...]string{"", "write", "read", "delete", "expire", "purge"}

// String names the kind.
func (k RowKind) String() string {
	if k < RowWrite || k > RowPurge {
		return fmt.Sprintf("row(%d)", uint8(k))
	}
	return rowKindNames[k]
}

// Closes tells whether rows of this kind end the storage of their bytes.
func (k RowKind) Closes() bool { return k == RowDelete || k == RowExpire || k == RowPurge }

// rowVersion is the version of the encoding of rows.
const rowVersion = 1

// The bounds of rows in bytes.
const (
	// MaxRow bounds an encoded row.
	MaxRow = maxRowEvidence + 512
	// MaxRowEntry bounds an encoded RowEntry.
	MaxRowEntry = MaxRow + maxRowAck + 16
	// maxRowEvidence and maxRowAck hold a statement of 512 bytes with the longest path.
	maxRowEvidence = 1024
	maxRowAck      = 1024
)

// ErrRow is wrapped where a row, or the step from one row to the next, is wrong.
var ErrRow = errors.New("the row is wrong")

// Row is one line of a contract's log, and with its evidence the leaf of its tree. The totals
// are those after the row, so that two adjacent rows show a wrong sum.
type Row struct {
	LogEpoch uint32
	Index    uint64
	Kind     RowKind
	Arrival  Arrival            // strictly rising
	Time     identity.UnixMilli // by the relay's clock, never falling
	Bytes    uint64             // write: billable bytes added; read: bytes delivered; closing: billable bytes released
	Receipt  identity.Digest    // of the receipt that the row belongs to
	Record   identity.Digest    // read, delete, purge: the record; else zero

	LiveBytes   uint64 // billable bytes kept after the row
	ByteSeconds U128   // cumulative
	Egress      uint64 // cumulative
	Owed        Msat   // Cost of the two

	Evidence []byte // identity.Signed bytes, empty for expire and purge rows
}

func (r *Row) fields(version *uint8, byteSeconds []byte) []codec.Field {
	return []codec.Field{
		codec.U8(0, version), codec.U32(2, &r.LogEpoch), codec.U64(4, &r.Index), codec.U8(6, &r.Kind),
		codec.U64(8, &r.Arrival), codec.U64(10, &r.Time), codec.U64(12, &r.Bytes), codec.Fixed(14, r.Receipt[:]),
		codec.Optional(codec.Fixed(16, r.Record[:])), codec.U64(18, &r.LiveBytes), codec.Fixed(20, byteSeconds),
		codec.U64(22, &r.Egress), codec.U64(24, &r.Owed), codec.Optional(codec.Bytes(26, &r.Evidence, 0, maxRowEvidence)),
	}
}

// check is the shape of a row by its kind. Missing evidence is not a matter of shape: it is
// what an audit looks for.
func (r *Row) check() error {
	if r.Kind < RowWrite || r.Kind > RowPurge {
		return fmt.Errorf("%w: kind %d is unknown", ErrRow, r.Kind)
	}
	needsRecord := r.Kind == RowRead || r.Kind == RowDelete || r.Kind == RowPurge
	if needsRecord == r.Record.IsZero() {
		return fmt.Errorf("%w: a %s row with the wrong record field", ErrRow, r.Kind)
	}
	if r.Index >= MaxLogSize {
		return fmt.Errorf("%w: index %d", ErrRow, r.Index)
	}
	return nil
}

// Encode writes the leaf bytes of the row. Errors wrap ErrRow.
func (r Row) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	version, bs := uint8(rowVersion), r.ByteSeconds.Bytes()
	raw, err := codec.Encode(r.fields(&version, bs[:])...)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRow, err)
	}
	return raw, nil
}

// DecodeRow reads the leaf bytes of a row. Errors wrap ErrRow.
func DecodeRow(raw []byte) (Row, error) {
	var (
		r       Row
		version uint8
		bs      [16]byte
	)
	if err := codec.Decode(raw, MaxRow, r.fields(&version, bs[:])...); err != nil {
		return Row{}, fmt.Errorf("%w: %w", ErrRow, err)
	}
	if version != rowVersion {
		return Row{}, fmt.Errorf("%w: version %d is unknown", ErrRow, version)
	}
	r.ByteSeconds = U128From(bs)
	return r, r.check()
}

// RowEntry is a row as it is kept and sent: the leaf bytes, and outside of the leaf the
// delivery acknowledgement that came later.
type RowEntry struct {
	Row []byte
	Ack []byte // identity.Signed bytes, or empty
}

func (e *RowEntry) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &e.Row, 1, MaxRow), codec.Optional(codec.Bytes(2, &e.Ack, 0, maxRowAck))}
}

// Encode writes the entry. Errors wrap ErrRow.
func (e RowEntry) Encode() ([]byte, error) {
	raw, err := codec.Encode(e.fields()...)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRow, err)
	}
	return raw, nil
}

// DecodeRowEntry reads an entry; the row in it is not decoded. Errors wrap ErrRow.
func DecodeRowEntry(raw []byte) (RowEntry, error) {
	var e RowEntry
	if err := codec.Decode(raw, MaxRowEntry, e.fields()...); err != nil {
		return RowEntry{}, fmt.Errorf("%w: %w", ErrRow, err)
	}
	return e, nil
}
