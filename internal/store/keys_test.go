package store

import (
	"bytes"
	"cmp"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// edge draws numbers near the places where byte order could break.
func edge() *rapid.Generator[uint64] {
	return rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 127, 128, 255, 256, 1<<16 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1}))
}

// TestKeysSortAsTheirNumbers: for every kind of key with numbers in it, byte order is the
// order of the tuple.
func TestKeysSortAsTheirNumbers(t *testing.T) {
	kinds := map[string]func(a, b uint64) []byte{
		"row":     func(a, b uint64) []byte { return rowKey(num(a), b) },
		"hash":    func(a, b uint64) []byte { return hashKey(num(a), b) },
		"ack":     func(a, b uint64) []byte { return ackKey(num(a), b) },
		"report":  func(a, b uint64) []byte { return reportKey(num(a), b) },
		"inbox":   func(a, b uint64) []byte { return inboxKey(num(a), usage.Arrival(b)) },
		"outbox":  func(a, b uint64) []byte { return outboxKey(num(a), usage.Arrival(b)) },
		"due":     func(a, b uint64) []byte { return dueKey(identity.UnixMilli(a), num(b), identity.Digest{7}) },
		"pending": func(a, _ uint64) []byte { return pendingKey(a) },
		"record":  func(a, b uint64) []byte { return recordKey(place{bucket: Bucket(a), arrival: usage.Arrival(b)}) },
		"content": func(a, b uint64) []byte { return contentKey(place{arrival: usage.Arrival(a)}, uint16(b)) },
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"row", "hash", "ack", "report", "inbox", "outbox", "due", "pending", "record", "content"}).Draw(t, "kind")
		a1, b1, a2, b2 := edge().Draw(t, "a1"), edge().Draw(t, "b1"), edge().Draw(t, "a2"), edge().Draw(t, "b2")
		switch name {
		case "record":
			a1, a2 = uint64(uint32(a1)), uint64(uint32(a2))
		case "content":
			b1, b2 = uint64(uint16(b1)), uint64(uint16(b2))
		case "pending":
			b1, b2 = 0, 0
		}
		want := cmp.Or(cmp.Compare(a1, a2), cmp.Compare(b1, b2))
		if got := bytes.Compare(kinds[name](a1, b1), kinds[name](a2, b2)); got != want {
			t.Fatalf("%s (%d,%d) and (%d,%d): %d, want %d", name, a1, b1, a2, b2, got, want)
		}
	})
}

func TestKeysReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := edge().Draw(t, "a"), edge().Draw(t, "b")
		receipt := identity.Digest{byte(a), byte(b)}
		end, n, r, err := decodeDueKey(dueKey(identity.UnixMilli(a), num(b), receipt))
		if err != nil || uint64(end) != a || uint64(n) != b || r != receipt {
			t.Fatalf("due %d %d %v", end, n, err)
		}
		if at, err := listArrival(inboxKey(num(a), usage.Arrival(b))); err != nil || uint64(at) != b {
			t.Fatalf("list %d %v", at, err)
		}
		p := place{bucket: Bucket(a), arrival: usage.Arrival(b)}
		for _, k := range [][]byte{recordKey(p), pullsKey(p), pullKey(p, receipt), contentKey(p, 3), orderKey(p.bucket, receipt), refKey(p.bucket, []byte("x"))} {
			if got, err := bucketOf(k); err != nil || got != p.bucket {
				t.Fatalf("bucket %d %v", got, err)
			}
			if from, to := bucketRange(p.bucket); bytes.Compare(k, from) < 0 || bytes.Compare(k, to) >= 0 {
				t.Fatalf("a key outside of its bucket")
			}
		}
	})
}

func TestAfterIsTheFirstKeyBeyondAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "prefix")
		key := rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "key")
		end := after(prefix)
		inside := bytes.Compare(key, prefix) >= 0 && (end == nil || bytes.Compare(key, end) < 0)
		if inside != bytes.HasPrefix(key, prefix) {
			t.Fatalf("%x under %x: %v", key, prefix, inside)
		}
	})
}

