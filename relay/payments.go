package relay

import (
	"context"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// When the relay asks for money: at this much unpaid, or half of the credit if that is more, at the
// latest when the credit is used up, and for any sum a day after the last payment.
const minAsk usage.Sat = 1_000

// askInterval is how often accounts are looked at; a request is made once per sum.
const askInterval = 10 * time.Second

// closeTolerance is the share of the own meter, in percent, that a client's close may leave unpaid:
// to insist on the last percent would cost both sides the wait for the expiry.
const closeTolerance = 10

// requestPayments asks clients for what they owe, when it is worth a message, and again before
// the time for cooperation ends.
func (s *Server) requestPayments(ctx context.Context) error {
	return every(ctx, s.ask, func() error {
		for _, c := range s.runner.Contracts() {
			s.mayRequestPayment(ctx, c, false)
		}
		return nil
	})
}

// sayReady tells clients when the funding of their contract has become deep enough. One that is not
// here asks when it comes.
func (s *Server) sayReady(ctx context.Context) error {
	changes, done := s.runner.Changes()
	defer done()
	for {
		for _, c := range s.runner.Contracts() {
			if !c.Service() || c.ReadySaid() {
				continue
			}
			m, err := s.runner.SayReady(ctx, c.ID())
			if err == nil && !m.IsZero() {
				s.sessions.push(c.Peer(), m)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		}
	}
}

// mayRequestPayment is requestPayment where nobody waits for its success.
func (s *Server) mayRequestPayment(ctx context.Context, c contract.Contract, again bool) {
	if err := s.requestPayment(ctx, c, again); err != nil && ctx.Err() == nil {
		s.log.Warn("asking for payment failed; it is tried again", "contract", c.ID(), "err", err)
	}
}

// requestPayment asks for what is due on a contract. With again it also asks for a sum that it has
// asked for before: a client who was not here has not heard of it.
func (s *Server) requestPayment(ctx context.Context, c contract.Contract, again bool) error {
	if !c.Payable() {
		return nil
	}
	acc, err := s.store.Account(ctx, c.ID())
	if err != nil {
		return err
	}
	total, unpaid := meter(acc)
	if unpaid == 0 || unpaid < askAt(acc) && s.runner.Tip() < askFrom(c) {
		return nil
	}
	if asked := c.Asked().Amount; !again && (total <= asked || unpaid < askAt(acc) && asked > c.Paid()) {
		return nil // a small sum is asked for once
	}
	report, err := s.report(ctx, c.ID(), true)
	if err != nil {
		return err
	}
	d := identity.StatementDigest(identity.TypeUsageReport, report.Statement)
	ask, err := s.runner.AskPayment(ctx, c.ID(), total, unpaid < askAt(acc), d)
	if err != nil || ask.IsZero() {
		return err
	}
	if !s.sessions.push(c.Peer(), ask) {
		s.log.Debug("the client is not here; it is asked when it comes", "client", c.Peer().Name())
	}
	return nil
}

// meter is what the relay's log says is due in all, the contract price included and never above
// the escrow, and how much of it is not paid.
func meter(a store.Account) (total, unpaid usage.Sat) {
	total = min(a.ContractPrice+a.Owed.CeilSat(), a.Value)
	return total, total - min(total, a.Paid)
}

// askFrom is the height from which any sum is worth a request: a day after the last payment, and before
// the time for cooperation ends.
func askFrom(c contract.Contract) usage.Height {
	until := c.Summary().CloseUntil
	return min(c.AskFrom(), until-min(until, 6))
}

func askAt(a store.Account) usage.Sat { return min(max(a.Credit/2, minAsk), a.Credit) }

// due is the least cumulative payment for which the relay agrees to close.
func (s *Server) due(ctx context.Context, c contract.Contract) (usage.Sat, error) {
	acc, err := s.store.Account(ctx, c.ID())
	if code.Of(err) == code.ContractUnknown {
		return c.Paid(), nil // it never served
	} else if err != nil {
		return 0, err
	}
	total, unpaid := meter(acc)
	return max(c.Paid(), total-unpaid*closeTolerance/100-min(unpaid, 1)), nil
}
