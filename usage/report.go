package usage

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// MaxLogSize bounds the rows of one log: a bound that keeps tree arithmetic far from overflow
// for numbers that a stranger chose.
const MaxLogSize = 1 << 40

// maxConsistency bounds the digests of a consistency proof (two per level of the tree).
const maxConsistency = 96

// UsageReport (relay → client) is the signed head of a contract's log: its size, root and
// totals, chained to the report before it. It is what a client pays by, and what convicts a
// relay that shows two histories.
type UsageReport struct {
	identity.Header
	Contract    ContractID
	Number      uint64            // from 1, without gaps
	Previous    identity.Digest   // of report Number − 1; zero for the first
	PrevSize    uint64            // its size; 0 for the first and after a log reset
	PrevRoot    identity.Digest   // its root; zero where PrevSize is 0
	Consistency []identity.Digest // proof that the log of PrevSize is a beginning of this one
	LogEpoch    uint32
	Size        uint64          // rows in the log
	Root        identity.Digest // RFC 6962 tree head over the rows
	Terms       identity.Digest
	LiveBytes   uint64 // the totals of the last row
	ByteSeconds U128
	Egress      uint64
	Owed        Msat
	Paid        Sat    // highest payment that the relay holds
	TipHeight   Height // of the relay's chain view
	TipHash     [32]byte
	AsOf        Arrival         // the last row's arrival
	Lanes       uint32          // lanes of the log; 0 where no row belongs to a grant
	LanesRoot   identity.Digest // tree head over their entries: LanesHead
}

func (r *UsageReport) fields(byteSeconds []byte) []codec.Field {
	return []codec.Field{
		codec.Fixed(64, r.Contract[:]), codec.U64(66, &r.Number), codec.Fixed(68, r.Previous[:]), codec.U64(70, &r.PrevSize),
		codec.Fixed(72, r.PrevRoot[:]), codec.Optional(codec.Hashes(74, &r.Consistency, maxConsistency)),
		codec.U32(76, &r.LogEpoch), codec.U64(78, &r.Size), codec.Fixed(80, r.Root[:]), codec.Fixed(82, r.Terms[:]),
		codec.U64(84, &r.LiveBytes), codec.Fixed(86, byteSeconds), codec.U64(88, &r.Egress), codec.U64(90, &r.Owed),
		codec.U64(92, &r.Paid), codec.U32(94, &r.TipHeight), codec.Fixed(96, r.TipHash[:]), codec.U64(98, &r.AsOf),
		codec.Optional(codec.U32(100, &r.Lanes)), codec.Optional(codec.Fixed(102, r.LanesRoot[:])),
	}
}

// check is what a report can be refused for by itself, the embedded proof apart: that proof
// failing is evidence, so such a report must still decode.
func (r *UsageReport) check() error {
	switch {
	case r.Contract.IsZero() || r.Terms.IsZero():
		return code.New(code.Malformed, "a report names a contract and its terms")
	case r.Number < 1 || (r.Number == 1) != r.Previous.IsZero():
		return code.New(code.Malformed, "report %d with the wrong predecessor", r.Number)
	case r.Size > MaxLogSize || r.PrevSize > MaxLogSize:
		return code.New(code.Malformed, "a log of more than 2^40 rows")
	case r.Number == 1 && r.PrevSize != 0, r.PrevSize == 0 && !r.PrevRoot.IsZero():
		return code.New(code.Malformed, "a report with a previous root and no previous rows")
	case r.Lanes > MaxGrants+1 || (r.Lanes == 0) != r.LanesRoot.IsZero():
		return code.New(code.Malformed, "a report of %d lanes with the wrong root field", r.Lanes)
	case r.Paid > MaxSat:
		return code.New(code.Malformed, "a payment of more than all money")
	}
	return nil
}

// Encode writes the statement. Errors: a field outside its bounds.
func (r UsageReport) Encode() ([]byte, error) {
	r.Type = identity.TypeUsageReport
	if err := r.check(); err != nil {
		return nil, err
	}
	bs := r.ByteSeconds.Bytes()
	return identity.EncodeStatement(r.Header, r.fields(bs[:])...)
}

// DecodeUsageReport reads the statement; neither the signature nor the embedded proof is
// looked at.
func DecodeUsageReport(raw []byte) (UsageReport, error) {
	var r UsageReport
	var bs [16]byte
	if err := identity.DecodeStatement(raw, identity.TypeUsageReport, &r.Header, r.fields(bs[:])...); err != nil {
		return UsageReport{}, err
	}
	r.ByteSeconds = U128From(bs)
	return r, r.check()
}

// VerifiedUsageReport is a report whose signature held. Its embedded proof is CheckReport's.
type VerifiedUsageReport struct {
	UsageReport
	verified
}

