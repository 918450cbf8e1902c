package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relaymarket/client"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/usage"
)

// proofs writes the test vectors of fraud proofs as files and says what is expected of each.
func proofs(t *testing.T) (dir string, expect map[string]string) {
	t.Helper()
	dir, expect = t.TempDir(), map[string]string{}
	vectors, err := filepath.Glob("../../testdata/vectors/fraud/*.json")
	if err != nil || len(vectors) < 30 {
		t.Fatalf("%d vectors (%v)", len(vectors), err)
	}
	for _, v := range vectors {
		raw, err := os.ReadFile(v)
		if err != nil {
			t.Fatal(err)
		}
		var x struct {
			Expect string
			In     struct{ File string }
		}
		if err := json.Unmarshal(raw, &x); err != nil {
			t.Fatal(err)
		}
		file, err := hex.DecodeString(x.In.File)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(v), ".json")
		expect[name] = map[string]string{"ok": verdictProven, "not_proven": verdictNotProven}[x.Expect]
		if expect[name] == "" {
			expect[name] = verdictMalformed
		}
		write(t, filepath.Join(dir, name), file)
	}
	return dir, expect
}

func write(t *testing.T, name string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// verify runs the command with a directory that is not there: it needs none.
func verify(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd := root(&options{})
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"--dir", filepath.Join(t.TempDir(), "nothing"), "verify"}, args...))
	err := cmd.ExecuteContext(t.Context())
	if err == nil {
		return out.String(), 0
	}
	return out.String(), exitCode(err)
}

// TestVerifyFiles: each file alone, and all together, by their exit codes; what is proven is said with
// culprit, class, worth and statements.
func TestVerifyFiles(t *testing.T) {
	dir, expect := proofs(t)
	exits := map[string]int{verdictProven: 0, verdictNotProven: 1, verdictMalformed: 2}
	var all []string
	for name, want := range expect {
		file := filepath.Join(dir, name)
		all = append(all, file)
		if out, exit := verify(t, file); exit != exits[want] || want != verdictProven && !strings.Contains(out, strings.ToUpper(want)) {
			t.Errorf("%s: exit code %d, %s", name, exit, out)
		}
	}
	out, exit := verify(t, filepath.Join(dir, "no-evidence"), filepath.Join(dir, "two-offers"))
	for _, part := range []string{"PROVEN", "who ", "class      no-evidence", "how much", "msat", "statement  usageReport", "rows       [2]", "two different offers"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not said:\n%s", part, out)
		}
	}
	if exit != 0 {
		t.Errorf("exit code %d", exit)
	}
	if _, exit := verify(t, filepath.Join(dir, "lost"), filepath.Join(dir, "lost-early"), filepath.Join(dir, "two-offers")); exit != 1 {
		t.Errorf("one of three is not proven: exit code %d", exit)
	}
	if _, exit := verify(t, all...); exit != 2 {
		t.Errorf("all: exit code %d", exit)
	}
	if _, exit := verify(t, filepath.Join(dir, "is not there")); exit != 2 {
		t.Errorf("a file that is not there: exit code %d", exit)
	}
	if _, exit := verify(t); exit != 2 {
		t.Errorf("no file: exit code %d", exit)
	}
	verifyJSON(t, dir)
}

func verifyJSON(t *testing.T, dir string) {
	t.Helper()
	out, exit := verify(t, "--json", filepath.Join(dir, "wrong-sum"), filepath.Join(dir, "wrong-sum-not"))
	var got []checked
	if err := json.Unmarshal([]byte(out), &got); err != nil || exit != 1 || len(got) != 2 {
		t.Fatalf("exit code %d, %v\n%s", exit, err, out)
	}
	f := got[0].Fraud
	if f == nil || f.Class != evidence.WrongSum.String() || f.WhoName != f.Who.Name() || f.Msat == nil || *f.Msat != 77_000 || len(f.Statements) != 1 {
		t.Errorf("%s", out)
	}
	if got[1].Fraud != nil || got[1].Verdict != verdictNotProven || got[1].Why == "" {
		t.Errorf("%s", out)
	}
}

// TestVerifyPapers: a single signed paper holds, a changed one does not, and what is none is malformed.
func TestVerifyPapers(t *testing.T) {
	k, err := identity.NewPrivateKey(bytes.Repeat([]byte{3}, 32))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := usage.Delete{Header: identity.Header{Network: identity.Regtest, From: k.Public(), To: k.Public()}, Record: identity.Digest{1}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.SignOne(k, raw)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	paper := func(name string, s identity.Signed) string {
		raw, err := json.Marshal(client.EvidenceFile{Version: 1, Name: name, Statement: s.Bytes()})
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), raw)
		return filepath.Join(dir, name)
	}
	good := paper("good", s)
	s.Proof.Sig[5] ^= 1
	bad := paper("bad", s)
	write(t, filepath.Join(dir, "junk"), []byte("nothing"))
	if out, exit := verify(t, good); exit != 0 || !strings.Contains(out, "the signature holds") || !strings.Contains(out, "kept as    good") {
		t.Errorf("exit code %d, %s", exit, out)
	}
	if _, exit := verify(t, good, bad); exit != 1 {
		t.Errorf("a changed paper: exit code %d", exit)
	}
	if out, exit := verify(t, good, bad, filepath.Join(dir, "junk")); exit != 2 || !strings.Contains(out, "not an evidence file") {
		t.Errorf("no paper: exit code %d, %s", exit, out)
	}
}
