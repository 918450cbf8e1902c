package evidence

import (
	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

func (c *papers) twoOffers(f *Finding) error {
	a, b := c.offers[0], c.offers[1]
	f.Culprit = a.From
	if !broadcast.Conflict(a, b) {
		return unproven("two offers conflict if relay and sequence are equal and more than the nonce differs")
	}
	f.What = "two different offers have sequence " + number(a.Sequence)
	return nil
}

// twoUpdates proves that a client signed two payments of one number, or a later one that is lower.
func (c *papers) twoUpdates(f *Finding) error {
	a, okA := c.talk[0].Message().(*contract.PaymentUpdate)
	b, okB := c.talk[1].Message().(*contract.PaymentUpdate)
	if !okA || !okB {
		return unproven("they are no payment updates")
	}
	f.Culprit, f.Against, f.Contract = a.From, a.To, a.Contract
	switch {
	case a.From != b.From || a.To != b.To || a.Contract != b.Contract:
		return unproven("the updates are of different contracts")
	case a.N == b.N && (a.Amount != b.Amount || a.Report != b.Report):
		f.What = "two different payments have number " + number(uint64(a.N))
	case a.N < b.N && b.Amount < a.Amount:
		f.What = "payment " + number(uint64(b.N)) + " is lower than payment " + number(uint64(a.N))
	default:
		return unproven("the payments %d and %d do not contradict each other", a.N, b.N)
	}
	if m, err := (max(a.Amount, b.Amount) - min(a.Amount, b.Amount)).Msat(); err == nil && m > 0 {
		f.Msat, f.Priced = m, true
	}
	return nil
}

// dishonouredOffer proves that a relay signed other terms than those of the offer that they name, or that
// it refused its own binding offer for its price.
func (c *papers) dishonouredOffer(f *Finding) error {
	o := c.offers[0]
	f.Culprit = o.From
	var open, answer, refusal contract.Verified
	for _, m := range c.talk {
		switch m.Message().(type) {
		case *contract.Open:
			open = m
		case *contract.ServerAddInputs:
			answer = m
		case *contract.Abort:
			refusal = m
		}
	}
	switch {
	case open.Digest().IsZero() && refusal.Digest().IsZero() && !answer.Digest().IsZero():
		return otherTerms(f, o, answer.Message().(*contract.ServerAddInputs))
	case answer.Digest().IsZero() && !open.Digest().IsZero() && !refusal.Digest().IsZero():
		return refused(f, o, open, refusal.Message().(*contract.Abort))
	}
	return unproven("an offer and the terms that name it are needed, or an offer, a proposal and its refusal")
}

func otherTerms(f *Finding, o broadcast.VerifiedOffer, m *contract.ServerAddInputs) error {
	t, err := contract.DecodeTerms(m.Terms)
	if err != nil {
		return unproven("the terms are none: %v", err)
	}
	f.Against, f.Contract = m.To, m.Contract
	switch {
	case m.From != o.From || t.Relay != o.From || t.Network != o.Network:
		return unproven("the terms are another relay's")
	case t.Offer != o.Digest():
		return unproven("the terms name another offer")
	case t.Prices != o.Prices || t.ContractPrice != o.ContractPrice:
		f.What = "the relay signed other prices than those of the offer that the terms name"
	case t.CreditLimit != o.CreditLimit || t.CreditToEarn > o.CreditToEarn || t.SettleFeeRate != o.SettleFeeRate || t.Depth != o.FundingDepth:
		f.What = "the relay signed another credit limit, more credit to earn, another settlement fee rate or depth than those of the offer that the terms name"
	default:
		return unproven("the terms are those of the offer")
	}
	return nil
}

// refused: "no capacity" and whatever is wrong with a proposal are always allowed; the price is not.
func refused(f *Finding, o broadcast.VerifiedOffer, open contract.Verified, a *contract.Abort) error {
	m, ok := open.Message().(*contract.Open)
	f.Against = open.Header().From
	switch {
	case !ok || m.To != o.From || m.Offer != o.Digest():
		return unproven("the proposal is not on this offer")
	case a.From != o.From || a.To != m.From || a.Nonce != m.Nonce || a.Prev != open.Digest():
		return unproven("the refusal does not answer the proposal")
	case a.Code != code.PriceTooHigh:
		return unproven("the refusal gives the reason %s, not the price", a.Code)
	case !binds(o, m.Time) || !binds(o, a.Time):
		return unproven("the offer did not bind then")
	}
	f.What = "the relay refused a proposal on its own binding offer because of the price"
	return nil
}

// binds tells whether an offer binds at a time.
func binds(o broadcast.VerifiedOffer, at identity.UnixMilli) bool {
	return at >= o.Time && at < o.ValidUntil
}
