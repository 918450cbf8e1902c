package client

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// Outbox lists own messages, oldest first.
func (a *Agent) Outbox(ctx context.Context) ([]Message, error) {
	waiting, err := a.waiting(ctx)
	if err != nil {
		return nil, err
	}
	var out []Message
	sums := a.summaries()
	defer sums.save(ctx)
	err = a.scanOutbox(ctx, func(s store.Sent) (bool, error) {
		m, err := a.outMessage(ctx, s, waiting, sums)
		out = append(out, m)
		return true, err
	})
	return out, err
}

// waiting are all orders in the queue.
func (a *Agent) waiting(ctx context.Context) (map[identity.Digest]store.QueuedOrder, error) {
	queue, err := a.store.Queue(ctx, identity.PublicKey{})
	if err != nil {
		return nil, err
	}
	out := make(map[identity.Digest]store.QueuedOrder, len(queue))
	for _, q := range queue {
		out[q.Order] = q
	}
	return out, nil
}

func (a *Agent) sentMessage(ctx context.Context, s store.Sent) (Message, error) {
	waiting, err := a.waiting(ctx)
	if err != nil {
		return Message{}, err
	}
	sums := a.summaries()
	defer sums.save(ctx)
	return a.outMessage(ctx, s, waiting, sums)
}

// outMessage is an own message as lists show it.
func (a *Agent) outMessage(ctx context.Context, s store.Sent, waiting map[identity.Digest]store.QueuedOrder, sums *summaries) (Message, error) {
	m := Message{
		Digest: s.Digest, Path: s.Header.Path().String(), Peer: s.Header.To, PeerLabel: a.labelOf(ctx, s.Header.To),
		Time: s.Header.Time, Expires: s.Header.Expiry(), Sequence: s.Sequence, Acknowledged: s.Acked,
	}
	queued := false
	for _, o := range s.Orders {
		if q, ok := waiting[o]; ok {
			queued, m.Relay, m.Contract = true, q.Relay, q.Contract
		}
		r, err := a.receipt(ctx, o)
		if err != nil {
			return m, err
		}
		if r != nil {
			m.Relay, m.Contract, m.WorstCost = r.From, r.Contract, r.WorstMsat
			m.Expires = min(s.Header.Expiry(), r.ServiceUntil) // custody ends with the contract's service
		}
	}
	m.State = a.sentState(s, queued)
	if !s.HasPlain {
		return m, nil
	}
	return m, sums.describe(ctx, &m)
}

// receipt is the kept receipt for an order; nil if there is none. It was verified when it came.
func (a *Agent) receipt(ctx context.Context, order identity.Digest) (*usage.Receipt, error) {
	s, err := a.store.Receipt(ctx, order)
	if code.Of(err) == code.NotFound {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	r, err := usage.DecodeReceipt(s.Statement)
	return &r, code.Wrap(code.StoreCorrupt, err, "a receipt")
}

func (a *Agent) sentState(s store.Sent, queued bool) string {
	switch {
	case s.Deleted > 0:
		return StateDeleted
	case s.Verdict == usage.VerdictOK:
		return StateAcknowledged
	case s.Verdict == usage.VerdictBad:
		return StateRejected
	case s.Header.Expiry() <= a.nowMilli():
		return StateExpired
	case s.Stored > 0:
		return StateStored
	case queued:
		return StateQueued
	}
	return StateFailed
}

// Delete ends an own message at every relay that has it, with its attachments, or takes it out of
// the queue; of a received message it deletes what is kept here. The order to delete is on disk
// when Delete returns and is sent until a relay's receipt comes; the state of the message says
// whether it has. Code NotFound.
func (a *Agent) Delete(ctx context.Context, id string) (Message, error) {
	r, s, err := a.find(ctx, id)
	if err != nil {
		return Message{}, err
	}
	if r != nil {
		m, err := a.receivedMessage(ctx, *r, a.summaries())
		if err != nil {
			return m, err
		}
		m.State = StateDeleted
		return m, a.forget(ctx, *r)
	}
	relays, err := a.deleteSent(ctx, *s)
	if err != nil {
		return Message{}, err
	}
	for relay := range relays {
		c, err := a.session(ctx, relay)
		if err == nil {
			err = a.sendDeletes(ctx, c, relay)
		}
		if err != nil {
			a.log.Info("a delete waits for its relay", "relay", relay.Name(), "err", err)
		}
	}
	now, err := a.store.Sent(ctx, s.Digest)
	if err != nil {
		return Message{}, err
	}
	return a.sentMessage(ctx, now)
}

// forget deletes what is kept of a received message and its attachments.
func (a *Agent) forget(ctx context.Context, r store.Received) error {
	if r.HasPlain {
		files, err := a.filesOf(ctx, r.Digest)
		if err != nil {
			return err
		}
		for _, f := range files {
			for _, d := range f.Pieces {
				if err := a.store.Forget(ctx, d); err != nil && code.Of(err) != code.NotFound {
					return err
				}
			}
		}
	}
	return a.store.Forget(ctx, r.Digest)
}

// deleteSent orders the end of a message and its pieces, and gives the relays to be told.
func (a *Agent) deleteSent(ctx context.Context, s store.Sent) (map[identity.PublicKey]bool, error) {
	all := []identity.Digest{s.Digest}
	if s.HasPlain {
		files, err := a.filesOf(ctx, s.Digest)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			all = append(all, f.Pieces...)
		}
	}
	waiting, err := a.waiting(ctx)
	if err != nil {
		return nil, err
	}
	relays := make(map[identity.PublicKey]bool)
	for _, d := range all {
		s, err := a.store.Sent(ctx, d)
		if err != nil {
			return nil, err
		}
		if err := a.deleteRecord(ctx, s, waiting, relays); err != nil {
			return nil, err
		}
	}
	return relays, nil
}

// deleteRecord orders the end of one record wherever it is or may be.
func (a *Agent) deleteRecord(ctx context.Context, s store.Sent, waiting map[identity.Digest]store.QueuedOrder, relays map[identity.PublicKey]bool) error {
	if s.Deleted > 0 {
		return nil
	}
	for _, o := range s.Orders {
		relay, home := identity.PublicKey{}, store.NoShard
		if q, ok := waiting[o]; ok {
			if err := a.store.Abandon(ctx, o); err != nil {
				return err
			}
			if q.Tries == 0 {
				continue // it never left this machine
			}
			relay = q.Relay
		}
		r, err := a.receipt(ctx, o)
		if err != nil {
			return err
		}
		if r != nil {
			relay, home = r.From, store.Shard(r.HomeShard)
		}
		if relay.IsZero() {
			continue
		}
		if err := a.orderDelete(ctx, relay, s.Digest, home); err != nil {
			return err
		}
		relays[relay] = true
	}
	return nil
}

func (a *Agent) orderDelete(ctx context.Context, relay identity.PublicKey, record identity.Digest, home store.Shard) error {
	waiting, err := a.store.Deletes(ctx, relay, 1<<16)
	if err != nil {
		return err
	}
	for _, p := range waiting {
		if p.Record == record {
			return nil // ordered before
		}
	}
	h, err := a.header(relay, a.relayTime(relay))
	if err != nil {
		return err
	}
	raw, err := usage.Delete{Header: h, Record: record}.Encode()
	if err != nil {
		return err
	}
	signed, err := identity.SignOne(a.home.Key(), raw)
	if err != nil {
		return err
	}
	d, err := usage.OpenDelete(signed)
	if err != nil {
		return err
	}
	return a.store.EnqueueDelete(ctx, a.nowMilli(), d, home)
}
