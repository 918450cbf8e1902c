package contract

import "testing"

func BenchmarkBlock(b *testing.B) {
	w := active(b)
	c := w.relay.c
	for b.Loop() {
		if _, _, err := c.Apply(BlockConnected{Height: c.tip + 1, Key: w.relay.key}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	w, s := paid(b)
	e := w.event(w.relay, w.open(s))
	for b.Loop() {
		if _, _, err := w.relay.c.Apply(e); err != nil {
			b.Fatal(err)
		}
	}
}
