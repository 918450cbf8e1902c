package identity

import (
	"encoding/csv"
	"encoding/hex"
	"os"
	"sync"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chainhash/v2"
	"pgregory.net/rapid"
)

const (
	poolKeys = 5
	poolEach = 8
)

// pool is valid signatures of a few keys, signer by signer; made once, because signing is slow.
var pool = sync.OnceValue(func() []triple { return signTriples(poolKeys, poolEach) })

func signTriples(keys, each int) []triple {
	var out []triple
	for k := range keys {
		key, err := GeneratePrivateKey(seeded(byte(k)))
		if err != nil {
			panic(err)
		}
		for i := range each {
			m := Tagged("test", []byte{byte(k), byte(i), byte(i >> 8)})
			sig, err := key.SignDigest(m)
			if err != nil {
				panic(err)
			}
			out = append(out, triple{key.Public(), m, sig})
		}
	}
	return out
}

func scalarOf(b []byte) (s btcec.ModNScalar) {
	s.SetByteSlice(b)
	return s
}

func (t *triple) setS(s *btcec.ModNScalar) {
	b := s.Bytes()
	copy(t.sig[32:], b[:])
}

func addToS(t *triple, d uint32) {
	s := scalarOf(t.sig[32:])
	t.setS(s.Add(new(btcec.ModNScalar).SetInt(d)))
}

// negateR gives the signature whose s fits −R: s' = 2⋅e⋅d − s.
func negateR(t *triple, keySeed byte) {
	key, err := GeneratePrivateKey(seeded(keySeed))
	if err != nil {
		panic(err)
	}
	hash := chainhash.TaggedHash(chainhash.TagBIP0340Challenge, t.sig[:32], t.from[:], t.m[:])
	e, d := scalarOf(hash[:]), scalarOf(key.Bytes())
	if key.priv.PubKey().SerializeCompressed()[0] == 3 {
		d.Negate() // BIP340 signs with the half whose point has an even y
	}
	s := scalarOf(t.sig[32:])
	t.setS(s.Negate().Add(e.Mul(&d).Mul(new(btcec.ModNScalar).SetInt(2))))
}

// order and prime are n and p of secp256k1; offCurve is no x coordinate (BIP340's vector 11).
var (
	order    = unhex("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141")
	prime    = unhex("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F")
	offCurve = unhex("4A298DACAE57395A15D0795DDBFD1DCB564DA82B0F269BC70A74F8220429BA1D")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// mutations are the ways in which a signature is spoiled (the first: not at all); by is any byte.
var mutations = []func(t *triple, i int, by byte){
	func(*triple, int, byte) {},
	func(t *triple, _ int, by byte) { t.from[by%32] ^= 1 << (by >> 5) },
	func(t *triple, _ int, by byte) { t.m[by%32] ^= 1 << (by >> 5) },
	func(t *triple, _ int, by byte) { t.sig[by%32] ^= 1 << (by >> 5) },
	func(t *triple, _ int, by byte) { t.sig[32+by%32] ^= 1 << (by >> 5) },
	func(t *triple, _ int, by byte) { copy(t.from[:], offCurve) },
	func(t *triple, _ int, by byte) { copy(t.from[:], prime) },
	func(t *triple, _ int, by byte) { copy(t.sig[:], offCurve) },
	func(t *triple, _ int, by byte) { copy(t.sig[:], prime) },
	func(t *triple, _ int, by byte) { copy(t.sig[32:], order); t.sig[63] += by % 128 },
	func(t *triple, _ int, by byte) { clear(t.sig[32:]) },
	func(t *triple, _ int, by byte) { s := scalarOf(t.sig[32:]); t.setS(s.Negate()) },
	func(t *triple, i int, _ byte) { negateR(t, byte(i/poolEach)) },
	func(t *triple, i int, by byte) { t.from = pool()[int(by)%len(pool())].from },
	func(t *triple, i int, by byte) { copy(t.sig[:32], pool()[int(by)%len(pool())].sig[:32]) },
	func(t *triple, i int, by byte) { addToS(t, uint32(by)+1) },
}

// mixture reads three bytes for each signature: which of the pool, how it is spoiled (half of
// them not at all), and the mutation's byte.
func mixture(program []byte) []triple {
	var out []triple
	for ; len(program) >= 3; program = program[3:] {
		i := int(program[0]) % len(pool())
		t, how := pool()[i], int(program[1])
		if how >= 128 {
			mutations[how%len(mutations)](&t, i, program[2])
		}
		out = append(out, t)
	}
	return out
}

// agree compares the verdicts of a batch with those of btcec.
func agree(t interface {
	Helper()
	Fatalf(string, ...any)
}, all []triple) {
	t.Helper()
	for i, good := range verifyTriples(all) {
		if want := all[i].verify(); good != want {
			t.Fatalf("signature %d of %d: the batch says %v, btcec %v: %x %x %x", i, len(all), good, want, all[i].from, all[i].m, all[i].sig)
		}
	}
}

func TestBatchIsSingle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "signatures")
		agree(t, mixture(rapid.SliceOfN(rapid.Byte(), 3*n, 3*n).Draw(t, "program")))
	})
}

