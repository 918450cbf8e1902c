package session

import (
	"context"
	"sync"
	"time"

	"relaymarket/internal/code"
	"relaymarket/internal/transport"
)

const (
	// highWater is how many bytes may wait for the peer before whoever can wait has to.
	highWater = 512 << 10
	lowWater  = highWater / 2
	// A batch is what goes into one Write.
	maxBatchFrames = 64
	maxBatchBytes  = 256 << 10
	// drainTime is how long the end of a session waits for what is queued.
	drainTime = time.Second
)

// outbox is the single writer of a connection and its queue. No goroutine waits while it is
// empty: the first frame starts one, which writes in batches until nothing is left.
type outbox struct {
	conn transport.Conn
	// broke is told the first write error.
	broke func(error)
	// freed is told how many request slots are free again, their answers being written.
	freed func(n int)

	mu      sync.Mutex
	queue   []outgoing
	bytes   int  // queued and being written
	busy    bool // a writer runs
	closed  bool
	room    chan struct{} // closed when bytes fall to lowWater; nil if nobody waits
	idle    chan struct{} // closed when the writer stops; nil if nobody waits
	writers sync.WaitGroup
}

type outgoing struct {
	frame []byte
	slot  bool
}

var errEnded = code.New(code.Disconnected, "the session has ended")

// put queues a frame without waiting: for what is bounded by other means. valid, if not nil,
// is asked under the queue's lock, and on no the frame is dropped; false tells that it was, or
// that the session has ended.
func (o *outbox) put(frame []byte, slot bool, valid func() bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.add(frame, slot, valid)
}

func (o *outbox) add(frame []byte, slot bool, valid func() bool) bool {
	if o.closed || valid != nil && !valid() {
		return false
	}
	o.queue = append(o.queue, outgoing{frame, slot})
	o.bytes += len(frame)
	if !o.busy {
		o.busy = true
		o.writers.Go(o.write)
	}
	return true
}

// tryPut is put for what may be left out: false when the peer is behind.
func (o *outbox) tryPut(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes < highWater && o.add(frame, false, nil)
}

// putWait queues a frame once the peer is not behind. It fails when ctx ends, when the
// session does, or when valid says no.
func (o *outbox) putWait(ctx context.Context, frame []byte, valid func() bool) error {
	for {
		o.mu.Lock()
		if o.closed || o.bytes < highWater {
			ok := o.add(frame, false, valid)
			o.mu.Unlock()
			if !ok {
				return errEnded
			}
			return nil
		}
		o.mu.Unlock()
		if err := o.wait(ctx); err != nil {
			return err
		}
	}
}

// wait returns when the peer is not behind, or never will be again.
func (o *outbox) wait(ctx context.Context) error {
	o.mu.Lock()
	if o.closed || o.bytes < highWater {
		o.mu.Unlock()
		return nil
	}
	if o.room == nil {
		o.room = make(chan struct{})
	}
	room := o.room
	o.mu.Unlock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return code.Wrap(code.Timeout, ctx.Err(), "the other side takes nothing")
	}
}

// write sends batches until the queue is empty or the connection breaks.
func (o *outbox) write() {
	var space [maxBatchFrames][]byte
	for {
		batch, bytes, slots := o.take(space[:0])
		if len(batch) == 0 {
			return
		}
		if err := o.conn.Write(context.Background(), batch...); err != nil {
			o.close()
			o.broke(err)
			return
		}
		o.mu.Lock()
		o.bytes -= bytes
		if o.bytes <= lowWater {
			wake(&o.room)
		}
		o.mu.Unlock()
		if slots > 0 {
			o.freed(slots)
		}
	}
}

// take moves the next batch out of the queue; with none left the writer is no more.
func (o *outbox) take(batch [][]byte) (_ [][]byte, bytes, slots int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for ; n < len(o.queue) && n < maxBatchFrames && (n == 0 || bytes+len(o.queue[n].frame) <= maxBatchBytes); n++ {
		batch = append(batch, o.queue[n].frame)
		bytes += len(o.queue[n].frame)
		if o.queue[n].slot {
			slots++
		}
	}
	if o.queue = o.queue[n:]; len(o.queue) == 0 {
		o.queue = nil
	}
	if n == 0 {
		o.busy = false
		wake(&o.idle)
	}
	return batch, bytes, slots
}

// close drops the queue and refuses all that comes.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue, o.bytes = true, nil, 0
	wake(&o.room)
	wake(&o.idle)
}

// drain waits, not for long, until all that is queued was written, and closes.
func (o *outbox) drain() {
	o.mu.Lock()
	idle := o.idle
	if o.busy && !o.closed && idle == nil {
		idle = make(chan struct{})
		o.idle = idle
	}
	o.mu.Unlock()
	if idle != nil {
		t := time.NewTimer(drainTime)
		defer t.Stop()
		select {
		case <-idle:
		case <-t.C:
		}
	}
	o.close()
}

// wake closes a channel that somebody waits on.
func wake(c *chan struct{}) {
	if *c != nil {
		close(*c)
		*c = nil
	}
}