// TestBucketsWaitForTheEnd: nothing can be dropped before 60 s after its end, and everything
// within the hour after that.
func TestBucketsWaitForTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		end := identity.UnixMilli(rapid.Uint64Range(0, 1<<43).Draw(t, "end"))
		b := bucketAt(end)
		if b.droppable(end + purgeDelay - 1) {
			t.Fatal("dropped too early")
		}
		if !b.droppable(end + purgeDelay + hourMs) {
			t.Fatal("kept too long")
		}
	})
	if bucketAt(1<<64-1) != 1<<32-1 {
		t.Fatal("an end beyond all time overflows")
	}
}

func TestPathsOfDifferentPeopleDiffer(t *testing.T) {
	var n numbers
	seen := make(map[string]bool)
	for _, sender := range []identity.PublicKey{alice, bob, carol} {
		for _, receiver := range []identity.PublicKey{alice, bob, carol} {
			for _, id := range []records.ID{"a", "ab", "b"} {
				seen[string(pathKey(n.of(sender), n.of(receiver), id))] = true
			}
		}
	}
	if len(seen) != 27 {
		t.Fatalf("%d different keys of 27", len(seen))
	}
}

// FuzzValues: no value from a broken disk may panic, and what reads back is what was written.
func FuzzValues(f *testing.F) {
	f.Add(byte(0), recordRow{header: []byte("h"), deleted: []byte("d"), answer: []byte("a")}.encode())
	f.Add(byte(1), due{1, 2, 3, identity.Digest{}}.encode())
	f.Add(byte(2), claim{place: place{1, 2, 3}, digest: identity.Digest{1}, end: 9}.encode())
	f.Add(byte(3), answered{denial: []byte("d")}.encode())
	f.Add(byte(4), accountRow{rows: 7}.encode())
	f.Add(byte(5), docRow{signed: []byte("s")}.encode())
	f.Add(byte(6), storeRow{network: 7}.encode())
	f.Add(byte(7), clock{1, 2}.encode())
	f.Add(byte(8), encodeVersion(Version{1, GroupID{2}}))
	f.Add(byte(9), number(5))
	f.Add(byte(10), grantRow{signed: []byte("s"), receipt: []byte("r")}.encode())
	f.Add(byte(11), encodeLane(usage.Lane{Rows: 1, Live: 2}))
	f.Add(byte(0), recordRow{header: []byte("h"), grantedBy: identity.Digest{1}}.encode())
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		if again, err := reencode(kind, b); err == nil && b != nil && len(again) > len(b) {
			t.Fatalf("%x reads as %x", b, again)
		}
	})
}

func reencode(kind byte, b []byte) ([]byte, error) {
	switch kind {
	case 0:
		v, err := decodeRecordRow(b)
		return v.encode(), err
	case 1:
		v, err := decodeDue(b)
		return v.encode(), err
	case 2:
		v, err := decodeClaim(3, b)
		return v.encode(), err
	case 3:
		v, err := decodeAnswered(b)
		return v.encode(), err
	case 4:
		v, err := decodeAccountRow(b)
		return v.encode(), err
	case 5:
		v, err := decodeDocRow(b)
		return v.encode(), err
	case 6:
		v, err := decodeStoreRow(b)
		return v.encode(), err
	case 7:
		v, err := decodeClock(b)
		return v.encode(), err
	case 8:
		v, err := decodeVersion(b)
		return encodeVersion(v), err
	case 9:
		v, err := decodeNumber(b)
		return number(v), err
	}
	if kind == 10 {
		v, err := decodeGrantRow(b)
		return v.encode(), err
	}
	if kind == 11 {
		v, err := decodeLane(b)
		return encodeLane(v), err
	}
	_, _ = openStored(place{}, b)
	_, _ = decodePending(1, b)
	_, _ = decodeBoardOffer(alice, b)
	_, _, _, _ = decodeDueKey(b)
	_, _ = decodePlace(1, b)
	return nil, nil
}
