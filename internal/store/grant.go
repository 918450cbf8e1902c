package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// GrantOp keeps a sponsor's grant, so that orders can name it.
type GrantOp struct{ Grant usage.VerifiedAccountGrant }

// RevokeOp ends a grant for new orders.
type RevokeOp struct {
	Revoke usage.VerifiedAccountRevoke
}

func (GrantOp) op()  {}
func (RevokeOp) op() {}

// grantRow is a grant as it is kept, and once it was revoked by what.
type grantRow struct {
	signed  []byte // identity.Signed bytes of the accountGrant
	receipt []byte // body of its receipt
	revoke  []byte // identity.Signed bytes of the accountRevoke; empty while the grant stands
	ended   []byte // body of the receipt for that
}

func (g grantRow) encode() []byte {
	w := newWriter(64 + len(g.signed) + len(g.receipt) + len(g.revoke) + len(g.ended))
	return w.bytes(g.signed).bytes(g.receipt).bytes(g.revoke).bytes(g.ended).b
}

func decodeGrantRow(b []byte) (grantRow, error) {
	r := newReader(b)
	g := grantRow{r.bytes(), r.bytes(), r.bytes(), r.bytes()}
	return g, r.end("a grant")
}

// read gives the statement in the row.
func (g grantRow) read() (usage.AccountGrant, error) {
	s, err := identity.ParseSigned(g.signed)
	if err != nil {
		return usage.AccountGrant{}, code.Wrap(code.StoreCorrupt, err, "a kept grant")
	}
	v, err := usage.DecodeAccountGrant(s.Statement)
	return v, code.Wrap(code.StoreCorrupt, err, "a kept grant")
}

// grantAt finds a grant in the shard of its contract; nil if it is not there.
func (t *tx) grantAt(shard uint8, d identity.Digest) (*grantRow, error) {
	b, err := t.get(shard, grantKey(d))
	if err != nil || b == nil {
		return nil, err
	}
	g, err := decodeGrantRow(b)
	return &g, err
}

// keepGrant keeps a grant. The same again gets the same receipt.
func (t *tx) keepGrant(op GrantOp, s *step) (Outcome, error) {
	g := op.Grant
	if err := t.addressed(g.Header); err != nil {
		return Outcome{}, err
	}
	home := shardOf(g.From)
	row, err := t.grantAt(home, g.Digest())
	if err != nil {
		return Outcome{}, err
	}
	if row != nil {
		return Outcome{Statement: row.receipt, Repeat: true}, nil
	}
	l, err := t.ledgerOf(home, g.Contract)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case l.Payer != g.From:
		return Outcome{}, code.New(code.Forbidden, "the contract is another one's")
	case l.Terms != g.Terms || l.Prices != g.Prices:
		return Outcome{}, code.New(code.TermsMismatch, "the grant names other terms or prices than the contract")
	case l.grants >= usage.MaxGrants:
		return Outcome{}, code.New(code.TooManyGrants, "the contract has %d grants", l.grants)
	}
	body, err := t.grantReceipt(l, g.Digest(), g.Digest())
	if err != nil {
		return Outcome{}, err
	}
	l = l.copy()
	l.grants++
	s.put(home, grantKey(g.Digest()), grantRow{signed: g.Signed().Bytes(), receipt: body}.encode())
	l.save(s)
	return Outcome{Statement: body}, nil
}

// grantReceipt is what the sponsor is told: the order is done, and after which rows of the log.
func (t *tx) grantReceipt(l *ledger, order, grant identity.Digest) ([]byte, error) {
	return usage.GrantReceipt{
		Header: t.answer(identity.TypeGrantReceipt, l.Payer, serial("grant-receipt-serial", order)),
		Order:  order, Grant: grant, Contract: l.Contract, LogEpoch: l.epoch, RowIndex: l.rows,
	}.Encode()
}

