package client

import (
	"context"
	"slices"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// falseReceipt is what is wrong with an answer that a relay has signed: it is no receipt, whatever
// the relay bills by it. The order stays in the queue.
type falseReceipt struct{ error }

// Unwrap gives what is wrong with the answer.
func (f falseReceipt) Unwrap() error { return f.error }

// falseReceipt keeps a receipt that does not fit as evidence. An error of this side is no fault of
// the relay's.
func (a *Agent) falseReceipt(ctx context.Context, order identity.Signed, r usage.VerifiedReceipt, why error) error {
	if code.Of(why) != code.Conflict {
		return why
	}
	a.log.Warn("a relay's receipt is false", "relay", r.From.Name(), "order", r.Order.Short(), "err", why)
	e := store.Evidence{Relay: r.From, Contract: r.Contract, Saved: a.nowMilli(), Name: "false receipt: " + why.Error(), Bytes: r.Signed().Bytes()}
	if err := a.keepPaper(ctx, e); err != nil {
		return err
	}
	if err := a.proveReceipt(ctx, order, r); err != nil {
		return err
	}
	return falseReceipt{why}
}

// checkReceipt holds a receipt against the order and against what this side knows by itself, before
// anything is believed: code Conflict if it does not fit.
func (a *Agent) checkReceipt(ctx context.Context, w store.QueuedWrite, r usage.VerifiedReceipt, relay session.Info) error {
	o, err := usage.OpenStoreOrder(w.Order)
	if err != nil {
		return code.Wrap(code.StoreCorrupt, err, "a queued order")
	}
	if r.From != relay.Key || r.To != a.Key() || r.Network != a.network {
		return code.New(code.Conflict, "the receipt is between other parties")
	}
	made := o.Time
	if r.Order == o.Digest() {
		err = r.Answers(o)
	} else {
		made = 0
		err = a.checkEarlier(ctx, w, r)
	}
	if err != nil {
		return err
	}
	for _, h := range w.Headers {
		head, err := identity.PeekHeader(h.Statement)
		if err != nil {
			return code.Wrap(code.StoreCorrupt, err, "a queued record")
		}
		made = max(made, head.Time)
	}
	if err := checkTimes(r.Receipt, made, identity.UnixMilli(a.now().Add(relay.TimeOffset).UnixMilli())); err != nil {
		return err
	}
	return a.checkService(r.Receipt)
}

// checkEarlier checks a receipt for another order than the one that was sent: one that this agent
// gave for all of the same records before.
func (a *Agent) checkEarlier(ctx context.Context, w store.QueuedWrite, r usage.VerifiedReceipt) error {
	for _, h := range w.Headers {
		d := identity.StatementDigest(identity.TypeRecord, h.Statement)
		s, err := a.store.Sent(ctx, d)
		if err != nil {
			return err
		}
		if !slices.Contains(s.Orders, r.Order) {
			return code.New(code.Conflict, "the receipt is for another order, which does not cover record %s", d.Short())
		}
	}
	kept, err := a.store.Receipt(ctx, r.Order)
	if code.Of(err) == code.NotFound {
		return nil
	}
	if err == nil && identity.StatementDigest(identity.TypeReceipt, kept.Statement) != r.Digest() {
		err = code.New(code.Conflict, "the relay has signed two receipts for one order")
	}
	return err
}

// checkTimes checks the times of a receipt. Storage is billed from AcceptedMs on, so it may not lie
// before the order and its records were made; and a loss can only be shown up to the end of service
// and from the arrival on, so these must be possible. now is the time by the relay's own clock.
func checkTimes(r usage.Receipt, made, now identity.UnixMilli) error {
	arrived := identity.UnixMilli(r.Arrival / 1000)
	switch {
	case r.Arrival == 0 || r.ServiceUntil <= r.AcceptedMs:
		return code.New(code.Conflict, "the receipt promises no custody")
	case r.AcceptedMs > now+usage.AcceptAhead:
		return code.New(code.Conflict, "the receipt is dated %d s ahead of the relay's own clock", (r.AcceptedMs-now)/1000)
	case r.AcceptedMs+usage.AcceptAhead < made:
		return code.New(code.Conflict, "the receipt is dated %d s before what it accepts was made", (made-r.AcceptedMs)/1000)
	case arrived > r.AcceptedMs+identity.UnixMilli(maxOffset.Milliseconds()):
		return code.New(code.Conflict, "the receipt's arrival lies %d s in the future", (arrived-r.AcceptedMs)/1000)
	}
	return nil
}

const (
	// serviceSlack is how much earlier than the blocks say a receipt may end the service, since
	// blocks may come late or early: a day, and half of the time.
	serviceSlack identity.UnixMilli = 24 * 3600 * 1000
	serviceShare                    = 2
)

// checkService checks that custody does not end long before the contract does: a receipt that ends
// at once would make every loss unprovable.
func (a *Agent) checkService(r usage.Receipt) error {
	for _, c := range a.runner.Contracts() {
		if r.Contract.IsZero() || c.ID() != r.Contract {
			continue
		}
		until, tip := c.Terms().ServiceUntil(), c.Tip()
		if left := until - min(tip, until); r.ServiceUntil < leastService(r.AcceptedMs, left) {
			return code.New(code.Conflict, "the receipt ends custody %d s after it begins, the service of the contract goes on for %d blocks",
				(r.ServiceUntil-r.AcceptedMs)/1000, left)
		}
	}
	return nil
}

// leastService is the earliest time at which a relay may say that the service ends in so many
// blocks.
func leastService(accepted identity.UnixMilli, left usage.Height) identity.UnixMilli {
	t := accepted + identity.UnixMilli(left)*identity.UnixMilli((blockMinutes*time.Minute).Milliseconds())/serviceShare
	return t - min(t, serviceSlack)
}
