package relay

import (
	"context"
	"crypto/tls"
	"sync"

	"relaymarket/identity"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
)

type tlsCertificate = tls.Certificate

// sessions knows the proven sessions by identity, for what the relay says unasked.
type sessions struct {
	mu  sync.Mutex
	all map[identity.PublicKey]map[*session.Server]bool // guarded by mu
}

func newSessions() *sessions {
	return &sessions{all: make(map[identity.PublicKey]map[*session.Server]bool)}
}

func (t *sessions) add(s *session.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := s.Identity()
	if t.all[k] == nil {
		t.all[k] = make(map[*session.Server]bool)
	}
	t.all[k][s] = true
}

func (t *sessions) remove(s *session.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := s.Identity()
	delete(t.all[k], s)
	if len(t.all[k]) == 0 {
		delete(t.all, k)
	}
}

// push gives a statement to one session of an identity; false if there is none that takes it.
func (t *sessions) push(to identity.PublicKey, s identity.Signed) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for sess := range t.all[to] {
		if sess.Push(&message.Contract{Statement: s.Bytes()}) {
			return true
		}
	}
	return false
}

// here tells whether an identity has a session.
func (t *sessions) here(who identity.PublicKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all[who]) > 0
}

// ended forgets a session. What the client was to co-sign ends with its last one.
func (s *Server) ended(sess *session.Server) {
	s.sessions.remove(sess)
	if !s.sessions.here(sess.Identity()) {
		s.runner.DropSignings(sess.Identity())
	}
}

// opened registers a session and says what waited for it.
func (s *Server) opened(sess *session.Server) {
	s.sessions.add(sess)
	s.work.Go(func() { s.sayPending(sess) })
}

func (s *Server) sayPending(sess *session.Server) {
	waiting, err := s.runner.Pending(sess.Identity())
	if err != nil {
		s.log.Error("pending statements", "err", err)
		return
	}
	for _, p := range waiting {
		sess.Push(&message.Contract{Statement: p.Bytes()})
	}
	for _, c := range s.runner.Of(sess.Identity()) {
		if c.Payable() {
			s.repeatNotices(sess, c)
		}
		s.mayRequestPayment(context.Background(), c, true)
	}
}

// freeLeft is what an identity may still use of today's free allowance.
func (s *Server) freeLeft(k identity.PublicKey) uint64 {
	used, err := s.store.FreeUsed(context.Background(), k, unixMilli(s.now()))
	if err != nil {
		return 0
	}
	return s.cfg.Offer.FreeBytesDay - min(s.cfg.Offer.FreeBytesDay, used)
}
