package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"

	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// maxChallenged bounds the records that one call challenges, below what a relay answers in a day.
const maxChallenged = 500

// ChallengeRequest says which own stored records are challenged: one by its id, or Sample of them by
// chance, or all. Exactly one of the three is set.
type ChallengeRequest struct {
	ID     string `json:"id,omitempty"`
	Sample int    `json:"sample,omitempty"`
	All    bool   `json:"all,omitempty"`
}

// The outcomes of a challenge.
const (
	ChallengeProven   = "proven"    // the relay showed a chunk that the sender's own header proves
	ChallengeDenied   = "denied"    // the relay signed a no; Proof tells whether that is a fraud that is proven
	ChallengeFalse    = "false"     // the relay signed a proof that does not hold, which proves a fraud
	ChallengeNoAnswer = "no_answer" // noticed, not proven: an error, silence, or bytes that are not what was signed
)

// Challenged is what became of the challenge of one record at one relay.
type Challenged struct {
	Record  identity.Digest    `json:"record"`
	Relay   identity.PublicKey `json:"relay"`
	Chunk   uint32             `json:"chunk"`
	Chunks  uint32             `json:"chunks"` // of the record's content
	Outcome string             `json:"outcome"`
	Time    identity.UnixMilli `json:"time_ms,omitempty"` // of a signed answer, by the relay's clock
	Reason  string             `json:"reason,omitempty"`  // of a denial
	Why     string             `json:"why,omitempty"`     // why there is no good answer
	Proof   *ProvenFault       `json:"proof,omitempty"`   // a fraud that anybody can verify; audit proofs writes the file
}

// target is one copy of an own record at a relay, with what shows its custody.
type target struct {
	sent    store.Sent
	header  records.Verified
	order   identity.Digest
	receipt usage.VerifiedReceipt
	alone   bool // it is the only copy
	asked   usage.VerifiedStorageChallenge
}

// Challenge asks relays to prove that they have own records: of each a chunk by chance. Good answers are
// noted, so that audits take the record as seen until then; denials and false proofs are kept as papers,
// and made fraud proofs where they prove one. Codes BadArgument, NotFound.
func (a *Agent) Challenge(ctx context.Context, r ChallengeRequest) ([]Challenged, error) {
	all, err := a.targets(ctx, r)
	if err != nil {
		return nil, err
	}
	byRelay := make(map[identity.PublicKey][]target)
	var relays []identity.PublicKey
	for _, t := range all {
		if byRelay[t.receipt.From] == nil {
			relays = append(relays, t.receipt.From)
		}
		byRelay[t.receipt.From] = append(byRelay[t.receipt.From], t)
	}
	var out []Challenged
	for _, relay := range relays {
		for left := byRelay[relay]; len(left) > 0; left = left[min(len(left), message.MaxChallenges):] {
			got, err := a.challengeAt(ctx, relay, left[:min(len(left), message.MaxChallenges)])
			if err != nil {
				return out, err
			}
			out = append(out, got...)
		}
	}
	return out, nil
}

// targets finds the copies that are in custody now, and draws from them.
func (a *Agent) targets(ctx context.Context, r ChallengeRequest) ([]target, error) {
	if n := r.Sample; n < 0 || n > maxChallenged || (r.ID != "") == (n > 0 || r.All) || n > 0 && r.All {
		return nil, code.New(code.BadArgument, "name one message, or all, or a sample of 1 to %d", maxChallenged)
	}
	fits := func(identity.Digest, records.Header) bool { return true }
	if r.ID != "" {
		var err error
		if fits, err = matcher(r.ID); err != nil {
			return nil, err
		}
	}
	var all []target
	err := a.scanOutbox(ctx, func(s store.Sent) (bool, error) {
		if !fits(s.Digest, s.Header) || s.Stored == 0 || s.Deleted > 0 || s.Header.Expiry() <= a.nowMilli() || s.Header.From != a.Key() {
			return true, nil
		}
		copies, err := a.copiesOf(ctx, s)
		all = append(all, copies...)
		return true, err
	})
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, code.New(code.NotFound, "no such message is stored at a relay now")
	}
	most := maxChallenged
	if r.Sample > 0 {
		most = r.Sample
	}
	for i := 0; i < min(most, len(all)-1); i++ {
		j, err := below(len(all) - i)
		if err != nil {
			return nil, err
		}
		all[i], all[i+j] = all[i+j], all[i]
	}
	return all[:min(most, len(all))], nil
}

