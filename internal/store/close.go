package store

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// deleteRecord ends a record at its sender's order. A repeated order gets the same receipt.
func (t *tx) deleteRecord(op DeleteOp, s *step) (Outcome, error) {
	d := op.Delete
	if err := t.addressed(d.Header); err != nil {
		return Outcome{}, err
	}
	v, err := t.locate(d.Record, op.Home)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case v == nil || v.From != d.From:
		return Outcome{}, errNoRecord(d.Record)
	case len(v.deleted) > 0 && len(v.answer) == 0:
		return Outcome{}, code.New(code.TombstoneExists, "the record was purged, because a payment is missing")
	case len(v.deleted) > 0:
		return Outcome{Statement: v.answer, Repeat: true}, nil
	case t.now >= v.end:
		return Outcome{}, code.New(code.Expired, "the record's custody is over")
	}
	body, err := t.closeRecord(s, v, d.Signed(), d.Digest())
	return Outcome{Statement: body}, err
}

// closeRecord turns a record into its tombstone, charges and releases what is due, and gives
// the body of the delete receipt for its sender.
func (t *tx) closeRecord(s *step, v *stored, evidence identity.Signed, order identity.Digest) ([]byte, error) {
	r := usage.DeleteReceipt{
		Header: t.answer(identity.TypeDeleteReceipt, v.From, serial("delete-receipt-serial", order)),
		Order:  order, Record: v.digest, Arrival: t.arrive(1), Contract: v.contract,
	}
	if !v.contract.IsZero() {
		l, err := t.ledgerOf(v.place.home, v.contract)
		if err != nil {
			return nil, err
		}
		if l.time(t.now) >= v.end {
			return nil, code.New(code.Expired, "the record's custody is over")
		}
		r.LogEpoch, r.RowIndex = l.epoch, l.rows
		if err := t.chargeClose(s, l.copy(), v, usage.RowDelete, evidence.Bytes(), r.Arrival); err != nil {
			return nil, err
		}
	}
	body, err := r.Encode()
	if err != nil {
		return nil, err
	}
	t.bury(s, v, evidence, body)
	return body, nil
}

// bury puts a tombstone in the place of a record: why it ended, and what was answered.
func (t *tx) bury(s *step, v *stored, why identity.Signed, answer []byte) {
	row := v.recordRow
	row.deleted, row.answer = why.Bytes(), answer
	s.put(v.place.home, recordKey(v.place), row.encode())
	t.unlist(s, v)
	for piece := 0; piece*pieceSize < int(v.ContentLen); piece++ {
		s.delete(v.place.home, contentKey(v.place, uint16(piece)))
	}
}

// unlist takes a record out of the lists.
func (r *Relay) unlist(s *step, v *stored) {
	s.delete(v.place.home, inboxKey(r.nums.of(v.To), v.place.arrival))
	s.delete(v.place.home, outboxKey(r.nums.of(v.From), v.place.arrival))
}

// chargeClose appends the DELETE or PURGE row and releases what the record can no longer use.
func (t *tx) chargeClose(s *step, l *ledger, v *stored, kind usage.RowKind, evidence []byte, at usage.Arrival) error {
	used, err := t.pulls(v)
	if err != nil {
		return err
	}
	left := v.MaxPulls - uint16(min(used, uint64(v.MaxPulls)))
	in := usage.RowInput{
		Kind: kind, Arrival: at, Time: l.time(t.now), Bytes: v.facts().Billable(), Receipt: v.receipt,
		Record: v.digest, Accepted: v.accepted, Evidence: evidence,
	}
	if err := t.bill(s, l, v.grantedBy, in); err != nil {
		return err
	}
	rest, err := usage.Rest(v.facts(), v.accepted, in.Time, v.end, left)
	if err != nil {
		return code.Wrap(code.Internal, err, "closing a record")
	}
	if err := t.release(s, l, v.grantedBy, rest); err != nil {
		return err
	}
	l.save(s)
	return t.lessDue(s, l, v, due{live: in.Bytes, egress: v.size() * uint64(left)})
}

