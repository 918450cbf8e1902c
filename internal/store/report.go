package store

import (
	"context"
	"encoding/binary"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// homes knows where each contract's account is.
type homes struct {
	mu    sync.RWMutex
	known map[usage.ContractID]uint8
}

func (r *Relay) loadHomes(ctx context.Context) error {
	r.homes.known = make(map[usage.ContractID]uint8)
	used, err := r.usedShards(ctx)
	if err != nil {
		return err
	}
	for _, shard := range used {
		accounts, err := r.accountsIn(ctx, shard)
		if err != nil {
			return err
		}
		for _, a := range accounts {
			r.homes.known[a.Contract] = shard
		}
	}
	return nil
}

// accountsIn reads all accounts of a shard.
func (r *Relay) accountsIn(ctx context.Context, shard uint8) ([]accountRow, error) {
	var out []accountRow
	from, to := []byte{kindAccount}, []byte{kindAccount + 1}
	for {
		rows, err := r.engine.Scan(ctx, shard, from, to, maxPage)
		if err != nil || len(rows) == 0 {
			return out, err
		}
		for _, row := range rows {
			a, err := decodeAccountRow(row.Value)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
		from = append(rows[len(rows)-1].Key, 0)
	}
}

// refOf finds a contract's account. Code ContractUnknown.
func (r *Relay) refOf(id usage.ContractID) (accountRef, error) {
	r.homes.mu.RLock()
	defer r.homes.mu.RUnlock()
	shard, ok := r.homes.known[id]
	if !ok {
		return accountRef{}, code.New(code.ContractUnknown, "contract %s", id)
	}
	return accountRef{shard, r.nums.of(id)}, nil
}

// Account reads one contract's account. Code ContractUnknown.
func (r *Relay) Account(ctx context.Context, id usage.ContractID) (Account, error) {
	ref, err := r.refOf(id)
	if err != nil {
		return Account{}, err
	}
	l, err := r.loadLedger(ctx, ref)
	if err != nil {
		return Account{}, err
	}
	return l.summary()
}

func (l *ledger) summary() (Account, error) {
	books := l.books()
	reserved, err := books.Reserved()
	return Account{
		AccountTerms: l.AccountTerms, LogEpoch: l.epoch, Rows: l.rows, Live: l.log.Live,
		Owed: l.log.Owed, Reserved: reserved, Funds: books.Funds(),
	}, err
}

// Accounts lists the accounts of a payer; with the zero key, of all.
func (r *Relay) Accounts(ctx context.Context, payer identity.PublicKey) ([]Account, error) {
	r.homes.mu.RLock()
	var ids []usage.ContractID
	for id, shard := range r.homes.known {
		if payer.IsZero() || shard == shardOf(payer) {
			ids = append(ids, id)
		}
	}
	r.homes.mu.RUnlock()
	var out []Account
	for _, id := range ids {
		a, err := r.Account(ctx, id)
		if err != nil {
			return nil, err
		}
		if payer.IsZero() || a.Payer == payer {
			out = append(out, a)
		}
	}
	return out, nil
}

// Hashes reads the stored hashes of a contract's log, for proofs about heads that were
// reported.
func (r *Relay) Hashes(ctx context.Context, id usage.ContractID) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		ref, err := r.refOf(id)
		if err != nil {
			return nil, err
		}
		return r.readHashes(ctx, ref, indexes)
	})
}

func (r *Relay) readHashes(ctx context.Context, ref accountRef, indexes []int64) ([]tlog.Hash, error) {
	keys := make([][]byte, len(indexes))
	for i, x := range indexes {
		keys[i] = hashKey(ref.n, uint64(x))
	}
	got, err := r.engine.Get(ctx, ref.shard, keys)
	if err != nil {
		return nil, err
	}
	out := make([]tlog.Hash, len(got))
	for i, b := range got {
		if len(b) != tlog.HashSize {
			return nil, corrupt("hash %d of a log is missing", indexes[i])
		}
		out[i] = tlog.Hash(b)
	}
	return out, nil
}

// Report is the body of a contract's latest usage report. Codes ContractUnknown and NotFound.
func (r *Relay) Report(ctx context.Context, id usage.ContractID) ([]byte, error) {
	ref, err := r.refOf(id)
	if err != nil {
		return nil, err
	}
	l, err := r.loadLedger(ctx, ref)
	if err != nil {
		return nil, err
	}
	return r.reportNo(ctx, ref, l.reports)
}

