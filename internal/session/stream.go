package session

import (
	"context"
	"io"
	"sync"

	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// MaxStreamBytes is how many bytes of answers a Stream keeps for a slow reader. One read
// request should not ask for more, unless its reader surely keeps up.
const MaxStreamBytes = 32 << 20

// maxStreamItems is how many answers it keeps.
const maxStreamItems = 4096

// Stream is the answers to one read or listen. One goroutine may read it.
//
// It is bounded: if its reader falls behind it is cut off, and Next gives what it kept and
// then an error with code Busy. Nothing is lost by that, because a read can be repeated and a
// listen begins again from the last cursor.
type Stream struct {
	client *Client
	id     uint64
	ready  chan struct{} // has an element when there may be something new

	mu    sync.Mutex
	queue []item
	bytes int
	err   error // what follows the queue
}

type item struct {
	m    message.Message
	size int
}

// Stream sends a request that many messages answer. Errors are those of Call; a refusal by
// the relay comes from Next.
func (c *Client) Stream(ctx context.Context, m message.Message) (*Stream, error) {
	if i, ok := m.Type().Info(); !ok || !i.Streams {
		return nil, code.New(code.BadArgument, "%s has one answer", m.Type())
	}
	s := &Stream{client: c, ready: make(chan struct{}, 1)}
	id, err := c.begin(ctx, &call{typ: m.Type(), slot: takesSlot(m.Type()), stream: s}, m)
	if err != nil {
		return nil, err
	}
	s.id = id // used by Close alone: the reading goroutine has its own
	return s, nil
}

// Next gives the next answer; io.EOF follows the last one of a read. Other errors are the
// relay's refusal, Busy (see Stream), the end of the session, or Timeout if ctx ended, after
// which the stream still lives.
func (s *Stream) Next(ctx context.Context) (message.Message, error) {
	for {
		m, err := s.pop()
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, code.Wrap(code.Timeout, ctx.Err(), "nothing new")
		}
	}
}

func (s *Stream) pop() (message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, s.err
	}
	it := s.queue[0]
	s.queue[0] = item{}
	s.queue = s.queue[1:]
	s.bytes -= it.size
	return it.m, nil
}

// Close gives the stream up: the relay is told to send no more, unless it has ended anyway.
func (s *Stream) Close() {
	s.mu.Lock()
	over := s.err != nil
	s.queue, s.bytes, s.err = nil, 0, code.New(code.Disconnected, "the stream was closed")
	s.mu.Unlock()
	s.wake()
	if !over {
		s.client.cancel(s.id)
	}
}

// take keeps an answer, by the goroutine that reads the session. False tells that the stream
// is to be cancelled, once.
func (s *Stream) take(m message.Message, size int) bool {
	defer s.wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return true // closed or cut off; what was under way still arrives
	}
	if e, ok := m.(*message.Error); ok {
		s.err = e.Err()
		return true
	}
	if len(s.queue) > 0 && (len(s.queue) == maxStreamItems || s.bytes+size > MaxStreamBytes) {
		s.err = code.New(code.Busy, "more came than was read; ask again from the last cursor")
		return message.Final(m)
	}
	s.queue = append(s.queue, item{m, size})
	s.bytes += size
	if message.Final(m) {
		s.err = io.EOF
	}
	return true
}

// fail ends the stream with the session.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.wake()
}

func (s *Stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
