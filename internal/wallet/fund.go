package wallet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/btcsuite/btcd/btcjson"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

// Sequence is the nSequence of every input: replaceable (BIP125) and, with bit 31 set, without a
// relative lock time (BIP68).
const Sequence uint32 = 0xFFFFFFFD

// MaxInputs is how many coins one share may have.
const MaxInputs = 16

// Input is one reserved coin of a share.
type Input struct {
	OutPoint wire.OutPoint
	// Value is in satoshi.
	Value    int64
	PkScript []byte
	// MaxWitness is the weight of the witness that SignOwn makes for it, in weight units, with
	// the item count: 66, as all coins of the wallet are P2TR.
	MaxWitness int64
}

// Share is what one side brings into a transaction.
type Share struct {
	// Inputs are in the order of coin selection; each belongs into the transaction with Sequence.
	Inputs []Input
	// ChangeScript and ChangeSat are the change output; nil and 0 when there is none.
	ChangeScript []byte
	ChangeSat    int64
	// FeeSat is what the inputs bring beyond the amount and the change. It is the fee rate times
	// the share's bytes, rounded up; and more where change would have been dust and no
	// other choice of coins avoided that.
	FeeSat int64
	// WeightWU is the weight that this share adds to the transaction, witnesses included.
	WeightWU int64
}

// FundRequest says what a share must bring. Amounts are satoshi.
type FundRequest struct {
	// AmountSat is the value that this side brings besides its fee; 0 means the sum of Outputs.
	AmountSat int64
	// Outputs are the outputs whose bytes this side pays, without its change.
	Outputs []*wire.TxOut
	// FeeRate is in satoshi per 1000 virtual bytes.
	FeeRate int64
	// Lease is the id to reserve under. What it already reserves counts as free and is replaced,
	// so that the same request again gives the same share.
	Lease LeaseID
	// Until ends the reservation; zero: only Release does.
	Until time.Time
	// MinConf is how many confirmations a coin needs; at least 1.
	MinConf int32
	// NoCommon leaves out the bytes that a transaction has once (version, counts, lock time);
	// the other side of a joint transaction pays them.
	NoCommon bool
}

// FundShare reserves coins for amountSat of outputs and the fee of a whole transaction with these
// outputs, under the id lease; Fund is the same with every choice.
func (w *Wallet) FundShare(amountSat int64, outputs []*wire.TxOut, feeRateSatPerKvB int64, lease LeaseID, minConf int32) (Share, error) {
	return w.Fund(FundRequest{
		AmountSat: amountSat, Outputs: outputs, FeeRate: feeRateSatPerKvB, Lease: lease, MinConf: minConf,
	})
}

// Fund chooses coins, makes sure that the node too has them unspent, and reserves them. The choice
// is deterministic: the smallest single coin that suffices, else the largest ones, and in
// either case rather one whose change is worth more than dust.
//
// Errors: NotEnoughCoins, which says how much is missing; BadFeeRate; AmountTooSmall for an output
// that no node would relay; ChainUnavailable.
func (w *Wallet) Fund(r FundRequest) (Share, error) {
	target, base, err := r.check()
	if err != nil {
		return Share{}, err
	}
	w.coinMu.Lock()
	defer w.coinMu.Unlock()
	coins, err := w.coins()
	if err != nil {
		return Share{}, err
	}
	free, waiting := split(coins, r)
	for {
		p, err := choose(free, target, base, r.FeeRate, MaxInputs)
		if err != nil {
			return Share{}, waiting.explain(err)
		}
		gone, err := w.spentElsewhere(p.coins)
		if err != nil {
			return Share{}, err
		}
		if len(gone) == 0 {
			return w.reserve(r, p)
		}
		w.log.Warn("coins are spent elsewhere", "coins", len(gone))
		free = slices.DeleteFunc(free, func(c coin) bool { return contains(gone, c.op) })
	}
}

