package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// Enqueue keeps an order and its records for sending, together with the sealing states after
// them: from here on they are sent until a receipt comes. It refuses with code StoreStale what
// was sealed from a state that is not the last one, or numbered from such a conversation: seal
// again. The same order again changes nothing.
func (c *Client) Enqueue(ctx context.Context, now identity.UnixMilli, o Outgoing) error {
	return c.update(ctx, func(t *clientTx) error { return t.enqueue(now, o) })
}

func (t *clientTx) enqueue(now identity.UnixMilli, o Outgoing) error {
	if have, err := t.get(key32(clientOrder, o.Order.Digest())); err != nil || have != nil {
		return err
	}
	row := orderRow{state: OrderQueued, order: o.Order.Signed(), created: now}
	var err error
	if row.seq, err = t.next(); err != nil {
		return err
	}
	for _, r := range o.Records {
		row.records = append(row.records, r.Record.Digest())
	}
	if err := t.fetchSent(row.records); err != nil {
		return err
	}
	sealed := newSealedBy(o.Epochs)
	facts := make([]usage.RecordFacts, len(o.Records))
	for i, r := range o.Records {
		s, err := t.addSent(now, r, o.Order.Digest(), sealed)
		if err != nil {
			return err
		}
		facts[i] = s.facts()
	}
	if err := o.Order.Names(facts); err != nil {
		return err
	}
	if err := t.saveEpochs(sealed); err != nil {
		return err
	}
	t.putOrder(o.Order.Digest(), row)
	t.put(key8(clientQueue, row.seq), digestValue(o.Order.Digest()))
	t.put(key32n(clientContract, o.Order.Contract, row.seq), digestValue(o.Order.Digest()))
	if !o.Replaces.IsZero() {
		if err := t.abandon(o.Replaces); err != nil {
			return err
		}
	}
	return t.dropPending(o.Flushed)
}

func digestValue(d identity.Digest) []byte { return newWriter(32).fixed(d[:]).b }

func decodeDigest(b []byte) (identity.Digest, error) {
	var d identity.Digest
	r := newReader(b)
	r.fixed(d[:])
	return d, r.end("a digest")
}

func (t *clientTx) putOrder(order identity.Digest, row orderRow) {
	t.put(key32(clientOrder, order), row.encode())
}

func (t *clientTx) order(order identity.Digest) (orderRow, error) {
	v, err := t.get(key32(clientOrder, order))
	if err != nil {
		return orderRow{}, err
	}
	if v == nil {
		return orderRow{}, code.New(code.NotFound, "no such order")
	}
	return decodeOrder(v)
}

// fetchSent reads own records in one round trip.
func (t *clientTx) fetchSent(digests []identity.Digest) error {
	keys := make([][]byte, 0, len(digests))
	for _, d := range digests {
		if k := key32(clientSent, d); t.writes[string(k)] == nil {
			keys = append(keys, k)
		}
	}
	return t.fetch(keys)
}

// sent reads an own record; false if it is none.
func (t *clientTx) sent(record identity.Digest) (sentRow, bool, error) {
	v, err := t.get(key32(clientSent, record))
	if err != nil || v == nil {
		return sentRow{}, false, err
	}
	row, err := decodeSent(record, v)
	return row, err == nil, err
}

func (t *clientTx) putSent(row sentRow) { t.put(key32(clientSent, row.Digest), row.encode()) }

// addSent keeps a record that is going out. One that is known, because it is mirrored or
// ordered again, gets one more order.
func (t *clientTx) addSent(now identity.UnixMilli, r OutgoingRecord, order identity.Digest, sealed *sealedBy) (sentRow, error) {
	row, known, err := t.sent(r.Record.Digest())
	if err != nil {
		return row, err
	}
	if !known {
		if row, err = t.newSent(now, r, sealed); err != nil {
			return row, err
		}
	}
	row.Orders = append(row.Orders, order)
	t.putLarge(clientSealed, row.Digest, r.Record.Content())
	t.putSent(row)
	return row, nil
}

