package contract

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Common is what every contract message begins with, after the statement header.
//
// Seq counts the messages of one sender in one contract from 1 upwards; a receiver accepts rising
// numbers only, and knows a repeated message by its digest. Prev is the digest of the last message
// that the sender has had from the other side, and zero while there is none. It does not chain
// over both senders: relay and client may speak at the same time, and a common chain would then
// break for no fault of either.
//
// A request for payment that is not final, contractReady, contractReestablish and the two messages of a
// close by the key path stand outside: they have the Seq of their sender's last message, may be lost, and
// are not referred to, except that contractReestablish is where the references begin anew after one side
// lost its memory. An answer (contractOpened, contractPaymentAck)
// that was lost and is sent again may come after a younger message; it names what it answers.
type Common struct {
	identity.Header
	Nonce Nonce           // 64 contract_nonce[32]
	Seq   uint32          // 66
	Prev  identity.Digest // 68
}

func (c *Common) common() *Common { return c }

func (c *Common) fields(body ...codec.Field) []codec.Field {
	return append([]codec.Field{codec.Fixed(64, c.Nonce[:]), codec.U32(66, &c.Seq), codec.Fixed(68, c.Prev[:])}, body...)
}

// Message is one of the contract messages: *Open, *ServerAddInputs, *ClientSigned, *Opened,
// *RequestPayment, *PaymentUpdate, *PaymentAck, *RefundPayment, *Abort, *Ready, *Reestablish, *CloseNonce,
// *CloseSig and *Notice.
type Message interface {
	common() *Common
	kind() identity.Type
	body() []codec.Field
	check() error
}

// Encode writes the statement of a message, with the header that it carries; the type is filled in.
// Errors: a value outside its bounds.
func Encode(m Message) ([]byte, error) {
	c := m.common()
	c.Type = m.kind()
	if err := m.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(c.Header, c.fields(m.body()...)...)
}

// Decode reads any contract message; the signature is not looked at. Code Malformed for anything
// else.
func Decode(raw []byte) (Message, error) {
	h, err := identity.PeekHeader(raw)
	if err != nil {
		return nil, err
	}
	m, err := newMessage(h.Type)
	if err != nil {
		return nil, err
	}
	c := m.common()
	if err := identity.DecodeStatement(raw, h.Type, &c.Header, c.fields(m.body()...)...); err != nil {
		return nil, err
	}
	return m, m.check()
}

func newMessage(t identity.Type) (Message, error) {
	switch t {
	case identity.TypeContractOpen:
		return new(Open), nil
	case identity.TypeContractServerAddInputs:
		return new(ServerAddInputs), nil
	case identity.TypeContractClientSigned:
		return new(ClientSigned), nil
	case identity.TypeContractOpened:
		return new(Opened), nil
	case identity.TypeContractRequestPayment:
		return new(RequestPayment), nil
	case identity.TypeContractPaymentUpdate:
		return new(PaymentUpdate), nil
	case identity.TypeContractPaymentAck:
		return new(PaymentAck), nil
	case identity.TypeContractRefundPayment:
		return new(RefundPayment), nil
	case identity.TypeContractAbort:
		return new(Abort), nil
	case identity.TypeContractReady:
		return new(Ready), nil
	case identity.TypeContractReestablish:
		return new(Reestablish), nil
	case identity.TypeContractCloseNonce:
		return new(CloseNonce), nil
	case identity.TypeContractCloseSig:
		return new(CloseSig), nil
	case identity.TypeContractNotice:
		return new(Notice), nil
	}
	return nil, code.New(code.Malformed, "a %s is no contract message", t)
}

// Verified is a contract message whose signature held. It comes from OpenMessage only.
type Verified struct {
	message Message
	digest  identity.Digest
	signed  identity.Signed
}

// OpenMessage decodes and verifies a contract message.
func OpenMessage(s identity.Signed) (Verified, error) {
	h, d, err := identity.Verify(s)
	return OpenMessageVerified(s, identity.Verdict{Header: h, Digest: d, Err: err})
}

// OpenMessageVerified is OpenMessage with the verdict of identity.VerifyBatch.
func OpenMessageVerified(s identity.Signed, v identity.Verdict) (Verified, error) {
	if v.Err != nil {
		return Verified{}, v.Err
	}
	m, err := Decode(s.Statement)
	if err != nil {
		return Verified{}, err
	}
	return Verified{m, v.Digest, s}, nil
}

// Message is the message; it must not be changed.
func (v Verified) Message() Message { return v.message }

// Digest is the statement's digest.
func (v Verified) Digest() identity.Digest { return v.digest }

// Signed is the message as it came, to be kept as evidence.
func (v Verified) Signed() identity.Signed { return v.signed }

// Header is the statement's header.
func (v Verified) Header() identity.Header { return v.message.common().Header }

// Nonce tells which contract the message belongs to, together with its two parties.
func (v Verified) Nonce() Nonce { return v.message.common().Nonce }
