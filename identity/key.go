package identity

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/btcsuite/btcd/address/v2/bech32"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
)

// keyPrefix is the human-readable part of the bech32m text form (BIP350).
const keyPrefix = "rk"

// PublicKey is a 32-byte x-only secp256k1 key (BIP340): who a person, a relay or an auditor
// is. It is comparable and can be a map key. The zero value is nobody.
type PublicKey [32]byte

// ParsePublicKey reads the text form (rk1…, bech32m) or 64 hex digits. A key that is not on
// the curve is refused.
func ParsePublicKey(s string) (PublicKey, error) {
	raw, err := keyBytes(s)
	if err != nil {
		return PublicKey{}, err
	}
	return NewPublicKey(raw)
}

func keyBytes(s string) ([]byte, error) {
	if len(s) == 64 {
		if b, err := hex.DecodeString(s); err == nil {
			return b, nil
		}
	}
	hrp, data, version, err := bech32.DecodeGeneric(s)
	if err != nil {
		return nil, fmt.Errorf("not a key: %q is neither rk1… nor 64 hex digits: %w", s, err)
	}
	if hrp != keyPrefix || version != bech32.VersionM {
		return nil, fmt.Errorf("not a key: %q is not in the rk1… form", s)
	}
	return bech32.ConvertBits(data, 5, 8, false)
}

// NewPublicKey checks 32 bytes for being an x coordinate on the curve.
func NewPublicKey(raw []byte) (PublicKey, error) {
	if _, err := schnorr.ParsePubKey(raw); err != nil {
		return PublicKey{}, fmt.Errorf("not a key: %w", err)
	}
	return PublicKey(raw), nil
}

// IsZero tells whether the key is nobody's.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String is the bech32m text form, rk1….
func (k PublicKey) String() string {
	data, err := bech32.ConvertBits(k[:], 8, 5, true)
	if err != nil {
		return hex.EncodeToString(k[:])
	}
	s, err := bech32.EncodeM(keyPrefix, data)
	if err != nil {
		return hex.EncodeToString(k[:])
	}
	return s
}

// Name is the display name: lower-case base32 of the first 80 bits of SHA-256(key), 16
// characters. It is shown beside a label and checked by eye; it is not an account id, because
// 80 bits can be searched for.
func (k PublicKey) Name() string {
	h := sha256.Sum256(k[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(h[:10]))
}

// MarshalText writes the text form, so that keys are readable in JSON and TOML.
func (k PublicKey) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText reads the text form; empty is the zero key.
func (k *PublicKey) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*k = PublicKey{}
		return nil
	}
	p, err := ParsePublicKey(string(b))
	*k = p
	return err
}

// PrivateKey signs. It cannot be compared and prints as a placeholder.
type PrivateKey struct {
	_    [0]func()
	priv *btcec.PrivateKey
	pub  PublicKey
}

// NewPrivateKey takes 32 bytes of a scalar in [1, n−1].
func NewPrivateKey(scalar []byte) (PrivateKey, error) {
	if len(scalar) != 32 {
		return PrivateKey{}, errors.New("a private key has 32 bytes")
	}
	var s btcec.ModNScalar
	if over := s.SetByteSlice(scalar); over || s.IsZero() {
		return PrivateKey{}, errors.New("the private key is outside the group")
	}
	priv := btcec.PrivKeyFromScalar(&s)
	return PrivateKey{priv: priv, pub: PublicKey(schnorr.SerializePubKey(priv.PubKey()))}, nil
}

// GeneratePrivateKey draws a key from rand.
func GeneratePrivateKey(rand io.Reader) (PrivateKey, error) {
	var b [32]byte
	for {
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return PrivateKey{}, err
		}
		if k, err := NewPrivateKey(b[:]); err == nil {
			return k, nil
		}
	}
}

// Public is the key's public half.
func (k PrivateKey) Public() PublicKey { return k.pub }

// IsZero tells whether the key is unset.
func (k PrivateKey) IsZero() bool { return k.priv == nil }

// Bytes is the 32-byte scalar, for writing into a 0600 file.
func (k PrivateKey) Bytes() []byte { return k.priv.Serialize() }

// String hides the key.
func (k PrivateKey) String() string { return "identity:private" }

// GoString hides the key from %#v.
func (k PrivateKey) GoString() string { return k.String() }

// SignDigest makes a BIP340 signature over a 32-byte tagged digest. The nonce is
// deterministic (RFC 6979 as in btcec), so the same key and digest give the same signature.
func (k PrivateKey) SignDigest(m [32]byte) ([64]byte, error) {
	sig, err := schnorr.Sign(k.priv, m[:])
	if err != nil {
		return [64]byte{}, fmt.Errorf("signing: %w", err)
	}
	return [64]byte(sig.Serialize()), nil
}

// VerifyDigest checks a BIP340 signature over a 32-byte tagged digest.
func (k PublicKey) VerifyDigest(m [32]byte, sig [64]byte) bool {
	var scalar btcec.ModNScalar
	if scalar.SetByteSlice(sig[32:]) {
		return false // BIP340 refuses s >= n; btcec would reduce it
	}
	pub, err := schnorr.ParsePubKey(k[:])
	if err != nil {
		return false
	}
	s, err := schnorr.ParseSignature(sig[:])
	return err == nil && s.Verify(m[:], pub)
}
