package contract

import (
	"github.com/btcsuite/btcd/btcec/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// PubNonce is a MuSig2 public nonce (BIP327): two compressed points.
type PubNonce [66]byte

// IsZero tells whether there is no nonce.
func (n PubNonce) IsZero() bool { return n == PubNonce{} }

// check refuses what is not two points (code BadNonce). The library takes a half of zero bytes for the
// point at infinity, with which a signer contributes no nonce at all.
func (n PubNonce) check() error {
	for i := range 2 {
		if _, err := btcec.ParsePubKey(n[33*i : 33*(i+1)]); err != nil {
			return code.New(code.BadNonce, "half %d of a public nonce is no point of the curve", i+1)
		}
	}
	return nil
}

// PartialSignature is one side's share of a MuSig2 signature (BIP327): a scalar.
type PartialSignature [32]byte

// scalar reads the share; code BadPartial if it is not below the order of the curve.
func (p PartialSignature) scalar() (*btcec.ModNScalar, error) {
	s, raw := new(btcec.ModNScalar), [32]byte(p)
	if s.SetBytes(&raw) != 0 {
		return nil, code.New(code.BadPartial, "a partial signature above the order of the curve")
	}
	return s, nil
}

// CloseNonce (contractCloseNonce, 43, either side → the other) asks for a close by the key path: the
// unsigned transaction and a public nonce that is good for this one statement. It releases no
// signature, and it stands outside the sequence, because it is worth nothing once the asker's
// signing session is gone.
type CloseNonce struct {
	Common
	Contract usage.ContractID // 70 contract[32]
	N        uint32           // 72 n u32: of the last update
	Amount   usage.Sat        // 74 amount u64: what the close pays the relay in all
	FeeRate  uint64           // 76 feerate u64: sat per 1,000 vB, out of the relay's payment
	Tx       []byte           // 78 tx: the unsigned close
	Nonce    PubNonce         // 80 pubnonce[66]
}

func (m *CloseNonce) kind() identity.Type { return identity.TypeContractCloseNonce }

func (m *CloseNonce) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.U32(72, &m.N), codec.U64(74, &m.Amount), codec.U64(76, &m.FeeRate),
		codec.Bytes(78, &m.Tx, minTx, maxUnsigned), codec.Fixed(80, m.Nonce[:]),
	}
}

func (m *CloseNonce) check() error { return m.Nonce.check() }

// CloseSig (contractCloseSig, 44, either side → the other) answers a contractCloseNonce with the nonce
// and the partial signature of the answering side, both made for this answer alone. Who asked can now
// complete the signature and broadcast the close; who answered serves or buys no more.
type CloseSig struct {
	Common
	Contract usage.ContractID // 70 contract[32]
	Close    identity.Digest  // 72 close[32]: digest of the contractCloseNonce
	Nonce    PubNonce         // 74 pubnonce[66]
	Partial  PartialSignature // 76 partial[32]
}

func (m *CloseSig) kind() identity.Type { return identity.TypeContractCloseSig }

func (m *CloseSig) body() []codec.Field {
	return []codec.Field{
		codec.Fixed(70, m.Contract[:]), codec.Fixed(72, m.Close[:]), codec.Fixed(74, m.Nonce[:]), codec.Fixed(76, m.Partial[:]),
	}
}

func (m *CloseSig) check() error {
	if err := m.Nonce.check(); err != nil {
		return err
	}
	_, err := m.Partial.scalar()
	return err
}
