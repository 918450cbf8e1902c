package usage

import (
	"fmt"
	"math/bits"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// maxStored bounds the bytes of a record here, far above every limit of records and far below
// what could overflow a sum over an order.
const maxStored = 1 << 40

// MaxOrderRecords is the largest number of records that one order covers.
const MaxOrderRecords = 1024

// StoreOrder (payer → relay) orders and pays for the storage of n records. It is apart from
// the records so that somebody else than their sender can pay, and so that nobody can be
// charged for a copy which he did not order.
type StoreOrder struct {
	identity.Header
	Contract   ContractID         // zero: the free allowance
	Terms      identity.Digest    // of the contract's terms; zero with the free allowance
	N          uint16             // records covered, 1 to MaxOrderRecords
	Root       identity.Digest    // identity.Root over the records' digests, in order
	TotalBytes uint64             // sum of the records' billable bytes
	MaxMsat    Msat               // the most that the records may ever cost
	NotAfter   identity.UnixMilli // the relay accepts the order up to this time
	Grant      identity.Digest    // of the AccountGrant by which the contract's client pays; zero: the signer pays
}

func (o *StoreOrder) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, o.Contract[:]), codec.Fixed(66, o.Terms[:]), codec.U16(68, &o.N), codec.Fixed(70, o.Root[:]),
		codec.U64(72, &o.TotalBytes), codec.U64(74, &o.MaxMsat), codec.U64(76, &o.NotAfter),
		codec.Optional(codec.Fixed(78, o.Grant[:])),
	}
}

func (o *StoreOrder) check() error {
	if o.N < 1 || o.N > MaxOrderRecords {
		return code.New(code.Malformed, "an order for %d records, allowed are 1 to %d", o.N, MaxOrderRecords)
	}
	if !o.Grant.IsZero() && o.Contract.IsZero() {
		return code.New(code.Malformed, "an order by a grant names the contract that pays")
	}
	return checkTerms(o.Type, o.Contract, o.Terms)
}

// Encode writes the statement. Errors: a field outside its bounds.
func (o StoreOrder) Encode() ([]byte, error) {
	o.Type = identity.TypeStoreOrder
	if err := o.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(o.Header, o.fields()...)
}

// DecodeStoreOrder reads the statement; the signature is not looked at.
func DecodeStoreOrder(raw []byte) (StoreOrder, error) {
	var o StoreOrder
	if err := identity.DecodeStatement(raw, identity.TypeStoreOrder, &o.Header, o.fields()...); err != nil {
		return StoreOrder{}, err
	}
	return o, o.check()
}

// VerifiedStoreOrder is an order whose signature held.
type VerifiedStoreOrder struct {
	StoreOrder
	verified
}

// OpenStoreOrder decodes and verifies.
func OpenStoreOrder(s identity.Signed) (VerifiedStoreOrder, error) {
	b, v, err := open(s, DecodeStoreOrder)
	return VerifiedStoreOrder{b, v}, err
}

// OpenStoreOrderVerified is OpenStoreOrder with the verdict of identity.VerifyBatch.
func OpenStoreOrderVerified(s identity.Signed, v identity.Verdict) (VerifiedStoreOrder, error) {
	b, ok, err := openVerified(s, v, DecodeStoreOrder)
	return VerifiedStoreOrder{b, ok}, err
}

// RecordFacts is what billing needs to know of a record, taken from its verified header.
type RecordFacts struct {
	Digest      identity.Digest
	Sender      identity.PublicKey
	Receiver    identity.PublicKey
	Stored      uint64             // header + content bytes: the egress of one pull
	Expiry      identity.UnixMilli // record time + ttl
	MaxPulls    uint16
	DeleteOnAck bool
}

// Billable is the number of bytes that storage is billed for.
func (f RecordFacts) Billable() uint64 { return f.Stored + RecordOverhead }

// CustodyEnd is when the relay's duty for the record ends: at its expiry, or when the service
// of the contract ends, whichever is earlier.
func (f RecordFacts) CustodyEnd(serviceUntil identity.UnixMilli) identity.UnixMilli {
	return min(f.Expiry, serviceUntil)
}

// seconds is the whole seconds of a time: intervals are differences of these, half-open.
func seconds(t identity.UnixMilli) uint64 { return uint64(t) / 1000 }

