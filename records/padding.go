package records

import (
	"encoding/binary"
	"math/bits"

	"relaymarket/internal/code"
)

// MaxPlaintext is the largest encoded content that fits, padded and sealed with an
// encapsulation, into MaxContent bytes: the largest Padmé length below it is 63 × 16 KiB.
const MaxPlaintext = 63<<14 - padLenSize

// padLenSize is the length prefix of a padded plaintext.
const padLenSize = 4

// PaddedLen is the Padmé length of n bytes (Nikitin et al., "Reducing Metadata Leakage from
// Encrypted Files and Communication with PURBs", PETS 2019, §4.2): of a length with exponent
// E only the top log2(E)+1 bits may be set. It costs at most 12 %, and leaves O(log log n)
// bits of n to see instead of O(log n).
func PaddedLen(n int) int {
	if n < 2 {
		return n
	}
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	mask := 1<<max(e-s, 0) - 1
	return (n + mask) &^ mask
}

// Pad puts a u32 length before the plaintext and zeros behind it, up to a Padmé length.
// Errors carry code TooLarge.
func Pad(plain []byte) ([]byte, error) {
	if len(plain) > MaxPlaintext {
		return nil, code.New(code.TooLarge, "a message of %d bytes, allowed are %d: send it as an attachment", len(plain), MaxPlaintext)
	}
	out := make([]byte, PaddedLen(padLenSize+len(plain)))
	binary.BigEndian.PutUint32(out, uint32(len(plain)))
	copy(out[padLenSize:], plain)
	return out, nil
}

// Unpad undoes Pad. It is strict, so that every plaintext has one padded form: the length
// must be the Padmé length of what is inside and all padding zero. Errors carry code
// Malformed.
func Unpad(padded []byte) ([]byte, error) {
	if len(padded) < padLenSize {
		return nil, code.New(code.Malformed, "%d bytes are no padded content", len(padded))
	}
	n := uint64(binary.BigEndian.Uint32(padded))
	if n > MaxPlaintext || PaddedLen(padLenSize+int(n)) != len(padded) {
		return nil, code.New(code.Malformed, "padded content of %d bytes claims %d inside", len(padded), n)
	}
	plain, rest := padded[padLenSize:padLenSize+n], padded[padLenSize+n:]
	if !allZero(rest) {
		return nil, code.New(code.Malformed, "the padding is not zero")
	}
	return plain, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
