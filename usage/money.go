package usage

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"

	"relaymarket/identity"
)

// ErrOverflow is wrapped by every arithmetic error of this package: money and quantities
// never wrap around silently.
var ErrOverflow = errors.New("arithmetic overflow")

// Msat is a sum in millisatoshi, the unit of prices and of what is owed.
type Msat uint64

// Sat is a sum in satoshi, the unit of the chain. It lives here, and not in contract, because
// offers state deposits and broadcast may not import contract.
type Sat uint64

// MaxSat is all the money there can be: 21 million bitcoin.
const MaxSat Sat = 21_000_000 * 100_000_000

// Height is a block height. Deadlines of money are heights, never clocks.
type Height uint32

// Arrival orders what a relay has committed: strictly increasing, in microseconds, assigned
// at commit. To everyone but the relay it is an opaque cursor.
type Arrival uint64

// ContractID names a contract; zero stands for the free allowance.
type ContractID [32]byte

// IsZero tells whether the id stands for the free allowance.
func (c ContractID) IsZero() bool { return c == ContractID{} }

// String is the id as hex.
func (c ContractID) String() string { return hex.EncodeToString(c[:]) }

// MarshalText writes hex.
func (c ContractID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads 64 hex digits.
func (c *ContractID) UnmarshalText(b []byte) error {
	d, err := identity.ParseDigest(string(b))
	*c = ContractID(d)
	return err
}

// Add is a checked sum.
func (m Msat) Add(o Msat) (Msat, error) {
	s, carry := bits.Add64(uint64(m), uint64(o), 0)
	if carry != 0 {
		return 0, fmt.Errorf("%w: %d + %d msat", ErrOverflow, m, o)
	}
	return Msat(s), nil
}

// Sub is a checked difference.
func (m Msat) Sub(o Msat) (Msat, error) {
	if o > m {
		return 0, fmt.Errorf("%w: %d - %d msat", ErrOverflow, m, o)
	}
	return m - o, nil
}

// CeilSat is the sum in whole satoshi, rounded up: rounding happens once, at payment.
func (m Msat) CeilSat() Sat {
	s := Sat(m / 1000)
	if m%1000 != 0 {
		s++
	}
	return s
}

// Add is a checked sum, bounded by MaxSat.
func (s Sat) Add(o Sat) (Sat, error) {
	if s > MaxSat || o > MaxSat || s+o > MaxSat {
		return 0, fmt.Errorf("%w: %d + %d sat", ErrOverflow, s, o)
	}
	return s + o, nil
}

// Sub is a checked difference.
func (s Sat) Sub(o Sat) (Sat, error) {
	if o > s {
		return 0, fmt.Errorf("%w: %d - %d sat", ErrOverflow, s, o)
	}
	return s - o, nil
}

// Msat is the same sum in millisatoshi; it cannot overflow up to MaxSat, and is an error above.
func (s Sat) Msat() (Msat, error) {
	if s > MaxSat {
		return 0, fmt.Errorf("%w: %d sat", ErrOverflow, s)
	}
	return Msat(s) * 1000, nil
}

// U128 is an unsigned 128-bit integer, for byte·seconds, which pass 64 bits at 545 GiB·years.
type U128 struct{ Hi, Lo uint64 }

// Mul64 is the full product of two 64-bit numbers.
func Mul64(a, b uint64) U128 {
	hi, lo := bits.Mul64(a, b)
	return U128{hi, lo}
}

// Add is a checked sum.
func (u U128) Add(v U128) (U128, error) {
	lo, c := bits.Add64(u.Lo, v.Lo, 0)
	hi, c := bits.Add64(u.Hi, v.Hi, c)
	if c != 0 {
		return U128{}, fmt.Errorf("%w: 128-bit sum", ErrOverflow)
	}
	return U128{hi, lo}, nil
}

// Sub is a checked difference.
func (u U128) Sub(v U128) (U128, error) {
	lo, b := bits.Sub64(u.Lo, v.Lo, 0)
	hi, b := bits.Sub64(u.Hi, v.Hi, b)
	if b != 0 {
		return U128{}, fmt.Errorf("%w: 128-bit difference", ErrOverflow)
	}
	return U128{hi, lo}, nil
}

// Less compares.
func (u U128) Less(v U128) bool { return u.Hi < v.Hi || u.Hi == v.Hi && u.Lo < v.Lo }

// Bytes is the number as 16 bytes, big-endian.
func (u U128) Bytes() [16]byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], u.Hi)
	binary.BigEndian.PutUint64(b[8:], u.Lo)
	return b
}

// U128From reads 16 big-endian bytes.
func U128From(b [16]byte) U128 {
	return U128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}
