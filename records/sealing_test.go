package records

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/cryptotest"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

func newEpoch(t fataler, p pair, s string) SendEpoch {
	t.Helper()
	e, err := NewEpoch(seed(s), p.peer(), RunID{1}, now)
	return must(t, e, err)
}

func TestSealedLayoutAndOverhead(t *testing.T) {
	p := newPair(t, "layout")
	e := newEpoch(t, p, "layout")
	first, e, err := e.Seal("x", []byte("plain"))
	if err != nil || len(first) != 30+1120+5+16 || first[0] != 1 || first[1] != 1 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	e = e.Acknowledge(e.ID)
	second, _, err := e.Seal("y", []byte("plain"))
	if err != nil || len(second) != 30+5+16 || second[1] != 0 {
		t.Fatalf("%d bytes, %v", len(second), err)
	}
	if e.Acknowledge(EpochID{9}).Acknowledged != e.Acknowledged || newEpoch(t, p, "b").Acknowledge(EpochID{9}).Acknowledged {
		t.Fatal("another epoch's acknowledgement counts")
	}
}

// world is a sender and a receiver whose states are re-read from disk at any moment.
type world struct {
	pair
	send SendEpoch
	recv RecvEpoch
	sent []Record
	got  map[int]bool
}

func (w *world) seal(t *rapid.T) {
	id := ID("m" + strings.Repeat("i", 1+len(w.sent)%5))
	content, next, err := w.send.Seal(id, []byte{byte(len(w.sent)), byte(len(w.sent) >> 8)})
	if err != nil {
		t.Fatal(err)
	}
	w.send = next
	w.sent = append(w.sent, w.record(t, id, content))
}

func (w *world) open(t *rapid.T, i int) {
	plain, next, err := OpenSealed([]SealingKey{w.key}, w.recv, w.sent[i].Header(), w.sent[i].Content())
	switch {
	case w.got[i]:
		wantCode(t, err, code.Undecryptable)
	case w.recv.IsZero() && w.sent[i].Content()[1] == 0:
		wantCode(t, err, code.Undecryptable)
	case err != nil:
		t.Fatalf("message %d: %v", i, err)
	case plain[0] != byte(i) || plain[1] != byte(i>>8):
		t.Fatalf("message %d reads %x", i, plain)
	default:
		w.got[i] = true
		w.recv = next
	}
}

// TestRatchetSurvivesLossReorderDuplicatesAndCrashes is the state machine of one epoch:
// messages arrive in any order, several times or never, both sides crash and read their state
// back, and each message opens exactly once.
func TestRatchetSurvivesLossReorderDuplicatesAndCrashes(t *testing.T) {
	p := newPair(t, "ratchet")
	first := newEpoch(t, p, "ratchet")
	rapid.Check(t, func(t *rapid.T) {
		w := &world{pair: p, send: first, got: map[int]bool{}}
		t.Repeat(map[string]func(*rapid.T){
			"seal": func(t *rapid.T) { w.seal(t) },
			"open": func(t *rapid.T) {
				if len(w.sent) == 0 {
					t.Skip()
				}
				w.open(t, rapid.IntRange(0, len(w.sent)-1).Draw(t, "which"))
			},
			"acknowledge": func(t *rapid.T) {
				if len(w.got) > 0 {
					w.send = w.send.Acknowledge(w.send.ID)
				}
			},
			"crash": func(t *rapid.T) { w.crash(t) },
			"forge": func(t *rapid.T) {
				if len(w.sent) == 0 {
					t.Skip()
				}
				w.forge(t, rapid.IntRange(0, len(w.sent)-1).Draw(t, "which"))
			},
		})
	})
}

func (w *world) crash(t *rapid.T) {
	raw, err := w.send.Encode()
	send, err2 := DecodeSendEpoch(must(t, raw, err))
	w.send = must(t, send, err2)
	if w.recv.IsZero() {
		return
	}
	raw, err = w.recv.Encode()
	recv, err2 := DecodeRecvEpoch(must(t, raw, err))
	w.recv = must(t, recv, err2)
}

