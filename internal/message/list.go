package message

import (
	"fmt"

	"relaymarket/identity"
	"relaymarket/internal/codec"
)

// Row is one record in an inventory or a listen event: what a client needs to decide whether
// to read it. It is the relay's word, not evidence.
type Row struct {
	Digest    identity.Digest    // of the record statement
	From, To  identity.PublicKey // sender, receiver
	ID        string             // last part of the path
	Arrival   uint64             // cursor, unique within a store epoch
	Size      uint32             // header and content in bytes: the egress of a read
	Expiry    identity.UnixMilli // when the relay lets it go
	Home      uint16             // home shard, to be given back as a hint
	Tag       []byte             // the sender's tag
	PullsLeft uint16             // paid reads that the sender still allows
	Statement []byte             // the record's statement, without proof; empty in lists of a sender
}

const (
	maxRow   = 1024
	maxIDLen = 64
	maxTag   = 32
)

func (r *Row) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(0, r.Digest[:]), codec.Fixed(2, r.From[:]), codec.Fixed(4, r.To[:]),
		codec.String(6, &r.ID, 1, maxIDLen), codec.U64(8, &r.Arrival), codec.U32(10, &r.Size),
		codec.U64(12, &r.Expiry), codec.Optional(codec.U16(14, &r.Home)),
		codec.Optional(codec.Bytes(16, &r.Tag, 0, maxTag)), codec.Optional(codec.U16(18, &r.PullsLeft)),
		codec.Optional(codec.Bytes(20, &r.Statement, 0, maxStatement)),
	}
}

// rowList is a list of rows and its wire form.
type rowList struct{ raw [][]byte }

func (l *rowList) pack(rows []Row) error {
	l.raw = make([][]byte, len(rows))
	for i := range rows {
		b, err := codec.Encode(rows[i].fields()...)
		if err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		l.raw[i] = b
	}
	return nil
}

func (l *rowList) unpack(rows *[]Row) error {
	*rows = make([]Row, len(l.raw))
	for i, b := range l.raw {
		if err := codec.Decode(b, maxRow, (*rows)[i].fields()...); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	l.raw = nil
	return nil
}

func (l *rowList) field(typ uint64) codec.Field { return codec.List(typ, &l.raw, MaxItems, maxRow) }

// Role says as whom a client lists records.
type Role uint8

// A record is listed for its receiver and for its sender.
const (
	RoleReceiver Role = 1
	RoleSender   Role = 2
)

// Inventory lists records by arrival. After and Before are exclusive.
type Inventory struct {
	Role   Role
	After  uint64 // a cursor: the Through of an earlier page; 0 from the beginning
	Before uint64 // 0 without end
	Limit  uint16 // rows wanted; 0 as many as a page holds
}

// Type is the message's number.
func (*Inventory) Type() Type { return TypeInventory }

func (m *Inventory) fields() []codec.Field {
	return []codec.Field{
		codec.U8(0, &m.Role), codec.Optional(codec.U64(2, &m.After)), codec.Optional(codec.U64(4, &m.Before)),
		codec.Optional(codec.U16(6, &m.Limit)),
	}
}

func (m *Inventory) pack() error { return m.unpack() }

func (m *Inventory) unpack() error {
	if m.Role != RoleReceiver && m.Role != RoleSender {
		return fmt.Errorf("role %d is unknown", m.Role)
	}
	return nil
}

// InventoryPage answers an Inventory. The client's next cursor is Through, never the arrival
// of a row that it saw.
type InventoryPage struct {
	Rows       []Row
	Through    uint64   // everything visible up to here was listed
	More       bool     // the next page has rows already
	StoreEpoch [16]byte // if it is not the one of the handshake: list again from 0

	list rowList
}

// Type is the message's number.
func (*InventoryPage) Type() Type { return TypeInventoryPage }

func (m *InventoryPage) fields() []codec.Field {
	return []codec.Field{
		m.list.field(0), codec.U64(2, &m.Through), codec.Optional(codec.Bool(4, &m.More)),
		codec.Fixed(6, m.StoreEpoch[:]),
	}
}

func (m *InventoryPage) pack() error   { return m.list.pack(m.Rows) }
func (m *InventoryPage) unpack() error { return m.list.unpack(&m.Rows) }

// Listen asks to be told of records for this identity as they arrive, from a cursor on. It is
// answered by listen events until it is cancelled or the session ends.
type Listen struct {
	After uint64 // a cursor: the Through of a page or event; 0 from the beginning
}

// Type is the message's number.
func (*Listen) Type() Type { return TypeListen }

func (m *Listen) fields() []codec.Field {
	return []codec.Field{codec.Optional(codec.U64(0, &m.After))}
}

// ListenEvent tells of new records.
type ListenEvent struct {
	Rows    []Row
	Through uint64 // the next cursor
	More    bool   // another event follows at once

	list rowList
}

// Type is the message's number.
func (*ListenEvent) Type() Type { return TypeListenEvent }

func (m *ListenEvent) fields() []codec.Field {
	return []codec.Field{m.list.field(0), codec.U64(2, &m.Through), codec.Optional(codec.Bool(4, &m.More))}
}

func (m *ListenEvent) pack() error   { return m.list.pack(m.Rows) }
func (m *ListenEvent) unpack() error { return m.list.unpack(&m.Rows) }
