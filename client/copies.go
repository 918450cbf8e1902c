package client

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// Recoveries are also kept as records to oneself, on the own relays other than that of the contract. What seals them is the
// phrase alone (records.SuiteRecovery), because the sealing keys are lost with the store; and nobody is a contact of
// himself, so that no agent reads or shows them.

// copiesKey is the named value with the copies of recoveries that were stored, by copyKey.
const copiesKey = "recovery copies"

// recoveryCopy is a recovery as it is kept by another relay.
type recoveryCopy struct {
	Record identity.Digest    `json:"record"`
	Order  identity.Digest    `json:"order"`
	Until  identity.UnixMilli `json:"until_ms"` // end of the relay's duty; 0: the receipt has not come
	Look   identity.UnixMilli `json:"look_ms"`  // when to look at it again
}

const (
	// copyPulls is how often a copy may be read.
	copyPulls = 4
	// copyAfter is how long after the contract's expiry a copy is wanted, in milliseconds: 30 days.
	copyAfter identity.UnixMilli = 30 * 24 * 3600 * 1000
	// copyPause is the least time between two looks at a copy, in milliseconds.
	copyPause identity.UnixMilli = 3600 * 1000
	// copyAhead is how long before its end a copy is made anew, in milliseconds: a week, or a quarter of its life.
	copyAhead identity.UnixMilli = 7 * 24 * 3600 * 1000
	// copyCost bounds what one copy may cost in the worst case: 10 sat.
	copyCost usage.Msat = 10_000
	// copyEvery is how often copies are looked at when no contract changes.
	copyEvery = time.Minute
)

func copyKey(c contract.Contract, relay identity.PublicKey) string {
	return c.Nonce().String() + "/" + relay.String()
}

// followCopies runs as long as Run does.
func (a *Agent) followCopies(ctx context.Context) error {
	changed, done := a.runner.Changes()
	defer done()
	t := time.NewTicker(copyEvery)
	defer t.Stop()
	for {
		if err := a.keepCopies(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-t.C:
		}
		if !a.sleep(ctx, renewPause) {
			return nil
		}
	}
}

