package identity

import (
	"encoding/base64"
	"net/url"
	"strings"

	"relaymarket/internal/code"
)

// Card is what fits into a QR code: enough to fetch somebody's Identity document from one of
// its relays and to know that it is the right one.
type Card struct {
	Key    PublicKey
	Digest Digest     // of the document
	Relays []RelayRef // at most maxCardRelays, with one address each
}

const (
	cardScheme    = "relayid"
	maxCardRelays = 3
	maxCard       = 2048
)

// NewCard makes the card of a document: its first three relays, the first address of each.
func NewCard(d *VerifiedDocument) Card {
	c := Card{Key: d.Owner(), Digest: d.Digest()}
	for _, r := range d.Relays {
		if len(c.Relays) == maxCardRelays || len(r.Addresses) == 0 {
			continue
		}
		c.Relays = append(c.Relays, RelayRef{Key: r.Key, Addresses: r.Addresses[:1]})
	}
	return c
}

// String is the URI: relayid:KEY?d=DIGEST&r=KEY,URL,PIN…&r=….
func (c Card) String() string {
	q := url.Values{"d": {b64(c.Digest[:])}}
	for _, r := range c.Relays {
		parts := []string{r.Key.String(), r.Addresses[0].URL}
		for _, p := range r.Addresses[0].Pins {
			parts = append(parts, b64(p[:]))
		}
		q.Add("r", strings.Join(parts, ","))
	}
	return cardScheme + ":" + c.Key.String() + "?" + q.Encode()
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ParseCard reads the URI.
func ParseCard(s string) (Card, error) {
	rest, ok := strings.CutPrefix(s, cardScheme+":")
	if !ok || len(s) > maxCard {
		return Card{}, code.New(code.Malformed, "not a %s: URI", cardScheme)
	}
	key, query, _ := strings.Cut(rest, "?")
	var c Card
	var err error
	if c.Key, err = ParsePublicKey(key); err != nil {
		return Card{}, code.Wrap(code.Malformed, err, "card")
	}
	q, err := url.ParseQuery(query)
	if err != nil || len(q["d"]) != 1 || len(q["r"]) > maxCardRelays {
		return Card{}, code.New(code.Malformed, "the card needs one digest and at most %d relays", maxCardRelays)
	}
	if c.Digest, err = parseB64Digest(q.Get("d")); err != nil {
		return Card{}, err
	}
	for _, r := range q["r"] {
		ref, err := parseCardRelay(r)
		if err != nil {
			return Card{}, err
		}
		c.Relays = append(c.Relays, ref)
	}
	return c, nil
}

func parseB64Digest(s string) (Digest, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 32 {
		return Digest{}, code.New(code.Malformed, "not a digest: %q", s)
	}
	return Digest(b), nil
}

func parseCardRelay(s string) (RelayRef, error) {
	parts := strings.Split(s, ",")
	if len(parts) < 2 || len(parts) > 2+MaxPins || parts[1] == "" || len(parts[1]) > MaxURL {
		return RelayRef{}, code.New(code.Malformed, "not a relay: %q", s)
	}
	key, err := ParsePublicKey(parts[0])
	if err != nil {
		return RelayRef{}, code.Wrap(code.Malformed, err, "card")
	}
	a := Address{URL: parts[1]}
	for _, p := range parts[2:] {
		d, err := parseB64Digest(p)
		if err != nil {
			return RelayRef{}, err
		}
		a.Pins = append(a.Pins, d)
	}
	return RelayRef{Key: key, Addresses: []Address{a}}, nil
}
