package store

import (
	"relaymarket/identity"
	"relaymarket/usage"
)

// wants are keys to be read, by shard.
type wants map[uint8][][]byte

func (w wants) add(shard uint8, keys ...[]byte) { w[shard] = append(w[shard], keys...) }

// warm reads what the operations of a batch will ask for in three round trips per shard: where
// things are, what they are, and what is due for them. What it does not foresee (a wrong hint)
// costs single reads. Faults show again, and count, when the operation itself reads.
func (t *tx) warm(ops []Op) *step {
	for _, round := range []func(*tx, Op, wants){(*tx).wantPlaces, (*tx).wantRows, (*tx).wantDue} {
		w := make(wants)
		for _, op := range ops {
			round(t, op, w)
		}
		for shard, keys := range w {
			if t.fetch(shard, keys) != nil {
				return nil
			}
		}
	}
	return nil
}

// target is the record that an operation names only by its digest.
func target(op Op) (d identity.Digest, home Shard) {
	switch op := op.(type) {
	case ReadOp:
		return op.Request.Record, op.Home
	case DeleteOp:
		return op.Delete.Record, op.Home
	case AckOp:
		return op.Ack.Record, op.Home
	}
	return d, NoShard
}

func (t *tx) wantPlaces(op Op, w wants) {
	if d, home := target(op); home < Shards {
		w.add(uint8(home), digestKey(d))
	}
	switch op := op.(type) {
	case WriteOp:
		if home, err := t.homeOf(op.Order); err == nil {
			w.add(home, orderKey(orderBucket(op), op.Order.Digest()))
		}
		for _, r := range op.Records {
			shard, key := t.pathOf(r.Header())
			w.add(shard, key)
		}
	case IdentityOp:
		w.add(shardOf(op.Document.Owner()), docKey(op.Document.Owner()))
	}
}

// placeSeen is where the record of an operation is, if the hint was right.
func (t *tx) placeSeen(op Op) (place, bool) {
	d, home := target(op)
	if home >= Shards {
		return place{}, false
	}
	b := t.seen[home][string(digestKey(d))]
	if b == nil {
		return place{}, false
	}
	p, err := decodePlace(uint8(home), b)
	return p, err == nil
}

func (t *tx) wantRows(op Op, w wants) {
	p, ok := t.placeSeen(op)
	if !ok {
		return
	}
	w.add(p.home, recordKey(p), pullsKey(p))
	switch op := op.(type) {
	case ReadOp:
		w.add(p.home, requestKey(requestBucket(op.Request), op.Request.Digest()))
	case AckOp:
		w.add(p.home, pullKey(p, op.Ack.Request))
		w.add(shardOf(op.Ack.From), docKey(op.Ack.From))
	}
}

func (t *tx) wantDue(op Op, w wants) {
	p, ok := t.placeSeen(op)
	if !ok {
		return
	}
	row, err := decodeRecordRow(t.seen[p.home][string(recordKey(p))])
	if err == nil && !row.contract.IsZero() {
		w.add(p.home, dueKey(row.end, t.nums.of(row.contract), row.receipt))
	}
}

// requestBucket is where the answer to a request is remembered.
func requestBucket(q usage.VerifiedReadRequest) Bucket { return bucketAt(q.NotAfter + requestLife) }
