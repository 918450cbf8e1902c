package store

import (
	"context"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// accountRef names an account by where it is.
type accountRef struct {
	shard uint8
	n     num
}

// ledger is an account with the state of its log: what a commit needs to charge a contract.
// A ledger that is remembered is never changed; jobs work on a copy.
type ledger struct {
	accountRow
	shard uint8
	n     num
	log   usage.LogState
	// edge holds, by level, the last complete subtree hash of the log's tree: all that
	// appending a row reads.
	edge []tlog.Hash
}

func (l *ledger) ref() accountRef { return accountRef{l.shard, l.n} }

func (l *ledger) copy() *ledger {
	c := *l
	c.edge = slices.Clone(l.edge)
	return &c
}

// books is the account in the arithmetic of package usage.
func (l *ledger) books() usage.Account {
	return usage.Account{
		Paid: l.Paid, ContractPrice: l.ContractPrice, CreditLimit: l.Credit, Value: l.Value,
		Prices: l.Prices, Used: l.log.Used(), Pledged: l.pledged,
	}
}

// suspends tells whether the account serves a reader no more. Where the client closed the contract,
// what was accepted before is served to its end if the close pays for all of it.
func (l *ledger) suspends(reader identity.PublicKey) bool {
	switch l.State {
	case AccountClosed:
		return !l.books().Covered(l.Final)
	case AccountSuspended:
		return l.Payer != reader
	case AccountRetained, AccountPurged:
		return true
	}
	return false
}

// closing is the evidence for a suspension: the client's own close, or the relay's notice.
func (l *ledger) closing() []identity.Digest {
	if l.Closing.IsZero() {
		return nil
	}
	return []identity.Digest{l.Closing}
}

// time is the time of the next row: the clock, but never before the last row. They differ only
// after the operator has set the clock back.
func (l *ledger) time(now identity.UnixMilli) identity.UnixMilli { return max(now, l.log.LastTime) }

// append adds a row to the log, with its hashes, and moves what it billed from pledged to used.
func (l *ledger) append(s *step, in usage.RowInput) error {
	row, state, err := usage.AppendRow(l.log, l.Prices, in)
	if err != nil {
		return code.Wrap(code.Internal, err, "row %d of contract %s", l.rows, l.Contract)
	}
	books, err := l.books().Spend(l.log.Used(), state.Used())
	if err != nil {
		return err
	}
	raw, err := row.Encode()
	if err != nil {
		return code.Wrap(code.Internal, err, "row %d of contract %s", l.rows, l.Contract)
	}
	hashes, err := usage.StoredHashes(l.rows, raw, tlog.HashReaderFunc(l.readEdge))
	if err != nil {
		return code.Wrap(code.StoreCorrupt, err, "tree of contract %s", l.Contract)
	}
	s.put(l.shard, rowKey(l.n, l.rows), raw)
	first := usage.StoredHashIndex(l.rows)
	for i, h := range hashes {
		s.put(l.shard, hashKey(l.n, first+uint64(i)), h[:])
	}
	l.grow(hashes)
	l.log, l.pledged, l.rows = state, books.Pledged, state.Size
	return nil
}

// grow moves the edge: a new row completes one subtree on each of its levels.
func (l *ledger) grow(hashes []tlog.Hash) {
	for level, h := range hashes {
		if level == len(l.edge) {
			l.edge = append(l.edge, h)
		}
		l.edge[level] = h
	}
}

// readEdge implements tlog.HashReader for appending.
func (l *ledger) readEdge(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		if level >= len(l.edge) || uint64(n)+1 != l.rows>>level {
			return nil, corrupt("hash %d is not on the edge of a log of %d rows", x, l.rows)
		}
		out[i] = l.edge[level]
	}
	return out, nil
}

// save makes the step carry the account's new state.
func (l *ledger) save(s *step) {
	s.put(l.shard, accountKey(l.n), l.encode())
	s.ledgers = append(s.ledgers, l)
}

// ledgerOf finds the account of a contract. Code ContractUnknown.
func (t *tx) ledgerOf(shard uint8, id usage.ContractID) (*ledger, error) {
	l, err := t.ledgerAt(accountRef{shard, t.nums.of(id)})
	if err == nil && (l == nil || l.Contract != id) {
		return nil, code.New(code.ContractUnknown, "contract %s", id)
	}
	return l, err
}

// ledgerAt finds an account by its reference; nil if there is none. The result must not be
// changed.
func (t *tx) ledgerAt(ref accountRef) (*ledger, error) {
	if l := t.changed[ref]; l != nil {
		return l, nil
	}
	if l := t.ledgers[ref]; l != nil {
		return l, nil
	}
	l, err := t.loadLedger(t.ctx, ref)
	if err == nil && l != nil {
		t.ledgers[ref] = l
	}
	return l, err
}

// loadLedger reads an account, the last row of its log and the edge of its tree.
func (r *Relay) loadLedger(ctx context.Context, ref accountRef) (*ledger, error) {
	got, err := r.engine.Get(ctx, ref.shard, [][]byte{accountKey(ref.n)})
	if err != nil || got[0] == nil {
		return nil, err
	}
	row, err := decodeAccountRow(got[0])
	if err != nil {
		return nil, err
	}
	l := &ledger{accountRow: row, shard: ref.shard, n: ref.n}
	if l.log, err = r.logState(ctx, ref, row); err != nil {
		return nil, err
	}
	return l, r.loadEdge(ctx, l)
}

// logState derives the state of a log from its last row.
func (r *Relay) logState(ctx context.Context, ref accountRef, a accountRow) (usage.LogState, error) {
	if a.rows == 0 {
		return usage.LogState{Epoch: a.epoch}, nil
	}
	got, err := r.engine.Get(ctx, ref.shard, [][]byte{rowKey(ref.n, a.rows-1)})
	if err != nil {
		return usage.LogState{}, err
	}
	last, err := usage.DecodeRow(got[0])
	if err != nil {
		return usage.LogState{}, code.Wrap(code.StoreCorrupt, err, "row %d of contract %s", a.rows-1, a.Contract)
	}
	s := last.State()
	s.Epoch = a.epoch // a recovery begins a new one
	return s, nil
}

func (r *Relay) loadEdge(ctx context.Context, l *ledger) error {
	l.edge = make([]tlog.Hash, bits.Len64(l.rows))
	var keys [][]byte
	for level := range l.edge {
		index := tlog.StoredHashIndex(level, int64(l.rows>>level)-1)
		keys = append(keys, hashKey(l.n, uint64(index)))
	}
	got, err := r.engine.Get(ctx, l.shard, keys)
	if err != nil {
		return err
	}
	for level, h := range got {
		if len(h) != tlog.HashSize {
			return corrupt("the tree of contract %s lacks a hash", l.Contract)
		}
		l.edge[level] = tlog.Hash(h)
	}
	return nil
}

// dayOf is the day that a free allowance is for.
func dayOf(now identity.UnixMilli) uint64 { return uint64(now) / (24 * hourMs) }

// dayBucket is the bucket of things that are for one day.
func dayBucket(day uint64) Bucket { return bucketAt(identity.UnixMilli((day + 1) * 24 * hourMs)) }
