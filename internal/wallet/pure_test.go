package wallet

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"

	"relaymarket/internal/code"
)

// The vectors are part of the protocol: a change of them loses people's money.
func TestContractKeyVectors(t *testing.T) {
	seed := bytes.Repeat([]byte{0x5a}, 64)
	nonce := [32]byte{1, 2, 3}
	for _, v := range []struct {
		params *chaincfg.Params
		role   byte
		want   string
	}{
		{&chaincfg.MainNetParams, RoleClient, "cfe91f1eb1eda551ef86d0f51a4be6284b67909523560916cc07123efcf64ac2"},
		{&chaincfg.MainNetParams, RoleRelay, "c78684b0f9e8509466c161221ee879b90e143f8c0eb2d0caabfe88adf52b79a2"},
		{&chaincfg.RegressionNetParams, RoleClient, "d6ae91907c7ac0ca5af1a543bb144e222ba4cc419a01d9092ca33b647c1f1e03"},
	} {
		key, err := ContractKey(seed, v.params, nonce, v.role)
		if err != nil {
			t.Fatal(err)
		}
		want(t, v.params.Name, hex.EncodeToString(key.Serialize()), v.want)
	}
}

// The rule, written out with nothing but HMAC (RFC 5869).
func TestContractKeyIsTheWrittenRule(t *testing.T) {
	seed, nonce := random(t, 64), [32]byte(random(t, 32))
	account, err := contractAccount(seed, &chaincfg.MainNetParams, RoleRelay)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key, msg []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(msg)
		return h.Sum(nil)
	}
	expected := mac(mac(nonce[:], account), append([]byte("relaymarket/v1/contract-key\x00"), 1))
	key, err := ContractKey(seed, &chaincfg.MainNetParams, nonce, RoleRelay)
	if err != nil || !bytes.Equal(key.Serialize(), expected) {
		t.Fatalf("%v %x, want %x", err, key.Serialize(), expected)
	}
	nonce[31] ^= 1
	if other, err := ContractKey(seed, &chaincfg.MainNetParams, nonce, RoleRelay); err != nil || other.Key.Equals(&key.Key) {
		t.Fatal("another nonce must give another key", err)
	}
}

func TestScalarBounds(t *testing.T) {
	n, _ := hex.DecodeString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	last := bytes.Clone(n)
	last[31]--
	one := make([]byte, 32)
	one[31] = 1
	for _, c := range []struct {
		b  []byte
		ok bool
	}{{make([]byte, 32), false}, {one, true}, {last, true}, {n, false}, {bytes.Repeat([]byte{0xff}, 32), false}} {
		key, ok := scalar(c.b)
		want(t, hex.EncodeToString(c.b), ok, c.ok)
		if ok && !bytes.Equal(key.Serialize(), c.b) {
			t.Fatal("another key")
		}
	}
}

func TestChooseKeepsItsPromises(t *testing.T) {
	taproot := append([]byte{0x51, 32}, make([]byte, 32)...)
	rapid.Check(t, func(t *rapid.T) {
		var coins []coin
		for i, v := range rapid.SliceOfN(rapid.Int64Range(1, 200_000), 0, 30).Draw(t, "values") {
			coins = append(coins, coin{op: wire.OutPoint{Index: uint32(i)}, value: v, script: taproot})
		}
		slices.SortStableFunc(coins, func(a, b coin) int { return int(b.value - a.value) })
		target := rapid.Int64Range(330, 500_000).Draw(t, "target")
		rate := rapid.Int64Range(minFeeRate, 50_000).Draw(t, "rate")
		p, err := choose(coins, target, commonWU+outputWU(taproot), rate, MaxInputs)
		if err != nil {
			checkHopeless(t, err, coins, target, rate)
			return
		}
		checkPlan(t, p, target, rate)
		again, err := choose(coins, target, commonWU+outputWU(taproot), rate, MaxInputs)
		if err != nil || !slices.EqualFunc(again.coins, p.coins, func(a, b coin) bool { return a.op == b.op }) {
			t.Fatal("the same coins must give the same choice", err)
		}
	})
}

func checkPlan(t *rapid.T, p plan, target, rate int64) {
	sum, seen := int64(0), map[wire.OutPoint]bool{}
	weight := commonWU + int64(172)
	for _, c := range p.coins {
		if seen[c.op] {
			t.Fatal("a coin is chosen twice")
		}
		seen[c.op] = true
		sum += c.value
		weight += 230
	}
	if p.change > 0 {
		weight += 172
	}
	if len(p.coins) == 0 || len(p.coins) > MaxInputs || sum != target+p.fee+p.change || p.weight != weight {
		t.Fatalf("does not add up: %+v, sum %d", p, sum)
	}
	if p.fee < feeFor(weight, rate) || p.fee != feeFor(weight, rate)+p.excess || p.excess > 0 && p.change > 0 {
		t.Fatalf("fee %d, excess %d", p.fee, p.excess)
	}
	if p.change != 0 && p.change < dustSat || p.excess >= dustSat+feeFor(changeWU, rate)+1 {
		t.Fatalf("change %d, excess %d", p.change, p.excess)
	}
}

// checkHopeless: an error is right only if the largest coins, each worth its fee, do not suffice.
func checkHopeless(t *rapid.T, err error, coins []coin, target, rate int64) {
	if code.Of(err) != code.NotEnoughCoins {
		t.Fatal(err)
	}
	sum, weight := int64(0), commonWU+int64(172)
	for i, c := range coins {
		if i == MaxInputs || c.value <= feeFor(230, rate) {
			break
		}
		sum += c.value
		weight += 230
		if sum >= target+feeFor(weight, rate) {
			t.Fatalf("%d coins suffice, but: %v", i+1, err)
		}
	}
}

func FuzzParseLease(f *testing.F) {
	f.Add(make([]byte, outPointLen), make([]byte, leaseLen))
	f.Add(bytes.Repeat([]byte{0xff}, outPointLen), bytes.Repeat([]byte{0xff}, leaseLen))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		l, err := parseLease(k, v)
		if err != nil {
			return
		}
		if !bytes.Equal(outPointKey(l.OutPoint), k) || !bytes.Equal(leaseBytes(l.ID, l.Until), v) {
			t.Fatalf("%+v does not give back %x %x", l, k, v)
		}
	})
}

func TestStallIsNoticed(t *testing.T) {
	a, b, c := chainhash.Hash{1}, chainhash.Hash{2}, chainhash.Hash{3}
	steps := []struct {
		node, wallet chainhash.Hash
		stuck        bool
	}{
		{a, a, false}, {b, a, false}, {b, a, false}, {b, b, false}, // late, but it comes
		{c, b, false}, {a, c, false}, // behind, but moving
		{a, c, false}, {a, c, false}, {a, c, true},
	}
	var s stall
	for i, x := range steps {
		if got := s.stuck(x.node, x.wallet); got != x.stuck {
			t.Fatalf("step %d: %v", i, got)
		}
	}
}
