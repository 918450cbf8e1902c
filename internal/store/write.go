package store

import (
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// DiskReserve is what must be left on the disk after a write, in bytes. Deletes, reads,
// payments and contracts may use it.
const DiskReserve = 64 << 20

// writing is a WriteOp on its way through the checks.
type writing struct {
	WriteOp
	home    uint8
	facts   []usage.RecordFacts
	bucket  Bucket              // of the order's receipt
	until   identity.UnixMilli  // end of service
	at      identity.UnixMilli  // when it is accepted
	ledger  *ledger             // nil: the free allowance
	grant   *usage.AccountGrant // by which the signer orders; nil: it pays itself
	worst   usage.Quantities
	cost    usage.Msat
	arrival usage.Arrival
	receipt identity.Digest
}

func (t *tx) write(op WriteOp, s *step) (Outcome, error) {
	w := &writing{WriteOp: op, bucket: orderBucket(op)}
	if err := t.addressed(op.Order.Header); err != nil {
		return Outcome{}, err
	}
	if len(op.Records) == 0 {
		return Outcome{}, code.New(code.Malformed, "an order without records")
	}
	var err error
	if w.home, err = t.homeOf(op.Order); err != nil {
		return Outcome{}, err
	}
	body, err := t.get(w.home, orderKey(w.bucket, op.Order.Digest()))
	if err != nil {
		return Outcome{}, err
	}
	if body != nil {
		return Outcome{Statement: body, Repeat: true}, w.matches()
	}
	return t.writeNew(w, s)
}

// orderBucket is where the receipt of an order is kept: as long as the order can be presented
// again, and as long as any of its records. It depends on order and records alone, so that it
// is found again.
func orderBucket(op WriteOp) Bucket {
	end := max(op.Order.NotAfter, op.Order.NotAfter+requestLife) // a wrapped sum is the smaller
	for _, r := range op.Records {
		end = max(end, r.Header().Expiry())
	}
	return bucketAt(end)
}

// pathOf is where a record's path is claimed.
func (r *Relay) pathOf(h records.Header) (uint8, []byte) {
	return shardOf(h.From), pathKey(r.nums.of(h.From), r.nums.of(h.To), h.ID)
}

// matches checks that a repeated order comes with its own records.
func (w *writing) matches() error {
	w.facts = make([]usage.RecordFacts, len(w.Records))
	for i, r := range w.Records {
		h := r.Header()
		w.facts[i] = usage.RecordFacts{
			Digest: r.Digest(), Sender: h.From, Receiver: h.To, Stored: r.StoredBytes(),
			Expiry: h.Expiry(), MaxPulls: h.MaxPulls, DeleteOnAck: h.DeleteOnAck(),
		}
	}
	return w.Order.Names(w.facts)
}

func (t *tx) writeNew(w *writing, s *step) (Outcome, error) {
	if err := w.matches(); err != nil {
		return Outcome{}, err
	}
	if err := t.withinLimits(w); err != nil {
		return Outcome{}, err
	}
	if body, err := t.sameAgain(w); body != nil || err != nil {
		return Outcome{Statement: body, Repeat: true}, err
	}
	if err := t.diskLeft(w); err != nil {
		return Outcome{}, err
	}
	if err := t.fund(w, s); err != nil {
		return Outcome{}, err
	}
	return t.accomplish(w, s)
}

func (t *tx) withinLimits(w *writing) error {
	l := t.options.Limits
	if life := identity.UnixMilli(l.MaxTTL) * 1000; w.Order.NotAfter > t.now && w.Order.NotAfter-t.now > life {
		return code.New(code.TooLarge, "an order valid for more than %d s", l.MaxTTL)
	}
	if len(w.Records) > int(l.MaxBundle) {
		return code.New(code.TooLarge, "%d records under one order, allowed are %d", len(w.Records), l.MaxBundle)
	}
	for _, r := range w.Records {
		h := r.Header()
		switch {
		case h.Network != t.header.network:
			return code.New(code.WrongNetwork, "this relay works on %s", t.header.network)
		case h.ContentLen > l.MaxContent:
			return code.New(code.TooLarge, "a record of %d bytes, allowed are %d", h.ContentLen, l.MaxContent)
		case h.MaxPulls > l.MaxPulls:
			return code.New(code.TooLarge, "a record with %d pulls, allowed are %d", h.MaxPulls, l.MaxPulls)
		}
		if err := records.CheckTimes(h, t.now, l.MaxTTL); err != nil {
			return err
		}
	}
	return nil
}

// sameAgain looks at the paths. All free: nil. All taken by the very records under one earlier
// order of the same payer: the receipt of that order again, because a client that lost its
// order in a crash signs a new one and must not pay twice. Anything else is refused.
func (t *tx) sameAgain(w *writing) ([]byte, error) {
	var before *stored
	same := 0
	for _, r := range w.Records {
		v, err := t.standing(r)
		if err != nil {
			return nil, err
		}
		if v != nil && (before == nil || v.order == before.order) {
			before, same = v, same+1
		}
	}
	if before == nil {
		return nil, nil
	}
	body, err := t.get(before.place.home, orderKey(before.orderBucket, before.order))
	if err != nil {
		return nil, err
	}
	earlier, err := usage.DecodeReceipt(body)
	if err != nil {
		return nil, code.Wrap(code.StoreCorrupt, err, "a receipt")
	}
	if same < len(w.Records) || earlier.To != w.Order.From {
		return nil, code.New(code.Conflict, "a record of this order is stored under another order")
	}
	return body, nil
}

// standing finds the same record at its path, or nil if the path is free. Codes Conflict and
// TombstoneExists.
func (t *tx) standing(r records.Record) (*stored, error) {
	shard, key := t.pathOf(r.Header())
	b, err := t.get(shard, key)
	if err != nil || b == nil {
		return nil, err
	}
	c, err := decodeClaim(shard, b)
	if err != nil {
		return nil, err
	}
	v, err := t.storedAt(c.place)
	if err != nil {
		return nil, err
	}
	switch {
	case v != nil:
	case c.deleted && t.now < c.end:
		return nil, code.New(code.TombstoneExists, "%s", r.Path())
	case c.digest == r.Digest() || t.now >= c.end:
		return nil, nil
	default: // claimed from another shard, where the record is not (yet)
		return nil, code.New(code.Conflict, "another record is on its way to %s", r.Path())
	}
	switch {
	case t.now >= v.takes()+purgeDelay:
		return nil, nil
	case len(v.deleted) > 0:
		return nil, code.New(code.TombstoneExists, "%s", r.Path())
	case v.digest != r.Digest():
		return nil, code.New(code.Conflict, "%s is taken", r.Path())
	}
	return v, nil
}

// storedAt reads a record row; nil if there is none.
func (t *tx) storedAt(p place) (*stored, error) {
	b, err := t.get(p.home, recordKey(p))
	if err != nil || b == nil {
		return nil, err
	}
	v, err := openStored(p, b)
	return &v, err
}

// diskLeft refuses a write that would touch the disk's reserve. The disk is asked once per
// commit.
func (t *tx) diskLeft(w *writing) error {
	if t.options.FreeDisk == nil {
		return nil
	}
	if t.free == nil {
		free, err := t.options.FreeDisk()
		if err != nil {
			return code.Wrap(code.Internal, err, "asking the disk")
		}
		t.free = &free
	}
	if *t.free < DiskReserve+w.Order.TotalBytes {
		return code.New(code.DiskReserve, "%d bytes are left on the disk", *t.free)
	}
	*t.free -= w.Order.TotalBytes
	return nil
}

// fund charges the worst case of the order to its contract or to the free allowance.
func (t *tx) fund(w *writing, s *step) error {
	if w.Order.Contract.IsZero() {
		return t.fundFree(w, s)
	}
	l, err := t.ledgerOf(w.home, w.Order.Contract)
	if err != nil {
		return err
	}
	w.until, w.at = l.ServiceUntil, l.time(t.now)
	if err := t.mayOrder(w, l); err != nil {
		return err
	}
	switch {
	case l.Terms != w.Order.Terms:
		return code.New(code.TermsMismatch, "the order names other terms than the contract")
	case l.State == AccountSuspended, l.State == AccountRetained, l.State == AccountPurged:
		return code.New(code.NoFunds, "the contract takes no writes until what is owed is paid")
	case l.State != AccountActive:
		return code.New(code.NoFunds, "the contract takes no writes now")
	case w.at >= w.until:
		return code.New(code.Expired, "the service of the contract is over")
	case slices.ContainsFunc(w.facts, func(f usage.RecordFacts) bool { return f.Expiry <= w.at }):
		return code.New(code.Expired, "a record ends before the log of the contract goes on")
	}
	if w.worst, w.cost, err = usage.CoverOrder(w.Order.StoreOrder, w.facts, l.Prices, w.at, w.until); err != nil {
		return err
	}
	books, err := l.books().Reserve(w.worst)
	if err != nil {
		return err
	}
	w.ledger = l.copy()
	w.ledger.pledged = books.Pledged
	return t.pledge(w, s)
}

// fundFree charges bytes kept and all pulls to the payer's allowance of the day, so that reads
// of free records need no allowance of anybody.
func (t *tx) fundFree(w *writing, s *step) error {
	bytes := w.Order.TotalBytes
	w.at = t.now
	for _, f := range w.facts {
		w.until = max(w.until, f.Expiry)
		bytes += f.Stored * uint64(f.MaxPulls)
	}
	if _, _, err := usage.CoverOrder(w.Order.StoreOrder, w.facts, usage.Prices{}, t.now, w.until); err != nil {
		return err
	}
	key := freeKey(dayBucket(dayOf(t.now)), w.Order.From)
	b, err := t.get(w.home, key)
	if err != nil {
		return err
	}
	used, err := decodeNumber(b)
	if err != nil {
		return err
	}
	if limit := t.options.FreeBytesPerDay; used+bytes > limit {
		return code.New(code.AllowanceUsed, "this needs %d bytes with all pulls, %d of %d are used today", bytes, used, limit)
	}
	s.put(w.home, key, number(used+bytes))
	return nil
}
