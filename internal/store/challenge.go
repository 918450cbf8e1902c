package store

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// ChallengesPerDay is how many challenges a relay answers to one identity on a day (UTC). Each costs
// one chunk of egress and reading one content, and none is billed.
const ChallengesPerDay = 1000

// ChallengeOp decides on one challenge of a record's sender: a Grant of which one chunk is shown, or a
// denial.
type ChallengeOp struct {
	Challenge usage.VerifiedStorageChallenge
	Home      Shard
	// Entitled tells that the signer has shown to be the record's sender, whether the record is here or
	// not (usage.VerifiedStorageChallenge.CheckEntitled).
	Entitled bool
}

func (ChallengeOp) op() {}

// challenge looks a record up for its sender. Nothing is kept of it but how many there were today: a
// challenge costs no pull and has no row, and the same one again is answered by what is there then.
func (t *tx) challenge(op ChallengeOp, s *step) (Outcome, error) {
	c := op.Challenge
	if err := t.addressed(c.Header); err != nil {
		return Outcome{}, err
	}
	if t.now > c.NotAfter {
		return Outcome{}, code.New(code.Expired, "the challenge is past its time")
	}
	v, err := t.locate(c.Record, op.Home)
	switch {
	case err != nil:
		return Outcome{}, err
	case v == nil && !op.Entitled, v != nil && v.From != c.From:
		return Outcome{}, errNoRecord(c.Record)
	}
	if v != nil {
		if n := records.Chunks(int(v.ContentLen)); int(c.Chunk) >= n {
			return Outcome{}, code.New(code.BadArgument, "chunk %d of %d", c.Chunk, n)
		}
	}
	if err := t.countChallenge(c.From, s); err != nil {
		return Outcome{}, err
	}
	if v == nil {
		return t.denyChallenge(c, nil, usage.ReasonNone, nil)
	}
	reason, evidence, err := t.ended(v, c.From)
	if err != nil {
		return Outcome{}, err
	}
	if reason != 0 {
		return t.denyChallenge(c, v, reason, evidence)
	}
	g := v.grant()
	g.AsOf, g.AsOfMs = t.asOf, t.now
	return Outcome{Grant: g}, nil
}

func (t *tx) denyChallenge(c usage.VerifiedStorageChallenge, v *stored, reason usage.Reason, evidence []identity.Digest) (Outcome, error) {
	body, err := t.denial(c.Digest(), c.Record, c.From, v, reason, evidence)
	return Outcome{Statement: body}, err
}

// countChallenge takes one challenge off the day's allowance.
func (t *tx) countChallenge(by identity.PublicKey, s *step) error {
	key := challengesKey(dayBucket(dayOf(t.now)), by)
	b, err := t.get(shardOf(by), key)
	if err != nil {
		return err
	}
	used, err := decodeNumber(b)
	if err != nil {
		return err
	}
	if used >= ChallengesPerDay {
		return code.New(code.ChallengesUsed, "%d challenges were answered today", used)
	}
	s.put(shardOf(by), key, number(used+1))
	return nil
}