// keepCopies stores what is missing where it is missing.
func (a *Agent) keepCopies(ctx context.Context) error {
	relays := make(map[identity.PublicKey]bool)
	for _, c := range a.storable() {
		relays[c.Peer()] = true
	}
	if len(relays) == 0 {
		return nil
	}
	all, err := a.copies(ctx)
	if err != nil {
		return err
	}
	for _, c := range a.runner.Contracts() {
		if !c.State().Live() {
			continue
		}
		for relay := range relays {
			if relay == c.Peer() || a.links.of(relay).live() == nil {
				continue
			}
			if err := a.keepCopy(ctx, all, c, relay); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Agent) copies(ctx context.Context) (map[string]recoveryCopy, error) {
	all := make(map[string]recoveryCopy)
	raw, err := a.store.Value(ctx, copiesKey)
	if err != nil || raw == nil {
		return all, err
	}
	err = json.Unmarshal(raw, &all)
	return all, code.Wrap(code.StoreCorrupt, err, "the copies of recoveries")
}

// saveCopies keeps the list, without what belongs to contracts that are over.
func (a *Agent) saveCopies(ctx context.Context, all map[string]recoveryCopy) error {
	for _, c := range a.runner.Contracts() {
		if !c.Forgettable() {
			continue
		}
		for k := range all {
			if strings.HasPrefix(k, c.Nonce().String()) {
				delete(all, k)
			}
		}
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return code.Wrap(code.Internal, err, "the copies of recoveries")
	}
	return a.store.SetValue(ctx, copiesKey, raw)
}

// keepCopy looks at one copy and makes it, or makes it anew, where that is due. What a relay refuses is tried again later.
func (a *Agent) keepCopy(ctx context.Context, all map[string]recoveryCopy, c contract.Contract, relay identity.PublicKey) error {
	key, now := copyKey(c, relay), a.nowMilli()
	k := all[key]
	if now < k.Look {
		return nil
	}
	if k.Until == 0 && !k.Order.IsZero() {
		k.Until = a.custodyOf(ctx, k)
		_, err := a.store.QueuedWrite(ctx, k.Order)
		if k.Until == 0 && err == nil {
			return a.lookLater(ctx, all, key, k, now)
		}
	}
	wanted := a.wantedUntil(c, now)
	if k.Until >= wanted || k.Until > now+copyAhead {
		return a.lookLater(ctx, all, key, k, now)
	}
	made, err := a.putCopy(ctx, c, relay, wanted)
	if over(err) {
		return nil // with the next session
	}
	if err != nil {
		a.log.Info("a recovery is not kept by another relay yet", "contract", c.ID(), "relay", relay.Name(), "err", err)
		made = k
	}
	return a.lookLater(ctx, all, key, made, now)
}

// lookLater notes when a copy is to be looked at again: when three quarters of what is left of it are over.
func (a *Agent) lookLater(ctx context.Context, all map[string]recoveryCopy, key string, k recoveryCopy, now identity.UnixMilli) error {
	k.Look = now + copyPause
	if k.Until > now {
		left := k.Until - now
		k.Look = max(k.Look, now+left-min(left/4, copyAhead))
	}
	all[key] = k
	return a.saveCopies(ctx, all)
}

// custodyOf is how long a relay has promised to keep a copy; 0 if its receipt has not come.
func (a *Agent) custodyOf(ctx context.Context, k recoveryCopy) identity.UnixMilli {
	s, err := a.store.Receipt(ctx, k.Order)
	if err != nil {
		return 0
	}
	r, err := usage.OpenReceipt(s)
	if err != nil {
		return 0
	}
	sent, err := a.store.Sent(ctx, k.Record)
	if err != nil {
		return 0
	}
	return min(sent.Header.Expiry(), r.ServiceUntil)
}

// wantedUntil is when the recovery of a contract is of no more use, by the blocks that are left.
func (a *Agent) wantedUntil(c contract.Contract, now identity.UnixMilli) identity.UnixMilli {
	left := c.Terms().Expiry - min(c.Tip(), c.Terms().Expiry)
	return now + identity.UnixMilli(left)*blockMinutes*60_000 + copyAfter
}

// putCopy stores the recovery of a contract at a relay, under a contract with that relay. That it is queued is enough.
func (a *Agent) putCopy(ctx context.Context, c contract.Contract, relay identity.PublicKey, until identity.UnixMilli) (recoveryCopy, error) {
	i, err := a.keepRecovery(c)
	if err != nil {
		return recoveryCopy{}, err
	}
	content, err := records.RecoveryContent(strings.TrimSpace(i.Text))
	if err != nil {
		return recoveryCopy{}, err
	}
	all, err := a.payers(ctx, relay)
	if err != nil {
		return recoveryCopy{}, err
	}
	limits, err := a.limitsOf(ctx, relay)
	if err != nil {
		return recoveryCopy{}, err
	}
	at := min(a.nowMilli(), a.relayTime(relay))
	l := letter{to: store.Contact{Key: a.Key()}, kind: store.KindRecovery, pulls: copyPulls, ttl: copyLife(until-at, limits.MaxTTL)}
	id, err := records.NewID(a.rand)
	if err != nil {
		return recoveryCopy{}, err
	}
	var box parcel
	if err := a.addDraft(&box, l, id, draft{content: content, kind: store.KindRecovery}, at); err != nil {
		return recoveryCopy{}, err
	}
	p, _, err := choose(all, box.facts(), at, copyCost)
	if err != nil {
		return recoveryCopy{}, err
	}
	orders, err := a.enqueue(ctx, l, box, p, at)
	if err != nil {
		return recoveryCopy{}, err
	}
	k := recoveryCopy{Record: box.drafts[0].facts.Digest, Order: orders[0]}
	r, err := a.deliverAll(ctx, posted{payer: p, orders: orders})
	if err == nil {
		k.Until = box.drafts[0].facts.CustodyEnd(r.ServiceUntil)
	} else if !waits(err) {
		return recoveryCopy{}, err
	}
	return k, nil
}

// copyLife is the ttl of a copy, in seconds.
func copyLife(wanted identity.UnixMilli, limit uint32) uint32 {
	return uint32(min(max(wanted/1000, minTTL), identity.UnixMilli(min(limit, records.MaxTTL))))
}
