package records

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Verified is a record's header whose signature held. It is made by OpenHeader only.
type Verified struct {
	header Header
	digest identity.Digest
	signed identity.Signed
}

// OpenHeader verifies the signature of a record statement and reads it. Errors carry code
// Malformed, WrongNetwork, TooLarge or BadSignature.
func OpenHeader(s identity.Signed) (Verified, error) {
	h, d, err := identity.Verify(s)
	if err != nil {
		return Verified{}, err
	}
	return OpenHeaderVerified(s, identity.Verdict{Header: h, Digest: d})
}

// OpenHeaderVerified is OpenHeader with the signature already verified by
// identity.VerifyBatch, whose verdict on this very statement is passed.
func OpenHeaderVerified(s identity.Signed, v identity.Verdict) (Verified, error) {
	if v.Err != nil {
		return Verified{}, v.Err
	}
	h, err := DecodeHeader(s.Statement)
	if err != nil {
		return Verified{}, err
	}
	if v.Header != h.Header || v.Digest != identity.StatementDigest(h.Type, s.Statement) {
		return Verified{}, code.New(code.Internal, "the verdict is on another statement")
	}
	return Verified{h, v.Digest, s}, nil
}

// Header is what the sender signed.
func (v Verified) Header() Header { return v.header }

// Digest is the identity of the record.
func (v Verified) Digest() identity.Digest { return v.digest }

// Signed is the header as it travels and is kept.
func (v Verified) Signed() identity.Signed { return v.signed }

// Path is where the record lives.
func (v Verified) Path() Path { return v.header.Path() }

// StoredBytes is the size of header and content: the egress of one read. What is billed on top
// is package usage's to say.
func (v Verified) StoredBytes() uint64 {
	return uint64(len(v.signed.Statement)) + uint64(v.header.ContentLen)
}

// Attach checks content against the header's length and root, and makes the record whole.
// Errors carry code BadContent.
func (v Verified) Attach(content []byte) (Record, error) {
	if len(content) != int(v.header.ContentLen) {
		return Record{}, code.New(code.BadContent, "%d bytes of content, signed are %d", len(content), v.header.ContentLen)
	}
	if ContentRoot(content) != v.header.ContentRoot {
		return Record{}, code.New(code.BadContent, "the content is not what the sender signed")
	}
	return Record{v, content}, nil
}

// Record is a record whose signature held and whose content is what was signed. It is made
// by Open and Verified.Attach only.
type Record struct {
	Verified
	content []byte
}

// Open verifies a signed header and its content.
func Open(s identity.Signed, content []byte) (Record, error) {
	v, err := OpenHeader(s)
	if err != nil {
		return Record{}, err
	}
	return v.Attach(content)
}

// Content is the content as it was stored, that is: sealed. The caller must not change it.
func (r Record) Content() []byte { return r.content }
