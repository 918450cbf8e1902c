package usage

import (
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
)

func drawChallenge(t *rapid.T) StorageChallenge {
	c := StorageChallenge{
		Header: drawHeader(t, identity.TypeStorageChallenge), Record: drawDigest(t, "record"), Nonce: drawDigest(t, "nonce"),
		Chunk: rapid.Uint32Range(0, records.MaxChunks-1).Draw(t, "chunk"),
	}
	c.NotAfter = c.Time + identity.UnixMilli(rapid.Uint64Range(0, uint64(MaxRequestLife)).Draw(t, "life"))
	return c
}

func drawProof(t *rapid.T) StorageProof {
	return StorageProof{
		drawHeader(t, identity.TypeStorageProof), drawDigest(t, "challenge"), drawDigest(t, "record"), rapid.Uint32().Draw(t, "chunk"),
		drawDigest(t, "hash"), Arrival(u64(t, "as of")), identity.UnixMilli(u64(t, "as of ms")),
		[16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "store")), drawDigests(t, "path", maxChunkPath),
	}
}

func FuzzDecodeStorageChallenge(f *testing.F) { fuzzStatement(f, "storageChallenge") }
func FuzzDecodeStorageProof(f *testing.F)     { fuzzStatement(f, "storageProof") }

// challenged is a record with content, a challenge of one chunk of it, and the parties.
type challenged struct {
	content   []byte
	record    records.Verified
	challenge VerifiedStorageChallenge
}

func challengedRecord(t *testing.T, size int, chunk uint32) challenged {
	t.Helper()
	c := challenged{content: make([]byte, size)}
	for i := range c.content {
		c.content[i] = byte(i*7 + i>>8)
	}
	raw, err := records.Draft{Network: testNet, From: testKey("client").Public(), To: testKey("carol").Public(), ID: "a", Time: 1000, TTL: 7200}.Statement(c.content)
	if c.record, err = records.OpenHeader(sign(t, "client", raw, err)); err != nil {
		t.Fatal(err)
	}
	body := StorageChallenge{
		Header: identity.Header{Network: testNet, From: testKey("client").Public(), To: testKey("relay").Public(), Time: 2000},
		Record: c.record.Digest(), Nonce: [32]byte{1}, Chunk: chunk, NotAfter: 3000,
	}
	raw, err = body.Encode()
	if c.challenge, err = OpenStorageChallenge(sign(t, "client", raw, err)); err != nil {
		t.Fatal(err)
	}
	return c
}

// prove makes the relay's answer, after a change that an honest relay would not make.
func (c challenged) prove(t *testing.T, change func(*StorageProof)) (VerifiedStorageProof, []byte) {
	t.Helper()
	h := identity.Header{Network: testNet, From: testKey("relay").Public(), To: testKey("client").Public(), Time: 2500}
	p, chunk, err := ProveStorage(h, c.record.Header(), c.challenge, c.content)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&p)
	}
	raw, err := p.Encode()
	v, err := OpenStorageProof(sign(t, "relay", raw, err))
	if err != nil {
		t.Fatal(err)
	}
	return v, chunk
}

// Every chunk of contents of all shapes is proven, with exactly its length.
func TestStorageProofs(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 8192, 3*4096 + 5, 1 << 20} {
		n := records.Chunks(size)
		for _, chunk := range []int{0, n / 2, n - 1} {
			c := challengedRecord(t, size, uint32(chunk))
			p, b := c.prove(t, nil)
			if err := CheckStorageProof(c.record, c.challenge, p, b); err != nil {
				t.Errorf("%d bytes, chunk %d: %v", size, chunk, err)
			}
			if err := CheckStorageProof(c.record, c.challenge, p, append(b[:len(b):len(b)], 0)); code.Of(err) != code.BadContent {
				t.Errorf("%d bytes, chunk %d, one byte more: %v", size, chunk, err)
			}
			if len(b) > 0 {
				if err := CheckStorageProof(c.record, c.challenge, p, b[1:]); code.Of(err) != code.BadContent {
					t.Errorf("%d bytes, chunk %d, one byte less: %v", size, chunk, err)
				}
			}
		}
		c := challengedRecord(t, size, 0)
		c.challenge.Chunk = uint32(n)
		if _, _, err := ProveStorage(identity.Header{}, c.record.Header(), c.challenge, c.content); code.Of(err) != code.BadArgument {
			t.Errorf("%d bytes, chunk %d: %v", size, n, err)
		}
	}
}

// What does not answer the challenge, or does not lead to the sender's root, proves no storage; only
// the second is an untruth that the relay signed.
func TestStorageProofsThatAreNone(t *testing.T) {
	c := challengedRecord(t, 5*4096, 2)
	for name, x := range map[string]struct {
		change func(*StorageProof)
		want   code.Code
	}{
		"another challenge": {func(p *StorageProof) { p.Challenge[0] ^= 1 }, code.Conflict},
		"another record":    {func(p *StorageProof) { p.Record[0] ^= 1 }, code.Conflict},
		"another chunk":     {func(p *StorageProof) { p.Chunk++ }, code.Conflict},
		"another sender":    {func(p *StorageProof) { p.To = testKey("rival").Public() }, code.Conflict},
		"another hash":      {func(p *StorageProof) { p.ChunkHash[0] ^= 1 }, code.BadContent},
		"another path":      {func(p *StorageProof) { p.Path[1][0] ^= 1 }, code.BadContent},
		"a short path":      {func(p *StorageProof) { p.Path = p.Path[1:] }, code.BadContent},
		"a long path":       {func(p *StorageProof) { p.Path = append(p.Path, identity.Digest{1}) }, code.BadContent},
	} {
		p, b := c.prove(t, x.change)
		if err := CheckStorageProof(c.record, c.challenge, p, b); code.Of(err) != x.want {
			t.Errorf("%s: %v", name, err)
		}
		if lie := p.Answers(c.challenge) == nil && p.Leads(c.record.Header()) != nil; lie != (x.want == code.BadContent) {
			t.Errorf("%s: signed untruth is %v", name, lie)
		}
	}
	p, b := c.prove(t, nil)
	b = append([]byte(nil), b...)
	b[7] ^= 1
	if err := CheckStorageProof(c.record, c.challenge, p, b); code.Of(err) != code.BadContent {
		t.Error("a changed chunk:", err)
	}
	if other := challengedRecord(t, 4096, 0); code.Of(CheckStorageProof(other.record, c.challenge, p, b)) != code.Conflict {
		t.Error("another record's header")
	}
	c.content[0] ^= 1
	if _, _, err := ProveStorage(identity.Header{}, c.record.Header(), c.challenge, c.content); code.Of(err) != code.BadContent {
		t.Error("a content that is broken elsewhere is proven:", err)
	}
	if _, _, err := ProveStorage(identity.Header{}, c.record.Header(), c.challenge, c.content[1:]); code.Of(err) != code.BadContent {
		t.Error("a content that is cut off is proven:", err)
	}
}
