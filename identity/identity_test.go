package identity

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// seeded gives the same bytes for the same seed, so that test keys are stable.
func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func testKey(t testing.TB, seed byte) PrivateKey {
	t.Helper()
	k, err := GeneratePrivateKey(seeded(seed))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testStatement(t testing.TB, from PrivateKey, to PublicKey, n byte) []byte {
	t.Helper()
	record := Digest{n}
	raw, err := EncodeStatement(Header{Type: TypeDelete, Network: Regtest, From: from.Public(), To: to, Time: 1000, Serial: Serial{n}},
		codec.Fixed(64, record[:]))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestKeyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, err := GeneratePrivateKey(seeded(rapid.Byte().Draw(t, "seed")))
		if err != nil {
			t.Fatal(err)
		}
		p := k.Public()
		for _, s := range []string{p.String(), hex.EncodeToString(p[:]), strings.ToUpper(p.String())} {
			if back, err := ParsePublicKey(s); err != nil || back != p {
				t.Fatalf("%s: %v", s, err)
			}
		}
		if !strings.HasPrefix(p.String(), "rk1") || len(p.Name()) != 16 || p.Name() != strings.ToLower(p.Name()) {
			t.Fatalf("text forms: %s %s", p, p.Name())
		}
	})
	good := testKey(t, 1).Public().String()
	for _, bad := range []string{"", "rk1", good[:len(good)-1], good[:len(good)-1] + "b", "bc1" + good[3:], strings.Repeat("f", 64)} {
		if _, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestPrivateKeyIsNotPrinted(t *testing.T) {
	k := testKey(t, 1)
	for _, s := range []string{k.String(), k.GoString()} {
		if strings.Contains(s, hex.EncodeToString(k.Bytes())) {
			t.Fatal("the private key is printed")
		}
	}
}

func TestPathsHaveTheExactShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		digests := make([]Digest, n)
		for i := range digests {
			digests[i] = Tagged("test", []byte{byte(i), byte(i >> 8)})
		}
		paths, root := Paths(digests)
		if root != Root(digests) {
			t.Fatal("two roots")
		}
		for i, p := range paths {
			got, ok := RootFromPath(digests[i], n, i, p)
			if !ok || got != root {
				t.Fatalf("leaf %d of %d", i, n)
			}
			if _, ok := RootFromPath(digests[i], n, i, append(p[:len(p):len(p)], Digest{})); ok {
				t.Fatal("a longer path was accepted")
			}
			if r, ok := RootFromPath(digests[i], n, (i+1)%n, p); n > 1 && ok && r == root {
				t.Fatal("a leaf was found at another index")
			}
		}
	})
}

func TestSignVerifyBatch(t *testing.T) {
	key, relay := testKey(t, 1), testKey(t, 2).Public()
	var raws [][]byte
	for i := range byte(9) {
		raws = append(raws, testStatement(t, key, relay, i))
	}
	signed, err := Sign(key, raws...)
	if err != nil {
		t.Fatal(err)
	}
	lone, err := SignOne(key, raws[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(lone.Proof.bytes()) != 68 {
		t.Fatalf("a lone proof has %d bytes", len(lone.Proof.bytes()))
	}
	broken := signed[3]
	broken.Proof.Sig[7] ^= 1
	verdicts := VerifyBatch(append(signed, lone, broken))
	for i, v := range verdicts[:10] {
		if v.Err != nil {
			t.Fatalf("statement %d: %v", i, v.Err)
		}
	}
	if verdicts[0].Digest != verdicts[9].Digest {
		t.Fatal("the digest depends on the proof")
	}
	if code.Of(verdicts[10].Err) != code.BadSignature {
		t.Fatalf("broken signature: %v", verdicts[10].Err)
	}
}

func TestSignRefusesForeignAndMixed(t *testing.T) {
	a, b := testKey(t, 1), testKey(t, 2)
	own, foreign := testStatement(t, a, b.Public(), 1), testStatement(t, b, a.Public(), 2)
	if _, err := Sign(a, foreign); code.Of(err) != code.BadSignature {
		t.Errorf("foreign: %v", err)
	}
	if _, err := Sign(a, own, foreign); code.Of(err) != code.Malformed {
		t.Errorf("mixed: %v", err)
	}
	if _, err := Sign(a); code.Of(err) != code.Malformed {
		t.Errorf("none: %v", err)
	}
}

// TestTampering flips every byte of a signed statement: none may still verify.
func TestTampering(t *testing.T) {
	key, relay := testKey(t, 1), testKey(t, 2).Public()
	signed, err := Sign(key, testStatement(t, key, relay, 1), testStatement(t, key, relay, 2), testStatement(t, key, relay, 3))
	if err != nil {
		t.Fatal(err)
	}
	good := signed[1].Bytes()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		s, err := ParseSigned(bad)
		if err != nil {
			continue
		}
		if _, _, err := Verify(s); err == nil {
			t.Fatalf("byte %d can be changed", i)
		}
	}
}

func TestAddressingRules(t *testing.T) {
	key := testKey(t, 1)
	var d Digest
	h := Header{Type: TypeDelete, Network: Regtest, From: key.Public(), Time: 1}
	if _, err := EncodeStatement(h, codec.Fixed(64, d[:])); code.Of(err) != code.Malformed {
		t.Errorf("a delete to nobody: %v", err)
	}
	h.Network = 7
	if _, err := EncodeStatement(h, codec.Fixed(64, d[:])); code.Of(err) != code.WrongNetwork {
		t.Errorf("unknown network: %v", err)
	}
	h = Header{Type: TypeIdentity, Network: Regtest, From: key.Public(), To: key.Public()}
	if _, err := EncodeStatement(h, codec.Fixed(64, d[:])); code.Of(err) != code.Malformed {
		t.Errorf("an identity to somebody: %v", err)
	}
}

func TestBundleRoundTrip(t *testing.T) {
	key, relay := testKey(t, 1), testKey(t, 2).Public()
	b, err := SignBundle(key, testStatement(t, key, relay, 1), testStatement(t, key, relay, 2))
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseBundle(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	all, err := back.Split()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range VerifyBatch(all) {
		if v.Err != nil {
			t.Fatal(v.Err)
		}
	}
	if _, err := ParseBundle(append(b.Bytes(), 0)); err == nil {
		t.Error("trailing byte")
	}
}

func FuzzParseSigned(f *testing.F) {
	key, relay := testKey(f, 1), testKey(f, 2).Public()
	s, _ := Sign(key, testStatement(f, key, relay, 1), testStatement(f, key, relay, 2))
	f.Add(s[0].Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSigned(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Bytes(), b) {
			t.Fatal("not canonical")
		}
		_, _, _ = Verify(s)
	})
}

func FuzzParseBundle(f *testing.F) {
	key, relay := testKey(f, 1), testKey(f, 2).Public()
	b, _ := SignBundle(key, testStatement(f, key, relay, 1), testStatement(f, key, relay, 2))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBundle(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(b.Bytes(), raw) {
			t.Fatal("not canonical")
		}
		_, _ = b.Split()
	})
}
