package message

import (
	"errors"

	"relaymarket/internal/codec"
)

// Write stores records. The bundles together hold exactly one store order, first, and then
// its n records in order; there are two only if payer and sender are not the same, the
// payer's with the order alone and the sender's with the records. Contents are the n contents
// in the same order. That the bundles hold this is checked by the relay, not here.
type Write struct {
	Bundles  [][]byte // one or two identity.Bundle
	Contents [][]byte // 1 to MaxItems, each at most MaxContent
}

// Type is the message's number.
func (*Write) Type() Type { return TypeWrite }

func (m *Write) fields() []codec.Field {
	return []codec.Field{
		codec.List(0, &m.Bundles, 2, MaxBundle), codec.List(2, &m.Contents, MaxItems, MaxContent),
	}
}

func (m *Write) pack() error { return m.unpack() }

func (m *Write) unpack() error {
	if len(m.Bundles) == 0 || len(m.Contents) == 0 {
		return errors.New("a write needs a bundle and a content")
	}
	return nil
}

// Written answers a Write whose order is on disk.
type Written struct {
	Receipt []byte // Signed receipt, one for all records of the order
}

// Type is the message's number.
func (*Written) Type() Type { return TypeWritten }

func (m *Written) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Receipt, 1, MaxSigned)}
}
