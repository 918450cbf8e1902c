package records

import (
	"bytes"
	"math/bits"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestPaddedLen(t *testing.T) {
	// Values from the definition in the paper: only the top bits of a length may be set.
	for n, want := range map[int]int{0: 0, 1: 1, 2: 2, 8: 8, 9: 10, 99: 104, 1000: 1024, 1025: 1088, 1 << 20: 1 << 20, 1<<20 - 1: 1 << 20} {
		if got := PaddedLen(n); got != want {
			t.Errorf("%d: %d, expected %d", n, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 1<<30).Draw(t, "n")
		p := PaddedLen(n)
		if p < n || float64(p-n) > 0.12*float64(n) || PaddedLen(p) != p {
			t.Fatalf("%d: %d", n, p)
		}
		if e := bits.Len(uint(p)) - 1; p&(1<<max(e-bits.Len(uint(e)), 0)-1) != 0 {
			t.Fatalf("%d: %d has low bits", n, p)
		}
	})
}

func TestPadIsStrict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "plain")
		padded, err := Pad(plain)
		back, err2 := Unpad(must(t, padded, err))
		if err2 != nil || !bytes.Equal(back, plain) {
			t.Fatal(err2)
		}
		if len(padded) > 4+len(plain) {
			padded[len(padded)-1] = 1
			if _, err := Unpad(padded); err == nil {
				t.Fatal("padding with contents")
			}
		}
		if _, err := Unpad(append(padded, 0)); err == nil {
			t.Fatal("another length")
		}
	})
	if _, err := Pad(make([]byte, MaxPlaintext+1)); code.Of(err) != code.TooLarge {
		t.Fatal(err)
	}
}

func TestLargestMessageFits(t *testing.T) {
	p := newPair(t, "large")
	padded, err := Pad(make([]byte, MaxPlaintext))
	content, _, err2 := newEpoch(t, p, "large").Seal(ID(strings.Repeat("x", 64)), must(t, padded, err))
	if len(must(t, content, err2)) > MaxContent || PaddedLen(padLenSize+MaxPlaintext+1)+sealedHead+encapsulationSize+sealTag <= MaxContent {
		t.Fatalf("%d bytes: MaxPlaintext is not the largest that fits", len(content))
	}
}

func drawAttachment(t *rapid.T, r *seeded) Attachment {
	size := rapid.Uint64Range(0, 3*PieceSize).Draw(t, "size")
	a, err := NewAttachment(r, rapid.StringMatching(`[a-zü][a-z. ]{0,20}[a-z]`).Draw(t, "name"), "image/png", size)
	a = must(t, a, err)
	for i := range a.Count() {
		a.Pieces = append(a.Pieces, identity.Digest{byte(i)})
	}
	return a
}

func drawContent(t *rapid.T, forwarded *Forwarded) Content {
	c := Content{MediaType: "application/x", Body: rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "body")}
	c.Sequence = rapid.Uint64Range(0, 3).Draw(t, "sequence")
	if c.Sequence > 1 {
		c.Previous = identity.Digest{1}
	}
	if rapid.Bool().Draw(t, "regarding") {
		c.Regarding = identity.Digest{2}
	}
	if rapid.Bool().Draw(t, "forwarded") {
		c.Forwarded = forwarded
	}
	for range rapid.IntRange(0, 3).Draw(t, "attachments") {
		c.Attachments = append(c.Attachments, drawAttachment(t, seed("a").(*seeded)))
	}
	return c
}

