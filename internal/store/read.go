package store

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// requestLife is how long the digest of a request is remembered beyond its validity, in
// milliseconds.
const requestLife = 24 * hourMs

// read serves one request: one pull and one row, whatever is then sent. The same request again
// is served again unbilled, up to twice the record's size in all; how much was granted is part
// of the request's row, so that a restart forgets nothing.
func (t *tx) read(op ReadOp, s *step) (Outcome, error) {
	q := op.Request
	if err := t.addressed(q.Header); err != nil {
		return Outcome{}, err
	}
	if t.now > q.NotAfter {
		return Outcome{}, code.New(code.Expired, "the read request is past its time")
	}
	v, err := t.locate(q.Record, op.Home)
	if err != nil {
		return Outcome{}, err
	}
	home := shardOf(q.From)
	if v != nil {
		home = v.place.home
	}
	key := requestKey(requestBucket(q), q.Digest())
	b, err := t.get(home, key)
	if err != nil {
		return Outcome{}, err
	}
	if b != nil {
		return t.readAgain(op, s, home, key, b)
	}
	a, out, err := t.readFirst(op, s, v)
	if err == nil {
		s.put(home, key, a.encode())
	}
	return out, err
}

// locate finds a record by its digest, first where the hint says; nil if it is nowhere.
func (t *tx) locate(d identity.Digest, hint Shard) (*stored, error) {
	if hint < Shards {
		if v, err := t.locateIn(d, uint8(hint)); v != nil || err != nil {
			return v, err
		}
	}
	used, err := t.usedShards(t.ctx)
	if err != nil {
		return nil, err
	}
	for _, shard := range used {
		if v, err := t.locateIn(d, shard); v != nil || err != nil {
			return v, err
		}
	}
	return nil, nil
}

func (t *tx) locateIn(d identity.Digest, shard uint8) (*stored, error) {
	b, err := t.get(shard, digestKey(d))
	if err != nil || b == nil {
		return nil, err
	}
	p, err := decodePlace(shard, b)
	if err != nil {
		return nil, err
	}
	return t.storedAt(p)
}

// errNoRecord does not tell a stranger whether a record exists.
func errNoRecord(d identity.Digest) error {
	return code.New(code.NotFound, "no record %s of this identity", d.Short())
}

// readFirst answers a request for the first time. Only the record's receiver is denied anything: a
// record that is here, or whose tombstone is, tells who that is; of one that is not the relay knows
// nothing, so the reader must have shown it.
func (t *tx) readFirst(op ReadOp, s *step, v *stored) (answered, Outcome, error) {
	switch {
	case v == nil && op.Entitled:
		return t.deny(op, nil, usage.ReasonNone, nil)
	case v == nil || v.To != op.Request.From:
		return answered{}, Outcome{}, errNoRecord(op.Request.Record)
	}
	reason, evidence, err := t.refusal(v, op.Request.From)
	if err != nil {
		return answered{}, Outcome{}, err
	}
	if reason != 0 {
		return t.deny(op, v, reason, evidence)
	}
	if v.size() > op.Request.MaxBytes {
		return answered{}, Outcome{}, code.New(code.TooLarge, "the record has %d bytes, asked for are at most %d", v.size(), op.Request.MaxBytes)
	}
	if op.Offset > v.ContentLen {
		return answered{}, Outcome{}, code.New(code.BadArgument, "offset %d in %d bytes", op.Offset, v.ContentLen)
	}
	if err := t.pull(op, s, v); err != nil {
		return answered{}, Outcome{}, err
	}
	a := answered{record: v.digest, place: v.place, served: v.size() - uint64(op.Offset)}
	return a, Outcome{Grant: v.grant()}, nil
}

func (v *stored) grant() *Grant {
	return &Grant{Record: v.digest, Header: v.signed, Size: v.ContentLen, place: v.place}
}

// refusal says why a record cannot be read although it is here; 0 if it can.
func (t *tx) refusal(v *stored, reader identity.PublicKey) (usage.Reason, []identity.Digest, error) {
	if reason, evidence, err := t.ended(v, reader); reason != 0 || err != nil {
		return reason, evidence, err
	}
	used, err := t.pulls(v)
	if err != nil || used < uint64(v.MaxPulls) {
		return 0, nil, err
	}
	evidence, err := t.pullEvidence(v)
	return usage.ReasonCap, evidence, err
}

