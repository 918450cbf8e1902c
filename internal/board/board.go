package board

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Config is what a board is told. Zero values take the defaults.
type Config struct {
	Network    identity.Network // offers of other networks are refused
	Now        func() time.Time // the clock; required
	MaxOffers  int              // relays on the board; default 1,000, at most MaxListOffers
	MaxBytes   int              // of signed offers on the board; default 2 MiB, at most a third of MaxListBytes
	MinPowBits uint8            // least work that an offer must commit to
	PerMinute  int              // requests of one address (IPv6: one /64); default 60, with a burst of as many
	Dir        *Dir             // where offers survive a restart; nil keeps them in memory only
}

// Defaults of Config.
const (
	defaultOffers    = 1000
	defaultBytes     = 2 << 20
	defaultPerMinute = 60
	maxBytes         = MaxListBytes / 3
)

// Board is a bounded list of live offers, one of each relay. It is safe for concurrent use.
type Board struct {
	cfg         Config
	limit       limiter
	bad         badCache
	bodyTimeout time.Duration

	mu    sync.Mutex // guards held and size, and orders changes of disk and memory
	held  map[identity.PublicKey]held
	size  int // bytes of all held offers
	ready atomic.Pointer[page]
}

// held is one offer on the board.
type held struct {
	broadcast.VerifiedOffer
	size int
	hex  string
}

// page is the list as it is served, good until the next offer in it expires.
type page struct {
	body  []byte
	until identity.UnixMilli
}

// New makes an empty board; Restore fills it from Config.Dir.
func New(cfg Config) *Board {
	cfg.MaxOffers = min(cmp.Or(cfg.MaxOffers, defaultOffers), MaxListOffers)
	cfg.MaxBytes = min(cmp.Or(cfg.MaxBytes, defaultBytes), maxBytes)
	cfg.PerMinute = cmp.Or(cfg.PerMinute, defaultPerMinute)
	return &Board{
		cfg: cfg, bodyTimeout: 10 * time.Second, held: make(map[identity.PublicKey]held),
		limit: limiter{perMinute: cfg.PerMinute}, bad: badCache{known: make(map[identity.Digest]bool)},
	}
}

// Restore puts the offers of Config.Dir on the board, under the rules of Add. What it refuses
// is reported; expired offers are removed from the directory without a word, and a directory
// that is not there yet is empty.
func (b *Board) Restore() error {
	if b.cfg.Dir == nil {
		return nil
	}
	kept, err := b.cfg.Dir.Collect()
	var bad tally
	if code.Of(err) != code.NotFound {
		bad.add(err)
	}
	for _, s := range kept {
		err := b.add(s, false)
		if code.Of(err) == code.OfferExpired {
			err = b.forget(s)
		}
		bad.add(err)
	}
	return bad.err()
}

// forget removes the file of an offer that is not on the board.
func (b *Board) forget(s identity.Signed) error {
	h, err := identity.PeekHeader(s.Statement)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, newer := b.held[h.From]; newer {
		return nil
	}
	return b.cfg.Dir.Remove(h.Network, h.From)
}

// Add puts a signed offer on the board; if Config.Dir is set, it is on disk when Add returns.
// An offer that is there already is no error. Errors: those of broadcast.Open, WrongNetwork,
// BadProofOfWork (less than MinPowBits), BadSequence (a newer one of the relay is here),
// Conflict (another one with the same sequence is here), BoardFull.
func (b *Board) Add(s identity.Signed) error { return b.add(s, true) }

func (b *Board) add(s identity.Signed, keep bool) error {
	now := b.now()
	o, err := broadcast.Decode(s.Statement)
	switch {
	case err != nil:
		return err
	case o.Network != b.cfg.Network:
		return code.New(code.WrongNetwork, "an offer for %s on a board for %s", o.Network, b.cfg.Network)
	case o.PowBits < b.cfg.MinPowBits:
		return code.New(code.BadProofOfWork, "%d bits of work; this board asks for %d", o.PowBits, b.cfg.MinPowBits)
	case b.has(s):
		return nil
	}
	v, err := b.open(s, now)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	return b.place(v, keep)
}

// open verifies an offer, remembering the bytes of those whose signature was bad. The whole
// bytes are the key: a stranger may put a bad signature under anyone's good offer.
func (b *Board) open(s identity.Signed, now identity.UnixMilli) (broadcast.VerifiedOffer, error) {
	key := identity.Tagged("board-bad", s.Bytes())
	if b.bad.has(key) {
		return broadcast.VerifiedOffer{}, code.New(code.BadSignature, "these bytes were refused before")
	}
	v, err := broadcast.Open(s, now)
	if code.Of(err) == code.BadSignature {
		b.bad.add(key)
	}
	return v, err
}

