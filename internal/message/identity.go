package message

import (
	"relaymarket/identity"
	"relaymarket/internal/codec"
)

// PutIdentity leaves the owner's own Identity document with the relay, which hands it to
// whoever asks. It is answered by OK.
type PutIdentity struct {
	Document []byte // Signed identity statement of this session's key
}

// Type is the message's number.
func (*PutIdentity) Type() Type { return TypePutIdentity }

func (m *PutIdentity) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Document, 1, MaxSigned)}
}

// GetIdentity asks for the newest Identity document of a key.
type GetIdentity struct{ Key identity.PublicKey }

// Type is the message's number.
func (*GetIdentity) Type() Type { return TypeGetIdentity }

func (m *GetIdentity) fields() []codec.Field { return []codec.Field{codec.Fixed(0, m.Key[:])} }

// Identity answers a GetIdentity.
type Identity struct {
	Document []byte // Signed identity statement
}

// Type is the message's number.
func (*Identity) Type() Type { return TypeIdentity }

func (m *Identity) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Document, 1, MaxSigned)}
}

// GetOffer asks for the relay's current offer.
type GetOffer struct{}

// Type is the message's number.
func (*GetOffer) Type() Type { return TypeGetOffer }

func (*GetOffer) fields() []codec.Field { return nil }

// Offer answers a GetOffer.
type Offer struct {
	Offer []byte // Signed serverBroadcast
}

// Type is the message's number.
func (*Offer) Type() Type { return TypeOffer }

func (m *Offer) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Offer, 1, MaxSigned)}
}
