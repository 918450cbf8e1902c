package session

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// Reply ends a request with its answer. It never waits and may be called from any goroutine;
// after the end of the session, or for a request that was cancelled, it does nothing.
func (s *Server) Reply(id uint64, m message.Message) {
	r := s.close(id)
	if r == nil {
		s.cfg.Log.Error("answer to no open request", "request", id, "type", m.Type().String())
		return
	}
	if !r.typ.AnsweredBy(m.Type()) || !message.Final(m) && r.typ != message.TypeListen {
		s.cfg.Log.Error("wrong answer", "request", id, "to", r.typ.String(), "type", m.Type().String())
		m = &message.Error{Code: code.Internal}
	}
	if !s.out.put(s.frame(id, m), r.slot, func() bool { return !r.cancelled.Load() }) && r.slot {
		s.release(1)
	}
}

// Fail ends a request with an error, by the rules of message.NewError: errors without a code
// become Internal without a word, and are logged here. BadSignature counts as a Strike. It
// never waits.
func (s *Server) Fail(id uint64, err error) {
	m := message.NewError(err)
	if m.Code == code.Internal && s.ctx.Err() == nil {
		s.cfg.Log.Error("request failed", "request", id, "client", s.Identity().Name(), "err", err)
	}
	s.Reply(id, m)
	if m.Code == code.BadSignature {
		s.Strike()
	}
}

// Send gives one answer of several: a piece of a read, or a listen event. It waits while the
// client is behind, so it is not for a goroutine that serves other sessions. An error tells
// that the request was cancelled, ctx or the session has ended; the request is still to be
// ended by Reply or Fail.
func (s *Server) Send(ctx context.Context, id uint64, m message.Message) error {
	s.mu.Lock()
	r := s.open[id]
	s.mu.Unlock()
	if r == nil || !r.typ.AnsweredBy(m.Type()) || message.Final(m) {
		return code.New(code.Internal, "%s does not continue request %d", m.Type(), id)
	}
	return s.out.putWait(ctx, s.frame(id, m), func() bool { return !r.cancelled.Load() })
}

// Push says something unasked. It never waits: false tells that the client is behind or gone
// and that it will not hear of it.
func (s *Server) Push(m message.Message) bool { return s.out.tryPut(s.frame(0, m)) }

// close takes a request out of the open ones; nil if there is none.
func (s *Server) close(id uint64) *openRequest {
	s.mu.Lock()
	r := s.open[id]
	delete(s.open, id)
	if r != nil && r.typ == message.TypeListen {
		s.listens--
	}
	s.mu.Unlock()
	if r != nil && r.cancel != nil {
		r.cancel()
	}
	return r
}

// frame encodes an answer. One that cannot be sent becomes an Internal error.
func (s *Server) frame(id uint64, m message.Message) []byte {
	f, err := message.Encode(id, m)
	if err == nil && len(f) <= int(s.cfg.Limits.MaxFrame) {
		return f
	}
	s.cfg.Log.Error("answer cannot be sent", "request", id, "type", m.Type().String(), "bytes", len(f), "err", err)
	f, err = message.Encode(id, &message.Error{Code: code.Internal})
	if err != nil {
		panic("session: an error without text has a fixed form: " + err.Error())
	}
	return f
}

// answer is a reply of the reading goroutine itself, which waits while the client is behind.
func (s *Server) answer(id uint64, m message.Message) error {
	return s.out.putWait(s.ctx, s.frame(id, m), nil)
}

// say queues without waiting: for the few frames of the handshake.
func (s *Server) say(id uint64, m message.Message) { s.out.put(s.frame(id, m), false, nil) }

func (s *Server) now() identity.UnixMilli { return identity.UnixMilli(s.cfg.Now().UnixMilli()) }
