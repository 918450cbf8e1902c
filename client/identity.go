package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"reflect"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/records"
)

// documentLife is how long an Identity document is valid, in milliseconds: a year. It is made
// again when half of it is over.
const documentLife identity.UnixMilli = 365 * 24 * 3600 * 1000

// relaysChangedKey is the named value with the sequence at which the own relays last changed: who
// was told of an older document must be told again.
const relaysChangedKey = "relays changed"

// Identity says who this agent is.
func (a *Agent) Identity(ctx context.Context) (IdentityInfo, error) {
	d, err := a.ownDocument(ctx)
	if err != nil {
		return IdentityInfo{}, err
	}
	return IdentityInfo{
		Key: d.Owner(), Name: d.Owner().Name(), Label: d.Label, Network: a.network.String(), Dir: a.dir,
		Relays: d.Relays, Sequence: d.Sequence, Expires: d.Expires, Card: identity.NewCard(d).String(),
	}, nil
}

// Export is the own Identity document as a *.relayid file, to be given to contacts.
func (a *Agent) Export(ctx context.Context) ([]byte, error) {
	d, err := a.ownDocument(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := identity.MarshalFile(d)
	return raw, code.Wrap(code.Internal, err, "identity file")
}

// ownDocument gives the own document, after making a new one if the old one no longer says what
// is true. A new one is on disk before anybody sees it.
func (a *Agent) ownDocument(ctx context.Context) (*identity.VerifiedDocument, error) {
	a.document.Lock()
	defer a.document.Unlock()
	want, err := a.draftDocument(ctx)
	if err != nil {
		return nil, err
	}
	old, err := a.keptDocument(ctx)
	if err != nil {
		return nil, err
	}
	now := a.nowMilli()
	if old != nil && says(old, want) && old.Expires > now+documentLife/2 {
		return old, nil
	}
	// The time as a sequence rises also when the store was lost and everything began anew from the
	// phrase: contacts would refuse a sequence that starts at one again.
	want.Sequence, want.Expires = uint64(now), now+documentLife
	if old != nil {
		want.Sequence = max(want.Sequence, old.Sequence+1)
	}
	return a.replaceDocument(ctx, old, want)
}

func (a *Agent) replaceDocument(ctx context.Context, old *identity.VerifiedDocument, want identity.Document) (*identity.VerifiedDocument, error) {
	serial, err := a.serial()
	if err != nil {
		return nil, err
	}
	s, err := identity.SignDocument(a.home.Key(), a.network, want, a.nowMilli(), serial)
	if err != nil {
		return nil, err
	}
	d, err := identity.OpenDocument(s, 0)
	if err != nil {
		return nil, err
	}
	if old != nil && !sameRelays(old.Relays, want.Relays) {
		// Before the document itself: a crash in between tells contacts once too often.
		raw := binary.BigEndian.AppendUint64(nil, want.Sequence)
		if err := a.store.SetValue(ctx, relaysChangedKey, raw); err != nil {
			return nil, err
		}
	}
	if err := a.store.SaveOwnDocument(ctx, d); err != nil {
		return nil, err
	}
	nudge(a.change) // relays get the new one
	return d, nil
}

func (a *Agent) keptDocument(ctx context.Context) (*identity.VerifiedDocument, error) {
	s, err := a.store.OwnDocument(ctx)
	if code.Of(err) == code.NotFound {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return identity.OpenDocument(s, 0)
}

// says tells whether a document states what is wanted, its sequence and time apart.
func says(have *identity.VerifiedDocument, want identity.Document) bool {
	return have.Label == want.Label && have.Devices == want.Devices &&
		bytes.Equal(have.SealingKey, want.SealingKey) && sameRelays(have.Relays, want.Relays)
}

func sameRelays(x, y []identity.RelayRef) bool {
	return len(x) == 0 && len(y) == 0 || reflect.DeepEqual(x, y)
}

// draftDocument is what the own document should say now.
func (a *Agent) draftDocument(ctx context.Context) (identity.Document, error) {
	key, err := a.sealingKey(ctx)
	if err != nil {
		return identity.Document{}, err
	}
	relays, err := a.ownRelays(ctx)
	return identity.Document{
		Label: a.cfg.Label, Relays: relays, SealingKey: key.Public(), Devices: max(a.cfg.Devices, 1),
	}, err
}

// sealingKey is the key that others seal to now: a new one after records.RotateAfter.
func (a *Agent) sealingKey(ctx context.Context) (records.SealingKey, error) {
	keys, err := a.store.SealingKeys(ctx)
	if err != nil {
		return records.SealingKey{}, err
	}
	if !records.RotationDue(keys, a.nowMilli()) {
		return slices.MaxFunc(keys, func(x, y records.SealingKey) int {
			return int(int64(x.Created()) - int64(y.Created()))
		}), nil
	}
	k, err := records.GenerateSealingKey(a.rand, a.nowMilli())
	if err != nil {
		return k, err
	}
	return k, a.store.SaveSealingKey(ctx, k)
}

// ownRelays are the relays where this agent writes: those of its contracts, then the chosen ones; and
// last those that keep what it has written under contracts that are closed.
func (a *Agent) ownRelays(ctx context.Context) ([]identity.RelayRef, error) {
	var keys []identity.PublicKey
	for _, c := range a.runner.Contracts() {
		if s := c.State(); s.Live() && !slices.Contains(keys, c.Peer()) {
			keys = append(keys, c.Peer())
		}
	}
	slices.SortFunc(keys, func(x, y identity.PublicKey) int { return bytes.Compare(x[:], y[:]) })
	chosen, err := a.chosenRelays(ctx)
	if err != nil {
		return nil, err
	}
	given, err := a.grantRelays(ctx)
	if err != nil {
		return nil, err
	}
	chosen = append(given, chosen...)
	for _, r := range chosen {
		if !slices.Contains(keys, r.Key) {
			keys = append(keys, r.Key)
		}
	}
	old, err := a.keptRelays(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range old {
		if !slices.Contains(keys, k.Relay) {
			keys = append(keys, k.Relay)
		}
	}
	var out []identity.RelayRef
	for _, k := range keys {
		at, err := a.ownAddresses(ctx, k, chosen)
		if err != nil {
			return nil, err
		}
		if len(at) > 0 && len(out) < identity.MaxRelays {
			out = append(out, identity.RelayRef{Key: k, Addresses: at})
		}
	}
	return out, nil
}

// ownAddresses are a relay's addresses as it signed them in its offer, else as the user gave them.
func (a *Agent) ownAddresses(ctx context.Context, relay identity.PublicKey, chosen []identity.RelayRef) ([]identity.Address, error) {
	at, err := a.offered(ctx, relay)
	if err != nil || len(at) > 0 {
		return at, err
	}
	for _, r := range chosen {
		if r.Key == relay {
			return r.Addresses, nil
		}
	}
	return nil, nil
}

// publish leaves the own document with a relay, once per version and session. Contacts' relays get it
// too, for a contact may not know the own ones yet.
func (a *Agent) publish(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	d, err := a.ownDocument(ctx)
	if err != nil {
		return err
	}
	l := a.links.of(relay)
	if l.published.Load() == d.Digest() {
		return nil
	}
	if _, err := call[*message.OK](ctx, c, &message.PutIdentity{Document: d.Signed().Bytes()}); err != nil {
		return err
	}
	l.published.Store(d.Digest())
	return nil
}
