package session

import (
	"bytes"
	"crypto/rand"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// greet takes the client's hello and answers with the relay's proof.
func (s *Server) greet(t message.Type, frame []byte) error {
	if t != message.TypeHello {
		return code.New(code.Malformed, "a session begins with hello, not with %s", t)
	}
	id, m, err := message.Decode(frame, len(frame))
	if err != nil {
		return err
	}
	hello := m.(*message.Hello)
	answer, err := s.choose(hello)
	if err != nil {
		return err
	}
	body := bytes.Clone(message.Body(frame))
	digest, err := relayDigest(body, answer, s.conn.Exporter())
	if err != nil {
		return err
	}
	if answer.Sig, err = s.cfg.Key.SignDigest(digest); err != nil {
		return code.Wrap(code.Internal, err, "sign the handshake")
	}
	f := s.frame(id, answer)
	s.hello, s.helloRelay = body, message.Body(f)
	s.out.put(f, false, nil)
	return nil
}

// choose is the relay's answer to a hello, not yet signed.
func (s *Server) choose(hello *message.Hello) (*message.HelloRelay, error) {
	if hello.Genesis != s.cfg.Genesis {
		return nil, code.New(code.WrongNetwork, "this relay is on another chain")
	}
	version, err := commonVersion(hello.MinVersion, hello.MaxVersion)
	if err != nil {
		return nil, err
	}
	features, err := commonFeatures(s.cfg.Features, hello.Features)
	if err != nil {
		return nil, err
	}
	a := &message.HelloRelay{
		Version: version, Features: features, Offered: s.cfg.Features, Genesis: s.cfg.Genesis,
		Key: s.cfg.Key.Public(), Limits: s.cfg.Limits.Encode(), StoreEpoch: s.cfg.StoreEpoch(), Time: s.now(),
	}
	rand.Read(a.Nonce[:]) // never fails (crypto/rand)
	return a, nil
}

// prove takes the client's proof. Whatever its outcome, no second signature is looked at on
// this connection.
func (s *Server) prove(id uint64, m *message.Auth) error {
	if !s.Identity().IsZero() {
		return code.New(code.Forbidden, "a session has one identity")
	}
	if m.Key.IsZero() || !m.Key.VerifyDigest(clientDigest(s.hello, s.helloRelay, m.Key, s.conn.Exporter()), m.Sig) {
		return code.New(code.BadSignature, "the proof of identity does not hold")
	}
	if s.ticket != nil {
		if err := s.ticket.prove(m.Key, s.cfg.Limits); err != nil {
			return err
		}
	}
	s.hello, s.helloRelay = nil, nil
	s.mu.Lock()
	s.identity = m.Key
	s.mu.Unlock()
	s.timer.Reset(idleTime)
	s.conn.SetLimit(int(s.cfg.Limits.MaxFrame))
	w := &message.Welcome{Key: m.Key}
	if s.cfg.FreeBytes != nil {
		w.FreeBytesLeft = s.cfg.FreeBytes(m.Key)
	}
	s.say(id, w)
	if s.cfg.Opened != nil {
		s.cfg.Opened(s)
	}
	return nil
}
