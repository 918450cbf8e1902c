package message

import "relaymarket/internal/codec"

// Contract carries one contract statement (types 32 to 40). A request is answered by the
// statement that replies to it, or by OK where none does. The relay also sends it unasked,
// with id 0, to request a payment.
type Contract struct {
	Statement []byte // Signed
}

// Type is the message's number.
func (*Contract) Type() Type { return TypeContract }

func (m *Contract) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Statement, 1, MaxSigned)}
}
