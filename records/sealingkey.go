package records

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// PublicSealingKeySize is the length of a public sealing key: ML-KEM-768 and X25519.
const PublicSealingKeySize = identity.SealingSize

// Times of a sealing key's life, in milliseconds.
const (
	// RotateAfter is the age at which a new key is due.
	RotateAfter identity.UnixMilli = 30 * day
	// KeyGrace is how long a replaced key is kept beyond the longest ttl, for senders that
	// have not yet seen the new one (they ask again after 7 days) and for offline queues.
	KeyGrace identity.UnixMilli = 14 * day

	day = 24 * 3600 * 1000
)

// KeyID names a sealing key: the first 8 bytes of SHA-256 of its public bytes.
type KeyID [8]byte

// String is the id as hex.
func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// KeyIDOf names a public sealing key.
func KeyIDOf(public []byte) KeyID {
	h := sha256.Sum256(public)
	return KeyID(h[:8])
}

// CheckPublicSealingKey tells whether bytes are a public sealing key. Errors carry code
// BadKey.
func CheckPublicSealingKey(public []byte) error {
	_, err := hpke.MLKEM768X25519().NewPublicKey(public)
	return code.Wrap(code.BadKey, err, "not a sealing key")
}

// SealingKey is the private key to which senders seal. It is random and not derived from the
// recovery phrase: once it is deleted, what was sealed to it can be read by nobody. It cannot
// be compared and prints as a placeholder.
type SealingKey struct {
	_       [0]func()
	private hpke.PrivateKey
	seed    [32]byte
	public  []byte
	id      KeyID
	created identity.UnixMilli
}

// GenerateSealingKey draws a key from rand.
func GenerateSealingKey(rand io.Reader, now identity.UnixMilli) (SealingKey, error) {
	var seed [32]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return SealingKey{}, code.Wrap(code.Internal, err, "no randomness")
	}
	return sealingKey(seed, now)
}

func sealingKey(seed [32]byte, created identity.UnixMilli) (SealingKey, error) {
	private, err := hpke.MLKEM768X25519().NewPrivateKey(seed[:])
	if err != nil {
		return SealingKey{}, code.Wrap(code.BadKey, err, "not a sealing key")
	}
	public := private.PublicKey().Bytes()
	return SealingKey{private: private, seed: seed, public: public, id: KeyIDOf(public), created: created}, nil
}

// Public is the public half, PublicSealingKeySize bytes, for the Identity document.
func (k SealingKey) Public() []byte { return slices.Clone(k.public) }

// ID names the key.
func (k SealingKey) ID() KeyID { return k.id }

// Created is when the key was made.
func (k SealingKey) Created() identity.UnixMilli { return k.created }

// IsZero tells whether the key is unset.
func (k SealingKey) IsZero() bool { return k.private == nil }

// String hides the key.
func (k SealingKey) String() string { return "records:sealing-key(" + k.id.String() + ")" }

// GoString hides the key from %#v.
func (k SealingKey) GoString() string { return k.String() }

// Encode writes the private key: for a 0600 file or the agent's store only.
func (k SealingKey) Encode() ([]byte, error) {
	version := uint8(1)
	return codec.Encode(codec.U8(0, &version), codec.U64(2, &k.created), codec.Fixed(4, k.seed[:]))
}

// DecodeSealingKey reads what Encode wrote. Errors carry code Malformed or StoreVersion.
func DecodeSealingKey(raw []byte) (SealingKey, error) {
	var version uint8
	var created identity.UnixMilli
	var seed [32]byte
	err := codec.Decode(raw, 64, codec.U8(0, &version), codec.U64(2, &created), codec.Fixed(4, seed[:]))
	if err := checkState(version, err, "sealing key"); err != nil {
		return SealingKey{}, err
	}
	return sealingKey(seed, created)
}

// checkState is the common verdict on decoding something of version 1 that was kept on disk.
func checkState(version uint8, err error, what string) error {
	if err != nil {
		return code.Wrap(code.Malformed, err, "not a %s", what)
	}
	if version != 1 {
		return code.New(code.StoreVersion, "a %s of version %d", what, version)
	}
	return nil
}

// RotationDue tells whether a new sealing key should be made: there is none, or the newest is
// RotateAfter old.
func RotationDue(keys []SealingKey, now identity.UnixMilli) bool {
	i := newest(keys)
	return i < 0 || now > keys[i].created && now-keys[i].created >= RotateAfter
}

// newest is the index of the key that was made last, −1 if there is none.
func newest(keys []SealingKey) int {
	best := -1
	for i, k := range keys {
		if best < 0 || k.created > keys[best].created {
			best = i
		}
	}
	return best
}

// Retired lists the keys to delete: those that were replaced so long ago that nothing sealed
// to them can still be alive, which is maxTTL (milliseconds, the longest life that any of the
// user's relays grants) and KeyGrace after their successor was made. The newest key is never
// among them. Until a key is deleted, whoever takes it can read what was sealed to it.
func Retired(keys []SealingKey, now, maxTTL identity.UnixMilli) []KeyID {
	var out []KeyID
	for _, k := range keys {
		if next, ok := successor(keys, k); ok && now > next && now-next > maxTTL+KeyGrace {
			out = append(out, k.id)
		}
	}
	return out
}

// successor is when the key after k was made.
func successor(keys []SealingKey, k SealingKey) (identity.UnixMilli, bool) {
	var next identity.UnixMilli
	found := false
	for _, o := range keys {
		if o.created > k.created && (!found || o.created < next) {
			next, found = o.created, true
		}
	}
	return next, found
}
