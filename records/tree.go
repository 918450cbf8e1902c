package records

import (
	"encoding/binary"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// ChunkSize is how many bytes of content one leaf of the content tree covers.
const ChunkSize = 4096

// MaxChunks is how many chunks the largest content has.
const MaxChunks = MaxContent / ChunkSize

// maxChunkPath is the longest path in a tree of MaxChunks leaves.
const maxChunkPath = 8

// Chunks is the number of chunks of a content of the given length; empty content has one
// empty chunk.
func Chunks(contentLen int) int {
	return max(1, (contentLen+ChunkSize-1)/ChunkSize)
}

// chunk is the i-th chunk of content.
func chunk(content []byte, i int) []byte {
	return content[i*ChunkSize : min((i+1)*ChunkSize, len(content))]
}

func chunkDigest(b []byte) identity.Digest { return identity.Tagged("chunk", b) }

func chunkDigests(content []byte) []identity.Digest {
	out := make([]identity.Digest, Chunks(len(content)))
	for i := range out {
		out[i] = chunkDigest(chunk(content, i))
	}
	return out
}

// ContentRoot is the root of the tree (RFC 6962 shape) over the content's chunks.
func ContentRoot(content []byte) identity.Digest { return identity.Root(chunkDigests(content)) }

// ChunkProof is one chunk of a content with its path to the root: what a relay shows when it
// is asked whether it still has a record.
type ChunkProof struct {
	Index uint16
	Chunk []byte
	Path  []identity.Digest
}

// ProveChunk cuts out a chunk with its path. Errors carry code BadArgument.
func ProveChunk(content []byte, index int) (ChunkProof, error) {
	if index < 0 || index >= Chunks(len(content)) || len(content) > MaxContent {
		return ChunkProof{}, code.New(code.BadArgument, "chunk %d of %d", index, Chunks(len(content)))
	}
	paths, _ := identity.Paths(chunkDigests(content))
	return ChunkProof{uint16(index), chunk(content, index), paths[index]}, nil
}

// Verify checks that the chunk is part of the content to which h commits. Errors carry code
// BadContent.
func (p ChunkProof) Verify(h Header) error {
	n := Chunks(int(h.ContentLen))
	if int(p.Index) >= n {
		return code.New(code.BadContent, "chunk %d of %d", p.Index, n)
	}
	start := int(p.Index) * ChunkSize
	if len(p.Chunk) != min(ChunkSize, int(h.ContentLen)-start) {
		return code.New(code.BadContent, "chunk %d has %d bytes", p.Index, len(p.Chunk))
	}
	root, ok := identity.RootFromPath(chunkDigest(p.Chunk), n, int(p.Index), p.Path)
	if !ok || root != h.ContentRoot {
		return code.New(code.BadContent, "chunk %d is not what the sender signed", p.Index)
	}
	return nil
}

// Bytes is the wire form: u16 index ‖ u16 length ‖ chunk ‖ path.
func (p ChunkProof) Bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, p.Index)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Chunk)))
	b = append(b, p.Chunk...)
	for _, d := range p.Path {
		b = append(b, d[:]...)
	}
	return b
}

// ParseChunkProof reads the wire form; trailing bytes are refused. The result aliases raw.
func ParseChunkProof(raw []byte) (ChunkProof, error) {
	if len(raw) < 4 {
		return ChunkProof{}, code.New(code.Malformed, "%d bytes are not a chunk", len(raw))
	}
	p := ChunkProof{Index: binary.BigEndian.Uint16(raw)}
	n := int(binary.BigEndian.Uint16(raw[2:]))
	raw = raw[4:]
	if n > ChunkSize || n > len(raw) || (len(raw)-n)%32 != 0 || (len(raw)-n)/32 > maxChunkPath {
		return ChunkProof{}, code.New(code.Malformed, "a chunk of %d bytes in %d", n, len(raw))
	}
	p.Chunk = raw[:n:n]
	for rest := raw[n:]; len(rest) > 0; rest = rest[32:] {
		p.Path = append(p.Path, identity.Digest(rest[:32]))
	}
	return p, nil
}
