package records

import (
	"crypto/hpke"
	"io"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Bounds of an epoch.
const (
	// EpochMessages is how many messages are sealed in one epoch.
	EpochMessages = 1000
	// EpochAge is how long an epoch is used, in milliseconds.
	EpochAge identity.UnixMilli = 7 * day
)

// RunID is 16 random bytes that a process draws when it starts. An epoch is used by one run
// only: so a restart, a restored backup and a second device, which may all hold an older
// state of the same epoch, begin a new one by themselves and no message key is used twice.
type RunID [16]byte

// SendEpoch is the sender's state of one epoch of a conversation: one encapsulation to the
// receiver's sealing key and the chain of message keys that begins at it. It is a value:
// sealing gives the next state, which the caller saves before the sealed bytes leave the
// machine. The zero value is no epoch, and always due for renewal.
type SendEpoch struct {
	Network      identity.Network
	From, To     identity.PublicKey
	KeyID        KeyID
	ID           EpochID
	Run          RunID
	Started      identity.UnixMilli
	Acknowledged bool   // the receiver has the encapsulation; see Acknowledge
	Counter      uint32 // of the next message

	encapsulation []byte
	chain         [32]byte
}

// Peer is a conversation in one direction, and the sealing key of its receiver.
type Peer struct {
	Network    identity.Network
	From, To   identity.PublicKey
	SealingKey []byte // public, from the receiver's Identity document
}

// NewEpoch begins an epoch. The epoch's id is drawn from rand; the encapsulation's randomness
// comes from the operating system (see the package comment). Errors carry code BadKey.
func NewEpoch(rand io.Reader, p Peer, run RunID, now identity.UnixMilli) (SendEpoch, error) {
	public, err := hpke.MLKEM768X25519().NewPublicKey(p.SealingKey)
	if err != nil {
		return SendEpoch{}, code.Wrap(code.BadKey, err, "the receiver's sealing key")
	}
	e := SendEpoch{Network: p.Network, From: p.From, To: p.To, KeyID: KeyIDOf(p.SealingKey), Run: run, Started: now}
	if _, err := io.ReadFull(rand, e.ID[:]); err != nil {
		return SendEpoch{}, code.Wrap(code.Internal, err, "no randomness")
	}
	enc, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), sealInfo(e.Network, e.From, e.To, e.KeyID, e.ID))
	if err != nil {
		return SendEpoch{}, code.Wrap(code.BadKey, err, "the receiver's sealing key")
	}
	secret, err := sender.Export(chainExport, 32)
	if err != nil {
		return SendEpoch{}, code.Wrap(code.Internal, err, "export")
	}
	e.encapsulation, e.chain = enc, [32]byte(secret)
	return e, nil
}

// Due tells whether a new epoch must begin before the next message: the epoch belongs to
// another run or sealing key, is full, or is EpochAge old. A clock that went back behind the
// start of the epoch makes it due as well.
func (e SendEpoch) Due(run RunID, key KeyID, now identity.UnixMilli) bool {
	return e.encapsulation == nil || e.Run != run || e.KeyID != key || e.Counter >= EpochMessages ||
		now < e.Started || now-e.Started >= EpochAge
}

// Seal encrypts one plaintext for the record with this id and gives the record's content and
// the next state. Save the next state first: a crash may waste a message key, but must never
// use one twice. Errors carry code BadState if the epoch is full.
func (e SendEpoch) Seal(id ID, plain []byte) ([]byte, SendEpoch, error) {
	if e.encapsulation == nil || e.Counter >= EpochMessages {
		return nil, e, code.New(code.BadState, "the epoch is full; begin a new one")
	}
	if err := id.check(); err != nil {
		return nil, e, err
	}
	key, chain, err := ratchet(e.chain)
	if err != nil {
		return nil, e, err
	}
	ciphertext, err := sealWith(key, id, e.Counter, plain)
	if err != nil {
		return nil, e, err
	}
	s := Sealed{KeyID: e.KeyID, Epoch: e.ID, Counter: e.Counter, Ciphertext: ciphertext}
	if !e.Acknowledged {
		s.Encapsulation = e.encapsulation
	}
	next := e
	next.Counter, next.chain = e.Counter+1, chain
	return s.Bytes(), next, nil
}

// Acknowledge is the state after an acknowledgement with verdict OK of a record of the epoch
// named id: the receiver has the encapsulation, so it is not repeated. Another epoch's id
// changes nothing. Only an acknowledgement that was addressed to the sender counts: it says
// that the record was opened, while a delivery acknowledgement only says that it arrived.
func (e SendEpoch) Acknowledge(id EpochID) SendEpoch {
	if e.encapsulation != nil && id == e.ID {
		e.Acknowledged = true
	}
	return e
}

// SealContent encodes, pads and seals a content.
func (e SendEpoch) SealContent(id ID, c Content) ([]byte, SendEpoch, error) {
	raw, err := c.Encode()
	if err != nil {
		return nil, e, err
	}
	padded, err := Pad(raw)
	if err != nil {
		return nil, e, err
	}
	return e.Seal(id, padded)
}

// sendState lists the fields of the state on disk.
func (e *SendEpoch) sendState(version, acked *uint8) []codec.Field {
	return []codec.Field{
		codec.U8(0, version), codec.U32(2, &e.Network), codec.Fixed(4, e.From[:]), codec.Fixed(6, e.To[:]),
		codec.Fixed(8, e.KeyID[:]), codec.Fixed(10, e.ID[:]), codec.Fixed(12, e.Run[:]), codec.U64(14, &e.Started),
		codec.Optional(codec.U8(16, acked)), codec.U32(18, &e.Counter), codec.Fixed(20, e.chain[:]),
		codec.Bytes(22, &e.encapsulation, encapsulationSize, encapsulationSize),
	}
}

// Encode writes the state for the agent's store. It holds keys: 0600 files only.
func (e SendEpoch) Encode() ([]byte, error) {
	version, acked := uint8(1), uint8(0)
	if e.Acknowledged {
		acked = 1
	}
	raw, err := codec.Encode(e.sendState(&version, &acked)...)
	return raw, code.Wrap(code.Internal, err, "send epoch")
}

// DecodeSendEpoch reads what Encode wrote. Errors carry code Malformed or StoreVersion.
func DecodeSendEpoch(raw []byte) (SendEpoch, error) {
	var e SendEpoch
	var version, acked uint8
	err := codec.Decode(raw, 4096, e.sendState(&version, &acked)...)
	if err := checkState(version, err, "send epoch"); err != nil {
		return SendEpoch{}, err
	}
	if acked > 1 || e.Counter > EpochMessages {
		return SendEpoch{}, code.New(code.Malformed, "a send epoch with counter %d and mark %d", e.Counter, acked)
	}
	e.Acknowledged = acked == 1
	return e, nil
}
