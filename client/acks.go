package client

import (
	"context"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// ackLife is how long an acknowledgement waits for a way to its sender, in milliseconds: 30 days.
const ackLife identity.UnixMilli = 30 * 24 * 3600 * 1000

// sendDeliveryAcks hands over all delivery acknowledgements that a relay has not taken yet.
func (a *Agent) sendDeliveryAcks(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	for {
		waiting, err := a.store.DeliveryAcks(ctx, relay, int(c.Info().Limits.MaxPage))
		if err != nil || len(waiting) == 0 {
			return err
		}
		results, err := a.acknowledge(ctx, c, waiting)
		if err != nil {
			return err
		}
		done := settled(waiting, results, func(p store.PendingStatement, err error) {
			a.log.Info("a relay does not take an acknowledgement", "relay", relay.Name(), "record", p.Record.Short(), "err", err)
		})
		if len(done) == 0 {
			return nil // all are asked to wait
		}
		if err := a.store.DonePending(ctx, done); err != nil {
			return err
		}
	}
}

// settled are the statements that need not be sent again: taken, or refused for good.
func settled(waiting []store.PendingStatement, results []message.Result, refused func(store.PendingStatement, error)) []store.PendingID {
	var out []store.PendingID
	for i, p := range waiting {
		err := results[i].Err()
		if err != nil && code.Of(err).Retryable() {
			continue
		}
		if err != nil {
			refused(p, err)
		}
		out = append(out, p.ID)
	}
	return out
}

// bundle signs waiting statements in one tree again, for they travel together.
func (a *Agent) bundle(waiting []store.PendingStatement) ([]byte, message.Homes, error) {
	raws := make([][]byte, len(waiting))
	homes := make([]uint16, len(waiting))
	for i, p := range waiting {
		raws[i], homes[i] = p.Signed.Statement, uint16(p.Home)
	}
	b, err := identity.SignBundle(a.home.Key(), raws...)
	return b.Bytes(), message.NewHomes(homes...), err
}

// acknowledge sends delivery acknowledgements and gives the result of each.
func (a *Agent) acknowledge(ctx context.Context, c *session.Client, waiting []store.PendingStatement) ([]message.Result, error) {
	acks, homes, err := a.bundle(waiting)
	if err != nil {
		return nil, err
	}
	m, err := call[*message.Acknowledged](ctx, c, &message.Acknowledge{Acks: acks, Homes: homes})
	if err != nil {
		return nil, err
	}
	if len(m.Results) != len(waiting) {
		return nil, code.New(code.Malformed, "%d results of %d acknowledgements", len(m.Results), len(waiting))
	}
	return m.Results, nil
}

// sendDeletes hands over all deletes that a relay has not receipted yet.
func (a *Agent) sendDeletes(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	for {
		waiting, err := a.store.Deletes(ctx, relay, int(c.Info().Limits.MaxPage))
		if err != nil || len(waiting) == 0 {
			return err
		}
		m, err := a.delete(ctx, c, waiting)
		if err != nil {
			return err
		}
		for i, p := range waiting {
			if len(m.Receipts[i]) > 0 {
				if err := a.keepDeleteReceipt(ctx, relay, p, m.Receipts[i]); err != nil {
					return err
				}
			}
		}
		done := settled(waiting, m.Results, func(p store.PendingStatement, err error) {
			a.log.Info("a relay does not delete", "relay", relay.Name(), "record", p.Record.Short(), "err", err)
		})
		if len(done) == 0 {
			return nil
		}
		if err := a.store.DonePending(ctx, done); err != nil {
			return err
		}
	}
}

func (a *Agent) delete(ctx context.Context, c *session.Client, waiting []store.PendingStatement) (*message.Deleted, error) {
	deletes, homes, err := a.bundle(waiting)
	if err != nil {
		return nil, err
	}
	m, err := call[*message.Deleted](ctx, c, &message.Delete{Deletes: deletes, Homes: homes})
	if err != nil {
		return nil, err
	}
	if len(m.Results) != len(waiting) || len(m.Receipts) != len(waiting) {
		return nil, code.New(code.Malformed, "%d results of %d deletes", len(m.Results), len(waiting))
	}
	return m, nil
}

// keepDeleteReceipt verifies and saves the receipt for a delete. The record may have been deleted
// before by another order, which the receipt then names.
func (a *Agent) keepDeleteReceipt(ctx context.Context, relay identity.PublicKey, p store.PendingStatement, raw []byte) error {
	s, err := identity.ParseSigned(raw)
	if err != nil {
		return err
	}
	r, err := usage.OpenDeleteReceipt(s)
	if err != nil {
		return err
	}
	if r.From != relay || r.To != a.Key() || r.Record != p.Record {
		return code.New(code.Conflict, "the receipt is for another delete")
	}
	return a.store.SaveDeleteReceipt(ctx, r)
}

// flushAcks sends acknowledgements to senders, in sealed records over the own relays: those that
// have waited long enough or are many, or all of them.
// Without a relay of one's own they wait, and what the serving relay got must do.
func (a *Agent) flushAcks(ctx context.Context, all bool) error {
	due, err := a.store.AcksDue(ctx)
	if err != nil || len(due) == 0 {
		return err
	}
	if ok, err := a.canPay(ctx); err != nil || !ok {
		a.log.Debug("acknowledgements wait for an own relay", "senders", len(due))
		return err
	}
	wait := identity.UnixMilli(a.cfg.Limits.AckFlushSeconds) * 1000
	var first error
	for _, d := range due {
		for n := d.Count; n > 0; n -= records.MaxAcknowledgements {
			if !all && n < records.MaxAcknowledgements && a.nowMilli() < d.Oldest+wait {
				break
			}
			if err := a.flushAcksTo(ctx, d.Sender); err != nil {
				a.log.Debug("acknowledgements wait", "sender", d.Sender.Name(), "count", n, "err", err)
				first = firstOf(first, err)
				break
			}
		}
	}
	return first
}

// firstOf keeps the first error, but those that only say that there is no own relay, or nobody to
// send to: acknowledgements are then only given to the serving relay, which is allowed.
func firstOf(first, err error) error {
	switch code.Of(err) {
	case code.NoRelay, code.UnknownContact, code.NoFunds, code.AllowanceUsed:
		return first
	}
	if first == nil {
		return err
	}
	return first
}

// flushAcksTo sends the oldest acknowledgements to one sender.
func (a *Agent) flushAcksTo(ctx context.Context, sender identity.PublicKey) error {
	waiting, err := a.store.SenderAcks(ctx, sender, records.MaxAcknowledgements)
	if err != nil || len(waiting) == 0 {
		return err
	}
	to, err := a.store.Contact(ctx, sender)
	if err == nil {
		err = a.postAcks(ctx, to, waiting)
	}
	if err == nil {
		return nil
	}
	var old []store.PendingID
	for _, p := range waiting {
		if a.nowMilli() > p.Saved+ackLife {
			old = append(old, p.ID)
		}
	}
	if len(old) > 0 {
		a.log.Info("acknowledgements found no way and are dropped", "sender", sender.Name(), "count", len(old))
		if e := a.store.DonePending(ctx, old); e != nil {
			return e
		}
	}
	return err
}

func (a *Agent) postAcks(ctx context.Context, to store.Contact, waiting []store.PendingStatement) error {
	acks := make([]identity.Signed, len(waiting))
	ids := make([]store.PendingID, len(waiting))
	for i, p := range waiting {
		acks[i], ids[i] = p.Signed, p.ID
	}
	body, err := records.AcknowledgementsBody(acks)
	if err != nil {
		return err
	}
	return a.whisper(ctx, letter{
		to: to, kind: store.KindAcknowledgements, flushed: ids, pulls: whisperPulls,
		content: records.Content{MediaType: records.MediaAcknowledgements, Body: body},
	})
}

// whisperPulls is how often a record of the agent's own may be read: once, and once more.
const whisperPulls = 2

// whisper sends a letter of the agent's own. That it is queued is enough.
func (a *Agent) whisper(ctx context.Context, l letter) error {
	p, err := a.post(ctx, l)
	if err != nil || p.fault != nil {
		return err
	}
	if _, err := a.deliverAll(ctx, p); err != nil && !waits(err) {
		return err
	}
	return nil
}

// tellContacts sends the own document to everybody who knows only one with other relays.
func (a *Agent) tellContacts(ctx context.Context) error {
	untold, err := a.untold(ctx)
	if err != nil || len(untold) == 0 {
		return err
	}
	if ok, err := a.canPay(ctx); err != nil || !ok {
		return err
	}
	d, err := a.ownDocument(ctx)
	if err != nil {
		return err
	}
	for _, k := range untold {
		err := a.whisper(ctx, letter{
			to: k, kind: store.KindIdentity, pulls: whisperPulls,
			content: records.Content{MediaType: records.MediaIdentity, Body: records.IdentityBody(d.Signed())},
		})
		if err != nil {
			a.log.Debug("a contact is not told of the new relays yet", "contact", k.Key.Name(), "err", err)
			continue
		}
		if err := a.told(ctx, k.Key); err != nil {
			return err
		}
	}
	return nil
}

// flushEvery is how often it is looked for acknowledgements that have waited long enough.
func (l Limits) flushEvery() time.Duration {
	return min(max(time.Duration(l.AckFlushSeconds)*time.Second/4, time.Second), 15*time.Second)
}