// ReportNo is the body of the report with a number, from 1.
func (r *Relay) ReportNo(ctx context.Context, id usage.ContractID, number uint64) ([]byte, error) {
	ref, err := r.refOf(id)
	if err != nil {
		return nil, err
	}
	return r.reportNo(ctx, ref, number)
}

func (r *Relay) reportNo(ctx context.Context, ref accountRef, number uint64) ([]byte, error) {
	got, err := r.engine.Get(ctx, ref.shard, [][]byte{reportKey(ref.n, number)})
	if err == nil && got[0] == nil {
		err = code.New(code.NotFound, "no usage report %d", number)
	}
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// MakeReport makes the next report if the log has grown since the last one, or gives the last
// one. Its body is synced when it is returned; the caller signs it. Codes ContractUnknown and
// ClockWrong.
func (r *Relay) MakeReport(ctx context.Context, now identity.UnixMilli, id usage.ContractID, tip Tip) ([]byte, error) {
	ref, err := r.refOf(id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.begin(ctx, now); t.badClock != nil {
		return nil, t.badClock
	}
	if err := r.catchUp(ctx, now); err != nil {
		return nil, err
	}
	// What has ended is closed by a commit of its own: the proof reads hashes from the engine.
	if err := r.commit(ctx, now, false, []job{closeDue}); err != nil {
		return nil, err
	}
	var body []byte
	err = r.commit(ctx, now, false, []job{func(t *tx) *step {
		s := &step{}
		if body, err = t.report(s, ref, tip); err != nil {
			return t.fail(err)
		}
		return s
	}})
	return body, err
}

// report makes the next report or finds the last.
func (t *tx) report(s *step, ref accountRef, tip Tip) ([]byte, error) {
	l, err := t.ledgerAt(ref)
	if err != nil {
		return nil, err
	}
	u := usage.UsageReport{
		Contract: l.Contract, Number: l.reports + 1, LogEpoch: l.epoch, Size: l.rows, Terms: l.Terms,
		LiveBytes: l.log.Live, ByteSeconds: l.log.ByteSeconds, Egress: l.log.Egress, Owed: l.log.Owed,
		Paid: l.Paid, TipHeight: tip.Height, TipHash: tip.Hash, AsOf: l.log.LastArrival,
	}
	if l.reports > 0 {
		last, err := t.reportNo(t.ctx, ref, l.reports)
		if err != nil {
			return nil, err
		}
		grown, err := t.follow(&u, ref, last)
		if err != nil || !grown {
			return last, err
		}
	}
	hashes := tlog.HashReaderFunc(func(x []int64) ([]tlog.Hash, error) { return t.readHashes(t.ctx, ref, x) })
	if u.Root, err = usage.TreeRoot(u.Size, hashes); err != nil {
		return nil, code.Wrap(code.StoreCorrupt, err, "the tree of contract %s", l.Contract)
	}
	if u.Lanes, u.LanesRoot, err = t.lanesHead(t.ctx, l); err != nil {
		return nil, err
	}
	number := identity.Tagged("report", l.Contract[:], binary.BigEndian.AppendUint64(nil, u.Number), u.Root[:])
	u.Header = t.answer(identity.TypeUsageReport, l.Payer, serial("report-serial", number))
	body, err := u.Encode()
	if err != nil {
		return nil, err
	}
	next := l.copy()
	next.reports++
	s.put(ref.shard, reportKey(ref.n, next.reports), body)
	next.save(s)
	return body, nil
}

// follow chains a report to the last one; false if nothing has changed since.
func (t *tx) follow(u *usage.UsageReport, ref accountRef, last []byte) (bool, error) {
	prev, err := usage.DecodeUsageReport(last)
	if err != nil {
		return false, code.Wrap(code.StoreCorrupt, err, "a usage report")
	}
	if prev.Size == u.Size && prev.LogEpoch == u.LogEpoch {
		return false, nil
	}
	u.Previous = identity.StatementDigest(identity.TypeUsageReport, last)
	if prev.LogEpoch != u.LogEpoch || prev.Size == 0 {
		return true, nil // after a log reset there is no earlier head to prove from
	}
	u.PrevSize, u.PrevRoot = prev.Size, prev.Root
	hashes := tlog.HashReaderFunc(func(x []int64) ([]tlog.Hash, error) { return t.readHashes(t.ctx, ref, x) })
	u.Consistency, err = usage.ProveConsistency(u.PrevSize, u.Size, hashes)
	return true, code.Wrap(code.StoreCorrupt, err, "the tree of contract %s", u.Contract)
}
