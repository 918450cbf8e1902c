package evil

import (
	"context"
	"sync"

	"relaymarket/internal/message"
	"relaymarket/internal/transport"
)

// maxFrame bounds what the wire decodes; relays have their own bounds below it.
const maxFrame = 16 << 20

// wire is a client's connection as the honest relay gets it: what comes and what goes passes through
// the Front's hands. The handshake passes untouched, channel binding included.
type wire struct {
	transport.Conn
	front *Front

	mu  sync.Mutex
	ask map[uint64]message.Message // guarded by mu; requests whose answer will be changed, as they came
}

// Read gives the next frame of the client, as the honest relay shall see it.
func (w *wire) Read(ctx context.Context) ([]byte, error) {
	frame, err := w.Conn.Read(ctx)
	if err != nil || !interesting(frame) {
		return frame, err
	}
	id, m, err := message.Decode(frame, maxFrame)
	if err != nil {
		return frame, nil // the relay refuses it
	}
	if n, err := w.heard(id, m); err != nil {
		w.front.log.Warn("a request stays as it is", "type", m.Type().String(), "err", err)
	} else if n != nil {
		return message.Encode(id, n)
	}
	return frame, nil
}

// Write sends frames of the honest relay, as the client shall see them.
func (w *wire) Write(ctx context.Context, frames ...[]byte) error {
	out := make([][]byte, 0, len(frames))
	for _, f := range frames {
		if f = w.said(f); f != nil {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return w.Conn.Write(ctx, out...)
}

// withheld stands for an answer that the client does not get.
var withheld = new(message.ReadData)

// interesting tells whether a message is one that lies are about.
func interesting(frame []byte) bool {
	t, _, err := message.Peek(frame)
	if err != nil {
		return false
	}
	switch t {
	case message.TypeRequestUsage, message.TypeUsageReport, message.TypeWrite, message.TypeWritten, message.TypeRead, message.TypeReadData, message.TypeContract:
		return true
	}
	return false
}

// heard takes a request; nil leaves it as it is.
func (w *wire) heard(id uint64, m message.Message) (message.Message, error) {
	switch m := m.(type) {
	case *message.RequestUsage:
		w.remember(id, m)
		return &message.RequestUsage{Contract: m.Contract, Fresh: m.Fresh}, nil // the books are made of all rows
	case *message.Read:
		w.remember(id, m)
	case *message.Contract:
		raw, err := w.front.toRelay(m.Statement)
		return &message.Contract{Statement: raw}, err
	}
	return nil, nil
}

func (w *wire) remember(id uint64, m message.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ask == nil {
		w.ask = make(map[uint64]message.Message)
	}
	w.ask[id] = m
}

// asked is the request that an answer belongs to; with the last answer it is forgotten.
func (w *wire) asked(id uint64, last bool) message.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.ask[id]
	if last {
		delete(w.ask, id)
	}
	return m
}

// said turns a frame of the honest relay into that of the Front; nil for none.
func (w *wire) said(frame []byte) []byte {
	if !interesting(frame) {
		return frame
	}
	id, m, err := message.Decode(frame, maxFrame)
	if err == nil {
		var changed message.Message
		if changed, err = w.answer(id, m); changed == withheld {
			return nil
		} else if err == nil && changed != nil {
			var out []byte
			if out, err = message.Encode(id, changed); err == nil {
				return out
			}
		}
	}
	if err != nil {
		w.front.log.Warn("an answer stays as it is", "err", err)
	}
	return frame
}

// answer changes an answer; nil leaves it as it is.
func (w *wire) answer(id uint64, m message.Message) (message.Message, error) {
	switch m := m.(type) {
	case *message.UsageReport:
		if q, ok := w.asked(id, true).(*message.RequestUsage); ok {
			return w.front.usage(q, m)
		}
	case *message.Written:
		raw, err := w.front.receipt(m.Receipt)
		return &message.Written{Receipt: raw}, err
	case *message.ReadData:
		if q, ok := w.asked(id, m.End).(*message.Read); ok {
			return w.front.delivery(q, m)
		}
	case *message.Contract:
		raw, err := w.front.toClient(m.Statement)
		return &message.Contract{Statement: raw}, err
	}
	return nil, nil
}
