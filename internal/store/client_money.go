package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// SetBudget changes limit and period; what was spent in the running period stays.
func (c *Client) SetBudget(ctx context.Context, now identity.UnixMilli, limit usage.Sat, period identity.UnixMilli) error {
	return c.update(ctx, func(t *clientTx) error {
		b, err := t.budget(now)
		if err != nil {
			return err
		}
		b.Limit, b.Period = limit, period
		t.put(budgetKey, b.encode())
		return nil
	})
}

func (t *clientTx) budget(now identity.UnixMilli) (Budget, error) {
	v, err := t.get(budgetKey)
	if err != nil {
		return Budget{}, err
	}
	b, err := decodeBudget(v)
	return b.at(now), err
}

// at is the budget with the period that now lies in. A clock that went back renews nothing.
func (v Budget) at(now identity.UnixMilli) Budget {
	if v.Start == 0 {
		v.Start = now
	}
	if v.Period > 0 && now > v.Start && now-v.Start >= v.Period {
		v.Start, v.Spent = now-(now-v.Start)%v.Period, 0
	}
	return v
}

// Budget is the budget as it stands now.
func (c *Client) Budget(ctx context.Context, now identity.UnixMilli) (Budget, error) {
	v, err := c.getOne(ctx, budgetKey)
	if err != nil {
		return Budget{}, err
	}
	b, err := decodeBudget(v)
	return b.at(now), err
}

// ApprovePayment books a payment before it is signed. p.Cumulative is the contract's sum after
// it; only what it adds to the sum approved before counts, so that the same payment again is
// free. A payment that the user was asked about does not touch the budget; any other must fit
// into it: code LimitExceeded. It gives the payment with what it adds.
func (c *Client) ApprovePayment(ctx context.Context, p Payment, asked bool) (Payment, error) {
	err := c.update(ctx, func(t *clientTx) error {
		v, err := t.get(key32(clientApproved, p.Contract))
		if err != nil {
			return err
		}
		before, err := decodeNumber(v)
		if p.Added = 0; err != nil || p.Cumulative <= usage.Sat(before) {
			return err
		}
		if p.Added, err = p.Cumulative.Sub(usage.Sat(before)); err != nil {
			return err
		}
		if !asked {
			if err := t.spend(p); err != nil {
				return err
			}
		}
		return t.putPayment(p)
	})
	return p, err
}

// spend takes a payment out of the budget.
func (t *clientTx) spend(p Payment) error {
	b, err := t.budget(p.Time)
	if err != nil {
		return err
	}
	spent, err := b.Spent.Add(p.Added)
	if err != nil {
		return err
	}
	if spent > b.Limit {
		return code.New(code.LimitExceeded, "%d sat more would make %d sat in this period, the budget is %d sat", p.Added, spent, b.Limit)
	}
	b.Spent = spent
	t.put(budgetKey, b.encode())
	return nil
}

func (t *clientTx) putPayment(p Payment) error {
	seq, err := t.next()
	if err != nil {
		return err
	}
	t.put(key32(clientApproved, p.Contract), number(uint64(p.Cumulative)))
	t.put(key32n(clientPayment, p.Contract, seq), p.encode())
	return nil
}

// Payments lists the payments approved for a contract, oldest first.
func (c *Client) Payments(ctx context.Context, id usage.ContractID) ([]Payment, error) {
	var out []Payment
	err := c.each(ctx, key32(clientPayment, id), nil, func(p Pair) (bool, error) {
		v, err := decodePayment(id, p.Value)
		out = append(out, v)
		return true, err
	})
	return out, err
}

// SaveContracts commits one step of the runner. It gives the effects with their numbers. A
// client keeps no account of a contract: ContractRow.Account is ignored.
func (c *Client) SaveContracts(ctx context.Context, b ContractBatch) ([]Pending, error) {
	var effects []Pending
	err := c.update(ctx, func(t *clientTx) error {
		effects = nil
		for _, row := range b.Rows {
			t.put(contractKey(row.Nonce), row.Row)
		}
		for _, seq := range b.Done {
			t.delete(pendingKey(seq))
		}
		if b.Cursor != nil {
			t.put(chainKey, b.Cursor)
		}
		for _, p := range b.Effects {
			seq, err := t.next()
			if err != nil {
				return err
			}
			p.Seq = seq
			t.put(pendingKey(seq), p.encode())
			effects = append(effects, p)
		}
		return nil
	})
	return effects, err
}

// Contract reads the runner's row. Code ContractUnknown.
func (c *Client) Contract(ctx context.Context, nonce [32]byte) ([]byte, error) {
	v, err := c.getOne(ctx, contractKey(nonce))
	if err == nil && v == nil {
		err = code.New(code.ContractUnknown, "no contract with nonce %x", nonce[:4])
	}
	return v, err
}

// Contracts lists all of the runner's rows.
func (c *Client) Contracts(ctx context.Context) ([]ContractRow, error) {
	var out []ContractRow
	err := c.each(ctx, []byte{kindContract}, nil, func(p Pair) (bool, error) {
		nonce, err := keyName(p.Key, 1)
		out = append(out, ContractRow{Nonce: nonce, Row: p.Value})
		return true, err
	})
	return out, err
}

// PendingEffects lists what is not yet marked done, oldest first.
func (c *Client) PendingEffects(ctx context.Context) ([]Pending, error) {
	var out []Pending
	err := c.each(ctx, []byte{kindPending}, nil, func(p Pair) (bool, error) {
		seq, err := keyNumber(p.Key)
		if err != nil {
			return false, err
		}
		e, err := decodePending(seq, p.Value)
		out = append(out, e)
		return true, err
	})
	return out, err
}

// ChainCursor is the last saved cursor of the chain; nil at first.
func (c *Client) ChainCursor(ctx context.Context) ([]byte, error) { return c.getOne(ctx, chainKey) }
