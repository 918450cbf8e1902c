package usage

import (
	"fmt"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Reason is why a relay denies a request.
type Reason uint8

// The reasons of a denial.
const (
	ReasonNone      Reason = 1 // the relay has no such record
	ReasonDeleted   Reason = 2 // its sender, or an acknowledgement, deleted it; evidence: that order
	ReasonExpired   Reason = 3 // its custody is over
	ReasonCap       Reason = 4 // its pulls are used up; evidence: the rows that used them
	ReasonPurged    Reason = 5 // purged after suspension; evidence: the notice
	ReasonSuspended Reason = 6 // the paying contract is suspended
	ReasonBusy      Reason = 7 // the relay cannot serve it now
)

var reasonNames = [...]string{"", "none", "deleted", "expired", "cap", "purged", "suspended", "busy"}

// String names the reason.
func (r Reason) String() string {
	if r == 0 || int(r) >= len(reasonNames) {
		return fmt.Sprintf("reason(%d)", uint8(r))
	}
	return reasonNames[r]
}

// MaxDenialEvidence bounds the digests of evidence in a denial.
const MaxDenialEvidence = 64

// Denial (relay → requester) answers one signed request with no. It speaks of the state as
// of AsOf, a durable watermark captured before the record was looked up.
type Denial struct {
	identity.Header
	Request    identity.Digest
	Record     identity.Digest
	Reason     Reason
	AsOf       Arrival
	AsOfMs     identity.UnixMilli // by the relay's clock
	StoreEpoch [16]byte
	Evidence   []identity.Digest // may be empty; at most MaxDenialEvidence
}

func (d *Denial) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, d.Request[:]), codec.Fixed(66, d.Record[:]), codec.U8(68, &d.Reason), codec.U64(70, &d.AsOf),
		codec.U64(72, &d.AsOfMs), codec.Fixed(74, d.StoreEpoch[:]),
		codec.Optional(codec.Hashes(76, &d.Evidence, MaxDenialEvidence)),
	}
}

func (d *Denial) check() error {
	if d.Reason < ReasonNone || d.Reason > ReasonBusy {
		return code.New(code.Malformed, "denial reason %d is unknown", d.Reason)
	}
	if err := need(d.Type, "a request", d.Request); err != nil {
		return err
	}
	return need(d.Type, "a record", d.Record)
}

// Encode writes the statement. Errors: a field outside its bounds.
func (d Denial) Encode() ([]byte, error) {
	d.Type = identity.TypeDenial
	if err := d.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(d.Header, d.fields()...)
}

// DecodeDenial reads the statement; the signature is not looked at.
func DecodeDenial(raw []byte) (Denial, error) {
	var d Denial
	if err := identity.DecodeStatement(raw, identity.TypeDenial, &d.Header, d.fields()...); err != nil {
		return Denial{}, err
	}
	return d, d.check()
}

// Answers checks that the denial answers this request: from the relay that was asked, to who
// asked, naming the request and its record. Whether the requester was entitled is a question
// of the record, not of these two. Code Conflict.
func (d Denial) Answers(r VerifiedReadRequest) error {
	if d.Network != r.Network || d.From != r.To || d.To != r.From || d.Request != r.Digest() || d.Record != r.Record {
		return code.New(code.Conflict, "the denial answers another request")
	}
	return nil
}

// AnswersChallenge is Answers for a challenge.
func (d Denial) AnswersChallenge(c VerifiedStorageChallenge) error {
	if d.Network != c.Network || d.From != c.To || d.To != c.From || d.Request != c.Digest() || d.Record != c.Record {
		return code.New(code.Conflict, "the denial answers another challenge")
	}
	return nil
}

// VerifiedDenial is a denial whose signature held.
type VerifiedDenial struct {
	Denial
	verified
}

// OpenDenial decodes and verifies.
func OpenDenial(s identity.Signed) (VerifiedDenial, error) {
	b, v, err := open(s, DecodeDenial)
	return VerifiedDenial{b, v}, err
}

// OpenDenialVerified is OpenDenial with the verdict of identity.VerifyBatch.
func OpenDenialVerified(s identity.Signed, v identity.Verdict) (VerifiedDenial, error) {
	b, ok, err := openVerified(s, v, DecodeDenial)
	return VerifiedDenial{b, ok}, err
}
