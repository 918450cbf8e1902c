package codec

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/lightningnetwork/lnd/tlv"
)

// U8 is a field of one byte.
func U8[T ~uint8](typ uint64, v *T) Field {
	return integer(typ, 1, func() uint64 { return uint64(*v) }, func(x uint64) { *v = T(x) })
}

// U16 is a field of two bytes, big-endian.
func U16[T ~uint16](typ uint64, v *T) Field {
	return integer(typ, 2, func() uint64 { return uint64(*v) }, func(x uint64) { *v = T(x) })
}

// U32 is a field of four bytes, big-endian.
func U32[T ~uint32](typ uint64, v *T) Field {
	return integer(typ, 4, func() uint64 { return uint64(*v) }, func(x uint64) { *v = T(x) })
}

// U64 is a field of eight bytes, big-endian.
func U64[T ~uint64](typ uint64, v *T) Field {
	return integer(typ, 8, func() uint64 { return uint64(*v) }, func(x uint64) { *v = T(x) })
}

// integer is the one shape behind U8 to U64: size bytes, big-endian, fixed.
func integer(typ, size uint64, get func() uint64, set func(uint64)) Field {
	enc := func(w io.Writer, _ any, buf *[8]byte) error {
		binary.BigEndian.PutUint64(buf[:], get())
		_, err := w.Write(buf[8-size:])
		return err
	}
	dec := func(r io.Reader, _ any, buf *[8]byte, n uint64) error {
		if n != size {
			return fmt.Errorf("%d bytes instead of %d", n, size)
		}
		*buf = [8]byte{}
		if _, err := io.ReadFull(r, buf[8-size:]); err != nil {
			return err
		}
		set(binary.BigEndian.Uint64(buf[:]))
		return nil
	}
	rec := tlv.MakeStaticRecord(tlv.Type(typ), nil, size, enc, dec)
	return Field{rec: rec, min: size, max: size, isZero: func() bool { return get() == 0 }}
}

// Bool is a field of one byte, 0 or 1. Inside Optional false is absent.
func Bool[T ~bool](typ uint64, v *T) Field {
	enc := func(w io.Writer, _ any, buf *[8]byte) error {
		buf[0] = 0
		if *v {
			buf[0] = 1
		}
		_, err := w.Write(buf[:1])
		return err
	}
	dec := func(r io.Reader, _ any, buf *[8]byte, _ uint64) error {
		if _, err := io.ReadFull(r, buf[:1]); err != nil {
			return err
		}
		if buf[0] > 1 {
			return fmt.Errorf("%d is neither 0 nor 1", buf[0])
		}
		*v = buf[0] == 1
		return nil
	}
	rec := tlv.MakeStaticRecord(tlv.Type(typ), nil, 1, enc, dec)
	return Field{rec: rec, min: 1, max: 1, isZero: func() bool { return !bool(*v) }}
}

