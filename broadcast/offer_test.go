package broadcast

import (
	"bytes"
	"errors"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

const testTime identity.UnixMilli = 1_750_000_000_000

func testKey(t testing.TB, n byte) identity.PrivateKey {
	t.Helper()
	k, err := identity.NewPrivateKey(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sample is an ordinary offer of key n.
func sample(t testing.TB, n byte) Offer {
	t.Helper()
	return Offer{
		Header:   identity.Header{Network: identity.Regtest, From: testKey(t, n).Public(), Time: testTime, Serial: identity.Serial{n}},
		Sequence: 7, ValidUntil: testTime + 24*3600*1000,
		Addresses:     []identity.Address{{URL: "wss://relay.example:7448/ws", Pins: []identity.Digest{{1}, {2}}}},
		Prices:        usage.Prices{StorageMsatPerGiBDay: 670, EgressMsatPerGiB: 20_000},
		ContractPrice: 2370, MinDeposit: 35_800, MaxDeposit: 5_000_000,
		MinDuration: 1008, MaxDuration: 52_560, FundingDepth: 3, CreditLimit: 10_000,
		SettleFeeRate: 10_000, MinFundFeeRate: 1000,
		Limits: usage.DefaultLimits(), FreeBytesPerDay: 1 << 20, MaxTTL: 30 * 86400,
		PowBits: 8,
	}
}

func sealed(t testing.TB, o Offer, n byte) VerifiedOffer {
	t.Helper()
	if err := o.Mine(nil); err != nil {
		t.Fatal(err)
	}
	v, err := o.Sign(testKey(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestOpenGivesWhatWasSigned(t *testing.T) {
	v := sealed(t, sample(t, 1), 1)
	parsed, err := identity.ParseSigned(v.Signed().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open(parsed, testTime+1)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, parsed.Statement) {
		t.Fatalf("an opened offer encodes differently: %v", err)
	}
	core, err := got.Offer.Core()
	if err != nil || core != got.Core() || got.Digest() != v.Digest() || got.Relay() != testKey(t, 1).Public() {
		t.Fatalf("digests differ: %v", err)
	}
	verdict := identity.VerifyBatch([]identity.Signed{parsed})[0]
	if w, err := OpenVerified(parsed, verdict, testTime); err != nil || w.Digest() != got.Digest() {
		t.Fatalf("OpenVerified: %v", err)
	}
	verdict.Digest[0]++
	if _, err := OpenVerified(parsed, verdict, testTime); code.Of(err) != code.Internal {
		t.Fatalf("a foreign verdict gave %v", err)
	}
}

// signAnyway signs an offer that Encode would refuse.
func signAnyway(t testing.TB, o Offer, n byte) identity.Signed {
	t.Helper()
	o.Type = identity.TypeServerBroadcast
	addresses, err := identity.EncodeAddresses(o.Addresses)
	if err != nil {
		t.Fatal(err)
	}
	limits := o.Limits.Encode()
	raw, err := identity.EncodeStatement(o.Header, o.fields(&addresses, &limits)...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.SignOne(testKey(t, n), raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		want  code.Code
		spoil func(*Offer)
	}{
		"sequence 0":           {code.Malformed, func(o *Offer) { o.Sequence = 0 }},
		"ends at once":         {code.Malformed, func(o *Offer) { o.ValidUntil = o.Time }},
		"valid too long":       {code.Malformed, func(o *Offer) { o.ValidUntil = o.Time + MaxValidity + 1 }},
		"too much work":        {code.Malformed, func(o *Offer) { o.PowBits = MaxPowBits + 1 }},
		"storage price":        {code.BadAmount, func(o *Offer) { o.Prices.StorageMsatPerGiBDay = usage.MaxPrice + 1 }},
		"egress price":         {code.BadAmount, func(o *Offer) { o.Prices.EgressMsatPerGiB = usage.MaxPrice + 1 }},
		"contract price":       {code.BadAmount, func(o *Offer) { o.ContractPrice = MinContractPrice(o.SettleFeeRate) - 1 }},
		"settle rate 0":        {code.BadAmount, func(o *Offer) { o.SettleFeeRate = 0 }},
		"settle rate high":     {code.BadAmount, func(o *Offer) { o.SettleFeeRate = MaxFeeRate + 1 }},
		"fund rate 0":          {code.BadAmount, func(o *Offer) { o.MinFundFeeRate = 0 }},
		"fund rate high":       {code.BadAmount, func(o *Offer) { o.MinFundFeeRate = MaxFeeRate + 1 }},
		"deposit all price":    {code.BadAmount, func(o *Offer) { o.MinDeposit = o.ContractPrice }},
		"deposits crossed":     {code.BadAmount, func(o *Offer) { o.MaxDeposit = o.MinDeposit - 1 }},
		"deposit beyond coins": {code.BadAmount, func(o *Offer) { o.MaxDeposit = usage.MaxSat + 1 }},
		"credit above deposit": {code.BadAmount, func(o *Offer) { o.CreditLimit = o.MaxDeposit + 1 }},
		"duration 0":           {code.Malformed, func(o *Offer) { o.MinDuration = 0 }},
		"durations crossed":    {code.Malformed, func(o *Offer) { o.MinDuration = o.MaxDuration + 1 }},
		"duration long":        {code.Malformed, func(o *Offer) { o.MaxDuration = MaxBlocks + 1 }},
		"depth 0":              {code.Malformed, func(o *Offer) { o.FundingDepth = 0 }},
		"depth 7":              {code.Malformed, func(o *Offer) { o.FundingDepth = MaxDepth + 1 }},
		"ttl 0":                {code.Malformed, func(o *Offer) { o.MaxTTL = 0 }},
		"ttl above limits":     {code.Malformed, func(o *Offer) { o.MaxTTL = o.Limits.MaxTTL + 1 }},
		"limits":               {code.BadAmount, func(o *Offer) { o.Limits.MaxPage = 0 }},
		"no address":           {code.Malformed, func(o *Offer) { o.Addresses = nil }},
		"address twice":        {code.Malformed, func(o *Offer) { o.Addresses = append(o.Addresses, o.Addresses[0]) }},
		"no pin":               {code.Malformed, func(o *Offer) { o.Addresses[0].Pins = nil }},
	} {
		o := sample(t, 1)
		o.PowBits = 0
		c.spoil(&o)
		if _, err := o.Encode(); code.Of(err) != c.want {
			t.Errorf("%s: Encode gave %v, not %v", name, err, c.want)
		}
		if o.PowBits > MaxPowBits {
			continue // cannot be mined, so Open sees the missing work first
		}
		if _, err := Open(signAnyway(t, o, 1), 0); code.Of(err) != c.want {
			t.Errorf("%s: Open gave %v, not %v", name, err, c.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	pin := []identity.Digest{{9}}
	for url, ok := range map[string]bool{
		"wss://relay.example":            true,
		"wss://relay.example:7448/a/b-c": true,
		"wss://192.0.2.7:443":            true,
		"wss://[2001:db8::1]:443/":       true,
		"wss://abcdefghij234567.onion":   true,
		"wss://localhost:1":              true,
		"ws://relay.example":             false,
		"https://relay.example":          false,
		"wss://":                         false,
		"relay.example":                  false,
		"wss://Relay.example":            false,
		"WSS://relay.example":            false,
		"wss://user@relay.example":       false,
		"wss://relay.example/?q=1":       false,
		"wss://relay.example/#f":         false,
		"wss://relay.example:":           false,
		"wss://relay.example:070":        false,
		"wss://relay.example:70000":      false,
		"wss://relay..example":           false,
		"wss://-relay.example":           false,
		"wss://[2001:DB8::1]":            false,
		"wss://[2001:db8:0:0:0:0:0:1]":   false,
		"wss://[fe80::1%25eth0]":         false,
		"wss://rel\u00e4y.example":       false,
		"wss://relay.example/%2e%2e":     false,
		"wss://relay.example/\x1b[31m":   false,
		"wss://relay.example/a b":        false,
		"ws://127.0.0.1:80":              false, // pins without a certificate
	} {
		for _, n := range []identity.Network{identity.Mainnet, identity.Regtest} {
			if err := CheckAddress(identity.Address{URL: url, Pins: pin}, n); (err == nil) != ok {
				t.Errorf("%q on %s: %v", url, n, err)
			}
		}
	}
	for url, ok := range map[string]bool{
		"ws://127.0.0.1:8080": true, "ws://localhost:1": true, "ws://[::1]:1": true,
		"ws://127.0.0.1.example": false, "ws://192.0.2.7": false, "wss://127.0.0.1": false,
	} {
		if err := CheckAddress(identity.Address{URL: url}, identity.Regtest); (err == nil) != ok {
			t.Errorf("%q on regtest: %v", url, err)
		}
		if err := CheckAddress(identity.Address{URL: url}, identity.Signet); err == nil {
			t.Errorf("%q without pins was taken on signet", url)
		}
	}
	if CheckAddress(identity.Address{URL: "wss://a.example", Pins: make([]identity.Digest, 5)}, identity.Mainnet) == nil {
		t.Error("five pins were taken")
	}
}

func TestOpenOrder(t *testing.T) {
	v := sealed(t, sample(t, 1), 1)
	forged := v.Signed()
	forged.Proof.Sig[5] ^= 1

	lazy := v.Offer
	for leadingZeros(powHash(v.Core(), lazy.Nonce)) != int(lazy.PowBits)-1 { // one bit short
		lazy.Nonce++
	}
	unworked := signAnyway(t, lazy, 1)
	unworkedForged := unworked
	unworkedForged.Proof.Sig[5] ^= 1

	other := v.Signed()
	other.Statement = append([]byte(nil), other.Statement...)
	other.Statement = append(other.Statement, make([]byte, 8192)...)

	for name, c := range map[string]struct {
		s    identity.Signed
		now  identity.UnixMilli
		want code.Code
	}{
		"good":                        {v.Signed(), testTime, code.OK},
		"good at the last moment":     {v.Signed(), v.ValidUntil - 1, code.OK},
		"ended":                       {v.Signed(), v.ValidUntil, code.OfferExpired},
		"old, as evidence":            {v.Signed(), 0, code.OK},
		"a little ahead":              {v.Signed(), testTime - MaxAhead, code.OK},
		"ahead":                       {v.Signed(), testTime - MaxAhead - 1, code.NotYet},
		"forged":                      {forged, testTime, code.BadSignature},
		"forged, old: time first":     {forged, v.ValidUntil, code.OfferExpired},
		"no work":                     {unworked, testTime, code.BadProofOfWork},
		"no work, old: time first":    {unworked, v.ValidUntil, code.OfferExpired},
		"no work, forged: work first": {unworkedForged, testTime, code.BadProofOfWork},
		"too large, old: size first":  {other, v.ValidUntil, code.Malformed},
		"nothing":                     {identity.Signed{}, testTime, code.Malformed},
	} {
		_, err := Open(c.s, c.now)
		got := code.Of(err)
		if got == code.TooLarge {
			got = code.Malformed
		}
		if got != c.want {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
	if _, err := sample(t, 1).Sign(testKey(t, 2)); code.Of(err) != code.BadSignature {
		t.Errorf("signing with another key: %v", err)
	}
	o := sample(t, 1)
	o.PowBits = 60
	if _, err := o.Sign(testKey(t, 1)); code.Of(err) != code.BadProofOfWork {
		t.Errorf("signing without work: %v", err)
	}
}

func TestConflict(t *testing.T) {
	a := sealed(t, sample(t, 1), 1)
	same := a.Offer
	for same.Nonce++; leadingZeros(powHash(a.Core(), same.Nonce)) < int(same.PowBits); same.Nonce++ {
	}
	again, err := same.Sign(testKey(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if Conflict(a, again) || again.Digest() == a.Digest() || again.Supersedes(a) != nil {
		t.Error("another nonce of one core counts as another offer")
	}
	dearer := sample(t, 1)
	dearer.Prices.EgressMsatPerGiB++
	b := sealed(t, dearer, 1)
	if !Conflict(a, b) || !Conflict(b, a) || !errors.Is(b.Supersedes(a), ErrConflict) {
		t.Error("two prices under one sequence are no conflict")
	}
	dearer.Sequence++
	c := sealed(t, dearer, 1)
	if Conflict(a, c) || c.Supersedes(a) != nil || !errors.Is(a.Supersedes(c), ErrSuperseded) {
		t.Error("a higher sequence does not supersede")
	}
	foreign := sample(t, 2)
	foreign.Prices.EgressMsatPerGiB++
	if Conflict(a, sealed(t, foreign, 2)) {
		t.Error("offers of two relays are in conflict")
	}
	elsewhere := sample(t, 1)
	elsewhere.Network = identity.Signet
	if Conflict(a, sealed(t, elsewhere, 1)) {
		t.Error("offers on two networks are in conflict")
	}
}

func FuzzDecode(f *testing.F) {
	v := sealed(f, sample(f, 1), 1)
	f.Add(v.Signed().Statement)
	bare := sample(f, 2)
	bare.PowBits, bare.FreeBytesPerDay, bare.CreditLimit = 0, 0, 0
	f.Add(sealed(f, bare, 2).Signed().Statement)
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := Decode(raw)
		if err != nil {
			if c := code.Of(err); c == code.Internal {
				t.Fatalf("uncoded error: %v", err)
			}
			return
		}
		addresses, err := identity.EncodeAddresses(o.Addresses)
		if err != nil {
			t.Fatal(err)
		}
		limits := o.Limits.Encode()
		again, err := identity.EncodeStatement(o.Header, o.fields(&addresses, &limits)...)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("two encodings of one offer: %v", err)
		}
		if o.Check() != nil {
			return
		}
		if core, err := o.Core(); err != nil || core != coreOf(raw, o.Nonce) {
			t.Fatalf("the core of the bytes is not the core of the offer: %v", err)
		}
	})
}
