package runner

import (
	"context"
	"errors"
	"io"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// Exchange carries one statement to the relay and brings its answer; a zero answer means that the
// relay had nothing to say.
type Exchange func(ctx context.Context, s identity.Signed) (identity.Signed, error)

// Opening is what a client decides when it opens a contract.
type Opening struct {
	Offer       contract.OfferTerms
	Value       usage.Sat
	Prepaid     usage.Sat
	Collateral  usage.Sat // what the relay is asked to lock until the expiry; 0: nothing
	Duration    usage.Height
	FundFeeRate uint64 // sat per 1,000 vB
	// Outside names the coins when they are not the own wallet's; the opening then stops for its signatures.
	Outside *contract.Outside
}

// Open proposes a contract and goes through its three messages. When it returns without error the
// funding transaction is broadcast, or about to be; or the contract is verified and waits for ImportFunding. If the relay refuses before anything was
// signed, the coins are free again. If the connection breaks later, Resume goes on.
func (r *Runner) Open(ctx context.Context, o Opening, ex Exchange) (contract.Contract, error) {
	if err := r.sound(ctx); err != nil {
		return contract.Contract{}, err
	}
	r.opening.Lock()
	defer r.opening.Unlock()
	var nonce contract.Nonce
	if _, err := io.ReadFull(r.Rand, nonce[:]); err != nil {
		return contract.Contract{}, code.Wrap(code.Internal, err, "random bytes")
	}
	propose, err := r.propose(ctx, o, nonce)
	if err != nil {
		_ = r.Wallet.Release(wallet.LeaseID(nonce), nil)
		return contract.Contract{}, err
	}
	if _, err := r.step(ctx, nonce, propose, nil); err != nil {
		_ = r.Wallet.Release(wallet.LeaseID(nonce), nil) // nothing was proposed; the coins are free
		return contract.Contract{}, err
	}
	if err := r.drive(ctx, nonce, ex); err != nil {
		return r.giveUp(ctx, nonce, err)
	}
	c, _ := r.ByNonce(nonce)
	return c, nil
}

// propose reserves coins and makes the first event. Everything is derived from the nonce, which is
// also the id of the reservation.
func (r *Runner) propose(ctx context.Context, o Opening, nonce contract.Nonce) (contract.Propose, error) {
	key, err := r.keyOf(nonce)
	if err != nil {
		return contract.Propose{}, err
	}
	lease := wallet.LeaseID(nonce)
	_, payout, err := r.Wallet.AddressFor(lease)
	if err != nil {
		return contract.Propose{}, err
	}
	coins, change, err := r.fund(ctx, o, lease, payout)
	if err != nil {
		return contract.Propose{}, err
	}
	if o.Collateral > 0 {
		if err := r.canLookUp(ctx, coins); err != nil {
			return contract.Propose{}, err
		}
	}
	stamp, err := r.stamp()
	if err != nil {
		return contract.Propose{}, err
	}
	return contract.Propose{
		Offer: o.Offer, Client: r.Key.Public(), Nonce: nonce, Key: contract.KeyOf(key), Value: o.Value,
		Prepaid: o.Prepaid, Collateral: o.Collateral, Duration: o.Duration, FundFeeRate: o.FundFeeRate, Coins: coins, Change: change,
		Payout: payout, Tip: r.Tip(), Stamp: stamp,
	}, nil
}

// ownCoins reserves coins of the wallet.
func (r *Runner) ownCoins(o Opening, lease wallet.LeaseID, payout []byte) ([]contract.Coin, contract.Change, error) {
	// The escrow's script needs the relay's key; any script of its size gives the same fee.
	escrow := wire.NewTxOut(int64(o.Value), payout)
	share, err := r.Wallet.Fund(wallet.FundRequest{
		Outputs: []*wire.TxOut{escrow}, FeeRate: int64(o.FundFeeRate), Lease: lease, MinConf: 1,
	})
	if err != nil {
		return nil, contract.Change{}, err
	}
	s := shareOf(share)
	return s.Coins, s.Change, nil
}

// giveUp ends an opening after a failure, if nothing was signed yet; else the contract stays, and
// Resume goes on with it.
func (r *Runner) giveUp(ctx context.Context, nonce contract.Nonce, why error) (contract.Contract, error) {
	c, _ := r.ByNonce(nonce)
	if c.State() != contract.StateOpening && c.State() != contract.StateVerified {
		return c, why
	}
	stamp, err := r.stamp()
	if err != nil {
		return c, why
	}
	// What ctx says no longer matters: the coins must be freed on disk too.
	c, err = r.step(context.WithoutCancel(ctx), nonce, contract.GiveUp{Code: code.Of(why), Text: "opening failed", Stamp: stamp}, nil)
	if err != nil {
		r.Log.Warn("an opening could not be given up", "err", err)
	}
	return c, why
}

// Resume compares every contract with the relay's record of it, sends again what still waits for an
// answer, and goes on from there. Call it whenever there is a new session with the relay. A
// contract about which the relay will not talk does not keep it from the others; the errors of all
// are given back together.
func (r *Runner) Resume(ctx context.Context, relay identity.PublicKey, ex Exchange) error {
	var errs []error
	for _, c := range r.Contracts() {
		if c.Peer() != relay || c.Forgettable() {
			continue
		}
		err := r.resumeOne(ctx, c, ex)
		if err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil || code.Of(err) == code.Disconnected {
			break
		}
	}
	return errors.Join(errs...)
}

// Finish is Resume for one contract.
func (r *Runner) Finish(ctx context.Context, id usage.ContractID, ex Exchange) error {
	c, err := r.Contract(id)
	if err != nil {
		return err
	}
	return r.drive(ctx, c.Nonce(), ex)
}

// line is held by whoever talks to the other side about a contract, so that an opening and a new
// session's Resume do not both send and each take the other's answer.
func (r *Runner) line(ctx context.Context, nonce contract.Nonce) (release func(), err error) {
	v, _ := r.lines.LoadOrStore(nonce, make(chan struct{}, 1))
	ch := v.(chan struct{})
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, code.New(code.Timeout, "another exchange about this contract goes on")
	}
}

