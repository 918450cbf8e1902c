package broadcast

import (
	"math"
	"testing"

	"pgregory.net/rapid"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestSearchAgreesWithTaggedHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		core := identity.Digest(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "core"))
		want := uint8(rapid.IntRange(0, 10).Draw(t, "bits"))
		from := rapid.Uint64().Draw(t, "from")
		nonce, found := Search(core, want, from, 1<<14)
		for i := range uint64(1 << 14) {
			good := leadingZeros(powHash(core, from+i)) >= int(want)
			if good != (found && nonce == from+i) {
				t.Fatalf("nonce %d: good %v, found %v at %d", from+i, good, found, nonce)
			}
			if good {
				return
			}
		}
	})
}

func TestMineStops(t *testing.T) {
	o := sample(t, 1)
	o.PowBits = 60
	calls := 0
	err := o.Mine(func(tried uint64) bool { calls++; return calls < 2 })
	if code.Of(err) != code.Declined || calls != 2 || o.Nonce != 0 {
		t.Fatalf("%v after %d calls", err, calls)
	}
	o.Sequence = 0
	if code.Of(o.Mine(nil)) != code.Malformed {
		t.Fatal("a senseless offer was mined")
	}
}

func TestLeadingZeros(t *testing.T) {
	for d, want := range map[identity.Digest]int{
		{}: 256, {0x80}: 0, {1}: 7, {0, 0x40}: 9, {8: 1}: 71, {31: 1}: 255,
	} {
		if got := leadingZeros(d); got != want {
			t.Errorf("%s has %d leading zeros, not %d", d, got, want)
		}
	}
}

// TestStrongerIsAnOrder checks the order of boards against floating point, where it is clear,
// and for being an order everywhere.
func TestStrongerIsAnOrder(t *testing.T) {
	draw := func(t *rapid.T, name string) VerifiedOffer {
		var v VerifiedOffer
		v.PowBits = uint8(rapid.IntRange(0, MaxPowBits).Draw(t, name+" bits"))
		v.ValidUntil = identity.UnixMilli(rapid.Uint64Range(1, uint64(MaxValidity)).Draw(t, name+" validity"))
		return v
	}
	value := func(v VerifiedOffer) float64 {
		return float64(v.PowBits) - math.Log2(float64(max(v.ValidUntil, minRankedValidity)))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := draw(t, "a"), draw(t, "b"), draw(t, "c")
		if Stronger(a, a) || Stronger(a, b) && Stronger(b, a) {
			t.Fatal("not antisymmetric")
		}
		if Stronger(a, b) && Stronger(b, c) && !Stronger(a, c) {
			t.Fatal("not transitive")
		}
		if d := value(a) - value(b); math.Abs(d) > 1e-6 && (d > 0) != Stronger(a, b) {
			t.Fatalf("%v and %v: wrong way round", value(a), value(b))
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	Search(identity.Digest{1}, 255, 0, uint64(b.N))
}
