package client

import (
	"bytes"
	"encoding/json"
	"testing"

	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// TestPapersOfOthersAreKept: a receiver's denial and request become papers of the sender, under the relay that
// they speak of; a fraud proof is verified before it is kept, and exported as its own file.
func TestPapersOfOthersAreKept(t *testing.T) {
	bob, ada, k := newKeeper(t), newKeeper(t), newClerk(t)
	request, err := usage.ReadRequest{
		Header: identity.Header{Network: identity.Regtest, From: bob.Key(), To: k.key.Public(), Time: 5}, Record: identity.Digest{1}, NotAfter: 6,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.SignOne(bob.home.Key(), request)
	if err != nil {
		t.Fatal(err)
	}
	h, err := ada.header(k.key.Public(), 5)
	if err != nil {
		t.Fatal(err)
	}
	a, b := k.report(nil), k.report(func(r *usage.UsageReport) { r.Paid++ })
	proof, err := evidence.Proof{Class: evidence.TwoReports, Statements: []identity.Signed{a.Signed(), b.Signed()}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e, err := ada.AddEvidence(t.Context(), exported(t, bob, "denied read request", s))
		if err != nil || e.Relay != k.key.Public() || e.Proof {
			t.Fatalf("%+v %v", e, err)
		}
		if e, err = ada.AddEvidence(t.Context(), proof); err != nil || e.Relay != k.key.Public() || !e.Proof || e.Contract != a.Contract {
			t.Fatalf("%+v %v", e, err)
		}
		got, err := ada.ExportEvidence(t.Context(), e.ID.String())
		if err != nil || !bytes.Equal(got, proof) {
			t.Fatalf("another file is exported: %v", err)
		}
	}
	if all, err := ada.Evidence(t.Context()); err != nil || len(all) != 2 {
		t.Fatalf("%+v %v", all, err)
	}
	raw, err := usage.Dissent{Header: h, Report: identity.Digest{1}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	dissent, err := identity.SignOne(ada.home.Key(), raw)
	if err != nil {
		t.Fatal(err)
	}
	proof[len(proof)-40] ^= 1
	for name, c := range map[string]struct {
		file []byte
		want code.Code
	}{
		"a proof that does not hold":     {proof, code.NotProven},
		"a paper about no relay":         {exported(t, bob, "dissent", dissent), code.BadArgument},
		"what is neither paper nor file": {[]byte("x"), code.Malformed},
	} {
		if _, err := ada.AddEvidence(t.Context(), c.file); code.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// exported lets an agent keep a paper and gives its file.
func exported(t *testing.T, a *Agent, name string, s identity.Signed) []byte {
	t.Helper()
	e, err := a.AddEvidence(t.Context(), fileOf(t, name, s))
	if code.Of(err) == code.BadArgument {
		return fileOf(t, name, s)
	} else if err != nil {
		t.Fatal(err)
	}
	file, err := a.ExportEvidence(t.Context(), e.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func fileOf(t *testing.T, name string, s identity.Signed) []byte {
	t.Helper()
	raw, err := json.Marshal(EvidenceFile{evidenceVersion, name, s.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
