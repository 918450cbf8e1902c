package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/records"
)

// StorageChallenge (sender → relay) asks the relay to show one chunk of a record that it keeps.
// The sender may not read the record, but knows from its own header what the chunk must hash to.
type StorageChallenge struct {
	identity.Header
	Record   identity.Digest
	Nonce    [32]byte           // random, so that no answer can be signed in advance
	Chunk    uint32             // index of a chunk of records.ChunkSize bytes
	NotAfter identity.UnixMilli // at most Time + MaxRequestLife
}

func (c *StorageChallenge) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, c.Record[:]), codec.Fixed(66, c.Nonce[:]), codec.U32(68, &c.Chunk), codec.U64(70, &c.NotAfter),
	}
}

func (c *StorageChallenge) check() error {
	switch {
	case c.NotAfter < c.Time || c.NotAfter-c.Time > MaxRequestLife:
		return code.New(code.Malformed, "a challenge is valid for at most ten minutes from its time on")
	case c.Chunk >= records.MaxChunks:
		return code.New(code.Malformed, "chunk %d: no content has more than %d chunks", c.Chunk, records.MaxChunks)
	}
	return need(c.Type, "a record", c.Record)
}

// Encode writes the statement. Errors: a field outside its bounds.
func (c StorageChallenge) Encode() ([]byte, error) {
	c.Type = identity.TypeStorageChallenge
	if err := c.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(c.Header, c.fields()...)
}

// DecodeStorageChallenge reads the statement; the signature is not looked at.
func DecodeStorageChallenge(raw []byte) (StorageChallenge, error) {
	var c StorageChallenge
	if err := identity.DecodeStatement(raw, identity.TypeStorageChallenge, &c.Header, c.fields()...); err != nil {
		return StorageChallenge{}, err
	}
	return c, c.check()
}

// VerifiedStorageChallenge is a challenge whose signature held.
type VerifiedStorageChallenge struct {
	StorageChallenge
	verified
}

// OpenStorageChallenge decodes and verifies.
func OpenStorageChallenge(s identity.Signed) (VerifiedStorageChallenge, error) {
	b, v, err := open(s, DecodeStorageChallenge)
	return VerifiedStorageChallenge{b, v}, err
}

// OpenStorageChallengeVerified is OpenStorageChallenge with the verdict of identity.VerifyBatch.
func OpenStorageChallengeVerified(s identity.Signed, v identity.Verdict) (VerifiedStorageChallenge, error) {
	b, ok, err := openVerified(s, v, DecodeStorageChallenge)
	return VerifiedStorageChallenge{b, ok}, err
}

// CheckEntitled checks what a challenger shows of the record: its statement, which must name the
// challenge's signer as sender. VerifiedReadRequest.CheckEntitled says why that is enough. Errors
// carry code Malformed or Forbidden.
func (c VerifiedStorageChallenge) CheckEntitled(statement []byte) error {
	h, err := shown(c.Network, c.Record, statement)
	if err == nil && h.From != c.From {
		return code.New(code.Forbidden, "record %s is of another sender than the challenge's signer", c.Record.Short())
	}
	return err
}

// shown reads a record's statement that is shown for a digest.
func shown(n identity.Network, record identity.Digest, statement []byte) (records.Header, error) {
	h, err := records.DecodeHeader(statement)
	if err == nil && (h.Network != n || identity.StatementDigest(identity.TypeRecord, statement) != record) {
		err = code.New(code.Malformed, "the statement that is shown is not that of record %s", record.Short())
	}
	return h, err
}

// maxChunkPath is the longest path in the content tree of the largest content.
const maxChunkPath = 8

// StorageProof (relay → sender) answers a challenge. It signs the chunk's digest and its path in the
// content tree, so that a proof which does not lead to the root that the sender signed incriminates
// the relay by itself; the chunk's bytes travel beside it.
type StorageProof struct {
	identity.Header
	Challenge  identity.Digest
	Record     identity.Digest
	Chunk      uint32
	ChunkHash  identity.Digest // leaf of the content tree: tagged("chunk", chunk)
	AsOf       Arrival         // durable watermark, captured before the lookup
	AsOfMs     identity.UnixMilli
	StoreEpoch [16]byte
	Path       []identity.Digest // from the leaf to the content root; empty for a lone chunk
}

