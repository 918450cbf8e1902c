package store

import (
	"bytes"
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Apply checks the operations in their order, stores what is in order with one sync, and gives
// one outcome for each. The error is for faults of the whole batch; then nothing may be
// answered but a coded error, and the operations may be tried again.
func (r *Relay) Apply(ctx context.Context, now identity.UnixMilli, ops []Op) ([]Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.catchUp(ctx, now); err != nil {
		return nil, err
	}
	outs := make([]Outcome, len(ops))
	jobs := make([]job, 0, len(ops)+2)
	jobs = append(jobs, closeDue, func(t *tx) *step { return t.warm(ops) })
	for i, op := range ops {
		jobs = append(jobs, func(t *tx) *step {
			s, out := t.decide(op)
			if out.repeats(outs[i]) {
				return nil
			}
			outs[i] = out
			return s
		})
	}
	if err := r.commit(ctx, now, false, jobs); err != nil {
		return nil, err
	}
	return outs, nil
}

// repeats tells, in a later attempt of one Apply, that the earlier attempt was committed after
// all: then the earlier outcome stands, with what was new in it.
func (o Outcome) repeats(earlier Outcome) bool {
	switch {
	case earlier.Err != nil || earlier.Repeat:
		return false
	case earlier.Grant != nil: // the record may have been deleted by the same commit
		return o.Repeat && o.Grant != nil || code.Of(o.Err) == code.NotFound
	}
	return o.Repeat && earlier.Statement != nil && bytes.Equal(o.Statement, earlier.Statement)
}

// decide looks at one operation. A refused one writes nothing.
func (t *tx) decide(op Op) (*step, Outcome) {
	s := &step{}
	out, err := t.dispatch(op, s)
	if err != nil {
		return nil, Outcome{Err: err}
	}
	return s, out
}

func (t *tx) dispatch(op Op, s *step) (Outcome, error) {
	switch op := op.(type) {
	case WriteOp:
		return t.write(op, s)
	case ReadOp:
		return t.read(op, s)
	case ChallengeOp:
		return t.challenge(op, s)
	case DeleteOp:
		return t.deleteRecord(op, s)
	case AckOp:
		return t.acknowledge(op, s)
	case IdentityOp:
		return t.keepDocument(op, s)
	case GrantOp:
		return t.keepGrant(op, s)
	case RevokeOp:
		return t.revoke(op, s)
	}
	return Outcome{}, code.New(code.Internal, "an operation of unknown type %T", op)
}

// addressed checks what holds for every order to this relay: its network, its addressee, and
// that the signer's clock is not ahead of ours.
func (t *tx) addressed(h identity.Header) error {
	switch {
	case t.badClock != nil:
		return t.badClock
	case h.Network != t.header.network:
		return code.New(code.WrongNetwork, "this relay works on %s", t.header.network)
	case h.To != t.header.relay:
		return code.New(code.WrongRecipient, "the %s is addressed to another relay", h.Type)
	case h.Time > t.now && h.Time-t.now > maxAhead:
		return code.New(code.NotYet, "the %s is %d s in the future", h.Type, (h.Time-t.now)/1000)
	}
	return nil
}

// maxAhead is how far, in milliseconds, a signer's clock may be ahead.
const maxAhead = 120_000

// serial derives the serial of an answer from what it answers, so that the same question gets
// the same body.
func serial(kind string, of identity.Digest) identity.Serial {
	d := identity.Tagged(kind, of[:])
	return identity.Serial(d[:16])
}

// answer is the header of a statement of this relay.
func (t *tx) answer(typ identity.Type, to identity.PublicKey, s identity.Serial) identity.Header {
	return identity.Header{Type: typ, Network: t.header.network, From: t.header.relay, To: to, Time: t.now, Serial: s}
}
