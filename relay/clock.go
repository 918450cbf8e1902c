package relay

import (
	"context"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// expire closes what is past its end, once a minute. It is also how the relay keeps an eye on the
// clock: the store believes none that is far from its last commit.
func (s *Server) expire(ctx context.Context) error {
	return every(ctx, time.Minute, func() error {
		s.expireNow(ctx)
		return nil
	})
}

func (s *Server) expireNow(ctx context.Context) {
	n, err := s.store.Expire(ctx, s.nowMilli())
	s.clockWrong.Store(code.Of(err) == code.ClockWrong)
	switch {
	case code.Of(err) == code.ClockWrong:
		s.log.Error("nothing is served until the clock is set right, or confirmed with: relay clock confirm", "err", err)
	case err != nil && ctx.Err() == nil:
		s.log.Error("expiry failed; it is tried again", "err", err)
	}
	s.metrics.expired.Add(float64(n))
}

// ClockStatus is what the relay takes for the time.
type ClockStatus struct {
	Now identity.UnixMilli `json:"now_ms"`
}

// ConfirmClock is the operator's word that this machine's clock is right although it is far from
// the last commit, for instance after the relay was down for more than a day.
func (s *Server) ConfirmClock(ctx context.Context) (ClockStatus, error) {
	now := s.nowMilli()
	if err := s.store.ConfirmClock(ctx, now); err != nil {
		return ClockStatus{}, err
	}
	s.log.Info("the operator has confirmed the clock", "now", time.UnixMilli(int64(now)).UTC())
	s.expireNow(ctx)
	return ClockStatus{now}, nil
}
