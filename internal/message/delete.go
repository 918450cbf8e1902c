package message

import (
	"errors"

	"relaymarket/internal/codec"
)

// Delete deletes records by their sender's signed orders.
type Delete struct {
	Deletes []byte // identity.Bundle of delete statements
	Homes   Homes  // hints, one per statement
}

// Type is the message's number.
func (*Delete) Type() Type { return TypeDelete }

func (m *Delete) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Deletes, 1, MaxBundle), homesField(2, &m.Homes)}
}

func (m *Delete) pack() error   { return m.Homes.check() }
func (m *Delete) unpack() error { return m.Homes.check() }

// Deleted answers a Delete: for every statement, in order, a receipt or an error. Both lists
// are equally long.
type Deleted struct {
	Receipts [][]byte // Signed deleteReceipt; empty where there is none
	Results  []Result

	raw [][]byte
}

// Type is the message's number.
func (*Deleted) Type() Type { return TypeDeleted }

func (m *Deleted) fields() []codec.Field {
	return []codec.Field{
		codec.List(0, &m.Receipts, MaxItems, MaxSigned), codec.List(2, &m.raw, MaxItems, 2+MaxText),
	}
}

func (m *Deleted) pack() error   { return packOutcomes(m.Receipts, m.Results, &m.raw) }
func (m *Deleted) unpack() error { return unpackOutcomes(m.Receipts, &m.Results, &m.raw) }

// Acknowledge hands over delivery acknowledgements of records that were read.
type Acknowledge struct {
	Acks  []byte // identity.Bundle of acknowledgement statements addressed to the relay
	Homes Homes  // hints, one per statement
}

// Type is the message's number.
func (*Acknowledge) Type() Type { return TypeAcknowledge }

func (m *Acknowledge) fields() []codec.Field {
	return []codec.Field{codec.Bytes(0, &m.Acks, 1, MaxBundle), homesField(2, &m.Homes)}
}

func (m *Acknowledge) pack() error   { return m.Homes.check() }
func (m *Acknowledge) unpack() error { return m.Homes.check() }

// Acknowledged answers an Acknowledge: for every statement, in order, an error or none, and
// the receipt where the acknowledgement deleted the record. Both lists are equally long.
type Acknowledged struct {
	Results  []Result
	Receipts [][]byte // Signed deleteReceipt; empty where nothing was deleted

	raw [][]byte
}

// Type is the message's number.
func (*Acknowledged) Type() Type { return TypeAcknowledged }

func (m *Acknowledged) fields() []codec.Field {
	return []codec.Field{
		codec.List(0, &m.raw, MaxItems, 2+MaxText), codec.List(2, &m.Receipts, MaxItems, MaxSigned),
	}
}

func (m *Acknowledged) pack() error   { return packOutcomes(m.Receipts, m.Results, &m.raw) }
func (m *Acknowledged) unpack() error { return unpackOutcomes(m.Receipts, &m.Results, &m.raw) }

var errUneven = errors.New("receipts and results are not equally many")

func packOutcomes(receipts [][]byte, results []Result, raw *[][]byte) (err error) {
	if len(receipts) != len(results) {
		return errUneven
	}
	*raw, err = packResults(results)
	return err
}

func unpackOutcomes(receipts [][]byte, results *[]Result, raw *[][]byte) (err error) {
	if len(receipts) != len(*raw) {
		return errUneven
	}
	*results, err = unpackResults(*raw)
	*raw = nil
	return err
}