// revoke ends a grant for new orders. The same again gets the same receipt.
func (t *tx) revoke(op RevokeOp, s *step) (Outcome, error) {
	v := op.Revoke
	if err := t.addressed(v.Header); err != nil {
		return Outcome{}, err
	}
	home := shardOf(v.From)
	row, err := t.grantAt(home, v.Grant)
	if err != nil {
		return Outcome{}, err
	}
	if row == nil {
		return Outcome{}, errNoGrant(v.Grant)
	}
	g, err := row.read()
	if err != nil {
		return Outcome{}, err
	}
	if g.From != v.From {
		return Outcome{}, errNoGrant(v.Grant)
	}
	if len(row.revoke) > 0 {
		d, err := signedDigest(row.revoke)
		if err == nil && d != v.Digest() {
			err = code.New(code.GrantRevoked, "the grant was revoked by another statement before")
		}
		return Outcome{Statement: row.ended, Repeat: true}, err
	}
	l, err := t.ledgerOf(home, g.Contract)
	if err != nil {
		return Outcome{}, err
	}
	next := *row
	next.revoke = v.Signed().Bytes()
	if next.ended, err = t.grantReceipt(l, v.Digest(), v.Grant); err != nil {
		return Outcome{}, err
	}
	s.put(home, grantKey(v.Grant), next.encode())
	return Outcome{Statement: next.ended}, nil
}

func errNoGrant(d identity.Digest) error {
	return code.New(code.UnknownGrant, "no grant %s of this identity", d.Short())
}

// homeOf is the home shard of an order's records: that of who pays. Code ContractUnknown.
func (r *Relay) homeOf(o usage.VerifiedStoreOrder) (uint8, error) {
	if o.Grant.IsZero() {
		return shardOf(o.From), nil
	}
	ref, err := r.refOf(o.Contract)
	return ref.shard, err
}

// mayOrder checks that the signer of an order may order at the cost of the contract, and notes by which
// grant it does.
func (t *tx) mayOrder(w *writing, l *ledger) error {
	o := w.Order
	if o.Grant.IsZero() {
		if l.Payer != o.From {
			return code.New(code.Forbidden, "the contract is another one's")
		}
		return nil
	}
	row, err := t.grantAt(w.home, o.Grant)
	if err != nil {
		return err
	}
	if row == nil {
		return errNoGrant(o.Grant)
	}
	g, err := row.read()
	if err != nil {
		return err
	}
	if err := g.Admits(o.StoreOrder, w.Tip); err != nil {
		return err
	}
	if len(row.revoke) > 0 {
		return code.New(code.GrantRevoked, "grant %s was revoked", o.Grant.Short())
	}
	w.grant = &g
	return nil
}

// pledge charges the worst case of an order to the lane of its grant, and its max_msat to the day.
func (t *tx) pledge(w *writing, s *step) error {
	if w.grant == nil {
		return nil
	}
	day := dayKey(dayBucket(dayOf(w.at)), w.Order.Grant)
	b, err := t.get(w.home, day)
	if err != nil {
		return err
	}
	ordered, err := decodeNumber(b)
	if err != nil {
		return err
	}
	lane, err := t.laneOf(s, w.ledger, w.Order.Grant)
	if err != nil {
		return err
	}
	lane, today, err := lane.Accept(*w.grant, w.Order.StoreOrder, w.worst, usage.Msat(ordered))
	if err != nil {
		return err
	}
	s.put(w.home, day, number(uint64(today)))
	t.setLane(s, w.ledger, w.Order.Grant, lane)
	return nil
}

// laneRef names a lane by the account of its contract.
type laneRef struct {
	accountRef
	grant identity.Digest
}

// laneOf is a lane as it is, or as this step will make it.
func (t *tx) laneOf(s *step, l *ledger, grant identity.Digest) (usage.Lane, error) {
	if v, ok := s.lanes[laneRef{l.ref(), grant}]; ok {
		return v, nil
	}
	b, err := t.get(l.shard, laneKey(l.n, grant))
	if err != nil || b == nil {
		return usage.Lane{}, err
	}
	return decodeLane(b)
}

func (t *tx) setLane(s *step, l *ledger, grant identity.Digest, v usage.Lane) {
	if s.lanes == nil {
		s.lanes = make(map[laneRef]usage.Lane)
	}
	s.lanes[laneRef{l.ref(), grant}] = v
	s.put(l.shard, laneKey(l.n, grant), encodeLane(v))
}

// bill appends a row to the log of a contract, and to the lane that it belongs to.
func (t *tx) bill(s *step, l *ledger, grant identity.Digest, in usage.RowInput) error {
	index := l.rows
	if err := l.append(s, in); err != nil || grant.IsZero() {
		return err
	}
	lane, err := t.laneOf(s, l, grant)
	if err != nil {
		return err
	}
	if lane, err = lane.Spend(in); err != nil {
		return err
	}
	t.setLane(s, l, grant, lane)
	s.put(l.shard, laneRowKey(l.n, t.nums.of(grant), index), number(lane.Rows))
	return nil
}

