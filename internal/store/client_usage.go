package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// SaveReport keeps a relay's report and rows of its log from index first on. Rows may be saved
// again when acknowledgements were attached to them; a row whose leaf differs from the kept
// one, or another report under the same number, is a contradiction of the relay's own: code
// Conflict, and nothing is changed. Keep what contradicts with SaveEvidence.
func (c *Client) SaveReport(ctx context.Context, r usage.VerifiedUsageReport, first uint64, rows []usage.RowEntry) error {
	return c.update(ctx, func(t *clientTx) error {
		if err := t.putReport(r); err != nil {
			return err
		}
		for i, row := range rows {
			if err := t.putRow(logRowKey(r.Contract, r.LogEpoch, first+uint64(i)), row); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *clientTx) putReport(r usage.VerifiedUsageReport) error {
	key := key32n(clientReport, r.Contract, r.Number)
	have, err := t.get(key)
	if err != nil {
		return err
	}
	if have != nil {
		old, err := decodeSigned(have, "a usage report")
		if err == nil && !old.Equal(r.Signed()) {
			err = code.New(code.Conflict, "the relay signed two reports with number %d", r.Number)
		}
		return err
	}
	t.put(key, newWriter(1024).signed(r.Signed()).b)
	last, err := t.get(key32(clientLastNo, r.Contract))
	if err != nil {
		return err
	}
	no, err := decodeNumber(last)
	if r.Number > no {
		t.put(key32(clientLastNo, r.Contract), number(r.Number))
	}
	return err
}

func (t *clientTx) putRow(key []byte, e usage.RowEntry) error {
	raw, err := e.Encode()
	if err != nil {
		return err
	}
	v, err := t.get(key)
	if err != nil {
		return err
	}
	if v != nil {
		old, err := usage.DecodeRowEntry(v)
		if err != nil {
			return code.Wrap(code.StoreCorrupt, err, "a row")
		}
		if string(old.Row) != string(e.Row) {
			return code.New(code.Conflict, "the relay shows two rows at one place of its log")
		}
		if len(e.Ack) == 0 {
			return nil // an acknowledgement that was shown once stays
		}
	}
	t.put(key, raw)
	return nil
}

// LastReport is the newest report on a contract. Code NotFound.
func (c *Client) LastReport(ctx context.Context, id usage.ContractID) (identity.Signed, error) {
	v, err := c.getKnown(ctx, key32(clientLastNo, id), "usage report")
	if err != nil {
		return identity.Signed{}, err
	}
	no, err := decodeNumber(v)
	if err != nil {
		return identity.Signed{}, err
	}
	return c.Report(ctx, id, no)
}

// Report reads one report by its number. Code NotFound.
func (c *Client) Report(ctx context.Context, id usage.ContractID, number uint64) (identity.Signed, error) {
	v, err := c.getKnown(ctx, key32n(clientReport, id, number), "usage report")
	if err != nil {
		return identity.Signed{}, err
	}
	return decodeSigned(v, "a usage report")
}

// Rows reads kept rows of a contract's log from an index on, as far as they are kept without a
// gap.
func (c *Client) Rows(ctx context.Context, id usage.ContractID, logEpoch uint32, from uint64, limit int) ([]usage.RowEntry, error) {
	var out []usage.RowEntry
	start := logRowKey(id, logEpoch, from)
	err := c.each(ctx, start[:len(start)-8], start, func(p Pair) (bool, error) {
		index, err := keyNumber(p.Key)
		if err != nil || len(out) >= limit || index != from+uint64(len(out)) {
			return false, err
		}
		e, err := usage.DecodeRowEntry(p.Value)
		out = append(out, e)
		return true, code.Wrap(code.StoreCorrupt, err, "a row")
	})
	return out, err
}

// AuditPapers are the client's own papers on a contract, as usage.Reconcile wants them.
type AuditPapers struct {
	Orders  []usage.HeldOrder
	Grants  []usage.HeldGrant
	Acks    []identity.Signed
	Deleted []identity.Signed
	Seen    map[identity.Digest]identity.UnixMilli
	Headers map[identity.Digest]identity.Signed // the records of these orders, by digest
}

// AuditPapers collects what is held on a contract: its orders with their receipts and records,
// and what came back on these records.
func (c *Client) AuditPapers(ctx context.Context, id usage.ContractID) (AuditPapers, error) {
	p := AuditPapers{Seen: make(map[identity.Digest]identity.UnixMilli), Headers: make(map[identity.Digest]identity.Signed)}
	err := c.each(ctx, key32(clientContract, id), nil, func(row Pair) (bool, error) {
		digest, err := decodeDigest(row.Value)
		if err != nil {
			return false, err
		}
		return true, c.addOrder(ctx, digest, &p)
	})
	if err == nil {
		p.Grants, err = c.grantsOn(ctx, id)
	}
	return p, err
}

func (c *Client) addOrder(ctx context.Context, digest identity.Digest, p *AuditPapers) error {
	held, sent, err := c.heldOrder(ctx, digest)
	if err != nil {
		return err
	}
	for _, s := range sent {
		p.Headers[s.Digest] = s.Signed
		if err := c.addPapers(ctx, s, p); err != nil {
			return err
		}
	}
	p.Orders = append(p.Orders, held)
	return nil
}

// HeldOrder reads an own order with the facts of its records and its receipt. Code NotFound.
func (c *Client) HeldOrder(ctx context.Context, order identity.Digest) (usage.HeldOrder, error) {
	held, _, err := c.heldOrder(ctx, order)
	return held, err
}

func (c *Client) heldOrder(ctx context.Context, order identity.Digest) (usage.HeldOrder, []sentRow, error) {
	row, err := c.readOrder(ctx, order)
	if err != nil {
		return usage.HeldOrder{}, nil, err
	}
	sent, err := c.readSent(ctx, row.records)
	held := usage.HeldOrder{Order: row.order, Receipt: row.receipt}
	for _, s := range sent {
		held.Records = append(held.Records, s.facts())
	}
	return held, sent, err
}

// readSent reads own records in one round trip.
func (c *Client) readSent(ctx context.Context, digests []identity.Digest) ([]sentRow, error) {
	keys := make([][]byte, len(digests))
	for i, d := range digests {
		keys[i] = key32(clientSent, d)
	}
	got, err := c.engine.Get(ctx, clientShard, keys)
	if err != nil {
		return nil, err
	}
	out := make([]sentRow, len(digests))
	for i, d := range digests {
		if out[i], err = decodeSent(d, got[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// addPapers adds what came back on one record; most records need no look at all.
func (c *Client) addPapers(ctx context.Context, s sentRow, p *AuditPapers) error {
	if s.Acked > 0 {
		if err := c.addSigned(ctx, key32(clientAck, s.Digest), &p.Acks); err != nil {
			return err
		}
	}
	if s.Deleted > 0 {
		if err := c.addSigned(ctx, key32(clientDeleted, s.Digest), &p.Deleted); err != nil {
			return err
		}
	}
	v, err := c.getOne(ctx, key32(clientChallenge, s.Digest))
	if err != nil || v == nil {
		return err
	}
	at, err := decodeNumber(v)
	p.Seen[s.Digest] = identity.UnixMilli(at)
	return err
}

func (c *Client) addSigned(ctx context.Context, prefix []byte, to *[]identity.Signed) error {
	return c.each(ctx, prefix, nil, func(p Pair) (bool, error) {
		s, err := decodeSigned(p.Value, "an acknowledgement or delete receipt")
		*to = append(*to, s)
		return true, err
	})
}

// SaveChallenge notes that a relay proved at a time, by its own clock, to have a record.
func (c *Client) SaveChallenge(ctx context.Context, record identity.Digest, at identity.UnixMilli) error {
	return c.update(ctx, func(t *clientTx) error {
		v, err := t.get(key32(clientChallenge, record))
		if err != nil {
			return err
		}
		last, err := decodeNumber(v)
		if uint64(at) > last {
			t.put(key32(clientChallenge, record), number(uint64(at)))
		}
		return err
	})
}

// SaveEvidence keeps a paper for a dispute. The same bytes again change nothing. It gives the
// paper's digest. Code TooLarge above MaxEvidence.
func (c *Client) SaveEvidence(ctx context.Context, e Evidence) (identity.Digest, error) {
	if len(e.Bytes) > MaxEvidence || len(e.Name) > 512 {
		return identity.Digest{}, code.New(code.TooLarge, "evidence of %d bytes, kept are %d", len(e.Bytes), MaxEvidence)
	}
	digest := identity.Tagged("evidence", e.Bytes)
	return digest, c.update(ctx, func(t *clientTx) error {
		have, err := t.get(key32(clientEvidence, digest))
		if err == nil && have == nil {
			t.put(key32(clientEvidence, digest), e.encode())
		}
		return err
	})
}

// Evidence lists all papers that are kept.
func (c *Client) Evidence(ctx context.Context) ([]Evidence, error) {
	var out []Evidence
	err := c.each(ctx, []byte{clientEvidence}, nil, func(p Pair) (bool, error) {
		digest, err := keyName(p.Key, 1)
		if err != nil {
			return false, err
		}
		e, err := decodeEvidence(digest, p.Value)
		out = append(out, e)
		return true, err
	})
	return out, err
}
