package broadcast

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

var update = flag.Bool("update", false, "write testdata/vectors/offer.json again")

var vectorFile = filepath.Join("..", "testdata", "vectors", "offer.json")

// vector is one signed offer and what every implementation must say to it at `now_ms`.
type vector struct {
	Name   string `json:"name"`
	NowMs  uint64 `json:"now_ms"`
	Signed string `json:"signed"`
	Expect string `json:"expect"` // ok, or the name of the error code
	Core   string `json:"core,omitempty"`
	Pow    string `json:"pow,omitempty"`
	Digest string `json:"digest,omitempty"`
	Nonce  uint64 `json:"nonce,omitempty"`
}

func makeVectors(t *testing.T) []vector {
	full := sample(t, 1)
	full.Features = 1 << 3
	full.Addresses = append(full.Addresses,
		identity.Address{URL: "wss://[2001:db8::1]:7448", Pins: []identity.Digest{{3}}},
		identity.Address{URL: "wss://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaad.onion/ws", Pins: []identity.Digest{{4}}})
	least := sample(t, 2)
	least.PowBits, least.FreeBytesPerDay, least.CreditLimit = 0, 0, 0
	least.Prices = usage.Prices{}
	good := sealed(t, full, 1)
	out := []vector{describe(t, "every optional field", good.Signed(), testTime), describe(t, "no optional field", sealed(t, least, 2).Signed(), testTime)}

	cut := good.Signed()
	cut.Statement = cut.Statement[:len(cut.Statement)-nonceLen]
	forged := good.Signed()
	forged.Proof.Sig[63] ^= 1
	plain := sample(t, 1)
	plain.PowBits, plain.Addresses = 0, []identity.Address{{URL: "ws://relay.example"}}
	crossed := sample(t, 1)
	crossed.PowBits, crossed.MaxDeposit = 0, crossed.MinDeposit-1
	backed := sample(t, 1)
	backed.PowBits, backed.MaxCollateral = 0, backed.MaxDeposit
	greedy := backed
	greedy.MaxCollateral++
	trusting := sample(t, 1)
	trusting.PowBits, trusting.CreditToEarn = 0, trusting.CreditLimit
	owing := trusting
	owing.CreditToEarn++
	return append(out,
		describe(t, "a credit that must be earned", signAnyway(t, trusting, 1), testTime),
		describe(t, "more credit to earn than there is", signAnyway(t, owing, 1), testTime),
		describe(t, "a collateral", signAnyway(t, backed, 1), testTime),
		describe(t, "a collateral above the largest deposit", signAnyway(t, greedy, 1), testTime),
		describe(t, "its time is over", good.Signed(), good.ValidUntil),
		describe(t, "dated ahead", good.Signed(), testTime-MaxAhead-1),
		describe(t, "nonce taken away", cut, testTime),
		describe(t, "signature changed", forged, testTime),
		describe(t, "plain address", signAnyway(t, plain, 1), testTime),
		describe(t, "deposit bounds crossed", signAnyway(t, crossed, 1), testTime))
}

func describe(t *testing.T, name string, s identity.Signed, now identity.UnixMilli) vector {
	t.Helper()
	v := vector{Name: name, NowMs: uint64(now), Signed: hex.EncodeToString(s.Bytes())}
	o, err := Open(s, now)
	v.Expect = code.Of(err).String()
	if err == nil {
		v.Core, v.Digest, v.Nonce = o.Core().String(), o.Digest().String(), o.Nonce
		v.Pow = powHash(o.Core(), o.Nonce).String()
	}
	return v
}

// TestVectors reads the published vectors as a stranger would, and compares them with what
// this version makes.
func TestVectors(t *testing.T) {
	made := makeVectors(t)
	if *update {
		raw, err := json.MarshalIndent(made, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(vectorFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var kept []vector
	if err := json.Unmarshal(raw, &kept); err != nil {
		t.Fatal(err)
	}
	if len(kept) != len(made) {
		t.Fatalf("%d vectors are kept, %d are made", len(kept), len(made))
	}
	for i, k := range kept {
		if k != made[i] {
			t.Errorf("%s: this version makes other bytes", k.Name)
		}
		b, err := hex.DecodeString(k.Signed)
		if err != nil {
			t.Fatal(err)
		}
		s, err := identity.ParseSigned(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := describe(t, k.Name, s, identity.UnixMilli(k.NowMs)); again != k {
			t.Errorf("%s: read as %+v", k.Name, again)
		}
	}
}
