package evidence

import (
	"bytes"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// The bounds of a file.
const (
	// MaxFile bounds a file in bytes: the rows of a record that was read 1,001 times fit.
	MaxFile = 4 << 20
	// MaxStatements bounds the statements of a file.
	MaxStatements = 8
	// MaxRows bounds the rows of a file: one more than a sender can allow reads.
	MaxRows = 1001

	maxStatement = 66_048 // the longest Signed
	maxLeafPath  = 64     // hashes of an inclusion proof
	maxOrderPath = 10     // hashes of a path in a tree of 1,024 records
	maxTerms     = 1024
	maxRowProof  = usage.MaxRow + 32*maxLeafPath + 64
)

// magic begins every file; the last byte is the version.
var magic = []byte("rmfraud\x01")

// versionAt is where the version stands.
const versionAt = 7

// IsProof tells whether bytes begin like a fraud proof of any version.
func IsProof(raw []byte) bool {
	return len(raw) > versionAt && bytes.Equal(raw[:versionAt], magic[:versionAt])
}

// Row is a leaf of a log, with the proof that a report's head contains it.
type Row struct {
	Report uint8             // which of the file's usage reports, from 0
	Index  uint64            // of the leaf
	Leaf   []byte            // an encoded row
	Path   []identity.Digest // RFC 6962 inclusion proof; empty for a leaf that a denial names by its hash
}

func (r *Row) fields() []codec.Field {
	return []codec.Field{
		codec.Optional(codec.U8(0, &r.Report)), codec.U64(2, &r.Index), codec.Bytes(4, &r.Leaf, 1, usage.MaxRow),
		codec.Optional(codec.Hashes(6, &r.Path, maxLeafPath)),
	}
}

// Proof is the content of a file: the class that is claimed, and all that shows it.
type Proof struct {
	Class      Class
	Statements []identity.Signed // in the order of the class
	Rows       []Row
	Terms      []byte            // encoding of contract.Terms, where prices matter; may be empty
	Place      uint16            // place of the record in its order, from 0
	OrderPath  []identity.Digest // its path in the order's tree
}

func (p *Proof) fields(statements, rows *[][]byte) []codec.Field {
	return []codec.Field{
		codec.U8(0, &p.Class), codec.List(2, statements, MaxStatements, maxStatement),
		codec.Optional(codec.List(4, rows, MaxRows, maxRowProof)), codec.Optional(codec.Bytes(6, &p.Terms, 0, maxTerms)),
		codec.Optional(codec.U16(8, &p.Place)), codec.Optional(codec.Hashes(10, &p.OrderPath, maxOrderPath)),
	}
}

// Encode writes the file. Errors: a shape that is not the class's, or a file above MaxFile.
func (p Proof) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	statements, rows := make([][]byte, len(p.Statements)), make([][]byte, len(p.Rows))
	for i, s := range p.Statements {
		statements[i] = s.Bytes()
	}
	for i := range p.Rows {
		raw, err := codec.Encode(p.Rows[i].fields()...)
		if err != nil {
			return nil, code.Wrap(code.Malformed, err, "row %d of a proof", i)
		}
		rows[i] = raw
	}
	raw, err := codec.Append(bytes.Clone(magic), p.fields(&statements, &rows)...)
	if err == nil && len(raw) > MaxFile {
		err = code.New(code.TooLarge, "a proof of %d bytes, allowed are %d", len(raw), MaxFile)
	}
	return raw, code.Wrap(code.Malformed, err, "a proof")
}

// Decode reads a file. Nothing in it is verified; see Verify. Codes Malformed, Unsupported (another
// version).
func Decode(raw []byte) (Proof, error) {
	var p Proof
	switch {
	case len(raw) > MaxFile:
		return p, code.New(code.Malformed, "a file of %d bytes, allowed are %d", len(raw), MaxFile)
	case !IsProof(raw):
		return p, code.New(code.Malformed, "not a fraud proof")
	case raw[versionAt] != magic[versionAt]:
		return p, code.New(code.Unsupported, "a fraud proof of version %d; this program reads %d", raw[versionAt], magic[versionAt])
	}
	var statements, rows [][]byte
	if err := codec.Decode(raw[len(magic):], MaxFile, p.fields(&statements, &rows)...); err != nil {
		return Proof{}, code.Wrap(code.Malformed, err, "not a fraud proof")
	}
	for i, b := range statements {
		s, err := identity.ParseSigned(b)
		if err != nil {
			return Proof{}, code.Wrap(code.Malformed, err, "statement %d of the proof", i)
		}
		p.Statements = append(p.Statements, s)
	}
	for i, b := range rows {
		var r Row
		if err := codec.Decode(b, maxRowProof, r.fields()...); err != nil {
			return Proof{}, code.Wrap(code.Malformed, err, "row %d of the proof", i)
		}
		p.Rows = append(p.Rows, r)
	}
	return p, p.check()
}

// check holds a proof against the shape of its class. Code Malformed.
func (p *Proof) check() error {
	if !p.Class.known() {
		return code.New(code.Malformed, "class %d is unknown", uint8(p.Class))
	}
	r := rules[p.Class]
	has, err := p.match(r)
	switch {
	case err != nil:
		return err
	case len(p.Rows) < r.minRows || len(p.Rows) > r.maxRows:
		return code.New(code.Malformed, "%d rows in a proof of %s, it has %d to %d", len(p.Rows), p.Class, r.minRows, r.maxRows)
	case len(p.Terms) > 0 && !r.terms:
		return code.New(code.Malformed, "a proof of %s has no terms", p.Class)
	case (p.Place > 0 || len(p.OrderPath) > 0) && !(r.place && has[identity.TypeRecord] && has[identity.TypeStoreOrder]):
		return code.New(code.Malformed, "a place in an order without record and order")
	}
	return nil
}

// match finds the slot of each statement, and which types there are.
func (p *Proof) match(r rule) (map[identity.Type]bool, error) {
	has := make(map[identity.Type]bool)
	at := 0
	for _, s := range p.Statements {
		h, err := identity.PeekHeader(s.Statement)
		if err != nil {
			return nil, code.Wrap(code.Malformed, err, "a statement of the proof")
		}
		for at < len(r.slots) && r.slots[at].optional && r.slots[at].typ != h.Type && r.slots[at].typ != anyType {
			at++
		}
		if at == len(r.slots) || r.slots[at].typ != h.Type && r.slots[at].typ != anyType {
			return nil, code.New(code.Malformed, "a %s has no place here in a proof of %s", h.Type, p.Class)
		}
		has[h.Type] = true
		at++
	}
	for ; at < len(r.slots); at++ {
		if !r.slots[at].optional {
			return nil, code.New(code.Malformed, "a proof of %s needs a %s", p.Class, r.slots[at].typ)
		}
	}
	return has, nil
}
