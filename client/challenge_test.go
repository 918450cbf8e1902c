package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"relaymarket/client"
	"relaymarket/evidence"
	"relaymarket/internal/code"
)

// TestChallengesOfASender: a relay proves what it stores; put back to an earlier state, it denies what
// it gave a receipt for, and the agent has the file that proves the loss; silent, it proves nothing.
func TestChallengesOfASender(t *testing.T) {
	r := newRelay(t)
	ada, bob := newPerson(t, "ada"), newPerson(t, "bob")
	ada.use(r)
	bob.use(r)
	ada.meets(bob)
	ctx := t.Context()
	_, err := ada.Challenge(ctx, client.ChallengeRequest{All: true})
	wantCode(t, err, code.NotFound)
	for _, q := range []client.ChallengeRequest{{}, {All: true, Sample: 1}, {Sample: 501}, {ID: "00112233445566", All: true}} {
		_, err := ada.Challenge(ctx, q)
		wantCode(t, err, code.BadArgument)
	}
	r.stop()
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	r.start()
	first := ada.send("bob", "first")
	ada.send("bob", "second")
	all, err := ada.Challenge(ctx, client.ChallengeRequest{All: true})
	if err != nil || len(all) != 2 || all[0].Outcome != client.ChallengeProven || all[1].Outcome != client.ChallengeProven || all[0].Time == 0 {
		t.Fatalf("%+v %v", all, err)
	}
	if one, err := ada.Challenge(ctx, client.ChallengeRequest{Sample: 1}); err != nil || len(one) != 1 || one[0].Outcome != client.ChallengeProven {
		t.Fatalf("%+v %v", one, err)
	}

	r.stop()
	silent, err := ada.Challenge(ctx, client.ChallengeRequest{ID: first.Digest.String()})
	if err != nil || len(silent) != 1 || silent[0].Outcome != client.ChallengeNoAnswer || silent[0].Proof != nil || silent[0].Why == "" {
		t.Fatalf("%+v %v", silent, err)
	}
	r.dir = before
	r.start()
	for range 4 {
		ada.send("bob", "later") // so that the relay speaks of a later state than that of its receipt
	}
	lost, err := ada.Challenge(ctx, client.ChallengeRequest{ID: first.Digest.String()})
	if err != nil || len(lost) != 1 || lost[0].Outcome != client.ChallengeDenied || lost[0].Reason != "none" || lost[0].Proof == nil {
		t.Fatalf("%+v %v", lost, err)
	}
	file, err := ada.ExportEvidence(ctx, lost[0].Proof.Paper.String())
	if err != nil {
		t.Fatal(err)
	}
	if f, err := evidence.VerifyFile(file); err != nil || f.Class != evidence.LostChallenged || f.Culprit != r.Key() {
		t.Fatalf("%+v %v", f, err)
	}
}