// forge damages a message; nothing may open and the state must not move.
func (w *world) forge(t *rapid.T, i int) {
	content := bytes.Clone(w.sent[i].Content())
	content[rapid.IntRange(2, len(content)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	before, _ := w.recv.Encode()
	_, next, err := OpenSealed([]SealingKey{w.key}, w.recv, w.sent[i].Header(), content)
	if err == nil {
		// Only the encapsulation of a known epoch is not looked at again.
		if s, _ := ParseSealed(content); w.recv.IsZero() || s.Encapsulation == nil || w.got[i] {
			t.Fatal("opened forged bytes")
		}
		return
	}
	if after, _ := next.Encode(); !bytes.Equal(before, after) {
		t.Fatal("forged bytes moved the chain")
	}
}

func TestSealIsBoundToItsContext(t *testing.T) {
	p, q := newPair(t, "a"), newPair(t, "b")
	content, _, err := newEpoch(t, p, "bound").Seal("x", []byte("plain"))
	r := p.record(t, "x", must(t, content, err))
	good := r.Header()
	if _, _, err := OpenSealed([]SealingKey{q.key, p.key}, RecvEpoch{}, good, content); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Header){
		"id":      func(h *Header) { h.ID = "y" },
		"from":    func(h *Header) { h.From = q.from.Public() },
		"to":      func(h *Header) { h.To = q.to.Public() },
		"network": func(h *Header) { h.Network = identity.Mainnet },
	} {
		h := good
		change(&h)
		if _, _, err := OpenSealed([]SealingKey{p.key}, RecvEpoch{}, h, content); code.Of(err) != code.Undecryptable {
			t.Errorf("another %s: %v", name, err)
		}
	}
	_, _, err = OpenSealed([]SealingKey{q.key}, RecvEpoch{}, good, content)
	wantCode(t, err, code.Undecryptable)
	_, state, _ := OpenSealed([]SealingKey{p.key}, RecvEpoch{}, good, content)
	h := good
	h.From = q.from.Public()
	_, _, err = OpenSealed([]SealingKey{p.key}, state, h, content)
	wantCode(t, err, code.Undecryptable)
}

func TestOtherSuitesAreUnsupported(t *testing.T) {
	_, err := ParseSealed(append([]byte{9}, make([]byte, 100)...))
	wantCode(t, err, code.Unsupported)
	_, err = ParseSealed(append([]byte{1, 2}, make([]byte, 2000)...))
	wantCode(t, err, code.Malformed)
	_, err = ParseSealed(append([]byte{1, 1}, make([]byte, 1000)...))
	wantCode(t, err, code.Malformed)
}

// sealMany seals n messages and keeps those that keep names.
func sealMany(t *testing.T, e SendEpoch, n int, keep func(int) bool) (map[int][]byte, SendEpoch) {
	t.Helper()
	out := map[int][]byte{}
	for i := range n {
		content, next, err := e.Seal("x", []byte{byte(i)})
		if e = next; err != nil {
			t.Fatal(err)
		}
		if keep(i) {
			out[i] = content
		}
	}
	return out, e
}

func TestEpochEndsAfterItsMessages(t *testing.T) {
	p := newPair(t, "full")
	all, e := sealMany(t, newEpoch(t, p, "full"), EpochMessages, func(i int) bool { return i%333 == 0 })
	if _, _, err := e.Seal("x", nil); code.Of(err) != code.BadState {
		t.Fatal(err)
	}
	if !e.Due(e.Run, e.KeyID, now) {
		t.Fatal("a full epoch is not due")
	}
	h := p.record(t, "x", all[999]).Header()
	_, recv, err := OpenSealed([]SealingKey{p.key}, RecvEpoch{}, h, all[999])
	if err != nil || recv.Skipped() != 999 {
		t.Fatalf("%d skipped, %v", recv.Skipped(), err)
	}
	raw, err := recv.Encode()
	back, err2 := DecodeRecvEpoch(must(t, raw, err))
	for _, i := range []int{333, 0, 666} {
		if _, back, err = OpenSealed(nil, must(t, back, err2), h, all[i]); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if back.Skipped() != 996 {
		t.Fatalf("%d keys left: used ones must go", back.Skipped())
	}
}

func TestTooManySkippedKeys(t *testing.T) {
	e := RecvEpoch{Network: identity.Regtest}
	if _, next, err := e.take(MaxSkipped); err != nil || next.Skipped() != MaxSkipped || next.Next != MaxSkipped+1 {
		t.Fatalf("%d %v", next.Skipped(), err)
	}
	_, next, err := e.take(MaxSkipped + 1)
	if wantCode(t, err, code.Undecryptable); next.Skipped() != 0 || next.Next != 0 {
		t.Fatal("a refused counter moved the chain")
	}
	_, _, err = RecvEpoch{Network: 1, Next: 1<<32 - 1}.take(1<<32 - 1)
	wantCode(t, err, code.Undecryptable)
}

func TestDue(t *testing.T) {
	p := newPair(t, "due")
	e := newEpoch(t, p, "due")
	if e.Due(e.Run, e.KeyID, now) || e.Due(e.Run, e.KeyID, now+EpochAge-1) {
		t.Fatal("a fresh epoch is due")
	}
	for name, due := range map[string]bool{
		"another run": e.Due(RunID{2}, e.KeyID, now),
		"new key":     e.Due(e.Run, KeyID{}, now),
		"old":         e.Due(e.Run, e.KeyID, now+EpochAge),
		"clock back":  e.Due(e.Run, e.KeyID, now-1),
		"zero":        SendEpoch{}.Due(RunID{}, KeyID{}, 0),
	} {
		if !due {
			t.Errorf("%s: not due", name)
		}
	}
}

func TestDead(t *testing.T) {
	e := RecvEpoch{Last: now}
	life := EpochAge + 30*day + KeyGrace
	if e.Dead(now, 30*day) || e.Dead(now+life, 30*day) || !e.Dead(now+life+1, 30*day) || e.Dead(now-1, 0) {
		t.Fatal("dead at the wrong time")
	}
}

func TestSealingKeyEncoding(t *testing.T) {
	k := newPair(t, "key").key
	raw, err := k.Encode()
	back, err2 := DecodeSealingKey(must(t, raw, err))
	if err2 != nil || back.ID() != k.ID() || !bytes.Equal(back.Public(), k.Public()) || back.Created() != now || len(k.Public()) != PublicSealingKeySize {
		t.Fatal("not the same key", err2)
	}
	if strings.Contains(k.GoString()+k.String(), hex.EncodeToString(k.seed[:4])) {
		t.Fatal("prints its seed")
	}
	if CheckPublicSealingKey(k.Public()) != nil || code.Of(CheckPublicSealingKey(k.Public()[1:])) != code.BadKey {
		t.Fatal("public key check")
	}
	raw[2] = 2
	_, err = DecodeSealingKey(raw)
	wantCode(t, err, code.StoreVersion)
}

func TestRotation(t *testing.T) {
	mk := func(s string, at identity.UnixMilli) SealingKey {
		k, err := GenerateSealingKey(seed(s), at)
		return must(t, k, err)
	}
	a, b, c := mk("a", now), mk("b", now+30*day), mk("c", now+60*day)
	keys := []SealingKey{b, a, c}
	if !RotationDue(nil, now) || RotationDue([]SealingKey{a}, now+RotateAfter-1) || !RotationDue([]SealingKey{a}, now+RotateAfter) || RotationDue([]SealingKey{a}, now-day) {
		t.Fatal("rotation is due at the wrong time")
	}
	const ttl = 10 * day
	if got := Retired(keys, b.Created()+ttl+KeyGrace, ttl); len(got) != 0 {
		t.Fatal("retired too early")
	}
	if got := Retired(keys, b.Created()+ttl+KeyGrace+1, ttl); len(got) != 1 || got[0] != a.ID() {
		t.Fatal("the replaced key stays")
	}
	if got := Retired(keys, now+10_000*day, ttl); len(got) != 2 {
		t.Fatal("the newest key must stay, the others go")
	}
}

var update = flag.Bool("update", false, "write testdata again")

// TestGoldenSealed pins every byte of the sealing: with all randomness fixed, the sealed form
// of a message never changes. A change of testdata is a change of the protocol.
func TestGoldenSealed(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	p := newPair(t, "golden")
	e := newEpoch(t, p, "golden")
	c := Content{MediaType: MediaText, Body: []byte("hello"), Sequence: 1}
	first, e, err := e.SealContent("golden-1", c)
	second, _, err2 := e.Acknowledge(e.ID).SealContent("golden-2", c)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	got := hex.EncodeToString(first) + "\n" + hex.EncodeToString(second) + "\n"
	if *update {
		if err := os.WriteFile("testdata/sealed.hex", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/sealed.hex")
	if err != nil || string(want) != got {
		t.Fatalf("sealed bytes changed (%v)", err)
	}
	r1, r2 := p.record(t, "golden-1", first), p.record(t, "golden-2", second)
	back, state, err := OpenContent([]SealingKey{p.key}, RecvEpoch{}, r1)
	if err != nil || string(back.Body) != "hello" {
		t.Fatal(err)
	}
	if _, _, err = OpenContent(nil, state, r2); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseSealed(f *testing.F) {
	p := newPair(f, "fuzz")
	e := newEpoch(f, p, "fuzz")
	content, e, _ := e.Seal("x", []byte("hi"))
	f.Add(content)
	content, _, _ = e.Acknowledge(e.ID).Seal("x", []byte("hi"))
	f.Add(content)
	h := p.record(f, "x", content).Header()
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := ParseSealed(content)
		if err == nil && !bytes.Equal(s.Bytes(), content) {
			t.Fatal("not canonical")
		}
		if _, next, err := OpenSealed([]SealingKey{p.key}, RecvEpoch{}, h, content); err != nil && !next.IsZero() {
			t.Fatal("an error gave a state")
		}
	})
}

func FuzzDecodeStates(f *testing.F) {
	p := newPair(f, "fuzz")
	e := newEpoch(f, p, "fuzz")
	raw, _ := e.Encode()
	f.Add(raw)
	_, e, _ = e.Seal("x", nil)
	content, _, _ := e.Seal("x", nil)
	_, recv, _ := OpenSealed([]SealingKey{p.key}, RecvEpoch{}, p.record(f, "x", content).Header(), content)
	raw, _ = recv.Encode()
	f.Add(raw)
	raw, _ = p.key.Encode()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := DecodeSendEpoch(raw); err == nil {
			sameBytes(t, raw)(e.Encode())
		}
		if e, err := DecodeRecvEpoch(raw); err == nil {
			sameBytes(t, raw)(e.Encode())
		}
		if k, err := DecodeSealingKey(raw); err == nil {
			sameBytes(t, raw)(k.Encode())
		}
	})
}

func sameBytes(t *testing.T, want []byte) func([]byte, error) {
	return func(got []byte, err error) {
		t.Helper()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %x, writes %x (%v)", want, got, err)
		}
	}
}
