package client

import (
	"context"

	"relaymarket/broadcast"
	"relaymarket/identity"
)

// addresses collects where a relay may be: from its own newest offer first, which it signed, then
// from what other people say.
func (a *Agent) addresses(ctx context.Context, relay identity.PublicKey) ([]identity.Address, error) {
	out, err := a.offered(ctx, relay)
	if err != nil {
		return nil, err
	}
	refs, err := a.chosenRelays(ctx)
	if err != nil {
		return nil, err
	}
	given, err := a.grantRelays(ctx)
	if err != nil {
		return nil, err
	}
	refs = append(refs, given...)
	contacts, err := a.store.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range contacts {
		refs = append(refs, a.relaysOf(c)...)
	}
	for _, r := range refs {
		if r.Key == relay {
			out = mergeAddresses(out, r.Addresses)
		}
	}
	return mergeAddresses(out, a.links.hinted(relay)), nil
}

// offered is where a relay's newest seen offer says that it is; nil if none was seen.
func (a *Agent) offered(ctx context.Context, relay identity.PublicKey) ([]identity.Address, error) {
	o, err := a.seenOffer(ctx, relay)
	if err != nil || o == nil {
		return nil, err
	}
	return o.Addresses, nil
}

// seenOffer is the newest offer of a relay that was seen, also one that no longer binds; nil if
// there is none.
func (a *Agent) seenOffer(ctx context.Context, relay identity.PublicKey) (*broadcast.VerifiedOffer, error) {
	seen, err := a.store.Offers(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range seen {
		if s.Relay == relay {
			v, err := broadcast.Open(s.Offer, 0)
			return &v, err
		}
	}
	return nil, nil
}

// mergeAddresses appends addresses that are not there yet with the same pins.
func mergeAddresses(to, more []identity.Address) []identity.Address {
	for _, m := range more {
		known := false
		for _, t := range to {
			known = known || sameAddress(t, m)
		}
		if !known {
			to = append(to, m)
		}
	}
	return to
}

func sameAddress(x, y identity.Address) bool {
	if x.URL != y.URL || len(x.Pins) != len(y.Pins) {
		return false
	}
	for i := range x.Pins {
		if x.Pins[i] != y.Pins[i] {
			return false
		}
	}
	return true
}
