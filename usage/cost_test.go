package usage

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/internal/code"
)

var update = flag.Bool("update", false, "write testdata/vectors/cost.json again")

var vectorFile = filepath.Join("..", "testdata", "vectors", "cost.json")

// costVector is one case of cost.json. Numbers are JSON integers below 2^64; byte·seconds are
// 32 hex digits. Error is "overflow", "price" or absent.
type costVector struct {
	Name        string `json:"name"`
	Storage     uint64 `json:"storage_msat_per_gib_day"`
	Egress      uint64 `json:"egress_msat_per_gib"`
	ByteSeconds string `json:"byte_seconds"`
	Bytes       uint64 `json:"egress"`
	Msat        uint64 `json:"msat"`
	Ceil        uint64 `json:"ceil_msat"`
	Sat         uint64 `json:"ceil_sat"`
	Error       string `json:"error,omitempty"`
}

var costCases = []costVector{
	{Name: "nothing", Storage: 670, Egress: 20_000, ByteSeconds: u128(0, 0)},
	{Name: "free", ByteSeconds: u128(1<<20, 5), Bytes: 1 << 50},
	{Name: "one GiB for one day", Storage: 670, ByteSeconds: u128(0, GiB*Day)},
	{Name: "one GiB delivered", Egress: 20_000, ByteSeconds: u128(0, 0), Bytes: GiB},
	{Name: "both parts round down by themselves", Storage: 1, Egress: 1, ByteSeconds: u128(0, GiB*Day-1), Bytes: GiB - 1},
	{Name: "one byte second below a msat", Storage: 1, ByteSeconds: u128(0, GiB*Day-1)},
	{Name: "one byte second above a msat", Storage: 1, ByteSeconds: u128(0, GiB*Day+1)},
	{Name: "one byte below a msat", Egress: 1, ByteSeconds: u128(0, 0), Bytes: GiB - 1},
	{Name: "one byte above a msat", Egress: 1, ByteSeconds: u128(0, 0), Bytes: GiB + 1},
	{Name: "a message of 1 KiB for 30 days, read 3 times", Storage: 670_000, Egress: 20_000_000, ByteSeconds: u128(0, 1500*30*Day), Bytes: 3 * 1244},
	{Name: "545 GiB years pass 64 bits", Storage: 670, ByteSeconds: u128(1, 0)},
	{Name: "most byte seconds", Storage: 1000, ByteSeconds: u128(1<<24-1, math.MaxUint64)},
	{Name: "most byte seconds at the highest price", Storage: 1_000_000_000_000, ByteSeconds: u128(1<<24-1, math.MaxUint64)},
	{Name: "too many byte seconds", Storage: 1, ByteSeconds: u128(1<<24, 0)},
	{Name: "too many byte seconds for nothing", ByteSeconds: u128(1<<24, 0)},
	{Name: "most bytes", Egress: 1000, ByteSeconds: u128(0, 0), Bytes: math.MaxUint64},
	{Name: "most bytes that fit at the highest price", Egress: 1_000_000_000_000, ByteSeconds: u128(0, 0), Bytes: 19_807_040_628_566_084},
	{Name: "one byte more does not fit", Egress: 1_000_000_000_000, ByteSeconds: u128(0, 0), Bytes: 19_807_040_628_566_085},
	{Name: "the parts fit, their sum does not", Storage: 1_000_000_000_000, Egress: 1_000_000_000_000, ByteSeconds: u128(0, 1<<63), Bytes: 19_807_040_628_566_084},
	{Name: "storage price too high", Storage: 1_000_000_000_001, ByteSeconds: u128(0, 1)},
	{Name: "egress price too high", Egress: 1_000_000_000_001, ByteSeconds: u128(0, 1)},
}

func u128(hi, lo uint64) string {
	b := U128{hi, lo}.Bytes()
	return hex.EncodeToString(b[:])
}

// bigCost is the cost in unbounded integers, by another way than Cost goes.
func bigCost(storage, egress, byteSeconds, bytes *big.Int, up bool) *big.Int {
	part := func(price, amount, unit *big.Int) *big.Int {
		q, r := new(big.Int).QuoRem(new(big.Int).Mul(price, amount), unit, new(big.Int))
		if up && r.Sign() > 0 {
			q.Add(q, big.NewInt(1))
		}
		return q
	}
	gib := big.NewInt(GiB)
	return new(big.Int).Add(part(egress, bytes, gib), part(storage, byteSeconds, new(big.Int).Mul(gib, big.NewInt(Day))))
}

func (v costVector) input(t *testing.T) (Prices, Quantities, *big.Int) {
	t.Helper()
	raw, err := hex.DecodeString(v.ByteSeconds)
	if err != nil || len(raw) != 16 {
		t.Fatalf("%s: byte seconds %q", v.Name, v.ByteSeconds)
	}
	return Prices{Msat(v.Storage), Msat(v.Egress)}, Quantities{U128From([16]byte(raw)), v.Bytes}, new(big.Int).SetBytes(raw)
}

