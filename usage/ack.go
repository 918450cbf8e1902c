package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Verdict is what a receiver says of a delivery.
type Verdict uint8

// The verdicts.
const (
	// VerdictOK: the record arrived whole and is what its header says.
	VerdictOK Verdict = 1
	// VerdictBad: what arrived is not the record, or not all of it.
	VerdictBad Verdict = 2
)

// String names the verdict.
func (v Verdict) String() string {
	switch v {
	case VerdictOK:
		return "ok"
	case VerdictBad:
		return "bad"
	}
	return "unknown"
}

// Acknowledgement is the receiver's word on one delivery. Addressed to the serving relay it
// is a delivery acknowledgement, which the relay attaches to the row; addressed to the sender
// it travels in a sealed record over the receiver's own relays, where the serving relay
// cannot suppress it.
type Acknowledgement struct {
	identity.Header
	Record  identity.Digest
	Bytes   uint64          // header + content bytes received
	Request identity.Digest // of the ReadRequest that was served
	Verdict Verdict
	Relay   identity.PublicKey // the serving relay
}

func (a *Acknowledgement) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, a.Record[:]), codec.U64(66, &a.Bytes), codec.Fixed(68, a.Request[:]),
		codec.U8(70, &a.Verdict), codec.Fixed(72, a.Relay[:]),
	}
}

func (a *Acknowledgement) check() error {
	if a.Verdict != VerdictOK && a.Verdict != VerdictBad {
		return code.New(code.Malformed, "verdict %d is unknown", a.Verdict)
	}
	if a.Relay.IsZero() {
		return code.New(code.Malformed, "an acknowledgement without a serving relay")
	}
	if err := need(a.Type, "a record", a.Record); err != nil {
		return err
	}
	return need(a.Type, "a request", a.Request)
}

// Delivery tells whether this is a delivery acknowledgement, addressed to the serving relay.
func (a Acknowledgement) Delivery() bool { return a.To == a.Relay }

// Encode writes the statement. Errors: a field outside its bounds.
func (a Acknowledgement) Encode() ([]byte, error) {
	a.Type = identity.TypeAcknowledgement
	if err := a.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(a.Header, a.fields()...)
}

// DecodeAcknowledgement reads the statement; the signature is not looked at.
func DecodeAcknowledgement(raw []byte) (Acknowledgement, error) {
	var a Acknowledgement
	if err := identity.DecodeStatement(raw, identity.TypeAcknowledgement, &a.Header, a.fields()...); err != nil {
		return Acknowledgement{}, err
	}
	return a, a.check()
}

// VerifiedAcknowledgement is an acknowledgement whose signature held.
type VerifiedAcknowledgement struct {
	Acknowledgement
	verified
}

// OpenAcknowledgement decodes and verifies.
func OpenAcknowledgement(s identity.Signed) (VerifiedAcknowledgement, error) {
	b, v, err := open(s, DecodeAcknowledgement)
	return VerifiedAcknowledgement{b, v}, err
}

// OpenAcknowledgementVerified is OpenAcknowledgement with the verdict of identity.VerifyBatch.
func OpenAcknowledgementVerified(s identity.Signed, v identity.Verdict) (VerifiedAcknowledgement, error) {
	b, ok, err := openVerified(s, v, DecodeAcknowledgement)
	return VerifiedAcknowledgement{b, ok}, err
}
