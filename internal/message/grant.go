package message

import "relaymarket/internal/codec"

// Grant hands over a sponsor's word on one of its grants. Sponsor and account may bring a grant, only
// the sponsor takes it back.
type Grant struct {
	Statement []byte // Signed accountGrant or accountRevoke
}

// Type is the message's number.
func (*Grant) Type() Type { return TypeGrant }

func (m *Grant) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Statement, 1, MaxSigned)}
}

// Granted answers a Grant.
type Granted struct {
	Receipt []byte // Signed grantReceipt; the same statement is answered by the same body again
}

// Type is the message's number.
func (*Granted) Type() Type { return TypeGranted }

func (m *Granted) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Receipt, 1, MaxSigned)}
}

// RequestLane asks how a grant stands, and for the rows of its lane. Only its sponsor and its account
// are answered.
type RequestLane struct {
	Contract [32]byte
	Grant    [32]byte // digest of the accountGrant
	FromRow  uint64   // index in the contract's log of the first row wanted
	Limit    uint16   // rows wanted; 0 as many as a page holds
}

// Type is the message's number.
func (*RequestLane) Type() Type { return TypeRequestLane }

func (m *RequestLane) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(0, m.Contract[:]), codec.Fixed(2, m.Grant[:]), codec.Optional(codec.U64(4, &m.FromRow)), codec.Optional(codec.U16(6, &m.Limit)),
	}
}

// Lane answers a RequestLane: the relay's own book of one grant, for comparison. It is not evidence;
// receipts are, and for the sponsor usage reports.
type Lane struct {
	Grant        []byte // Signed accountGrant
	Revoke       []byte // Signed accountRevoke; empty while it stands
	Open         bool   // the contract takes orders now, as far as the sponsor's payments go
	LiveBytes    uint64 // billable bytes kept
	ByteSeconds  [16]byte
	Egress       uint64
	OwedMsat     uint64   // cost of the two
	ReservedMsat uint64   // what records accepted under it may still cost
	DayMsat      uint64   // max_msat of the orders of this day (UTC)
	Rows         [][]byte // usage.RowEntry bytes of the lane alone, ascending by index
	More         bool     // further rows follow
}

// Type is the message's number.
func (*Lane) Type() Type { return TypeLane }

func (m *Lane) fields() []codec.Field {
	return []codec.Field{
		codec.Bytes(0, &m.Grant, 1, MaxSigned), codec.Optional(codec.Bytes(2, &m.Revoke, 0, MaxSigned)),
		codec.Optional(codec.Bool(4, &m.Open)), codec.U64(6, &m.LiveBytes), codec.Fixed(8, m.ByteSeconds[:]),
		codec.U64(10, &m.Egress), codec.U64(12, &m.OwedMsat), codec.U64(14, &m.ReservedMsat), codec.U64(16, &m.DayMsat),
		codec.List(18, &m.Rows, MaxItems, maxRowEntry), codec.Optional(codec.Bool(20, &m.More)),
	}
}
