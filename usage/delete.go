package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/codec"
)

// Delete (sender → relay) ends the custody of one record, named by its digest. Its path stays
// taken by a tombstone until the record's expiry.
type Delete struct {
	identity.Header
	Record identity.Digest
}

func (d *Delete) fields() []codec.Field { return []codec.Field{codec.Fixed(64, d.Record[:])} }

// Encode writes the statement. Errors: a field outside its bounds.
func (d Delete) Encode() ([]byte, error) {
	d.Type = identity.TypeDelete
	if err := need(d.Type, "a record", d.Record); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(d.Header, d.fields()...)
}

// DecodeDelete reads the statement; the signature is not looked at.
func DecodeDelete(raw []byte) (Delete, error) {
	var d Delete
	if err := identity.DecodeStatement(raw, identity.TypeDelete, &d.Header, d.fields()...); err != nil {
		return Delete{}, err
	}
	return d, need(d.Type, "a record", d.Record)
}

// VerifiedDelete is an order to delete whose signature held.
type VerifiedDelete struct {
	Delete
	verified
}

// OpenDelete decodes and verifies.
func OpenDelete(s identity.Signed) (VerifiedDelete, error) {
	b, v, err := open(s, DecodeDelete)
	return VerifiedDelete{b, v}, err
}

// OpenDeleteVerified is OpenDelete with the verdict of identity.VerifyBatch.
func OpenDeleteVerified(s identity.Signed, v identity.Verdict) (VerifiedDelete, error) {
	b, ok, err := openVerified(s, v, DecodeDelete)
	return VerifiedDelete{b, ok}, err
}

// DeleteReceipt (relay → sender) says that a record is gone and that its storage is billed no
// further than the named row.
type DeleteReceipt struct {
	identity.Header
	Order    identity.Digest // of the Delete, or of the delivery acknowledgement that deleted
	Record   identity.Digest
	Arrival  Arrival    // of the deletion
	Contract ContractID // that paid for the record; zero: the free allowance
	LogEpoch uint32
	RowIndex uint64 // the DELETE row
}

func (d *DeleteReceipt) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, d.Order[:]), codec.Fixed(66, d.Record[:]), codec.U64(68, &d.Arrival),
		codec.Fixed(70, d.Contract[:]), codec.U32(72, &d.LogEpoch), codec.U64(74, &d.RowIndex),
	}
}

func (d *DeleteReceipt) check() error {
	if err := need(d.Type, "an order", d.Order); err != nil {
		return err
	}
	return need(d.Type, "a record", d.Record)
}

// Encode writes the statement. Errors: a field outside its bounds.
func (d DeleteReceipt) Encode() ([]byte, error) {
	d.Type = identity.TypeDeleteReceipt
	if err := d.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(d.Header, d.fields()...)
}

// DecodeDeleteReceipt reads the statement; the signature is not looked at.
func DecodeDeleteReceipt(raw []byte) (DeleteReceipt, error) {
	var d DeleteReceipt
	if err := identity.DecodeStatement(raw, identity.TypeDeleteReceipt, &d.Header, d.fields()...); err != nil {
		return DeleteReceipt{}, err
	}
	return d, d.check()
}

// VerifiedDeleteReceipt is a deletion receipt whose signature held.
type VerifiedDeleteReceipt struct {
	DeleteReceipt
	verified
}

// OpenDeleteReceipt decodes and verifies.
func OpenDeleteReceipt(s identity.Signed) (VerifiedDeleteReceipt, error) {
	b, v, err := open(s, DecodeDeleteReceipt)
	return VerifiedDeleteReceipt{b, v}, err
}

// OpenDeleteReceiptVerified is OpenDeleteReceipt with the verdict of identity.VerifyBatch.
func OpenDeleteReceiptVerified(s identity.Signed, v identity.Verdict) (VerifiedDeleteReceipt, error) {
	b, ok, err := openVerified(s, v, DecodeDeleteReceipt)
	return VerifiedDeleteReceipt{b, ok}, err
}
