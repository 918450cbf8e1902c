package board

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

const testTime identity.UnixMilli = 1_750_000_000_000

// clock is a hand-wound clock.
type clock struct {
	mu sync.Mutex
	at identity.UnixMilli
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMilli(int64(c.at))
}

func (c *clock) wind(ms identity.UnixMilli) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at += ms
}

type fatal interface {
	Helper()
	Fatal(...any)
}

func key(t fatal, n int) identity.PrivateKey {
	t.Helper()
	k, err := identity.NewPrivateKey(append(make([]byte, 29), 1, byte(n>>8), byte(n)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// offer makes a mined, signed offer of relay n; change may be nil.
func offer(t fatal, n int, change func(*broadcast.Offer)) broadcast.VerifiedOffer {
	t.Helper()
	o := broadcast.Offer{
		Header:   identity.Header{Network: identity.Regtest, From: key(t, n).Public(), Time: testTime},
		Sequence: 5, ValidUntil: testTime + 24*3600*1000,
		Addresses:     []identity.Address{{URL: "ws://127.0.0.1:7448"}},
		Prices:        usage.Prices{StorageMsatPerGiBDay: 670, EgressMsatPerGiB: 20_000},
		ContractPrice: 2370, MinDeposit: 35_800, MaxDeposit: 5_000_000, MinDuration: 10, MaxDuration: 1000,
		FundingDepth: 1, SettleFeeRate: 10_000, MinFundFeeRate: 1000, Limits: usage.DefaultLimits(), MaxTTL: 86400,
	}
	if change != nil {
		change(&o)
	}
	if err := o.Mine(nil); err != nil {
		t.Fatal(err)
	}
	v, err := o.Sign(key(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func bits(n uint8) func(*broadcast.Offer) { return func(o *broadcast.Offer) { o.PowBits = n } }

func forged(v broadcast.VerifiedOffer, salt byte) identity.Signed {
	s := v.Signed()
	s.Proof.Sig[40] ^= 1 + salt
	return s
}

func newBoard(change func(*Config)) (*Board, *clock) {
	c := &clock{at: testTime}
	cfg := Config{Network: identity.Regtest, Now: c.now}
	if change != nil {
		change(&cfg)
	}
	return New(cfg), c
}

func TestAddRules(t *testing.T) {
	b, c := newBoard(func(c *Config) { c.MinPowBits = 2 })
	two := bits(2)
	first := offer(t, 1, two)
	add := func(name string, s identity.Signed, want code.Code) {
		t.Helper()
		if err := b.Add(s); code.Of(err) != want {
			t.Errorf("%s: %v, not %v", name, err, want)
		}
	}
	add("good", first.Signed(), code.OK)
	add("again", first.Signed(), code.OK)
	add("another's proof on it", forged(first, 0), code.OK) // it is the same statement, and is here already
	add("forged", forged(offer(t, 2, two), 0), code.BadSignature)
	add("little work", offer(t, 2, bits(1)).Signed(), code.BadProofOfWork)
	add("another network", offer(t, 2, func(o *broadcast.Offer) {
		o.Network, o.PowBits = identity.Signet, 2
		o.Addresses = []identity.Address{{URL: "wss://a.example", Pins: []identity.Digest{{1}}}}
	}).Signed(), code.WrongNetwork)
	add("older", offer(t, 1, func(o *broadcast.Offer) { o.Sequence, o.PowBits = 4, 2 }).Signed(), code.BadSequence)
	rival := offer(t, 1, func(o *broadcast.Offer) { o.MaxTTL, o.PowBits = 4000, 2 })
	if err := b.Add(rival.Signed()); code.Of(err) != code.Conflict || !errors.Is(err, broadcast.ErrConflict) {
		t.Errorf("conflict: %v", err)
	}
	newer := offer(t, 1, func(o *broadcast.Offer) { o.Sequence, o.PowBits = 6, 2 })
	add("newer", newer.Signed(), code.OK)
	if got := b.Offers(); len(got) != 1 || got[0].Digest() != newer.Digest() {
		t.Fatalf("%d offers", len(got))
	}
	add("ahead", offer(t, 3, func(o *broadcast.Offer) { o.Time += 121_000; o.PowBits = 2 }).Signed(), code.NotYet)
	c.wind(24 * 3600 * 1000)
	add("expired", offer(t, 3, two).Signed(), code.OfferExpired)
	if len(b.Offers()) != 0 || b.size != 0 {
		t.Fatal("an expired offer is still there")
	}
	add("record", identity.Signed{Statement: []byte{1, 2, 3}}, code.Malformed)
}

// TestBadSignatureShadowsNothing: the cache of bad offers goes by whole bytes, so a stranger
// who puts junk under a good offer does not keep the good one out.
func TestBadSignatureShadowsNothing(t *testing.T) {
	b, _ := newBoard(nil)
	v := offer(t, 1, nil)
	for range 2 {
		if code.Of(b.Add(forged(v, 0))) != code.BadSignature {
			t.Fatal("a forged offer was taken")
		}
	}
	if !b.bad.has(identity.Tagged("board-bad", forged(v, 0).Bytes())) {
		t.Fatal("a bad signature is not remembered")
	}
	if err := b.Add(v.Signed()); err != nil {
		t.Fatal(err)
	}
	for i := range maxBad + 10 {
		b.bad.add(identity.Tagged("x", fmt.Append(nil, i)))
	}
	if len(b.bad.known) > maxBad {
		t.Fatalf("%d bad offers are remembered", len(b.bad.known))
	}
}

func TestFloodPushesOutOnlyWeaker(t *testing.T) {
	b, _ := newBoard(func(c *Config) { c.MaxOffers = 20 })
	for n := range 10 {
		if err := b.Add(offer(t, n, bits(6)).Signed()); err != nil {
			t.Fatal(err)
		}
	}
	full := 0
	for n := 100; n < 300; n++ {
		switch err := b.Add(offer(t, n, bits(3)).Signed()); code.Of(err) {
		case code.OK:
		case code.BoardFull:
			full++
		default:
			t.Fatal(err)
		}
	}
	if full != 190 {
		t.Errorf("%d of the flood were refused, not 190", full)
	}
	strong := 0
	for _, o := range b.Offers() {
		if o.PowBits == 6 {
			strong++
		}
	}
	if strong != 10 {
		t.Fatalf("a flood of weak offers left %d of 10 strong ones", strong)
	}
	if err := b.Add(offer(t, 400, bits(4)).Signed()); err != nil {
		t.Fatalf("a stronger offer found no place: %v", err)
	}
}

// pool makes offers of ten relays with all kinds of work, validity and sequence, ends of
// validity spread over a day.
func pool(t *testing.T) []broadcast.VerifiedOffer {
	var out []broadcast.VerifiedOffer
	for i := range 80 {
		out = append(out, offer(t, i%10, func(o *broadcast.Offer) {
			o.Sequence, o.PowBits = uint64(1+i%4), uint8(i%5)
			o.ValidUntil = testTime + identity.UnixMilli(1+(i*37)%80)*18*60_000
			o.FreeBytesPerDay = uint64(i % 2)
		}))
	}
	return out
}

// TestBoardProperties drives a small board at random and compares every step with the rules.
func TestBoardProperties(t *testing.T) {
	offers := pool(t)
	rapid.Check(t, func(t *rapid.T) {
		b, c := newBoard(func(c *Config) {
			c.MaxOffers, c.MaxBytes = rapid.IntRange(1, 6).Draw(t, "offers"), rapid.IntRange(600, 3000).Draw(t, "bytes")
		})
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "wind") == 0 {
				c.wind(identity.UnixMilli(rapid.Uint64Range(1, 3*3600*1000).Draw(t, "ms")))
			}
			v := rapid.SampledFrom(offers).Draw(t, "offer")
			before := b.Offers()
			err := b.Add(v.Signed())
			checkStep(t, b, before, v, err, identity.UnixMilli(c.now().UnixMilli()))
		}
	})
}

func checkStep(t *rapid.T, b *Board, before []broadcast.VerifiedOffer, v broadcast.VerifiedOffer, err error, now identity.UnixMilli) {
	after := b.Offers()
	size, there, keys := 0, map[identity.Digest]bool{}, map[identity.PublicKey]bool{}
	for i, o := range after {
		size += len(o.Signed().Bytes())
		there[o.Digest()], keys[o.From] = true, true
		if o.ValidUntil <= now || i > 0 && broadcast.Stronger(o, after[i-1]) {
			t.Fatal("the list is out of order or has expired offers")
		}
	}
	if len(after) > b.cfg.MaxOffers || size > b.cfg.MaxBytes || size != b.size || len(keys) != len(after) {
		t.Fatalf("%d offers of %d relays in %d bytes (counted %d)", len(after), len(keys), size, b.size)
	}
	if err == nil && !there[v.Digest()] {
		t.Fatal("an accepted offer is not there")
	}
	for _, o := range before {
		gone := !there[o.Digest()]
		switch {
		case err != nil && gone:
			t.Fatal("a refused offer removed another")
		case gone && o.From == v.From && v.Sequence <= o.Sequence:
			t.Fatal("an older offer replaced a newer one")
		case gone && o.From != v.From && !broadcast.Stronger(v, o):
			t.Fatal("an offer pushed out a stronger one")
		case code.Of(err) == code.BoardFull && len(before) < b.cfg.MaxOffers && size+len(v.Signed().Bytes()) <= b.cfg.MaxBytes:
			t.Fatal("a board with room says it is full")
		}
	}
}

func TestRestart(t *testing.T) {
	dir := NewDir(filepath.Join(t.TempDir(), "offers"))
	keep := func(c *Config) { c.Dir, c.MaxOffers = dir, 3 }
	b, _ := newBoard(keep)
	if err := b.Restore(); err != nil {
		t.Errorf("a new board: %v", err)
	}
	short := offer(t, 1, func(o *broadcast.Offer) { o.ValidUntil = o.Time + 5000; o.PowBits = 4 })
	stay, weak, strong := offer(t, 2, bits(2)), offer(t, 3, nil), offer(t, 4, bits(3))
	for _, v := range []broadcast.VerifiedOffer{short, stay, weak, strong} {
		if err := b.Add(v.Signed()); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := dir.Collect(); err != nil || len(found) != 3 {
		t.Fatalf("%d files: %v", len(found), err)
	}
	junk := filepath.Join(dir.path, "junk.offer")
	if err := os.WriteFile(junk, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, c := newBoard(keep)
	c.wind(6000)
	if err := again.Restore(); code.Of(err) != code.Malformed {
		t.Fatalf("junk among the kept offers: %v", err)
	}
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	got := again.Offers()
	if len(got) != 2 || got[0].Digest() != strong.Digest() || got[1].Digest() != stay.Digest() {
		t.Fatalf("%d offers came back", len(got))
	}
	if found, err := dir.Collect(); err != nil || len(found) != 2 {
		t.Fatalf("%d files are left: %v", len(found), err)
	}
}

// TestNothingIsHeldThatIsNotOnDisk: when the directory cannot be written, the offer is
// refused and the board is as it was.
func TestNothingIsHeldThatIsNotOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "offers")
	b, _ := newBoard(func(c *Config) { c.Dir, c.MaxOffers = NewDir(path), 1 })
	if err := b.Add(offer(t, 1, nil).Signed()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(offer(t, 2, bits(4)).Signed()); code.Of(err) != code.Internal {
		t.Fatalf("kept without a disk: %v", err)
	}
	if got := b.Offers(); len(got) != 1 || got[0].From != key(t, 1).Public() {
		t.Fatal("a failed write changed the board")
	}
}

func TestLimiter(t *testing.T) {
	l := limiter{perMinute: 3}
	now := time.Unix(1000, 0)
	for i := range 3 {
		if _, ok := l.allow("192.0.2.1:99", now); !ok {
			t.Fatalf("request %d was refused", i)
		}
	}
	wait, ok := l.allow("192.0.2.1:100", now)
	if ok || wait != 20*time.Second {
		t.Fatalf("the fourth request: %v, %v", wait, ok)
	}
	if _, ok := l.allow("192.0.2.2:99", now); !ok {
		t.Fatal("another address is refused")
	}
	if _, ok := l.allow("192.0.2.1:99", now.Add(20*time.Second)); !ok {
		t.Fatal("the address is refused after the wait that it was told")
	}
	for i := range 3 {
		l.allow(fmt.Sprintf("[2001:db8::%d]:1", i), now)
	}
	if _, ok := l.allow("[2001:db8::ffff]:1", now); ok {
		t.Fatal("one /64 counts as many addresses")
	}
	for i := range 2 * maxAddresses {
		l.allow(fmt.Sprintf("10.%d.%d.1:1", i>>8, i&255), now)
	}
	if len(l.full) > maxAddresses {
		t.Fatalf("%d addresses are remembered", len(l.full))
	}
}