// check gives the value to bring and the weight of what is not input or change.
func (r FundRequest) check() (target, base int64, err error) {
	if err := checkFeeRate(r.FeeRate); err != nil {
		return 0, 0, err
	}
	if !r.NoCommon {
		base = commonWU
	}
	sum := int64(0)
	for _, o := range r.Outputs {
		if err := checkOutput(o); err != nil {
			return 0, 0, err
		}
		sum += o.Value
		base += outputWU(o.PkScript)
		if sum > maxSat {
			return 0, 0, code.New(code.NotEnoughCoins, "more than all bitcoin")
		}
	}
	if r.AmountSat == 0 {
		return sum, base, nil
	}
	if r.AmountSat < 0 || r.AmountSat > maxSat {
		return 0, 0, code.New(code.AmountTooSmall, "%d sat is not an amount", r.AmountSat)
	}
	return r.AmountSat, base, nil
}

// waiting counts the coins that cannot be chosen, for the error text.
type waiting struct{ unconfirmed, leased, immature int64 }

func (s waiting) explain(err error) error {
	if s == (waiting{}) {
		return err
	}
	return code.New(code.NotEnoughCoins, "%s; besides: %d sat with too few confirmations, %d sat reserved, %d sat immature",
		code.Text(err), s.unconfirmed, s.leased, s.immature)
}

// split separates the coins that may be chosen.
func split(coins []coin, r FundRequest) (free []coin, rest waiting) {
	for _, c := range coins {
		switch {
		case c.lease != nil && c.lease.ID != r.Lease:
			rest.leased += c.value
		case c.immature:
			rest.immature += c.value
		case c.confs < max(r.MinConf, 1):
			rest.unconfirmed += c.value
		default:
			free = append(free, c)
		}
	}
	return free, rest
}

// spentElsewhere asks the node for each coin. It sees what the wallet may not know yet: a
// transaction in the mempool from before a crash, or the same seed in use on another machine.
func (w *Wallet) spentElsewhere(coins []coin) ([]wire.OutPoint, error) {
	client, err := w.connected()
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	var ops, gone []wire.OutPoint
	for _, c := range coins {
		out, err := await(ctx, func() (*btcjson.GetTxOutResult, error) {
			return client.GetTxOut(&c.op.Hash, c.op.Index, false)
		})
		if err != nil {
			return nil, unavailable(err, "asking the node for a coin")
		}
		if out == nil {
			gone = append(gone, c.op)
		}
		ops = append(ops, c.op)
	}
	if len(ops) == 0 {
		return nil, nil
	}
	spends, err := await(ctx, func() ([]*btcjson.GetTxSpendingPrevOutResult, error) {
		return client.GetTxSpendingPrevOut(ops)
	})
	if err != nil || len(spends) != len(ops) {
		return nil, unavailable(errors.Join(err, errAnswer), "asking the node who spends a coin")
	}
	for i, s := range spends {
		if s.SpendingTxid != "" {
			gone = append(gone, ops[i])
		}
	}
	return gone, nil
}

var errAnswer = errors.New("no complete answer")

// reserve writes the leases and the change address of a choice in one transaction.
func (w *Wallet) reserve(r FundRequest, p plan) (Share, error) {
	s := Share{FeeSat: p.fee, ChangeSat: p.change, WeightWU: p.weight}
	ops := make([]wire.OutPoint, 0, len(p.coins))
	for _, c := range p.coins {
		ops = append(ops, c.op)
		s.Inputs = append(s.Inputs, Input{
			OutPoint: c.op, Value: c.value, PkScript: c.script, MaxWitness: witnessWU,
		})
	}
	err := w.edit(func(e edit) error {
		if err := e.replace(r, ops, w.now()); err != nil || p.change == 0 {
			return err
		}
		addr, err := e.bind(change, r.Lease, w.params)
		if err != nil {
			return err
		}
		s.ChangeScript, err = txscript.PayToAddrScript(addr)
		return err
	})
	if err != nil {
		return Share{}, fmt.Errorf("wallet: reserving coins: %w", err)
	}
	return s, nil
}

// replace makes ops the only coins that are reserved under the request's id.
func (e edit) replace(r FundRequest, ops []wire.OutPoint, now time.Time) error {
	if err := e.sweep(now); err != nil {
		return err
	}
	var stale [][]byte
	err := eachLease(e.leases, func(l Lease) error {
		if l.ID == r.Lease && !contains(ops, l.OutPoint) {
			stale = append(stale, outPointKey(l.OutPoint))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range stale {
		if err := e.leases.Delete(k); err != nil {
			return err
		}
	}
	return e.lease(r.Lease, ops, r.Until, now)
}
