package identity

import (
	"bytes"
	"strings"
	"testing"

	"relaymarket/internal/code"
)

const testPhrase = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"

func testDocument(t testing.TB, seq uint64) *VerifiedDocument {
	t.Helper()
	d := Document{
		Label: "Ada", Sequence: seq, Expires: 9000, Devices: 1, SealingKey: bytes.Repeat([]byte{7}, SealingSize),
		Relays: []RelayRef{{Key: testKey(t, 2).Public(), Addresses: []Address{{URL: "wss://192.0.2.1:443", Pins: []Digest{{1}, {2}}}}}},
	}
	s, err := SignDocument(testKey(t, 1), Regtest, d, 1000, Serial{byte(seq)})
	if err != nil {
		t.Fatal(err)
	}
	v, err := OpenDocument(s, 2000)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPhrase(t *testing.T) {
	words, err := NewPhrase(seeded(1))
	if err != nil || len(strings.Fields(words)) != 12 {
		t.Fatalf("%q %v", words, err)
	}
	a, err := Seed("  "+strings.ToUpper(testPhrase)+" ", "")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := Seed(testPhrase, "secret")
	if bytes.Equal(a, b) {
		t.Fatal("the passphrase changes nothing")
	}
	for _, bad := range []string{"", "abandon", strings.Replace(testPhrase, "about", "abandon", 1), strings.Replace(testPhrase, "about", "abuot", 1)} {
		if _, err := Seed(bad, ""); code.Of(err) != code.BadPhrase {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRolesAndNetworksHaveDifferentKeys(t *testing.T) {
	seed, err := Seed(testPhrase, "")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, n := range []Network{Mainnet, Regtest} {
		for _, r := range []uint32{RoleIdentity, RoleClientContract, RoleRelayContract} {
			k, err := RoleKey(seed, n, r)
			if err != nil || seen[string(k)] {
				t.Fatalf("network %s role %d: %v, or a key used twice", n, r, err)
			}
			seen[string(k)] = true
		}
	}
}

func TestDocumentFileAndCard(t *testing.T) {
	v := testDocument(t, 1)
	raw, err := MarshalFile(v)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseFile(raw, 2000)
	if err != nil || back.Digest() != v.Digest() || back.Label != "Ada" {
		t.Fatalf("%v", err)
	}
	if _, err := ParseFile(bytes.Replace(raw, []byte(`"Ada"`), []byte(`"Eve"`), 1), 2000); code.Of(err) != code.Malformed {
		t.Errorf("a changed label: %v", err)
	}
	if _, err := ParseFile(raw, 9001); code.Of(err) != code.IdentityExpired {
		t.Errorf("expired: %v", err)
	}
	c := NewCard(v)
	got, err := ParseCard(c.String())
	if err != nil || got.String() != c.String() || got.Digest != v.Digest() || len(got.Relays[0].Addresses[0].Pins) != 2 {
		t.Fatalf("%v %s", err, c)
	}
}

func TestDocumentRules(t *testing.T) {
	key := testKey(t, 1)
	for name, d := range map[string]Document{
		"no label":        {Expires: 1, Devices: 1},
		"control in name": {Label: "a\x1b[2J", Devices: 1},
		"not UTF-8":       {Label: "\xff", Devices: 1},
		"no device":       {Label: "a"},
		"short key":       {Label: "a", Devices: 1, SealingKey: []byte{1}},
	} {
		if _, err := SignDocument(key, Regtest, d, 1, Serial{}); code.Of(err) != code.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSupersedes(t *testing.T) {
	one, two := testDocument(t, 1), testDocument(t, 2)
	if err := two.Supersedes(one); err != nil {
		t.Error(err)
	}
	if err := one.Supersedes(two); code.Of(err) != code.IdentityRollback {
		t.Errorf("older: %v", err)
	}
	other := *one
	other.digest[0] ^= 1
	if err := other.Supersedes(one); code.Of(err) != code.Conflict {
		t.Errorf("same sequence: %v", err)
	}
}

func FuzzParseFile(f *testing.F) {
	raw, _ := MarshalFile(testDocument(f, 1))
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseFile(b, 0); err == nil && v.Owner().IsZero() {
			t.Fatal("accepted without an owner")
		}
	})
}

func FuzzParseCard(f *testing.F) {
	f.Add(NewCard(testDocument(f, 1)).String())
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ParseCard(s); err == nil {
			if back, err := ParseCard(c.String()); err != nil || back.String() != c.String() {
				t.Fatalf("%q: %v", c.String(), err)
			}
		}
	})
}