// storedSeconds is how long a record is billed that was kept from one time to another and is
// closed: at least MinStorageSeconds. An end before the beginning counts as no time.
func storedSeconds(from, to identity.UnixMilli) uint64 {
	return max(openSeconds(from, to), MinStorageSeconds)
}

// openSeconds is storedSeconds while the record is still kept.
func openSeconds(from, to identity.UnixMilli) uint64 {
	if to < from {
		return 0
	}
	return seconds(to) - seconds(from)
}

// OrderWorst is the most that records accepted at a time can use: storage to the end of
// custody (at least MinStorageSeconds) and MaxPulls pulls of each. A payer who makes an order
// does not know yet when it will be accepted and passes his own time less AcceptAhead.
func OrderWorst(records []RecordFacts, accepted, serviceUntil identity.UnixMilli) (Quantities, error) {
	var sum Quantities
	for _, f := range records {
		q, err := recordWorst(f, accepted, serviceUntil)
		if err != nil {
			return Quantities{}, err
		}
		if sum, err = sum.Add(q); err != nil {
			return Quantities{}, err
		}
	}
	return sum, nil
}

// AcceptAhead is how far, in milliseconds, a record's time may lie before the relay's clock
// reaches it, and so the most by which a relay can accept earlier than the sender's clock says.
const AcceptAhead identity.UnixMilli = 120_000

func recordWorst(f RecordFacts, accepted, serviceUntil identity.UnixMilli) (Quantities, error) {
	kept := storedSeconds(accepted, f.CustodyEnd(serviceUntil))
	hi, pulls := bits.Mul64(f.Stored, uint64(f.MaxPulls))
	if hi != 0 {
		return Quantities{}, fmt.Errorf("%w: %d pulls of %d bytes", ErrOverflow, f.MaxPulls, f.Stored)
	}
	return Quantities{Mul64(f.Billable(), kept), pulls}, nil
}

// CoverOrder checks that an order covers exactly these records (count, root, bytes) and gives
// the most that they can use and cost when accepted at that time. Errors: Malformed if it is
// an order for other records, OrderMismatch if bytes or MaxMsat do not suffice, Expired if it is accepted after NotAfter or after the
// end of service. With the free allowance pass zero prices.
func CoverOrder(o StoreOrder, records []RecordFacts, p Prices, accepted, serviceUntil identity.UnixMilli) (Quantities, Msat, error) {
	if accepted > o.NotAfter {
		return Quantities{}, 0, code.New(code.Expired, "the store order is past its time")
	}
	if accepted >= serviceUntil {
		return Quantities{}, 0, code.New(code.Expired, "the service of this contract is over")
	}
	if err := o.Names(records); err != nil {
		return Quantities{}, 0, err
	}
	worst, err := OrderWorst(records, accepted, serviceUntil)
	if err != nil {
		return Quantities{}, 0, code.Wrap(code.BadAmount, err, "the worst case of the order")
	}
	cost, err := CostCeil(p, worst)
	if err != nil {
		return Quantities{}, 0, code.Wrap(code.BadAmount, err, "the worst case of the order")
	}
	if cost > o.MaxMsat {
		return Quantities{}, 0, code.New(code.OrderMismatch, "the records can cost %d msat, ordered are %d", cost, o.MaxMsat)
	}
	return worst, cost, nil
}

// Names checks that the order is for exactly these records in this order: count, root and
// sum of billable bytes.
func (o StoreOrder) Names(records []RecordFacts) error {
	if len(records) != int(o.N) {
		return code.New(code.OrderMismatch, "the order is for %d records, here are %d", o.N, len(records))
	}
	digests := make([]identity.Digest, len(records))
	seen := make(map[identity.Digest]bool, len(records))
	var total uint64
	for i, f := range records {
		if seen[f.Digest] {
			return code.New(code.OrderMismatch, "the order names record %s twice", f.Digest.Short())
		}
		seen[f.Digest] = true
		if f.Stored > maxStored {
			return code.New(code.TooLarge, "a record of %d bytes", f.Stored)
		}
		digests[i] = f.Digest
		total += f.Billable()
	}
	if identity.Root(digests) != o.Root {
		return code.New(code.OrderMismatch, "the order is for other records")
	}
	if total > o.TotalBytes {
		return code.New(code.OrderMismatch, "the records have %d billable bytes, ordered are %d", total, o.TotalBytes)
	}
	if total < o.TotalBytes {
		return code.New(code.OrderMismatch, "the order says %d billable bytes, the records have %d", o.TotalBytes, total)
	}
	return nil
}
