package message

import "testing"

func BenchmarkWrite64(b *testing.B) {
	m := &Write{Bundles: [][]byte{make([]byte, 64*250)}, Contents: make([][]byte, 64)}
	for i := range m.Contents {
		m.Contents[i] = make([]byte, 300)
	}
	benchmark(b, m)
}

func BenchmarkListenEvent1(b *testing.B) {
	benchmark(b, &ListenEvent{Rows: []Row{{ID: "a", Tag: []byte("x")}}})
}
func BenchmarkWritten(b *testing.B) { benchmark(b, &Written{make([]byte, 500)}) }

func benchmark(b *testing.B, m Message) {
	frame, err := Encode(1, m)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Encode(1, m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := Decode(frame, testLimit); err != nil {
				b.Fatal(err)
			}
		}
	})
}
