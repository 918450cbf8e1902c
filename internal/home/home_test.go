package home

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestCreateOpenLock(t *testing.T) {
	dir := t.TempDir()
	phrase, key, err := Create(dir, identity.Regtest, Secrets{Passphrase: "x", Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Create(dir, identity.Regtest, Secrets{Rand: rand.Reader}); code.Of(err) != code.AlreadyInitialised {
		t.Fatalf("second create: %v", err)
	}
	h, err := Open(dir, identity.Regtest, "x")
	if err != nil || h.Key().Public() != key || len(h.WalletPassphrase()) != 32 {
		t.Fatalf("%v", err)
	}
	if _, err := Open(dir, identity.Regtest, "x"); code.Of(err) != code.AlreadyRunning {
		t.Fatalf("second open: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, identity.Regtest, "wrong"); code.Of(err) != code.WalletWrongPhrase {
		t.Fatalf("wrong passphrase: %v", err)
	}
	if _, err := Open(dir, identity.Mainnet, ""); code.Of(err) != code.NotInitialised {
		t.Fatalf("other network: %v", err)
	}
	if age := time.Since(h.Birthday()); age < bornMargin || age > bornMargin+time.Hour {
		t.Errorf("a new phrase is %s old", age)
	}
	if !h.TakeFresh() || h.TakeFresh() {
		t.Error("a new phrase must be fresh, and once only")
	}
	other := t.TempDir()
	if _, again, err := Create(other, identity.Regtest, Secrets{Phrase: phrase, Passphrase: "x", Rand: rand.Reader}); err != nil || again != key {
		t.Fatalf("the phrase gives another identity: %v", err)
	}
	restored, err := Open(other, identity.Regtest, "x")
	if err != nil || !restored.Birthday().IsZero() {
		t.Errorf("a restored phrase was born %v, %v", restored.Birthday(), err)
	}
	if restored.TakeFresh() {
		t.Error("a phrase that was given is fresh")
	}
}

// TestAnOldCopyIsNotFresh: a copy of a new directory that is put back later must search the chain.
func TestAnOldCopyIsNotFresh(t *testing.T) {
	for age, want := range map[time.Duration]bool{0: true, freshFor - time.Minute: true, freshFor + time.Minute: false, -time.Hour: false} {
		dir := t.TempDir()
		if _, _, err := Create(dir, identity.Regtest, Secrets{Rand: rand.Reader}); err != nil {
			t.Fatal(err)
		}
		born := time.Now().Add(-age).UTC().Format(time.RFC3339)
		if err := os.WriteFile(filepath.Join(dir, "regtest", "born"), []byte(born+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := Open(dir, identity.Regtest, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := h.TakeFresh(); got != want {
			t.Errorf("after %s: fresh %v", age, got)
		}
	}
}

func TestSecretsAreNotReadableByOthers(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Create(dir, identity.Regtest, Secrets{Rand: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"phrase", "wallet.key"} {
		st, err := os.Stat(filepath.Join(dir, "regtest", name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, st.Mode(), err)
		}
	}
}

func TestBadPhraseIsRefused(t *testing.T) {
	_, _, err := Create(t.TempDir(), identity.Regtest, Secrets{Phrase: "one two", Rand: rand.Reader})
	if code.Of(err) != code.BadPhrase {
		t.Fatalf("%v", err)
	}
}
