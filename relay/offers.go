package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/usage"
)

// offerBook keeps the relay's own offers: the current one, and every earlier one that still
// binds. They are files, synced before an offer is shown to anybody, because an offer binds
// over a restart too.
type offerBook struct {
	dir    string
	key    identity.PrivateKey
	net    identity.Network
	cfg    Prices
	limits usage.Limits
	addrs  func() []identity.Address
	next   func(context.Context) (uint64, error) // the next sequence, synced
	now    func() time.Time
	log    *slog.Logger

	mu      sync.RWMutex
	current broadcast.VerifiedOffer                     // guarded by mu
	binding map[identity.Digest]broadcast.VerifiedOffer // guarded by mu
}

// offerFileVersion is the first byte of a file of an own offer; the signed offer follows.
const offerFileVersion = 1

// ParseOfferFile reads a file that a relay keeps of an own offer. The result is unverified.
func ParseOfferFile(raw []byte) (identity.Signed, error) {
	if len(raw) == 0 || raw[0] != offerFileVersion {
		return identity.Signed{}, code.New(code.StoreVersion, "not an offer file of version %d", offerFileVersion)
	}
	return identity.ParseSigned(raw[1:])
}

// keepOffers is how long the file of an offer is kept beyond its end: a clock that is wrong at a
// start must not cost an offer that binds when it is right again.
const keepOffers identity.UnixMilli = 45 * 24 * 3600 * 1000

// load reads the offers that still bind.
func (b *offerBook) load() error {
	b.binding = make(map[identity.Digest]broadcast.VerifiedOffer)
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return code.Wrap(code.BadConfig, err, "offers directory")
	}
	files, err := filepath.Glob(filepath.Join(b.dir, "*.offer"))
	if err != nil {
		return code.Wrap(code.Internal, err, "offers directory")
	}
	for _, f := range files {
		v, err := b.read(f)
		switch {
		case err != nil:
			b.log.Warn("an old offer cannot be read and is left alone", "file", filepath.Base(f), "err", err)
		case unixMilli(b.now()) > v.ValidUntil+keepOffers:
			_ = os.Remove(f) // it binds nobody any more; keeping it only costs time at start
		default:
			b.adopt(v)
		}
	}
	return nil
}

// read opens the file of an own offer, whatever its time.
func (b *offerBook) read(file string) (broadcast.VerifiedOffer, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return broadcast.VerifiedOffer{}, code.Wrap(code.Internal, err, "offer")
	}
	s, err := ParseOfferFile(raw)
	if err != nil {
		return broadcast.VerifiedOffer{}, err
	}
	v, err := broadcast.Open(s, 0)
	if err == nil && (v.From != b.key.Public() || v.Network != b.net) {
		err = code.New(code.WrongRelay, "an offer of relay %s on %s", v.From.Name(), v.Network)
	}
	return v, err
}

func (b *offerBook) adopt(v broadcast.VerifiedOffer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.binding[v.Digest()] = v
	if b.current.IsZero() || v.Sequence > b.current.Sequence {
		b.current = v
	}
}

// renew makes a new offer if the current one is past half of its life or says something else
// than the configuration. It tells whether there is a new one.
func (b *offerBook) renew(ctx context.Context) (bool, error) {
	now := b.now()
	want := b.draft(now)
	if b.fresh(want, unixMilli(now)) {
		return false, nil
	}
	seq, err := b.next(ctx)
	if err != nil {
		return false, err
	}
	want.Sequence = seq
	if _, err := rand.Read(want.Serial[:]); err != nil {
		return false, code.Wrap(code.Internal, err, "random bytes")
	}
	if err := want.Mine(func(uint64) bool { return ctx.Err() == nil }); err != nil {
		return false, err
	}
	v, err := want.Sign(b.key)
	if err != nil {
		return false, err
	}
	name := filepath.Join(b.dir, fmt.Sprintf("%020d.offer", seq))
	if err := home.WriteFile(name, append([]byte{offerFileVersion}, v.Signed().Bytes()...), 0o644); err != nil {
		return false, err
	}
	b.adopt(v)
	return true, nil
}

// fresh tells whether the current offer binds now, says what want says and has half of its life left.
func (b *offerBook) fresh(want broadcast.Offer, now identity.UnixMilli) bool {
	cur := b.get()
	if cur.IsZero() || cur.CheckTime(now) != nil || cur.ValidUntil-now < (cur.ValidUntil-cur.Time)/2 {
		return false
	}
	have := cur.Offer
	have.Sequence, have.Nonce, have.Serial, have.Time, have.ValidUntil = 0, 0, identity.Serial{}, want.Time, want.ValidUntil
	have.Type = want.Type
	return reflect.DeepEqual(have, want)
}

// draft is the offer that the configuration asks for, without sequence, serial and nonce.
func (b *offerBook) draft(now time.Time) broadcast.Offer {
	o := b.cfg.terms(b.limits)
	o.Header = identity.Header{Type: identity.TypeServerBroadcast, Network: b.net, From: b.key.Public(), Time: unixMilli(now)}
	o.ValidUntil, o.Addresses = unixMilli(now.Add(b.cfg.offerLife())), b.addrs()
	return o
}

// terms are what an offer says of prices and bounds.
func (p *Prices) terms(l usage.Limits) broadcast.Offer {
	return broadcast.Offer{
		Prices:        usage.Prices{StorageMsatPerGiBDay: p.Storage, EgressMsatPerGiB: p.Egress},
		ContractPrice: p.ContractPrice, MinDeposit: p.MinDeposit, MaxDeposit: p.MaxDeposit,
		MinDuration: uint32(p.MinDuration), MaxDuration: uint32(p.MaxDuration),
		FundingDepth: p.FundingDepth, CreditLimit: p.CreditLimit, CreditToEarn: p.CreditLimit - min(p.CreditStart, p.CreditLimit),
		SettleFeeRate: p.SettleFeeRate * 1000, MinFundFeeRate: p.MinFundRate * 1000,
		Limits: l, FreeBytesPerDay: p.FreeBytesDay, MaxTTL: l.MaxTTL, PowBits: p.PowBits, MaxCollateral: p.MaxCollateral,
	}
}

// get is the current offer.
func (b *offerBook) get() broadcast.VerifiedOffer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.current
}

// find gives an own offer that still binds.
func (b *offerBook) find(d identity.Digest) (broadcast.VerifiedOffer, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.binding[d]
	return v, ok && unixMilli(b.now()) <= v.ValidUntil
}

// addresses completes configured URLs with the pin of the relay's certificate; without any,
// the listen address is told.
func addresses(configured []string, listen string, pin identity.Digest) []identity.Address {
	if len(configured) == 0 {
		configured = []string{"wss://" + listen}
	}
	out := make([]identity.Address, len(configured))
	for i, u := range configured {
		out[i] = identity.Address{URL: strings.TrimRight(u, "/"), Pins: []identity.Digest{pin}}
	}
	return out
}