func FuzzVerifyBatch(f *testing.F) {
	var program []byte
	for i := range 2 * len(mutations) {
		program = append(program, byte(i), byte(128+i), byte(37*i))
	}
	f.Add(program)
	f.Add(make([]byte, 30))
	f.Fuzz(func(t *testing.T, program []byte) {
		agree(t, mixture(program[:min(len(program), 3*64)]))
	})
}

// TestEachMutation spoils one signature of an otherwise good batch in each way.
func TestEachMutation(t *testing.T) {
	for n, mutate := range mutations {
		all := append([]triple(nil), pool()[:24]...)
		mutate(&all[13], 13, 200)
		if all[13].verify() != (n == 0) {
			t.Fatalf("mutation %d does not spoil", n)
		}
		for i, good := range verifyTriples(all) {
			if good != (i != 13 || n == 0) {
				t.Errorf("mutation %d of signature 13: signature %d is %v", n, i, good)
			}
		}
	}
}

// TestBIP340Vectors runs the official vectors with messages of 32 bytes (bitcoin/bips,
// bip-0340/test-vectors.csv at 7e8b5dfc), alone and in one batch; the right ones also in one equation.
func TestBIP340Vectors(t *testing.T) {
	f, err := os.Open("testdata/bip340.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 16 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	var all, right []triple
	for _, row := range rows[1:] {
		v := triple{PublicKey(unhex(row[2])), Digest(unhex(row[4])), [64]byte(unhex(row[5]))}
		all = append(all, v)
		if row[6] == "TRUE" {
			right = append(right, v)
		}
	}
	for i, good := range verifyTriples(all) {
		want := rows[i+1][6] == "TRUE"
		if single := all[i].verify(); single != want || good != want {
			t.Errorf("vector %s: batch %v, alone %v, official %v (%s)", rows[i+1][0], good, single, want, rows[i+1][7])
		}
	}
	if ts := terms(t, right); len(ts) != 5 || !holds(ts) {
		t.Errorf("the %d right vectors do not fit one equation", len(ts))
	}
}

func terms(t testing.TB, all []triple) []term {
	t.Helper()
	var out []term
	for i := range all {
		x, ok := newTerm(&all[i], out)
		if !ok {
			t.Fatalf("signature %d is malformed", i)
		}
		x.good = new(bool)
		out = append(out, x)
	}
	return out
}

// TestEquation looks at the equation itself: without this, one that never holds would be hidden
// by the single verifications.
func TestEquation(t *testing.T) {
	many := signTriples(3, 100)
	for _, n := range []int{1, 2, 7, 64, batchMax, len(many)} {
		ts := terms(t, many[:n])
		if !holds(ts) {
			t.Errorf("%d right signatures do not hold", n)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			bad := append([]triple(nil), many[:n]...)
			addToS(&bad[i], 1)
			if holds(terms(t, bad)) {
				t.Errorf("%d signatures hold with number %d wrong", n, i)
			}
		}
	}
	agree(t, many)
}

// TestSearchIsBounded: one bad signature anywhere is found within the budget, and where all are
// bad no more than two equations over all fail before single verifications decide.
func TestSearchIsBounded(t *testing.T) {
	const n = 32
	for _, bad := range []int{0, 13, n - 1, n} {
		all := append([]triple(nil), pool()[:n]...)
		for i := range all {
			if i == bad || bad == n {
				addToS(&all[i], 1)
			}
		}
		ts, s := terms(t, all), search{2 * n}
		s.settle(ts, false)
		for i := range ts {
			if *ts[i].good != (i != bad && bad < n) {
				t.Errorf("bad %d: signature %d is %v", bad, i, *ts[i].good)
			}
		}
		if bad < n && s.budget <= 0 || bad == n && s.budget != 0 {
			t.Errorf("bad %d: budget %d is left", bad, s.budget)
		}
	}
}

// TestErrorsThatCancel has wrong signatures whose errors add up to nothing: of one key, of two
// keys, and of three signatures.
func TestErrorsThatCancel(t *testing.T) {
	const up, down = 5, 7
	for name, at := range map[string][2]int{"one key": {0, 3}, "two keys": {2, 20}, "first and last": {0, 23}} {
		all := append([]triple(nil), pool()[:24]...)
		before := scalarOf(all[at[0]].sig[32:])
		second := scalarOf(all[at[1]].sig[32:])
		before.Add(&second)
		addToS(&all[at[0]], up)
		s := scalarOf(all[at[1]].sig[32:])
		minus := new(btcec.ModNScalar).SetInt(up).Negate()
		all[at[1]].setS(s.Add(minus))
		first, last := scalarOf(all[at[0]].sig[32:]), scalarOf(all[at[1]].sig[32:])
		if !first.Add(&last).Equals(&before) {
			t.Fatalf("%s: the errors do not cancel", name)
		}
		if holds(terms(t, all)) {
			t.Errorf("%s: errors that cancel fit the equation", name)
		}
		for i, good := range verifyTriples(all) {
			if good != (i != at[0] && i != at[1]) {
				t.Errorf("%s: signature %d is %v", name, i, good)
			}
		}
	}
}

func TestCoefficients(t *testing.T) {
	a := coefficients(terms(t, pool()[:10]))
	seen := map[[32]byte]bool{}
	for i := range a {
		b := a[i].Bytes()
		if seen[b] || [16]byte(b[:16]) != [16]byte{} {
			t.Errorf("coefficient %d: %x", i, b)
		}
		seen[b] = true
	}
	if !a[0].IsOne() {
		t.Error("the first coefficient is not 1")
	}
	for _, change := range []func(x *triple){
		func(x *triple) { x.from[31] ^= 1 }, func(x *triple) { x.m[0] ^= 1 }, func(x *triple) { x.sig[0] ^= 1 }, func(x *triple) { x.sig[63] ^= 1 },
	} {
		ts := terms(t, pool()[:10])
		last := *ts[9].triple
		change(&last)
		ts[9].triple = &last
		if b := coefficients(ts); b[1].Equal(&a[1]) {
			t.Error("a coefficient does not depend on all inputs")
		}
	}
}

func TestLiftX(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "x"))
		if rapid.Bool().Draw(t, "high") {
			copy(x[:27], prime)
		}
		p, ok := liftX(x[:])
		want, err := schnorr.ParsePubKey(x[:])
		if ok != (err == nil) {
			t.Fatalf("%x: %v, btcec %v", x, ok, err)
		}
		if ok {
			px, py := p.X.Bytes(), p.Y.Bytes()
			if string(append(px[:], py[:]...)) != string(want.SerializeUncompressed()[1:]) {
				t.Fatalf("%x is another point than btcec's", x)
			}
		}
	})
}
