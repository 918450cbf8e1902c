package broadcast

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// backup is a month of 100 GiB kept and 30 GiB read.
func backup() Usage {
	return Usage{StoredBytes: 100 << 30, Records: 100_000, Days: 30, EgressBytes: 30 << 30, FeeRate: 1000}
}

func open(o Offer) VerifiedOffer {
	return VerifiedOffer{Offer: o, digest: identity.Tagged("test", o.From[:], []byte{byte(o.Sequence)})}
}

func TestPriceByHand(t *testing.T) {
	q := Price(open(sample(t, 1)), backup(), DefaultGuard())
	if q.Refused != nil {
		t.Fatal(q.Refused)
	}
	// 100 GiB and 100,000 × 256 B for 30 days at 670 msat, 30 GiB at 20,000 msat.
	storage := int64(math.Ceil((100 + 100_000.0*256/(1<<30)) * 30 * 670))
	want := Quote{Offer: q.Offer, DurationBlocks: 4320, Deposit: 35_800, Cost: usage.Msat(storage + 600_000), ContractPrice: 2370,
		FundFee: 154, CloseFee: 154, SettleFee: 2040}
	want.Total = want.Cost.CeilSat() + 2370 + 154 + 154
	want.Weighted = want.Total
	if q.Cost != want.Cost || q.Deposit != want.Deposit || q.DurationBlocks != want.DurationBlocks || q.Total != want.Total ||
		q.Weighted != want.Weighted || q.FundFee != want.FundFee || q.CloseFee != want.CloseFee || q.SettleFee != want.SettleFee {
		t.Fatalf("got %+v\nwant %+v", q, want)
	}
}

func TestRefusals(t *testing.T) {
	free := Guard{}
	for name, c := range map[string]struct {
		offer func(*Offer)
		use   func(*Usage)
		guard Guard
		want  code.Code
	}{
		"no limits":            {want: code.OK},
		"at the limits":        {guard: Guard{MaxStorage: 670, MaxEgress: 20_000, MaxContractPrice: 2370}, want: code.OK},
		"storage":              {guard: Guard{MaxStorage: 669}, want: code.PriceTooHigh},
		"egress":               {guard: Guard{MaxEgress: 19_999}, want: code.PriceTooHigh},
		"contract price":       {guard: Guard{MaxContractPrice: 2369}, want: code.PriceTooHigh},
		"total":                {guard: Guard{MaxTotal: 5000}, want: code.PriceTooHigh},
		"price before deposit": {use: func(u *Usage) { u.Deposit = 1 }, guard: Guard{MaxStorage: 669}, want: code.PriceTooHigh},
		"deposit limit":        {guard: Guard{MaxDeposit: 35_799}, want: code.BadAmount},
		"deposit low":          {use: func(u *Usage) { u.Deposit = 35_799 }, want: code.BadAmount},
		"deposit high":         {use: func(u *Usage) { u.Deposit = 5_000_001 }, want: code.BadAmount},
		"deposit too tight":    {use: func(u *Usage) { u.Deposit = 36_000; u.EgressBytes = 2000 << 30 }, want: code.BadAmount},
		"more than a contract": {use: func(u *Usage) { u.EgressBytes = 1 << 50 }, want: code.BadAmount},
		"beyond all money":     {use: func(u *Usage) { u.EgressBytes = math.MaxUint64; u.StoredBytes = math.MaxUint64 }, want: code.PriceTooHigh},
		"days":                 {use: func(u *Usage) { u.Days = math.MaxUint64 }, want: code.PriceTooHigh},
		"records":              {use: func(u *Usage) { u.Records = math.MaxUint64 }, want: code.PriceTooHigh},
		"fee rate":             {use: func(u *Usage) { u.FeeRate = math.MaxUint64 }, want: code.PriceTooHigh},
		"too long":             {use: func(u *Usage) { u.Days = 366 }, want: code.BadDeadline},
		"too short":            {use: func(u *Usage) { u.DurationBlocks = 1007 }, want: code.BadDeadline},
		"ttl":                  {use: func(u *Usage) { u.MaxTTL = 30*86400 + 1 }, want: code.TooLarge},
		"content":              {use: func(u *Usage) { u.MaxContent = 1<<20 + 1 }, want: code.TooLarge},
		"must feature":         {offer: func(o *Offer) { o.Features = 1 << 4 }, want: code.Unsupported},
		"known feature":        {offer: func(o *Offer) { o.Features = 1 << 4 }, guard: Guard{Features: 1 << 4}, want: code.OK},
		"odd feature":          {offer: func(o *Offer) { o.Features = 1 << 5 }, want: code.OK},
	} {
		o, u, g := sample(t, 1), backup(), free
		if c.offer != nil {
			c.offer(&o)
		}
		if c.use != nil {
			c.use(&u)
		}
		if c.guard.MaxStorage+c.guard.MaxEgress != 0 || c.guard.MaxContractPrice+c.guard.MaxDeposit+c.guard.MaxTotal != 0 || c.guard.Features != 0 {
			g = c.guard
		}
		if q := Price(open(o), u, g); code.Of(q.Refused) != c.want {
			t.Errorf("%s: %v, not %v", name, q.Refused, c.want)
		}
	}
}

