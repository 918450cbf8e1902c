package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// Known tells for each digest whether the record was received well before.
func (c *Client) Known(ctx context.Context, records []identity.Digest) ([]bool, error) {
	keys := make([][]byte, len(records))
	for i, d := range records {
		keys[i] = key32(clientKnown, d)
	}
	got, err := c.engine.Get(ctx, clientShard, keys)
	if err != nil {
		return nil, err
	}
	out := make([]bool, len(got))
	for i := range got {
		out[i] = got[i] != nil
	}
	return out, nil
}

// SaveRequests keeps read requests before they are shown to a relay.
func (c *Client) SaveRequests(ctx context.Context, requests []Request) error {
	return c.update(ctx, func(t *clientTx) error {
		for _, q := range requests {
			body, err := usage.DecodeReadRequest(q.Signed.Statement)
			if err != nil {
				return err
			}
			t.put(key64(clientRequest, q.Relay, body.Record), q.encode())
		}
		return nil
	})
}

// Request finds the request for a record at a relay that may already have been charged.
func (c *Client) Request(ctx context.Context, relay identity.PublicKey, record identity.Digest) (Request, bool, error) {
	v, err := c.getOne(ctx, key64(clientRequest, relay, record))
	if err != nil || v == nil {
		return Request{}, false, err
	}
	q, err := decodeRequest(v)
	q.Relay = relay
	return q, err == nil, err
}

// DropRequest forgets a request that was denied or is over.
func (c *Client) DropRequest(ctx context.Context, relay identity.PublicKey, record identity.Digest) error {
	return c.update(ctx, func(t *clientTx) error {
		t.delete(key64(clientRequest, relay, record))
		return nil
	})
}

// SaveReceived keeps a record that was read, with all that follows from it, in one step. It
// tells where the message stands in its conversation. Of a record that was received well
// before, only cursor and delivery acknowledgement are taken. Code StoreStale if it was opened
// from a state of its epoch that is not the last one: open it again.
func (c *Client) SaveReceived(ctx context.Context, now identity.UnixMilli, in Incoming) (records.Place, error) {
	var place records.Place
	err := c.update(ctx, func(t *clientTx) error {
		var err error
		place, err = t.saveReceived(now, in)
		return err
	})
	return place, err
}

func (t *clientTx) saveReceived(now identity.UnixMilli, in Incoming) (records.Place, error) {
	record := in.Record.Digest()
	if err := t.moveCursor(in.Cursor); err != nil {
		return 0, err
	}
	t.delete(key64(clientRequest, in.Relay, record))
	if err := t.addPending(now, pendingDelivery, in.Relay, in.DeliveryAck, record, in.Home); err != nil {
		return 0, err
	}
	if known, err := t.get(key32(clientKnown, record)); err != nil || known != nil {
		return records.Outside, err
	}
	if err := t.addPending(now, pendingSender, in.Record.Header().From, in.SenderAck, record, NoShard); err != nil {
		return 0, err
	}
	place, err := t.takePlace(in)
	if err != nil {
		return 0, err
	}
	if err := t.saveRecvEpoch(in.Epoch); err != nil {
		return 0, err
	}
	for _, a := range in.Acks {
		if err := t.saveAck(a); err != nil {
			return 0, err
		}
	}
	return place, t.putReceived(now, in, place)
}

// putReceived writes the record itself. One that came broken before is overwritten; one that
// came well is never read again.
func (t *clientTx) putReceived(now identity.UnixMilli, in Incoming, place records.Place) error {
	record := in.Record.Digest()
	seq, err := t.next()
	if err != nil {
		return err
	}
	if err := t.unlist(record); err != nil {
		return err
	}
	row := Received{
		Seq: seq, Signed: in.Record.Signed(), Kind: in.Kind, Relay: in.Relay, Arrival: in.Arrival, Home: in.Home,
		Verdict: in.Verdict, Opened: in.Opened, Sequence: in.Sequence, Place: place, Saved: now,
		HasPlain: len(in.Plain) > 0, HasSealed: len(in.Sealed) > 0,
	}
	t.put(key32(clientReceived, record), row.encode())
	t.put(key8(clientInbox, seq), digestValue(record))
	if in.Verdict == usage.VerdictOK {
		t.put(key32(clientKnown, record), number(uint64(in.Record.Header().Expiry())))
	}
	if row.HasPlain {
		t.putPlain(record, in.Plain, in.Summary)
	}
	if row.HasSealed {
		t.putLarge(clientSealed, record, in.Sealed)
	}
	return nil
}

