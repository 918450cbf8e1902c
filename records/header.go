package records

import (
	"math"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Bounds of every record. A relay may allow less; its limits are in its offer.
const (
	// MaxContent is the largest content in bytes.
	MaxContent = 1 << 20
	// MaxTag is the longest tag in bytes.
	MaxTag = 32
	// MaxPulls is the largest number of paid reads that a sender can allow.
	MaxPulls = 1000
	// DefaultMaxPulls is what Draft takes if nothing is said: one read, one repetition by the
	// same receiver's second device, and one in reserve.
	DefaultMaxPulls = 3
	// MaxTTL is the longest life in seconds: 365 days.
	MaxTTL = 365 * 24 * 3600
)

// Times by which a relay accepts a record, in milliseconds.
const (
	// MaxAhead is how far a record's time may lie in the future.
	MaxAhead identity.UnixMilli = 120_000
	// MinLife is how long a record must still live when it is stored.
	MinLife identity.UnixMilli = 3_600_000
)

// Flags are the record's switches; unknown bits are refused.
type Flags uint8

// DeleteOnAck lets the receiver's delivery acknowledgement delete the record.
const DeleteOnAck Flags = 1

// knownFlags are all bits that this version understands.
const knownFlags = DeleteOnAck

// Header is the record statement (type 1, sender to receiver): everything about a record but
// its content, to which it commits. It is unverified; see Verified.
type Header struct {
	identity.Header
	ID          ID
	TTL         uint32          // seconds from the statement's time; see Expiry
	Tag         []byte          // optional, visible to the relay
	MaxPulls    uint16          // paid reads that the sender allows, at least 1
	Flags       Flags           // optional
	ContentLen  uint32          // bytes of content
	ContentRoot identity.Digest // ContentRoot(content)
}

// fields lists the body of the statement for encoding and decoding.
func (h *Header) fields() []codec.Field {
	return []codec.Field{
		codec.String(64, &h.ID, 1, MaxID),
		codec.U32(66, &h.TTL),
		codec.Optional(codec.Bytes(68, &h.Tag, 0, MaxTag)),
		codec.U16(70, &h.MaxPulls),
		codec.Optional(codec.U8(72, &h.Flags)),
		codec.U32(74, &h.ContentLen),
		codec.Fixed(76, h.ContentRoot[:]),
	}
}

// Encode writes the bytes of the statement; it sets the type itself. Errors: a field outside
// its bounds.
func (h Header) Encode() ([]byte, error) {
	h.Type = identity.TypeRecord
	if err := h.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(h.Header, h.fields()...)
}

// DecodeHeader reads the bytes of a record statement without looking at any signature.
func DecodeHeader(raw []byte) (Header, error) {
	var h Header
	if err := identity.DecodeStatement(raw, identity.TypeRecord, &h.Header, h.fields()...); err != nil {
		return Header{}, err
	}
	if err := h.check(); err != nil {
		return Header{}, err
	}
	return h, nil
}

// check holds what every record must fulfil wherever it is read. Limits of a relay and times
// are looked at when it is stored.
func (h *Header) check() error {
	switch {
	case h.ID.check() != nil:
		return code.Wrap(code.Malformed, h.ID.check(), "record")
	case h.TTL == 0 || h.TTL > MaxTTL:
		return code.New(code.Malformed, "a record lives 1 to %d seconds, not %d", MaxTTL, h.TTL)
	case h.MaxPulls < 1 || h.MaxPulls > MaxPulls:
		return code.New(code.Malformed, "a record allows 1 to %d pulls, not %d", MaxPulls, h.MaxPulls)
	case h.Flags&^knownFlags != 0:
		return code.New(code.Malformed, "a record with unknown flags %02x", uint8(h.Flags))
	case h.ContentLen > MaxContent:
		return code.New(code.TooLarge, "a record of %d bytes, allowed are %d", h.ContentLen, MaxContent)
	case uint64(h.Time) > math.MaxUint64-uint64(h.TTL)*1000:
		return code.New(code.Malformed, "the record's expiry passes the end of time")
	}
	return nil
}

// Expiry is when the record's life ends: its time plus its ttl, a function of the record
// alone. It cannot overflow in a header that was decoded or encoded; in one that was filled by
// hand it stops at the largest time.
func (h Header) Expiry() identity.UnixMilli {
	life := identity.UnixMilli(h.TTL) * 1000
	if h.Time > math.MaxUint64-life {
		return math.MaxUint64
	}
	return h.Time + life
}

// Path is where the record lives.
func (h Header) Path() Path { return Path{h.From, h.To, h.ID} }

// DeleteOnAck tells whether the receiver's acknowledgement deletes the record.
func (h Header) DeleteOnAck() bool { return h.Flags&DeleteOnAck != 0 }

// CheckTimes says whether a relay whose clock shows now may store the record: its time is at
// most MaxAhead in the future, it lives at least MinLife more and its ttl is at most maxTTL
// seconds. A record may be old, because it may have waited in an offline queue. Errors carry
// code NotYet, Expired or TooLarge.
func CheckTimes(h Header, now identity.UnixMilli, maxTTL uint32) error {
	switch {
	case h.Time > now && h.Time-now > MaxAhead:
		return code.New(code.NotYet, "the record's time is %d s in the future", (h.Time-now)/1000)
	case h.Expiry() < now || h.Expiry()-now < MinLife:
		return code.New(code.Expired, "the record must live at least %d s more", MinLife/1000)
	case h.TTL > maxTTL:
		return code.New(code.TooLarge, "a ttl of %d s, allowed are %d", h.TTL, maxTTL)
	}
	return nil
}

// Draft is what a sender says about a record; the content gives the rest.
type Draft struct {
	Network  identity.Network
	From, To identity.PublicKey
	ID       ID
	Time     identity.UnixMilli
	Serial   identity.Serial // random
	TTL      uint32          // seconds
	Tag      []byte          // optional, visible to the relay
	MaxPulls uint16          // zero means DefaultMaxPulls
	Flags    Flags
}

// Statement makes the unsigned header over content, which is stored as it is: seal it first.
// Sign the result with identity.Sign, together with the store order if the sender pays.
func (d Draft) Statement(content []byte) ([]byte, error) {
	if len(content) > MaxContent {
		return nil, code.New(code.TooLarge, "a record of %d bytes, allowed are %d", len(content), MaxContent)
	}
	if d.MaxPulls == 0 {
		d.MaxPulls = DefaultMaxPulls
	}
	return Header{
		Header:      identity.Header{Network: d.Network, From: d.From, To: d.To, Time: d.Time, Serial: d.Serial},
		ID:          d.ID,
		TTL:         d.TTL,
		Tag:         d.Tag,
		MaxPulls:    d.MaxPulls,
		Flags:       d.Flags,
		ContentLen:  uint32(len(content)),
		ContentRoot: ContentRoot(content),
	}.Encode()
}
