package broadcast

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// blocksPerDay turns days into blocks of ten minutes.
const blocksPerDay = 144

// Usage is what a client expects to do with one contract: what a price list is worth depends
// on it. All quantities are estimates of the client's own.
type Usage struct {
	StoredBytes uint64    // header and content bytes kept at the same time, on average
	Records     uint64    // how many records they are; each is billed usage.RecordOverhead bytes more
	Days        uint64    // for how long
	EgressBytes uint64    // bytes read by receivers over the whole time
	MaxTTL      uint32    // longest life of a record in seconds; 0 if it does not matter
	MaxContent  uint32    // largest record in bytes; 0 if it does not matter
	Deposit     usage.Sat // value of the contract; 0 takes the least that the offer and the cost allow
	// DurationBlocks is the contract's length; 0 takes Days, or the offer's shortest if that is longer.
	DurationBlocks uint32
	FeeRate        uint64 // what the chain asks now, in sat per 1000 vB
}

// Guard is what a client does not accept, whatever the total: protection from gouging and
// from typing errors in offers. Zero means no limit, except for Features.
type Guard struct {
	MaxStorage       usage.Msat // per GiB·day
	MaxEgress        usage.Msat // per GiB
	MaxContractPrice usage.Sat
	MaxDeposit       usage.Sat
	MaxTotal         usage.Sat                    // what Quote.Total may be
	Features         uint64                       // feature bits that this client understands
	Scores           map[identity.PublicKey]Score // from the client's own audits; missing is Neutral
}

// DefaultGuard refuses prices some hundred times above what disks and bandwidth cost: 100 sat
// per GiB·day, 2,000 sat per GiB, 100,000 sat per contract.
func DefaultGuard() Guard {
	return Guard{MaxStorage: 100_000, MaxEgress: 2_000_000, MaxContractPrice: 100_000}
}

// Score is how much dearer than its price a relay counts when offers are sorted, in
// thousandths: a relay that lost something may count double (2000), a proven one 900. Zero is
// Neutral.
type Score uint32

// Neutral changes nothing.
const Neutral Score = 1000

// Quote is what a usage would cost under one offer.
type Quote struct {
	Offer          VerifiedOffer
	DurationBlocks uint32
	Deposit        usage.Sat  // to be put into the contract; what is not used comes back
	Cost           usage.Msat // of the usage itself
	ContractPrice  usage.Sat
	FundFee        usage.Sat // to miners, for opening
	CloseFee       usage.Sat // to miners, for a close by agreement
	SettleFee      usage.Sat // to miners if the relay must settle alone: out of its own share
	Total          usage.Sat // Cost rounded up, ContractPrice, FundFee and CloseFee
	Weighted       usage.Sat // Total × score / 1000: what quotes are sorted by
	// Refused says why the offer is not acceptable, nil if it is: PriceTooHigh, BadAmount (the
	// deposit), BadDeadline (the duration), TooLarge (a record), Unsupported (a feature).
	// Sums that could not be computed are then zero.
	Refused error
}

// Rank prices the usage under every offer and sorts: acceptable ones first, cheapest Weighted
// first, equal ones by Total, then by the relay's key and the offer's digest, so that the same
// input always gives the same order. Refused offers stand at the end in the order of their
// relays' keys. The caller passes offers of one network that still bind.
func Rank(offers []VerifiedOffer, want Usage, guard Guard) []Quote {
	out := make([]Quote, len(offers))
	for i, o := range offers {
		out[i] = Price(o, want, guard)
	}
	slices.SortStableFunc(out, compareQuotes)
	return out
}

