package client

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// grantVersion is the version of the *.grant file.
const grantVersion = 1

// GrantFile is a grant as a file that its holder imports: the sponsor's signed word, and where the relay
// is. It is no secret and of no use to anybody but the key that it names.
type GrantFile struct {
	Version int               `json:"version"` // 1
	Grant   []byte            `json:"grant"`   // identity.Signed
	Relay   identity.RelayRef `json:"relay"`
}

// heldGrant is a kept grant that was read.
type heldGrant struct {
	store.HeldGrant
	usage.AccountGrant
}

// grants are all kept grants.
func (a *Agent) grants(ctx context.Context) ([]heldGrant, error) {
	kept, err := a.store.Grants(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]heldGrant, len(kept))
	for i, k := range kept {
		g, err := usage.DecodeAccountGrant(k.Grant.Statement)
		if err != nil {
			return nil, code.Wrap(code.StoreCorrupt, err, "a kept grant")
		}
		out[i] = heldGrant{k, g}
	}
	return out, nil
}

// received are the grants by which this agent may order: not known to be revoked, and not known to have
// ended.
func (a *Agent) received(ctx context.Context) ([]heldGrant, error) {
	all, err := a.grants(ctx)
	return slices.DeleteFunc(all, func(g heldGrant) bool {
		return g.Account != a.Key() || !g.Revoke.IsZero() || a.runner.Tip() > g.NotAfter
	}), err
}

// grantRelays are the relays of the grants received, with where their sponsors say that they are.
func (a *Agent) grantRelays(ctx context.Context) ([]identity.RelayRef, error) {
	all, err := a.received(ctx)
	if err != nil {
		return nil, err
	}
	var out []identity.RelayRef
	for _, g := range all {
		var ref identity.RelayRef
		if err := json.Unmarshal(g.Relay, &ref); err != nil {
			return nil, code.Wrap(code.StoreCorrupt, err, "a kept grant")
		}
		out = append(out, identity.RelayRef{Key: g.To, Addresses: ref.Addresses})
	}
	return out, nil
}

// GrantGive lets another key order at the cost of a contract, up to two caps, gives the file for its
// holder, and tells the relay. Where the relay cannot be reached, it is told when it can. Errors:
// ContractUnknown, BadState, UnknownContact, BadArgument, and refusals of the relay.
func (a *Agent) GrantGive(ctx context.Context, r GrantRequest) (GrantResult, error) {
	c, err := a.contractByID(r.Contract)
	if err != nil {
		return GrantResult{}, err
	}
	if !c.Service() {
		return GrantResult{}, code.New(code.BadState, "the contract is %s: it takes no orders", c.State())
	}
	to, err := identity.ParsePublicKey(r.To)
	if err != nil {
		k, err := a.resolve(ctx, r.To)
		if err != nil {
			return GrantResult{}, err
		}
		to = k.Key
	}
	h, err := a.header(c.Peer(), min(a.nowMilli(), a.relayTime(c.Peer())))
	if err != nil {
		return GrantResult{}, err
	}
	t := c.Terms()
	raw, err := usage.AccountGrant{
		Header: h, Contract: c.ID(), Account: to, Terms: t.Digest(), Prices: t.Prices, CapMsat: r.CapMsat,
		DayMsat: cmp.Or(r.DayMsat, r.CapMsat), NotAfter: cmp.Or(r.Until, t.Expiry),
	}.Encode()
	if err != nil {
		return GrantResult{}, code.Wrap(code.BadArgument, err, "the grant")
	}
	signed, err := identity.SignOne(a.home.Key(), raw)
	if err != nil {
		return GrantResult{}, err
	}
	return a.keepGiven(ctx, c, signed)
}

// keepGiven keeps a grant before anybody hears of it.
func (a *Agent) keepGiven(ctx context.Context, c contract.Contract, signed identity.Signed) (GrantResult, error) {
	at, err := a.addresses(ctx, c.Peer())
	if err != nil {
		return GrantResult{}, err
	}
	ref := identity.RelayRef{Key: c.Peer(), Addresses: at}
	where, err := json.Marshal(ref)
	if err != nil {
		return GrantResult{}, code.Wrap(code.Internal, err, "the relay's addresses")
	}
	held := store.HeldGrant{Digest: identity.StatementDigest(identity.TypeAccountGrant, signed.Statement), Grant: signed, Relay: where}
	if err := a.store.SaveGrant(ctx, held); err != nil {
		return GrantResult{}, err
	}
	file, err := json.MarshalIndent(GrantFile{grantVersion, signed.Bytes(), ref}, "", "  ")
	if err != nil {
		return GrantResult{}, code.Wrap(code.Internal, err, "the grant")
	}
	info, err := a.tellGrant(ctx, held.Digest)
	return GrantResult{Grant: info, File: append(file, '\n')}, err
}

// GrantImport keeps a grant that a sponsor gave to this identity, and gives it to the relay if it can be
// reached. Errors: Malformed, BadSignature, WrongNetwork, WrongRecipient, and refusals of the relay.
func (a *Agent) GrantImport(ctx context.Context, file []byte) (GrantInfo, error) {
	var f GrantFile
	if err := json.Unmarshal(file, &f); err != nil || f.Version != grantVersion {
		return GrantInfo{}, code.New(code.Malformed, "this is no grant file of version %d", grantVersion)
	}
	s, err := identity.ParseSigned(f.Grant)
	if err != nil {
		return GrantInfo{}, err
	}
	g, err := usage.OpenAccountGrant(s)
	if err != nil {
		return GrantInfo{}, err
	}
	switch {
	case g.Network != a.network:
		return GrantInfo{}, code.New(code.WrongNetwork, "a grant for %s", g.Network)
	case g.Account != a.Key():
		return GrantInfo{}, code.New(code.WrongRecipient, "the grant is for %s", g.Account.Name())
	}
	where, err := json.Marshal(identity.RelayRef{Key: g.To, Addresses: f.Relay.Addresses})
	if err != nil {
		return GrantInfo{}, code.Wrap(code.Internal, err, "the relay's addresses")
	}
	if err := a.store.SaveGrant(ctx, store.HeldGrant{Digest: g.Digest(), Grant: s, Relay: where}); err != nil {
		return GrantInfo{}, err
	}
	if err := a.relaysChanged(ctx); err != nil {
		return GrantInfo{}, err
	}
	return a.tellGrant(ctx, g.Digest())
}

