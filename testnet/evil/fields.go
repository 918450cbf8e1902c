package evil

import (
	"encoding/binary"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Field is one field of a statement, of a kind that this package does not have to know.
type Field struct {
	Type  uint64
	Value []byte
}

// Split takes a statement apart. Code Malformed if it is not a row of fields.
func Split(raw []byte) ([]Field, error) {
	var out []Field
	for len(raw) > 0 {
		typ, a := number(raw)
		n, b := number(raw[a:])
		if a == 0 || b == 0 || n > uint64(len(raw)-a-b) {
			return nil, code.New(code.Malformed, "not a row of fields")
		}
		at := uint64(a + b)
		out = append(out, Field{typ, slices.Clone(raw[at : at+n])})
		raw = raw[at+n:]
	}
	return out, nil
}

// Join puts fields together again, in the order in which they stand.
func Join(fields []Field) []byte {
	var out []byte
	for _, f := range fields {
		out = append(appendNumber(appendNumber(out, f.Type), uint64(len(f.Value))), f.Value...)
	}
	return out
}

// number reads a BigSize and tells its length; 0 if it is cut off.
func number(b []byte) (uint64, int) {
	switch {
	case len(b) == 0:
	case b[0] < 0xfd:
		return uint64(b[0]), 1
	case b[0] == 0xfd && len(b) >= 3:
		return uint64(binary.BigEndian.Uint16(b[1:])), 3
	case b[0] == 0xfe && len(b) >= 5:
		return uint64(binary.BigEndian.Uint32(b[1:])), 5
	case b[0] == 0xff && len(b) >= 9:
		return binary.BigEndian.Uint64(b[1:]), 9
	}
	return 0, 0
}

func appendNumber(b []byte, n uint64) []byte {
	switch {
	case n < 0xfd:
		return append(b, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, 0xfd), uint16(n))
	case n <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(b, 0xfe), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xff), n)
}

// digestOf is the digest of a statement of any type.
func digestOf(raw []byte) (identity.Digest, error) {
	h, err := identity.PeekHeader(raw)
	return identity.StatementDigest(h.Type, raw), err
}
