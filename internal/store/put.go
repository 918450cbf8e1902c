package store

import (
	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// pieceSize is how much content lies under one key: whole chunks, and with its key less than
// MaxRow.
const pieceSize = 15 * records.ChunkSize

// accomplish gives arrivals, writes the receipt, the row of the log and the records.
func (t *tx) accomplish(w *writing, s *step) (Outcome, error) {
	w.arrival = t.arrive(len(w.Records))
	body, err := t.receiptFor(w)
	if err != nil {
		return Outcome{}, err
	}
	w.receipt = identity.StatementDigest(identity.TypeReceipt, body)
	s.put(w.home, orderKey(w.bucket, w.Order.Digest()), body)
	if err := t.chargeWrite(w, s); err != nil {
		return Outcome{}, err
	}
	return Outcome{Statement: body, Arrived: t.storeRecords(w, s)}, nil
}

func (t *tx) receiptFor(w *writing) ([]byte, error) {
	r := usage.Receipt{
		Header: t.answer(identity.TypeReceipt, w.Order.From, identity.Serial{}),
		Order:  w.Order.Digest(), StoredBytes: w.Order.TotalBytes, Arrival: w.arrival, AcceptedMs: w.at,
		ServiceUntil: w.until, WorstMsat: w.cost, Contract: w.Order.Contract, Terms: w.Order.Terms,
		StoreEpoch: t.header.epoch, HomeShard: uint16(w.home),
	}
	if w.ledger != nil {
		r.LogEpoch, r.RowIndex = w.ledger.epoch, w.ledger.rows
	}
	return r.Encode()
}

// chargeWrite appends the WRITE row and schedules the ends of custody.
func (t *tx) chargeWrite(w *writing, s *step) error {
	l := w.ledger
	if l == nil {
		return nil
	}
	in := usage.RowInput{
		Kind: usage.RowWrite, Arrival: w.arrival, Time: w.at, Bytes: w.Order.TotalBytes,
		Receipt: w.receipt, Evidence: w.Order.Signed().Bytes(),
	}
	if err := t.bill(s, l, w.Order.Grant, in); err != nil {
		return err
	}
	l.save(s)
	ends := make(map[identity.UnixMilli]due)
	for _, f := range w.facts {
		end := f.CustodyEnd(w.until)
		d := ends[end]
		ends[end] = due{w.at, d.live + f.Billable(), d.egress + f.Stored*uint64(f.MaxPulls), w.Order.Grant}
	}
	for end, d := range ends {
		s.put(w.home, dueKey(end, l.n, w.receipt), d.encode())
		s.due = append(s.due, dueAt{w.home, uint64(end)})
	}
	return nil
}

// storeRecords writes the records of an order, key by kind of key: pebble inserts runs of
// neighbouring keys in half the time.
func (t *tx) storeRecords(w *writing, s *step) []Arrived {
	places, out := make([]place, len(w.Records)), make([]Arrived, len(w.Records))
	for i, r := range w.Records {
		h, end := r.Header(), w.facts[i].CustodyEnd(w.until)
		places[i] = place{w.home, bucketAt(end), w.arrival + usage.Arrival(i)}
		out[i] = Arrived{h.To, inboxRow(r.Digest(), h, r.Signed().Statement, places[i], w.facts[i].Stored, end)}
		row := recordRow{
			contract: w.Order.Contract, receipt: w.receipt, order: w.Order.Digest(), orderBucket: w.bucket,
			accepted: w.at, end: end, header: r.Signed().Bytes(), grantedBy: w.Order.Grant,
		}
		s.put(w.home, recordKey(places[i]), row.encode())
		storeContent(s, places[i], r.Content())
	}
	for i, p := range places {
		s.put(w.home, digestKey(out[i].Row.Digest), placeValue(p))
	}
	for i, p := range places {
		t.claim(s, w.Records[i].Header(), p, out[i].Row)
	}
	for i, p := range places {
		t.list(s, kindInbox, out[i].Row.To, p)
	}
	for i, p := range places {
		t.list(s, kindOutbox, out[i].Row.From, p)
	}
	return out
}

func storeContent(s *step, p place, content []byte) {
	for piece := uint16(0); len(content) > 0; piece++ {
		n := min(pieceSize, len(content))
		s.early(phaseContent, p.home, contentKey(p, piece), content[:n])
		content = content[n:]
	}
}

// list enters a record into an inbox or outbox.
func (t *tx) list(s *step, kind byte, of identity.PublicKey, p place) {
	n := t.nums.of(of)
	s.put(p.home, key16(kind, uint64(n), uint64(p.arrival)), number(uint64(p.bucket)))
	s.boxes = append(s.boxes, box{kind, n, p.home})
}

// claim takes the record's path: with the record if it is in the same shard, else before it.
func (t *tx) claim(s *step, h records.Header, p place, row InboxRow) {
	shard, key := t.pathOf(h)
	if shard == p.home {
		s.put(shard, key, claim{place: p}.encode())
		return
	}
	c := claim{place: p, digest: row.Digest, end: row.Expiry}
	s.early(phaseClaims, shard, key, c.encode())
	s.early(phaseClaims, shard, refKey(p.bucket, key), c.encode())
}

// inboxRow is the row of a record with all of its pulls.
func inboxRow(d identity.Digest, h records.Header, statement []byte, p place, size uint64, end identity.UnixMilli) InboxRow {
	return InboxRow{
		Digest: d, From: h.From, To: h.To, ID: h.ID, Arrival: p.arrival, Size: uint32(size),
		Expiry: end, Home: uint16(p.home), Tag: h.Tag, PullsLeft: h.MaxPulls, Statement: statement,
	}
}
