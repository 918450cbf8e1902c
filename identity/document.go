package identity

import (
	"unicode"
	"unicode/utf8"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Limits of an Identity document.
const (
	MaxLabel     = 64   // bytes of UTF-8
	MaxRelays    = 8    // relays of one identity
	MaxAddresses = 8    // addresses of one relay
	MaxPins      = 4    // certificate keys of one address
	MaxURL       = 255  // bytes of one address
	SealingSize  = 1216 // public key of HPKE's ML-KEM-768 + X25519
)

// Document is the seed's Identity: by what key, name, sealing key and relays somebody can be
// reached. Its owner signs it, gives it to contacts as a file, and keeps it on its relays.
type Document struct {
	Label      string     `json:"label"`
	Relays     []RelayRef `json:"relays"`
	SealingKey []byte     `json:"sealing_key"` // HPKE public key, SealingSize bytes; empty for a relay or auditor
	Sequence   uint64     `json:"sequence"`    // rises with every change; the highest wins
	Expires    UnixMilli  `json:"expires_ms"`
	Devices    uint8      `json:"devices"` // how many devices read for this identity, at least 1
}

// RelayRef names a relay of somebody: its key, and where it can be found.
type RelayRef struct {
	Key       PublicKey `json:"key"`
	Addresses []Address `json:"addresses"`
}

// Address is a URL of a relay with the SHA-256 digests of the certificate keys that may
// answer there (SPKI pins); a list, so that certificates can rotate.
type Address struct {
	URL  string   `json:"url"`
	Pins []Digest `json:"pins,omitempty"`
}

// fields lists the body of the identity statement.
func (d *Document) fields(relays *[][]byte) []codec.Field {
	return []codec.Field{
		codec.String(64, &d.Label, 1, MaxLabel),
		codec.List(66, relays, MaxRelays, 8192),
		codec.Optional(codec.Bytes(68, &d.SealingKey, 0, SealingSize)),
		codec.U64(70, &d.Sequence),
		codec.U64(72, &d.Expires),
		codec.U8(74, &d.Devices),
	}
}

// EncodeAddresses writes addresses as list items: TLV 0 URL, 2 pins. Offers use it too.
func EncodeAddresses(as []Address) ([][]byte, error) {
	out := make([][]byte, len(as))
	for i := range as {
		raw, err := codec.Encode(addressFields(&as[i])...)
		if err != nil {
			return nil, code.Wrap(code.Malformed, err, "address %q", as[i].URL)
		}
		out[i] = raw
	}
	return out, nil
}

// DecodeAddresses reads what EncodeAddresses wrote.
func DecodeAddresses(items [][]byte) ([]Address, error) {
	if len(items) > MaxAddresses {
		return nil, code.New(code.Malformed, "%d addresses, allowed are %d", len(items), MaxAddresses)
	}
	out := make([]Address, len(items))
	for i, raw := range items {
		if err := codec.Decode(raw, 512, addressFields(&out[i])...); err != nil {
			return nil, code.Wrap(code.Malformed, err, "address %d", i)
		}
	}
	return out, nil
}

func addressFields(a *Address) []codec.Field {
	return []codec.Field{
		codec.String(0, &a.URL, 1, MaxURL),
		codec.Optional(codec.Hashes(2, &a.Pins, MaxPins)),
	}
}

func encodeRelays(rs []RelayRef) ([][]byte, error) {
	out := make([][]byte, len(rs))
	for i := range rs {
		list, err := EncodeAddresses(rs[i].Addresses)
		if err != nil {
			return nil, err
		}
		if out[i], err = codec.Encode(relayFields(&rs[i], &list)...); err != nil {
			return nil, code.Wrap(code.Malformed, err, "relay %d", i)
		}
	}
	return out, nil
}

func decodeRelays(items [][]byte) ([]RelayRef, error) {
	out := make([]RelayRef, len(items))
	for i, raw := range items {
		var list [][]byte
		if err := codec.Decode(raw, 8192, relayFields(&out[i], &list)...); err != nil {
			return nil, code.Wrap(code.Malformed, err, "relay %d", i)
		}
		var err error
		if out[i].Addresses, err = DecodeAddresses(list); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func relayFields(r *RelayRef, addresses *[][]byte) []codec.Field {
	return []codec.Field{codec.Fixed(0, r.Key[:]), codec.List(2, addresses, MaxAddresses, 512)}
}

// check applies the rules of a document that its encoding does not already enforce.
func (d *Document) check() error {
	switch {
	case !utf8.ValidString(d.Label) || hasControl(d.Label):
		return code.New(code.Malformed, "the label is not printable text")
	case len(d.SealingKey) != 0 && len(d.SealingKey) != SealingSize:
		return code.New(code.Malformed, "the sealing key has %d bytes instead of %d", len(d.SealingKey), SealingSize)
	case d.Devices == 0:
		return code.New(code.Malformed, "an identity has at least one device")
	}
	return nil
}

// hasControl finds characters that could forge a line or reorder text on a terminal.
func hasControl(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return true
		}
	}
	return false
}

// SignDocument makes the owner's signed document. Errors: a field outside its limits.
func SignDocument(key PrivateKey, network Network, d Document, now UnixMilli, serial Serial) (Signed, error) {
	if err := d.check(); err != nil {
		return Signed{}, err
	}
	relays, err := encodeRelays(d.Relays)
	if err != nil {
		return Signed{}, err
	}
	h := Header{Type: TypeIdentity, Network: network, From: key.Public(), Time: now, Serial: serial}
	raw, err := EncodeStatement(h, d.fields(&relays)...)
	if err != nil {
		return Signed{}, err
	}
	return SignOne(key, raw)
}

// VerifiedDocument is a document whose signature held. It is only made by OpenDocument.
type VerifiedDocument struct {
	Document
	header Header
	digest Digest
	signed Signed
}

// Owner is the identity that the document describes and that signed it.
func (d *VerifiedDocument) Owner() PublicKey { return d.header.From }

// Network is the network that the document is for.
func (d *VerifiedDocument) Network() Network { return d.header.Network }

// Digest identifies this version of the document.
func (d *VerifiedDocument) Digest() Digest { return d.digest }

// Signed is the statement with its proof, as it is kept and handed on.
func (d *VerifiedDocument) Signed() Signed { return d.signed }

// OpenDocument verifies a signed document. An expired one is refused with IdentityExpired;
// pass now = 0 to read an old one all the same.
func OpenDocument(s Signed, now UnixMilli) (*VerifiedDocument, error) {
	h, digest, err := Verify(s)
	if err != nil {
		return nil, err
	}
	v := &VerifiedDocument{digest: digest, signed: s}
	var relays [][]byte
	if err := DecodeStatement(s.Statement, TypeIdentity, &v.header, v.fields(&relays)...); err != nil {
		return nil, err
	}
	if v.Relays, err = decodeRelays(relays); err != nil {
		return nil, err
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	if now > v.Expires && now != 0 {
		return nil, code.New(code.IdentityExpired, "the identity document of %s has expired", h.From.Name())
	}
	return v, nil
}

// Supersedes tells whether a newly seen document may replace a known one of the same owner:
// nil if it may (or is the same), IdentityRollback if it is older, Conflict if it is another
// one with the same sequence, which its owner should be asked about.
func (d *VerifiedDocument) Supersedes(known *VerifiedDocument) error {
	switch {
	case known == nil || d.digest == known.digest || d.Sequence > known.Sequence:
		return nil
	case d.Sequence < known.Sequence:
		return code.New(code.IdentityRollback, "sequence %d after %d", d.Sequence, known.Sequence)
	}
	return code.New(code.Conflict, "two identity documents of %s have sequence %d", d.Owner().Name(), d.Sequence)
}
