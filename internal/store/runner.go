package store

import (
	"context"
	"encoding/binary"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

var (
	cursorKey   = metaKey("cursor")
	sequenceKey = metaKey("pending") // number of the last pending effect
)

// SaveContracts commits one step of the runner: contract rows, effects, marks and cursor
// first, then the accounts that they open or change. It gives the effects with their numbers.
// On one machine all of it is one batch; where it is not, an account can lag behind its row
// after a crash, never run ahead, and the runner saves accounts again at its start. Codes
// Conflict (an account would change payer, terms or prices) and BadAmount.
func (r *Relay) SaveContracts(ctx context.Context, b ContractBatch) ([]Pending, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var effects []Pending
	jobs := []job{func(t *tx) *step {
		var err error
		s := &step{}
		if effects, err = t.saveRows(s, b); err != nil {
			return t.fail(err)
		}
		return s
	}}
	for _, row := range b.Rows {
		if row.Account != nil {
			jobs = append(jobs, accountJob(*row.Account))
		}
	}
	if err := r.commit(ctx, r.clock, false, jobs); err != nil {
		return nil, err
	}
	for _, row := range b.Rows {
		if row.Account != nil {
			r.homes.add(row.Account)
		}
	}
	return effects, nil
}

func (h *homes) add(a *AccountTerms) {
	h.mu.Lock()
	h.known[a.Contract] = shardOf(a.Payer)
	h.mu.Unlock()
}

func (t *tx) saveRows(s *step, b ContractBatch) ([]Pending, error) {
	for _, row := range b.Rows {
		s.put(metaShard, contractKey(row.Nonce), row.Row)
	}
	for _, seq := range b.Done {
		s.delete(metaShard, pendingKey(seq))
	}
	if b.Cursor != nil {
		s.put(metaShard, cursorKey, b.Cursor)
	}
	if len(b.Effects) == 0 {
		return nil, nil
	}
	last, err := t.get(metaShard, sequenceKey)
	if err != nil {
		return nil, err
	}
	seq, err := decodeNumber(last)
	if err != nil {
		return nil, err
	}
	out := make([]Pending, len(b.Effects))
	for i, e := range b.Effects {
		seq++
		out[i] = e
		out[i].Seq = seq
		s.put(metaShard, pendingKey(seq), e.encode())
	}
	s.put(metaShard, sequenceKey, number(seq))
	return out, nil
}

// accountJob opens or changes an account.
func accountJob(a AccountTerms) job {
	return func(t *tx) *step {
		s := &step{}
		if err := t.saveAccount(s, a); err != nil {
			return t.fail(err)
		}
		return s
	}
}

func (t *tx) saveAccount(s *step, a AccountTerms) error {
	if err := a.check(); err != nil {
		return err
	}
	ref := accountRef{shardOf(a.Payer), t.nums.of(a.Contract)}
	l, err := t.ledgerAt(ref)
	if err != nil {
		return err
	}
	if l == nil {
		l = &ledger{shard: ref.shard, n: ref.n}
		l.AccountTerms = a
		l.save(s)
		return nil
	}
	if l.Contract != a.Contract || l.Payer != a.Payer || l.Terms != a.Terms || l.Prices != a.Prices {
		return code.New(code.Conflict, "contract %s is open with other terms", a.Contract)
	}
	if a.Paid < l.Paid {
		return code.New(code.PaymentTooLow, "%d sat are paid, %d were", a.Paid, l.Paid)
	}
	if l.AccountTerms == a {
		return nil
	}
	l = l.copy()
	l.AccountTerms = a
	l.save(s)
	return nil
}

func (a AccountTerms) check() error {
	if a.Contract.IsZero() || a.Payer.IsZero() || a.Terms.IsZero() || a.State < AccountActive || a.State > lastAccountState {
		return code.New(code.BadArgument, "an account needs contract, payer, terms and a state")
	}
	if a.Value > usage.MaxSat || a.Paid > a.Value {
		return code.New(code.BadAmount, "%d sat are paid of %d", a.Paid, a.Value)
	}
	return a.Prices.Check()
}

// Contract reads the runner's row. Code ContractUnknown.
func (r *Relay) Contract(ctx context.Context, nonce [32]byte) ([]byte, error) {
	got, err := r.engine.Get(ctx, metaShard, [][]byte{contractKey(nonce)})
	if err == nil && got[0] == nil {
		err = code.New(code.ContractUnknown, "contract %x", nonce[:8])
	}
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// Contracts lists all of the runner's rows (Account is not filled).
func (r *Relay) Contracts(ctx context.Context) ([]ContractRow, error) {
	pairs, err := r.scanMeta(ctx, kindContract, 32)
	out := make([]ContractRow, len(pairs))
	for i, p := range pairs {
		out[i] = ContractRow{Nonce: [32]byte(p.Key[1:]), Row: p.Value}
	}
	return out, err
}

// PendingEffects lists what is not yet marked done, oldest first.
func (r *Relay) PendingEffects(ctx context.Context) ([]Pending, error) {
	pairs, err := r.scanMeta(ctx, kindPending, 8)
	if err != nil {
		return nil, err
	}
	out := make([]Pending, len(pairs))
	for i, p := range pairs {
		if out[i], err = decodePending(binary.BigEndian.Uint64(p.Key[1:]), p.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// scanMeta reads everything of one kind in the meta shard; keys have a fixed length behind
// their kind.
func (r *Relay) scanMeta(ctx context.Context, kind byte, length int) ([]Pair, error) {
	var out []Pair
	from, to := []byte{kind}, []byte{kind + 1}
	for {
		pairs, err := r.engine.Scan(ctx, metaShard, from, to, maxPage)
		if err != nil || len(pairs) == 0 {
			return out, err
		}
		for _, p := range pairs {
			if len(p.Key) != 1+length {
				return nil, corrupt("a key %q of %d bytes", kind, len(p.Key))
			}
		}
		out = append(out, pairs...)
		from = append([]byte(nil), pairs[len(pairs)-1].Key...)
		from = append(from, 0)
	}
}

// ChainCursor is the last saved cursor; nil at first.
func (r *Relay) ChainCursor(ctx context.Context) ([]byte, error) {
	got, err := r.engine.Get(ctx, metaShard, [][]byte{cursorKey})
	if err != nil {
		return nil, err
	}
	return got[0], nil
}
