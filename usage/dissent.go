package usage

import (
	"encoding/binary"
	"fmt"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// MaxDissentRows bounds the rows of one Dissent; a client with more sends several.
const MaxDissentRows = 7000

// dissentRowLen is u64 index ‖ u8 class.
const dissentRowLen = 9

// DissentRow is one row that the client does not pay for, and the class of its fault.
type DissentRow struct {
	Index uint64
	Class Class
}

// Dissent (client → relay) says which rows of a report the client refuses, and as what. The
// undisputed rest is paid all the same.
type Dissent struct {
	identity.Header
	Report identity.Digest
	Rows   []DissentRow // ascending by index; may be empty
}

func (d *Dissent) fields(rows *[]byte) []codec.Field {
	return []codec.Field{
		codec.Fixed(64, d.Report[:]), codec.Optional(codec.Bytes(66, rows, 0, MaxDissentRows*dissentRowLen)),
	}
}

func (d *Dissent) check() error {
	for i, r := range d.Rows {
		if !r.Class.known() {
			return code.New(code.Malformed, "class %d is unknown", r.Class)
		}
		if i > 0 && (d.Rows[i-1].Index > r.Index || d.Rows[i-1] == r) {
			return code.New(code.Malformed, "the rows of a dissent ascend")
		}
	}
	return need(d.Type, "a report", d.Report)
}

// Encode writes the statement. Errors: more than MaxDissentRows rows, or not ascending.
func (d Dissent) Encode() ([]byte, error) {
	d.Type = identity.TypeDissent
	if err := d.check(); err != nil {
		return nil, err
	}
	var rows []byte
	for _, r := range d.Rows {
		rows = append(binary.BigEndian.AppendUint64(rows, r.Index), byte(r.Class))
	}
	return identity.EncodeStatement(d.Header, d.fields(&rows)...)
}

// DecodeDissent reads the statement; the signature is not looked at.
func DecodeDissent(raw []byte) (Dissent, error) {
	var d Dissent
	var rows []byte
	if err := identity.DecodeStatement(raw, identity.TypeDissent, &d.Header, d.fields(&rows)...); err != nil {
		return Dissent{}, err
	}
	if len(rows)%dissentRowLen != 0 {
		return Dissent{}, code.New(code.Malformed, "%d bytes are not a list of rows", len(rows))
	}
	for ; len(rows) > 0; rows = rows[dissentRowLen:] {
		d.Rows = append(d.Rows, DissentRow{binary.BigEndian.Uint64(rows), Class(rows[8])})
	}
	return d, d.check()
}

// VerifiedDissent is a dissent whose signature held.
type VerifiedDissent struct {
	Dissent
	verified
}

// OpenDissent decodes and verifies.
func OpenDissent(s identity.Signed) (VerifiedDissent, error) {
	b, v, err := open(s, DecodeDissent)
	return VerifiedDissent{b, v}, err
}

// OpenDissentVerified is OpenDissent with the verdict of identity.VerifyBatch.
func OpenDissentVerified(s identity.Signed, v identity.Verdict) (VerifiedDissent, error) {
	b, ok, err := openVerified(s, v, DecodeDissent)
	return VerifiedDissent{b, ok}, err
}

// Class is the outcome of reconciling a row with its evidence, lettered A to P. The letter's
// ASCII code is its number on the wire.
type Class uint8

// The classes. A and B are paid, C up to a tolerated share, P by policy; D and N are
// information; all others are refused row by row. None of them says that anybody cheated:
// a class is what one side's papers show.
const (
	ClassMatched        Class = 'A' // row, evidence and acknowledgement agree
	ClassPending        Class = 'B' // a good read without acknowledgement, within the deadline
	ClassUnacknowledged Class = 'C' // the same, overdue
	ClassNoRow          Class = 'D' // an acknowledgement for which the log has no row
	ClassNoEvidence     Class = 'E' // a row whose order or request is missing, invalid or another's
	ClassDuplicate      Class = 'F' // evidence billed a second time
	ClassOversize       Class = 'G' // more bytes than the record has, or than were asked for
	ClassArithmetic     Class = 'H' // running totals that do not follow from the row before
	ClassOutside        Class = 'I' // outside the service, after delete, after expiry
	ClassReceipts       Class = 'J' // storage that does not fit the receipts
	ClassLog            Class = 'K' // not in the signed log, or in a log that contradicts itself
	ClassDisputed       Class = 'L' // the receiver's acknowledgement disagrees
	ClassPulls          Class = 'M' // more pulls than the sender allowed
	ClassStranger       Class = 'N' // the receiver is not in the contacts
	ClassOverGrant      Class = 'O' // under a grant that was revoked, or beyond its caps or the order's own
	ClassUnproven       Class = 'P' // storage after the last sign that the record is still there
)

var classNames = map[Class]string{
	ClassMatched: "matched", ClassPending: "pending", ClassUnacknowledged: "unacknowledged", ClassNoRow: "acknowledged without a row",
	ClassNoEvidence: "no valid evidence", ClassDuplicate: "duplicate", ClassOversize: "too many bytes", ClassArithmetic: "wrong sums",
	ClassOutside: "outside its time", ClassReceipts: "does not fit the receipts", ClassLog: "not in the log", ClassDisputed: "disputed",
	ClassPulls: "over the pull limit", ClassStranger: "unknown receiver", ClassOverGrant: "over the grant", ClassUnproven: "unproven storage",
}

func (c Class) known() bool { return classNames[c] != "" }

// String is letter and meaning, as in "C unacknowledged".
func (c Class) String() string {
	if !c.known() {
		return fmt.Sprintf("class(%d)", uint8(c))
	}
	return string(rune(c)) + " " + classNames[c]
}
