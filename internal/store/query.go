package store

import (
	"cmp"
	"context"
	"math"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// maxPage bounds one page whatever is asked for.
const maxPage = usage.LimitMaxList

// Inbox lists what was written for a receiver, after and before exclusive (before 0: no
// bound), oldest first.
func (r *Relay) Inbox(ctx context.Context, receiver identity.PublicKey, after, before usage.Arrival, limit int) (Page, error) {
	return r.page(ctx, kindInbox, receiver, after, before, limit)
}

// Outbox is Inbox for the records of a sender.
func (r *Relay) Outbox(ctx context.Context, sender identity.PublicKey, after, before usage.Arrival, limit int) (Page, error) {
	return r.page(ctx, kindOutbox, sender, after, before, limit)
}

// page merges a list's parts in all shards by (arrival, shard).
func (r *Relay) page(ctx context.Context, kind byte, of identity.PublicKey, after, before usage.Arrival, limit int) (Page, error) {
	limit = max(1, min(limit, maxPage))
	page := Page{Through: r.Watermark()}
	if before != 0 {
		page.Through = min(page.Through, before-1)
	}
	if after >= page.Through {
		return page, nil
	}
	name := listName{kind, r.nums.of(of)}
	shards, err := r.shardsOf(ctx, name)
	if err != nil {
		return Page{}, err
	}
	var all []place
	for _, shard := range shards {
		part, err := r.listed(ctx, name, shard, after+1, page.Through, limit+1)
		if err != nil {
			return Page{}, err
		}
		all = append(all, part...)
	}
	all = cut(all, limit, &page)
	page.Rows, err = r.rowsAt(ctx, kind, of, all)
	return page, err
}

// listed reads a list's part in one shard between two arrivals, inclusive.
func (r *Relay) listed(ctx context.Context, l listName, shard uint8, from, to usage.Arrival, limit int) ([]place, error) {
	last := after(key16(l.kind, uint64(l.n), uint64(to)))
	rows, err := r.engine.Scan(ctx, shard, key16(l.kind, uint64(l.n), uint64(from)), last, limit)
	if err != nil {
		return nil, err
	}
	out := make([]place, len(rows))
	for i, row := range rows {
		bucket, err := decodeNumber(row.Value)
		if err != nil {
			return nil, err
		}
		a, err := listArrival(row.Key)
		if err != nil {
			return nil, err
		}
		out[i] = place{shard, Bucket(bucket), a}
	}
	return out, nil
}

// cut takes the first places by (arrival, shard), but never ends inside equal arrivals.
func cut(all []place, limit int, page *Page) []place {
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.arrival, b.arrival), cmp.Compare(a.home, b.home))
	})
	if len(all) <= limit {
		return all
	}
	for limit < len(all) && all[limit].arrival == all[limit-1].arrival {
		limit++
	}
	if limit < len(all) {
		page.More, page.Through = true, all[limit-1].arrival
	}
	return all[:limit]
}

// rowsAt reads the rows of a list; what has ended since, or is another identity's with the
// same number, is left out.
func (r *Relay) rowsAt(ctx context.Context, kind byte, of identity.PublicKey, places []place) ([]InboxRow, error) {
	rows := make(map[place]InboxRow, len(places))
	byShard := make(map[uint8][]place)
	for _, p := range places {
		byShard[p.home] = append(byShard[p.home], p)
	}
	for shard, ps := range byShard {
		if err := r.readRows(ctx, shard, ps, rows); err != nil {
			return nil, err
		}
	}
	var out []InboxRow
	for _, p := range places {
		row, ok := rows[p]
		if ok && (kind == kindInbox && row.To == of || kind == kindOutbox && row.From == of) {
			out = append(out, row)
		}
	}
	return out, nil
}

func (r *Relay) readRows(ctx context.Context, shard uint8, ps []place, rows map[place]InboxRow) error {
	keys := make([][]byte, 0, 2*len(ps))
	for _, p := range ps {
		keys = append(keys, recordKey(p), pullsKey(p))
	}
	got, err := r.engine.Get(ctx, shard, keys)
	if err != nil {
		return err
	}
	for i, p := range ps {
		if got[2*i] == nil {
			continue
		}
		v, err := openStored(p, got[2*i])
		if err != nil {
			return err
		}
		used, err := decodeNumber(got[2*i+1])
		if err != nil {
			return err
		}
		if v.live(identity.UnixMilli(r.shown.Load())) {
			row := inboxRow(v.digest, v.Header, v.signed.Statement, p, v.size(), v.end)
			row.PullsLeft -= uint16(min(used, uint64(v.MaxPulls)))
			rows[p] = row
		}
	}
	return nil
}

// Content reads n bytes (or what is left) of a granted record's content from offset. Code
// NotFound if it was deleted since.
func (r *Relay) Content(ctx context.Context, g *Grant, offset uint32, n int) ([]byte, error) {
	end := min(uint64(offset)+uint64(max(0, n)), uint64(g.Size))
	if uint64(offset) >= end {
		return nil, nil
	}
	first, last := uint64(offset)/pieceSize, (end-1)/pieceSize
	var keys [][]byte
	for piece := first; piece <= last; piece++ {
		keys = append(keys, contentKey(g.place, uint16(piece)))
	}
	got, err := r.engine.Get(ctx, g.place.home, keys)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, (last-first+1)*pieceSize)
	for i, b := range got {
		if b == nil {
			return nil, code.New(code.NotFound, "record %s is gone", g.Record.Short())
		}
		if i < len(got)-1 && len(b) != pieceSize {
			return nil, corrupt("a piece of %d bytes", len(b))
		}
		out = append(out, b...)
	}
	if uint64(len(out)) < end-first*pieceSize {
		return nil, corrupt("the content of record %s is cut off", g.Record.Short())
	}
	return out[uint64(offset)-first*pieceSize : end-first*pieceSize], nil
}

