package message

import (
	"encoding/binary"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// HeaderLen is the size of a frame before its TLV body: u16 type ‖ u64 request id.
const HeaderLen = 10

// smallFrame is room for most answers, to be had in one allocation.
const smallFrame = 64

// Bounds of single fields. What one relay allows is at most this; its own limits come in the
// handshake.
const (
	// MaxItems is the most rows, records, statements or results in one message.
	MaxItems = 1024
	// MaxSigned bounds one signed statement with its proof.
	MaxSigned = 66 << 10
	// MaxBundle bounds the bytes of one bundle.
	MaxBundle = 1 << 20
	// MaxContent bounds the content of one record.
	MaxContent = 1 << 20
	// MaxPiece bounds the data in one readData.
	MaxPiece = 256 << 10
	// MaxText bounds the sentence of an error.
	MaxText = 512
)

// Message is one of the structs of this package, by pointer.
type Message interface {
	// Type is the message's number.
	Type() Type
	fields() []codec.Field
}

// packed is implemented by messages with lists of structs: pack writes them into the raw
// form that fields binds, unpack reads them back and checks what bytes alone cannot say.
type packed interface {
	pack() error
	unpack() error
}

// Encode writes a frame. Errors carry code Malformed: a field over its bound, which is the
// caller's fault. Encode writes only unexported state of m, so that concurrent calls need
// distinct messages.
func Encode(id uint64, m Message) ([]byte, error) {
	if p, ok := m.(packed); ok {
		if err := p.pack(); err != nil {
			return nil, code.Wrap(code.Malformed, err, "%s cannot be written", m.Type())
		}
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, smallFrame), uint16(m.Type()))
	b, err := codec.Append(binary.BigEndian.AppendUint64(b, id), m.fields()...)
	return b, code.Wrap(code.Malformed, err, "%s cannot be written", m.Type())
}

// Peek reads type and request id, so that a frame can be refused before its body is looked
// at. The type may be one that this version does not know. A frame shorter than HeaderLen is
// Malformed.
func Peek(frame []byte) (Type, uint64, error) {
	if len(frame) < HeaderLen {
		return 0, 0, code.New(code.Malformed, "a frame of %d bytes, the least is %d", len(frame), HeaderLen)
	}
	return Type(binary.BigEndian.Uint16(frame)), binary.BigEndian.Uint64(frame[2:]), nil
}

// Decode reads a frame of at most limit bytes. The message keeps nothing of frame, which may
// be reused. Errors carry code Malformed, TooLarge or, for an unknown type, Unsupported; the
// request id is returned with them wherever the frame had one, so that they can be answered.
func Decode(frame []byte, limit int) (uint64, Message, error) {
	t, id, err := Peek(frame)
	if err != nil {
		return 0, nil, err
	}
	if len(frame) > limit {
		return id, nil, code.New(code.TooLarge, "a frame of %d bytes, allowed are %d", len(frame), limit)
	}
	info, ok := byType[t]
	if !ok {
		return id, nil, code.New(code.Unsupported, "message type %d is unknown", uint16(t))
	}
	m := info.make()
	if err := codec.Decode(frame[HeaderLen:], limit, m.fields()...); err != nil {
		return id, nil, code.Wrap(code.Malformed, err, "not a %s", t)
	}
	if p, ok := m.(packed); ok {
		if err := p.unpack(); err != nil {
			return id, nil, code.Wrap(code.Malformed, err, "not a %s", t)
		}
	}
	return id, m, nil
}

// Body is the TLV part of a frame: what the handshake signs.
func Body(frame []byte) []byte { return frame[HeaderLen:] }
