package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// MaxRequestLife is the longest time, in milliseconds, for which a read request can be valid.
const MaxRequestLife identity.UnixMilli = 10 * 60 * 1000

// ReadRequest (receiver → relay) asks for one record once: one request is one pull and one
// row of the log. The same statement may be presented again until NotAfter, to resume.
type ReadRequest struct {
	identity.Header
	Record   identity.Digest
	MaxBytes uint64             // header + content bytes that the receiver is willing to get
	NotAfter identity.UnixMilli // at most Time + MaxRequestLife
}

func (r *ReadRequest) fields() []codec.Field {
	return []codec.Field{codec.Fixed(64, r.Record[:]), codec.U64(66, &r.MaxBytes), codec.U64(68, &r.NotAfter)}
}

func (r *ReadRequest) check() error {
	if r.NotAfter < r.Time || r.NotAfter-r.Time > MaxRequestLife {
		return code.New(code.Malformed, "a read request is valid for at most ten minutes from its time on")
	}
	return need(r.Type, "a record", r.Record)
}

// Encode writes the statement. Errors: a field outside its bounds.
func (r ReadRequest) Encode() ([]byte, error) {
	r.Type = identity.TypeReadRequest
	if err := r.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(r.Header, r.fields()...)
}

// DecodeReadRequest reads the statement; the signature is not looked at.
func DecodeReadRequest(raw []byte) (ReadRequest, error) {
	var r ReadRequest
	if err := identity.DecodeStatement(raw, identity.TypeReadRequest, &r.Header, r.fields()...); err != nil {
		return ReadRequest{}, err
	}
	return r, r.check()
}

// VerifiedReadRequest is a request whose signature held.
type VerifiedReadRequest struct {
	ReadRequest
	verified
}

// CheckEntitled checks what a reader shows of the record that it asks for: the record's statement.
// That its digest is the one of the request, and that it names the request's signer as receiver,
// is enough without the sender's signature: nobody can find another statement with the digest of
// a record, so who is not its receiver can only show statements of records that do not exist.
// Errors carry code Malformed or Forbidden.
func (r VerifiedReadRequest) CheckEntitled(statement []byte) error {
	h, err := shown(r.Network, r.Record, statement)
	if err == nil && h.To != r.From {
		return code.New(code.Forbidden, "record %s is for another identity than the request's signer", r.Record.Short())
	}
	return err
}

// OpenReadRequest decodes and verifies.
func OpenReadRequest(s identity.Signed) (VerifiedReadRequest, error) {
	b, v, err := open(s, DecodeReadRequest)
	return VerifiedReadRequest{b, v}, err
}

// OpenReadRequestVerified is OpenReadRequest with the verdict of identity.VerifyBatch.
func OpenReadRequestVerified(s identity.Signed, v identity.Verdict) (VerifiedReadRequest, error) {
	b, ok, err := openVerified(s, v, DecodeReadRequest)
	return VerifiedReadRequest{b, ok}, err
}
