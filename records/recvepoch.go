package records

import (
	"cmp"
	"crypto/hpke"
	"encoding/binary"
	"math"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// MaxSkipped is how many message keys an epoch keeps for messages that have not arrived yet.
const MaxSkipped = 1024

// RecvEpoch is the receiver's state of one epoch of a conversation. It is a value: opening a
// message gives the next state, in which the message's key is gone; the caller saves it
// together with the content. The zero value is "never seen".
//
// A receiver that lost its states, for example by restoring a backup, cannot open later
// records of these epochs. It makes a new sealing key and publishes it: senders then begin new
// epochs by themselves. A record that cannot be opened is acknowledged to the relay that
// delivered it, but not to its sender.
type RecvEpoch struct {
	Network  identity.Network
	From, To identity.PublicKey
	KeyID    KeyID
	ID       EpochID
	Last     identity.UnixMilli // largest time of a record opened in this epoch
	Next     uint32             // lowest counter whose key was not yet derived
	Opened   uint32             // messages opened: numbers the states, so that none overwrites a later one

	chain   [32]byte
	skipped []skippedKey // ascending
}

type skippedKey struct {
	counter uint32
	key     [32]byte
}

// skippedSize is the size of a skipped key on disk.
const skippedSize = 4 + 32

// IsZero tells whether the state is unset.
func (e RecvEpoch) IsZero() bool { return e.Network == 0 }

// Skipped is how many keys are kept for messages that have not arrived yet.
func (e RecvEpoch) Skipped() int { return len(e.skipped) }

// OpenSealed decrypts the content of a record. keys are the receiver's sealing keys, epoch the
// state kept under (h.From, the epoch's id), zero if there is none. It gives the plaintext,
// still padded, and the next state. On any error nothing has changed, so that forged or
// broken bytes cannot move a chain. Errors carry code Malformed, Unsupported, or
// Undecryptable: the key is not here, was used before, or the bytes were not sealed for this
// record.
func OpenSealed(keys []SealingKey, epoch RecvEpoch, h Header, content []byte) ([]byte, RecvEpoch, error) {
	s, err := ParseSealed(content)
	if err != nil {
		return nil, epoch, err
	}
	state := epoch
	if state.IsZero() {
		if state, err = beginRecv(keys, h, s); err != nil {
			return nil, epoch, err
		}
	}
	if state.Network != h.Network || state.From != h.From || state.To != h.To || state.KeyID != s.KeyID || state.ID != s.Epoch {
		return nil, epoch, code.New(code.Undecryptable, "the epoch belongs to another conversation or key")
	}
	key, next, err := state.take(s.Counter)
	if err != nil {
		return nil, epoch, err
	}
	plain, err := openWith(key, h.ID, s.Counter, s.Ciphertext)
	if err != nil {
		return nil, epoch, err
	}
	next.Last, next.Opened = max(next.Last, h.Time), next.Opened+1
	return plain, next, nil
}

// OpenContent decrypts, unpads and decodes a message. See OpenSealed.
func OpenContent(keys []SealingKey, epoch RecvEpoch, r Record) (Content, RecvEpoch, error) {
	padded, next, err := OpenSealed(keys, epoch, r.header, r.content)
	if err != nil {
		return Content{}, epoch, err
	}
	raw, err := Unpad(padded)
	if err != nil {
		return Content{}, epoch, err
	}
	c, err := DecodeContent(raw)
	if err != nil {
		return Content{}, epoch, err
	}
	return c, next, nil
}

// beginRecv derives the first chain key from the encapsulation.
func beginRecv(keys []SealingKey, h Header, s Sealed) (RecvEpoch, error) {
	if s.Encapsulation == nil {
		return RecvEpoch{}, code.New(code.Undecryptable, "the record's epoch began with a record that is not here")
	}
	i := slices.IndexFunc(keys, func(k SealingKey) bool { return k.id == s.KeyID })
	if i < 0 {
		return RecvEpoch{}, code.New(code.Undecryptable, "sealing key %s is not here or was deleted", s.KeyID)
	}
	info := sealInfo(h.Network, h.From, h.To, s.KeyID, s.Epoch)
	r, err := hpke.NewRecipient(s.Encapsulation, keys[i].private, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info)
	if err != nil {
		return RecvEpoch{}, code.Wrap(code.Undecryptable, err, "the encapsulation")
	}
	secret, err := r.Export(chainExport, 32)
	if err != nil {
		return RecvEpoch{}, code.Wrap(code.Internal, err, "export")
	}
	return RecvEpoch{Network: h.Network, From: h.From, To: h.To, KeyID: s.KeyID, ID: s.Epoch, chain: [32]byte(secret)}, nil
}

// take gives the key of the message with this counter and the state without it.
func (e RecvEpoch) take(counter uint32) ([32]byte, RecvEpoch, error) {
	if counter < e.Next {
		return e.takeSkipped(counter)
	}
	if counter == math.MaxUint32 {
		return [32]byte{}, e, code.New(code.Undecryptable, "no epoch has so many messages")
	}
	ahead := uint64(counter-e.Next) + uint64(len(e.skipped))
	if ahead > MaxSkipped {
		return [32]byte{}, e, code.New(code.Undecryptable, "message %d would skip %d keys, allowed are %d", counter, ahead, MaxSkipped)
	}
	next := e
	next.skipped = slices.Clone(e.skipped)
	for {
		key, chain, err := ratchet(next.chain)
		if err != nil {
			return key, e, err
		}
		next.chain, next.Next = chain, next.Next+1
		if next.Next == counter+1 {
			return key, next, nil
		}
		next.skipped = append(next.skipped, skippedKey{next.Next - 1, key})
	}
}

func (e RecvEpoch) takeSkipped(counter uint32) ([32]byte, RecvEpoch, error) {
	i, found := slices.BinarySearchFunc(e.skipped, counter, func(s skippedKey, c uint32) int { return cmp.Compare(s.counter, c) })
	if !found {
		return [32]byte{}, e, code.New(code.Undecryptable, "message %d of the epoch was opened before", counter)
	}
	next := e
	next.skipped = slices.Delete(slices.Clone(e.skipped), i, i+1)
	return e.skipped[i].key, next, nil
}

// Dead tells whether the state can be deleted: maxTTL (milliseconds) and KeyGrace after the
// last record of the epoch plus the longest time for which a sender uses an epoch, nothing
// sealed in it can still be alive.
func (e RecvEpoch) Dead(now, maxTTL identity.UnixMilli) bool {
	return now > e.Last && now-e.Last > EpochAge+maxTTL+KeyGrace
}

func (e *RecvEpoch) recvState(version *uint8, skipped *[]byte) []codec.Field {
	return []codec.Field{
		codec.U8(0, version), codec.U32(2, &e.Network), codec.Fixed(4, e.From[:]), codec.Fixed(6, e.To[:]),
		codec.Fixed(8, e.KeyID[:]), codec.Fixed(10, e.ID[:]), codec.U64(12, &e.Last), codec.U32(14, &e.Next),
		codec.U32(16, &e.Opened), codec.Fixed(18, e.chain[:]),
		codec.Optional(codec.Bytes(20, skipped, 0, MaxSkipped*skippedSize)),
	}
}

// Encode writes the state for the agent's store. It holds keys: 0600 files only.
func (e RecvEpoch) Encode() ([]byte, error) {
	version := uint8(1)
	var skipped []byte
	for _, s := range e.skipped {
		skipped = binary.BigEndian.AppendUint32(skipped, s.counter)
		skipped = append(skipped, s.key[:]...)
	}
	raw, err := codec.Encode(e.recvState(&version, &skipped)...)
	return raw, code.Wrap(code.Internal, err, "receive epoch")
}

// DecodeRecvEpoch reads what Encode wrote. Errors carry code Malformed or StoreVersion.
func DecodeRecvEpoch(raw []byte) (RecvEpoch, error) {
	var e RecvEpoch
	var version uint8
	var skipped []byte
	err := codec.Decode(raw, 512+MaxSkipped*skippedSize, e.recvState(&version, &skipped)...)
	if err := checkState(version, err, "receive epoch"); err != nil {
		return RecvEpoch{}, err
	}
	if len(skipped)%skippedSize != 0 || e.IsZero() {
		return RecvEpoch{}, code.New(code.Malformed, "%d bytes of skipped keys", len(skipped))
	}
	for ; len(skipped) > 0; skipped = skipped[skippedSize:] {
		s := skippedKey{binary.BigEndian.Uint32(skipped), [32]byte(skipped[4:skippedSize])}
		if n := len(e.skipped); s.counter >= e.Next || n > 0 && e.skipped[n-1].counter >= s.counter {
			return RecvEpoch{}, code.New(code.Malformed, "skipped keys are out of order")
		}
		e.skipped = append(e.skipped, s)
	}
	return e, nil
}