// release gives back what a closed record can no longer use.
func (t *tx) release(s *step, l *ledger, grant identity.Digest, rest usage.Quantities) error {
	books, err := l.books().Close(rest)
	if err != nil {
		return err
	}
	l.pledged = books.Pledged
	if grant.IsZero() {
		return nil
	}
	lane, err := t.laneOf(s, l, grant)
	if err != nil {
		return err
	}
	if lane, err = lane.Close(rest); err != nil {
		return err
	}
	t.setLane(s, l, grant, lane)
	return nil
}

func encodeLane(l usage.Lane) []byte {
	w := newWriter(64).u(l.Rows).u(l.Live).u(l.Used.ByteSeconds.Hi).u(l.Used.ByteSeconds.Lo).u(l.Used.Egress)
	return w.u(l.Pledged.ByteSeconds.Hi).u(l.Pledged.ByteSeconds.Lo).u(l.Pledged.Egress).u(uint64(l.Last)).b
}

func decodeLane(b []byte) (usage.Lane, error) {
	var l usage.Lane
	r := newReader(b)
	l.Rows, l.Live = r.u(), r.u()
	l.Used.ByteSeconds.Hi, l.Used.ByteSeconds.Lo, l.Used.Egress = r.u(), r.u(), r.u()
	l.Pledged.ByteSeconds.Hi, l.Pledged.ByteSeconds.Lo, l.Pledged.Egress = r.u(), r.u(), r.u()
	l.Last = identity.UnixMilli(r.u())
	return l, r.end("a lane")
}

// lanesHead is what a report says of the lanes of a log, by what is committed. The payer's own lane is
// what the others leave.
func (r *Relay) lanesHead(ctx context.Context, l *ledger) (uint32, identity.Digest, error) {
	if l.grants == 0 {
		return 0, identity.Digest{}, nil
	}
	own := usage.Lane{Rows: l.log.Size, Live: l.log.Live, Used: l.log.Used(), Last: l.log.LastTime}
	entries := make([]usage.LaneEntry, 1)
	from, to := key8(kindLane, uint64(l.n)), after(key8(kindLane, uint64(l.n)))
	for {
		pairs, err := r.engine.Scan(ctx, l.shard, from, to, maxPage)
		if err != nil {
			return 0, identity.Digest{}, err
		}
		for _, p := range pairs {
			if len(p.Key) != 41 {
				return 0, identity.Digest{}, corrupt("a lane key of %d bytes", len(p.Key))
			}
			e, rest, err := laneEntry(l, own, identity.Digest(p.Key[9:]), p.Value)
			if err != nil {
				return 0, identity.Digest{}, err
			}
			entries, own = append(entries, e), rest
		}
		if len(pairs) == 0 {
			break
		}
		from = append(append([]byte(nil), pairs[len(pairs)-1].Key...), 0)
	}
	var err error
	if entries[0], err = own.Entry(identity.Digest{}, l.Prices, l.log.LastTime); err != nil {
		return 0, identity.Digest{}, err
	}
	if own.Rows == 0 {
		entries = entries[1:]
	}
	return usage.LanesHead(entries)
}

// laneEntry is a lane as a report shows it, and what it leaves of the log.
func laneEntry(l *ledger, own usage.Lane, grant identity.Digest, b []byte) (usage.LaneEntry, usage.Lane, error) {
	lane, err := decodeLane(b)
	if err != nil {
		return usage.LaneEntry{}, own, err
	}
	e, err := lane.Entry(grant, l.Prices, l.log.LastTime)
	if err != nil {
		return e, own, err
	}
	if own.Used, err = own.Used.Sub(usage.Quantities{ByteSeconds: e.ByteSeconds, Egress: e.Egress}); err != nil || own.Live < e.LiveBytes || own.Rows < lane.Rows {
		return e, own, corrupt("the lanes of contract %s are more than its log", l.Contract)
	}
	own.Live, own.Rows = own.Live-e.LiveBytes, own.Rows-lane.Rows
	return e, own, nil
}
