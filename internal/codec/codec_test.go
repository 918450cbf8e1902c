package codec

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

type sample struct {
	a     uint8
	b     uint16
	c     uint32
	d     uint64
	id    [16]byte
	body  []byte
	name  string
	roots [][32]byte
	list  [][]byte
}

func (s *sample) fields() []Field {
	return []Field{
		U8(0, &s.a), U16(2, &s.b), U32(4, &s.c), Optional(U64(6, &s.d)), Fixed(8, s.id[:]),
		Bytes(64, &s.body, 1, 300), Optional(String(66, &s.name, 1, 10)),
		Hashes(68, &s.roots, 4), List(70, &s.list, 3, 20),
	}
}

func drawSample(t *rapid.T) *sample {
	s := &sample{
		a: rapid.Uint8().Draw(t, "a"), b: rapid.Uint16().Draw(t, "b"), c: rapid.Uint32().Draw(t, "c"),
		d: rapid.Uint64().Draw(t, "d"), body: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "body"),
		name: rapid.StringMatching(`[a-z]{0,10}`).Draw(t, "name"),
		list: rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 20), 0, 3).Draw(t, "list"),
	}
	copy(s.id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	s.roots = make([][32]byte, rapid.IntRange(0, 4).Draw(t, "roots"))
	for i := range s.roots {
		s.roots[i][0] = byte(i)
	}
	return s
}

func TestRoundTripIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw, err := Encode(drawSample(t).fields()...)
		if err != nil {
			t.Fatal(err)
		}
		var back sample
		if err := Decode(raw, 4096, back.fields()...); err != nil {
			t.Fatal(err)
		}
		again, err := Encode(back.fields()...)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("re-encoding differs: %x %x %v", raw, again, err)
		}
	})
}

func TestRefusals(t *testing.T) {
	var a, b uint8
	var body []byte
	fields := []Field{U8(0, &a), Optional(U8(2, &b)), Optional(Bytes(4, &body, 0, 4))}
	for name, raw := range map[string][]byte{
		"missing required":      {},
		"descending":            {2, 1, 1, 0, 1, 1},
		"twice":                 {0, 1, 1, 0, 1, 1},
		"unknown even":          {0, 1, 1, 6, 0},
		"unknown odd":           {0, 1, 1, 1, 0},
		"trailing":              {0, 1, 1, 9},
		"length beyond input":   {0, 1, 1, 4, 0xfe, 0x40, 0, 0, 0},
		"over the field":        {0, 1, 1, 4, 5, 1, 2, 3, 4, 5},
		"short integer":         {0, 0},
		"long integer":          {0, 2, 1, 1},
		"type not minimal":      {0xfd, 0, 0, 1, 1},
		"length not minimal":    {0, 0xfd, 0, 1, 1},
		"optional zero present": {0, 1, 1, 2, 1, 0},
		"optional empty":        {0, 1, 1, 4, 0},
		"over the limit":        bytes.Repeat([]byte{0}, 65),
	} {
		if err := Decode(raw, 64, fields...); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Decode([]byte{0, 1, 1}, 64, fields...); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestBool(t *testing.T) {
	var a, b, c bool
	raw, err := Encode(Bool(0, &a), Optional(Bool(2, &b)))
	if err != nil || !bytes.Equal(raw, []byte{0, 1, 0}) {
		t.Fatalf("%x %v", raw, err)
	}
	if err := Decode([]byte{0, 1, 1, 2, 1, 1}, 64, Bool(0, &a), Optional(Bool(2, &b))); err != nil || !a || !b {
		t.Fatalf("%v %v %v", a, b, err)
	}
	for _, raw := range [][]byte{{0, 1, 2}, {0, 0}, {0, 2, 0, 1}} {
		if err := Decode(raw, 64, Bool(0, &c)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", raw, err)
		}
	}
	if err := Decode([]byte{0, 1, 0}, 64, Optional(Bool(0, &c))); !errors.Is(err, ErrMalformed) {
		t.Errorf("optional false must be absent: %v", err)
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	long := make([]byte, 5)
	var a uint8
	if _, err := Encode(Bytes(0, &long, 0, 4)); err == nil {
		t.Error("a value over its bound must not be encoded")
	}
	for name, items := range map[string][][]byte{"many": {{}, {}, {}}, "long": {{1, 2, 3}}} {
		if _, err := Encode(List(0, &items, 2, 2)); err == nil {
			t.Errorf("a list over its bounds (%s) must not be encoded", name)
		}
	}
	if _, err := Encode(U8(2, &a), U8(0, &a)); err == nil {
		t.Error("types out of order must not be encoded")
	}
}

func TestLyingLengthAllocatesNothing(t *testing.T) {
	raw := []byte{64, 0xfe, 0x40, 0, 0, 0}
	var body []byte
	got := testing.AllocsPerRun(10, func() {
		if Decode(raw, 1<<20, Bytes(64, &body, 0, 1<<30)) == nil {
			t.Fatal("accepted")
		}
	})
	if got > 50 || cap(body) > 0 {
		t.Fatalf("%v allocations, %d bytes reserved", got, cap(body))
	}
}

func FuzzDecode(f *testing.F) {
	var s sample
	s.body = []byte{1}
	raw, _ := Encode(s.fields()...)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s sample
		if Decode(raw, 4096, s.fields()...) != nil {
			return
		}
		again, err := Encode(s.fields()...)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
	})
}
