package store

import (
	"bytes"
	"context"
	"encoding/binary"

	"relaymarket/identity"
	"relaymarket/usage"
)

// purgeShard drops the buckets of a shard that are over.
func (r *Relay) purgeShard(ctx context.Context, now identity.UnixMilli, shard uint8) (int, error) {
	removed := 0
	for {
		first, err := r.engine.Scan(ctx, shard, []byte{kindBucket}, []byte{kindBucket + 1}, 1)
		if err != nil || len(first) == 0 {
			return removed, err
		}
		b, err := bucketOf(first[0].Key)
		if err != nil || !b.droppable(now) {
			return removed, err
		}
		n, err := r.purgeBucket(ctx, now, shard, b)
		removed += n
		if err != nil {
			return removed, err
		}
	}
}

// purgeBucket removes the keys that lead into a bucket and then the bucket. Tombstones of records
// that would have lasted longer move to a later one. After a crash in between, it is done again.
// Nothing new can come into the bucket meanwhile: what is written now ends later.
func (r *Relay) purgeBucket(ctx context.Context, now identity.UnixMilli, shard uint8, b Bucket) (int, error) {
	removed := 0
	for _, kind := range []byte{inRecord, inRef} {
		prefix := inBucket(b, kind, 0)
		from, to := prefix, after(prefix)
		for {
			rows, err := r.engine.Scan(ctx, shard, from, to, maxPurged)
			if err != nil {
				return removed, err
			}
			if len(rows) == 0 {
				break
			}
			n, err := r.unlink(ctx, now, shard, kind, rows)
			if err != nil {
				return removed, err
			}
			removed += n
			from = append(bytes.Clone(rows[len(rows)-1].Key), 0)
		}
	}
	return removed, r.engine.DropExpired(ctx, shard, b)
}

// unlink removes what leads to the rows and gives the number of records and tombstones that end
// with that.
func (r *Relay) unlink(ctx context.Context, now identity.UnixMilli, shard uint8, kind byte, rows []Pair) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := make([]bool, len(rows))
	jobs := make([]job, len(rows))
	for i, row := range rows {
		jobs[i] = func(t *tx) *step {
			s := &step{}
			var err error
			if kind == inRef {
				err = t.unlinkRef(s, shard, row)
			} else {
				ended[i], err = t.unlinkRecord(s, shard, row)
			}
			if err != nil {
				return t.fail(err)
			}
			return s
		}
	}
	if err := r.commit(ctx, now, false, jobs); err != nil {
		return 0, err
	}
	return count(ended), nil
}

func count(all []bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// unlinkRecord removes lists, digest and path of a record, if digest and path still lead to it
// and not to a later record. It tells whether the record has ended with that; a tombstone may go
// on elsewhere.
func (t *tx) unlinkRecord(s *step, shard uint8, row Pair) (ended bool, err error) {
	prefix := len(inBucket(0, inRecord, 0))
	if len(row.Key) != prefix+8 {
		return false, corrupt("a record key of %d bytes", len(row.Key))
	}
	b, err := bucketOf(row.Key)
	if err != nil {
		return false, err
	}
	p := place{shard, b, usage.Arrival(binary.BigEndian.Uint64(row.Key[prefix:]))}
	v, err := openStored(p, row.Value)
	if err != nil {
		return false, err
	}
	t.unlist(s, &v)
	at, err := t.get(shard, digestKey(v.digest))
	if err != nil {
		return false, err
	}
	leads := bytes.Equal(at, placeValue(p))
	if next := v.outlives(); next != p {
		if !leads { // it leads there: moved before a crash
			return false, nil
		}
		return false, t.moveTombstone(s, &v, next)
	}
	if leads {
		s.delete(shard, digestKey(v.digest))
	}
	pathShard, key := t.pathOf(v.Header)
	if pathShard != shard {
		return true, nil // its reference lies in that shard
	}
	if at, err = t.get(shard, key); err == nil && bytes.Equal(at, claim{place: p}.encode()) {
		s.delete(shard, key)
	}
	return true, err
}

// outlives is where a tombstone goes when its bucket ends: there, if the record itself would have
// lasted longer than the custody that was paid for. The pulls stay behind; nothing is served any
// more. For everything else it is where it is.
func (s stored) outlives() place {
	p := s.place
	p.bucket = max(p.bucket, bucketAt(s.takes()))
	return p
}

// moveTombstone moves a tombstone, and what leads to it, to a later bucket. The row that it leaves
// goes with the old one. A path that leads elsewhere stays: an earlier version of this program gave
// it away when the custody was over.
func (t *tx) moveTombstone(s *step, v *stored, next place) error {
	s.put(next.home, recordKey(next), v.recordRow.encode())
	s.put(next.home, digestKey(v.digest), placeValue(next))
	shard, key := t.pathOf(v.Header)
	at, err := t.get(shard, key)
	if err != nil {
		return err
	}
	if at != nil {
		if c, err := decodeClaim(shard, at); err != nil || c.place != v.place {
			return err
		}
	}
	if shard == next.home {
		s.put(shard, key, claim{place: next}.encode())
	} else {
		t.keepClaim(s, phaseClaims, shard, key, v)
	}
	return nil
}

// keepClaim makes the claim of a tombstone in another shard last until the record's expiry.
func (t *tx) keepClaim(s *step, phase int, shard uint8, key []byte, v *stored) {
	next := v.outlives()
	c := claim{place: next, digest: v.digest, end: v.takes(), deleted: true}.encode()
	s.early(phase, shard, key, c)
	s.early(phase, shard, refKey(next.bucket, key), c)
}

// unlinkRef removes a key that goes with the bucket, unless it was renewed.
func (t *tx) unlinkRef(s *step, shard uint8, row Pair) error {
	key := row.Key[len(inBucket(0, inRef, 0)):]
	at, err := t.get(shard, key)
	if err != nil || at == nil {
		return err
	}
	if key[0] == kindIdentity {
		doc, err := decodeDocRow(at)
		if err == nil && bytes.Equal(number(doc.sequence), row.Value) {
			s.delete(shard, key)
		}
		return err
	}
	if !bytes.Equal(at, row.Value) {
		return nil
	}
	if key[0] == kindPath {
		if kept, err := t.keepPath(s, shard, key, at); kept || err != nil {
			return err
		}
	}
	s.delete(shard, key)
	return nil
}

// keepPath keeps a claim whose record was deleted and would have lasted longer, if this shard's
// bucket ends before the record's home is at it.
func (t *tx) keepPath(s *step, shard uint8, key, value []byte) (bool, error) {
	c, err := decodeClaim(shard, value)
	if err != nil {
		return false, err
	}
	v, err := t.storedAt(c.place)
	if err != nil || v == nil || v.outlives() == c.place {
		return false, err
	}
	t.keepClaim(s, phaseHome, shard, key, v)
	return true, nil
}
