package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/session"
	"relaymarket/records"
)

// Pauses between attempts to reach a relay, and how long a session must have lived to begin with
// the first one again.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = time.Minute
	steady     = time.Minute
)

// meet does everything that is due with one relay: contracts first, then what is to be sent, then
// what is to be received. The session's end is an error; another step's failure is logged and
// given back after the others were tried.
func (a *Agent) meet(ctx context.Context, relay identity.PublicKey) error {
	c, err := a.session(ctx, relay)
	if err != nil {
		return err
	}
	var first error
	for _, s := range []struct {
		name string
		do   func(context.Context, *session.Client, identity.PublicKey) error
	}{
		{"offer", func(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
			_, err := a.learnOffer(ctx, c, relay)
			return err
		}},
		{"contracts", func(ctx context.Context, _ *session.Client, relay identity.PublicKey) error {
			return a.runner.Resume(ctx, relay, a.exchange(relay))
		}},
		{"grants", a.syncGrants},
		{"identity", a.publish},
		{"contacts", a.meetContacts},
		{"sending", a.sendWaiting},
		{"receiving", a.receive},
		{"acknowledging", a.sendDeliveryAcks},
	} {
		err := s.do(ctx, c, relay)
		if err == nil {
			continue
		}
		if c.Err() != nil || over(err) {
			return err
		}
		a.log.Warn("a step with a relay failed", "relay", relay.Name(), "step", s.name, "err", err)
		if first == nil {
			first = err
		}
	}
	return first
}

// sendWaiting hands a relay everything that is queued for it.
func (a *Agent) sendWaiting(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	return errors.Join(a.flushQueue(ctx, c, relay), a.sendDeliveryAcks(ctx, c, relay), a.sendDeletes(ctx, c, relay))
}

// meetContacts asks an own relay for contacts of whom no relay is known: they may have left their
// document there.
func (a *Agent) meetContacts(ctx context.Context, _ *session.Client, relay identity.PublicKey) error {
	own, err := a.ownRelays(ctx)
	if err != nil || !slices.ContainsFunc(own, func(r identity.RelayRef) bool { return r.Key == relay }) {
		return err // others' relays need not know who one's contacts are
	}
	contacts, err := a.store.Contacts(ctx)
	if err != nil {
		return err
	}
	for _, k := range contacts {
		if len(a.relaysOf(k)) > 0 {
			continue
		}
		d, err := a.askIdentity(ctx, relay, k.Key)
		if over(err) {
			return err
		}
		if err != nil {
			continue // this relay does not know either
		}
		if err := a.takeDocument(ctx, d); err != nil && code.Of(err) != code.IdentityRollback {
			return err
		}
	}
	return nil
}

