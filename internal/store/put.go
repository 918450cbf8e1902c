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
	out := Outcome{Statement: body}
	for i := range w.Records {
		out.Arrived = append(out.Arrived, t.storeRecord(w, i, s))
	}
	return out, nil
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
	if err := l.append(s, in); err != nil {
		return err
	}
	l.save(s)
	ends := make(map[identity.UnixMilli]due)
	for _, f := range w.facts {
		end := f.CustodyEnd(w.until)
		d := ends[end]
		ends[end] = due{w.at, d.live + f.Billable(), d.egress + f.Stored*uint64(f.MaxPulls)}
	}
	for end, d := range ends {
		s.put(w.home, dueKey(end, l.n, w.receipt), d.encode())
		s.due = append(s.due, dueAt{w.home, uint64(end)})
	}
	return nil
}

// storeRecord writes the record with its index i in the order.
func (t *tx) storeRecord(w *writing, i int, s *step) Arrived {
	r := w.Records[i]
	h, end := r.Header(), w.facts[i].CustodyEnd(w.until)
	p := place{w.home, bucketAt(end), w.arrival + usage.Arrival(i)}
	row := recordRow{
		contract: w.Order.Contract, receipt: w.receipt, order: w.Order.Digest(), orderBucket: w.bucket,
		accepted: w.at, end: end, header: r.Signed().Bytes(),
	}
	for piece, rest := uint16(0), r.Content(); len(rest) > 0; piece++ {
		n := min(pieceSize, len(rest))
		s.early(phaseContent, p.home, contentKey(p, piece), rest[:n])
		rest = rest[n:]
	}
	s.put(p.home, recordKey(p), row.encode())
	s.put(p.home, digestKey(r.Digest()), placeValue(p))
	t.list(s, kindInbox, h.To, p)
	t.list(s, kindOutbox, h.From, p)
	t.claim(s, h, p, r.Digest(), end)
	return Arrived{h.To, inboxRow(r.Digest(), h, p, w.facts[i].Stored, end, h.MaxPulls)}
}

// list enters a record into an inbox or outbox.
func (t *tx) list(s *step, kind byte, of identity.PublicKey, p place) {
	n := t.nums.of(of)
	s.put(p.home, key16(kind, uint64(n), uint64(p.arrival)), number(uint64(p.bucket)))
	s.boxes = append(s.boxes, box{kind, n, p.home})
}

// claim takes the record's path: with the record if it is in the same shard, else before it.
func (t *tx) claim(s *step, h records.Header, p place, digest identity.Digest, end identity.UnixMilli) {
	shard, key := t.pathOf(h)
	if shard == p.home {
		s.put(shard, key, claim{place: p}.encode())
		return
	}
	c := claim{place: p, digest: digest, end: end}
	s.early(phaseClaims, shard, key, c.encode())
	s.early(phaseClaims, shard, refKey(p.bucket, key), c.encode())
}

func inboxRow(d identity.Digest, h records.Header, p place, size uint64, end identity.UnixMilli, left uint16) InboxRow {
	return InboxRow{
		Digest: d, From: h.From, To: h.To, ID: h.ID, Arrival: p.arrival, Size: uint32(size),
		Expiry: end, Home: uint16(p.home), Tag: h.Tag, PullsLeft: left,
	}
}
