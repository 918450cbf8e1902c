package store

import (
	"context"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// addPending keeps a statement until it has reached a party; a zero one is none.
func (t *clientTx) addPending(now identity.UnixMilli, kind byte, party identity.PublicKey, s identity.Signed, record identity.Digest, home Shard) error {
	if s.IsZero() {
		return nil
	}
	id, err := t.next()
	if err != nil {
		return err
	}
	t.put(pendingStatementKey(kind, party, PendingID(id)), PendingStatement{Signed: s, Record: record, Home: home, Saved: now}.encode())
	t.put(key8(clientPendingID, id), append([]byte{kind}, party[:]...))
	return nil
}

// pendingFor lists what is pending for a party, oldest first.
func (c *Client) pendingFor(ctx context.Context, kind byte, party identity.PublicKey, limit int) ([]PendingStatement, error) {
	var out []PendingStatement
	err := c.each(ctx, partyKey(kind, party), nil, func(p Pair) (bool, error) {
		if len(out) >= limit {
			return false, nil
		}
		id, err := keyNumber(p.Key)
		if err != nil {
			return false, err
		}
		s, err := decodePendingStatement(p.Value)
		s.ID = PendingID(id)
		out = append(out, s)
		return true, err
	})
	return out, err
}

// DeliveryAcks lists the delivery acknowledgements that a relay has not yet taken, oldest first.
func (c *Client) DeliveryAcks(ctx context.Context, relay identity.PublicKey, limit int) ([]PendingStatement, error) {
	return c.pendingFor(ctx, pendingDelivery, relay, limit)
}

// SenderAcks lists the acknowledgements that wait to travel to a sender, oldest first. Put them
// into a record and name them in Outgoing.Flushed.
func (c *Client) SenderAcks(ctx context.Context, sender identity.PublicKey, limit int) ([]PendingStatement, error) {
	return c.pendingFor(ctx, pendingSender, sender, limit)
}

// Deletes lists the deletes that a relay has not yet receipted, oldest first.
func (c *Client) Deletes(ctx context.Context, relay identity.PublicKey, limit int) ([]PendingStatement, error) {
	return c.pendingFor(ctx, pendingDelete, relay, limit)
}

// AcksDue sums up the waiting acknowledgements by sender.
func (c *Client) AcksDue(ctx context.Context) ([]PendingAcks, error) {
	var out []PendingAcks
	prefix := []byte{clientPending, pendingSender}
	err := c.each(ctx, prefix, nil, func(p Pair) (bool, error) {
		sender, err := keyName(p.Key, len(prefix))
		if err != nil {
			return false, err
		}
		s, err := decodePendingStatement(p.Value)
		if n := len(out); n == 0 || out[n-1].Sender != sender {
			out = append(out, PendingAcks{Sender: sender, Oldest: s.Saved})
		}
		out[len(out)-1].Count++
		return true, err
	})
	return out, err
}

// DonePending drops pending statements that have arrived or that nobody wants.
func (c *Client) DonePending(ctx context.Context, ids []PendingID) error {
	return c.update(ctx, func(t *clientTx) error { return t.dropPending(ids) })
}

func (t *clientTx) dropPending(ids []PendingID) error {
	for _, id := range ids {
		v, err := t.get(key8(clientPendingID, uint64(id)))
		if err != nil {
			return err
		}
		if len(v) != 33 {
			continue // gone already
		}
		t.delete(key8(clientPendingID, uint64(id)))
		t.delete(pendingStatementKey(v[0], identity.PublicKey(v[1:]), id))
	}
	return nil
}

// EnqueueDelete keeps an order to delete until its receipt comes.
func (c *Client) EnqueueDelete(ctx context.Context, now identity.UnixMilli, d usage.VerifiedDelete, home Shard) error {
	return c.update(ctx, func(t *clientTx) error {
		return t.addPending(now, pendingDelete, d.To, d.Signed(), d.Record, home)
	})
}

// SaveDeleteReceipt keeps the relay's receipt for a deletion, ordered or by acknowledgement.
// Deletes of the record that wait for this relay wait no more.
func (c *Client) SaveDeleteReceipt(ctx context.Context, r usage.VerifiedDeleteReceipt) error {
	waiting, err := c.Deletes(ctx, r.From, maxWaiting)
	if err != nil {
		return err
	}
	waiting = slices.DeleteFunc(waiting, func(p PendingStatement) bool { return p.Record != r.Record })
	return c.update(ctx, func(t *clientTx) error {
		t.put(key64(clientDeleted, r.Record, r.From), newWriter(512).signed(r.Signed()).b)
		for _, p := range waiting {
			if err := t.dropPending([]PendingID{p.ID}); err != nil {
				return err
			}
		}
		s, known, err := t.sent(r.Record)
		if err == nil && known && s.Deleted == 0 {
			s.Deleted = r.Time
			t.putSent(s)
		}
		return err
	})
}

// maxWaiting bounds how many waiting deletes of one relay are looked through.
const maxWaiting = 1 << 16

// saveAck keeps an acknowledgement of an own record that came over the receiver's own relays,
// and what follows: the record was opened, so its epoch needs no encapsulation any more. One
// that is not addressed to this agent, or speaks of a record that it did not send to the
// signer, is nothing and changes nothing.
func (t *clientTx) saveAck(a usage.VerifiedAcknowledgement) error {
	s, known, err := t.sent(a.Record)
	if err != nil || !known || a.To != t.owner || a.From != s.Header.To || s.Header.From != t.owner {
		return err
	}
	t.put(key64(clientAck, a.Record, a.Digest()), newWriter(512).signed(a.Signed()).b)
	if s.Acked == 0 {
		s.Acked = a.Time
	}
	if s.Verdict != usage.VerdictOK {
		s.Verdict = a.Verdict
	}
	t.putSent(s)
	if a.Verdict != usage.VerdictOK {
		return nil
	}
	return t.acknowledgeEpoch(s)
}

func (t *clientTx) acknowledgeEpoch(s sentRow) error {
	key := key32(clientSendEpoch, s.Header.To)
	v, err := t.get(key)
	if err != nil || v == nil {
		return err
	}
	e, err := decodeSendEpoch(v)
	if err != nil || e.Acknowledged || e.ID != s.epoch {
		return err
	}
	raw, err := e.Acknowledge(s.epoch).Encode()
	t.put(key, raw)
	return err
}

// decodeSigned reads a value that is one signed statement.
func decodeSigned(b []byte, what string) (identity.Signed, error) {
	r := newReader(b)
	s := r.signed()
	if err := r.end(what); err != nil {
		return s, err
	}
	if s.IsZero() {
		return s, code.New(code.StoreCorrupt, "%s is empty", what)
	}
	return s, nil
}
