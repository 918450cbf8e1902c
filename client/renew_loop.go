package client

import (
	"context"
	"slices"
	"time"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// renewTime bounds one renewal, or one close of what was renewed, that nobody waits for.
const renewTime = 5 * time.Minute

// followRenewals runs as long as Run does: it renews what may be renewed, warns of the rest, and closes what was
// renewed. Everything is looked at again when a contract changes, which is at least once a block.
func (a *Agent) followRenewals(ctx context.Context) error {
	changed, done := a.runner.Changes()
	defer done()
	for {
		for _, c := range a.runner.Contracts() {
			if err := a.followRenewal(ctx, c); err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if !a.sleep(ctx, renewPause) {
			return nil
		}
	}
}

// errNotAllowed stands for a renewal that the user has not allowed.
var errNotAllowed = code.New(code.Declined, "you have not allowed it")

// renewPause keeps a burst of changes from being looked at one by one.
const renewPause = 50 * time.Millisecond

func (a *Agent) followRenewal(ctx context.Context, c contract.Contract) error {
	if !c.State().Live() {
		return nil
	}
	r, err := a.renewalOf(ctx, c.Nonce())
	if err != nil {
		return err
	}
	next, followed := a.nextOf(c)
	switch {
	case followed:
		if err := a.inherit(ctx, r, next); err != nil {
			return err
		}
		if r.Replace && established(next) && a.renewer.first(c.Nonce(), c.Tip()) {
			a.retire(ctx, c)
		}
	case renewable(c) && c.Tip() >= renewFrom(c) && a.renewer.first(c.Nonce(), c.Tip()):
		a.renewDue(ctx, c, r)
	}
	return nil
}

// inherit lets the next contract be renewed like the one before, unless its user has decided about it.
func (a *Agent) inherit(ctx context.Context, r renewal, next contract.Contract) error {
	if r.Budget == 0 {
		return nil
	}
	own, err := a.renewalOf(ctx, next.Nonce())
	if err != nil || own.Said {
		return err
	}
	return a.sayAuto(ctx, next, r.Budget)
}

// renewDue renews a contract whose time has come, or says that its user should.
func (a *Agent) renewDue(ctx context.Context, c contract.Contract, r renewal) {
	id, relay := c.ID().String()[:12], c.Peer().Name()
	if s := c.State(); r.Budget == 0 || s != contract.StateActive && s != contract.StateDraining {
		if a.renewer.note(c.Nonce(), errNotAllowed) {
			a.log.Warn("a contract should be renewed", "contract", id, "relay", relay, "service_ends", uint32(c.Terms().ServiceUntil()), "how", "relay-client contract renew "+id)
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	if err := a.autoRenew(ctx, c, r.Budget); err != nil && a.life.Err() == nil && a.renewer.note(c.Nonce(), err) {
		a.log.Warn("a contract could not be renewed; it is tried again with the next block", "contract", id, "relay", relay, "err", err)
	}
}

// retire closes a contract that was renewed, together with its relay, if all is paid, nothing waits to be stored
// under it, and to pay for what is stored there, to its end, costs no more than fetching the rest after the relay's own
// settlement would. Else it goes on and ends by itself.
func (a *Agent) retire(ctx context.Context, c contract.Contract) {
	if !c.Service() || c.Tip() >= c.Terms().CloseUntil() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	most, ok := a.retirable(ctx, c)
	if !ok {
		return
	}
	i, err := a.closeContract(ctx, c.ID(), CloseKeeping, most)
	if err != nil {
		a.log.Info("a contract that was renewed goes on until it ends", "contract", c.ID(), "err", err)
		return
	}
	a.log.Info("a contract that was renewed is closed", "contract", c.ID(), "back_sat", uint64(i.ClientPayout), "relay_sat", uint64(i.RelayPayout))
}

// retirable gives the most that the relay may get by a close, if there should be one now.
func (a *Agent) retirable(ctx context.Context, c contract.Contract) (most usage.Sat, ok bool) {
	book := a.book(ctx, c, false)
	if book == nil {
		return 0, false
	}
	queue, err := a.store.Queue(ctx, c.Peer())
	if err != nil || slices.ContainsFunc(queue, func(q store.QueuedOrder) bool { return q.Contract == c.ID() }) {
		return 0, false
	}
	owed := usage.Msat(book.OwedMsat)
	all, err := owed.Add(usage.Msat(book.ReservedMsat))
	t, paid := c.Terms(), c.Paid()
	if err != nil || dueOf(t, paid, owed) > paid {
		return 0, false
	}
	rate, _ := a.feeRate(ctx, 0)
	most = paid + contract.SweepFee(rate)
	return most, dueOf(t, paid, all) <= most
}
