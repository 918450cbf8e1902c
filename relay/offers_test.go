package relay

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"relaymarket/broadcast"
	"relaymarket/identity"
)

// book makes offer books over one directory, with a clock that the test moves.
type book struct {
	t   *testing.T
	key identity.PrivateKey
	dir string
	seq uint64
	now time.Time
	cfg Config
}

func newBook(t *testing.T) *book {
	key, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, key: key, dir: t.TempDir(), now: time.UnixMilli(1_800_000_000_000), cfg: DefaultConfig(identity.Regtest)}
	b.cfg.Offer.PowBits = 1
	return b
}

// open loads the directory, as a start of the relay does.
func (b *book) open() *offerBook {
	b.t.Helper()
	o := &offerBook{
		dir: b.dir, key: b.key, net: identity.Regtest, cfg: b.cfg.Offer, limits: b.cfg.limits(),
		addrs: func() []identity.Address { return addresses(nil, "127.0.0.1:7700", identity.Digest{1}) },
		next:  func(context.Context) (uint64, error) { b.seq++; return b.seq, nil },
		now:   func() time.Time { return b.now }, log: slog.New(slog.DiscardHandler),
	}
	if err := o.load(); err != nil {
		b.t.Fatal(err)
	}
	return o
}

// renewed makes a new offer, if it is time for one, and gives the current one.
func (b *book) renewed(o *offerBook, want bool) broadcast.VerifiedOffer {
	b.t.Helper()
	if fresh, err := o.renew(b.t.Context()); err != nil || fresh != want {
		b.t.Fatalf("a new offer: %v %v, want %v", fresh, err, want)
	}
	return o.get()
}

func TestOfferBindsOverARestartAndANewPrice(t *testing.T) {
	b := newBook(t)
	first := b.renewed(b.open(), true)
	b.cfg.Offer.Storage *= 2
	o := b.open()
	if second := b.renewed(o, true); second.Sequence != first.Sequence+1 {
		t.Fatalf("sequence %d after %d", second.Sequence, first.Sequence)
	}
	o = b.open()
	if _, ok := o.find(first.Digest()); !ok {
		t.Error("the earlier offer does not bind any more")
	}
	b.renewed(o, false)
	b.now = b.now.Add(b.cfg.Offer.offerLife() + time.Second)
	if _, ok := o.find(first.Digest()); ok {
		t.Error("the earlier offer binds beyond its own end")
	}
}

// TestOfferSurvivesAWrongClock: a start with a clock that is behind, or far ahead, must not lose an
// offer that binds when the clock is right again.
func TestOfferSurvivesAWrongClock(t *testing.T) {
	for name, off := range map[string]time.Duration{"behind": -time.Hour, "ahead": 30 * 24 * time.Hour} {
		b := newBook(t)
		first := b.renewed(b.open(), true)
		right := b.now
		b.now = right.Add(off)
		b.open()
		b.now = right
		if _, ok := b.open().find(first.Digest()); !ok {
			t.Errorf("%s: the offer is lost", name)
		}
	}
}

// TestOfferRenewedAfterASleep: a machine that sleeps beyond the end of the offer makes a new one,
// and so does one whose offer was made by a clock that was ahead.
func TestOfferRenewedAfterASleep(t *testing.T) {
	b := newBook(t)
	o := b.open()
	b.renewed(o, true)
	b.now = b.now.Add(b.cfg.Offer.offerLife() * 3)
	if v := b.renewed(o, true); v.CheckTime(unixMilli(b.now)) != nil {
		t.Error("the new offer does not bind")
	}
	b.now = b.now.Add(-b.cfg.Offer.offerLife() * 3)
	if v := b.renewed(o, true); v.CheckTime(unixMilli(b.now)) != nil {
		t.Error("the offer shown is one of the future")
	}
}

// TestOfferFilesGoWhenTheyBindNobody, but one that cannot be read is left for the operator.
func TestOfferFilesGoWhenTheyBindNobody(t *testing.T) {
	b := newBook(t)
	b.renewed(b.open(), true)
	strange := filepath.Join(b.dir, "strange.offer")
	if err := os.WriteFile(strange, []byte("not an offer"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(60 * 24 * time.Hour)
	b.open()
	if files, err := filepath.Glob(filepath.Join(b.dir, "*.offer")); err != nil || len(files) != 1 || files[0] != strange {
		t.Fatalf("left are %v %v", files, err)
	}
}
