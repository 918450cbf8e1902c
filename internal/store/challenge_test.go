package store

import (
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

func (w *world) challenge(r records.Record, by identity.PublicKey, entitled bool) ChallengeOp {
	w.t.Helper()
	c := usage.StorageChallenge{Header: w.header(by, w.relay), Record: r.Digest(), NotAfter: w.now + 600_000}
	v, err := usage.OpenStorageChallengeVerified(w.signed(c.Encode()))
	w.must(err)
	return ChallengeOp{Challenge: v, Home: NoShard, Entitled: entitled}
}

func (w *world) deniedChallenge(op ChallengeOp) usage.Denial {
	w.t.Helper()
	d, err := usage.DecodeDenial(w.do(op).Statement)
	w.must(err)
	if d.Request != op.Challenge.Digest() || d.Record != op.Challenge.Record || d.To != op.Challenge.From {
		w.t.Fatalf("another challenge is denied: %+v", d)
	}
	return d
}

// The sender alone is answered, by what is there: the record, its end, or nothing.
func TestChallenges(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := AccountTerms{Payer: alice}
		r := w.record(draft{from: alice, to: bob, size: 9000, pulls: 1})
		if d := w.deniedChallenge(w.challenge(r, alice, true)); d.Reason != usage.ReasonNone {
			t.Fatalf("before it is stored: %v", d.Reason)
		}
		w.refused(w.challenge(r, alice, false), code.NotFound)
		w.do(w.order(a, r))
		through := w.r.Watermark()
		for range 3 { // it costs no pull
			g := w.do(w.challenge(r, alice, false)).Grant
			if g == nil || g.Size != 9000 || g.AsOf < through || g.AsOfMs != w.now {
				t.Fatalf("%+v", g)
			}
		}
		w.refused(w.challenge(r, bob, false), code.NotFound)
		w.refused(w.challenge(r, carol, false), code.NotFound)
		w.do(w.request(r))
		if w.do(w.challenge(r, alice, false)).Grant == nil {
			t.Fatal("a record whose pulls are used up is still stored")
		}
		old := w.challenge(r, alice, true)
		w.now += 600_001
		w.refused(old, code.Expired)
		x := w.record(draft{from: alice, to: bob, size: 10})
		w.do(w.order(a, x))
		del := w.deletion(x)
		w.do(del)
		if d := w.deniedChallenge(w.challenge(x, alice, false)); d.Reason != usage.ReasonDeleted || len(d.Evidence) != 1 || d.Evidence[0] != del.Delete.Digest() {
			t.Fatalf("%+v", d)
		}
		w.now = r.Header().Expiry()
		if d := w.deniedChallenge(w.challenge(r, alice, true)); d.Reason != usage.ReasonExpired {
			t.Fatalf("%v", d.Reason)
		}
	})
}

// A day has so many challenges and no more, and the next day has as many again.
func TestChallengesADay(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	r := w.record(draft{from: alice, to: bob, size: 10, ttl: 7 * 86400})
	w.do(w.order(AccountTerms{Payer: alice}, r))
	ops := make([]Op, ChallengesPerDay)
	for i := range ops {
		ops[i] = w.challenge(r, alice, false)
	}
	for i, out := range w.apply(ops...) {
		if out.Err != nil {
			t.Fatalf("%d: %v", i, out.Err)
		}
	}
	w.refused(w.challenge(r, alice, false), code.ChallengesUsed)
	w.now += 23 * testHour
	w.now += testHour
	w.do(w.challenge(r, alice, false))
}