func compareQuotes(a, b Quote) int {
	refused := cmp.Compare(truth(a.Refused != nil), truth(b.Refused != nil))
	if refused == 0 && a.Refused == nil {
		refused = cmp.Or(cmp.Compare(a.Weighted, b.Weighted), cmp.Compare(a.Total, b.Total))
	}
	return cmp.Or(refused,
		bytes.Compare(a.Offer.From[:], b.Offer.From[:]), bytes.Compare(a.Offer.digest[:], b.Offer.digest[:]))
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Price is the quote of one offer.
func Price(o VerifiedOffer, want Usage, guard Guard) Quote {
	q := Quote{Offer: o, ContractPrice: o.ContractPrice}
	computed := q.compute(want, guard)
	// A gouging price is the reason, whatever sums it led to.
	if q.Refused = guard.checkPrices(&o); q.Refused == nil {
		q.Refused = computed
	}
	if q.Refused == nil {
		q.Refused = guard.check(&q, want)
	}
	return q
}

// compute fills the quote's sums.
func (q *Quote) compute(want Usage, guard Guard) error {
	o := &q.Offer
	rate := max(want.FeeRate, o.MinFundFeeRate)
	if rate > MaxFeeRate {
		return code.New(code.PriceTooHigh, "a fee rate of %d sat per 1000 vB", rate)
	}
	q.FundFee, q.CloseFee = feeFor(rate, fundSize), feeFor(rate, closeSize)
	q.SettleFee = feeFor(o.SettleFeeRate, settleSize)
	quantities, err := want.quantities()
	if err == nil {
		q.Cost, err = usage.CostCeil(o.Prices, quantities)
	}
	if err == nil {
		q.Total, err = sum(q.Cost.CeilSat(), q.ContractPrice, q.FundFee, q.CloseFee)
	}
	if err == nil {
		q.Weighted, err = guard.weigh(o.From, q.Total)
	}
	if err != nil {
		return code.Wrap(code.PriceTooHigh, err, "the usage has no sensible price here")
	}
	if err := q.chooseDuration(want); err != nil {
		return err
	}
	return q.chooseDeposit(want)
}

// quantities is the usage in the units of prices.
func (w Usage) quantities() (usage.Quantities, error) {
	hi, overhead := bits.Mul64(w.Records, usage.RecordOverhead)
	billed, carry := bits.Add64(w.StoredBytes, overhead, 0)
	dhi, seconds := bits.Mul64(w.Days, usage.Day)
	if hi != 0 || carry != 0 || dhi != 0 {
		return usage.Quantities{}, usage.ErrOverflow
	}
	return usage.Quantities{ByteSeconds: usage.Mul64(billed, seconds), Egress: w.EgressBytes}, nil
}

func sum(parts ...usage.Sat) (total usage.Sat, err error) {
	for _, p := range parts {
		if total, err = total.Add(p); err != nil {
			return 0, err
		}
	}
	return total, nil
}

func (g *Guard) weigh(relay identity.PublicKey, total usage.Sat) (usage.Sat, error) {
	score := g.Scores[relay]
	if score == 0 {
		score = Neutral
	}
	hi, lo := bits.Mul64(uint64(total), uint64(score))
	if hi != 0 {
		return 0, usage.ErrOverflow
	}
	return usage.Sat(lo / uint64(Neutral)), nil
}

func (q *Quote) chooseDuration(want Usage) error {
	blocks := uint64(want.DurationBlocks)
	if blocks == 0 {
		// Days passed 2^64/86,400 in quantities, so this product fits.
		blocks = max(want.Days*blocksPerDay, uint64(q.Offer.MinDuration))
	}
	if blocks < uint64(q.Offer.MinDuration) || blocks > uint64(q.Offer.MaxDuration) {
		return code.New(code.BadDeadline, "%d blocks; this relay's contracts have %d to %d", blocks, q.Offer.MinDuration, q.Offer.MaxDuration)
	}
	q.DurationBlocks = uint32(blocks)
	return nil
}

func (q *Quote) chooseDeposit(want Usage) error {
	need, err := sum(q.ContractPrice, q.Cost.CeilSat())
	if err != nil {
		return code.Wrap(code.PriceTooHigh, err, "the deposit")
	}
	q.Deposit = want.Deposit
	if q.Deposit == 0 {
		q.Deposit = max(need, q.Offer.MinDeposit)
	}
	switch {
	case q.Deposit < q.Offer.MinDeposit || q.Deposit > q.Offer.MaxDeposit:
		return code.New(code.BadAmount, "a deposit of %d sat; this relay takes %d to %d", q.Deposit, q.Offer.MinDeposit, q.Offer.MaxDeposit)
	case q.Deposit < need:
		return code.New(code.BadAmount, "a deposit of %d sat where this usage needs %d", q.Deposit, need)
	}
	return nil
}

// mustFeatures are the even feature bits, which a client must understand.
const mustFeatures = 0x5555_5555_5555_5555

// over is the refusal of a sum above a limit of the client's.
func over(what string, have, limit uint64) error {
	return code.New(code.PriceTooHigh, "%s %d is above your limit of %d", what, have, limit)
}

// checkPrices applies the client's limits to the price list itself.
func (g *Guard) checkPrices(o *VerifiedOffer) error {
	switch {
	case g.MaxStorage != 0 && o.Prices.StorageMsatPerGiBDay > g.MaxStorage:
		return over("storage in msat per GiB·day:", uint64(o.Prices.StorageMsatPerGiBDay), uint64(g.MaxStorage))
	case g.MaxEgress != 0 && o.Prices.EgressMsatPerGiB > g.MaxEgress:
		return over("egress in msat per GiB:", uint64(o.Prices.EgressMsatPerGiB), uint64(g.MaxEgress))
	case g.MaxContractPrice != 0 && o.ContractPrice > g.MaxContractPrice:
		return over("contract price in sat:", uint64(o.ContractPrice), uint64(g.MaxContractPrice))
	}
	return nil
}

// check applies the client's other limits to a computed quote.
func (g *Guard) check(q *Quote, want Usage) error {
	o := &q.Offer
	switch {
	case g.MaxTotal != 0 && q.Total > g.MaxTotal:
		return over("total in sat:", uint64(q.Total), uint64(g.MaxTotal))
	case g.MaxDeposit != 0 && q.Deposit > g.MaxDeposit:
		return code.New(code.BadAmount, "a deposit of %d sat is above your limit of %d", q.Deposit, g.MaxDeposit)
	case o.Features&mustFeatures&^g.Features != 0:
		return code.New(code.Unsupported, "the relay demands features %x", o.Features&mustFeatures&^g.Features)
	case want.MaxTTL > o.MaxTTL:
		return code.New(code.TooLarge, "records of %d s; this relay keeps them for at most %d", want.MaxTTL, o.MaxTTL)
	case want.MaxContent > o.Limits.MaxContent:
		return code.New(code.TooLarge, "records of %d bytes; this relay takes at most %d", want.MaxContent, o.Limits.MaxContent)
	}
	return nil
}
