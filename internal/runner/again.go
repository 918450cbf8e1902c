package runner

import (
	"context"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// What the two sides tell each other about a contract when they are connected again, and when the
// funding is deep enough.

// resumeOne reestablishes one contract, drives what is pending, and announces that it is ready.
func (r *Runner) resumeOne(ctx context.Context, c contract.Contract, ex Exchange) error {
	if err := r.reestablish(ctx, c.Nonce(), ex); err != nil {
		return err
	}
	if err := r.drive(ctx, c.Nonce(), ex); err != nil {
		return err
	}
	return r.announce(ctx, c.Nonce(), ex)
}

// reestablish tells the relay how a contract stands and takes what it answers. A relay that does not
// know the contract is shown the messages of its opening.
func (r *Runner) reestablish(ctx context.Context, nonce contract.Nonce, ex Exchange) error {
	if c, ok := r.ByNonce(nonce); !ok || !c.Comparable() {
		return nil
	}
	err := r.tell(ctx, nonce, ex, func(c contract.Contract, a acting) (contract.Event, error) {
		head, err := r.head(ctx, c)
		return contract.Reconnect{Head: head, Stamp: a.stamp}, err
	})
	if code.Of(err) != code.ContractUnknown {
		return err
	}
	if c, _ := r.ByNonce(nonce); c.Summary().Depth == 0 {
		return nil // a relay has no escrow to take up; the opening goes on, or is cancelled
	}
	return r.tell(ctx, nonce, ex, func(c contract.Contract, a acting) (contract.Event, error) {
		head, err := r.head(ctx, c)
		return contract.Reconnect{Head: head, Opening: true, Stamp: a.stamp}, err
	})
}

// announce says that the funding is deep enough here, unless the relay has said the same.
func (r *Runner) announce(ctx context.Context, nonce contract.Nonce, ex Exchange) error {
	c, _ := r.ByNonce(nonce)
	if c.PeerReady() || !c.Service() {
		return nil
	}
	err := r.tell(ctx, nonce, ex, func(_ contract.Contract, a acting) (contract.Event, error) {
		return contract.AnnounceReady{Stamp: a.stamp}, nil
	})
	return ignoring(err, code.NotDue)
}

// Ready (client) announces the contracts with a relay whose funding has become deep enough.
func (r *Runner) Ready(ctx context.Context, relay identity.PublicKey, ex Exchange) error {
	for _, c := range r.Of(relay) {
		if c.ReadySaid() {
			continue
		}
		if err := r.announce(ctx, c.Nonce(), ex); err != nil {
			return err
		}
	}
	return nil
}

// SayReady (relay) makes the announcement of a contract, to be pushed to the client. Code NotDue
// while the funding is not deep enough.
func (r *Runner) SayReady(ctx context.Context, id usage.ContractID) (identity.Signed, error) {
	return r.say(ctx, id, func(_ contract.Contract, a acting) contract.Event { return contract.AnnounceReady{Stamp: a.stamp} })
}

// tell says one thing that stands outside the numbering and takes the answer.
func (r *Runner) tell(ctx context.Context, nonce contract.Nonce, ex Exchange, event func(contract.Contract, acting) (contract.Event, error)) error {
	release, err := r.line(ctx, nonce)
	if err != nil {
		return err
	}
	defer release()
	a, err := r.acting(nonce)
	if err != nil {
		return err
	}
	c, _ := r.ByNonce(nonce)
	e, err := event(c, a)
	if err != nil {
		return err
	}
	var sent []identity.Signed
	if _, err := r.step(ctx, nonce, e, &sent); err != nil {
		return err
	}
	for _, s := range sent {
		answer, err := ex(ctx, s)
		if err != nil || answer.IsZero() {
			return err
		}
		if _, err := r.Receive(ctx, c.Peer(), answer); err != nil {
			return err
		}
	}
	return nil
}

// ignoring is the error unless it has a code that is no failure here.
func ignoring(err error, c code.Code) error {
	if code.Of(err) == c {
		return nil
	}
	return err
}

func (r *Runner) head(ctx context.Context, c contract.Contract) (contract.Head, error) {
	if r.Config.Head == nil {
		return contract.Head{}, nil
	}
	return r.Config.Head(ctx, c)
}

// adopt takes up a contract again that this relay has lost, if its escrow is in the chain, unspent.
func (r *Runner) adopt(ctx context.Context, nonce contract.Nonce, v contract.Verified, m *contract.Reestablish) error {
	if r.Role != contract.Relay {
		return code.New(code.ContractUnknown, "no contract with nonce %x here", nonce[:4])
	}
	r.opening.Lock()
	defer r.opening.Unlock()
	key, err := r.keyOf(nonce)
	if err != nil {
		return err
	}
	e := contract.Adopt{Message: v, Key: contract.KeyOf(key), KeyUsed: r.keyUsed(nonce, contract.KeyOf(key)), Tip: r.Tip()}
	c, _, err := contract.Contract{}.Apply(e)
	if err != nil {
		return err
	}
	escrow, _ := c.Escrow()
	out, err := r.Chain.TxOut(ctx, escrow, false)
	if err != nil {
		return err
	}
	if out == nil {
		return code.New(code.ContractUnknown, "the escrow of contract %s is not in the chain, or spent", m.Contract)
	}
	r.Log.Warn("a contract that this store has lost is taken up again from what its client shows", "contract", m.Contract.String()[:8])
	_, err = r.step(ctx, nonce, e, nil)
	return err
}