func (p *StorageProof) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, p.Challenge[:]), codec.Fixed(66, p.Record[:]), codec.U32(68, &p.Chunk), codec.Fixed(70, p.ChunkHash[:]),
		codec.U64(72, &p.AsOf), codec.U64(74, &p.AsOfMs), codec.Fixed(76, p.StoreEpoch[:]),
		codec.Optional(codec.Hashes(78, &p.Path, maxChunkPath)),
	}
}

func (p *StorageProof) check() error {
	if err := need(p.Type, "a challenge", p.Challenge); err != nil {
		return err
	}
	return need(p.Type, "a record", p.Record)
}

// Encode writes the statement. Errors: a field outside its bounds.
func (p StorageProof) Encode() ([]byte, error) {
	p.Type = identity.TypeStorageProof
	if err := p.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(p.Header, p.fields()...)
}

// DecodeStorageProof reads the statement; the signature is not looked at.
func DecodeStorageProof(raw []byte) (StorageProof, error) {
	var p StorageProof
	if err := identity.DecodeStatement(raw, identity.TypeStorageProof, &p.Header, p.fields()...); err != nil {
		return StorageProof{}, err
	}
	return p, p.check()
}

// Answers checks that the proof answers this challenge. Code Conflict.
func (p StorageProof) Answers(c VerifiedStorageChallenge) error {
	if p.Network != c.Network || p.From != c.To || p.To != c.From || p.Challenge != c.Digest() || p.Record != c.Record || p.Chunk != c.Chunk {
		return code.New(code.Conflict, "the storage proof answers another challenge")
	}
	return nil
}

// Leads checks that the signed digest and path lead to the content root of a record. Code BadContent:
// of the record that the proof names, the relay has signed an untruth.
func (p StorageProof) Leads(h records.Header) error {
	n := records.Chunks(int(h.ContentLen))
	if int(p.Chunk) >= n {
		return code.New(code.BadContent, "chunk %d of %d", p.Chunk, n)
	}
	root, ok := identity.RootFromPath(p.ChunkHash, n, int(p.Chunk), p.Path)
	if !ok || root != h.ContentRoot {
		return code.New(code.BadContent, "the proof of chunk %d does not lead to what the sender signed", p.Chunk)
	}
	return nil
}

// CheckStorageProof checks the whole answer to a challenge of a record: that the proof answers it and
// leads to the record's content root, and that the chunk is what the proof signs, with exactly the
// length that it must have. Codes Conflict and BadContent.
func CheckStorageProof(h records.Verified, c VerifiedStorageChallenge, p VerifiedStorageProof, chunk []byte) error {
	if h.Digest() != c.Record {
		return code.New(code.Conflict, "the challenge is of another record")
	}
	if err := p.Answers(c); err != nil {
		return err
	}
	if err := p.Leads(h.Header()); err != nil {
		return err
	}
	return records.ChunkProof{Index: uint16(p.Chunk), Chunk: chunk, Path: p.Path}.Verify(h.Header())
}

// VerifiedStorageProof is a storage proof whose signature held.
type VerifiedStorageProof struct {
	StorageProof
	verified
}

// OpenStorageProof decodes and verifies.
func OpenStorageProof(s identity.Signed) (VerifiedStorageProof, error) {
	b, v, err := open(s, DecodeStorageProof)
	return VerifiedStorageProof{b, v}, err
}

// OpenStorageProofVerified is OpenStorageProof with the verdict of identity.VerifyBatch.
func OpenStorageProofVerified(s identity.Signed, v identity.Verdict) (VerifiedStorageProof, error) {
	b, ok, err := openVerified(s, v, DecodeStorageProof)
	return VerifiedStorageProof{b, ok}, err
}

// ProveStorage makes the body of the answer to a challenge from the record's content, which it checks
// against the sender's root first: nothing is signed that does not hold. h is the header of the answer.
// Codes BadArgument (no such chunk), BadContent.
func ProveStorage(h identity.Header, of records.Header, c VerifiedStorageChallenge, content []byte) (StorageProof, []byte, error) {
	if len(content) != int(of.ContentLen) {
		return StorageProof{}, nil, code.New(code.BadContent, "%d of %d bytes", len(content), of.ContentLen)
	}
	part, err := records.ProveChunk(content, int(c.Chunk))
	if err != nil {
		return StorageProof{}, nil, err
	}
	if err := part.Verify(of); err != nil {
		return StorageProof{}, nil, err
	}
	p := StorageProof{
		Header: h, Challenge: c.Digest(), Record: c.Record, Chunk: c.Chunk, ChunkHash: identity.Tagged("chunk", part.Chunk), Path: part.Path,
	}
	return p, part.Chunk, nil
}
