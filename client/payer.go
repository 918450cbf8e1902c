package client

import (
	"cmp"
	"context"
	"slices"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// askTime bounds what is asked of a relay before something is sent there.
const askTime = 5 * time.Second

// payer is what records can be paid with: a contract, or the free allowance of a relay.
type payer struct {
	relay    identity.PublicKey
	contract usage.ContractID // zero: the free allowance
	terms    identity.Digest
	grant    identity.Digest // by which another's contract pays; zero: one's own
	day      usage.Msat      // of a grant: what may still be ordered today, as far as is known
	prices   usage.Prices
	funds    usage.Msat // of a contract: what may still be ordered, as far as is known
	free     uint64     // of an allowance: bytes left today, as far as is known
	limits   usage.Limits
	fault    error // why the relay could not be asked
	old      bool  // of a contract: a later one with the same relay is used where it can pay
}

// isFree tells whether nothing is paid.
func (p payer) isFree() bool { return p.contract.IsZero() }

// worst is the most that records can cost, and the bytes that an allowance would be charged.
func (p payer) worst(facts []usage.RecordFacts, at identity.UnixMilli) (usage.Msat, uint64, error) {
	if p.isFree() {
		var bytes uint64
		for _, f := range facts {
			bytes += f.Billable() + f.Stored*uint64(f.MaxPulls)
		}
		return 0, bytes, nil
	}
	// The end of service is a block height, so its time is not known; to the end of the records'
	// lives is the most that it can be.
	q, err := usage.OrderWorst(facts, at-usage.AcceptAhead, ^identity.UnixMilli(0))
	if err != nil {
		return 0, 0, err
	}
	m, err := usage.CostCeil(p.prices, q)
	return m, 0, err
}

// keeps tells whether the relay grants records made at a time their life.
func (p payer) keeps(facts []usage.RecordFacts, at identity.UnixMilli) bool {
	for _, f := range facts {
		if f.Expiry > at && f.Expiry-at > identity.UnixMilli(p.limits.MaxTTL)*1000 {
			return false
		}
	}
	return true
}

// payers are all that can pay now: own contracts, where there is none the grants of sponsors, and where
// there is none of these the free allowances of the chosen relays. A relay that is named is the only one. Code NoRelay.
func (a *Agent) payers(ctx context.Context, relay identity.PublicKey) ([]payer, error) {
	var out []payer
	all := a.storable()
	for _, c := range all {
		if relay.IsZero() || c.Peer() == relay {
			p, err := a.contractPayer(ctx, c)
			if err != nil {
				return nil, err
			}
			p.old = superseded(c, all)
			out = append(out, p)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	out, err := a.grantPayers(ctx, relay, identity.Digest{})
	if err != nil || len(out) > 0 {
		return out, err
	}
	chosen, err := a.chosenRelays(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range chosen {
		if relay.IsZero() || r.Key == relay {
			p, err := a.freePayer(ctx, r.Key)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	for _, c := range a.runner.Contracts() {
		if c.State().Owing() && (relay.IsZero() || c.Peer() == relay) {
			return nil, code.New(code.NoFunds, "contract %s with relay %s is %s", c.ID().String()[:8], c.Peer().Name(), sentence(c))
		}
	}
	if !relay.IsZero() {
		return nil, code.New(code.NoRelay, "there is no active contract with relay %s", relay.Name())
	}
	return nil, code.New(code.NoRelay, "there is no active contract, and no relay's free allowance is used")
}

// canPay tells whether anything could pay, without asking anybody.
func (a *Agent) canPay(ctx context.Context) (bool, error) {
	if len(a.serving()) > 0 {
		return true, nil
	}
	if given, err := a.received(ctx); err != nil || len(given) > 0 {
		return err == nil, err
	}
	chosen, err := a.chosenRelays(ctx)
	return len(chosen) > 0, err
}

func (a *Agent) contractPayer(ctx context.Context, c contract.Contract) (payer, error) {
	f := c.Funds()
	p := payer{relay: c.Peer(), contract: f.Contract, terms: f.Terms, prices: f.Prices}
	var err error
	if p.limits, err = a.limitsOf(ctx, p.relay); err != nil {
		return p, err
	}
	p.funds = usage.Account{Paid: f.Paid, ContractPrice: f.ContractPrice, CreditLimit: f.CreditLimit, Value: f.Value}.Funds()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	info, err := a.account(ctx, p.relay)
	if err != nil {
		p.fault = err
		return p, nil
	}
	for _, k := range info.Contracts {
		if usage.ContractID(k.Contract) == p.contract {
			used := usage.Msat(k.OwedMsat + k.ReservedMsat)
			p.funds = usage.Msat(k.FundsMsat) - min(used, usage.Msat(k.FundsMsat))
		}
	}
	return p, nil
}

func (a *Agent) freePayer(ctx context.Context, relay identity.PublicKey) (payer, error) {
	p := payer{relay: relay, free: ^uint64(0)}
	var err error
	if p.limits, err = a.limitsOf(ctx, relay); err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	info, err := a.account(ctx, relay)
	if err != nil {
		p.fault = err
		return p, nil
	}
	p.free = info.FreeLimit - min(info.FreeUsed, info.FreeLimit)
	return p, nil
}

// limitsOf are a relay's limits: of the session, else of its offer.
func (a *Agent) limitsOf(ctx context.Context, relay identity.PublicKey) (usage.Limits, error) {
	if c := a.links.of(relay).live(); c != nil {
		return c.Info().Limits, nil
	}
	o, err := a.seenOffer(ctx, relay)
	if err != nil || o == nil {
		return usage.DefaultLimits(), err
	}
	return o.Limits, nil
}

// bid is what a payer would pay for some records in the worst case.
type bid struct {
	payer
	cost usage.Msat
}

// choose takes the cheapest payer that has enough for all records; one that could be asked goes
// before one that could not. Codes NoFunds, AllowanceUsed and LimitExceeded.
func choose(all []payer, facts []usage.RecordFacts, at identity.UnixMilli, limit usage.Msat) (payer, usage.Msat, error) {
	var bids []bid
	err := code.New(code.NoRelay, "nothing can pay for this")
	for _, p := range all {
		cost, bytes, e := p.worst(facts, at)
		switch {
		case e != nil:
			return payer{}, 0, code.Wrap(code.BadAmount, e, "the worst case of this message")
		case !p.keeps(facts, at):
			err = code.New(code.BadArgument, "relay %s keeps messages for %d seconds at most", p.relay.Name(), p.limits.MaxTTL)
		case p.isFree() && bytes > p.free:
			err = code.New(code.AllowanceUsed, "this needs %d bytes with all reads, %d are left of relay %s's free allowance today", bytes, p.free, p.relay.Name())
		case !p.grant.IsZero() && cost > p.funds:
			err = code.New(code.LaneCap, "this may cost %d msat, the grant at relay %s has %d left", cost, p.relay.Name(), p.funds)
		case !p.grant.IsZero() && cost > p.day:
			err = code.New(code.LaneDayCap, "this may cost %d msat, the grant at relay %s has %d left today", cost, p.relay.Name(), p.day)
		case !p.isFree() && cost > p.funds:
			err = code.New(code.NoFunds, "this may cost %d msat, the contract with relay %s has %d left: pay it more, or renew it with a larger deposit if its escrow is used up (contract renew --deposit)", cost, p.relay.Name(), p.funds)
		default:
			bids = append(bids, bid{p, cost})
		}
	}
	if len(bids) == 0 {
		return payer{}, 0, err
	}
	best := slices.MinFunc(withoutOld(bids), func(x, y bid) int {
		if (x.fault == nil) != (y.fault == nil) {
			if x.fault == nil {
				return -1
			}
			return 1
		}
		return cmp.Compare(x.cost, y.cost)
	})
	if limit > 0 && best.cost > limit {
		return payer{}, 0, code.New(code.LimitExceeded, "this may cost %d msat in the worst case, your limit is %d", best.cost, limit)
	}
	return best.payer, best.cost, nil
}