// acknowledge attaches a delivery acknowledgement to its row, and deletes if it may.
func (t *tx) acknowledge(op AckOp, s *step) (Outcome, error) {
	a := op.Ack
	if err := t.addressed(a.Header); err != nil {
		return Outcome{}, err
	}
	if !a.Delivery() {
		return Outcome{}, code.New(code.WrongRecipient, "the delivery was another relay's")
	}
	v, err := t.locate(a.Record, op.Home)
	if err != nil {
		return Outcome{}, err
	}
	if v == nil || v.To != a.From {
		return Outcome{}, errNoRecord(a.Record)
	}
	pull, err := t.get(v.place.home, pullKey(v.place, a.Request))
	if err != nil {
		return Outcome{}, err
	}
	if pull == nil {
		return Outcome{}, code.New(code.NotFound, "this request was not served")
	}
	repeat, err := t.attach(op, s, v, pull)
	if err != nil {
		return Outcome{}, err
	}
	return t.deleteOnAck(op, s, v, repeat)
}

// attach puts the acknowledgement beside the row. The first one stays; the same again is no
// news, another one for the same request is refused.
func (t *tx) attach(op AckOp, s *step, v *stored, pull []byte) (repeat bool, err error) {
	if v.contract.IsZero() {
		return false, nil
	}
	index, err := decodeNumber(pull)
	if err != nil {
		return false, err
	}
	key := ackKey(t.nums.of(v.contract), index)
	b, err := t.get(v.place.home, key)
	if err != nil {
		return false, err
	}
	if b == nil {
		s.put(v.place.home, key, op.Ack.Signed().Bytes())
		return false, nil
	}
	d, err := signedDigest(b)
	if err == nil && d != op.Ack.Digest() {
		err = code.New(code.Conflict, "another acknowledgement of this delivery is kept")
	}
	return true, err
}

// deleteOnAck deletes the record if its sender wished so, the receiver is content, and no
// other device of his may still need it.
func (t *tx) deleteOnAck(op AckOp, s *step, v *stored, repeat bool) (Outcome, error) {
	a := op.Ack
	if a.Verdict != usage.VerdictOK || !v.DeleteOnAck() {
		return Outcome{Repeat: repeat}, nil
	}
	if len(v.deleted) > 0 && len(v.answer) > 0 {
		return t.deletedBy(v, a.Digest(), repeat)
	}
	if t.now >= v.end || len(v.deleted) > 0 {
		return Outcome{Repeat: repeat}, nil
	}
	b, err := t.get(shardOf(a.From), docKey(a.From))
	if err != nil {
		return Outcome{}, err
	}
	if b != nil {
		if d, err := decodeDocRow(b); err != nil || d.devices > 1 {
			return Outcome{Repeat: repeat}, err
		}
	}
	body, err := t.closeRecord(s, v, a.Signed(), a.Digest())
	return Outcome{Statement: body, Repeat: repeat}, err
}

// deletedBy gives the delete receipt again if this acknowledgement deleted the record.
func (t *tx) deletedBy(v *stored, by identity.Digest, repeat bool) (Outcome, error) {
	d, err := signedDigest(v.deleted)
	if err != nil || d != by {
		return Outcome{Repeat: repeat}, err
	}
	return Outcome{Statement: v.answer, Repeat: true}, nil
}

// keepDocument keeps an Identity document: the highest sequence wins.
func (t *tx) keepDocument(op IdentityOp, s *step) (Outcome, error) {
	d := op.Document
	switch {
	case d.Network() != t.header.network:
		return Outcome{}, code.New(code.WrongNetwork, "this relay works on %s", t.header.network)
	case t.now > d.Expires:
		return Outcome{}, code.New(code.IdentityExpired, "the identity document of %s has expired", d.Owner().Name())
	}
	shard, key := shardOf(d.Owner()), docKey(d.Owner())
	b, err := t.get(shard, key)
	if err != nil {
		return Outcome{}, err
	}
	if b != nil {
		if repeat, err := supersedes(op, b); repeat || err != nil {
			return Outcome{Repeat: repeat}, err
		}
	}
	row := docRow{d.Sequence, d.Devices, d.Expires, d.Digest(), d.Signed().Bytes()}
	s.put(shard, key, row.encode())
	s.put(shard, refKey(bucketAt(d.Expires), key), number(d.Sequence))
	return Outcome{}, nil
}

// supersedes tells whether the document is the one that is kept; an error says that it may
// not replace it.
func supersedes(op IdentityOp, b []byte) (bool, error) {
	kept, err := decodeDocRow(b)
	d := op.Document
	switch {
	case err != nil || kept.digest == d.Digest():
		return err == nil, err
	case d.Sequence < kept.sequence:
		return false, code.New(code.IdentityRollback, "sequence %d after %d", d.Sequence, kept.sequence)
	case d.Sequence == kept.sequence:
		return false, code.New(code.Conflict, "two identity documents have sequence %d", d.Sequence)
	}
	return false, nil
}
