package records

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"golang.org/x/crypto/chacha20poly1305"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Suite is the first byte of a record's content and says how it is sealed.
type Suite uint8

const (
	// SuiteMessage: HPKE base mode with ML-KEM-768+X25519, HKDF-SHA256 and ChaCha20-Poly1305,
	// then one key per message from a ratchet.
	SuiteMessage Suite = 1
	// SuiteChunk: ChaCha20-Poly1305 under the key of an attachment's manifest.
	SuiteChunk Suite = 2
)

// SuiteOf is the suite of a content; zero if it is empty.
func SuiteOf(content []byte) Suite {
	if len(content) == 0 {
		return 0
	}
	return Suite(content[0])
}

// Sizes of the sealed form.
const (
	encapsulationSize = 1088 + 32
	sealedHead        = 1 + 1 + 8 + 16 + 4
	sealTag           = chacha20poly1305.Overhead
)

// flagEncapsulated says that the encapsulation is present.
const flagEncapsulated = 1

// EpochID names an epoch of a conversation; random, chosen by the sender.
type EpochID [16]byte

// String is the id as hex.
func (e EpochID) String() string { return hex.EncodeToString(e[:]) }

// Sealed is the layout of a sealed message:
//
//	suite u8 ‖ flags u8 ‖ key_id[8] ‖ epoch_id[16] ‖ counter u32 ‖ [encapsulation[1120]] ‖ ciphertext
type Sealed struct {
	KeyID         KeyID
	Epoch         EpochID
	Counter       uint32
	Encapsulation []byte // absent once the receiver has acknowledged a record of the epoch
	Ciphertext    []byte
}

// Bytes is the content of the record.
func (s Sealed) Bytes() []byte {
	b := make([]byte, 0, sealedHead+len(s.Encapsulation)+len(s.Ciphertext))
	b = append(b, byte(SuiteMessage), 0)
	if len(s.Encapsulation) > 0 {
		b[1] = flagEncapsulated
	}
	b = append(b, s.KeyID[:]...)
	b = append(b, s.Epoch[:]...)
	b = binary.BigEndian.AppendUint32(b, s.Counter)
	b = append(b, s.Encapsulation...)
	return append(b, s.Ciphertext...)
}

// ParseSealed reads the layout without decrypting: which key and which epoch are needed.
// Errors carry code Malformed, or Unsupported for another suite. The result aliases content.
func ParseSealed(content []byte) (Sealed, error) {
	switch {
	case len(content) < sealedHead+sealTag:
		return Sealed{}, code.New(code.Malformed, "%d bytes are no sealed message", len(content))
	case SuiteOf(content) != SuiteMessage:
		return Sealed{}, code.New(code.Unsupported, "content of suite %d is no message", content[0])
	case content[1]&^flagEncapsulated != 0:
		return Sealed{}, code.New(code.Malformed, "unknown sealing flags %02x", content[1])
	}
	s := Sealed{
		KeyID:   KeyID(content[2:10]),
		Epoch:   EpochID(content[10:26]),
		Counter: binary.BigEndian.Uint32(content[26:]),
	}
	rest := content[sealedHead:]
	if content[1]&flagEncapsulated != 0 {
		if len(rest) < encapsulationSize+sealTag {
			return Sealed{}, code.New(code.Malformed, "the encapsulation is cut off")
		}
		s.Encapsulation, rest = rest[:encapsulationSize:encapsulationSize], rest[encapsulationSize:]
	}
	s.Ciphertext = rest
	return s, nil
}

// sealInfo is HPKE's info: who seals to whom, on which network, to which key, in which epoch.
func sealInfo(network identity.Network, from, to identity.PublicKey, key KeyID, epoch EpochID) []byte {
	b := []byte("relaymarket/v1/seal")
	b = binary.BigEndian.AppendUint32(b, uint32(network))
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	b = append(b, key[:]...)
	return append(b, epoch[:]...)
}

// sealAAD is what a message is bound to besides its key.
func sealAAD(id ID, counter uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte(id), counter)
}

// chainExport is the exporter context of ck_0, ratchetInfo the info of every step.
const (
	chainExport = "relaymarket/v1/chain"
	ratchetInfo = "relaymarket/v1/ratchet"
)

// ratchet is one step: (mk_i, ck_{i+1}) = HKDF-SHA256(ck_i).
func ratchet(chain [32]byte) (message, next [32]byte, err error) {
	out, err := hkdf.Key(sha256.New, chain[:], nil, ratchetInfo, 64)
	if err != nil {
		return message, next, code.Wrap(code.Internal, err, "ratchet")
	}
	return [32]byte(out[:32]), [32]byte(out[32:]), nil
}

// zeroNonce is right because a message key encrypts exactly one message.
var zeroNonce = make([]byte, chacha20poly1305.NonceSize)

func sealWith(key [32]byte, id ID, counter uint32, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "cipher")
	}
	return aead.Seal(nil, zeroNonce, plain, sealAAD(id, counter)), nil
}

func openWith(key [32]byte, id ID, counter uint32, sealed []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "cipher")
	}
	plain, err := aead.Open(nil, zeroNonce, sealed, sealAAD(id, counter))
	return plain, code.Wrap(code.Undecryptable, err, "message %d of the epoch", counter)
}
