package contract

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// Ready (contractReady, 41, either side) says that the sender's own node has the funding at the
// agreed depth, and in which block. Each side is active by its own view; the message tells the
// other that service may be expected, and shows when the two follow different chains.
type Ready struct {
	Common
	Contract usage.ContractID // 70 contract[32]
	Block    [32]byte         // 72 block[32]: hash of the block with the funding, in the order in which it is hashed
	Height   usage.Height     // 74 height u32: of that block
	Tip      usage.Height     // 76 tip u32: of the sender
}

func (m *Ready) kind() identity.Type { return identity.TypeContractReady }

func (m *Ready) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.Fixed(72, m.Block[:]), codec.U32(74, &m.Height), codec.U32(76, &m.Tip),
	}
}

func (m *Ready) check() error {
	if m.Height == 0 || m.Tip < m.Height {
		return code.New(code.Malformed, "a funding in block %d at tip %d", m.Height, m.Tip)
	}
	return nil
}

// Head is where a contract's log stands: on the relay's side by its latest usage report, on the
// client's by the latest one that it has verified. The zero value stands for "no report yet".
type Head struct {
	Epoch uint32          // log_epoch
	Size  uint64          // rows
	Root  identity.Digest // RFC 6962 tree head over them
}

// Reestablish (contractReestablish, 42, either side) is what the two sides tell each other about a
// contract when they are connected again: the client first, the relay in answer. It holds the
// latest update with the client's signatures, so that whoever has lost it gets it back, and both
// numberings, so that a side that was restored from an old copy can speak again. It stands outside
// the numbering: its Seq is that of its sender's last message.
type Reestablish struct {
	Common
	Contract   usage.ContractID // 70 contract[32]
	State      State            // 72 state u8: of the sender
	Heard      uint32           // 74 heard u32: the highest Seq received from the other side
	N          uint32           // 76 n u32: the latest update given or received; 0 before the first
	Amount     usage.Sat        // 78 amount u64: its P
	Report     identity.Digest  // 80 report[32], optional: the report that it names
	Signatures [][]byte         // 82 signatures: list; the client's, as in contractPaymentUpdate, three empty ones where n is 0
	Log        Head             // 84 log_epoch u32, 86 log_size u64, 88 log_root[32], all optional: the log as the sender knows it
	Closing    uint8            // 90 closing u8: 1 if a closing signature of the sender has left
	Tip        usage.Height     // 92 tip u32: of the sender
	Opening    [][]byte         // 94 opening, optional: list; by the client to a relay that does not know the contract: contractOpen, the relay's signed contractServerAddInputs, contractClientSigned
	Frozen     Freeze           // 96 frozen u8, optional: why the sender has frozen the contract
}

// Items of Reestablish.Opening.
const (
	openingProposal = 0 // the statement contractOpen
	openingAnswer   = 1 // Signed contractServerAddInputs
	openingSigned   = 2 // the statement contractClientSigned
	openingItems    = 3
)

func (m *Reestablish) kind() identity.Type { return identity.TypeContractReestablish }

func (m *Reestablish) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.U8(72, &m.State), codec.U32(74, &m.Heard), codec.U32(76, &m.N),
		codec.U64(78, &m.Amount), codec.Optional(codec.Fixed(80, m.Report[:])), codec.List(82, &m.Signatures, Tiers, 64),
		codec.Optional(codec.U32(84, &m.Log.Epoch)), codec.Optional(codec.U64(86, &m.Log.Size)),
		codec.Optional(codec.Fixed(88, m.Log.Root[:])), codec.U8(90, &m.Closing), codec.U32(92, &m.Tip),
		codec.Optional(codec.List(94, &m.Opening, openingItems, maxStatement)), codec.Optional(codec.U8(96, &m.Frozen)),
	}
}

func (m *Reestablish) check() error {
	l, err := parseLadder(m.Signatures)
	if err != nil {
		return err
	}
	switch {
	case m.Closing > 1 || m.State > lastState || m.Frozen > lastFreeze:
		return code.New(code.Malformed, "closing %d, state %d, frozen %d", m.Closing, m.State, m.Frozen)
	case m.Heard > maxSeq || m.Seq > maxSeq || m.N > maxSeq: // N is in no signature of the client: whoever shows an update may claim any
		return code.New(code.Malformed, "message numbers %d and %d, update %d, at most %d are used", m.Seq, m.Heard, m.N, maxSeq)
	case (m.N == 0) != l[0].IsZero() || m.N == 0 && m.Amount != 0:
		return code.New(code.Malformed, "update %d of %d sat with other signatures than it has", m.N, m.Amount)
	case (m.Log.Size == 0) != m.Log.Root.IsZero() || m.Log.Size > usage.MaxLogSize:
		return code.New(code.Malformed, "a log of %d rows", m.Log.Size)
	case len(m.Opening) != 0 && len(m.Opening) != openingItems:
		return code.New(code.Malformed, "an opening of %d messages", len(m.Opening))
	}
	return nil
}
