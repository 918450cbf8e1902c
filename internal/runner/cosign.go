package runner

import (
	"bytes"
	"context"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Closes by the MuSig2 key path. Secret nonces live here and nowhere else: in a session of the library,
// which draws its own randomness, signs once and is never written anywhere. The side that answers
// makes and drops its session in one call. The side that asks keeps one per contract until the
// answer comes, the connection ends, or the program does; then it asks again, with another nonce.

// signing is a close by the key path that this side asked for.
type signing struct {
	session *musig2.Session
	spend   contract.KeySpend
	nonce   contract.PubNonce
	request identity.Digest // of the contractCloseNonce
	peer    identity.PublicKey
}

// newSigning starts a session with a fresh nonce.
func newSigning(key *btcec.PrivateKey, spend contract.KeySpend) (*signing, error) {
	signers, err := spend.Signers()
	if err != nil {
		return nil, err
	}
	ctx, err := musig2.NewContext(key, true, musig2.WithKnownSigners(signers), musig2.WithTaprootTweakCtx(spend.Root[:]))
	if err != nil {
		return nil, code.Wrap(code.BadKey, err, "the contract keys")
	}
	s, err := ctx.NewSession()
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "a signing session")
	}
	// The nonce is read before anything is signed: afterwards the library has it no more.
	return &signing{session: s, spend: spend, nonce: s.PublicNonce()}, nil
}

// share makes this side's partial signature, which a session does once.
func (s *signing) share(other contract.PubNonce) (contract.PartialSignature, error) {
	var out contract.PartialSignature
	if _, err := s.session.RegisterPubNonce(other); err != nil {
		return out, code.Wrap(code.BadNonce, err, "the other side's nonce")
	}
	sig, err := s.session.Sign(s.spend.Hash, musig2.WithSortedKeys())
	if err != nil {
		return out, code.Wrap(code.Internal, err, "a partial signature")
	}
	var b bytes.Buffer
	if err := sig.Encode(&b); err != nil {
		return out, code.Wrap(code.Internal, err, "a partial signature")
	}
	return contract.PartialSignature(b.Bytes()), nil
}

// complete makes the signature of both. The other side's share is verified before this side's is
// made, so that a bad one is known for whose it is (code BadPartial).
func (s *signing) complete(peer contract.Key, m *contract.CloseSig) (contract.Signature, error) {
	var none contract.Signature
	if err := s.spend.CheckPartial(peer, m.Nonce, s.nonce, m.Partial); err != nil {
		return none, err
	}
	if _, err := s.share(m.Nonce); err != nil {
		return none, err
	}
	var theirs musig2.PartialSignature
	if err := theirs.Decode(bytes.NewReader(m.Partial[:])); err != nil {
		return none, code.Wrap(code.BadPartial, err, "the other side's share")
	}
	if _, err := s.session.CombineSig(&theirs); err != nil {
		return none, code.Wrap(code.BadPartial, err, "the shares do not combine")
	}
	return contract.Signature(s.session.FinalSig().Serialize()), nil
}

// AskClose makes the signed contractCloseNonce of a close that pays the other side or this one amount in
// all, and keeps the session for its answer; an earlier one is dropped. Receive takes the answer.
func (r *Runner) AskClose(ctx context.Context, id usage.ContractID, amount usage.Sat, feeRate uint64) (identity.Signed, error) {
	c, err := r.Contract(id)
	if err != nil {
		return identity.Signed{}, err
	}
	a, err := r.acting(c.Nonce())
	if err != nil {
		return identity.Signed{}, err
	}
	spend, err := c.KeyClose(amount, feeRate)
	if err != nil {
		return identity.Signed{}, err
	}
	s, err := newSigning(a.key, spend)
	if err != nil {
		return identity.Signed{}, err
	}
	var sent []identity.Signed
	event := contract.AskClose{Amount: amount, FeeRate: feeRate, Nonce: s.nonce, Stamp: a.stamp}
	if _, err := r.step(ctx, c.Nonce(), event, &sent); err != nil {
		return identity.Signed{}, err
	}
	request := sent[len(sent)-1]
	s.peer, s.request = c.Peer(), identity.StatementDigest(identity.TypeContractCloseNonce, request.Statement)
	r.signings.Store(c.Nonce(), s)
	return request, nil
}

// CloseByKey (client) closes by the key path: asks the relay, completes the signature with its answer and
// broadcasts. After an error the contract can be closed by the leaf (Close), unless it has a close to
// broadcast (Closing) that the node did not take: that is tried again with every block. Codes BadPartial
// and BadNonce blame the relay; others are the relay's, the line's or the node's.
func (r *Runner) CloseByKey(ctx context.Context, id usage.ContractID, amount usage.Sat, feeRate uint64, ex Exchange) (contract.Contract, error) {
	c, err := r.Contract(id)
	if err != nil {
		return c, err
	}
	release, err := r.line(ctx, c.Nonce())
	if err != nil {
		return c, err
	}
	defer release()
	defer r.signings.Delete(c.Nonce())
	request, err := r.AskClose(ctx, id, amount, feeRate)
	if err != nil {
		return c, err
	}
	answer, err := ex(ctx, request)
	if err != nil {
		return c, err
	}
	if answer.IsZero() {
		return c, code.Wrap(code.BadState, errNoReply, "the relay")
	}
	_, err = r.Receive(ctx, c.Peer(), answer)
	c, _ = r.ByNonce(c.Nonce())
	return c, err
}

// DropSignings ends the closes by the key path that a peer was asked for: its connection is gone.
func (r *Runner) DropSignings(peer identity.PublicKey) {
	r.signings.Range(func(nonce, v any) bool {
		if v.(*signing).peer == peer {
			r.signings.CompareAndDelete(nonce, v)
		}
		return true
	})
}

// DropSigning ends the close by the key path that was asked for on one contract, if there is one.
func (r *Runner) DropSigning(id usage.ContractID) {
	if c, err := r.Contract(id); err == nil {
		r.signings.Delete(c.Nonce())
	}
}

// both completes the signature for an answer with the session that asked, and ends the session. Without
// one the signature is zero, and the contract refuses the answer.
func (r *Runner) both(c contract.Contract, m *contract.CloseSig) (contract.Signature, error) {
	v, ok := r.signings.Load(c.Nonce())
	if !ok || v.(*signing).request != m.Close || !r.signings.CompareAndDelete(c.Nonce(), v) {
		return contract.Signature{}, nil
	}
	t := c.Terms()
	peer := t.RelayKey
	if r.Role == contract.Relay {
		peer = t.ClientKey
	}
	sig, err := v.(*signing).complete(peer, m)
	if err != nil {
		r.Log.Warn("the other side's share of a close does not hold; the leaf is still open",
			"contract", c.ID().String()[:8], "peer", c.Peer().Name(), "err", err)
	}
	return sig, err
}

// cosign makes nonce and partial signature for a close that this side has agreed to. The session ends
// with this call, whatever comes of it.
func (r *Runner) cosign(ctx context.Context, nonce contract.Nonce, e contract.Cosign, sent *[]identity.Signed) error {
	a, err := r.acting(nonce)
	if err != nil {
		return err
	}
	s, err := newSigning(a.key, e.Spend)
	if err != nil {
		return err
	}
	partial, err := s.share(e.Peer())
	if err != nil {
		return err
	}
	_, err = r.step(ctx, nonce, contract.Cosigned{Request: e.Request, Nonce: s.nonce, Partial: partial, Stamp: a.stamp}, sent)
	return err
}
