package message

import (
	"errors"

	"relaymarket/internal/codec"
)

// chunkSize is the size of the chunks that a record's content root commits to: a broken
// download resumes at one of them.
const chunkSize = 4096

// Homes are home shards, one u16 per statement of a bundle, as receipts and inventory rows
// gave them: a hint that spares a relay with many shards the search. Empty says nothing.
type Homes []byte

// NewHomes makes the hint.
func NewHomes(shards ...uint16) Homes {
	h := make(Homes, 0, 2*len(shards))
	for _, s := range shards {
		h = append(h, byte(s>>8), byte(s))
	}
	return h
}

// Len is the number of hints.
func (h Homes) Len() int { return len(h) / 2 }

// At is the hint for statement i; false if there is none.
func (h Homes) At(i int) (uint16, bool) {
	if i < 0 || i >= h.Len() {
		return 0, false
	}
	return uint16(h[2*i])<<8 | uint16(h[2*i+1]), true
}

func (h Homes) check() error {
	if len(h)%2 != 0 {
		return errors.New("home shards are pairs of bytes")
	}
	return nil
}

func homesField(typ uint64, h *Homes) codec.Field {
	return codec.Optional(codec.Bytes(typ, (*[]byte)(h), 0, 2*MaxItems))
}

// Read fetches records by signed read requests. It is answered by ReadData pieces, of which
// the last has End.
type Read struct {
	Requests []byte // identity.Bundle of readRequest statements
	Homes    Homes  // hints, one per request
	Offset   uint32 // where to resume, in bytes of content, at a chunk; only with one request
	// Statements are the statements of the records that the requests name, in their order, empty
	// where the reader does not know it. Who shows one gets a signed denial also of a record that
	// the relay does not have.
	Statements [][]byte
}

// maxStatement bounds the statement of a record, in bytes; the longest one has 267.
const maxStatement = 512

// Type is the message's number.
func (*Read) Type() Type { return TypeRead }

func (m *Read) fields() []codec.Field {
	return []codec.Field{
		codec.Bytes(0, &m.Requests, 1, MaxBundle), homesField(2, &m.Homes), codec.Optional(codec.U32(4, &m.Offset)),
		codec.Optional(codec.List(6, &m.Statements, MaxItems, maxStatement)),
	}
}

func (m *Read) pack() error { return m.unpack() }

func (m *Read) unpack() error {
	if m.Offset%chunkSize != 0 {
		return errors.New("a download resumes at a chunk")
	}
	return m.Homes.check()
}

// ReadData is one piece of the answer to a Read. The pieces of one request are contiguous and
// in order; requests are answered in the order of their index. The first piece of a request
// carries the record's signed header, the last one Last; a Denial stands instead of the rest.
type ReadData struct {
	Index  uint16 // which request
	Header []byte // Signed record header; only in the first piece of a request
	Offset uint32 // where Data begins in the content
	Data   []byte // at most MaxPiece
	Last   bool   // the request is complete
	Denial []byte // Signed denial: the request is refused or broken off
	End    bool   // nothing more answers this Read
}

// Type is the message's number.
func (*ReadData) Type() Type { return TypeReadData }

func (m *ReadData) fields() []codec.Field {
	return []codec.Field{
		codec.U16(0, &m.Index), codec.Optional(codec.Bytes(2, &m.Header, 0, MaxSigned)),
		codec.Optional(codec.U32(4, &m.Offset)), codec.Optional(codec.Bytes(6, &m.Data, 0, MaxPiece)),
		codec.Optional(codec.Bool(8, &m.Last)), codec.Optional(codec.Bytes(10, &m.Denial, 0, MaxSigned)),
		codec.Optional(codec.Bool(12, &m.End)),
	}
}