// GrantRevoke takes a grant back that this agent gave. New orders end when the relay has heard of it;
// what is stored stays, and is paid. Code UnknownGrant.
func (a *Agent) GrantRevoke(ctx context.Context, id string) (GrantInfo, error) {
	g, err := a.findGrant(ctx, id)
	if err != nil {
		return GrantInfo{}, err
	}
	if g.From != a.Key() {
		return GrantInfo{}, code.New(code.Forbidden, "only %s, who gave the grant, can take it back", g.From.Name())
	}
	if g.Revoke.IsZero() {
		h, err := a.header(g.To, min(a.nowMilli(), a.relayTime(g.To)))
		if err != nil {
			return GrantInfo{}, err
		}
		raw, err := usage.AccountRevoke{Header: h, Grant: g.Digest}.Encode()
		if err != nil {
			return GrantInfo{}, err
		}
		s, err := identity.SignOne(a.home.Key(), raw)
		if err != nil {
			return GrantInfo{}, err
		}
		if err := a.store.ChangeGrant(ctx, g.Digest, func(k *store.HeldGrant) {
			if k.Revoke.IsZero() {
				k.Revoke = s
			}
		}); err != nil {
			return GrantInfo{}, err
		}
	}
	return a.tellGrant(ctx, g.Digest)
}

// tellGrant gives a grant to its relay, as far as that can be reached now, and says how it stands.
func (a *Agent) tellGrant(ctx context.Context, digest identity.Digest) (GrantInfo, error) {
	g, err := a.findGrant(ctx, digest.String())
	if err != nil {
		return GrantInfo{}, err
	}
	ctxAsk, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if s, err := a.session(ctxAsk, g.To); err == nil {
		if err := a.putGrant(ctxAsk, s, g); err != nil && !waits(err) {
			return GrantInfo{}, err
		}
	}
	if g, err = a.findGrant(ctx, digest.String()); err != nil {
		return GrantInfo{}, err
	}
	return a.grantInfo(ctx, g), nil
}

// findGrant finds a grant by its digest, or at least 8 letters of its beginning. Code UnknownGrant.
func (a *Agent) findGrant(ctx context.Context, id string) (heldGrant, error) {
	all, err := a.grants(ctx)
	if err != nil {
		return heldGrant{}, err
	}
	found := slices.DeleteFunc(all, func(g heldGrant) bool {
		return len(id) < minPrefix || len(id) > 64 || g.Digest.String()[:len(id)] != id
	})
	if len(found) != 1 {
		return heldGrant{}, code.New(code.UnknownGrant, "%d grants begin with %q; see grant list", len(found), id)
	}
	return found[0], nil
}

// syncGrants tells a relay of the grants and revocations that it has not receipted yet, and again what it
// may have lost since, if it was restored.
func (a *Agent) syncGrants(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	all, err := a.grants(ctx)
	if err != nil {
		return err
	}
	var first error
	for _, g := range all {
		if g.To != relay {
			continue
		}
		if err := a.putGrant(ctx, c, g); over(err) {
			return err
		} else if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// putGrant brings a relay what it has not receipted in its present store.
func (a *Agent) putGrant(ctx context.Context, c *session.Client, g heldGrant) error {
	epoch := c.Info().StoreEpoch
	ended := g.Revoke.IsZero() || !g.Ended.IsZero() || g.From != a.Key()
	if !g.Receipt.IsZero() && ended && g.Epoch == epoch {
		return nil
	}
	receipt, err := a.askGranted(ctx, c, g, g.Grant)
	if err != nil {
		return err
	}
	var gone identity.Signed
	if !g.Revoke.IsZero() && g.From == a.Key() {
		if gone, err = a.askGranted(ctx, c, g, g.Revoke); err != nil {
			return err
		}
	}
	return a.store.ChangeGrant(ctx, g.Digest, func(k *store.HeldGrant) {
		k.Receipt, k.Epoch = receipt, epoch
		if k.Ended.IsZero() { // the first one names the first row that is not paid
			k.Ended = gone
		}
	})
}

// askGranted brings a relay one statement and checks its receipt.
func (a *Agent) askGranted(ctx context.Context, c *session.Client, g heldGrant, what identity.Signed) (identity.Signed, error) {
	m, err := call[*message.Granted](ctx, c, &message.Grant{Statement: what.Bytes()})
	if err != nil {
		return identity.Signed{}, err
	}
	s, err := identity.ParseSigned(m.Receipt)
	if err != nil {
		return s, err
	}
	r, err := usage.OpenGrantReceipt(s)
	if err != nil {
		return s, err
	}
	v, err := usage.OpenAccountGrant(g.Grant)
	if err != nil {
		return s, err
	}
	h, err := identity.PeekHeader(what.Statement)
	if err != nil {
		return s, err
	}
	return s, r.Answers(v, identity.StatementDigest(h.Type, what.Statement))
}