// unlist takes an earlier, broken copy of a record off the list.
func (t *clientTx) unlist(record identity.Digest) error {
	v, err := t.get(key32(clientReceived, record))
	if err != nil || v == nil {
		return err
	}
	old, err := decodeReceived(record, v)
	t.delete(key8(clientInbox, old.Seq))
	return err
}

// takePlace moves the conversation on.
func (t *clientTx) takePlace(in Incoming) (records.Place, error) {
	if !in.Opened || in.Sequence == 0 {
		return records.Outside, nil
	}
	key := key32(clientRecvTalk, in.Record.Header().From)
	v, err := t.get(key)
	if err != nil {
		return 0, err
	}
	thread, err := decodeThread(v)
	if err != nil {
		return 0, err
	}
	thread, place := thread.Observe(in.Sequence, in.Previous, in.Record.Digest())
	raw, err := thread.Encode()
	t.put(key, raw)
	return place, err
}

// saveRecvEpoch keeps the state after opening a message, if it follows the kept one.
func (t *clientTx) saveRecvEpoch(e *records.RecvEpoch) error {
	if e == nil {
		return nil
	}
	key := recvEpochKey(e.From, e.ID)
	v, err := t.get(key)
	if err != nil {
		return err
	}
	before, err := decodeRecvEpoch(v)
	if err != nil {
		return err
	}
	if e.Opened != before.Opened+1 {
		return code.New(code.StoreStale, "another message of the epoch was opened meanwhile")
	}
	raw, err := e.Encode()
	t.put(key, raw)
	return err
}

// decodeRecvEpoch reads an epoch; a missing one is zero.
func decodeRecvEpoch(b []byte) (records.RecvEpoch, error) {
	if b == nil {
		return records.RecvEpoch{}, nil
	}
	v, err := records.DecodeRecvEpoch(b)
	return v, code.Wrap(code.StoreCorrupt, err, "a receive epoch")
}

// moveCursor moves a cursor forward; after a restore of the relay also back.
func (t *clientTx) moveCursor(m *CursorMove) error {
	if m == nil {
		return nil
	}
	key := key64(clientCursor, m.Relay, m.Peer)
	v, err := t.get(key)
	if err != nil {
		return err
	}
	at, err := decodeCursor(v)
	if err == nil && (at.StoreEpoch != m.StoreEpoch || at.Through < m.Through) {
		t.put(key, m.Cursor.encode())
	}
	return err
}

// Cursor is how far a list was read; see CursorMove. Zero at first.
func (c *Client) Cursor(ctx context.Context, relay, peer identity.PublicKey) (Cursor, error) {
	v, err := c.getOne(ctx, key64(clientCursor, relay, peer))
	if err != nil {
		return Cursor{}, err
	}
	return decodeCursor(v)
}

// SaveCursor moves a cursor forward, or anywhere if the store epoch is another one.
func (c *Client) SaveCursor(ctx context.Context, m CursorMove) error {
	return c.update(ctx, func(t *clientTx) error { return t.moveCursor(&m) })
}

// Received reads one record. Code NotFound.
func (c *Client) Received(ctx context.Context, record identity.Digest) (Received, error) {
	v, err := c.getKnown(ctx, key32(clientReceived, record), "received record")
	if err != nil {
		return Received{}, err
	}
	return decodeReceived(record, v)
}

// Inbox lists received records by Seq above after, ascending.
func (c *Client) Inbox(ctx context.Context, after uint64, limit int) ([]Received, error) {
	digests, err := c.list(ctx, clientInbox, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Received, len(digests))
	for i, d := range digests {
		if out[i], err = c.Received(ctx, d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// MarkRead notes that a message was shown.
func (c *Client) MarkRead(ctx context.Context, record identity.Digest) error {
	return c.update(ctx, func(t *clientTx) error {
		v, err := t.get(key32(clientReceived, record))
		if err != nil {
			return err
		}
		if v == nil {
			return code.New(code.NotFound, "no such received record")
		}
		row, err := decodeReceived(record, v)
		row.Read = true
		t.put(key32(clientReceived, record), row.encode())
		return err
	})
}
