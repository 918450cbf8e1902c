package contract

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// RequestPayment (contractRequestPayment, 36, relay → client) asks for a payment (final = 0), or
// offers a final close that the client may co-sign and broadcast (final = 1). Only a final request
// carries a signature of the relay: after it the relay serves no more and takes no update.
type RequestPayment struct {
	Common
	Contract  usage.ContractID // 70 contract[32]
	Final     uint8            // 72 final u8: 0 ask, 1 close
	N         uint32           // 74 n u32: the number that the next update will have; with final, that of the last
	Amount    usage.Sat        // 76 amount u64: the cumulative payment P asked for, or that the close pays
	Report    identity.Digest  // 78 report[32], optional: the usage report that the sum comes from
	FeeRate   uint64           // 80 feerate u64, only with final: sat per 1,000 vB
	Tx        []byte           // 82 tx, only with final: the unsigned close
	Signature Signature        // 84 signature[64], only with final: of R for L_settle
}

func (m *RequestPayment) kind() identity.Type { return identity.TypeContractRequestPayment }

func (m *RequestPayment) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.U8(72, &m.Final), codec.U32(74, &m.N), codec.U64(76, &m.Amount),
		codec.Optional(codec.Fixed(78, m.Report[:])), codec.Optional(codec.U64(80, &m.FeeRate)),
		codec.Optional(codec.Bytes(82, &m.Tx, 0, maxUnsigned)), codec.Optional(codec.Fixed(84, m.Signature[:])),
	}
}

func (m *RequestPayment) check() error {
	if m.Final > 1 {
		return code.New(code.Malformed, "final is %d, allowed are 0 and 1", m.Final)
	}
	final := m.Final == 1
	if (m.FeeRate != 0) != final || (len(m.Tx) != 0) != final || m.Signature.IsZero() == final {
		return code.New(code.Malformed, "a final request has fee rate, transaction and signature, another has none of them")
	}
	return nil
}

// PaymentUpdate (contractPaymentUpdate, 37, client → relay) is a payment: the client's signatures
// of settlement n, which pays the relay P in all. Naming a report accepts its sum, not each
// of its rows.
type PaymentUpdate struct {
	Common
	Contract   usage.ContractID // 70 contract[32]
	N          uint32           // 72 n u32: one more than the last
	Amount     usage.Sat        // 74 amount u64: the cumulative payment P, never below the last
	Report     identity.Digest  // 76 report[32], optional: the usage report that is paid
	Signatures [][]byte         // 78 signatures: list; of settlement n at each fee tier, 64 bytes, or none where P cannot bear the tier
}

func (m *PaymentUpdate) kind() identity.Type { return identity.TypeContractPaymentUpdate }

func (m *PaymentUpdate) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.U32(72, &m.N), codec.U64(74, &m.Amount),
		codec.Optional(codec.Fixed(76, m.Report[:])), codec.List(78, &m.Signatures, Tiers, 64),
	}
}

func (m *PaymentUpdate) check() error {
	_, err := parseLadder(m.Signatures)
	return err
}

// PaymentAck (contractPaymentAck, 38, relay → client) says that the update is on the relay's disk.
type PaymentAck struct {
	Common
	Contract usage.ContractID // 70 contract[32]
	N        uint32           // 72 n u32
	Amount   usage.Sat        // 74 amount u64: P
	Update   identity.Digest  // 76 update[32]: digest of the acknowledged contractPaymentUpdate
}

func (m *PaymentAck) kind() identity.Type { return identity.TypeContractPaymentAck }

func (m *PaymentAck) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.U32(72, &m.N), codec.U64(74, &m.Amount), codec.Fixed(76, m.Update[:]),
	}
}

func (m *PaymentAck) check() error { return nil }

// RefundPayment (contractRefundPayment, 39, client → relay) offers a final close that the relay may
// co-sign and broadcast: what is left of the escrow goes back to the client. After it the client
// buys no more.
type RefundPayment struct {
	Common
	Contract  usage.ContractID // 70 contract[32]
	N         uint32           // 72 n u32: of the last update
	Amount    usage.Sat        // 74 amount u64: what the close pays the relay in all
	FeeRate   uint64           // 76 feerate u64: sat per 1,000 vB, out of the relay's payment
	Tx        []byte           // 78 tx: the unsigned close
	Signature Signature        // 80 signature[64]: of C for L_settle
}

func (m *RefundPayment) kind() identity.Type { return identity.TypeContractRefundPayment }

func (m *RefundPayment) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.U32(72, &m.N), codec.U64(74, &m.Amount), codec.U64(76, &m.FeeRate),
		codec.Bytes(78, &m.Tx, minTx, maxUnsigned), codec.Fixed(80, m.Signature[:]),
	}
}

func (m *RefundPayment) check() error { return nil }
