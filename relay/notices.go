package relay

import (
	"context"
	"fmt"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/usage"
)

// Steps about payments that do not come: what is told to the client, and what is purged in the end.

// takeSteps looks at what is not paid with every block, and now and then for what failed.
func (s *Server) takeSteps(ctx context.Context) error {
	changes, done := s.runner.Changes()
	defer done()
	again := time.NewTicker(s.ask)
	defer again.Stop()
	m, err := contract.MarginsOf(s.net)
	if err != nil {
		return err
	}
	var seen, level usage.Height
	for {
		tip := s.runner.Tip()
		if h := s.runner.Health(); level == 0 && h.Err == nil && h.Last.Height == h.NodeTip.Height && usage.Height(h.Last.Height) == tip {
			level = tip
		}
		// The blocks in which this relay was away are not held against its clients: until it has been here for some,
		// nobody could pay.
		if tip != seen && level > 0 && tip >= level+m.OverdueAfter/3 && s.viewDoubt.Load() == nil {
			seen = tip
			for _, c := range s.runner.Contracts() {
				s.mayNotify(ctx, c)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		case <-again.C:
			seen = 0
		}
	}
}

// mayNotify is notify where nobody waits for its success.
func (s *Server) mayNotify(ctx context.Context, c contract.Contract) {
	err := s.notify(ctx, c)
	if err == nil {
		err = s.purge(ctx, c)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("a step about a missing payment failed; it is tried again", "contract", c.ID(), "err", err)
	}
}

// notify takes the next step if its height has come and the sum is worth it still.
func (s *Server) notify(ctx context.Context, c contract.Contract) error {
	step, from, ok := c.NextNotice()
	if !ok || c.Tip() < from {
		return nil
	}
	acc, err := s.store.Account(ctx, c.ID())
	if err != nil {
		return err
	}
	if _, compared := s.compared.Load(c.ID()); step == contract.StepPurged && acc.LogEpoch > 0 && !compared {
		return nil // the store was restored: what the client has paid since the copy comes with its record
	}
	total, unpaid := meter(acc)
	if unpaid == 0 || unpaid < askAt(acc) {
		return nil
	}
	report, err := s.report(ctx, c.ID(), true)
	if err != nil {
		return err
	}
	d := identity.StatementDigest(identity.TypeUsageReport, report.Statement)
	// As with a close, the last part that the client's audit may see otherwise is not insisted on.
	m, err := s.runner.Notify(ctx, c.ID(), total-unpaid*closeTolerance/100, d)
	if code.Of(err) == code.NotDue {
		return nil
	} else if err != nil {
		return err
	}
	s.log.Warn("a payment is missing", "contract", c.ID(), "client", c.Peer().Name(), "step", step.String(), "unpaid_sat", unpaid)
	s.sessions.push(c.Peer(), m)
	return nil
}

// purge ends the records of a contract whose last step was taken. The store is gone through once for
// each notice, and again after a restart.
func (s *Server) purge(ctx context.Context, c contract.Contract) error {
	c, err := s.runner.Contract(c.ID())
	a := c.Arrears()
	if err != nil || a.Step != contract.StepPurged || c.State().Over() {
		return err // the step stands in whatever state the client has brought the contract to
	}
	if done, ok := s.purged.Load(c.ID()); ok && done == a.Notice {
		return nil
	}
	notices, err := s.runner.Notices(c)
	if err != nil || len(notices) == 0 {
		return err
	}
	n, err := s.store.Purge(ctx, s.nowMilli(), c.ID(), notices[len(notices)-1])
	if n > 0 {
		s.log.Warn("records are purged, because they were not paid", "contract", c.ID(), "records", n)
	}
	if err == nil {
		s.purged.Store(c.ID(), a.Notice)
	}
	return err
}

// repeatNotices tells a client who has come what it may have missed.
func (s *Server) repeatNotices(sess *session.Server, c contract.Contract) {
	notices, err := s.runner.Notices(c)
	if err != nil {
		s.log.Error("notices", "err", err)
		return
	}
	for _, n := range notices {
		sess.Push(&message.Contract{Statement: n.Bytes()})
	}
}

// owingSentence says what a missing payment has led to.
func owingSentence(c contract.Contract) string {
	a := c.Arrears()
	what := map[contract.Step]string{
		contract.StepOverdue: "no new orders", contract.StepSuspended: "no new orders, only its own reads",
		contract.StepRetained: "nobody reads", contract.StepPurged: "its records are purged",
	}[a.Step]
	s := fmt.Sprintf("%s since height %d: %s until %d sat are paid in all", a.Step, a.Since, what, a.Amount)
	if a.Next > 0 {
		s += fmt.Sprintf("; the next step is at height %d", a.Next)
	}
	return s
}

// noteCompared remembers that a client has shown its record of a contract.
func (s *Server) noteCompared(signed identity.Signed) {
	m, err := contract.Decode(signed.Statement)
	if err != nil {
		return
	}
	if r, ok := m.(*contract.Reestablish); ok {
		s.compared.Store(r.Contract, true)
	}
}