func (b *Board) now() identity.UnixMilli { return identity.UnixMilli(b.cfg.Now().UnixMilli()) }

// has tells whether this very statement is on the board.
func (b *Board) has(s identity.Signed) bool {
	h, err := identity.PeekHeader(s.Statement)
	if err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, ok := b.held[h.From]
	return ok && old.Signed().Equal(s) && old.ValidUntil > b.now()
}

// place makes room for a verified offer and puts it there: first on disk, then in memory.
func (b *Board) place(v broadcast.VerifiedOffer, keep bool) error {
	old, replaces := b.held[v.From]
	if replaces && (old.Core() == v.Core() || v.Supersedes(old.VerifiedOffer) != nil) {
		return v.Supersedes(old.VerifiedOffer)
	}
	raw := v.Signed().Bytes()
	h := held{v, len(raw), hex.EncodeToString(raw)}
	victims, err := b.room(h)
	if err != nil {
		return err
	}
	if keep && b.cfg.Dir != nil {
		if err := b.cfg.Dir.Publish(v); err != nil {
			return err
		}
	}
	for _, key := range victims {
		b.drop(key)
	}
	b.size += h.size - old.size
	b.held[v.From] = h
	b.ready.Store(nil)
	return nil
}

// room lists who must go so that the offer has a place: the weakest, and only those weaker
// than it. Equal work stays where it is, so that nobody is pushed out for nothing.
func (b *Board) room(h held) (victims []identity.PublicKey, err error) {
	count, size := len(b.held)+1, b.size+h.size
	if old, ok := b.held[h.From]; ok {
		count, size = count-1, size-old.size
	}
	fits := func() bool { return count <= b.cfg.MaxOffers && size <= b.cfg.MaxBytes }
	if fits() {
		return nil, nil
	}
	for _, weak := range slices.Backward(b.ranked()) {
		if weak.From == h.From {
			continue
		}
		if !broadcast.Stronger(h.VerifiedOffer, weak.VerifiedOffer) {
			break
		}
		victims = append(victims, weak.From)
		if count, size = count-1, size-weak.size; fits() {
			return victims, nil
		}
	}
	return nil, code.New(code.BoardFull, "the board is full of offers with at least %d bits of work for their time", h.PowBits)
}

// drop takes an offer off the board. A file that cannot be removed is found expired, or
// outranked again, by the next Restore.
func (b *Board) drop(key identity.PublicKey) {
	b.size -= b.held[key].size
	delete(b.held, key)
	b.ready.Store(nil)
	if b.cfg.Dir != nil {
		_ = b.cfg.Dir.Remove(b.cfg.Network, key)
	}
}

// expire drops what has ended.
func (b *Board) expire(now identity.UnixMilli) {
	for key, h := range b.held {
		if h.ValidUntil <= now {
			b.drop(key)
		}
	}
}

// ranked lists the board, strongest first, equal ones by key.
func (b *Board) ranked() []held {
	out := make([]held, 0, len(b.held))
	for _, h := range b.held {
		out = append(out, h)
	}
	slices.SortFunc(out, func(x, y held) int { return byStrength(x.VerifiedOffer, y.VerifiedOffer) })
	return out
}

// byStrength orders offers for lists: most work for their time first, then by key.
func byStrength(x, y broadcast.VerifiedOffer) int {
	switch {
	case broadcast.Stronger(x, y):
		return -1
	case broadcast.Stronger(y, x):
		return 1
	}
	return bytes.Compare(x.From[:], y.From[:])
}

// Offers lists the live offers, strongest first.
func (b *Board) Offers() []broadcast.VerifiedOffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(b.now())
	var out []broadcast.VerifiedOffer
	for _, h := range b.ranked() {
		out = append(out, h.VerifiedOffer)
	}
	return out
}

// list is the answer to a reader, made again only after a change or an expiry.
func (b *Board) list() ([]byte, error) {
	now := b.now()
	if p := b.ready.Load(); p != nil && now < p.until {
		return p.body, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	p := &page{until: ^identity.UnixMilli(0)}
	var offers []string
	for _, h := range b.ranked() {
		offers = append(offers, h.hex)
		p.until = min(p.until, h.ValidUntil)
	}
	var err error
	if p.body, err = encodeList(offers); err != nil {
		return nil, err
	}
	b.ready.Store(p)
	return p.body, nil
}