// Header reads a live record's signed header by its digest, first where the hint says. Code
// NotFound.
func (r *Relay) Header(ctx context.Context, record identity.Digest, home Shard) (identity.Signed, error) {
	for i := range Shards + 1 {
		shard := uint8(i - 1)
		if i == 0 {
			if home >= Shards {
				continue
			}
			shard = uint8(home)
		}
		v, err := r.storedIn(ctx, record, shard)
		if err != nil {
			return identity.Signed{}, err
		}
		if v != nil && v.live(identity.UnixMilli(r.shown.Load())) {
			return v.signed, nil
		}
	}
	return identity.Signed{}, code.New(code.NotFound, "no record %s", record.Short())
}

// storedIn finds a record in a shard without a commit; nil if it is not there.
func (r *Relay) storedIn(ctx context.Context, record identity.Digest, shard uint8) (*stored, error) {
	got, err := r.engine.Get(ctx, shard, [][]byte{digestKey(record)})
	if err != nil || got[0] == nil {
		return nil, err
	}
	p, err := decodePlace(shard, got[0])
	if err != nil {
		return nil, err
	}
	if got, err = r.engine.Get(ctx, shard, [][]byte{recordKey(p)}); err != nil || got[0] == nil {
		return nil, err
	}
	v, err := openStored(p, got[0])
	return &v, err
}

// Identity reads the kept Identity document of a key. Code NotFound.
func (r *Relay) Identity(ctx context.Context, key identity.PublicKey) (identity.Signed, error) {
	got, err := r.engine.Get(ctx, shardOf(key), [][]byte{docKey(key)})
	if err != nil {
		return identity.Signed{}, err
	}
	if got[0] == nil {
		return identity.Signed{}, code.New(code.NotFound, "no identity document of %s", key.Name())
	}
	d, err := decodeDocRow(got[0])
	if err != nil {
		return identity.Signed{}, err
	}
	s, err := identity.ParseSigned(d.signed)
	return s, code.Wrap(code.StoreCorrupt, err, "an identity document")
}

// FreeUsed is how much of the free allowance an identity has used on the day of now, in bytes.
func (r *Relay) FreeUsed(ctx context.Context, key identity.PublicKey, now identity.UnixMilli) (uint64, error) {
	got, err := r.engine.Get(ctx, shardOf(key), [][]byte{freeKey(dayBucket(dayOf(now)), key)})
	if err != nil {
		return 0, err
	}
	return decodeNumber(got[0])
}

// RowsQuery selects rows of a contract's log. After and Before are arrivals, exclusive, zero
// for no bound.
type RowsQuery struct {
	From          uint64 // first row index
	After, Before usage.Arrival
	Limit         int
}

// Rows reads rows of a contract's log with the acknowledgements attached to them; more tells
// that there are others after them. Code ContractUnknown.
func (r *Relay) Rows(ctx context.Context, id usage.ContractID, q RowsQuery) (rows []usage.RowEntry, more bool, err error) {
	ref, err := r.refOf(id)
	if err != nil {
		return nil, false, err
	}
	from, err := r.firstAfter(ctx, ref, q)
	if err != nil {
		return nil, false, err
	}
	limit := max(1, min(q.Limit, maxPage))
	pairs, err := r.engine.Scan(ctx, ref.shard, rowKey(ref.n, from), after(key8(kindRow, uint64(ref.n))), limit+1)
	if err != nil || len(pairs) == 0 {
		return nil, false, err
	}
	more = len(pairs) > limit
	pairs = pairs[:min(limit, len(pairs))]
	acks, err := r.acks(ctx, ref, from, len(pairs))
	if err != nil {
		return nil, false, err
	}
	for i, p := range pairs {
		row, err := usage.DecodeRow(p.Value)
		if err != nil {
			return nil, false, code.Wrap(code.StoreCorrupt, err, "a row of contract %s", id)
		}
		if q.Before != 0 && row.Arrival >= q.Before {
			return rows, false, nil
		}
		rows = append(rows, usage.RowEntry{Row: p.Value, Ack: acks[i]})
	}
	return rows, more, nil
}

// acks reads the acknowledgements attached to n rows.
func (r *Relay) acks(ctx context.Context, ref accountRef, from uint64, n int) ([][]byte, error) {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = ackKey(ref.n, from+uint64(i))
	}
	return r.engine.Get(ctx, ref.shard, keys)
}

// firstAfter is the index of the first row from q.From on with an arrival above q.After, found
// by halving: arrivals rise with the index.
func (r *Relay) firstAfter(ctx context.Context, ref accountRef, q RowsQuery) (uint64, error) {
	if q.After == 0 {
		return q.From, nil
	}
	l, err := r.loadLedger(ctx, ref)
	if err != nil {
		return 0, err
	}
	low, high := q.From, max(q.From, l.rows)
	for low < high {
		mid := low + (high-low)/2
		a, err := r.rowArrival(ctx, ref, mid)
		if err != nil {
			return 0, err
		}
		if a <= q.After {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, nil
}

func (r *Relay) rowArrival(ctx context.Context, ref accountRef, index uint64) (usage.Arrival, error) {
	got, err := r.engine.Get(ctx, ref.shard, [][]byte{rowKey(ref.n, index)})
	if err != nil {
		return math.MaxUint64, err
	}
	row, err := usage.DecodeRow(got[0])
	return row.Arrival, code.Wrap(code.StoreCorrupt, err, "row %d", index)
}