func TestContentRoundTrip(t *testing.T) {
	r := newPair(t, "content").record(t, "x", nil)
	inner, err := Content{MediaType: MediaText, Body: []byte("inner")}.Encode()
	forwarded := &Forwarded{r.Signed(), must(t, inner, err)}
	rapid.Check(t, func(t *rapid.T) {
		raw, err := drawContent(t, forwarded).Encode()
		back, err2 := DecodeContent(must(t, raw, err))
		again, err3 := must(t, back, err2).Encode()
		if !bytes.Equal(must(t, again, err3), raw) {
			t.Fatal("re-encoding differs")
		}
		if back.Forwarded != nil {
			if _, err := OpenHeader(back.Forwarded.Record); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestContentRefusals(t *testing.T) {
	for name, c := range map[string]Content{
		"no media type":       {},
		"not a media type":    {MediaType: "text"},
		"control characters":  {MediaType: "text/\n"},
		"text not UTF-8":      {MediaType: MediaText, Body: []byte{0xff}},
		"previous outside":    {MediaType: MediaText, Previous: identity.Digest{1}},
		"previous of first":   {MediaType: MediaText, Sequence: 1, Previous: identity.Digest{1}},
		"no previous":         {MediaType: MediaText, Sequence: 2},
		"too large":           {MediaType: "a/b", Body: make([]byte, MaxPlaintext)},
		"missing pieces":      {MediaType: "a/b", Attachments: []Attachment{{Name: "a", MediaType: "a/b", Size: 1, Base: strings.Repeat("a", 26)}}},
		"no base":             {MediaType: "a/b", Attachments: []Attachment{{Name: "a", MediaType: "a/b"}}},
		"attachment too long": {MediaType: "a/b", Attachments: []Attachment{{Name: "a", MediaType: "a/b", Size: MaxAttachment + 1}}},
	} {
		if _, err := c.Encode(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFileNames(t *testing.T) {
	for _, s := range []string{"", ".", "..", "a/b", `a\b`, "a\x00", "a\nb", "\x1b[2J", "a\u202egpj.exe", "\xff", strings.Repeat("a", 256)} {
		if fileName(s) {
			t.Errorf("%q accepted", s)
		}
	}
	for _, s := range []string{"a", "Bericht äöü.pdf", "..a", "写真.png"} {
		if !fileName(s) {
			t.Errorf("%q refused", s)
		}
	}
}

func TestAttachmentPieces(t *testing.T) {
	p := newPair(t, "attachment")
	file := make([]byte, PieceSize+12345)
	seed("file").Read(file)
	a, err := NewAttachment(seed("att"), "file.bin", "application/octet-stream", uint64(len(file)))
	a = must(t, a, err)
	var recs []Record
	for i := range a.Count() {
		content, err := a.SealPiece(i, file[i*PieceSize:min(len(file), (i+1)*PieceSize)])
		r := p.record(t, a.PieceID(i), must(t, content, err))
		if !IsPieceID(r.Header().ID) {
			t.Fatal(r.Header().ID)
		}
		recs = append(recs, r)
		a.Pieces = append(a.Pieces, r.Digest())
	}
	raw, err := Content{MediaType: MediaText, Attachments: []Attachment{a}}.Encode()
	c, err2 := DecodeContent(must(t, raw, err))
	manifest := must(t, c, err2).Attachments[0]
	var got []byte
	for i, r := range recs {
		piece, err := manifest.OpenPiece(i, r)
		got = append(got, must(t, piece, err)...)
	}
	if !bytes.Equal(got, file) {
		t.Fatal("another file")
	}
	_, err = manifest.OpenPiece(0, recs[1])
	wantCode(t, err, code.BadContent)
	_, err = manifest.OpenPiece(2, recs[1])
	wantCode(t, err, code.BadContent)
	manifest.Pieces[0], manifest.Pieces[1] = manifest.Pieces[1], manifest.Pieces[0]
	_, err = manifest.OpenPiece(0, recs[1])
	wantCode(t, err, code.Undecryptable)
}

func TestAcknowledgementsBody(t *testing.T) {
	p := newPair(t, "acks")
	s := p.record(t, "x", nil).Signed()
	many := make([]identity.Signed, MaxAcknowledgements)
	for i := range many {
		many[i] = s
	}
	body, err := AcknowledgementsBody(many)
	back, err2 := ParseAcknowledgementsBody(must(t, body, err))
	if err2 != nil || len(back) != MaxAcknowledgements || !back[7].Equal(s) {
		t.Fatal(err2)
	}
	_, err = AcknowledgementsBody(append(many, s))
	wantCode(t, err, code.Malformed)
	_, err = ParseAcknowledgementsBody(append(body, body[:len(body)/MaxAcknowledgements]...))
	wantCode(t, err, code.Malformed)
	_, err = ParseAcknowledgementsBody(nil)
	wantCode(t, err, code.Malformed)
	if _, err := ParseIdentityBody(IdentityBody(s)); err != nil {
		t.Fatal(err)
	}
}

// model is a conversation as it really is; the thread must agree with what arrived.
func TestThreadAgreesWithWhatArrived(t *testing.T) {
	digest := func(n uint64) identity.Digest {
		if n == 0 {
			return identity.Digest{}
		}
		return identity.Tagged("t", []byte{byte(n), 1})
	}
	rapid.Check(t, func(t *rapid.T) {
		var th Thread
		arrived := map[uint64]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			n := rapid.Uint64Range(1, 40).Draw(t, "n")
			highest := th.Highest
			next, place := th.Observe(n, digest(n-1), digest(n))
			want := Filled
			switch {
			case arrived[n]:
				want = Repeated
			case n == highest+1:
				want = InOrder
			case n > highest:
				want = Ahead
			}
			if place != want {
				t.Fatalf("message %d is %v, expected %v", n, place, want)
			}
			liar(t, th, n, arrived, digest)
			raw, err := next.Encode()
			th, err = DecodeThread(must(t, raw, err))
			arrived[n] = true
			if must(t, th, err); th.Missing() != th.Highest-uint64(len(arrived)) {
				t.Fatalf("%d missing of %d, %d arrived", th.Missing(), th.Highest, len(arrived))
			}
		}
	})
}

// liar tells another story for message n next to a neighbour that arrived: it must be seen.
func liar(t *rapid.T, th Thread, n uint64, arrived map[uint64]bool, digest func(uint64) identity.Digest) {
	if arrived[n] {
		return
	}
	if n == 1 || arrived[n-1] {
		if same, place := th.Observe(n, identity.Digest{66}, digest(n)); place != Forked || same.Highest != th.Highest {
			t.Fatalf("another past of %d is %v", n, place)
		}
	}
	if arrived[n+1] {
		if _, place := th.Observe(n, digest(n-1), identity.Digest{66}); place != Forked {
			t.Fatalf("another message %d is %v", n, place)
		}
	}
}

func TestThreadOutsideAndLimits(t *testing.T) {
	var th Thread
	if same, place := th.Observe(0, identity.Digest{}, identity.Digest{1}); place != Outside || same.Highest != 0 {
		t.Fatal(place)
	}
	for i := range uint64(MaxGaps + 5) {
		th, _ = th.Observe(2+2*i, identity.Digest{1}, identity.Digest{2})
	}
	if len(th.Gaps) != MaxGaps || th.Gaps[0].From != 11 {
		t.Fatal("the oldest gaps are given up")
	}
	if n, last := th.Next(); n != th.Highest+1 || last != th.Last {
		t.Fatal("next")
	}
	if Forked.String() != "forked" || Place(99).String() != "unknown" {
		t.Fatal("names")
	}
}

func FuzzDecodeContent(f *testing.F) {
	raw, _ := Content{MediaType: MediaText, Body: []byte("hi"), Sequence: 1}.Encode()
	f.Add(raw)
	s := newPair(f, "fuzz").record(f, "x", nil).Signed()
	raw, _ = Content{
		MediaType: MediaText, Forwarded: &Forwarded{s, raw},
		Attachments: []Attachment{{Name: "a", MediaType: "a/b", Base: strings.Repeat("a", 26)}},
	}.Encode()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := DecodeContent(raw); err == nil {
			sameBytes(t, raw)(c.Encode())
		}
	})
}

func FuzzUnpad(f *testing.F) {
	padded, _ := Pad([]byte("hello"))
	f.Add(padded)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if plain, err := Unpad(raw); err == nil {
			sameBytes(t, raw)(Pad(plain))
		}
	})
}

func FuzzDecodeThread(f *testing.F) {
	var th Thread
	th, _ = th.Observe(4, identity.Digest{1}, identity.Digest{2})
	raw, _ := th.Encode()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if th, err := DecodeThread(raw); err == nil {
			sameBytes(t, raw)(th.Encode())
		}
	})
}

func FuzzParseAcknowledgementsBody(f *testing.F) {
	body, _ := AcknowledgementsBody([]identity.Signed{newPair(f, "fuzz").record(f, "x", nil).Signed()})
	f.Add(body)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if acks, err := ParseAcknowledgementsBody(raw); err == nil {
			sameBytes(t, raw)(AcknowledgementsBody(acks))
		}
	})
}
