package client

import (
	"strings"
	"testing"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// newKeeper is an agent without a node, for what concerns its store alone.
func newKeeper(t testing.TB) *Agent {
	t.Helper()
	c := DefaultConfig(identity.Regtest)
	dir := t.TempDir()
	if _, err := Init(dir, InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	a, err := Open(Options{Dir: dir, Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestDissentIsKeptOnceExportedAndVerified(t *testing.T) {
	a, k := newKeeper(t), newClerk(t)
	k.read(10)
	k.read(20)
	v := verdict{ledger: ledger{report: k.report(nil), rows: k.rows, contract: contract.Contract{}}}
	v.result.Refused = []usage.Refusal{{Index: 0, Class: usage.ClassNoEvidence, Why: "x"}, {Index: 1, Class: usage.ClassDuplicate, Why: "y"}}
	s, err := a.signDissentTo(k.key.Public(), v.report.Digest(), v.result.Dissent())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.keepEvidence(t.Context(), v.contract, "dissent: "+namesOf(v.result.Dissent()), s); err != nil {
			t.Fatal(err)
		}
	}
	all, err := a.Evidence(t.Context())
	if err != nil || len(all) != 1 || !strings.Contains(all[0].Name, "2 rows refused: 0E 1F") {
		t.Fatalf("evidence: %+v %v", all, err)
	}
	file, err := a.ExportEvidence(t.Context(), all[0].ID.String()[:12])
	if err != nil {
		t.Fatal(err)
	}
	got, err := VerifyEvidence(file)
	if err != nil || got.Signer != a.Key() || got.To != k.key.Public() || !strings.Contains(got.Says, "0E 1F") || !strings.Contains(got.Says, v.report.Digest().String()) {
		t.Fatalf("verified: %+v %v", got, err)
	}
	if _, err := a.ExportEvidence(t.Context(), "0000000000"); code.Of(err) != code.NotFound {
		t.Fatal(err)
	}

	// A changed letter is noticed: in the statement by its signature, elsewhere it proves nothing.
	changed := strings.Replace(string(file), `"version": 1`, `"version": 9`, 1)
	if _, err := VerifyEvidence([]byte(changed)); code.Of(err) != code.Unsupported {
		t.Fatal(err)
	}
	at := strings.Index(string(file), `"statement": "`) + 60
	letter := "A"
	if file[at] == 'A' {
		letter = "B"
	}
	changed = string(file[:at]) + letter + string(file[at+1:])
	if v, err := VerifyEvidence([]byte(changed)); err == nil {
		t.Fatalf("a changed statement holds: %+v", v)
	}
}

func FuzzVerifyEvidence(f *testing.F) {
	f.Add([]byte(`{"version":1,"name":"x","statement":"AAAA"}`))
	a := newKeeper(f)
	s, err := a.signDissentTo(a.Key(), identity.Digest{1}, []usage.DissentRow{{Index: 3, Class: usage.ClassPulls}})
	if err != nil {
		f.Fatal(err)
	}
	if err := a.keepEvidence(f.Context(), contract.Contract{}, "n", s); err != nil {
		f.Fatal(err)
	}
	all, err := a.Evidence(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	file, err := a.ExportEvidence(f.Context(), all[0].ID.String())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if v, err := VerifyEvidence(raw); err == nil && v.Signer.IsZero() {
			t.Fatal("verified without a signer")
		}
	})
}
