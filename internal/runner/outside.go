package runner

import (
	"context"
	"errors"
	"time"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// Coins of an outside wallet: this side knows no key for them. An opening with them stops once the relay has agreed,
// because only then the funding transaction is known; ImportFunding goes on with it.

// OutsideCoins looks the named coins up in the own chain and computes their change. Codes BadInput for one that does not
// exist, is spent, unconfirmed or immature, is of another kind than P2TR and P2WPKH, or is in the own wallet; BadArgument,
// NotEnoughCoins, ChainUnavailable.
func (r *Runner) OutsideCoins(ctx context.Context, o Opening) ([]contract.Coin, contract.Change, error) {
	m, err := contract.MarginsOf(r.Network)
	if err != nil {
		return nil, contract.Change{}, err
	}
	if len(o.Outside.Coins) == 0 || len(o.Outside.Coins) > wallet.MaxInputs {
		return nil, contract.Change{}, code.New(code.BadArgument, "name 1 to %d coins", wallet.MaxInputs)
	}
	var coins []contract.Coin
	for _, op := range o.Outside.Coins {
		v, err := r.view(ctx, contract.Coin{OutPoint: op})
		if err != nil {
			return nil, contract.Change{}, err
		}
		switch {
		case !v.Exists:
			return nil, contract.Change{}, code.New(code.BadInput, "%v does not exist, is spent or is not confirmed", op)
		case v.Mine:
			return nil, contract.Change{}, code.New(code.BadArgument, "%v is in your own wallet, which needs no file", op)
		}
		coin := contract.Coin{OutPoint: op, Value: v.Value, Script: v.Script}
		if err := contract.CheckCoin(coin, v, m); err != nil {
			return nil, contract.Change{}, err
		}
		coins = append(coins, coin)
	}
	change, err := contract.ChangeOf(coins, o.Value, o.FundFeeRate, o.Outside.Change)
	return coins, change, err
}

// fund gives the coins of an opening: outside ones that were named, or those that the wallet chooses.
func (r *Runner) fund(ctx context.Context, o Opening, lease wallet.LeaseID, payout []byte) ([]contract.Coin, contract.Change, error) {
	if o.Outside == nil {
		return r.ownCoins(o, lease, payout)
	}
	coins, change, err := r.OutsideCoins(ctx, o)
	if err != nil {
		return nil, change, err
	}
	err = r.Wallet.Lease(lease, o.Outside.Coins, time.Time{})
	if errors.Is(err, wallet.ErrLeased) {
		return nil, change, code.Wrap(code.BadInput, err, "another contract waits for one of the coins")
	}
	return coins, change, err
}

// isOutside (client) tells whether the keys of a contract's coins are elsewhere.
func (r *Runner) isOutside(c contract.Contract) bool {
	if r.Role != contract.Client {
		return false
	}
	for _, coin := range c.Coins() {
		if !r.Wallet.Owns(coin.Script) {
			return true
		}
	}
	return false
}

// ImportFunding goes on with an opening whose coins are of an outside wallet, with the PSBT that it has signed. Nothing
// of it leaves unless every signature fits the funding transaction by the own view of the coins, and all of them are still
// there. Codes are those of contract.ImportFunding and OutsideCoins, and BadDeadline when it took too long: nothing was
// given away then, and the opening is over.
func (r *Runner) ImportFunding(ctx context.Context, nonce contract.Nonce, raw []byte, ex Exchange) (contract.Contract, error) {
	c, ok := r.ByNonce(nonce)
	if !ok {
		return c, code.New(code.ContractUnknown, "no contract with nonce %x here", nonce[:4])
	}
	w, err := c.ImportFunding(raw)
	if err != nil {
		return c, err
	}
	for _, coin := range c.Coins() {
		v, err := r.view(ctx, coin)
		if err != nil {
			return c, err
		}
		if !v.Exists || v.SpentInPool {
			return c, code.New(code.BadInput, "%v is spent or is no longer in the chain", coin.OutPoint)
		}
	}
	a, err := r.acting(nonce)
	if err != nil {
		return c, err
	}
	if c, err = r.step(ctx, nonce, contract.SignedFunding{Witnesses: w, Key: a.key, Stamp: a.stamp}, nil); err != nil {
		return c, err
	}
	if r.Signed != nil {
		r.Signed(c)
	}
	err = r.drive(ctx, nonce, ex)
	c, _ = r.ByNonce(nonce)
	return c, err
}

// ImportExit broadcasts a way out of a contract that was signed outside. Codes are those of contract.ImportExit and of
// the node.
func (r *Runner) ImportExit(ctx context.Context, id usage.ContractID, raw []byte) (contract.Contract, error) {
	c, err := r.Contract(id)
	if err != nil {
		return c, err
	}
	tx, why, err := c.ImportExit(raw)
	if err != nil {
		return c, err
	}
	if err := r.broadcast(ctx, c.Nonce(), contract.Broadcast{Tx: tx, Why: why}, nil); err != nil {
		return c, err
	}
	c, _ = r.ByNonce(c.Nonce())
	return c, nil
}