// OpenUsageReport decodes and verifies.
func OpenUsageReport(s identity.Signed) (VerifiedUsageReport, error) {
	b, v, err := open(s, DecodeUsageReport)
	return VerifiedUsageReport{b, v}, err
}

// OpenUsageReportVerified is OpenUsageReport with the verdict of identity.VerifyBatch.
func OpenUsageReportVerified(s identity.Signed, v identity.Verdict) (VerifiedUsageReport, error) {
	b, ok, err := openVerified(s, v, DecodeUsageReport)
	return VerifiedUsageReport{b, ok}, err
}

// The ways in which a report can fail to follow another.
var (
	// ErrReport: the report contradicts itself or the one before it.
	ErrReport = errors.New("the usage report is inconsistent")
	// ErrReportGap: reports between the two are missing, so only the rows themselves can
	// show that the logs agree (CheckRoot at both sizes).
	ErrReportGap = errors.New("usage reports are missing in between")
	// ErrLogReset: the report begins a new log epoch, which needs the relay's signed admission.
	ErrLogReset = errors.New("the log was reset")
)

// CheckReport checks a report against the one that the client holds (nil if none): same
// parties and contract, next number, digest, size and root of the previous one as named, and
// the embedded consistency proof. The held report itself is accepted again. Errors wrap
// ErrReport, ErrReportGap or ErrLogReset.
func CheckReport(prev *VerifiedUsageReport, r VerifiedUsageReport) error {
	if err := r.checkProof(); err != nil {
		return err
	}
	if prev == nil || prev.Digest() == r.Digest() {
		return nil
	}
	switch {
	case r.Network != prev.Network || r.From != prev.From || r.To != prev.To || r.Contract != prev.Contract || r.Terms != prev.Terms:
		return fmt.Errorf("%w: it is of another contract", ErrReport)
	case r.Number == prev.Number:
		return fmt.Errorf("%w: two different reports have number %d", ErrReport, r.Number)
	case r.Number < prev.Number:
		return fmt.Errorf("%w: number %d is older than number %d", ErrReport, r.Number, prev.Number)
	case r.LogEpoch > prev.LogEpoch:
		return fmt.Errorf("%w: log epoch %d follows %d", ErrLogReset, r.LogEpoch, prev.LogEpoch)
	case r.LogEpoch < prev.LogEpoch || r.Size < prev.Size:
		return fmt.Errorf("%w: the log went back from %d rows to %d", ErrReport, prev.Size, r.Size)
	case r.Size == prev.Size && r.Root != prev.Root:
		return fmt.Errorf("%w: two roots of one log of %d rows", ErrReport, r.Size)
	case r.Number > prev.Number+1:
		return fmt.Errorf("%w: number %d follows %d", ErrReportGap, r.Number, prev.Number)
	case r.Previous != prev.Digest():
		return fmt.Errorf("%w: it names another predecessor", ErrReport)
	}
	return r.checkPrevious(prev)
}

// checkPrevious compares what a report says of its predecessor with that predecessor.
func (r VerifiedUsageReport) checkPrevious(prev *VerifiedUsageReport) error {
	root := prev.Root
	if prev.Size == 0 {
		root = identity.Digest{}
	}
	if r.PrevSize != prev.Size || r.PrevRoot != root {
		return fmt.Errorf("%w: it names another previous log of %d rows", ErrReport, r.PrevSize)
	}
	if r.Owed < prev.Owed || r.Egress < prev.Egress || r.ByteSeconds.Less(prev.ByteSeconds) {
		return fmt.Errorf("%w: its totals fell", ErrReport)
	}
	return nil
}

// checkProof checks what a report claims about its own two heads.
func (r VerifiedUsageReport) checkProof() error {
	if r.Size == 0 && r.Root != EmptyRoot {
		return fmt.Errorf("%w: an empty log with a root of its own", ErrReport)
	}
	if err := CheckConsistency(r.Consistency, r.PrevSize, r.PrevRoot, r.Size, r.Root); err != nil {
		return fmt.Errorf("%w: %v", ErrReport, err)
	}
	return nil
}

// CheckInclusion checks that a row, as received, is row index of the log whose head the
// report signs. Errors wrap ErrReport.
func CheckInclusion(r UsageReport, index uint64, row []byte, proof []identity.Digest) error {
	if index >= r.Size || r.Size > MaxLogSize {
		return fmt.Errorf("%w: row %d in a log of %d", ErrReport, index, r.Size)
	}
	if err := tlog.CheckRecord(hashes(proof), int64(r.Size), tlog.Hash(r.Root), int64(index), tlog.RecordHash(row)); err != nil {
		return fmt.Errorf("%w: row %d: %v", ErrReport, index, err)
	}
	return nil
}
