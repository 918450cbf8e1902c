package relay

import (
	"context"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// challenges opens storage challenges; a bad one spoils only itself.
func (o *opener) challenges(m *message.Challenge, by identity.PublicKey, now identity.UnixMilli) ([]store.Op, []error, error) {
	ops, errs, err := openEach(o, m.Challenges, message.MaxChallenges, func(i int, s identity.Signed, v identity.Verdict) (store.Op, error) {
		c, err := usage.OpenStorageChallengeVerified(s, v)
		if err != nil {
			return nil, err
		}
		if c.NotAfter < now {
			return nil, code.New(code.Expired, "the challenge was valid until %d s ago", (now-c.NotAfter)/1000)
		}
		op := store.ChallengeOp{Challenge: c, Home: homeHint(m.Homes, i)}
		if i < len(m.Statements) && len(m.Statements[i]) > 0 {
			if err := c.CheckEntitled(m.Statements[i]); err != nil {
				return nil, err
			}
			op.Entitled = true
		}
		return op, o.own(c.Header, by, now)
	})
	if err == nil && len(m.Statements) > len(ops) {
		err = code.New(code.Malformed, "%d statements are shown with %d challenges", len(m.Statements), len(ops))
	}
	return ops, errs, err
}

// challenge answers challenges by what is durable. Proofs are made outside of the committer, because
// each hashes one content, and are all signed with one signature.
func (s *Server) challenge(ctx context.Context, sess *session.Server, m *message.Challenge) (message.Message, error) {
	start := time.Now()
	ops, errs, err := s.opener.challenges(m, sess.Identity(), s.nowMilli())
	if err != nil {
		return nil, err
	}
	out := &message.Challenged{
		Answers: make([][]byte, len(ops)), Chunks: make([][]byte, len(ops)), Results: make([]message.Result, len(ops)),
	}
	var raws [][]byte
	var owners []int
	missed := false
	for i, op := range ops {
		err := errs[i]
		if err == nil {
			var raw []byte
			if raw, out.Answers[i], out.Chunks[i], err = s.challengeOne(ctx, op.(store.ChallengeOp)); raw != nil {
				raws, owners = append(raws, raw), append(owners, i)
			}
		}
		out.Results[i] = message.NewResult(err)
		missed = missed || code.Of(err) == code.NotFound
		if code.Of(err) == code.BadSignature {
			sess.Strike()
		}
	}
	if len(raws) > 0 {
		signed, err := identity.Sign(s.home.Key(), raws...)
		if err != nil {
			return nil, code.Wrap(code.Internal, err, "signing")
		}
		for i, o := range owners {
			out.Answers[o] = signed[i].Bytes()
			s.metrics.bytesOut.Add(float64(len(out.Chunks[o])))
		}
	}
	if missed {
		even(ctx, start)
	}
	return out, nil
}

// challengeOne decides one challenge: the body of a proof with its chunk, or a signed denial. A record
// that ends between lookup and reading is looked up again, so that its end is denied and not a fault.
func (s *Server) challengeOne(ctx context.Context, op store.ChallengeOp) (proof, denial, chunk []byte, err error) {
	for range 2 {
		a, e := s.one(ctx, op)
		if e != nil {
			return nil, nil, nil, e
		}
		if a.Grant == nil {
			return nil, a.signed.Bytes(), nil, nil
		}
		if proof, chunk, err = s.prove(ctx, op.Challenge, a.Grant); err == nil {
			return proof, nil, chunk, nil
		}
	}
	s.log.Error("a stored record cannot be proven", "record", op.Challenge.Record.Short(), "err", err)
	return nil, nil, nil, code.Wrap(code.ContentDamaged, err, "the content of record %s is not whole", op.Challenge.Record.Short())
}

// prove makes the body of a proof from the content, which must be what the sender signed.
func (s *Server) prove(ctx context.Context, c usage.VerifiedStorageChallenge, g *store.Grant) (proof, chunk []byte, err error) {
	content, err := s.store.Content(ctx, g, 0, int(g.Size))
	if err != nil {
		return nil, nil, err
	}
	of, err := records.DecodeHeader(g.Header.Statement)
	if err != nil {
		return nil, nil, err
	}
	digest := c.Digest()
	serial := identity.Tagged("storage-proof-serial", digest[:])
	h := identity.Header{Network: s.net, From: s.Key(), To: c.From, Time: g.AsOfMs, Serial: identity.Serial(serial[:16])}
	p, chunk, err := usage.ProveStorage(h, of, c, content)
	if err != nil {
		return nil, nil, err
	}
	p.AsOf, p.AsOfMs, p.StoreEpoch = g.AsOf, g.AsOfMs, s.store.StoreEpoch()
	proof, err = p.Encode()
	return proof, chunk, err
}
