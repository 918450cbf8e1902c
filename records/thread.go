package records

import (
	"encoding/binary"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Thread is what is known of one direction of a conversation: the highest message and the
// gaps below it. The receiver keeps one to see what is missing; the sender keeps one to
// number what it sends. The zero value is a conversation that has not begun.
type Thread struct {
	Highest uint64
	Last    identity.Digest // the record with sequence Highest
	Gaps    []Gap           // ascending, at most MaxGaps
}

// MaxGaps is how many gaps a thread remembers; the oldest are given up for lost.
const MaxGaps = 64

// Gap is a run of messages that have not arrived.
type Gap struct {
	From, To uint64          // sequences, both missing
	Before   identity.Digest // the record with sequence From−1; zero if From is 1
	Last     identity.Digest // the record with sequence To, as its successor names it
}

// Place is where a message stands in its thread.
type Place uint8

const (
	// Outside: the message has no sequence; the thread does not change.
	Outside Place = iota
	// InOrder: it follows the highest message.
	InOrder
	// Ahead: it opened a gap; what is missing may still arrive.
	Ahead
	// Filled: it belongs to a gap and shrank it.
	Filled
	// Repeated: its sequence is known already; the thread does not change.
	Repeated
	// Forked: its sequence or the record it names as the one before it contradict what is
	// known: the sender told two stories, restored a backup or writes from two devices.
	Forked
)

var placeNames = [...]string{"outside", "in order", "ahead", "filled", "repeated", "forked"}

// String is the place in a word.
func (p Place) String() string {
	if int(p) < len(placeNames) {
		return placeNames[p]
	}
	return "unknown"
}

// Next is the sequence and the previous digest for the next message that is sent.
func (t Thread) Next() (uint64, identity.Digest) { return t.Highest + 1, t.Last }

// Missing is how many messages below the highest have not arrived.
func (t Thread) Missing() uint64 {
	n := uint64(0)
	for _, g := range t.Gaps {
		n += g.To - g.From + 1
	}
	return n
}

// Observe takes in a message, given by its sequence, the record it names as previous and its
// own digest, and says where it stands. It is a pure function: the result replaces t.
func (t Thread) Observe(sequence uint64, previous, digest identity.Digest) (Thread, Place) {
	switch {
	case sequence == 0:
		return t, Outside
	case sequence <= t.Highest:
		return t.late(sequence, previous, digest)
	case sequence == t.Highest+1:
		if previous != t.Last {
			return t, Forked
		}
		return Thread{sequence, digest, t.Gaps}, InOrder
	}
	gap := Gap{t.Highest + 1, sequence - 1, t.Last, previous}
	gaps := append(slices.Clone(t.Gaps), gap)
	return Thread{sequence, digest, trim(gaps)}, Ahead
}

// late places a message at or below the highest.
func (t Thread) late(sequence uint64, previous, digest identity.Digest) (Thread, Place) {
	if sequence == t.Highest && digest != t.Last {
		return t, Forked
	}
	i := slices.IndexFunc(t.Gaps, func(g Gap) bool { return g.From <= sequence && sequence <= g.To })
	if i < 0 {
		return t, Repeated
	}
	g := t.Gaps[i]
	if sequence == g.To && digest != g.Last || sequence == g.From && previous != g.Before {
		return t, Forked
	}
	var left []Gap
	if sequence > g.From {
		left = append(left, Gap{g.From, sequence - 1, g.Before, previous})
	}
	if sequence < g.To {
		left = append(left, Gap{sequence + 1, g.To, digest, g.Last})
	}
	gaps := slices.Concat(t.Gaps[:i], left, t.Gaps[i+1:])
	return Thread{t.Highest, t.Last, trim(gaps)}, Filled
}

// trim gives up the oldest gaps.
func trim(gaps []Gap) []Gap {
	if len(gaps) > MaxGaps {
		return gaps[len(gaps)-MaxGaps:]
	}
	return gaps
}

const gapSize = 8 + 8 + 32 + 32

// Encode writes the thread for the agent's store.
func (t Thread) Encode() ([]byte, error) {
	version := uint8(1)
	var gaps []byte
	for _, g := range t.Gaps {
		gaps = binary.BigEndian.AppendUint64(gaps, g.From)
		gaps = binary.BigEndian.AppendUint64(gaps, g.To)
		gaps = append(gaps, g.Before[:]...)
		gaps = append(gaps, g.Last[:]...)
	}
	raw, err := codec.Encode(t.fields(&version, &gaps)...)
	return raw, code.Wrap(code.Internal, err, "thread")
}

func (t *Thread) fields(version *uint8, gaps *[]byte) []codec.Field {
	return []codec.Field{
		codec.U8(0, version), codec.U64(2, &t.Highest), codec.Fixed(4, t.Last[:]),
		codec.Optional(codec.Bytes(6, gaps, 0, MaxGaps*gapSize)),
	}
}

// DecodeThread reads what Encode wrote. Errors carry code Malformed or StoreVersion.
func DecodeThread(raw []byte) (Thread, error) {
	var t Thread
	var version uint8
	var gaps []byte
	err := codec.Decode(raw, 128+MaxGaps*gapSize, t.fields(&version, &gaps)...)
	if err := checkState(version, err, "thread"); err != nil {
		return Thread{}, err
	}
	if len(gaps)%gapSize != 0 {
		return Thread{}, code.New(code.Malformed, "%d bytes of gaps", len(gaps))
	}
	last := uint64(0)
	for ; len(gaps) > 0; gaps = gaps[gapSize:] {
		g := Gap{binary.BigEndian.Uint64(gaps), binary.BigEndian.Uint64(gaps[8:]), identity.Digest(gaps[16:48]), identity.Digest(gaps[48:80])}
		if g.From <= last || g.To < g.From || g.To >= t.Highest {
			return Thread{}, code.New(code.Malformed, "the gaps of a thread are out of order")
		}
		t.Gaps = append(t.Gaps, g)
		last = g.To
	}
	return t, nil
}