// ended is refusal without the pulls, which a challenge does not use.
func (t *tx) ended(v *stored, reader identity.PublicKey) (usage.Reason, []identity.Digest, error) {
	switch {
	case len(v.deleted) > 0:
		d, err := signedDigest(v.deleted)
		if len(v.answer) == 0 {
			return usage.ReasonPurged, []identity.Digest{d}, err
		}
		return usage.ReasonDeleted, []identity.Digest{d}, err
	case t.now >= v.end:
		return usage.ReasonExpired, nil, nil
	}
	if !v.contract.IsZero() {
		l, err := t.ledgerOf(v.place.home, v.contract)
		if err != nil {
			return 0, nil, err
		}
		if l.time(t.now) >= v.end {
			return usage.ReasonExpired, nil, nil
		}
		if l.suspends(reader) {
			return usage.ReasonSuspended, l.closing(), nil
		}
	}
	return 0, nil, nil
}

// signedDigest is the digest of a kept statement.
func signedDigest(b []byte) (identity.Digest, error) {
	s, err := identity.ParseSigned(b)
	if err != nil {
		return identity.Digest{}, code.Wrap(code.StoreCorrupt, err, "a kept statement")
	}
	h, err := identity.PeekHeader(s.Statement)
	return identity.StatementDigest(h.Type, s.Statement), code.Wrap(code.StoreCorrupt, err, "a kept statement")
}

// pulls is how many pulls of a record are used.
func (t *tx) pulls(v *stored) (uint64, error) {
	b, err := t.get(v.place.home, pullsKey(v.place))
	if err != nil {
		return 0, err
	}
	return decodeNumber(b)
}

// pulled is one pull of a record: by which request, and which row of the log.
type pulled struct {
	request identity.Digest
	row     uint64
}

// pullEvidence lists what used the pulls: the leaf hashes of the READ rows, or, where the free
// allowance has no log, the digests of the requests.
func (t *tx) pullEvidence(v *stored) ([]identity.Digest, error) {
	all, err := t.pullsOf(v)
	if err != nil {
		return nil, err
	}
	all = append(all, t.pulled[v.place]...)
	all = all[:min(len(all), usage.MaxDenialEvidence)]
	keys, requests := make([][]byte, len(all)), make([]identity.Digest, len(all))
	for i, p := range all {
		requests[i] = p.request
		keys[i] = hashKey(t.nums.of(v.contract), usage.StoredHashIndex(p.row))
	}
	if v.contract.IsZero() {
		return requests, nil
	}
	return t.digestsAt(v.place.home, keys)
}

