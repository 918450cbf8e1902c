package runner

import (
	"context"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// A relay that is asked for a collateral signs its own coins before anybody has signed anything for it. What a stranger can
// do with that is bounded here: coins, time and fees.

const (
	// maxExposed bounds the proposals with a collateral that nobody has signed: each costs the relay a double spend if
	// nobody does.
	maxExposed = 4
	// maxFundFactor bounds the fee rate of a funding that the relay pays a share of, in multiples of what its node asks for.
	maxFundFactor = 4
)

// backing reserves coins of the relay's wallet for a collateral, if its policy has room for it. Codes CollateralUnavailable,
// BadFeeRate, ChainUnavailable.
func (r *Runner) backing(ctx context.Context, nonce contract.Nonce, offer contract.OfferTerms, m *contract.Open) (contract.Share, error) {
	if k := m.Collateral; k == 0 || k > offer.MaxCollateral || k > m.Value {
		return contract.Share{}, nil // Accept says what is wrong
	}
	if err := r.mayLock(m.Collateral); err != nil {
		return contract.Share{}, err
	}
	if most := maxFundFactor * max(r.feeRate(ctx), offer.MinFundFeeRate); m.FundFeeRate > most {
		return contract.Share{}, code.New(code.BadFeeRate, "a funding fee rate of %d with a collateral; the relay pays its share at up to %d", m.FundFeeRate, most)
	}
	// The collateral's script needs the contract's keys; any script of its size gives the same fee.
	stand := wire.NewTxOut(int64(m.Collateral), make([]byte, 34))
	share, err := r.Wallet.Fund(wallet.FundRequest{
		Outputs: []*wire.TxOut{stand}, FeeRate: int64(m.FundFeeRate), Lease: wallet.LeaseID(nonce), MinConf: 1, NoCommon: true,
	})
	if code.Of(err) == code.NotEnoughCoins {
		return contract.Share{}, code.New(code.CollateralUnavailable, "the relay has not enough free coins for a collateral of %d sat", m.Collateral)
	}
	return shareOf(share), err
}

// shareOf is a share of the wallet as a contract takes it.
func shareOf(s wallet.Share) contract.Share {
	out := contract.Share{Change: contract.Change{Value: usage.Sat(s.ChangeSat), Script: s.ChangeScript}}
	for _, in := range s.Inputs {
		out.Coins = append(out.Coins, contract.Coin{OutPoint: in.OutPoint, Value: usage.Sat(in.Value), Script: in.PkScript})
	}
	return out
}

// mayLock holds a collateral against what is locked already, and against what strangers keep waiting.
func (r *Runner) mayLock(k usage.Sat) error {
	locked, waiting := r.Locked(), 0
	for _, c := range r.Contracts() {
		if s := c.State(); c.Exposed() && (s == contract.StateOffered || s == contract.StateCancelling) {
			waiting++
		}
	}
	switch {
	case k > r.Policy.MaxLocked || locked > r.Policy.MaxLocked-k:
		return code.New(code.CollateralUnavailable, "%d sat of the relay are locked already", locked)
	case waiting >= maxExposed:
		return code.New(code.CollateralUnavailable, "%d proposals with a collateral wait for a signature", waiting)
	}
	return nil
}

// Locked (relay) is what of the relay's own money is in contracts, or may be put there by clients: the collaterals that are
// not back.
func (r *Runner) Locked() (sum usage.Sat) {
	for _, c := range r.Contracts() {
		sum += c.Locked()
	}
	return sum
}

// unfund frees what was reserved for a proposal that came to nothing.
func (r *Runner) unfund(nonce contract.Nonce) {
	if _, known := r.ByNonce(nonce); known {
		return // the contract itself says when
	}
	if err := r.Wallet.Release(wallet.LeaseID(nonce), nil); err != nil {
		r.Log.Warn("coins for a collateral could not be freed", "err", err)
	}
}

// views is what the own node says about coins of the other side.
func (r *Runner) views(ctx context.Context, coins []contract.Coin) ([]contract.CoinView, error) {
	out := make([]contract.CoinView, len(coins))
	for i, coin := range coins {
		var err error
		if out[i], err = r.view(ctx, coin); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// canLookUp refuses to ask for a collateral where the own view of the chain cannot tell whether the relay's coins exist
// (code LightClient); it asks for an own coin, of which the answer does not matter.
func (r *Runner) canLookUp(ctx context.Context, coins []contract.Coin) error {
	_, err := r.views(ctx, coins[:min(1, len(coins))])
	return err
}

// signCancel signs the relay's double spend of coins that it has signed for a funding which does not come.
func (r *Runner) signCancel(ctx context.Context, nonce contract.Nonce, e contract.SignFunding) error {
	w, err := r.Wallet.SignOwn(e.Tx, e.Prevouts, e.Own)
	if err != nil {
		return err
	}
	r.Log.Info("the coins of a collateral are taken out of a funding that does not come", "nonce", nonce)
	_, err = r.step(ctx, nonce, contract.SignedCancel{FeeRate: e.FeeRate, Witnesses: w}, nil)
	return err
}