// keepLinks keeps a link with every relay that matters, until ctx ends.
func (a *Agent) keepLinks(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	running := make(map[identity.PublicKey]context.CancelFunc)
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	changes, done := a.runner.Changes()
	defer done()
	for {
		wanted, err := a.wanted(ctx)
		if err != nil {
			return err
		}
		for relay := range wanted {
			if running[relay] != nil {
				continue
			}
			one, stop := context.WithCancel(ctx)
			running[relay] = stop
			all.Go(func() { a.keepLink(one, relay) })
		}
		for relay, stop := range running {
			if _, ok := wanted[relay]; !ok {
				stop()
				delete(running, relay)
				a.links.of(relay).close()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.change:
			a.links.kickAll()
		case <-changes:
			if _, err := a.ownDocument(ctx); err != nil {
				return err
			}
			all.Go(func() { a.sayReady(ctx) })
		}
	}
}

// sayReady tells the relays that are linked about fundings that have become deep enough.
func (a *Agent) sayReady(ctx context.Context) {
	for _, c := range a.serving() {
		if c.ReadySaid() || a.links.of(c.Peer()).live() == nil {
			continue
		}
		if err := a.runner.Ready(ctx, c.Peer(), a.exchange(c.Peer())); err != nil {
			a.log.Debug("a relay did not take that a contract is ready", "relay", c.Peer().Name(), "err", err)
		}
	}
}

var errEnded = code.New(code.Disconnected, "the session ended before it was listened to")

// keepLink meets a relay and listens to it, again and again until ctx ends.
func (a *Agent) keepLink(ctx context.Context, relay identity.PublicKey) {
	pause := firstPause
	for ctx.Err() == nil {
		began := a.now()
		err := a.meet(ctx, relay)
		if c := a.links.of(relay).live(); c != nil && !over(err) {
			err = a.listen(ctx, c, relay)
		} else if err == nil {
			err = errEnded // without a pause a relay could make this go round and round
		}
		if err == nil {
			continue // kicked: look at everything again
		}
		if ctx.Err() != nil {
			return
		}
		if a.now().Sub(began) > steady {
			pause = firstPause
		}
		a.log.Debug("link lost", "relay", relay.Name(), "err", err, "pause", pause)
		if !a.sleep(ctx, pause/2+rand.N(pause)) {
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// sleep waits; false if ctx ended.
func (a *Agent) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// cleanEvery is how often what is of no more use is deleted.
const cleanEvery = 6 * time.Hour

// clockAgrees tells whether a relay confirms this machine's clock. Keys must not be deleted for
// good because a clock jumped.
func (a *Agent) clockAgrees() bool {
	for _, l := range a.links.list() {
		if c := l.live(); c != nil && c.Info().TimeOffset.Abs() < maxOffset {
			return true
		}
	}
	return false
}

// upkeep does what is due by the clock: acknowledgements, a new sealing key, news of own relays,
// cleaning up.
func (a *Agent) upkeep(ctx context.Context) error {
	cleaned := time.Time{}
	for {
		if err := a.tidy(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("upkeep", "err", err)
		}
		if now := a.now(); now.Sub(cleaned) >= cleanEvery && a.clockAgrees() {
			cleaned = now
			if _, err := a.store.CleanUp(ctx, a.nowMilli(), records.MaxTTL*1000); err != nil && ctx.Err() == nil {
				a.log.Warn("cleaning up", "err", err)
			}
		}
		if !a.sleep(ctx, a.cfg.Limits.flushEvery()) {
			return nil
		}
	}
}

func (a *Agent) tidy(ctx context.Context) error {
	if _, err := a.ownDocument(ctx); err != nil {
		return err
	}
	return errors.Join(a.tellContacts(ctx), a.flushAcks(ctx, false))
}

const (
	// syncAtOnce is how many relays a Sync works with at the same time.
	syncAtOnce = 8
	// syncDepth is how often a Sync looks for relays that it has only just learned of.
	syncDepth = 3
)

// Sync does one full round: it connects to every relay that matters, goes on with contracts,
// sends what waits, reads and acknowledges what is new, and sends the acknowledgements to their
// senders. The error names the relays that could not be reached; everything else was done all the
// same.
func (a *Agent) Sync(ctx context.Context) error {
	if _, err := a.ownDocument(ctx); err != nil {
		return err
	}
	met := make(map[identity.PublicKey]bool)
	var all []error
	for range syncDepth {
		wanted, err := a.wanted(ctx)
		if err != nil {
			return err
		}
		for relay := range met {
			delete(wanted, relay)
		}
		if len(wanted) == 0 {
			break
		}
		all = append(all, a.meetAll(ctx, wanted)...)
		for relay := range wanted {
			met[relay] = true
		}
	}
	return errors.Join(append(all, a.tellContacts(ctx), a.flushAcks(ctx, true))...)
}

// meetAll meets relays, some at a time, and gives what went wrong.
func (a *Agent) meetAll(ctx context.Context, relays map[identity.PublicKey]bool) []error {
	errs := make(chan error, len(relays))
	slots := make(chan struct{}, syncAtOnce)
	for relay := range relays {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := a.meet(ctx, relay)
			errs <- code.Wrap(code.Of(err), err, "relay %s", relay.Name())
		}()
	}
	var out []error
	for range relays {
		if err := <-errs; err != nil {
			out = append(out, err)
		}
	}
	return out
}
