package broadcast

import (
	"errors"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// ErrConflict is wrapped when a relay signed two different offers under one sequence.
var ErrConflict = errors.New("two offers of one relay have the same sequence")

// ErrSuperseded is wrapped when a newer offer of the same relay is known.
var ErrSuperseded = errors.New("a newer offer of the relay is known")

// VerifiedOffer is an offer whose form, work and signature held. It is made by Open and
// OpenVerified only.
type VerifiedOffer struct {
	Offer
	core   identity.Digest
	digest identity.Digest
	signed identity.Signed
}

// Core is the digest of the offer without its nonce.
func (v VerifiedOffer) Core() identity.Digest { return v.core }

// Digest is the digest of the whole statement: what contracts and refusals name.
func (v VerifiedOffer) Digest() identity.Digest { return v.digest }

// Signed is the offer as it travels and is kept.
func (v VerifiedOffer) Signed() identity.Signed { return v.signed }

// IsZero tells whether there is no offer.
func (v VerifiedOffer) IsZero() bool { return v.digest.IsZero() }

// Open checks a signed offer, cheapest test first: size and form, time, proof of work, sense,
// signature. Pass now = 0 to read an old one as evidence, whatever its time. Errors carry code
// TooLarge, Malformed, WrongNetwork, NotYet, OfferExpired, BadProofOfWork, BadAmount or
// BadSignature.
func Open(s identity.Signed, now identity.UnixMilli) (VerifiedOffer, error) {
	v, err := prepare(s, now)
	if err != nil {
		return VerifiedOffer{}, err
	}
	if _, v.digest, err = identity.Verify(s); err != nil {
		return VerifiedOffer{}, err
	}
	return v, nil
}

// OpenVerified is Open with the signature already verified by identity.VerifyBatch, whose
// verdict on this very statement is passed.
func OpenVerified(s identity.Signed, verdict identity.Verdict, now identity.UnixMilli) (VerifiedOffer, error) {
	v, err := prepare(s, now)
	if err != nil {
		return VerifiedOffer{}, err
	}
	if verdict.Err != nil {
		return VerifiedOffer{}, verdict.Err
	}
	v.digest = identity.StatementDigest(v.Type, s.Statement)
	if verdict.Header != v.Header || verdict.Digest != v.digest {
		return VerifiedOffer{}, code.New(code.Internal, "the verdict is on another statement")
	}
	return v, nil
}

// prepare is all of Open but the signature.
func prepare(s identity.Signed, now identity.UnixMilli) (v VerifiedOffer, err error) {
	if v.Offer, err = Decode(s.Statement); err != nil {
		return v, err
	}
	if err := v.CheckTime(now); err != nil {
		return v, err
	}
	v.signed, v.core = s, coreOf(s.Statement, v.Nonce)
	if work := leadingZeros(powHash(v.core, v.Nonce)); work < int(v.PowBits) {
		return v, code.New(code.BadProofOfWork, "%d bits of work where the offer commits to %d", work, v.PowBits)
	}
	return v, v.Check()
}

// CheckTime tells whether the offer binds now (milliseconds since 1970; 0 is always). Errors
// carry code NotYet or OfferExpired.
func (o *Offer) CheckTime(now identity.UnixMilli) error {
	switch {
	case now == 0:
		return nil
	case o.Time > now && o.Time-now > MaxAhead:
		return code.New(code.NotYet, "the offer is dated %d s ahead", (o.Time-now)/1000)
	case o.ValidUntil <= now:
		return code.New(code.OfferExpired, "the offer ended %d s ago", (now-o.ValidUntil)/1000)
	}
	return nil
}

// Conflict tells whether two offers together show that their relay signed two different
// things under one sequence: the same key, network and sequence, and another core. Another
// nonce alone is no conflict.
func Conflict(a, b VerifiedOffer) bool {
	return a.From == b.From && a.Network == b.Network && a.Sequence == b.Sequence && a.core != b.core
}

// Supersedes tells whether a newly seen offer may take the place of a known one of the same
// relay and network: nil if its sequence is higher or it is the same offer. Otherwise an error
// that wraps ErrSuperseded (code BadSequence) or ErrConflict (code Conflict).
func (v VerifiedOffer) Supersedes(known VerifiedOffer) error {
	switch {
	case v.Sequence > known.Sequence || v.core == known.core:
		return nil
	case v.Sequence < known.Sequence:
		return code.Wrap(code.BadSequence, ErrSuperseded, "sequence %d of relay %s after %d", v.Sequence, v.From.Name(), known.Sequence)
	}
	return code.Wrap(code.Conflict, ErrConflict, "relay %s, sequence %d", v.From.Name(), v.Sequence)
}

// Sign makes the signed offer of a relay. The offer must be mined before if it commits to
// work. Errors: those of Encode, BadProofOfWork, and BadSignature if From is another key.
func (o Offer) Sign(key identity.PrivateKey) (VerifiedOffer, error) {
	raw, err := o.Encode()
	if err != nil {
		return VerifiedOffer{}, err
	}
	s, err := identity.SignOne(key, raw)
	if err != nil {
		return VerifiedOffer{}, err
	}
	return Open(s, o.Time)
}
