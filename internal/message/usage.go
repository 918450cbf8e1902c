package message

import (
	"fmt"

	"relaymarket/internal/codec"
)

// RequestUsage asks for a contract's signed usage report and rows of its log.
type RequestUsage struct {
	Contract [32]byte
	AfterTs  uint64 // only rows of later arrival; 0 all
	BeforeTs uint64 // only rows of earlier arrival; 0 all
	FromRow  uint64 // index of the first row wanted
	Limit    uint16 // rows wanted; 0 as many as a page holds
	Fresh    bool   // make a new report now, if the log grew since the last one
}

// Type is the message's number.
func (*RequestUsage) Type() Type { return TypeRequestUsage }

func (m *RequestUsage) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(0, m.Contract[:]), codec.Optional(codec.U64(2, &m.AfterTs)), codec.Optional(codec.U64(4, &m.BeforeTs)),
		codec.Optional(codec.U64(6, &m.FromRow)), codec.Optional(codec.U16(8, &m.Limit)), codec.Optional(codec.Bool(10, &m.Fresh)),
	}
}

// UsageReport answers a RequestUsage.
type UsageReport struct {
	Report []byte   // Signed usageReport
	Rows   [][]byte // usage.RowEntry bytes, ascending by index
	More   bool     // further rows match
}

// maxRowEntry bounds one row with its evidence and acknowledgement.
const maxRowEntry = 8 << 10

// Type is the message's number.
func (*UsageReport) Type() Type { return TypeUsageReport }

func (m *UsageReport) fields() []codec.Field {
	return []codec.Field{
		codec.Bytes(0, &m.Report, 1, MaxSigned), codec.List(2, &m.Rows, MaxItems, maxRowEntry),
		codec.Optional(codec.Bool(4, &m.More)),
	}
}

// Account asks what the relay holds for this identity.
type Account struct{}

// Type is the message's number.
func (*Account) Type() Type { return TypeAccount }

func (*Account) fields() []codec.Field { return nil }

// AccountInfo answers an Account: the relay's own book, for comparison with the client's. It
// is not evidence; usage reports are.
type AccountInfo struct {
	FreeUsed  uint64 // bytes of today's free allowance used
	FreeLimit uint64 // bytes of free allowance per day
	Contracts []AccountContract

	raw [][]byte
}

// AccountContract is the state of one contract as the relay sees it.
type AccountContract struct {
	Contract     [32]byte
	State        uint8  // contract.State
	OwedMsat     uint64 // charged so far
	ReservedMsat uint64 // worst cost of what is stored
	PaidSat      uint64 // promised by the client's last payment update
	FundsMsat    uint64 // what may be owed and reserved in all before the next payment
	ValueSat     uint64 // value of the escrow
	ExpiryHeight uint32 // when the client may take its money back
	Rows         uint64 // size of the log
}

const maxAccountContract = 128

func (c *AccountContract) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(0, c.Contract[:]), codec.U8(2, &c.State), codec.U64(4, &c.OwedMsat), codec.U64(6, &c.ReservedMsat),
		codec.U64(8, &c.PaidSat), codec.U64(10, &c.FundsMsat), codec.U64(12, &c.ValueSat),
		codec.U32(14, &c.ExpiryHeight), codec.U64(16, &c.Rows),
	}
}

// Type is the message's number.
func (*AccountInfo) Type() Type { return TypeAccountInfo }

func (m *AccountInfo) fields() []codec.Field {
	return []codec.Field{
		codec.Optional(codec.U64(0, &m.FreeUsed)), codec.Optional(codec.U64(2, &m.FreeLimit)),
		codec.List(4, &m.raw, MaxItems, maxAccountContract),
	}
}

func (m *AccountInfo) pack() error {
	m.raw = make([][]byte, len(m.Contracts))
	for i := range m.Contracts {
		b, err := codec.Encode(m.Contracts[i].fields()...)
		if err != nil {
			return fmt.Errorf("contract %d: %w", i, err)
		}
		m.raw[i] = b
	}
	return nil
}

func (m *AccountInfo) unpack() error {
	m.Contracts = make([]AccountContract, len(m.raw))
	for i, b := range m.raw {
		if err := codec.Decode(b, maxAccountContract, m.Contracts[i].fields()...); err != nil {
			return fmt.Errorf("contract %d: %w", i, err)
		}
	}
	m.raw = nil
	return nil
}
