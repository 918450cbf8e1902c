package client

import (
	"context"
	"time"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// walletTime is how long a call waits for the wallet to catch up with the node.
const walletTime = 15 * time.Second

// WalletAddress gives a receiving address that was not given out before. It needs no node.
func (a *Agent) WalletAddress(context.Context) (string, error) {
	addr, _, err := a.wallet.NewAddress()
	return addr, err
}

// WalletBalance counts the coins as of the newest block. It needs Run, and the node: code
// ChainUnavailable.
func (a *Agent) WalletBalance(ctx context.Context) (WalletBalance, error) {
	if err := a.walletReady(ctx); err != nil {
		return WalletBalance{}, err
	}
	b, err := a.wallet.Balance()
	return WalletBalance{
		Confirmed: usage.Sat(b.ConfirmedSat), Unconfirmed: usage.Sat(b.UnconfirmedSat + b.ImmatureSat), Leased: usage.Sat(b.LeasedSat),
	}, err
}

// WalletCoin is one unspent coin of the wallet.
type WalletCoin struct {
	Coin          string           `json:"coin"` // TXID:INDEX
	Value         usage.Sat        `json:"value_sat"`
	Confirmations usage.Height     `json:"confirmations"`
	Immature      bool             `json:"immature,omitempty"` // a block reward that is too young
	Leased        bool             `json:"leased,omitempty"`
	LeasedBy      usage.ContractID `json:"leased_by,omitzero"`     // the contract that is being opened with it; zero: a payment that is being prepared
	LeasedUntil   string           `json:"leased_until,omitempty"` // RFC 3339; empty: until what holds it ends
}

// WalletCoins lists the coins as of the newest block, largest first, with what each is promised to. It needs Run, and the
// node: code ChainUnavailable.
func (a *Agent) WalletCoins(ctx context.Context) ([]WalletCoin, error) {
	if err := a.walletReady(ctx); err != nil {
		return nil, err
	}
	coins, err := a.wallet.Coins()
	if err != nil {
		return nil, err
	}
	out := make([]WalletCoin, 0, len(coins))
	for _, c := range coins {
		one := WalletCoin{Coin: c.OutPoint.String(), Value: usage.Sat(c.Value), Confirmations: usage.Height(c.Confirmations), Immature: c.Immature}
		if l := c.Lease; l != nil {
			one.Leased = true
			if k, ok := a.runner.ByNonce(contract.Nonce(l.ID)); ok {
				one.LeasedBy = idOf(k)
			}
			if !l.Until.IsZero() {
				one.LeasedUntil = l.Until.UTC().Format(time.RFC3339)
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// WalletSend sends coins away, or with DryRun only says what that would cost. It needs Run and the
// node. Codes BadAddress, AmountTooSmall, NotEnoughCoins, BadFeeRate, ChainUnavailable,
// ChainRejected.
func (a *Agent) WalletSend(ctx context.Context, r WalletSendRequest) (WalletSendResult, error) {
	script, err := a.wallet.ScriptOf(r.Address)
	if err != nil {
		return WalletSendResult{}, err
	}
	if r.Amount > usage.MaxSat || r.All != (r.Amount == 0) {
		return WalletSendResult{}, code.New(code.BadArgument, "say either an amount or all")
	}
	if err := a.walletReady(ctx); err != nil {
		return WalletSendResult{}, err
	}
	rate, err := a.feeRate(ctx, r.FeeRateSatVB)
	if err != nil {
		return WalletSendResult{}, err
	}
	tx, fee, err := a.wallet.PrepareSend(ctx, r.Address, int64(r.Amount), int64(rate), r.All)
	if err != nil {
		return WalletSendResult{}, err
	}
	res := WalletSendResult{Txid: tx.TxHash().String(), Fee: usage.Sat(fee)}
	for _, out := range tx.TxOut {
		if string(out.PkScript) == string(script) {
			res.Amount = usage.Sat(out.Value)
			break // change never goes to a script that somebody was told
		}
	}
	if r.DryRun {
		return res, a.wallet.Discard(tx)
	}
	return res, a.wallet.Publish(ctx, tx)
}

// walletReady waits until the wallet has seen what the node has. A node that does not answer is
// told at once.
func (a *Agent) walletReady(ctx context.Context) error {
	tip, err := a.tip(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, walletTime)
	defer cancel()
	if err := a.wallet.Synced(ctx); err != nil {
		at, _ := a.wallet.Status()
		return code.Wrap(code.ChainUnavailable, err, "the wallet is at height %d, the node at %d", at, tip)
	}
	return nil
}

// tip is the height of the node's best block.
func (a *Agent) tip(ctx context.Context) (usage.Height, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	b, err := a.chain.Tip(ctx)
	return usage.Height(b.Height), err
}
