// Package codec owns the one binary form of the project: TLV streams over lnd/tlv, read
// strictly.
//
// The library alone is not safe on bytes from a stranger: it allocates what a length claims
// (a stream of six bytes can ask for 1 GiB), accepts streams with missing types, and skips
// types it does not know. So Decode scans first, touching nothing but the input: types strictly
// ascending and minimally encoded, every length within the bytes that are left and within the
// field's own bounds, no unknown type, no missing required type, no trailing byte. Only then
// are values decoded.
//
// A struct is described by a list of Fields, each binding a type number to a Go variable; the
// same list encodes and decodes. An optional field is absent when its value is zero, and a
// present zero is refused, so that every value has exactly one encoding.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/lightningnetwork/lnd/tlv"
)

// ErrMalformed is wrapped by every decoding error of this package.
var ErrMalformed = errors.New("malformed TLV")

// Field binds one TLV type to a variable. Make it with one of the constructors of this
// package.
type Field struct {
	rec      tlv.Record
	min, max uint64
	optional bool
	isZero   func() bool
}

// Type is the TLV type number of the field.
func (f Field) Type() uint64 { return uint64(f.rec.Type()) }

// Optional makes a field absent when its value is zero (or empty).
func Optional(f Field) Field {
	f.optional = true
	return f
}

// Encode writes the fields, which must be listed in ascending order of type. Errors: a value
// over its bound, or types out of order (a fault of the caller).
func Encode(fields ...Field) ([]byte, error) { return Append(nil, fields...) }

// Append is Encode behind the bytes of prefix, which it takes over.
func Append(prefix []byte, fields ...Field) ([]byte, error) {
	recs := make([]tlv.Record, 0, len(fields))
	size := 0
	for i, f := range fields {
		if i > 0 && fields[i-1].Type() >= f.Type() {
			return nil, fmt.Errorf("codec: field %d is not above field %d", f.Type(), fields[i-1].Type())
		}
		if f.optional && f.isZero() {
			continue
		}
		n := f.rec.Size()
		if n < f.min || n > f.max {
			return nil, fmt.Errorf("codec: field %d has %d bytes, allowed are %d to %d", f.Type(), n, f.min, f.max)
		}
		recs = append(recs, f.rec)
		size += int(n) + maxFieldHead
	}
	stream, err := tlv.NewStream(recs...)
	if err != nil {
		return nil, fmt.Errorf("codec: %w", err)
	}
	b := bytes.NewBuffer(prefix)
	b.Grow(size)
	if err := stream.Encode(b); err != nil {
		return nil, fmt.Errorf("codec: %w", err)
	}
	return b.Bytes(), nil
}

// maxFieldHead is the most that type and length of a small type take.
const maxFieldHead = 3 + 9

// Decode reads raw, which may be at most limit bytes long, into the fields. Every error wraps
// ErrMalformed; the variables may then be half written and must not be used.
func Decode(raw []byte, limit int, fields ...Field) error {
	if len(raw) > limit {
		return malformed("%d bytes, allowed are %d", len(raw), limit)
	}
	present, err := scan(raw, fields)
	if err != nil {
		return err
	}
	recs := make([]tlv.Record, 0, len(fields))
	for i, f := range fields {
		if present[i] {
			recs = append(recs, f.rec)
		} else if !f.optional {
			return malformed("required type %d is missing", f.Type())
		}
	}
	stream, err := tlv.NewStream(recs...)
	if err != nil {
		return malformed("%v", err)
	}
	if err := stream.Decode(bytes.NewReader(raw)); err != nil {
		return malformed("%v", err)
	}
	return zeroOptionals(fields, present)
}

// zeroOptionals refuses optional fields that are present but zero: the canonical form leaves
// them out.
func zeroOptionals(fields []Field, present []bool) error {
	for i, f := range fields {
		if present[i] && f.optional && f.isZero() {
			return malformed("optional type %d is present but empty", f.Type())
		}
	}
	return nil
}

// scan checks the whole shape of raw against the fields without allocating for its contents,
// and tells which fields are present.
func scan(raw []byte, fields []Field) ([]bool, error) {
	present := make([]bool, len(fields))
	r := bytes.NewReader(raw)
	next := 0
	var buf [8]byte
	for first, last := true, uint64(0); r.Len() > 0; first = false {
		typ, err := tlv.ReadVarInt(r, &buf)
		if err != nil {
			return nil, malformed("type: %v", err)
		}
		if !first && typ <= last {
			return nil, malformed("type %d after type %d", typ, last)
		}
		last = typ
		n, err := tlv.ReadVarInt(r, &buf)
		if err != nil {
			return nil, malformed("length of type %d: %v", typ, err)
		}
		if n > uint64(r.Len()) {
			return nil, malformed("type %d claims %d bytes, %d are left", typ, n, r.Len())
		}
		for next < len(fields) && fields[next].Type() < typ {
			next++
		}
		if next == len(fields) || fields[next].Type() != typ {
			return nil, malformed("unknown type %d", typ)
		}
		if f := fields[next]; n < f.min || n > f.max {
			return nil, malformed("type %d has %d bytes, allowed are %d to %d", typ, n, f.min, f.max)
		}
		present[next] = true
		if _, err := r.Seek(int64(n), io.SeekCurrent); err != nil {
			return nil, malformed("%v", err)
		}
	}
	return present, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