// expect fills in a vector's result from unbounded arithmetic.
func (v costVector) expect(t *testing.T) costVector {
	_, _, bs := v.input(t)
	num := func(x uint64) *big.Int { return new(big.Int).SetUint64(x) }
	floor := bigCost(num(v.Storage), num(v.Egress), bs, num(v.Bytes), false)
	ceil := bigCost(num(v.Storage), num(v.Egress), bs, num(v.Bytes), true)
	switch {
	case v.Storage > uint64(MaxPrice) || v.Egress > uint64(MaxPrice):
		v.Error = "price"
	case bs.BitLen() > 88 || !ceil.IsUint64():
		v.Error = "overflow"
	default:
		v.Msat, v.Ceil = floor.Uint64(), ceil.Uint64()
		v.Sat = new(big.Int).Div(new(big.Int).Add(floor, big.NewInt(999)), big.NewInt(1000)).Uint64()
	}
	return v
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	raw, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []costVector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != len(costCases) {
		t.Fatalf("%d vectors in the file, %d cases here: run with -update", len(vectors), len(costCases))
	}
	for _, v := range vectors {
		p, q, _ := v.input(t)
		got, err := Cost(p, q)
		ceil, ceilErr := CostCeil(p, q)
		switch v.Error {
		case "overflow":
			if !errors.Is(err, ErrOverflow) || !errors.Is(ceilErr, ErrOverflow) {
				t.Errorf("%s: %d, %v, %v", v.Name, got, err, ceilErr)
			}
		case "price":
			if code.Of(err) != code.BadAmount || code.Of(ceilErr) != code.BadAmount {
				t.Errorf("%s: %d, %v", v.Name, got, err)
			}
		default:
			if err != nil || ceilErr != nil || uint64(got) != v.Msat || uint64(ceil) != v.Ceil || uint64(got.CeilSat()) != v.Sat {
				t.Errorf("%s: %d and %d, want %d and %d: %v", v.Name, got, ceil, v.Msat, v.Ceil, err)
			}
		}
	}
}

func writeVectors(t *testing.T) {
	out := make([]costVector, len(costCases))
	for i, v := range costCases {
		out[i] = v.expect(t)
	}
	raw, err := json.MarshalIndent(out, "", "  ")
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

func drawQuantities(t *rapid.T, label string) Quantities {
	return Quantities{
		U128{rapid.Uint64Range(0, 1<<24-1).Draw(t, label+" hi"), rapid.Uint64().Draw(t, label+" lo")},
		rapid.Uint64().Draw(t, label+" egress"),
	}
}

func drawPrices(t *rapid.T) Prices {
	return Prices{Msat(rapid.Uint64Range(0, uint64(MaxPrice)).Draw(t, "storage")), Msat(rapid.Uint64Range(0, uint64(MaxPrice)).Draw(t, "egress"))}
}

func TestCostAgreesWithUnboundedIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := drawPrices(t), drawQuantities(t, "q")
		bs := q.ByteSeconds.Bytes()
		num := func(x uint64) *big.Int { return new(big.Int).SetUint64(x) }
		for _, up := range []bool{false, true} {
			want := bigCost(num(uint64(p.StorageMsatPerGiBDay)), num(uint64(p.EgressMsatPerGiB)), new(big.Int).SetBytes(bs[:]), num(q.Egress), up)
			got, err := Cost(p, q)
			if up {
				got, err = CostCeil(p, q)
			}
			if want.IsUint64() != (err == nil) || err == nil && uint64(got) != want.Uint64() {
				t.Fatalf("%d, %v, want %s", got, err, want)
			}
		}
	})
}

// Cost is monotone, and cutting use into pieces changes the sum by less than 2 msat a piece.
func TestCostIsMonotoneAndNearlyAdditive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPrices(t)
		a, b := drawQuantities(t, "a"), drawQuantities(t, "b")
		a.ByteSeconds.Hi, b.ByteSeconds.Hi, a.Egress, b.Egress = a.ByteSeconds.Hi&255, b.ByteSeconds.Hi&255, a.Egress>>12, b.Egress>>12
		sum, err := a.Add(b)
		if err != nil {
			t.Fatal(err)
		}
		ca, err1 := Cost(p, a)
		cb, err2 := Cost(p, b)
		cs, err3 := Cost(p, sum)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Skip("beyond 64 bits")
		}
		if cs < ca || cs < cb || cs < ca+cb || cs > ca+cb+2 {
			t.Fatalf("%d and %d together cost %d", ca, cb, cs)
		}
		if back, err := sum.Sub(b); err != nil || back != a {
			t.Fatal(back, err)
		}
	})
}

func TestRecordWorst(t *testing.T) {
	p := Prices{StorageMsatPerGiBDay: 24 * 1000, EgressMsatPerGiB: 5000}
	storage, perPull, err := RecordWorst(p, GiB, 60, 3)
	if err != nil || storage != 1000 || perPull != 5000 {
		t.Fatal(storage, perPull, err) // an hour of a day at 24,000; 256 bytes less than a GiB, rounded up
	}
	if storage, _, err = RecordWorst(p, GiB, 2*3600, 3); err != nil || storage != 2000 {
		t.Fatal(storage, err)
	}
	if _, _, err := RecordWorst(p, RecordOverhead-1, 60, 3); !errors.Is(err, ErrOverflow) {
		t.Fatal("a record has at least its overhead", err)
	}
	if _, _, err := RecordWorst(Prices{0, MaxPrice}, 1<<54, 60, 65535); !errors.Is(err, ErrOverflow) {
		t.Fatal("the pulls overflow together", err)
	}
	if BillableBytes(300, 1000) != 1556 {
		t.Fatal("header, content and 256")
	}
}

func TestQuantitiesAreChecked(t *testing.T) {
	one, most := Quantities{Egress: 1}, Quantities{U128{math.MaxUint64, math.MaxUint64}, math.MaxUint64}
	if _, err := most.Add(one); !errors.Is(err, ErrOverflow) {
		t.Error("egress wraps")
	}
	if _, err := most.Add(Quantities{ByteSeconds: U128{0, 1}}); !errors.Is(err, ErrOverflow) {
		t.Error("byte seconds wrap")
	}
	if _, err := one.Sub(Quantities{Egress: 2}); !errors.Is(err, ErrOverflow) {
		t.Error("egress below zero")
	}
	if _, err := one.Sub(Quantities{ByteSeconds: U128{0, 1}}); !errors.Is(err, ErrOverflow) {
		t.Error("byte seconds below zero")
	}
}