func (t *clientTx) newSent(now identity.UnixMilli, r OutgoingRecord, sealed *sealedBy) (sentRow, error) {
	row := sentRow{Sent: Sent{
		Digest: r.Record.Digest(), Signed: r.Record.Signed(), Header: r.Record.Header(),
		Kind: r.Kind, Sequence: r.Sequence, Saved: now, HasPlain: len(r.Plain) > 0,
	}}
	var err error
	if row.Seq, err = t.next(); err != nil {
		return row, err
	}
	t.put(key8(clientSentList, row.Seq), digestValue(row.Digest))
	if row.HasPlain {
		t.putPlain(row.Digest, r.Plain, r.Summary)
	}
	if row.Header.From != t.owner {
		return row, nil // another sender's, mirrored
	}
	if row.epoch, err = sealed.add(row.Header.To, r.Record.Content()); err != nil {
		return row, err
	}
	return row, t.follow(r)
}

// follow checks that a message continues its conversation and moves that on.
func (t *clientTx) follow(r OutgoingRecord) error {
	if r.Sequence == 0 {
		return nil
	}
	key := key32(clientSendTalk, r.Record.Header().To)
	v, err := t.get(key)
	if err != nil {
		return err
	}
	thread, err := decodeThread(v)
	if err != nil {
		return err
	}
	thread, place := thread.Observe(r.Sequence, r.Previous, r.Record.Digest())
	if place != records.InOrder {
		return code.New(code.StoreStale, "message %d does not follow the last one of the conversation", r.Sequence)
	}
	raw, err := thread.Encode()
	t.put(key, raw)
	return err
}

// decodeThread reads a conversation; a missing one has not begun.
func decodeThread(b []byte) (records.Thread, error) {
	if b == nil {
		return records.Thread{}, nil
	}
	v, err := records.DecodeThread(b)
	return v, code.Wrap(code.StoreCorrupt, err, "a conversation")
}

// sealedBy matches the messages of an Outgoing with the epochs they were sealed in, so that no
// counter is ever used twice.
type sealedBy struct {
	after map[identity.PublicKey]records.SendEpoch
	used  map[identity.PublicKey][]uint32
}

func newSealedBy(epochs []records.SendEpoch) *sealedBy {
	s := &sealedBy{make(map[identity.PublicKey]records.SendEpoch), make(map[identity.PublicKey][]uint32)}
	for _, e := range epochs {
		s.after[e.To] = e
	}
	return s
}

// add takes in one content; contents that are no messages use no epoch.
func (s *sealedBy) add(to identity.PublicKey, content []byte) (records.EpochID, error) {
	if records.SuiteOf(content) != records.SuiteMessage {
		return records.EpochID{}, nil
	}
	m, err := records.ParseSealed(content)
	if err != nil {
		return records.EpochID{}, err
	}
	if e, ok := s.after[to]; !ok || e.ID != m.Epoch {
		return records.EpochID{}, code.New(code.BadState, "the epoch of a sealed record is missing")
	}
	s.used[to] = append(s.used[to], m.Counter)
	return m.Epoch, nil
}

// saveEpochs checks that each epoch goes on exactly where the kept one ended, and keeps it.
func (t *clientTx) saveEpochs(s *sealedBy) error {
	for to, e := range s.after {
		key := key32(clientSendEpoch, to)
		v, err := t.get(key)
		if err != nil {
			return err
		}
		before, err := decodeSendEpoch(v)
		if err != nil {
			return err
		}
		next := uint32(0)
		if before.ID == e.ID {
			next = before.Counter
		}
		for _, counter := range s.used[to] {
			if counter != next {
				return code.New(code.StoreStale, "counter %d of the epoch was used meanwhile", counter)
			}
			next++
		}
		if next != e.Counter {
			return code.New(code.BadState, "the epoch stands at %d, its records end at %d", e.Counter, next)
		}
		if before.Acknowledged {
			e = e.Acknowledge(before.ID)
		}
		raw, err := e.Encode()
		if err != nil {
			return err
		}
		t.put(key, raw)
	}
	return nil
}

// decodeSendEpoch reads an epoch; a missing one is zero.
func decodeSendEpoch(b []byte) (records.SendEpoch, error) {
	if b == nil {
		return records.SendEpoch{}, nil
	}
	v, err := records.DecodeSendEpoch(b)
	return v, code.Wrap(code.StoreCorrupt, err, "a send epoch")
}
