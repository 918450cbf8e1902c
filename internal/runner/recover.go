package runner

import (
	"context"
	"io"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Recovery is the sealed text with which the phrase alone is enough to get out of a contract (client).
// Codes ContractUnknown, NotDue before the relay has agreed.
func (r *Runner) Recovery(id usage.ContractID) (string, error) {
	c, err := r.Contract(id)
	if err != nil {
		return "", err
	}
	rec, ok := c.Recovery()
	if !ok {
		return "", code.New(code.NotDue, "nothing is at stake in contract %s yet", id)
	}
	var nonce [12]byte
	if _, err := io.ReadFull(r.Rand, nonce[:]); err != nil {
		return "", code.Wrap(code.Internal, err, "random bytes")
	}
	return rec.Seal(r.Seed, nonce)
}

// Recover brings a contract back from its sealed text: it is watched from its opening on, refunded
// at its expiry, and what the relay still knows of it comes with the next session. One that is known
// already is given back as it is. Codes: those of contract.OpenRecovery, WrongNetwork.
func (r *Runner) Recover(ctx context.Context, text string) (contract.Contract, error) {
	rec, err := contract.OpenRecovery(r.Seed, text)
	if err != nil {
		return contract.Contract{}, err
	}
	t := rec.Terms
	if t.Network != r.Network || t.Client != r.Key.Public() {
		return contract.Contract{}, code.New(code.WrongNetwork, "the recovery is of %s on %s", t.Client.Name(), t.Network)
	}
	if c, known := r.ByNonce(t.Nonce); known && c.State() != contract.StateAborted {
		return c, nil
	}
	if own, err := r.Wallet.Adopt(t.ClientScript); err != nil {
		return contract.Contract{}, err
	} else if !own {
		r.Log.Warn("the contract pays out to an address that is not this wallet's", "contract", t.Nonce)
	}
	key, err := r.keyOf(t.Nonce)
	if err != nil {
		return contract.Contract{}, err
	}
	return r.step(ctx, t.Nonce, contract.Recover{Recovery: rec, Key: key, Tip: r.Tip()}, nil)
}
