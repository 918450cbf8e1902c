package usage

import (
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Bounds of what any relay may announce, whatever its operator sets.
const (
	// LimitMinFrame is the smallest frame limit: one contract statement with its proof fits.
	LimitMinFrame = 128 << 10
	// LimitMaxFrame is the largest frame limit: memory that a peer can make the other side reserve.
	LimitMaxFrame = 16 << 20
	// LimitMaxContent is the largest content of one record in bytes (records.MaxContent).
	LimitMaxContent = 1 << 20
	// LimitMaxList is the most items that one page or one store order may hold.
	LimitMaxList = 1024

	limitMinTTL   = 3600
	limitMaxBytes = 256
)

// Limits is what a relay lets one peer do. It is sent in the handshake, stands in the offer
// and is printed in PROTOCOL.md; this is its only definition.
type Limits struct {
	MaxFrame           uint32 // largest frame in bytes, either way
	MaxContent         uint32 // largest content of a record in bytes
	MaxInFlight        uint16 // requests of one session that are not yet answered
	MaxPage            uint16 // rows in one page of an inventory, listen event or usage log
	MaxBundle          uint16 // records under one store order
	MaxPulls           uint16 // largest max_pulls of a record
	SessionsPerKey     uint16 // proven sessions of one identity at a time
	SessionsPerAddress uint16 // proven sessions from one address (IPv6: one /64) at a time
	MaxTTL             uint32 // longest life of a record in seconds
}

// DefaultLimits is what a relay announces unless its operator sets otherwise.
func DefaultLimits() Limits {
	return Limits{
		MaxFrame: 2 << 20, MaxContent: LimitMaxContent, MaxInFlight: 64, MaxPage: 512, MaxBundle: LimitMaxList,
		MaxPulls: 1000, SessionsPerKey: 8, SessionsPerAddress: 64, MaxTTL: 365 * 86400,
	}
}

func (l *Limits) fields() []codec.Field {
	return []codec.Field{
		codec.U32(0, &l.MaxFrame), codec.U32(2, &l.MaxContent), codec.U16(4, &l.MaxInFlight),
		codec.U16(6, &l.MaxPage), codec.U16(8, &l.MaxBundle), codec.U16(10, &l.MaxPulls),
		codec.U16(12, &l.SessionsPerKey), codec.U16(14, &l.SessionsPerAddress), codec.U32(16, &l.MaxTTL),
	}
}

// Encode is the nested TLV form of handshake and offer: always 64 bytes or less, and never
// an error, because every field has a fixed size.
func (l Limits) Encode() []byte {
	raw, err := codec.Encode(l.fields()...)
	if err != nil {
		panic("usage: limits have fixed sizes: " + err.Error())
	}
	return raw
}

// DecodeLimits reads what Encode wrote and checks it. Errors carry code Malformed or
// BadAmount.
func DecodeLimits(raw []byte) (Limits, error) {
	var l Limits
	if err := codec.Decode(raw, limitMaxBytes, l.fields()...); err != nil {
		return Limits{}, code.Wrap(code.Malformed, err, "limits")
	}
	return l, l.Check()
}

// Check tells whether a session can work under the limits: each at least one, a record with
// the largest content fits a frame, and nothing passes the bounds of the protocol. Errors
// carry code BadAmount.
func (l Limits) Check() error {
	bad := func(name string, v any) error { return code.New(code.BadAmount, "limit %s is %v", name, v) }
	switch {
	case l.MaxFrame < LimitMinFrame || l.MaxFrame > LimitMaxFrame:
		return bad("max_frame", l.MaxFrame)
	case l.MaxContent < 1 || l.MaxContent > LimitMaxContent || uint64(l.MaxContent)+LimitMinFrame > uint64(l.MaxFrame):
		return bad("max_content", l.MaxContent)
	case l.MaxInFlight < 1:
		return bad("max_in_flight", l.MaxInFlight)
	case l.MaxPage < 1 || l.MaxPage > LimitMaxList:
		return bad("max_page", l.MaxPage)
	case l.MaxBundle < 1 || l.MaxBundle > LimitMaxList:
		return bad("max_bundle", l.MaxBundle)
	case l.MaxPulls < 1:
		return bad("max_pulls", l.MaxPulls)
	case l.SessionsPerKey < 1:
		return bad("sessions_per_key", l.SessionsPerKey)
	case l.SessionsPerAddress < 1:
		return bad("sessions_per_address", l.SessionsPerAddress)
	case l.MaxTTL < limitMinTTL:
		return bad("max_ttl_s", l.MaxTTL)
	}
	return nil
}
