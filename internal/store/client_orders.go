package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Queue lists orders that wait for their receipts, oldest first; zero relay: of all relays.
func (c *Client) Queue(ctx context.Context, relay identity.PublicKey) ([]QueuedOrder, error) {
	var out []QueuedOrder
	err := c.each(ctx, []byte{clientQueue}, nil, func(p Pair) (bool, error) {
		q, err := c.queued(ctx, p.Value)
		if err == nil && (relay.IsZero() || q.Relay == relay) {
			out = append(out, q)
		}
		return true, err
	})
	return out, err
}

func (c *Client) queued(ctx context.Context, value []byte) (QueuedOrder, error) {
	digest, err := decodeDigest(value)
	if err != nil {
		return QueuedOrder{}, err
	}
	row, err := c.readOrder(ctx, digest)
	if err != nil {
		return QueuedOrder{}, err
	}
	o, err := usage.DecodeStoreOrder(row.order.Statement)
	if err != nil {
		return QueuedOrder{}, code.Wrap(code.StoreCorrupt, err, "a queued order")
	}
	return QueuedOrder{
		Seq: row.seq, Order: digest, Relay: o.To, Contract: o.Contract, State: row.state, Records: len(row.records),
		Created: row.created, NotAfter: o.NotAfter, Tries: uint32(row.tries), LastTry: row.lastTry, Error: row.fault, Text: row.text,
	}, nil
}

func (c *Client) readOrder(ctx context.Context, digest identity.Digest) (orderRow, error) {
	v, err := c.getKnown(ctx, key32(clientOrder, digest), "order")
	if err != nil {
		return orderRow{}, err
	}
	return decodeOrder(v)
}

// QueuedWrite reads what travels for an order. Code NotFound if it does not wait any more.
func (c *Client) QueuedWrite(ctx context.Context, order identity.Digest) (QueuedWrite, error) {
	row, err := c.readOrder(ctx, order)
	if err != nil {
		return QueuedWrite{}, err
	}
	if !row.waits() {
		return QueuedWrite{}, code.New(code.NotFound, "the order does not wait any more")
	}
	w := QueuedWrite{Order: row.order}
	for _, d := range row.records {
		s, err := c.Sent(ctx, d)
		if err != nil {
			return QueuedWrite{}, err
		}
		content, err := c.large(ctx, clientSealed, d)
		if err != nil {
			return QueuedWrite{}, err
		}
		w.Headers, w.Contents = append(w.Headers, s.Signed), append(w.Contents, content)
	}
	return w, nil
}

// MarkTried notes that an order was given to its relay (cause nil), or why that failed.
func (c *Client) MarkTried(ctx context.Context, now identity.UnixMilli, order identity.Digest, cause error) error {
	return c.update(ctx, func(t *clientTx) error {
		row, err := t.order(order)
		if err != nil || !row.waits() {
			return err
		}
		row.tries, row.lastTry, row.fault, row.text = row.tries+1, now, code.OK, ""
		if cause == nil {
			row.state = OrderSent
		} else {
			row.fault, row.text = code.Of(cause), clip(cause.Error())
		}
		t.putOrder(order, row)
		return nil
	})
}

// clip bounds a text that is kept for the user.
func clip(s string) string { return s[:min(len(s), 512)] }

// Abandon gives an order up: it is not sent any more. If the relay has stored it all the same,
// a receipt that still comes is kept.
func (c *Client) Abandon(ctx context.Context, order identity.Digest) error {
	return c.update(ctx, func(t *clientTx) error { return t.abandon(order) })
}

func (t *clientTx) abandon(order identity.Digest) error {
	row, err := t.order(order)
	if err != nil || !row.waits() {
		return err
	}
	row.state = OrderAbandoned
	t.putOrder(order, row)
	return t.unqueue(row)
}

// unqueue takes an order off the queue and drops the contents that no other order waits for.
func (t *clientTx) unqueue(row orderRow) error {
	t.delete(key8(clientQueue, row.seq))
	for _, d := range row.records {
		s, known, err := t.sent(d)
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		needed, err := t.awaited(s)
		if err != nil {
			return err
		}
		if !needed {
			t.deleteLarge(clientSealed, d, int(s.Header.ContentLen))
		}
	}
	return nil
}

// awaited tells whether an order for the record still waits, after one has ended.
func (t *clientTx) awaited(s sentRow) (bool, error) {
	if len(s.Orders) == 1 {
		return false, nil
	}
	for _, o := range s.Orders {
		row, err := t.order(o)
		if err != nil {
			return false, err
		}
		if row.waits() {
			return true, nil
		}
	}
	return false, nil
}

// SaveReceipt keeps the relay's receipt: the order waits no more. Code NotFound if the order is
// not ours, Conflict if the receipt does not answer it.
func (c *Client) SaveReceipt(ctx context.Context, r usage.VerifiedReceipt) error {
	return c.update(ctx, func(t *clientTx) error {
		row, err := t.order(r.Order)
		if err != nil || row.state == OrderReceipted {
			return err
		}
		order, err := usage.OpenStoreOrder(row.order)
		if err != nil {
			return code.Wrap(code.StoreCorrupt, err, "an order")
		}
		if err := r.Answers(order); err != nil {
			return err
		}
		row.state, row.receipt, row.fault, row.text = OrderReceipted, r.Signed(), code.OK, ""
		t.putOrder(r.Order, row)
		if err := t.markStored(row, r.AcceptedMs); err != nil {
			return err
		}
		return t.unqueue(row)
	})
}

// markStored notes on every record of an order that a relay has it.
func (t *clientTx) markStored(row orderRow, at identity.UnixMilli) error {
	if err := t.fetchSent(row.records); err != nil {
		return err
	}
	for _, d := range row.records {
		s, known, err := t.sent(d)
		if err != nil {
			return err
		}
		if known && s.Stored == 0 {
			s.Stored = at
			t.putSent(s)
		}
	}
	return nil
}

// Receipt reads the receipt for an order. Code NotFound.
func (c *Client) Receipt(ctx context.Context, order identity.Digest) (identity.Signed, error) {
	row, err := c.readOrder(ctx, order)
	if err == nil && row.receipt.IsZero() {
		err = code.New(code.NotFound, "the order has no receipt yet")
	}
	return row.receipt, err
}

// Sent reads one own record. Code NotFound.
func (c *Client) Sent(ctx context.Context, record identity.Digest) (Sent, error) {
	v, err := c.getKnown(ctx, key32(clientSent, record), "sent record")
	if err != nil {
		return Sent{}, err
	}
	row, err := decodeSent(record, v)
	return row.Sent, err
}

// Outbox lists own records by Seq above after, ascending.
func (c *Client) Outbox(ctx context.Context, after uint64, limit int) ([]Sent, error) {
	digests, err := c.list(ctx, clientSentList, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Sent, len(digests))
	for i, d := range digests {
		if out[i], err = c.Sent(ctx, d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// list reads the digests of a list by number above after.
func (c *Client) list(ctx context.Context, kind byte, after uint64, limit int) ([]identity.Digest, error) {
	var out []identity.Digest
	if limit <= 0 {
		return nil, nil
	}
	err := c.each(ctx, []byte{kind}, key8(kind, after+1), func(p Pair) (bool, error) {
		d, err := decodeDigest(p.Value)
		out = append(out, d)
		return len(out) < limit, err
	})
	return out, err
}