// below draws a number from 0 to n−1. What is challenged must be beyond a relay's guess, whatever
// source of chance the agent was given.
func below(n int) (int, error) {
	x, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		return 0, code.Wrap(code.Internal, err, "no randomness")
	}
	return int(x.Int64()), nil
}

// copiesOf are the copies of a record for which a receipt is here and custody lasts.
func (a *Agent) copiesOf(ctx context.Context, s store.Sent) ([]target, error) {
	header, err := records.OpenHeader(s.Signed)
	if err != nil {
		return nil, code.Wrap(code.StoreCorrupt, err, "an own record")
	}
	var out []target
	for _, o := range s.Orders {
		raw, err := a.store.Receipt(ctx, o)
		if code.Of(err) == code.NotFound {
			continue
		} else if err != nil {
			return nil, err
		}
		r, err := usage.OpenReceipt(raw)
		if err != nil {
			return nil, code.Wrap(code.StoreCorrupt, err, "a receipt")
		}
		if r.ServiceUntil > a.relayTime(r.From) {
			out = append(out, target{sent: s, header: header, order: o, receipt: r})
		}
	}
	if len(out) == 1 {
		out[0].alone = true
	}
	return out, nil
}

// challengeAt challenges some records of one relay in one message. The error is for the agent's own
// faults; what the relay does wrong is in the results.
func (a *Agent) challengeAt(ctx context.Context, relay identity.PublicKey, ts []target) ([]Challenged, error) {
	m, err := a.challengeMessage(relay, ts)
	if err != nil {
		return nil, err
	}
	out := make([]Challenged, len(ts))
	for i, t := range ts {
		out[i] = Challenged{
			Record: t.sent.Digest, Relay: relay, Chunk: t.asked.Chunk, Chunks: uint32(records.Chunks(int(t.sent.Header.ContentLen))), Outcome: ChallengeNoAnswer,
		}
	}
	got, err := a.askChallenge(ctx, relay, m)
	if err == nil && len(got.Answers) != len(ts) {
		err = code.New(code.Malformed, "the relay answers %d of %d challenges", len(got.Answers), len(ts))
	}
	if err != nil {
		for i := range out {
			out[i].Why = code.Explain(err)
		}
		return out, nil
	}
	for i, t := range ts {
		if e := got.Results[i].Err(); e != nil {
			out[i].Why = code.Explain(e)
		} else if err := a.judge(ctx, t, got.Answers[i], got.Chunks[i], &out[i]); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (a *Agent) askChallenge(ctx context.Context, relay identity.PublicKey, m *message.Challenge) (*message.Challenged, error) {
	c, err := a.session(ctx, relay)
	if err != nil {
		return nil, err
	}
	return call[*message.Challenged](ctx, c, m)
}

// challengeMessage signs a challenge of a random chunk of each record, and shows what entitles to it.
func (a *Agent) challengeMessage(relay identity.PublicKey, ts []target) (*message.Challenge, error) {
	at := a.relayTime(relay)
	m := &message.Challenge{}
	raws, homes := make([][]byte, len(ts)), make([]uint16, len(ts))
	for i, t := range ts {
		h, err := a.header(relay, at)
		if err != nil {
			return nil, err
		}
		chunk, err := below(records.Chunks(int(t.sent.Header.ContentLen)))
		if err != nil {
			return nil, err
		}
		c := usage.StorageChallenge{Header: h, Record: t.sent.Digest, Chunk: uint32(chunk), NotAfter: at + requestLife}
		if _, err := io.ReadFull(rand.Reader, c.Nonce[:]); err != nil {
			return nil, code.Wrap(code.Internal, err, "no randomness")
		}
		if raws[i], err = c.Encode(); err != nil {
			return nil, err
		}
		homes[i] = t.receipt.HomeShard
		m.Statements = append(m.Statements, t.sent.Signed.Statement)
	}
	b, err := identity.SignBundle(a.home.Key(), raws...)
	if err != nil {
		return nil, err
	}
	signed, err := b.Split()
	if err != nil {
		return nil, err
	}
	for i, s := range signed {
		if ts[i].asked, err = usage.OpenStorageChallenge(s); err != nil {
			return nil, err
		}
	}
	m.Challenges, m.Homes = b.Bytes(), message.NewHomes(homes...)
	return m, nil
}

// judge decides what an answer shows, and keeps it.
func (a *Agent) judge(ctx context.Context, t target, answer, chunk []byte, out *Challenged) error {
	s, err := identity.ParseSigned(answer)
	if err != nil {
		out.Why = code.Explain(err)
		return nil
	}
	if h, err := identity.PeekHeader(s.Statement); err == nil && h.Type == identity.TypeDenial {
		return a.judgeDenial(ctx, t, s, out)
	}
	p, err := usage.OpenStorageProof(s)
	if err != nil {
		out.Why = code.Explain(err)
		return nil
	}
	if err = usage.CheckStorageProof(t.header, t.asked, p, chunk); err == nil {
		out.Outcome, out.Time = ChallengeProven, p.AsOfMs
		if !t.alone {
			return nil // what is noted is of a record; it must not count for another relay's copy
		}
		return a.store.SaveChallenge(ctx, t.sent.Digest, min(p.AsOfMs, a.relayTime(t.receipt.From)))
	}
	out.Why = code.Explain(err)
	if p.Answers(t.asked) != nil || p.Leads(t.header.Header()) == nil {
		return nil // it lies about nothing that it signs
	}
	out.Outcome, out.Time = ChallengeFalse, p.AsOfMs
	if err := a.keepAnswer(ctx, t, "false storage proof", s); err != nil {
		return err
	}
	proof := evidence.Proof{Class: evidence.FalseProof, Statements: []identity.Signed{t.sent.Signed, t.asked.Signed(), s}}
	out.Proof, err = a.proveAnswer(ctx, proof)
	return err
}

func (a *Agent) judgeDenial(ctx context.Context, t target, s identity.Signed, out *Challenged) error {
	d, err := usage.OpenDenial(s)
	if err == nil {
		err = d.AnswersChallenge(t.asked)
	}
	if err != nil {
		out.Why = code.Explain(err)
		return nil
	}
	out.Outcome, out.Time, out.Reason = ChallengeDenied, d.AsOfMs, d.Reason.String()
	if d.Reason == usage.ReasonBusy {
		return nil
	}
	if err := a.keepAnswer(ctx, t, "denied storage challenge, denial: "+d.Reason.String(), s); err != nil {
		return err
	}
	p, err := a.lossProof(ctx, t, s)
	if err != nil {
		return err
	}
	out.Proof, err = a.proveAnswer(ctx, p)
	return err
}

// lossProof puts together what proves a loss, if it is one.
func (a *Agent) lossProof(ctx context.Context, t target, denial identity.Signed) (evidence.Proof, error) {
	held, err := a.store.HeldOrder(ctx, t.order)
	if err != nil {
		return evidence.Proof{}, err
	}
	p := evidence.Proof{
		Class:      evidence.LostChallenged,
		Statements: []identity.Signed{t.sent.Signed, held.Order, t.receipt.Signed(), t.asked.Signed(), denial},
	}
	ds := make([]identity.Digest, len(held.Records))
	for i, f := range held.Records {
		ds[i] = f.Digest
		if f.Digest == t.sent.Digest {
			p.Place = uint16(i)
		}
	}
	paths, _ := identity.Paths(ds)
	p.OrderPath = paths[p.Place]
	return p, nil
}

// proveAnswer keeps a proof that holds; nil if it does not.
func (a *Agent) proveAnswer(ctx context.Context, p evidence.Proof) (*ProvenFault, error) {
	f, err := evidence.Verify(p)
	if err != nil {
		return nil, nil // not proven
	}
	fault, err := a.keepProof(ctx, evidence.Found{Proof: p, Finding: f})
	return &fault, err
}

// keepAnswer keeps a challenge and the relay's answer as papers.
func (a *Agent) keepAnswer(ctx context.Context, t target, name string, answer identity.Signed) error {
	for _, x := range []struct {
		name string
		s    identity.Signed
	}{{name, answer}, {"storage challenge: " + t.sent.Digest.Short(), t.asked.Signed()}} {
		e := store.Evidence{Relay: t.receipt.From, Contract: t.receipt.Contract, Saved: a.nowMilli(), Name: x.name, Bytes: x.s.Bytes()}
		if err := a.keepPaper(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// String is the result in a sentence.
func (c Challenged) String() string {
	switch {
	case c.Outcome == ChallengeProven:
		return fmt.Sprintf("proven stored: chunk %d of %d", c.Chunk+1, c.Chunks)
	case c.Proof != nil && c.Outcome == ChallengeDenied:
		return "LOST, AND PROVEN: the relay signed a receipt, and now that it has no such record"
	case c.Outcome == ChallengeDenied:
		return "denied: " + c.Reason + "; by itself no proof of a loss"
	case c.Outcome == ChallengeFalse:
		return "FALSE, AND PROVEN: the relay signed a proof that does not lead to the content"
	}
	return "no good answer: noticed, not proven (" + c.Why + ")"
}
