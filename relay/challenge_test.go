package relay_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/records"
	"relaymarket/usage"
)

// asked is a challenge as it was signed.
type asked struct {
	*message.Challenge
	all []usage.VerifiedStorageChallenge
}

// challenge signs challenges of one record, one for each chunk that is named.
func (p *person) challenge(record identity.Digest, statement []byte, chunks ...uint32) asked {
	p.t.Helper()
	var raws [][]byte
	for _, c := range chunks {
		raw, err := usage.StorageChallenge{
			Header: p.header(identity.TypeStorageChallenge), Record: record, Nonce: [32]byte(identity.Tagged("x", raws...)), Chunk: c, NotAfter: now() + 60_000,
		}.Encode()
		if err != nil {
			p.t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	b, err := identity.SignBundle(p.key, raws...)
	if err != nil {
		p.t.Fatal(err)
	}
	a := asked{Challenge: &message.Challenge{Challenges: b.Bytes()}}
	split, err := b.Split()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range split {
		c, err := usage.OpenStorageChallenge(s)
		if err != nil {
			p.t.Fatal(err)
		}
		a.all = append(a.all, c)
		if statement != nil {
			a.Statements = append(a.Statements, statement)
		}
	}
	return a
}

// challengeDenied is the denial that answers a challenge.
func (p *person) challengeDenied(a asked) usage.VerifiedDenial {
	p.t.Helper()
	m := must[*message.Challenged](p, a.Challenge)
	if err := m.Results[0].Err(); err != nil {
		p.t.Fatal(err)
	}
	s, err := identity.ParseSigned(m.Answers[0])
	if err != nil {
		p.t.Fatal(err)
	}
	d, err := usage.OpenDenial(s)
	if err != nil || d.AnswersChallenge(a.all[0]) != nil || len(m.Chunks[0]) > 0 {
		p.t.Fatalf("%+v %v", d, err)
	}
	return d
}

// TestChallenge: the sender alone sees chunks that its own header proves, of a large and of an empty
// content, whatever the pulls; then the denials.
func TestChallenge(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	large := make([]byte, 300_000)
	_, _ = rand.Read(large)
	w := ada.draft(bob.key.Public(), large, nil)
	d, st := digestOf(t, w, 0), header(t, w, 0).Statement
	began := time.Now()
	none := must[*message.Challenged](ada, ada.challenge(d, nil, 0).Challenge)
	if code.Of(none.Results[0].Err()) != code.NotFound || time.Since(began) < 25*time.Millisecond {
		t.Errorf("nothing is shown: %v", none.Results[0])
	}
	if no := ada.challengeDenied(ada.challenge(d, st, 0)); no.Reason != usage.ReasonNone {
		t.Errorf("never stored: %v", no.Reason)
	}
	must[*message.Written](ada, w)
	for i, chunks := range [][]uint32{{0, 40, 73, 74}, {0}} {
		h, err := records.OpenHeader(header(t, w, i))
		if err != nil {
			t.Fatal(err)
		}
		a := ada.challenge(h.Digest(), nil, chunks...)
		got := must[*message.Challenged](ada, a.Challenge)
		for j, c := range a.all {
			if c.Chunk == 74 {
				if code.Of(got.Results[j].Err()) != code.BadArgument {
					t.Errorf("a chunk that is none: %v", got.Results[j])
				}
				continue
			}
			s, err := identity.ParseSigned(got.Answers[j])
			if err != nil {
				t.Fatal(i, j, got.Results[j], err)
			}
			p, err := usage.OpenStorageProof(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := usage.CheckStorageProof(h, c, p, got.Chunks[j]); err != nil || p.AsOf == 0 || p.AsOfMs == 0 {
				t.Errorf("content %d, chunk %d: %v", i, c.Chunk, err)
			}
		}
	}
	stranger := must[*message.Challenged](bob, bob.challenge(d, nil, 0).Challenge)
	if !bytes.Equal(refusal(t, none.Results[0].Err()), refusal(t, stranger.Results[0].Err())) {
		t.Errorf("its receiver is told %v", stranger.Results[0])
	}
	ada.remove(d)
	if no := ada.challengeDenied(ada.challenge(d, nil, 0)); no.Reason != usage.ReasonDeleted {
		t.Errorf("deleted: %v", no.Reason)
	}
	shift(t, 2*time.Hour+time.Second)
	if no := ada.challengeDenied(ada.challenge(digestOf(t, w, 1), nil, 0)); no.Reason != usage.ReasonExpired {
		t.Errorf("expired: %v", no.Reason)
	}
}

// TestBadInputChallenges: what is not a good challenge of one's own is refused by itself; too much at
// once, and statements without a challenge, are refused whole.
func TestBadInputChallenges(t *testing.T) {
	r := start(t, t.TempDir(), config(node(t)))
	ada, bob := newPerson(t, r), newPerson(t, r)
	w := ada.draft(bob.key.Public(), []byte("a"), []byte("b"))
	d, first, second := digestOf(t, w, 0), header(t, w, 0).Statement, header(t, w, 1).Statement
	foreign := ada.challenge(d, first, 0)
	for name, x := range map[string]struct {
		who  *person
		m    *message.Challenge
		want code.Code
	}{
		"another's challenge": {bob, foreign.Challenge, code.Forbidden},
		"another's record":    {bob, bob.challenge(d, first, 0).Challenge, code.Forbidden},
		"another statement":   {ada, ada.challenge(d, second, 0).Challenge, code.Malformed},
		"garbage":             {ada, ada.challenge(d, []byte("garbage"), 0).Challenge, code.Malformed},
	} {
		got := must[*message.Challenged](x.who, x.m)
		if len(got.Answers[0]) > 0 || code.Of(got.Results[0].Err()) != x.want {
			t.Errorf("%s: %v", name, got.Results[0])
		}
	}
	if _, err := call[*message.Challenged](ada, ada.challenge(d, nil, make([]uint32, message.MaxChallenges+1)...).Challenge); code.Of(err) != code.TooLarge {
		t.Errorf("seventeen: %v", err)
	}
	two := ada.challenge(d, first, 0)
	two.Statements = append(two.Statements, second)
	if _, err := call[*message.Challenged](ada, two.Challenge); code.Of(err) != code.Malformed {
		t.Errorf("more statements than challenges: %v", err)
	}
	shift(t, -2*time.Minute)
	old := ada.challenge(d, first, 0)
	ahead.Store(0)
	if got := must[*message.Challenged](ada, old.Challenge); code.Of(got.Results[0].Err()) != code.Expired {
		t.Errorf("an old challenge: %v", got.Results[0])
	}
}

// TestChallengeFindsALoss: a relay whose disk was put back without relay recover denies, under its
// signature, what it gave a receipt for.
func TestChallengeFindsALoss(t *testing.T) {
	r, before, ada, bob := copied(t)
	w := ada.draft(bob.key.Public(), []byte("lost"))
	receipt := openReceipt(t, must[*message.Written](ada, w))
	r.stop()
	r = start(t, before, config(node(t)))
	ada.connect(r)
	must[*message.Written](ada, ada.draft(bob.key.Public(), []byte("later"), []byte("later still"), []byte("last")))
	no := ada.challengeDenied(ada.challenge(digestOf(t, w, 0), header(t, w, 0).Statement, 0))
	if no.Reason != usage.ReasonNone || no.From != receipt.From || no.AsOf < receipt.Arrival || no.AsOfMs < receipt.AcceptedMs || no.AsOfMs >= receipt.ServiceUntil {
		t.Errorf("%+v does not contradict %+v", no.Denial, receipt.Receipt)
	}
}