func TestScoresAndTies(t *testing.T) {
	a, b, c := open(sample(t, 1)), open(sample(t, 2)), open(sample(t, 3))
	c.Prices.StorageMsatPerGiBDay += 10
	g := DefaultGuard()
	first := Rank([]VerifiedOffer{c, b, a}, backup(), g)
	if first[2].Offer.From != c.From {
		t.Fatal("the dearest is not last")
	}
	if string(first[0].Offer.From[:]) > string(first[1].Offer.From[:]) {
		t.Fatal("a tie is not broken by key")
	}
	g.Scores = map[identity.PublicKey]Score{a.From: 2000, b.From: 1100, c.From: 0}
	quotes := Rank([]VerifiedOffer{a, b, c}, backup(), g)
	if quotes[0].Offer.From != c.From || quotes[2].Offer.From != a.From || quotes[2].Weighted != 2*quotes[2].Total {
		t.Fatal("scores do not weigh")
	}
}

func drawOffer(t *rapid.T, i int) VerifiedOffer {
	var o Offer
	o.From[31], o.Sequence = byte(i), uint64(i)
	o.Prices.StorageMsatPerGiBDay = usage.Msat(rapid.Uint64Range(0, uint64(usage.MaxPrice)).Draw(t, "storage"))
	o.Prices.EgressMsatPerGiB = usage.Msat(rapid.Uint64Range(0, uint64(usage.MaxPrice)).Draw(t, "egress"))
	o.SettleFeeRate = rapid.Uint64Range(1, MaxFeeRate).Draw(t, "settle")
	o.MinFundFeeRate = rapid.Uint64Range(1, MaxFeeRate).Draw(t, "fund")
	o.ContractPrice = MinContractPrice(o.SettleFeeRate)
	o.MinDeposit = o.ContractPrice + usage.Sat(rapid.Uint64Range(1, 1e6).Draw(t, "min deposit"))
	o.MaxDeposit = o.MinDeposit + usage.Sat(rapid.Uint64Range(0, 1e12).Draw(t, "max deposit"))
	o.MinDuration = rapid.Uint32Range(1, 2000).Draw(t, "min duration")
	o.MaxDuration = rapid.Uint32Range(o.MinDuration, MaxBlocks).Draw(t, "max duration")
	o.MaxTTL, o.Limits = 86400, usage.DefaultLimits()
	return open(o)
}

func drawUsage(t *rapid.T) Usage {
	return Usage{
		StoredBytes: rapid.Uint64Range(0, 1<<45).Draw(t, "stored"), Records: rapid.Uint64Range(0, 1<<30).Draw(t, "records"),
		Days: rapid.Uint64Range(0, 400).Draw(t, "days"), EgressBytes: rapid.Uint64Range(0, 1<<45).Draw(t, "read"),
		FeeRate: rapid.Uint64Range(0, 100_000).Draw(t, "rate"),
	}
}

func TestRankProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offers := make([]VerifiedOffer, rapid.IntRange(0, 12).Draw(t, "n"))
		for i := range offers {
			offers[i] = drawOffer(t, i/2) // pairs of equal keys among them
			offers[i].digest[0] = byte(i)
		}
		use := drawUsage(t)
		g := Guard{MaxStorage: usage.Msat(rapid.Uint64Range(0, uint64(usage.MaxPrice)).Draw(t, "guard"))}
		quotes := Rank(offers, use, g)
		shuffled := append([]VerifiedOffer(nil), offers...)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i, q := range Rank(shuffled, use, g) {
			if q.Offer.digest != quotes[i].Offer.digest {
				t.Fatalf("place %d depends on the order of the input", i)
			}
		}
		for i, q := range quotes {
			if i > 0 && quotes[i-1].Refused != nil && q.Refused == nil {
				t.Fatal("a refused offer stands before an acceptable one")
			}
			if i > 0 && q.Refused == nil && q.Total < quotes[i-1].Total {
				t.Fatal("a dearer offer stands first")
			}
			if q.Refused == nil {
				checkQuote(t, q, use)
			}
		}
	})
}

// checkQuote computes an accepted quote again in arbitrary precision.
func checkQuote(t *rapid.T, q Quote, use Usage) {
	o := q.Offer
	bytes := new(big.Int).Add(new(big.Int).SetUint64(use.StoredBytes), new(big.Int).Mul(new(big.Int).SetUint64(use.Records), big.NewInt(256)))
	storage := ceilDiv(bytes.Mul(bytes, big.NewInt(int64(use.Days*uint64(o.Prices.StorageMsatPerGiBDay)))), 1<<30)
	egress := ceilDiv(new(big.Int).Mul(new(big.Int).SetUint64(use.EgressBytes), big.NewInt(int64(o.Prices.EgressMsatPerGiB))), 1<<30)
	cost := storage.Add(storage, egress)
	if cost.Cmp(new(big.Int).SetUint64(uint64(q.Cost))) != 0 {
		t.Fatalf("cost %d, not %v", q.Cost, cost)
	}
	rate := max(use.FeeRate, o.MinFundFeeRate)
	if want := ceilDiv(big.NewInt(int64(rate)*154), 1000); want.Cmp(big.NewInt(int64(q.FundFee))) != 0 {
		t.Fatalf("fee %d at %d", q.FundFee, rate)
	}
	if q.Total != q.Cost.CeilSat()+q.ContractPrice+q.FundFee+q.CloseFee {
		t.Fatal("the total is not the sum")
	}
	if q.Deposit < o.MinDeposit || q.Deposit > o.MaxDeposit || q.Deposit < q.ContractPrice+q.Cost.CeilSat() {
		t.Fatalf("a deposit of %d", q.Deposit)
	}
	if q.DurationBlocks < o.MinDuration || q.DurationBlocks > o.MaxDuration || uint64(q.DurationBlocks) < use.Days*blocksPerDay {
		t.Fatalf("%d blocks", q.DurationBlocks)
	}
}

func ceilDiv(n *big.Int, d int64) *big.Int {
	q, m := new(big.Int).QuoRem(n, big.NewInt(d), new(big.Int))
	if m.Sign() != 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

func TestFormat(t *testing.T) {
	for got, want := range map[string]string{
		FormatSat(0): "0 sat", FormatSat(999): "999 sat", FormatSat(1000): "1,000 sat", FormatSat(21_000_000_00000000): "2,100,000,000,000,000 sat",
		FormatMsat(670): "0.670 sat", FormatMsat(1_234_567_001): "1,234,567.001 sat",
		FormatPrices(usage.Prices{StorageMsatPerGiBDay: 670, EgressMsatPerGiB: 20_000}): "0.670 sat/GiB·day stored, 20.000 sat/GiB read",
	} {
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
