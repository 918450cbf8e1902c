package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// Digest is a 32-byte tagged SHA-256: the identity of a statement, a leaf or a node.
type Digest [32]byte

// IsZero tells whether the digest is unset.
func (d Digest) IsZero() bool { return d == Digest{} }

// String is the digest as hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short is the first eight hex digits, for logs and tables.
func (d Digest) Short() string { return hex.EncodeToString(d[:4]) }

// MarshalText writes hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 64 hex digits.
func (d *Digest) UnmarshalText(b []byte) error {
	p, err := ParseDigest(string(b))
	*d = p
	return err
}

// ParseDigest reads 64 hex digits.
func ParseDigest(s string) (Digest, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		return Digest{}, errors.New("a digest is 64 hex digits")
	}
	return Digest(b), nil
}

// tagPrefix stands before every tag, so that no signature of this protocol means anything in
// another one.
const tagPrefix = "relaymarket/v1/"

// Tagged is the tagged hash of BIP340 under "relaymarket/v1/" + name:
// SHA256(SHA256(tag) ‖ SHA256(tag) ‖ parts…).
func Tagged(name string, parts ...[]byte) Digest {
	tag := sha256.Sum256([]byte(tagPrefix + name))
	h := sha256.New()
	h.Write(tag[:])
	h.Write(tag[:])
	for _, p := range parts {
		h.Write(p)
	}
	return Digest(h.Sum(nil))
}
