package board

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := NewDir(path)
	one, two := offer(t, 1, nil), offer(t, 2, nil)
	newer := offer(t, 1, func(o *broadcast.Offer) { o.Sequence++ })
	for _, v := range []broadcast.VerifiedOffer{one, two, newer} {
		if err := d.Publish(v); err != nil {
			t.Fatal(err)
		}
	}
	found, err := d.Collect()
	if err != nil || len(found) != 2 {
		t.Fatalf("%d offers: %v", len(found), err)
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d files in the directory: %v", len(entries), err)
	}
	for range 2 {
		if err := d.Remove(identity.Regtest, one.From); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := d.Collect(); err != nil || len(found) != 1 || !found[0].Equal(two.Signed()) {
		t.Fatalf("%d offers: %v", len(found), err)
	}
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDirIgnoresJunk(t *testing.T) {
	path := t.TempDir()
	d := NewDir(path)
	good := offer(t, 1, nil)
	if err := d.Publish(good); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path, "prose.offer"), []byte("buy here"))
	write(t, filepath.Join(path, "large.offer"), make([]byte, MaxListBytes+1))
	write(t, filepath.Join(path, "half.offer"), []byte(`{"version":1,"broadcasts":["zz","00"]}`))
	write(t, filepath.Join(path, "notes.txt"), []byte("not looked at"))
	write(t, filepath.Join(path, ".x.tmp"), []byte("left by a crash"))
	if err := os.Mkdir(filepath.Join(path, "dir.offer"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(path, "pipe.offer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(path, "endless.offer")); err != nil {
		t.Fatal(err)
	}
	found, err := d.Collect()
	if len(found) != 1 || !found[0].Equal(good.Signed()) {
		t.Fatalf("%d offers", len(found))
	}
	if err == nil || !strings.Contains(err.Error(), "half.offer") || !strings.Contains(err.Error(), "3 offers refused") {
		t.Fatalf("the report: %v", err)
	}
	many := make([]string, MaxListOffers)
	for i := range many {
		many[i] = hex.EncodeToString(good.Signed().Bytes())
	}
	raw, err := encodeList(many[:MaxListOffers/2])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		write(t, filepath.Join(path, fmt.Sprint(i, ".offer")), raw)
	}
	if found, err := d.Collect(); len(found) > MaxListOffers || code.Of(err) == code.OK {
		t.Fatalf("%d offers: %v", len(found), err)
	}
}

// put writes offers as one file of a directory board and gives its path.
func put(t *testing.T, all ...identity.Signed) string {
	t.Helper()
	var hexed []string
	for _, s := range all {
		hexed = append(hexed, hex.EncodeToString(s.Bytes()))
	}
	raw, err := encodeList(hexed)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "list.offer"), raw)
	return dir
}

func TestCollectMerges(t *testing.T) {
	seq := func(n uint64) func(*broadcast.Offer) { return func(o *broadcast.Offer) { o.Sequence = n } }
	old, newest := offer(t, 1, seq(3)), offer(t, 1, seq(9))
	strong := offer(t, 2, bits(5))
	left := offer(t, 3, seq(4))
	right := offer(t, 3, func(o *broadcast.Offer) { o.Sequence, o.MaxTTL = 4, 7000 })
	mended := []broadcast.VerifiedOffer{offer(t, 4, seq(1)), offer(t, 4, func(o *broadcast.Offer) { o.Sequence, o.MaxTTL = 1, 7000 }), offer(t, 4, seq(2))}
	elsewhere := offer(t, 5, func(o *broadcast.Offer) {
		o.Network, o.Addresses = identity.Signet, []identity.Address{{URL: "wss://a.example", Pins: []identity.Digest{{1}}}}
	})
	expired := offer(t, 6, func(o *broadcast.Offer) { o.ValidUntil = o.Time + 1 })

	b, _ := newBoard(many)
	if err := errors.Join(b.Add(newest.Signed()), b.Add(right.Signed()), b.Add(mended[2].Signed())); err != nil {
		t.Fatal(err)
	}
	sources := []string{
		serve(t, b),
		put(t, old.Signed(), forged(strong, 0), left.Signed(), mended[0].Signed(), elsewhere.Signed()),
		"file://" + put(t, strong.Signed(), strong.Signed(), mended[1].Signed(), expired.Signed()),
		"https://127.0.0.1:1", filepath.Join(t.TempDir(), "nowhere"),
	}
	c := Collector{Client: NewClient(nil), Network: identity.Regtest}
	var reports [2]string
	for i := range reports {
		offers, problems := c.Collect(t.Context(), sources, testTime+2)
		want := []broadcast.VerifiedOffer{strong, newest, mended[2]}
		slices.SortFunc(want, byStrength)
		if len(offers) != len(want) {
			t.Fatalf("%d offers", len(offers))
		}
		for i := range want {
			if offers[i].Digest() != want[i].Digest() {
				t.Errorf("place %d has another offer", i)
			}
		}
		codes := map[code.Code]int{}
		for _, p := range problems {
			codes[code.Of(p)]++
			if errors.Is(p, broadcast.ErrConflict) {
				reports[i] = p.Error()
			}
		}
		// A forged copy is only noticed before the good one: then nobody looks at it.
		if codes[code.BadSignature] != 1-i || len(problems) != 5-i || codes[code.Conflict] != 1 || codes[code.Disconnected] != 1 ||
			codes[code.NotFound] != 1 || codes[code.OfferExpired] != 1 {
			t.Errorf("problems: %v", problems)
		}
		slices.Reverse(sources)
	}
	if reports[0] != reports[1] || !strings.Contains(reports[0], left.Digest().String()) || !strings.Contains(reports[0], right.Digest().String()) {
		t.Errorf("conflict: %q and %q", reports[0], reports[1])
	}
	c.MinPowBits = 5
	if offers, _ := c.Collect(t.Context(), sources, testTime+2); len(offers) != 1 || offers[0].Digest() != strong.Digest() {
		t.Errorf("%d offers have five bits of work", len(offers))
	}
}

func TestPublishToDirectory(t *testing.T) {
	c, dir := NewClient(nil), t.TempDir()
	for _, target := range []string{dir, "file://" + dir} {
		if err := c.Publish(t.Context(), target, offer(t, 1, nil)); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Fetch(t.Context(), target); err != nil || len(got) != 1 {
			t.Fatalf("%d offers: %v", len(got), err)
		}
	}
}

func FuzzDecodeList(f *testing.F) {
	v := offer(f, 1, nil)
	f.Add([]byte(fmt.Sprintf(`{"version":1,"broadcasts":["%x","00"]}`, v.Signed().Bytes())))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := decodeList(raw)
		if err != nil && code.Of(err) == code.Internal {
			t.Fatalf("uncoded: %v", err)
		}
		var hexed []string
		for _, s := range found {
			hexed = append(hexed, hex.EncodeToString(s.Bytes()))
		}
		again, err := encodeList(hexed)
		if err != nil {
			t.Fatal(err)
		}
		same, err := decodeList(again)
		if err != nil || len(same) != len(found) {
			t.Fatalf("%d of %d come back: %v", len(same), len(found), err)
		}
	})
}

func FuzzParseOne(f *testing.F) {
	v := offer(f, 1, nil)
	f.Add(v.Signed().Bytes())
	f.Add([]byte(hex.EncodeToString(v.Signed().Bytes()) + "\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseOne(raw)
		if err != nil {
			if code.Of(err) == code.Internal {
				t.Fatalf("uncoded: %v", err)
			}
			return
		}
		if again, err := parseOne(s.Bytes()); err != nil || !bytes.Equal(again.Bytes(), s.Bytes()) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}
