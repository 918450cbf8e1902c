package relay

import (
	"context"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// cosignTime is how long a client who is here may take to answer with its share of a close.
const cosignTime = 5 * time.Second

// CloseContract asks the client to close now, for what has been agreed or, if that is more, for what
// the log says; no order is accepted afterwards, and what was accepted is served to its end. Where nothing is unpaid and the
// client is here, both sign as one, and the close is on its way when this returns. Else the relay's
// signature leaves with an offer that the client may accept when it likes.
func (s *Server) CloseContract(ctx context.Context, id usage.ContractID) (ContractStatus, error) {
	c, err := s.runner.Contract(id)
	if err != nil {
		return ContractStatus{}, err
	}
	acc, err := s.store.Account(ctx, id)
	if err != nil {
		return ContractStatus{}, err
	}
	total, _ := meter(acc)
	if total > c.Paid() || !s.closeByKey(ctx, c) {
		if err := s.offerClose(ctx, c, max(total, c.Paid())); err != nil {
			return ContractStatus{}, err
		}
	}
	if c, err = s.runner.Contract(id); err != nil {
		return ContractStatus{}, err
	}
	return s.contractStatus(ctx, c)
}

// offerClose sends the relay's signature of a close by the leaf, or keeps it until the client comes.
func (s *Server) offerClose(ctx context.Context, c contract.Contract, amount usage.Sat) error {
	report, err := s.report(ctx, c.ID(), true)
	if err != nil {
		return err
	}
	d := identity.StatementDigest(identity.TypeUsageReport, report.Statement)
	offer, err := s.runner.OfferClose(ctx, c.ID(), amount, c.Terms().SettleFeeRate, d)
	if err != nil {
		return err
	}
	s.sessions.push(c.Peer(), offer)
	return nil
}

// closeByKey closes for what is paid, by the key path, with a client who is here and answers; false if
// that came to nothing.
func (s *Server) closeByKey(ctx context.Context, c contract.Contract) bool {
	if !s.sessions.here(c.Peer()) {
		return false
	}
	changed, done := s.runner.Changes()
	defer done()
	defer s.runner.DropSigning(c.ID())
	request, err := s.runner.AskClose(ctx, c.ID(), c.Paid(), c.Terms().SettleFeeRate)
	if err != nil || !s.sessions.push(c.Peer(), request) {
		s.log.Info("a contract is not closed by the key path", "contract", c.ID(), "err", err)
		return false
	}
	err = s.awaitClose(ctx, c.ID(), changed)
	if err != nil {
		s.log.Info("the client did not co-sign; it may accept the close by the leaf", "contract", c.ID(), "err", err)
	}
	return err == nil
}

// awaitClose waits for the close that the client's answer completes.
func (s *Server) awaitClose(ctx context.Context, id usage.ContractID, changed <-chan struct{}) error {
	timeout := time.NewTimer(cosignTime)
	defer timeout.Stop()
	for {
		c, err := s.runner.Contract(id)
		if err != nil {
			return err
		}
		if _, ok := c.Closing(); ok {
			return nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return code.New(code.Timeout, "no answer in %s", cosignTime)
		case <-ctx.Done():
			return code.Wrap(code.Timeout, ctx.Err(), "waiting for the client")
		}
	}
}
