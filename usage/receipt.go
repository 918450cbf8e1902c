package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Receipt (relay → payer) accepts custody of all records of one order. Record i of the order
// has arrival Arrival + i, and its custody ends at min(its expiry, ServiceUntil).
type Receipt struct {
	identity.Header
	Order        identity.Digest
	StoredBytes  uint64             // billable bytes of all records, as ordered
	Arrival      Arrival            // of the first record
	AcceptedMs   identity.UnixMilli // by the relay's clock: storage is billed from here
	ServiceUntil identity.UnixMilli // the contract's service ends here
	WorstMsat    Msat               // the most that the records can ever cost
	Contract     ContractID         // zero: the free allowance
	LogEpoch     uint32             // of the contract's log
	RowIndex     uint64             // the order's WRITE row in that log
	Terms        identity.Digest
	StoreEpoch   [16]byte
	HomeShard    uint16 // a hint where the relay keeps the records
}

func (r *Receipt) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, r.Order[:]), codec.U64(66, &r.StoredBytes), codec.U64(68, &r.Arrival), codec.U64(70, &r.AcceptedMs),
		codec.U64(72, &r.ServiceUntil), codec.U64(74, &r.WorstMsat), codec.Fixed(76, r.Contract[:]), codec.U32(78, &r.LogEpoch),
		codec.U64(80, &r.RowIndex), codec.Fixed(82, r.Terms[:]), codec.Fixed(84, r.StoreEpoch[:]), codec.U16(86, &r.HomeShard),
	}
}

// ReceiptSerial is the serial of the receipt for an order: derived, so that the same order is
// always answered by the same statement.
func ReceiptSerial(order identity.Digest) identity.Serial {
	d := identity.Tagged("receipt-serial", order[:])
	return identity.Serial(d[:16])
}

func (r *Receipt) check() error {
	if r.Serial != ReceiptSerial(r.Order) {
		return code.New(code.Malformed, "the receipt's serial is not derived from its order")
	}
	if err := need(r.Type, "an order", r.Order); err != nil {
		return err
	}
	return checkTerms(r.Type, r.Contract, r.Terms)
}

// Encode writes the statement; the serial is filled in from the order.
func (r Receipt) Encode() ([]byte, error) {
	r.Type, r.Serial = identity.TypeReceipt, ReceiptSerial(r.Order)
	if err := r.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(r.Header, r.fields()...)
}

// DecodeReceipt reads the statement; the signature is not looked at.
func DecodeReceipt(raw []byte) (Receipt, error) {
	var r Receipt
	if err := identity.DecodeStatement(raw, identity.TypeReceipt, &r.Header, r.fields()...); err != nil {
		return Receipt{}, err
	}
	return r, r.check()
}

// Answers checks that the receipt is the relay's answer to this order: addressed back, naming
// it, with the bytes and terms that were ordered and no higher worst case. Code Conflict.
func (r Receipt) Answers(o VerifiedStoreOrder) error {
	switch {
	case r.Network != o.Network || r.From != o.To || r.To != o.From:
		return code.New(code.Conflict, "the receipt is between other parties than the order")
	case r.Order != o.Digest():
		return code.New(code.Conflict, "the receipt is for another order")
	case r.Contract != o.Contract || r.Terms != o.Terms:
		return code.New(code.Conflict, "the receipt names another contract than the order")
	case r.StoredBytes != o.TotalBytes:
		return code.New(code.Conflict, "the receipt says %d bytes, ordered were %d", r.StoredBytes, o.TotalBytes)
	case r.WorstMsat > o.MaxMsat:
		return code.New(code.Conflict, "the receipt allows a cost of %d msat, ordered were %d", r.WorstMsat, o.MaxMsat)
	case r.AcceptedMs > o.NotAfter:
		return code.New(code.Conflict, "the receipt accepts the order after its time")
	}
	return nil
}

// VerifiedReceipt is a receipt whose signature held.
type VerifiedReceipt struct {
	Receipt
	verified
}

// OpenReceipt decodes and verifies.
func OpenReceipt(s identity.Signed) (VerifiedReceipt, error) {
	b, v, err := open(s, DecodeReceipt)
	return VerifiedReceipt{b, v}, err
}

// OpenReceiptVerified is OpenReceipt with the verdict of identity.VerifyBatch.
func OpenReceiptVerified(s identity.Signed, v identity.Verdict) (VerifiedReceipt, error) {
	b, ok, err := openVerified(s, v, DecodeReceipt)
	return VerifiedReceipt{b, ok}, err
}