// drive exchanges statements until none waits for an answer.
func (r *Runner) drive(ctx context.Context, nonce contract.Nonce, ex Exchange) error {
	release, err := r.line(ctx, nonce)
	if err != nil {
		return err
	}
	defer release()
	return r.exchange(ctx, nonce, ex)
}

// exchange is drive for a caller who holds the line.
func (r *Runner) exchange(ctx context.Context, nonce contract.Nonce, ex Exchange) error {
	for range 8 { // an opening has two rounds; more than a few would be a loop
		c, ok := r.ByNonce(nonce)
		if !ok || c.Pending() == nil {
			return nil
		}
		s, err := identity.SignOne(r.Key, c.Pending())
		if err != nil {
			return err
		}
		answer, err := ex(ctx, s)
		r.noteRefusal(nonce, err)
		if err != nil {
			return err
		}
		if answer.IsZero() {
			return r.unanswered(c)
		}
		if _, err := r.Receive(ctx, c.Peer(), answer); err != nil {
			return err
		}
	}
	return code.New(code.BadState, "the relay's answers lead nowhere")
}

// unanswered says whether silence will do: a closing transaction is answered by the chain, and what
// an abort tells needs no answer; an opening goes nowhere without one.
func (r *Runner) unanswered(c contract.Contract) error {
	switch c.State() {
	case contract.StateOpening, contract.StateVerified, contract.StateSigned:
		return code.Wrap(code.BadState, errNoReply, "the relay")
	}
	return nil
}

// Pay signs a payment update for a cumulative sum and delivers it.
func (r *Runner) Pay(ctx context.Context, id usage.ContractID, amount usage.Sat, report identity.Digest, ex Exchange) (contract.Contract, error) {
	// A store that was put back from an old copy would sign a second update with an old number: since
	// the start, the relay's record must have been seen once.
	if c, err := r.Contract(id); err == nil && ex != nil {
		if _, met := r.met.Load(c.Nonce()); !met {
			if err := r.reestablish(ctx, c.Nonce(), ex); err != nil {
				return c, err
			}
		}
	}
	return r.act(ctx, id, ex, func(c contract.Contract, a acting) contract.Event {
		return contract.Pay{Amount: amount, Report: report, Key: a.key, Stamp: a.stamp}
	})
}

// Close closes by refund payment: this side signs the closing transaction, the relay signs and
// broadcasts it. amount is the relay's cumulative share.
func (r *Runner) Close(ctx context.Context, id usage.ContractID, amount usage.Sat, feeRate uint64, ex Exchange) (contract.Contract, error) {
	return r.act(ctx, id, ex, func(c contract.Contract, a acting) contract.Event {
		return contract.Close{Amount: amount, FeeRate: feeRate, Key: a.key, Stamp: a.stamp}
	})
}

// AcceptClose co-signs the relay's standing request to close, if it takes no more than max.
func (r *Runner) AcceptClose(ctx context.Context, id usage.ContractID, max usage.Sat) (contract.Contract, error) {
	return r.act(ctx, id, nil, func(c contract.Contract, a acting) contract.Event {
		return contract.AcceptClose{Max: max, Key: a.key}
	})
}

// Refund takes the escrow back after expiry, at a fee rate in sat per 1,000 vB. It also happens by
// itself with the first block that allows it.
func (r *Runner) Refund(ctx context.Context, id usage.ContractID, feeRate uint64) (contract.Contract, error) {
	return r.act(ctx, id, nil, func(c contract.Contract, a acting) contract.Event {
		return contract.Refund{FeeRate: feeRate, Key: a.key}
	})
}
