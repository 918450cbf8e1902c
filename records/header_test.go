package records

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestPathRoundTrip(t *testing.T) {
	p := newPair(t, "path")
	rapid.Check(t, func(t *rapid.T) {
		id := ID(rapid.StringMatching(`[a-zA-Z0-9._-]{1,64}`).Draw(t, "id"))
		path := Path{p.from.Public(), p.to.Public(), id}
		back, err := ParsePath(path.String())
		if err != nil || back != path {
			t.Fatalf("%v: %v", back, err)
		}
	})
}

func TestPathRefusals(t *testing.T) {
	p := newPair(t, "path")
	a, b := p.from.Public().String(), p.to.Public().String()
	for _, s := range []string{
		"", "/", "x", "/" + a + "/outbox/" + b, "/" + a + "/outbox/" + b + "/", "/" + a + "/inbox/" + b + "/x",
		"/" + a + "/outbox/" + b + "/x/", a + "/outbox/" + b + "/x", "/" + a + "/outbox/" + b + "/" + strings.Repeat("x", 65),
		"/" + a + "/outbox/" + b + "/a b", "/" + a + "/outbox/" + b + "/ü", "/" + a[:20] + "/outbox/" + b + "/x", "/" + a + "/outbox//x",
	} {
		if _, err := ParsePath(s); code.Of(err) != code.BadPath {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestNewIDIsValid(t *testing.T) {
	id, err := NewID(seed("id"))
	if must(t, id, err).check() != nil || len(id) != 26 {
		t.Fatal(id)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	p := newPair(t, "header")
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "content")
		d := p.draft(ID(rapid.StringMatching(`[a-zA-Z0-9._-]{1,64}`).Draw(t, "id")))
		d.TTL = rapid.Uint32Range(1, MaxTTL).Draw(t, "ttl")
		d.Tag = rapid.SliceOfN(rapid.Byte(), 0, MaxTag).Draw(t, "tag")
		d.MaxPulls = rapid.Uint16Range(0, MaxPulls).Draw(t, "pulls")
		d.Flags = Flags(rapid.Uint8Range(0, 1).Draw(t, "flags"))
		raw, err := d.Statement(content)
		h, err2 := DecodeHeader(must(t, raw, err))
		if must(t, h, err2); h.Path().ID != d.ID || h.TTL != d.TTL || h.Flags != d.Flags || h.ContentRoot != ContentRoot(content) {
			t.Fatalf("%+v", h)
		}
		if d.MaxPulls == 0 && h.MaxPulls != DefaultMaxPulls {
			t.Fatalf("%d pulls", h.MaxPulls)
		}
		again, err := h.Encode()
		if !bytes.Equal(must(t, again, err), raw) {
			t.Fatal("re-encoding differs")
		}
	})
}

func TestHeaderRefusals(t *testing.T) {
	p := newPair(t, "header")
	good := p.draft("x")
	for name, change := range map[string]func(*Draft){
		"no id":         func(d *Draft) { d.ID = "" },
		"bad id":        func(d *Draft) { d.ID = "a/b" },
		"long id":       func(d *Draft) { d.ID = ID(strings.Repeat("a", 65)) },
		"no ttl":        func(d *Draft) { d.TTL = 0 },
		"long ttl":      func(d *Draft) { d.TTL = MaxTTL + 1 },
		"long tag":      func(d *Draft) { d.Tag = make([]byte, 33) },
		"many pulls":    func(d *Draft) { d.MaxPulls = MaxPulls + 1 },
		"unknown flags": func(d *Draft) { d.Flags = 2 },
		"no receiver":   func(d *Draft) { d.To = identity.PublicKey{} },
		"no network":    func(d *Draft) { d.Network = 1 },
		"end of time":   func(d *Draft) { d.Time = math.MaxUint64 - 1 },
	} {
		d := good
		change(&d)
		if _, err := d.Statement(nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := good.Statement(make([]byte, MaxContent+1)); code.Of(err) != code.TooLarge {
		t.Errorf("large content: %v", err)
	}
}

func TestCheckTimes(t *testing.T) {
	p := newPair(t, "times")
	for _, c := range []struct {
		name string
		time identity.UnixMilli
		ttl  uint32
		max  uint32
		want code.Code
	}{
		{"now", now, 3600, MaxTTL, code.OK},
		{"a little ahead", now + MaxAhead, 3600, MaxTTL, code.OK},
		{"too far ahead", now + MaxAhead + 1, 3600, MaxTTL, code.NotYet},
		{"old but alive", now - 30*day, 31 * 86400, MaxTTL, code.OK},
		{"just under an hour left", now - 1, 3600, MaxTTL, code.Expired},
		{"dead", now - day, 3600, MaxTTL, code.Expired},
		{"over the relay's limit", now, 7201, 7200, code.TooLarge},
	} {
		d := p.draft("x")
		d.Time, d.TTL = c.time, c.ttl
		raw, err := d.Statement(nil)
		h, err2 := DecodeHeader(must(t, raw, err))
		if got := code.Of(CheckTimes(must(t, h, err2), now, c.max)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if (Header{Header: identity.Header{Time: math.MaxUint64}, TTL: 1}).Expiry() != math.MaxUint64 {
		t.Error("expiry wrapped around")
	}
}

func TestOpenVerifies(t *testing.T) {
	p := newPair(t, "open")
	content := bytes.Repeat([]byte{7}, 9000)
	r := p.record(t, "x", content)
	if !bytes.Equal(r.Content(), content) || r.Path() != (Path{p.from.Public(), p.to.Public(), "x"}) {
		t.Fatal("not what was signed")
	}
	if r.StoredBytes() != uint64(len(r.Signed().Statement)+9000) {
		t.Fatal("size")
	}
	other := bytes.Clone(content)
	other[8999] ^= 1
	_, err := Open(r.Signed(), other)
	wantCode(t, err, code.BadContent)
	_, err = Open(r.Signed(), content[:8999])
	wantCode(t, err, code.BadContent)
	s := r.Signed()
	s.Statement = bytes.Clone(s.Statement)
	s.Statement[len(s.Statement)-1] ^= 1
	_, err = Open(s, content)
	wantCode(t, err, code.BadSignature)
	s = r.Signed()
	s.Proof.Sig[3] ^= 1
	_, err = OpenHeader(s)
	wantCode(t, err, code.BadSignature)
}

func TestOpenHeaderVerifiedNeedsItsOwnVerdict(t *testing.T) {
	p := newPair(t, "verdict")
	a, b := p.record(t, "a", nil), p.record(t, "b", nil)
	v := identity.VerifyBatch([]identity.Signed{a.Signed(), b.Signed()})
	if got, err := OpenHeaderVerified(a.Signed(), v[0]); err != nil || got.Digest() != a.Digest() {
		t.Fatal(err)
	}
	if _, err := OpenHeaderVerified(a.Signed(), v[1]); err == nil {
		t.Fatal("took another statement's verdict")
	}
	bad := a.Signed()
	bad.Proof.Sig[0] ^= 1
	if _, err := OpenHeaderVerified(bad, identity.VerifyBatch([]identity.Signed{bad})[0]); code.Of(err) != code.BadSignature {
		t.Fatal(err)
	}
}

func TestChunkProofs(t *testing.T) {
	p := newPair(t, "chunks")
	for _, n := range []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 5*ChunkSize + 17, MaxContent} {
		content := make([]byte, n)
		seed("content").Read(content)
		r := p.record(t, "x", content)
		for i := 0; i < Chunks(n); i += 1 + Chunks(n)/7 {
			proof, err := ProveChunk(content, i)
			back, err2 := ParseChunkProof(must(t, proof, err).Bytes())
			if err := must(t, back, err2).Verify(r.Header()); err != nil {
				t.Fatalf("%d bytes, chunk %d: %v", n, i, err)
			}
			wrongChunk(t, back, r.Header())
		}
		if _, err := ProveChunk(content, Chunks(n)); code.Of(err) != code.BadArgument {
			t.Fatal("a chunk behind the end")
		}
	}
}

// wrongChunk damages a good proof in every way and expects refusal.
func wrongChunk(t *testing.T, p ChunkProof, h Header) {
	t.Helper()
	for name, change := range map[string]func(*ChunkProof){
		"index":      func(p *ChunkProof) { p.Index ^= 1 },
		"far index":  func(p *ChunkProof) { p.Index = 65535 },
		"more bytes": func(p *ChunkProof) { p.Chunk = append(bytes.Clone(p.Chunk), 0) },
		"more path":  func(p *ChunkProof) { p.Path = append(p.Path[:len(p.Path):len(p.Path)], identity.Digest{}) },
		"bytes": func(p *ChunkProof) {
			if p.Chunk = bytes.Clone(p.Chunk); len(p.Chunk) > 0 {
				p.Chunk[0] ^= 1
			} else {
				p.Chunk = []byte{0}
			}
		},
	} {
		q := p
		change(&q)
		if code.Of(q.Verify(h)) != code.BadContent {
			t.Fatalf("%s: accepted", name)
		}
	}
}

func FuzzDecodeHeader(f *testing.F) {
	p := newPair(f, "fuzz")
	raw, _ := p.draft("x").Statement([]byte("hi"))
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := DecodeHeader(raw)
		if err != nil {
			return
		}
		if again, err := h.Encode(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
		if h.Expiry() < h.Time {
			t.Fatal("expiry before time")
		}
	})
}

func FuzzParsePath(f *testing.F) {
	p := newPair(f, "fuzz")
	f.Add(Path{p.from.Public(), p.to.Public(), "x.y"}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if path, err := ParsePath(s); err == nil {
			if back, err := ParsePath(path.String()); err != nil || back != path {
				t.Fatalf("%q: %v", s, err)
			}
		}
	})
}

func FuzzParseChunkProof(f *testing.F) {
	proof, _ := ProveChunk(make([]byte, 9000), 1)
	f.Add(proof.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if p, err := ParseChunkProof(raw); err == nil && !bytes.Equal(p.Bytes(), raw) {
			t.Fatal("not canonical")
		}
	})
}
