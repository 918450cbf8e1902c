package usage

import (
	"fmt"
	"math/bits"

	"relaymarket/internal/code"
)

// The units of prices.
const (
	// GiB is 2^30 bytes.
	GiB = 1 << 30
	// Day is 86,400 seconds.
	Day = 86_400
	// MaxPrice bounds each price, in msat: with byte·seconds below 2^88 every product stays
	// below 2^128.
	MaxPrice Msat = 1_000_000_000_000
	// RecordOverhead is billed with every record: what a relay keeps besides its bytes, up to
	// the tombstone after a delete.
	RecordOverhead = 256
	// MinStorageSeconds is the least storage time billed for a record, once, when it closes.
	MinStorageSeconds = 3600
)

// maxByteSecondsHi is the bound of byte·seconds, 2^88, in the upper word.
const maxByteSecondsHi = 1 << 24

// Prices are what a contract pays for use. They are copied into its terms and hold for its
// whole life.
type Prices struct {
	StorageMsatPerGiBDay Msat
	EgressMsatPerGiB     Msat
}

// Check refuses prices above MaxPrice; code BadAmount.
func (p Prices) Check() error {
	if p.StorageMsatPerGiBDay > MaxPrice || p.EgressMsatPerGiB > MaxPrice {
		return code.New(code.BadAmount, "a price is at most %d msat", MaxPrice)
	}
	return nil
}

// Quantities is what was used, or may still be used: the things that have a price.
type Quantities struct {
	ByteSeconds U128   // bytes kept × seconds
	Egress      uint64 // bytes delivered
}

// Add is a checked sum.
func (q Quantities) Add(o Quantities) (Quantities, error) {
	bs, err := q.ByteSeconds.Add(o.ByteSeconds)
	if err != nil {
		return Quantities{}, err
	}
	e, err := addBytes(q.Egress, o.Egress)
	return Quantities{bs, e}, err
}

// Sub is a checked difference.
func (q Quantities) Sub(o Quantities) (Quantities, error) {
	bs, err := q.ByteSeconds.Sub(o.ByteSeconds)
	if err != nil {
		return Quantities{}, err
	}
	e, err := subBytes(q.Egress, o.Egress)
	return Quantities{bs, e}, err
}

// IsZero tells whether nothing was used.
func (q Quantities) IsZero() bool { return q == Quantities{} }

func addBytes(a, b uint64) (uint64, error) {
	s, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return 0, fmt.Errorf("%w: %d + %d bytes", ErrOverflow, a, b)
	}
	return s, nil
}

func subBytes(a, b uint64) (uint64, error) {
	if b > a {
		return 0, fmt.Errorf("%w: %d - %d bytes", ErrOverflow, a, b)
	}
	return a - b, nil
}

// Cost is what quantities cost, in msat:
//
//	floor(egress × price / 2^30) + floor(byte_seconds × price / (2^30 × 86,400))
//
// It is applied to cumulative sums only, so that a whole contract is rounded down by less
// than 2 msat. Errors: a price above MaxPrice, byte·seconds of 2^88 or more, a result beyond
// 64 bits; all but the first wrap ErrOverflow.
func Cost(p Prices, q Quantities) (Msat, error) {
	storage, egress, err := costs(p, q, false)
	if err != nil {
		return 0, err
	}
	return storage.Add(egress)
}

// CostCeil is Cost with both parts rounded up: what is promised, reserved and ordered is
// never less than what will be billed.
func CostCeil(p Prices, q Quantities) (Msat, error) {
	storage, egress, err := costs(p, q, true)
	if err != nil {
		return 0, err
	}
	return storage.Add(egress)
}

func costs(p Prices, q Quantities, up bool) (storage, egress Msat, err error) {
	if err = p.Check(); err != nil {
		return 0, 0, err
	}
	if q.ByteSeconds.Hi >= maxByteSecondsHi {
		return 0, 0, fmt.Errorf("%w: 2^88 byte·seconds or more", ErrOverflow)
	}
	// hi < 2^24 and price < 2^40, so neither the product nor the sum leaves 128 bits.
	product := Mul64(q.ByteSeconds.Lo, uint64(p.StorageMsatPerGiBDay))
	product.Hi += q.ByteSeconds.Hi * uint64(p.StorageMsatPerGiBDay)
	if storage, err = divide(product, GiB*Day, up); err != nil {
		return 0, 0, err
	}
	egress, err = divide(Mul64(q.Egress, uint64(p.EgressMsatPerGiB)), GiB, up)
	return storage, egress, err
}

// divide is u / d, rounded down or up, if that fits 64 bits.
func divide(u U128, d uint64, up bool) (Msat, error) {
	if u.Hi >= d {
		return 0, fmt.Errorf("%w: the cost is beyond 64 bits", ErrOverflow)
	}
	quo, rem := bits.Div64(u.Hi, u.Lo, d)
	if up && rem != 0 {
		return Msat(quo).Add(1)
	}
	return Msat(quo), nil
}

// BillableBytes is what a stored record is billed for: header, content and RecordOverhead.
// Lengths are bounded by the limits of records, far below overflow.
func BillableBytes(headerLen, contentLen int) uint64 {
	return uint64(headerLen) + uint64(contentLen) + RecordOverhead
}

// RecordWorst is the most that one record can cost: storage for the whole time (at least
// MinStorageSeconds), and one pull, each rounded up; a record costs at most
// storage + maxPulls × perPull. It is what is shown before writing; orders use OrderWorst,
// which rounds once for all records.
func RecordWorst(p Prices, billable, ttlSeconds uint64, maxPulls uint16) (storage, perPull Msat, err error) {
	stored, err := subBytes(billable, RecordOverhead)
	if err != nil {
		return 0, 0, err
	}
	kept := Quantities{ByteSeconds: Mul64(billable, max(ttlSeconds, MinStorageSeconds))}
	if storage, err = CostCeil(p, kept); err != nil {
		return 0, 0, err
	}
	if perPull, err = CostCeil(p, Quantities{Egress: stored}); err != nil {
		return 0, 0, err
	}
	hi, pulls := bits.Mul64(uint64(perPull), uint64(maxPulls))
	if hi != 0 {
		return 0, 0, fmt.Errorf("%w: %d pulls of %d msat", ErrOverflow, maxPulls, perPull)
	}
	_, err = storage.Add(Msat(pulls))
	return storage, perPull, err
}