// Fixed is a field of exactly len(v) bytes, read into v in place: pass a slice of an array.
func Fixed(typ uint64, v []byte) Field {
	size := uint64(len(v))
	enc := func(w io.Writer, _ any, _ *[8]byte) error {
		_, err := w.Write(v)
		return err
	}
	dec := func(r io.Reader, _ any, _ *[8]byte, n uint64) error {
		if n != size {
			return fmt.Errorf("%d bytes instead of %d", n, size)
		}
		_, err := io.ReadFull(r, v)
		return err
	}
	return Field{
		rec: tlv.MakeStaticRecord(tlv.Type(typ), nil, size, enc, dec),
		min: size, max: size,
		isZero: func() bool { return allZero(v) },
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// Bytes is a field of min to max bytes.
func Bytes(typ uint64, v *[]byte, min, max int) Field {
	enc := func(w io.Writer, _ any, _ *[8]byte) error {
		_, err := w.Write(*v)
		return err
	}
	dec := func(r io.Reader, _ any, _ *[8]byte, n uint64) error {
		*v = make([]byte, n)
		_, err := io.ReadFull(r, *v)
		return err
	}
	size := func() uint64 { return uint64(len(*v)) }
	return Field{
		rec: tlv.MakeDynamicRecord(tlv.Type(typ), nil, size, enc, dec),
		min: uint64(min), max: uint64(max),
		isZero: func() bool { return len(*v) == 0 },
	}
}

// String is a field of min to max bytes kept as a string. Whether the bytes must be UTF-8 or
// a smaller alphabet is the caller's rule.
func String[T ~string](typ uint64, v *T, min, max int) Field {
	enc := func(w io.Writer, _ any, _ *[8]byte) error {
		_, err := io.WriteString(w, string(*v))
		return err
	}
	dec := func(r io.Reader, _ any, _ *[8]byte, n uint64) error {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		*v = T(b)
		return nil
	}
	size := func() uint64 { return uint64(len(*v)) }
	return Field{
		rec: tlv.MakeDynamicRecord(tlv.Type(typ), nil, size, enc, dec),
		min: uint64(min), max: uint64(max),
		isZero: func() bool { return len(*v) == 0 },
	}
}

// Hashes is a field holding a list of at most max 32-byte values, concatenated.
func Hashes[T ~[32]byte](typ uint64, v *[]T, max int) Field {
	enc := func(w io.Writer, _ any, _ *[8]byte) error {
		for _, h := range *v {
			b := [32]byte(h)
			if _, err := w.Write(b[:]); err != nil {
				return err
			}
		}
		return nil
	}
	dec := func(r io.Reader, _ any, _ *[8]byte, n uint64) error {
		if n%32 != 0 {
			return fmt.Errorf("%d bytes are not a list of 32-byte values", n)
		}
		*v = make([]T, n/32)
		for i := range *v {
			var b [32]byte
			if _, err := io.ReadFull(r, b[:]); err != nil {
				return err
			}
			(*v)[i] = T(b)
		}
		return nil
	}
	size := func() uint64 { return 32 * uint64(len(*v)) }
	return Field{
		rec: tlv.MakeDynamicRecord(tlv.Type(typ), nil, size, enc, dec),
		min: 0, max: 32 * uint64(max),
		isZero: func() bool { return len(*v) == 0 },
	}
}

// List is a field holding at most maxItems byte strings of at most maxLen bytes each. Its
// value is the concatenation of u32 length ‖ bytes.
func List(typ uint64, v *[][]byte, maxItems, maxLen int) Field {
	enc := func(w io.Writer, _ any, buf *[8]byte) error {
		if err := listBounds(*v, maxItems, maxLen); err != nil {
			return err
		}
		for _, it := range *v {
			binary.BigEndian.PutUint32(buf[:4], uint32(len(it)))
			if _, err := w.Write(buf[:4]); err != nil {
				return err
			}
			if _, err := w.Write(it); err != nil {
				return err
			}
		}
		return nil
	}
	dec := func(r io.Reader, _ any, _ *[8]byte, n uint64) error {
		raw := make([]byte, n)
		if _, err := io.ReadFull(r, raw); err != nil {
			return err
		}
		items, err := SplitList(raw, maxItems, maxLen)
		*v = items
		return err
	}
	size := func() uint64 {
		n := 4 * len(*v)
		for _, it := range *v {
			n += len(it)
		}
		return uint64(n)
	}
	return Field{
		rec: tlv.MakeDynamicRecord(tlv.Type(typ), nil, size, enc, dec),
		min: 0, max: uint64(maxItems) * (4 + uint64(maxLen)),
		isZero: func() bool { return len(*v) == 0 },
	}
}

// listBounds holds Encode to what SplitList accepts.
func listBounds(items [][]byte, maxItems, maxLen int) error {
	if len(items) > maxItems {
		return fmt.Errorf("%d items, allowed are %d", len(items), maxItems)
	}
	for i, it := range items {
		if len(it) > maxLen {
			return fmt.Errorf("item %d has %d bytes, allowed are %d", i, len(it), maxLen)
		}
	}
	return nil
}

// AppendList appends each item as u32 length ‖ bytes.
func AppendList(b []byte, items [][]byte) []byte {
	for _, it := range items {
		b = binary.BigEndian.AppendUint32(b, uint32(len(it)))
		b = append(b, it...)
	}
	return b
}

// SplitList reads what AppendList wrote, without copying: the items alias raw. Errors wrap
// ErrMalformed.
func SplitList(raw []byte, maxItems, maxLen int) ([][]byte, error) {
	var items [][]byte
	for len(raw) > 0 {
		if len(items) == maxItems {
			return nil, malformed("more than %d items", maxItems)
		}
		if len(raw) < 4 {
			return nil, malformed("%d bytes where a length should stand", len(raw))
		}
		n := binary.BigEndian.Uint32(raw)
		raw = raw[4:]
		if uint64(n) > uint64(len(raw)) || uint64(n) > uint64(maxLen) {
			return nil, malformed("an item claims %d bytes, allowed are %d and %d are left", n, maxLen, len(raw))
		}
		items = append(items, raw[:n:n])
		raw = raw[n:]
	}
	return items, nil
}
