package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Purge ends every record of a contract whose payment is missing: PURGE rows, and tombstones that hold
// the relay's notice. It works in several commits beside others, stops when the account is purged no more
// because its payer has paid, and goes on where it was if it is called again. It gives the number of
// records that it ended. Codes ContractUnknown, ClockWrong.
func (r *Relay) Purge(ctx context.Context, now identity.UnixMilli, id usage.ContractID, notice identity.Signed) (int, error) {
	ref, err := r.refOf(id)
	if err != nil {
		return 0, err
	}
	buckets, err := r.bucketsOf(ctx, ref.shard)
	if err != nil {
		return 0, err
	}
	ended := 0
	for _, b := range buckets {
		prefix := inBucket(b, inRecord, 0)
		for from := prefix; ; {
			rows, err := r.engine.Scan(ctx, ref.shard, from, after(prefix), maxPurged)
			if err != nil || len(rows) == 0 {
				if err != nil {
					return ended, err
				}
				break
			}
			n, err := r.purgeRows(ctx, now, ref.shard, id, notice, rows)
			if ended += n; err != nil {
				return ended, err
			}
			from = append(bytes.Clone(rows[len(rows)-1].Key), 0)
		}
	}
	return ended, nil
}

// bucketsOf are the buckets of a shard.
func (r *Relay) bucketsOf(ctx context.Context, shard uint8) ([]Bucket, error) {
	var out []Bucket
	for from := []byte{kindBucket}; ; {
		rows, err := r.engine.Scan(ctx, shard, from, []byte{kindBucket + 1}, 1)
		if err != nil || len(rows) == 0 {
			return out, err
		}
		b, err := bucketOf(rows[0].Key)
		if err != nil {
			return out, err
		}
		out = append(out, b)
		if b == math.MaxUint32 {
			return out, nil
		}
		from = inBucket(b+1, 0, 0)
	}
}

// purgeRows ends those of some record rows that are the contract's, in one commit.
func (r *Relay) purgeRows(ctx context.Context, now identity.UnixMilli, shard uint8, id usage.ContractID, notice identity.Signed, rows []Pair) (int, error) {
	places, err := placesOf(shard, id, rows)
	if err != nil || len(places) == 0 {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.catchUp(ctx, now); err != nil {
		return 0, err
	}
	ended := make([]bool, len(places))
	jobs := []job{closeDue}
	for i, p := range places {
		jobs = append(jobs, func(t *tx) *step {
			s, err := t.purge(p, id, notice)
			if err != nil {
				return t.fail(err)
			}
			ended[i] = ended[i] || s != nil
			return s
		})
	}
	if err := r.commit(ctx, now, false, jobs); err != nil {
		return 0, err
	}
	return count(ended), nil
}

// placesOf are the places of a contract's records among some rows.
func placesOf(shard uint8, id usage.ContractID, rows []Pair) ([]place, error) {
	var out []place
	prefix := len(inBucket(0, inRecord, 0))
	for _, row := range rows {
		if len(row.Key) != prefix+8 {
			return nil, corrupt("a record key of %d bytes", len(row.Key))
		}
		b, err := bucketOf(row.Key)
		if err != nil {
			return nil, err
		}
		v, err := decodeRecordRow(row.Value)
		if err != nil {
			return nil, err
		}
		if v.contract == id && len(v.deleted) == 0 {
			out = append(out, place{shard, b, usage.Arrival(binary.BigEndian.Uint64(row.Key[prefix:]))})
		}
	}
	return out, nil
}

// purge ends one record, if it is still here and its account is still purged; else nil.
func (t *tx) purge(p place, id usage.ContractID, notice identity.Signed) (*step, error) {
	if t.badClock != nil {
		return nil, t.badClock
	}
	v, err := t.storedAt(p)
	if err != nil || v == nil || len(v.deleted) > 0 {
		return nil, err
	}
	l, err := t.ledgerOf(p.home, id)
	if err != nil {
		return nil, err
	}
	if l.State != AccountPurged || l.time(t.now) >= v.end {
		return nil, nil
	}
	s := &step{}
	if err := t.chargeClose(s, l.copy(), v, usage.RowPurge, nil, t.arrive(1)); err != nil {
		return nil, code.Wrap(code.Internal, err, "purging a record")
	}
	t.bury(s, v, notice, nil)
	return s, nil
}
