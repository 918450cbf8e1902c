package store

import (
	"context"
	"encoding/binary"
	"math"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Work that is done in one commit when much has ended at once.
const (
	maxClosed = 1024 // EXPIRE rows
	maxPurged = 512  // records
)

// schedule notes that something in a shard ends at a time.
func (r *Relay) schedule(d dueAt) {
	if known := r.nextDue[d.shard]; known != 0 && d.end < known {
		r.nextDue[d.shard] = d.end
	}
}

// dueIn is the earliest end of custody in a shard; MaxUint64 if there is none.
func (r *Relay) dueIn(ctx context.Context, shard uint8) (uint64, error) {
	if r.nextDue[shard] != 0 {
		return r.nextDue[shard], nil
	}
	next := uint64(math.MaxUint64)
	rows, err := r.engine.Scan(ctx, shard, []byte{kindDue}, []byte{kindDue + 1}, 1)
	if err != nil {
		return 0, err
	}
	if len(rows) > 0 {
		end, _, _, err := decodeDueKey(rows[0].Key)
		if err != nil {
			return 0, err
		}
		next = uint64(end)
	}
	r.nextDue[shard] = next
	return next, nil
}

// closeDue appends the EXPIRE rows of everything that has ended. It is the first job of every
// commit that appends rows: no row may come before the expiries that precede it.
func closeDue(t *tx) *step {
	if t.badClock != nil {
		return nil
	}
	s := &step{}
	for shard := range Shards {
		if err := t.closeShard(uint8(shard), s); err != nil {
			return t.fail(err)
		}
	}
	return s
}

func (t *tx) closeShard(shard uint8, s *step) error {
	next, err := t.dueIn(t.ctx, shard)
	if err != nil || next > uint64(t.now) {
		return err
	}
	t.nextDue[shard] = 0
	to := binary.BigEndian.AppendUint64([]byte{kindDue}, uint64(t.now)+1)
	rows, err := t.engine.Scan(t.ctx, shard, []byte{kindDue}, to, maxClosed)
	if err != nil {
		return err
	}
	open := make(map[accountRef]*ledger)
	for _, row := range rows {
		if err := t.closeEntry(s, shard, row, open); err != nil {
			return err
		}
	}
	for _, l := range open {
		l.save(s)
	}
	return nil
}

// closeEntry closes what is left of one receipt at its end.
func (t *tx) closeEntry(s *step, shard uint8, row Pair, open map[accountRef]*ledger) error {
	end, n, receipt, err := decodeDueKey(row.Key)
	if err != nil {
		return err
	}
	d, err := decodeDue(row.Value)
	if err != nil {
		return err
	}
	l, err := t.openLedger(accountRef{shard, n}, open)
	if err != nil {
		return err
	}
	in := usage.RowInput{
		Kind: usage.RowExpire, Arrival: t.arrive(1), Time: end, Bytes: d.live, Receipt: receipt, Accepted: d.accepted,
	}
	if err := t.bill(s, l, d.grant, in); err != nil {
		return err
	}
	if err := t.release(s, l, d.grant, usage.Quantities{Egress: d.egress}); err != nil {
		return err
	}
	s.delete(shard, row.Key)
	return nil
}

func (t *tx) openLedger(ref accountRef, open map[accountRef]*ledger) (*ledger, error) {
	if l := open[ref]; l != nil {
		return l, nil
	}
	l, err := t.ledgerAt(ref)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return nil, corrupt("records of an account that is not there")
	}
	open[ref] = l.copy()
	return open[ref], nil
}

// catchUp closes what has ended in several commits, until one commit can take the rest.
func (r *Relay) catchUp(ctx context.Context, now identity.UnixMilli) error {
	for {
		full, err := r.muchDue(ctx, max(now, r.clock))
		if err != nil || !full {
			return err
		}
		t := r.begin(ctx, now)
		if t.badClock != nil {
			return nil
		}
		if err := r.commit(ctx, now, true, []job{closeDue}); err != nil {
			return err
		}
	}
}

// muchDue tells whether a shard has more to close than fits one commit.
func (r *Relay) muchDue(ctx context.Context, now identity.UnixMilli) (bool, error) {
	for shard := range Shards {
		next, err := r.dueIn(ctx, uint8(shard))
		if err != nil {
			return false, err
		}
		if next > uint64(now) {
			continue
		}
		to := binary.BigEndian.AppendUint64([]byte{kindDue}, uint64(now)+1)
		rows, err := r.engine.Scan(ctx, uint8(shard), []byte{kindDue}, to, maxClosed)
		if err != nil || len(rows) == maxClosed {
			return err == nil, err
		}
	}
	return false, nil
}

// Expire closes what is past its end: EXPIRE rows, then indices and content at least 60 s
// later. Call it about once a minute, also without traffic: it also keeps the clock. Other
// commits go on while it removes things. It gives the number of records and tombstones removed.
// Code ClockWrong.
func (r *Relay) Expire(ctx context.Context, now identity.UnixMilli) (int, error) {
	used, err := r.closeAll(ctx, now)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, shard := range used {
		n, err := r.purgeShard(ctx, now, shard)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// closeAll appends all EXPIRE rows that are due and gives the shards in use.
func (r *Relay) closeAll(ctx context.Context, now identity.UnixMilli) ([]uint8, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.begin(ctx, now); t.badClock != nil {
		return nil, t.badClock
	}
	if err := r.catchUp(ctx, now); err != nil {
		return nil, err
	}
	if err := r.commit(ctx, now, true, []job{closeDue}); err != nil {
		return nil, err
	}
	return r.usedShards(ctx)
}

// usedShards lists the shards that have ever been committed to.
func (r *Relay) usedShards(ctx context.Context) ([]uint8, error) {
	var out []uint8
	for shard := range Shards {
		v, err := r.versionOf(ctx, uint8(shard))
		if err != nil {
			return nil, code.Wrap(code.Of(err), err, "shard %d", shard)
		}
		if v > 0 {
			out = append(out, uint8(shard))
		}
	}
	return out, nil
}
