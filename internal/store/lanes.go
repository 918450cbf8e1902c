package store

import (
	"context"
	"encoding/binary"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Lane is how a grant stands: the statements as they were kept, and what the lane has used.
type Lane struct {
	Grant    []byte // identity.Signed bytes
	Revoke   []byte // identity.Signed bytes; empty while the grant stands
	Entry    usage.LaneEntry
	Reserved usage.Msat // what accepted records may still cost
	Ordered  usage.Msat // max_msat of the orders of the day
	Open     bool       // the account of the contract takes orders
	Rows     []usage.RowEntry
	More     bool // further rows follow
}

// Lane reads a grant of a contract with rows of its lane from an index of the log on, for its sponsor or
// its account; to anybody else it does not exist. Codes ContractUnknown, UnknownGrant.
func (r *Relay) Lane(ctx context.Context, by identity.PublicKey, id usage.ContractID, grant identity.Digest, from uint64, limit int) (Lane, error) {
	ref, err := r.refOf(id)
	if err != nil {
		return Lane{}, err
	}
	now := identity.UnixMilli(r.shown.Load())
	got, err := r.engine.Get(ctx, ref.shard, [][]byte{grantKey(grant), laneKey(ref.n, grant), dayKey(dayBucket(dayOf(now)), grant)})
	if err != nil {
		return Lane{}, err
	}
	if got[0] == nil {
		return Lane{}, errNoGrant(grant)
	}
	row, err := decodeGrantRow(got[0])
	if err != nil {
		return Lane{}, err
	}
	g, err := row.read()
	if err != nil {
		return Lane{}, err
	}
	if g.Contract != id || by != g.From && by != g.Account {
		return Lane{}, errNoGrant(grant)
	}
	out := Lane{Grant: row.signed, Revoke: row.revoke}
	if err := out.fill(g, grant, got[1], got[2]); err != nil {
		return Lane{}, err
	}
	acc, err := r.Account(ctx, id)
	if err != nil {
		return Lane{}, err
	}
	out.Open = acc.State == AccountActive
	out.Rows, out.More, err = r.laneRows(ctx, ref, grant, from, max(1, min(limit, maxPage)))
	return out, err
}

// fill reads the books of the lane, as its last row left them.
func (v *Lane) fill(g usage.AccountGrant, grant identity.Digest, lane, day []byte) error {
	ordered, err := decodeNumber(day)
	if err != nil {
		return err
	}
	v.Ordered = usage.Msat(ordered)
	var l usage.Lane
	if lane != nil {
		if l, err = decodeLane(lane); err != nil {
			return err
		}
	}
	if v.Reserved, err = l.Reserved(g.Prices); err != nil {
		return code.Wrap(code.StoreCorrupt, err, "a lane")
	}
	v.Entry, err = l.Entry(grant, g.Prices, l.Last)
	return code.Wrap(code.StoreCorrupt, err, "a lane")
}

// laneRows reads rows of one lane from an index of the log on.
func (r *Relay) laneRows(ctx context.Context, ref accountRef, grant identity.Digest, from uint64, limit int) ([]usage.RowEntry, bool, error) {
	n := r.nums.of(grant)
	pairs, err := r.engine.Scan(ctx, ref.shard, laneRowKey(ref.n, n, from), after(key16(kindLaneRow, uint64(ref.n), uint64(n))), limit+1)
	if err != nil {
		return nil, false, err
	}
	more := len(pairs) > limit
	pairs = pairs[:min(limit, len(pairs))]
	keys := make([][]byte, 0, 2*len(pairs))
	for _, p := range pairs {
		if len(p.Key) != 25 {
			return nil, false, corrupt("a lane row key of %d bytes", len(p.Key))
		}
		index := binary.BigEndian.Uint64(p.Key[17:])
		keys = append(keys, rowKey(ref.n, index), ackKey(ref.n, index))
	}
	got, err := r.engine.Get(ctx, ref.shard, keys)
	if err != nil {
		return nil, false, err
	}
	out := make([]usage.RowEntry, len(pairs))
	for i := range out {
		out[i] = usage.RowEntry{Row: got[2*i], Ack: got[2*i+1]}
	}
	return out, more, nil
}
