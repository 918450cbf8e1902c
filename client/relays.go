package client

import (
	"context"
	"encoding/json"
	"slices"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
)

// chosenKey is the named value with the relays whose free allowance the user chose to use.
const chosenKey = "chosen relays"

// chosenRelays are the relays that the user uses without a contract.
func (a *Agent) chosenRelays(ctx context.Context) ([]identity.RelayRef, error) {
	raw, err := a.store.Value(ctx, chosenKey)
	if err != nil || raw == nil {
		return nil, err
	}
	var out []identity.RelayRef
	err = json.Unmarshal(raw, &out)
	return out, code.Wrap(code.StoreCorrupt, err, "the chosen relays")
}

func (a *Agent) saveChosen(ctx context.Context, refs []identity.RelayRef) error {
	raw, err := json.Marshal(refs)
	if err != nil {
		return code.Wrap(code.Internal, err, "the chosen relays")
	}
	if len(refs) == 0 {
		raw = nil
	}
	return a.store.SetValue(ctx, chosenKey, raw)
}

// UseRelay begins to use a relay's free allowance: messages are written there while no contract
// pays, and the own Identity document names it. ref needs addresses unless an offer of the relay
// was seen. Errors: those of connecting, and AllowanceUsed if the relay gives nothing away.
func (a *Agent) UseRelay(ctx context.Context, ref identity.RelayRef) (RelayInfo, error) {
	a.links.hint(ref)
	c, err := a.session(ctx, ref.Key)
	if err != nil {
		return RelayInfo{}, err
	}
	offer, err := a.learnOffer(ctx, c, ref.Key)
	if err != nil {
		return RelayInfo{}, err
	}
	if offer.FreeBytesPerDay == 0 {
		return RelayInfo{}, code.New(code.AllowanceUsed, "relay %s gives nothing away; open a contract with it", ref.Key.Name())
	}
	refs, err := a.chosenRelays(ctx)
	if err != nil {
		return RelayInfo{}, err
	}
	refs = slices.DeleteFunc(refs, func(r identity.RelayRef) bool { return r.Key == ref.Key })
	if err := a.saveChosen(ctx, append(refs, identity.RelayRef{Key: ref.Key, Addresses: offer.Addresses})); err != nil {
		return RelayInfo{}, err
	}
	if err := a.relaysChanged(ctx); err != nil {
		return RelayInfo{}, err
	}
	if err := a.publish(ctx, c, ref.Key); err != nil {
		return RelayInfo{}, err
	}
	return a.relayInfo(ctx, ref.Key, true)
}

// DropRelay ends the use of a relay's free allowance. Code NotFound if it was not used. What is
// stored there stays until it expires.
func (a *Agent) DropRelay(ctx context.Context, relay identity.PublicKey) error {
	refs, err := a.chosenRelays(ctx)
	if err != nil {
		return err
	}
	n := len(refs)
	refs = slices.DeleteFunc(refs, func(r identity.RelayRef) bool { return r.Key == relay })
	if len(refs) == n {
		return code.New(code.NotFound, "relay %s is not used without a contract", relay.Name())
	}
	if err := a.saveChosen(ctx, refs); err != nil {
		return err
	}
	return a.relaysChanged(ctx)
}

// relaysChanged makes everything that depends on the relays follow.
func (a *Agent) relaysChanged(ctx context.Context) error {
	_, err := a.ownDocument(ctx)
	nudge(a.change)
	return err
}

// Relays lists the relays that matter to this agent and how each can be reached now.
func (a *Agent) Relays(ctx context.Context) ([]RelayInfo, error) {
	wanted, err := a.wanted(ctx)
	if err != nil {
		return nil, err
	}
	var out []RelayInfo
	for relay, own := range wanted {
		i, err := a.relayInfo(ctx, relay, own)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(x, y RelayInfo) int { return slices.Compare(x.Relay[:], y.Relay[:]) })
	return out, nil
}

func (a *Agent) relayInfo(ctx context.Context, relay identity.PublicKey, own bool) (RelayInfo, error) {
	addresses, err := a.addresses(ctx, relay)
	if err != nil {
		return RelayInfo{}, err
	}
	i := RelayInfo{Relay: relay, Name: relay.Name(), Addresses: addresses, Own: own}
	if o, err := a.seenOffer(ctx, relay); err == nil && o != nil {
		i.FreeBytesDay = o.FreeBytesPerDay
	}
	l := a.links.of(relay)
	l.mu.Lock()
	defer l.mu.Unlock()
	i.Connected = l.client != nil && l.client.Err() == nil
	i.ClockOffsetMs = l.offset.Milliseconds()
	if l.err != nil {
		i.Error = l.err.Error()
	}
	return i, nil
}

// learnOffer asks a relay for its present offer and keeps it: its prices, and where it will be
// found next time.
func (a *Agent) learnOffer(ctx context.Context, c *session.Client, relay identity.PublicKey) (broadcast.VerifiedOffer, error) {
	m, err := call[*message.Offer](ctx, c, &message.GetOffer{})
	if err != nil {
		return broadcast.VerifiedOffer{}, err
	}
	s, err := identity.ParseSigned(m.Offer)
	if err != nil {
		return broadcast.VerifiedOffer{}, err
	}
	o, err := broadcast.Open(s, a.nowMilli())
	if err != nil {
		return o, err
	}
	if o.From != relay || o.Network != a.network {
		return o, code.New(code.WrongRelay, "relay %s shows an offer of %s", relay.Name(), o.From.Name())
	}
	known, err := a.seenOffer(ctx, relay)
	if err != nil {
		return o, err
	}
	if known != nil && code.Of(o.Supersedes(*known)) == code.Conflict {
		for _, x := range []broadcast.VerifiedOffer{*known, o} {
			e := store.Evidence{Relay: relay, Saved: a.nowMilli(), Name: "contradicting offer", Bytes: x.Signed().Bytes()}
			if err := a.keepPaper(ctx, e); err != nil {
				return o, err
			}
		}
		if err := a.proveConflict(ctx, *known, o); err != nil {
			return o, err
		}
		return o, o.Supersedes(*known)
	}
	return o, a.store.SaveOffers(ctx, a.nowMilli(), []broadcast.VerifiedOffer{o})
}
