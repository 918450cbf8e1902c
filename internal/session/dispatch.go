package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// read takes frames until the session ends. It never waits for whoever wants them: an answer
// has its place, a stream its bound, and of pushes the oldest go.
func (c *Client) read() {
	defer close(c.pushes)
	for {
		frame, err := c.conn.Read(context.Background())
		if err == nil {
			c.heard.Store(true)
			err = c.receive(frame)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// receive takes one frame; an error ends the session.
func (c *Client) receive(frame []byte) error {
	id, m, err := message.Decode(frame, int(c.info.Limits.MaxFrame))
	if err != nil && id == 0 {
		return err
	}
	if id == 0 {
		return c.push(m)
	}
	c.mu.Lock()
	k := c.open[id]
	c.mu.Unlock()
	if k == nil {
		c.cfg.Log.Debug("answer to no open request", "request", id)
		return nil
	}
	if err != nil {
		m = message.NewError(err)
	} else if !k.typ.AnsweredBy(m.Type()) {
		return code.New(code.Malformed, "the relay answers %s with %s", k.typ, m.Type())
	}
	c.deliver(id, k, m, len(frame))
	return nil
}

// deliver gives an answer to whoever waits for it and closes the request with its last one.
func (c *Client) deliver(id uint64, k *call, m message.Message, size int) {
	if message.Final(m) {
		c.forget(id)
		if k.cancels != 0 {
			c.forget(k.cancels)
		}
	}
	switch {
	case k.answer != nil:
		k.answer <- m // has room for the only answer
	case k.stream != nil && !k.stream.take(m, size):
		c.cancel(id)
	}
}

// push keeps an unasked message for Pushes.
func (c *Client) push(m message.Message) error {
	if m.Type() != message.TypeContract {
		return code.New(code.Malformed, "the relay sends %s unasked", m.Type())
	}
	for {
		select {
		case c.pushes <- m:
			return nil
		default:
		}
		select {
		case <-c.pushes:
		default:
		}
	}
}

// cancel tells the relay that a stream is not wanted any more. The request stays open, to
// swallow what is under way, until the relay has confirmed.
func (c *Client) cancel(id uint64) {
	own, err := c.register(&call{typ: message.TypeCancel, cancels: id})
	if err != nil {
		return
	}
	frame, err := message.Encode(own, &message.Cancel{ID: id})
	if err != nil || !c.out.put(frame, false, nil) {
		c.forget(own)
	}
}

// keepAlive pings while nothing else is heard, and ends a session that stays silent.
func (c *Client) keepAlive() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		t.Reset(c.cfg.KeepAlive/2 + rand.N(c.cfg.KeepAlive))
		select {
		case <-c.done:
			return
		case <-t.C:
		}
		if c.heard.Swap(false) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), pongTime)
		_, err := c.Call(ctx, &message.Ping{Nonce: rand.Uint64()})
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && !c.heard.Load() {
			c.end(code.New(code.Timeout, "the relay is silent"))
			return
		}
	}
}
