package message

import (
	"relaymarket/identity"
	"relaymarket/internal/codec"
)

// Hello opens a session. The client says what it can and which chain it is on, and nothing
// about who it is: the relay proves itself first.
type Hello struct {
	MinVersion, MaxVersion uint16   // protocol versions, inclusive
	Features               uint64   // feature bits; an even bit must be known to the other side
	Genesis                [32]byte // hash of the genesis block, in its internal byte order
	Nonce                  [32]byte // fresh random
}

// Type is the message's number.
func (*Hello) Type() Type { return TypeHello }

func (m *Hello) fields() []codec.Field {
	return []codec.Field{
		codec.U16(0, &m.MinVersion), codec.U16(2, &m.MaxVersion), codec.Optional(codec.U64(4, &m.Features)),
		codec.Fixed(6, m.Genesis[:]), codec.Fixed(8, m.Nonce[:]),
	}
}

// HelloRelay is the relay's half: its choice, its terms of traffic, and its signature over
// both halves and the TLS exporter (EVIDENCE §7).
type HelloRelay struct {
	Version    uint16             // chosen from the client's range
	Features   uint64             // chosen: what both offer
	Offered    uint64             // all that the relay offers; an even bit must be known to the client
	Genesis    [32]byte           // the relay's chain
	Nonce      [32]byte           // fresh random
	Key        identity.PublicKey // the relay's identity
	Sig        [64]byte           // zero only in the form that is signed
	Limits     []byte             // usage.Limits, encoded
	StoreEpoch [16]byte           // changes when the relay's store was restored
	Time       identity.UnixMilli // the relay's clock
}

// Type is the message's number.
func (*HelloRelay) Type() Type { return TypeHelloRelay }

func (m *HelloRelay) fields() []codec.Field {
	return []codec.Field{
		codec.U16(0, &m.Version), codec.Optional(codec.U64(2, &m.Features)), codec.Optional(codec.U64(4, &m.Offered)),
		codec.Fixed(6, m.Genesis[:]), codec.Fixed(8, m.Nonce[:]), codec.Fixed(10, m.Key[:]),
		codec.Optional(codec.Fixed(12, m.Sig[:])), codec.Bytes(14, &m.Limits, 1, 256),
		codec.Fixed(16, m.StoreEpoch[:]), codec.U64(18, &m.Time),
	}
}

// Unsigned is the body of the message without its signature: the form that the relay signs.
func (m *HelloRelay) Unsigned() ([]byte, error) {
	u := *m
	u.Sig = [64]byte{}
	return codec.Encode(u.fields()...)
}

// Auth is the client's proof of who it is, sent only after the relay's proof held.
type Auth struct {
	Key identity.PublicKey
	Sig [64]byte
}

// Type is the message's number.
func (*Auth) Type() Type { return TypeAuth }

func (m *Auth) fields() []codec.Field {
	return []codec.Field{codec.Fixed(0, m.Key[:]), codec.Fixed(2, m.Sig[:])}
}

// Welcome ends the handshake.
type Welcome struct {
	Key           identity.PublicKey // the client's key, echoed
	FreeBytesLeft uint64             // of today's free allowance
}

// Type is the message's number.
func (*Welcome) Type() Type { return TypeWelcome }

func (m *Welcome) fields() []codec.Field {
	return []codec.Field{codec.Fixed(0, m.Key[:]), codec.Optional(codec.U64(2, &m.FreeBytesLeft))}
}

// Ping asks whether the other side is there.
type Ping struct{ Nonce uint64 }

// Type is the message's number.
func (*Ping) Type() Type { return TypePing }

func (m *Ping) fields() []codec.Field { return []codec.Field{codec.Optional(codec.U64(0, &m.Nonce))} }

// Pong answers a Ping with its nonce and the relay's clock.
type Pong struct {
	Nonce uint64
	Time  identity.UnixMilli
}

// Type is the message's number.
func (*Pong) Type() Type { return TypePong }

func (m *Pong) fields() []codec.Field {
	return []codec.Field{codec.Optional(codec.U64(0, &m.Nonce)), codec.U64(2, &m.Time)}
}

// OK answers a request that has nothing to tell but that it was done.
type OK struct{}

// Type is the message's number.
func (*OK) Type() Type { return TypeOK }

func (*OK) fields() []codec.Field { return nil }

// Cancel ends a listen, or a read whose remaining pieces are not wanted: no frame with that
// id follows the OK that answers it. For any other id it changes nothing and is answered OK
// too, because the answer it meant to stop may already be on its way.
type Cancel struct{ ID uint64 }

// Type is the message's number.
func (*Cancel) Type() Type { return TypeCancel }

func (m *Cancel) fields() []codec.Field { return []codec.Field{codec.U64(0, &m.ID)} }
