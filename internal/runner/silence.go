package runner

import (
	"context"
	"time"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// What becomes of an opening whose relay falls silent once the client has signed: the client looks
// for the funding transaction itself, publishes it while the relay still waits for it, and takes
// the coins back on request.

// openWait is how long a relay may take to confirm an opening.
const openWait = time.Minute

// watchOpenings looks after signed openings until ctx ends.
func (r *Runner) watchOpenings(ctx context.Context) {
	wait := r.OpenWait
	if wait <= 0 {
		wait = openWait
	}
	t := time.NewTicker(min(wait/4, time.Second))
	defer t.Stop()
	since := make(map[contract.Nonce]time.Time)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			r.lookAfter(ctx, now, wait, since)
		}
	}
}

// lookAfter finishes the openings that have waited long enough; since tells from when on each has.
func (r *Runner) lookAfter(ctx context.Context, now time.Time, wait time.Duration, since map[contract.Nonce]time.Time) {
	for _, c := range r.Contracts() {
		n := c.Nonce()
		began, waits := since[n]
		switch {
		case c.State() != contract.StateSigned:
			delete(since, n)
		case !waits:
			since[n] = now
		case now.Sub(began) >= wait:
			since[n] = now
			if err := r.finishOpening(ctx, c); err != nil && ctx.Err() == nil {
				r.Log.Warn("a signed opening is not confirmed", "contract", c.ID().String()[:8], "err", err)
			}
		}
	}
}

// finishOpening notes that the relay has published the funding without saying so, or publishes it.
// One that the relay has refused, or has stopped to wait for, is left to the user: in escrow the
// coins would only be locked.
func (r *Runner) finishOpening(ctx context.Context, c contract.Contract) error {
	escrow, _ := c.Escrow()
	out, err := r.Chain.TxOut(ctx, escrow, true)
	if err != nil && code.Of(err) != code.LightClient { // which cannot see it, and publishes it again
		return err
	}
	if out != nil {
		stamp, err := r.stamp()
		if err != nil {
			return err
		}
		_, err = r.step(ctx, c.Nonce(), contract.TxSeen{Tx: c.FundingTx(), Stamp: stamp}, nil)
		return err
	}
	if _, refused := r.refused.Load(c.Nonce()); refused {
		return code.New(code.BadState, "the relay has refused it; cancel it to get the coins back")
	}
	m, err := contract.MarginsOf(r.Network)
	if err != nil {
		return err
	}
	if t := c.Terms(); r.Tip()+m.TipTolerance >= t.Tip+m.OpeningBlocks {
		return code.New(code.BadDeadline, "the relay may have dropped it; cancel it to get the coins back")
	}
	r.Log.Info("the relay is silent; the funding is published by this side", "contract", c.ID().String()[:8])
	_, err = r.step(ctx, c.Nonce(), contract.PublishFunding{}, nil)
	return err
}

// noteRefusal remembers whether the relay's last word on an opening was a refusal.
func (r *Runner) noteRefusal(nonce contract.Nonce, err error) {
	switch c := code.Of(err); {
	case err == nil:
		r.refused.Delete(nonce)
	case !c.Retryable() && c != code.NoRelay:
		r.refused.Store(nonce, true)
	}
}

// Cancel takes the coins of an opening back as long as the funding is not confirmed, by a
// transaction that spends them at a higher fee rate (sat per 1,000 vB; raised to what replaces the
// funding). It is repeated with every block until a block decides: the contract is cancelling, then
// failed, or funding if the escrow was faster. Again with a higher rate it replaces itself. Codes
// BadState, ContractUnknown, AmountTooSmall, OutsideCoins, and those of the node. An opening in which nothing was signed is
// dropped instead.
func (r *Runner) Cancel(ctx context.Context, id usage.ContractID, feeRate uint64) (contract.Contract, error) {
	c, err := r.Contract(id)
	if err != nil {
		return c, err
	}
	nonce := c.Nonce()
	if s := c.State(); s == contract.StateOpening || s == contract.StateVerified {
		return r.abandon(ctx, nonce)
	}
	if r.isOutside(c) {
		return c, code.New(code.OutsideCoins, "the coins of contract %s are not in this wallet", c.ID())
	}
	c, effects, err := r.commit(ctx, nonce, contract.CancelFunding{FeeRate: feeRate})
	if err != nil {
		return c, err
	}
	for _, e := range effects {
		sign, ok := e.(contract.SignFunding)
		if !ok {
			continue
		}
		w, err := r.Wallet.SignOwn(sign.Tx, sign.Prevouts, sign.Own)
		if err != nil {
			return c, err
		}
		if c, err = r.step(ctx, nonce, contract.SignedCancel{FeeRate: feeRate, Witnesses: w}, nil); err != nil {
			return c, err
		}
	}
	return c, nil
}

// abandon drops an opening in which nothing was signed, at the user's wish.
func (r *Runner) abandon(ctx context.Context, nonce contract.Nonce) (contract.Contract, error) {
	stamp, err := r.stamp()
	if err != nil {
		return contract.Contract{}, err
	}
	return r.step(ctx, nonce, contract.GiveUp{Code: code.Declined, Text: "the client does not go on", Stamp: stamp}, nil)
}
