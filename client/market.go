package client

import (
	"context"
	"fmt"
	"time"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/board"
	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

const (
	// nodeTime bounds one question to the Bitcoin node.
	nodeTime = 10 * time.Second
	// maxOffers is how many relays' offers are kept in mind at a time: keys cost nothing, so a board
	// can show any number.
	maxOffers = 4096
)

// Market collects the offers of relays and ranks them by the cost of a usage. Offers seen before
// that still bind are among them. Offers above the limits of the request or of the configuration
// are refused, and listed at the end if the request asks for that. What could not be read, on any
// board, is in Problems and spoils nothing.
func (a *Agent) Market(ctx context.Context, r MarketRequest) (MarketResult, error) {
	offers, problems, err := a.collect(ctx, r.Sources)
	if err != nil {
		return MarketResult{}, err
	}
	rate, err := a.feeRate(ctx, r.FeeRateSatVB)
	if err != nil {
		problems = append(problems, fmt.Errorf("fees are a guess: %s", code.Explain(err)))
	}
	guard, err := a.guard(ctx, r.MaxStorage, r.MaxEgress)
	if err != nil {
		return MarketResult{}, err
	}
	guard.MaxTotal = r.MaxTotal
	want := broadcast.Usage{
		StoredBytes: r.StoredBytes, Days: uint64(r.Days), EgressBytes: r.EgressBytes, Deposit: r.Deposit, FeeRate: rate,
	}
	var out MarketResult
	for _, q := range broadcast.Rank(offers, want, guard) {
		if q.Refused == nil || r.ShowRefused {
			out.Quotes = append(out.Quotes, quoteOf(q))
		}
	}
	for _, p := range problems {
		out.Problems = append(out.Problems, code.Explain(p))
	}
	return out, nil
}

func quoteOf(q broadcast.Quote) Quote {
	o := q.Offer
	out := Quote{
		Relay: o.From, Name: o.From.Name(), Offer: o.Digest(), Addresses: o.Addresses,
		Storage: o.Prices.StorageMsatPerGiBDay, Egress: o.Prices.EgressMsatPerGiB, ContractPrice: o.ContractPrice,
		MinDeposit: o.MinDeposit, MaxDeposit: o.MaxDeposit, MaxCollateral: o.MaxCollateral, Cost: q.Cost, Fees: q.FundFee + q.CloseFee, Total: q.Total,
		FreeBytesDay: o.FreeBytesPerDay, ValidUntil: o.ValidUntil,
	}
	if q.Refused != nil {
		out.Refused = code.Explain(q.Refused)
	}
	return out
}

// collect gathers the newest offer of every relay from boards and from memory, and remembers what
// is new.
func (a *Agent) collect(ctx context.Context, sources []string) ([]broadcast.VerifiedOffer, []error, error) {
	if len(sources) == 0 {
		sources = a.cfg.Boards
	}
	now := a.nowMilli()
	found, problems := board.Collector{Client: board.NewClient(a.proxy), Network: a.network}.Collect(ctx, sources, now)
	if err := ctx.Err(); err != nil {
		return nil, nil, code.Wrap(code.Timeout, err, "collecting offers")
	}
	known, err := a.remembered(ctx, now)
	if err != nil {
		return nil, nil, err
	}
	var fresh []broadcast.VerifiedOffer
	for _, o := range found {
		old, ok := known[o.From]
		if !ok && len(known) >= maxOffers {
			continue // those with the most work came first
		}
		if ok {
			if err := o.Supersedes(old); err != nil {
				if e := a.proveConflict(ctx, old, o); e != nil {
					return nil, nil, e
				}
				problems = appendConflict(problems, err)
				continue
			}
		}
		known[o.From] = o
		fresh = append(fresh, o)
	}
	out := make([]broadcast.VerifiedOffer, 0, len(known))
	for _, o := range known {
		out = append(out, o)
	}
	return out, problems, a.store.SaveOffers(ctx, now, fresh)
}

// appendConflict reports a relay that contradicts itself; that a board shows an old offer is
// nothing to report.
func appendConflict(problems []error, err error) []error {
	if code.Of(err) == code.Conflict {
		return append(problems, err)
	}
	return problems
}

// remembered are the offers that were seen before and still bind.
func (a *Agent) remembered(ctx context.Context, now identity.UnixMilli) (map[identity.PublicKey]broadcast.VerifiedOffer, error) {
	seen, err := a.store.Offers(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[identity.PublicKey]broadcast.VerifiedOffer)
	for _, s := range seen {
		if o, err := broadcast.Open(s.Offer, now); err == nil && o.Network == a.network {
			out[o.From] = o
		}
	}
	return out, nil
}

// guard is the limits of the configuration, tightened by those of a request (0: none).
func (a *Agent) guard(ctx context.Context, storage, egress usage.Msat) (broadcast.Guard, error) {
	scores, err := a.store.Scores(ctx)
	return broadcast.Guard{
		MaxStorage: tighter(a.cfg.Limits.MaxStorage, storage), MaxEgress: tighter(a.cfg.Limits.MaxEgress, egress), Scores: scores,
	}, err
}

// tighter is the lower one of two limits, where 0 is no limit.
func tighter(x, y usage.Msat) usage.Msat {
	if x == 0 || y != 0 && y < x {
		return y
	}
	return x
}

// feeRate is what the chain asks, in sat per 1,000 vB: the user's word in sat per vB, or the
// node's estimate. With an error comes a rate that may do.
func (a *Agent) feeRate(ctx context.Context, satVB uint64) (uint64, error) {
	if satVB > broadcast.MaxFeeRate/1000 {
		return chain.DefaultFeeRate, code.New(code.BadFeeRate, "%d sat per vB, allowed are %d", satVB, broadcast.MaxFeeRate/1000)
	}
	if satVB > 0 {
		return satVB * 1000, nil
	}
	rate, err := chain.FeeRate(ctx, a.chain, a.cfg.Bitcoin.FallbackRate())
	return uint64(rate), err
}

// offerFrom finds the offer of one relay to open a contract by: the newest of boards, memory and,
// if none of these has one, of the relay itself. Codes NoRelay, PriceTooHigh, Unsupported, and
// OfferExpired if it is not the one that the request means.
func (a *Agent) offerFrom(ctx context.Context, r OpenRequest) (broadcast.VerifiedOffer, error) {
	offer, err := a.findOffer(ctx, r)
	if err != nil {
		return offer, err
	}
	guard, err := a.guard(ctx, r.MaxStorage, r.MaxEgress)
	if err != nil {
		return offer, err
	}
	if !r.Offer.IsZero() && offer.Digest() != r.Offer {
		return offer, code.New(code.OfferExpired, "relay %s has made another offer since this one was shown; look again", r.Relay.Name())
	}
	return offer, broadcast.Price(offer, broadcast.Usage{}, guard).Refused
}

func (a *Agent) findOffer(ctx context.Context, r OpenRequest) (broadcast.VerifiedOffer, error) {
	offers, problems, err := a.collect(ctx, r.Sources)
	if err != nil {
		return broadcast.VerifiedOffer{}, err
	}
	for _, o := range offers {
		if o.From == r.Relay {
			return o, nil
		}
	}
	c, err := a.session(ctx, r.Relay)
	if err == nil {
		return a.learnOffer(ctx, c, r.Relay)
	}
	if code.Of(err) == code.NoRelay && len(problems) > 0 {
		err = problems[0]
	}
	return broadcast.VerifiedOffer{}, code.Wrap(code.NoRelay, err, "no offer of relay %s is known", r.Relay.Name())
}

// termsOf is what a contract takes from an offer.
func termsOf(v broadcast.VerifiedOffer) contract.OfferTerms {
	return contract.OfferTerms{
		Network: v.Network, Relay: v.From, Digest: v.Digest(), ValidUntil: v.ValidUntil, Prices: v.Prices,
		ContractPrice: v.ContractPrice, MinDeposit: v.MinDeposit, MaxDeposit: v.MaxDeposit,
		MinDuration: usage.Height(v.MinDuration), MaxDuration: usage.Height(v.MaxDuration),
		FundingDepth: v.FundingDepth, CreditLimit: v.CreditLimit, CreditToEarn: v.CreditToEarn,
		SettleFeeRate: v.SettleFeeRate, MinFundFeeRate: v.MinFundFeeRate, MaxCollateral: v.MaxCollateral,
	}
}
