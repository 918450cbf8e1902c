package session

import (
	"context"
	"crypto/rand"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/usage"
)

// handshakeID is the request id of hello; auth has the next one.
const handshakeID = 2

// handshake proves the relay to the client and then, unless it is anonymous, the client to
// the relay.
func (c *Client) handshake(ctx context.Context) error {
	if c.cfg.Relay.IsZero() && !c.cfg.Key.IsZero() {
		return code.New(code.BadArgument, "only an anonymous session may meet an unknown relay")
	}
	hello := &message.Hello{MinVersion: MinVersion, MaxVersion: MaxVersion, Features: c.cfg.Features, Genesis: c.cfg.Genesis}
	rand.Read(hello.Nonce[:]) // never fails (crypto/rand)
	sent, err := message.Encode(handshakeID-1, hello)
	if err != nil {
		return err
	}
	asked := c.cfg.Now()
	got, frame, err := c.ask(ctx, sent)
	if err != nil {
		return err
	}
	answer := got.(*message.HelloRelay)
	helloBody, answerBody := message.Body(sent), append([]byte(nil), message.Body(frame)...)
	if err := c.judge(hello, answer, helloBody); err != nil {
		return err
	}
	c.info.TimeOffset = offset(answer.Time, asked, c.cfg.Now())
	c.conn.SetLimit(int(c.info.Limits.MaxFrame))
	if c.cfg.Key.IsZero() {
		return nil
	}
	return c.prove(ctx, helloBody, answerBody)
}

// ask sends one frame of the handshake and reads the answer that its type requires. The
// frame is valid until the next read.
func (c *Client) ask(ctx context.Context, sent []byte) (message.Message, []byte, error) {
	t, id, err := message.Peek(sent)
	if err != nil {
		return nil, nil, err
	}
	if err := c.conn.Write(ctx, sent); err != nil {
		return nil, nil, err
	}
	frame, err := c.conn.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	gotID, m, err := message.Decode(frame, len(frame))
	if err != nil {
		return nil, nil, err
	}
	if gotID != id || !t.AnsweredBy(m.Type()) {
		return nil, nil, code.New(code.Malformed, "the relay answers %s %d with %s %d", t, id, m.Type(), gotID)
	}
	m, err = verdict(m)
	return m, frame, err
}

// judge checks the relay's half of the handshake against what was offered and expected.
func (c *Client) judge(hello *message.Hello, a *message.HelloRelay, helloBody []byte) error {
	if !c.cfg.Relay.IsZero() && a.Key != c.cfg.Relay {
		return code.New(code.WrongRelay, "%s answers instead of %s", a.Key.Name(), c.cfg.Relay.Name())
	}
	digest, err := relayDigest(helloBody, a, c.conn.Exporter())
	if err != nil {
		return err
	}
	if !a.Key.VerifyDigest(digest, a.Sig) {
		return code.New(code.BadSignature, "the relay's proof of identity does not hold")
	}
	if a.Genesis != c.cfg.Genesis {
		return code.New(code.WrongNetwork, "the relay is on another chain")
	}
	if a.Version < hello.MinVersion || a.Version > hello.MaxVersion {
		return code.New(code.Unsupported, "the relay chose version %d", a.Version)
	}
	common, err := commonFeatures(hello.Features, a.Offered)
	if err != nil {
		return err
	}
	if a.Features != common {
		return code.New(code.Unsupported, "the relay chose features %#x of the common %#x", a.Features, common)
	}
	limits, err := usage.DecodeLimits(a.Limits)
	if err != nil {
		return err
	}
	c.info = Info{Key: a.Key, Limits: limits, StoreEpoch: a.StoreEpoch, Version: a.Version, Features: a.Features}
	return nil
}

// prove sends the client's proof and waits for the welcome.
func (c *Client) prove(ctx context.Context, helloBody, answerBody []byte) error {
	auth := &message.Auth{Key: c.cfg.Key.Public()}
	var err error
	if auth.Sig, err = c.cfg.Key.SignDigest(clientDigest(helloBody, answerBody, auth.Key, c.conn.Exporter())); err != nil {
		return code.Wrap(code.Internal, err, "sign the handshake")
	}
	frame, err := message.Encode(handshakeID, auth)
	if err != nil {
		return err
	}
	m, _, err := c.ask(ctx, frame)
	if err != nil {
		return err
	}
	w := m.(*message.Welcome)
	if w.Key != auth.Key {
		return code.New(code.Malformed, "the relay welcomes somebody else")
	}
	c.info.FreeBytesLeft = w.FreeBytesLeft
	return nil
}

// offset is how far the relay's clock is ahead, taking its answer to be from the middle of
// the round trip.
func offset(relay identity.UnixMilli, asked, answered time.Time) time.Duration {
	middle := asked.Add(answered.Sub(asked) / 2)
	return time.UnixMilli(int64(relay)).Sub(middle)
}