// pullsOf reads the committed pulls of a record, as many as a denial can name.
func (t *tx) pullsOf(v *stored) ([]pulled, error) {
	prefix := bucketed8(v.place.bucket, inPull, v.place.arrival)
	rows, err := t.engine.Scan(t.ctx, v.place.home, prefix, after(prefix), usage.MaxDenialEvidence)
	if err != nil {
		return nil, err
	}
	out := make([]pulled, len(rows))
	for i, row := range rows {
		if len(row.Key) != len(prefix)+32 {
			return nil, corrupt("a pull key of %d bytes", len(row.Key))
		}
		out[i].request = identity.Digest(row.Key[len(prefix):])
		if out[i].row, err = decodeNumber(row.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *tx) digestsAt(shard uint8, keys [][]byte) ([]identity.Digest, error) {
	if err := t.fetch(shard, keys); err != nil {
		return nil, err
	}
	out := make([]identity.Digest, len(keys))
	for i, k := range keys {
		b, err := t.get(shard, k)
		if err != nil {
			return nil, err
		}
		if len(b) != len(out[i]) {
			return nil, corrupt("a hash of %d bytes", len(b))
		}
		out[i] = identity.Digest(b)
	}
	return out, nil
}

// deny answers a request with a denial.
func (t *tx) deny(op ReadOp, v *stored, reason usage.Reason, evidence []identity.Digest) (answered, Outcome, error) {
	q := op.Request
	body, err := t.denial(q.Digest(), q.Record, q.From, v, reason, evidence)
	return answered{denial: body, record: q.Record}, Outcome{Statement: body}, err
}

// denial makes the body of a denial. It speaks of what was durable before the lookup; and of the time now,
// but where the log has passed the end of a record before the operator set the clock back, of that end.
func (t *tx) denial(request, record identity.Digest, to identity.PublicKey, v *stored, reason usage.Reason, evidence []identity.Digest) ([]byte, error) {
	at := t.now
	if reason == usage.ReasonExpired {
		at = max(at, v.end)
	}
	return usage.Denial{
		Header:  t.answer(identity.TypeDenial, to, serial("denial-serial", request)),
		Request: request, Record: record, Reason: reason, AsOf: t.asOf, AsOfMs: at,
		StoreEpoch: t.header.epoch, Evidence: evidence,
	}.Encode()
}

// pull uses one pull of the record and appends the READ row to the log of its payer.
func (t *tx) pull(op ReadOp, s *step, v *stored) error {
	used, err := t.pulls(v)
	if err != nil {
		return err
	}
	var index uint64
	if !v.contract.IsZero() {
		if index, err = t.chargeRead(op, s, v); err != nil {
			return err
		}
	}
	s.put(v.place.home, pullsKey(v.place), number(used+1))
	s.put(v.place.home, pullKey(v.place, op.Request.Digest()), number(index))
	t.pulled[v.place] = append(t.pulled[v.place], pulled{op.Request.Digest(), index})
	return nil
}

func (t *tx) chargeRead(op ReadOp, s *step, v *stored) (uint64, error) {
	l, err := t.ledgerOf(v.place.home, v.contract)
	if err != nil {
		return 0, err
	}
	if l.time(t.now) > op.Request.NotAfter {
		return 0, code.New(code.Expired, "the read request is past the last row's time")
	}
	l = l.copy()
	index := l.rows
	in := usage.RowInput{
		Kind: usage.RowRead, Arrival: t.arrive(1), Time: l.time(t.now), Bytes: v.size(), Receipt: v.receipt,
		Record: v.digest, Evidence: op.Request.Signed().Bytes(),
	}
	if err := t.bill(s, l, v.grantedBy, in); err != nil {
		return 0, err
	}
	l.save(s)
	return index, t.lessDue(s, l, v, due{egress: v.size()})
}

// lessDue takes something off what is left of a record's receipt.
func (t *tx) lessDue(s *step, l *ledger, v *stored, less due) error {
	key := dueKey(v.end, l.n, v.receipt)
	b, err := t.get(l.shard, key)
	if err != nil {
		return err
	}
	d, err := decodeDue(b)
	if err != nil {
		return err
	}
	if less.live > d.live || less.egress > d.egress {
		return corrupt("receipt %s has less left than its records", v.receipt.Short())
	}
	d.live, d.egress = d.live-less.live, d.egress-less.egress
	if d.live == 0 {
		s.delete(l.shard, key)
		return nil
	}
	s.put(l.shard, key, d.encode())
	return nil
}

// readAgain answers a request that was answered before.
func (t *tx) readAgain(op ReadOp, s *step, home uint8, key, b []byte) (Outcome, error) {
	a, err := decodeAnswered(b)
	if err != nil {
		return Outcome{}, err
	}
	if len(a.denial) > 0 {
		return Outcome{Statement: a.denial, Repeat: true}, nil
	}
	v, err := t.storedAt(a.place)
	if err != nil {
		return Outcome{}, err
	}
	if v == nil || !v.live(t.now) {
		return Outcome{}, code.New(code.NotFound, "record %s is gone since this request was granted", a.record.Short())
	}
	if op.Offset > v.ContentLen {
		return Outcome{}, code.New(code.BadArgument, "offset %d in %d bytes", op.Offset, v.ContentLen)
	}
	a.served += v.size() - uint64(op.Offset)
	if a.served > 2*v.size() {
		return Outcome{}, code.New(code.RequestReused, "this request was served twice the record's size")
	}
	s.put(home, key, a.encode())
	return Outcome{Grant: v.grant(), Repeat: true}, nil
}
