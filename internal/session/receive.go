package session

import (
	"context"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// read takes frames until the connection breaks or the client does what ends a session. The
// context of Read is not the session's, because its end would break the connection before the
// reason was told.
func (s *Server) read() error {
	for {
		frame, err := s.conn.Read(context.Background())
		if err != nil {
			return err
		}
		if err := s.receive(frame); err != nil {
			return err
		}
	}
}

// apart runs the work of a handshake on a stack of its own. The reading goroutine stays for
// as long as the session, and Go gives little of a stack back that signatures have grown.
func apart(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }()
	return <-done
}

// receive takes one frame. An error ends the session; what concerns one request only is
// answered.
func (s *Server) receive(frame []byte) error {
	t, id, err := message.Peek(frame)
	if err != nil {
		return err
	}
	if id == 0 {
		return code.New(code.Malformed, "a request without id")
	}
	if s.hello == nil && s.Identity().IsZero() {
		return apart(func() error { return s.fatal(id, s.greet(t, frame)) })
	}
	if !s.Identity().IsZero() {
		s.timer.Reset(idleTime)
	}
	info, known := t.Info()
	switch {
	case s.Identity().IsZero() && !info.Anonymous:
		return s.answer(id, message.NewError(code.New(code.Unauthorized, "prove who you are first")))
	case !known || info.From == message.FromRelay:
		return s.answer(id, message.NewError(code.New(code.Unsupported, "%s is no request", t)))
	}
	_, m, err := message.Decode(frame, int(s.cfg.Limits.MaxFrame))
	if err != nil {
		return s.answer(id, message.NewError(err))
	}
	return s.dispatch(id, m)
}

// fatal answers a request with the error that is about to end the session.
func (s *Server) fatal(id uint64, err error) error {
	if err != nil {
		s.say(id, message.NewError(err))
	}
	return err
}

// dispatch handles what is the session's own and hands on the rest.
func (s *Server) dispatch(id uint64, m message.Message) error {
	switch m := m.(type) {
	case *message.Hello:
		return s.fatal(id, code.New(code.Malformed, "a second hello"))
	case *message.Auth:
		return apart(func() error { return s.fatal(id, s.prove(id, m)) })
	case *message.Ping:
		return s.answer(id, &message.Pong{Nonce: m.Nonce, Time: s.now()})
	case *message.Cancel:
		return s.cancelRequest(id, m.ID)
	}
	return s.begin(id, m)
}

// begin opens a request and hands it to the handler. It waits while too many are open or the
// client does not take the answers that it has asked for.
func (s *Server) begin(id uint64, m message.Message) error {
	if err := s.out.wait(s.ctx); err != nil {
		return err
	}
	r := &openRequest{typ: m.Type(), slot: m.Type() != message.TypeListen}
	if r.slot {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
	ctx := s.ctx
	if m.Type() == message.TypeListen || m.Type() == message.TypeRead {
		ctx, r.cancel = context.WithCancel(s.ctx)
	}
	ok, err := s.register(id, r)
	if err != nil {
		return err
	}
	if !ok {
		r.cancel()
		return s.answer(id, message.NewError(code.New(code.Busy, "%d listens are enough for one session", maxListens)))
	}
	s.cfg.Handler.Handle(ctx, s, Request{ID: id, Message: m})
	return nil
}

// register notes an open request; false for one listen too many.
func (s *Server) register(id uint64, r *openRequest) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[id] != nil {
		return false, code.New(code.Malformed, "request id %d is in use", id)
	}
	if r.typ == message.TypeListen {
		if s.listens == maxListens {
			return false, nil
		}
		s.listens++
	}
	s.open[id] = r
	return true, nil
}

// cancelRequest makes sure that no frame with the id follows the OK.
func (s *Server) cancelRequest(id, target uint64) error {
	s.mu.Lock()
	r := s.open[target]
	s.mu.Unlock()
	if r != nil && r.cancel != nil {
		r.cancelled.Store(true)
		r.cancel()
	}
	return s.answer(id, &message.OK{})
}
