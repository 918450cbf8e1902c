package wallet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// Balance counts every coin of the wallet that nothing has spent yet, each in exactly one field,
// in satoshi. What an unconfirmed transaction spends is not counted any more, its change is.
type Balance struct {
	// ConfirmedSat can be spent now: at least one confirmation and not reserved.
	ConfirmedSat int64
	// UnconfirmedSat is in no block yet.
	UnconfirmedSat int64
	// ImmatureSat are block rewards that are too young to be spent.
	ImmatureSat int64
	// LeasedSat is reserved, for a contract or for a prepared payment.
	LeasedSat int64
}

// coin is an unspent output of the wallet.
type coin struct {
	op     wire.OutPoint
	value  int64
	script []byte
	// confs is 1 in the newest block, 0 in none.
	confs    int32
	immature bool
	lease    *Lease
}

// Balance adds up the coins, as of the block that the wallet has reached.
func (w *Wallet) Balance() (Balance, error) {
	coins, err := w.coins()
	if err != nil {
		return Balance{}, fmt.Errorf("wallet: balance: %w", err)
	}
	var b Balance
	for _, c := range coins {
		switch {
		case c.lease != nil:
			b.LeasedSat += c.value
		case c.immature:
			b.ImmatureSat += c.value
		case c.confs == 0:
			b.UnconfirmedSat += c.value
		default:
			b.ConfirmedSat += c.value
		}
	}
	return b, nil
}

// Coin is one unspent coin, for a list.
type Coin struct {
	OutPoint wire.OutPoint
	// Value is in satoshi.
	Value int64
	// Confirmations is 1 in the newest block, 0 in none.
	Confirmations int32
	// Immature is a block reward that is too young to be spent.
	Immature bool
	// Lease is what the coin is reserved for; nil: nothing.
	Lease *Lease
}

// Coins lists the unspent coins, largest first, as of the block that the wallet has reached.
func (w *Wallet) Coins() ([]Coin, error) {
	coins, err := w.coins()
	out := make([]Coin, 0, len(coins))
	for _, c := range coins {
		out = append(out, Coin{OutPoint: c.op, Value: c.value, Confirmations: c.confs, Immature: c.immature, Lease: c.lease})
	}
	return out, err
}

func (w *Wallet) coins() ([]coin, error) {
	var out []coin
	err := w.view(func(v view) (err error) {
		out, err = v.coins(w.params, w.now())
		return err
	})
	return out, err
}

// coins lists the unspent outputs that can be signed for, largest first, equal ones by outpoint:
// one state of the wallet has one order.
func (v view) coins(params *chaincfg.Params, now time.Time) ([]coin, error) {
	credits, err := v.in.TxStore.UnspentOutputs(v.txs)
	if err != nil {
		return nil, err
	}
	tip := v.in.Manager.SyncedTo().Height
	var out []coin
	for _, c := range credits {
		if !txscript.IsPayToTaproot(c.PkScript) {
			continue
		}
		one := coin{op: c.OutPoint, value: int64(c.Amount), script: c.PkScript}
		if c.Height >= 0 {
			one.confs = max(tip-c.Height+1, 1)
		}
		one.immature = c.FromCoinBase && one.confs < int32(params.CoinbaseMaturity)
		l, ok, err := findLease(v.leases, c.OutPoint)
		if err != nil {
			return nil, err
		}
		if ok && l.live(now) {
			one.lease = &l
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b coin) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.op.Hash.String(), b.op.Hash.String()),
			cmp.Compare(a.op.Index, b.op.Index))
	})
	return out, nil
}
