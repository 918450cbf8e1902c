package relay

import (
	"testing"

	"relaymarket/internal/message"
	"relaymarket/usage"
)

// TestWeight: what a stranger can make the relay hold is counted, and one request always fits.
func TestWeight(t *testing.T) {
	if one := int64(usage.DefaultLimits().MaxFrame); one > maxRoom/8 {
		t.Errorf("a frame of %d bytes takes most of %d", one, maxRoom)
	}
	w := &message.Write{Bundles: [][]byte{make([]byte, 5)}, Contents: [][]byte{make([]byte, 100), make([]byte, 7)}}
	if got := weight(w); got != 112 {
		t.Errorf("a write of 112 bytes counts for %d", got)
	}
	if got := weight(&message.Read{Requests: make([]byte, 1000)}); got != 0 {
		t.Errorf("a read holds %d bytes for as long as its reader likes", got)
	}
}
