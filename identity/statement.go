package identity

import (
	"bytes"
	"encoding/binary"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// UnixMilli is a wall-clock time in milliseconds since 1970 (UTC).
type UnixMilli uint64

// Serial is 16 random bytes that make a statement unique and unguessable until it is shown.
type Serial [16]byte

// Header is what every statement begins with (TLV types 0 to 10).
type Header struct {
	Type    Type
	Network Network
	From    PublicKey // the signer
	To      PublicKey // the addressee; zero where the type speaks to nobody in particular
	Time    UnixMilli // by the signer's clock
	Serial  Serial
}

// headerLen is the encoded size of a Header: six fixed fields of two bytes of type and length
// each, and 2+4+32+32+8+16 bytes of value.
const headerLen = 6*2 + 94

func (h *Header) fields(body []codec.Field) []codec.Field {
	return append([]codec.Field{
		codec.U16(0, &h.Type), codec.U32(2, &h.Network), codec.Fixed(4, h.From[:]),
		codec.Fixed(6, h.To[:]), codec.U64(8, &h.Time), codec.Fixed(10, h.Serial[:]),
	}, body...)
}

// EncodeStatement writes the bytes of a statement. Body fields have TLV types from 64 up.
func EncodeStatement(h Header, body ...codec.Field) ([]byte, error) {
	raw, err := codec.Encode(h.fields(body)...)
	if err != nil {
		return nil, code.Wrap(code.Malformed, err, "%s cannot be written", h.Type)
	}
	if err := h.check(len(raw)); err != nil {
		return nil, err
	}
	return raw, nil
}

// DecodeStatement reads the bytes of a statement of the wanted type into header and body. It
// checks the type's size limit and addressing rule, not the signature: that is Verify's.
// Errors carry code Malformed or WrongNetwork.
func DecodeStatement(raw []byte, want Type, h *Header, body ...codec.Field) error {
	info, ok := want.Info()
	if !ok {
		return code.New(code.Malformed, "statement type %d is unknown", want)
	}
	if err := codec.Decode(raw, info.Max, h.fields(body)...); err != nil {
		return code.Wrap(code.Malformed, err, "not a %s", want)
	}
	if h.Type != want {
		return code.New(code.Malformed, "a %s where a %s is expected", h.Type, want)
	}
	return h.check(len(raw))
}

// PeekHeader reads only the header, which has a fixed layout, so that a statement can be
// routed before it is decoded.
func PeekHeader(raw []byte) (Header, error) {
	var h Header
	if len(raw) < headerLen {
		return h, code.New(code.Malformed, "%d bytes are too short for a statement", len(raw))
	}
	if err := codec.Decode(raw[:headerLen], headerLen, h.fields(nil)...); err != nil {
		return h, code.Wrap(code.Malformed, err, "statement header")
	}
	return h, h.check(len(raw))
}

// check applies what holds for every statement of the header's type.
func (h *Header) check(size int) error {
	info, ok := h.Type.Info()
	switch {
	case !ok:
		return code.New(code.Malformed, "statement type %d is unknown", h.Type)
	case size > info.Max:
		return code.New(code.TooLarge, "a %s of %d bytes, allowed are %d", h.Type, size, info.Max)
	case !h.Network.Known():
		return code.New(code.WrongNetwork, "network %08x is unknown", uint32(h.Network))
	case h.From.IsZero():
		return code.New(code.Malformed, "a %s without a signer", h.Type)
	case info.Rule == ToNobody && !h.To.IsZero():
		return code.New(code.Malformed, "a %s has no addressee", h.Type)
	case info.Rule == ToParty && h.To.IsZero():
		return code.New(code.Malformed, "a %s needs an addressee", h.Type)
	}
	return nil
}

// StatementDigest is the identity of a statement: tagged("stmt/" + type name, bytes). The
// bytes are hashed as received; nothing is ever re-encoded.
func StatementDigest(t Type, raw []byte) Digest { return Tagged("stmt/"+t.String(), raw) }

// Signed is a statement as it travels and is kept: its bytes and a proof that its signer
// signed them. It is unverified until Verify, or a package's Open, accepted it.
type Signed struct {
	Statement []byte
	Proof     Proof
}

// Proof shows that a statement's digest is leaf Index of a tree of N leaves whose root is
// signed. A lone statement has N = 1, Index = 0 and no path.
type Proof struct {
	Sig   [64]byte
	N     uint16
	Index uint16
	Path  []Digest
}

// Equal compares statements by their bytes; proofs are never compared.
func (s Signed) Equal(o Signed) bool { return bytes.Equal(s.Statement, o.Statement) }

// IsZero tells whether there is no statement.
func (s Signed) IsZero() bool { return len(s.Statement) == 0 }

// maxSigned bounds a Signed: the largest statement and a path of twelve digests.
const maxSigned = 4 + 65536 + 2 + 68 + 12*32

// Bytes is the wire form: u32 length ‖ statement ‖ u16 length ‖ proof.
func (s Signed) Bytes() []byte {
	p := s.Proof.bytes()
	b := make([]byte, 0, 6+len(s.Statement)+len(p))
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Statement)))
	b = append(b, s.Statement...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	return append(b, p...)
}

func (p Proof) bytes() []byte {
	b := append(make([]byte, 0, 68+32*len(p.Path)), p.Sig[:]...)
	b = binary.BigEndian.AppendUint16(b, p.N)
	b = binary.BigEndian.AppendUint16(b, p.Index)
	for _, d := range p.Path {
		b = append(b, d[:]...)
	}
	return b
}

// ParseSigned reads exactly one Signed; trailing bytes are refused. The path length must be
// the one that N and Index give. The result aliases b.
func ParseSigned(b []byte) (Signed, error) {
	if len(b) > maxSigned || len(b) < 6 {
		return Signed{}, code.New(code.Malformed, "%d bytes are not a signed statement", len(b))
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n)+6 > uint64(len(b)) {
		return Signed{}, code.New(code.Malformed, "the statement claims %d bytes of %d", n, len(b))
	}
	stmt, rest := b[4:4+n:4+n], b[4+n:]
	if int(binary.BigEndian.Uint16(rest)) != len(rest)-2 {
		return Signed{}, code.New(code.Malformed, "the proof claims %d bytes, %d are left", binary.BigEndian.Uint16(rest), len(rest)-2)
	}
	p, err := parseProof(rest[2:])
	return Signed{Statement: stmt, Proof: p}, err
}

func parseProof(b []byte) (Proof, error) {
	if len(b) < 68 || (len(b)-68)%32 != 0 {
		return Proof{}, code.New(code.Malformed, "a proof of %d bytes", len(b))
	}
	p := Proof{Sig: [64]byte(b[:64]), N: binary.BigEndian.Uint16(b[64:]), Index: binary.BigEndian.Uint16(b[66:])}
	if p.N < 1 || p.N > MaxBatch || p.Index >= p.N || (len(b)-68)/32 != pathLen(int(p.N), int(p.Index)) {
		return Proof{}, code.New(code.Malformed, "index %d of %d with %d digests is no place in a tree", p.Index, p.N, (len(b)-68)/32)
	}
	for b = b[68:]; len(b) > 0; b = b[32:] {
		p.Path = append(p.Path, Digest(b[:32]))
	}
	return p, nil
}
