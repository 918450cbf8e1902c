package relay

import (
	"context"
	"slices"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// Handle takes one request of a session. Each runs in its own goroutine; the session bounds how
// many there are at a time.
func (s *Server) Handle(ctx context.Context, sess *session.Server, r session.Request) {
	lasts := r.Message.Type() == message.TypeListen // it ends with the session
	size := weight(r.Message)
	if size > 0 && s.room.Acquire(ctx, size) != nil {
		sess.Fail(r.ID, code.New(code.ShuttingDown, "the session has ended"))
		return
	}
	if !lasts && !s.inHand.take() {
		s.room.Release(size)
		sess.Fail(r.ID, code.New(code.ShuttingDown, "the relay is stopping"))
		return
	}
	s.work.Go(func() {
		defer s.room.Release(size)
		if !lasts {
			defer s.inHand.done()
		}
		start := time.Now()
		answer, err := s.dispatch(ctx, sess, r)
		outcome := "ok"
		if err != nil {
			outcome = code.Of(err).String()
			sess.Fail(r.ID, err)
		} else {
			sess.Reply(r.ID, answer)
		}
		s.metrics.request(r.Message.Type().String(), outcome, time.Since(start))
	})
}

// maxRoom bounds the bytes of the requests in hand. One request has at most the size of a frame.
const maxRoom = 128 << 20

// weight is how many bytes a request holds until it is answered. A read counts for nothing: it lasts
// as long as its reader likes, and what it holds meanwhile is small.
func weight(m message.Message) int64 {
	n := 0
	switch m := m.(type) {
	case *message.Write:
		for _, b := range slices.Concat(m.Bundles, m.Contents) {
			n += len(b)
		}
	case *message.Challenge:
		n = len(m.Challenges) + records.MaxContent // one content at a time is hashed
	case *message.Delete:
		n = len(m.Deletes)
	case *message.Acknowledge:
		n = len(m.Acks)
	case *message.Contract:
		n = len(m.Statement)
	case *message.PutIdentity:
		n = len(m.Document)
	case *message.Grant:
		n = len(m.Statement)
	}
	return int64(n)
}

// dispatch does what a message asks for and gives the answer that ends the request.
func (s *Server) dispatch(ctx context.Context, sess *session.Server, r session.Request) (message.Message, error) {
	by := sess.Identity()
	switch m := r.Message.(type) {
	case *message.Write:
		return s.write(ctx, by, m)
	case *message.Read:
		return s.read(ctx, sess, r.ID, m)
	case *message.Challenge:
		return s.challenge(ctx, sess, m)
	case *message.Inventory:
		return s.inventory(ctx, by, m)
	case *message.Listen:
		return nil, s.listen(ctx, sess, r.ID, m)
	case *message.Delete:
		return s.delete(ctx, sess, m)
	case *message.Acknowledge:
		return s.acknowledge(ctx, sess, m)
	case *message.RequestUsage:
		return s.usage(ctx, by, m)
	case *message.Grant:
		return s.grant(ctx, by, m)
	case *message.RequestLane:
		return s.lane(ctx, by, m)
	case *message.PutIdentity:
		return s.putIdentity(ctx, by, m)
	case *message.GetIdentity:
		return s.getIdentity(ctx, m)
	case *message.GetOffer:
		return s.offer()
	case *message.Account:
		return s.account(ctx, by)
	case *message.Contract:
		return s.contract(ctx, by, m)
	}
	return nil, code.New(code.Unsupported, "a relay does not take a %s", r.Message.Type())
}

// nowMilli is the relay's clock as statements tell it.
func (s *Server) nowMilli() identity.UnixMilli { return unixMilli(s.now()) }

func (s *Server) write(ctx context.Context, by identity.PublicKey, m *message.Write) (message.Message, error) {
	op, err := s.opener.write(m, by, s.nowMilli())
	if err != nil {
		return nil, err
	}
	op.Tip = s.runner.Tip()
	a, err := s.one(ctx, op)
	if err != nil {
		return nil, err
	}
	if !a.Repeat {
		for _, c := range m.Contents {
			s.metrics.bytesIn.Add(float64(len(c)))
		}
	}
	return &message.Written{Receipt: a.signed.Bytes()}, nil
}

// one decides a single operation; its own failure is the error.
func (s *Server) one(ctx context.Context, op store.Op) (answer, error) {
	a, err := s.committer.do(ctx, op)
	if err != nil {
		return answer{}, err
	}
	return a[0], a[0].Err
}

// read decides all requests in one commit, and only then sends: rows before bytes. A request
// that fails for a reason that is no denial ends the whole read after the others were served.
func (s *Server) read(ctx context.Context, sess *session.Server, id uint64, m *message.Read) (message.Message, error) {
	start := time.Now()
	ops, err := s.opener.reads(m, sess.Identity(), s.nowMilli())
	if err != nil {
		return nil, err
	}
	m.Statements = nil // a read may last, and what it holds meanwhile is small
	answers, err := s.committer.do(ctx, ops...)
	if err != nil {
		return nil, err
	}
	var failed error
	for i, a := range answers {
		switch {
		case a.Err != nil:
			if failed == nil {
				failed = a.Err
			}
		case a.Grant == nil:
			err = sess.Send(ctx, id, &message.ReadData{Index: uint16(i), Denial: a.signed.Bytes()})
		default:
			err = s.serve(ctx, sess, id, uint16(i), a.Grant, m.Offset)
		}
		if err != nil {
			return nil, err
		}
	}
	if failed != nil {
		if code.Of(failed) == code.NotFound {
			even(ctx, start)
		}
		return nil, failed
	}
	return &message.ReadData{Index: uint16(len(ops) - 1), End: true}, nil
}

// evenTime is when a request that found nothing is answered, at the earliest: the time that a lookup
// takes must not tell who may not know it whether there is something.
const evenTime = 25 * time.Millisecond

// even waits until evenTime after the start of a request.
func even(ctx context.Context, start time.Time) {
	select {
	case <-time.After(time.Until(start.Add(evenTime))):
	case <-ctx.Done():
	}
}

// serve sends one record in pieces, the header with the first.
func (s *Server) serve(ctx context.Context, sess *session.Server, id uint64, index uint16, g *store.Grant, offset uint32) error {
	header := g.Header.Bytes()
	for {
		data, err := s.store.Content(ctx, g, offset, message.MaxPiece)
		if err != nil {
			return err
		}
		end := offset + uint32(len(data))
		piece := &message.ReadData{Index: index, Header: header, Offset: offset, Data: data, Last: end >= g.Size}
		if err := sess.Send(ctx, id, piece); err != nil {
			return err
		}
		s.metrics.bytesOut.Add(float64(len(data)))
		if piece.Last {
			return nil
		}
		if len(data) == 0 {
			return code.New(code.Internal, "content ends at %d of %d bytes", end, g.Size)
		}
		header, offset = nil, end
	}
}

func (s *Server) inventory(ctx context.Context, by identity.PublicKey, m *message.Inventory) (message.Message, error) {
	list := s.store.Inbox
	if m.Role == message.RoleSender {
		list = s.store.Outbox
	}
	p, err := list(ctx, by, usage.Arrival(m.After), usage.Arrival(m.Before), s.page(m.Limit))
	if err != nil {
		return nil, err
	}
	return &message.InventoryPage{Rows: rows(p.Rows, m.Role), Through: uint64(p.Through), More: p.More, StoreEpoch: s.store.StoreEpoch()}, nil
}

// page bounds a wish for rows by the relay's own limit.
func (s *Server) page(wish uint16) int {
	if wish == 0 || wish > s.limits.MaxPage {
		return int(s.limits.MaxPage)
	}
	return int(wish)
}

// rows makes the rows of a list. Only receivers need the statements: a sender has its own.
func rows(in []store.InboxRow, role message.Role) []message.Row {
	out := make([]message.Row, len(in))
	for i, r := range in {
		out[i] = message.Row{
			Digest: r.Digest, From: r.From, To: r.To, ID: string(r.ID), Arrival: uint64(r.Arrival), Size: r.Size,
			Expiry: r.Expiry, Home: r.Home, Tag: r.Tag, PullsLeft: r.PullsLeft,
		}
		if role == message.RoleReceiver {
			out[i].Statement = r.Statement
		}
	}
	return out
}

// listen tells what is new for the session's identity until the session or the client ends it.
// It waits for nudges and reads the store by its own cursor, so that it is never ahead of what
// is durable and never behind without end.
func (s *Server) listen(ctx context.Context, sess *session.Server, id uint64, m *message.Listen) error {
	nudge, stop := s.listeners.add(sess.Identity())
	defer stop()
	after := usage.Arrival(m.After)
	for first := true; ; first = false {
		p, err := s.store.Inbox(ctx, sess.Identity(), after, 0, int(s.limits.MaxPage))
		if err != nil {
			return err
		}
		if first || len(p.Rows) > 0 {
			err := sess.Send(ctx, id, &message.ListenEvent{Rows: rows(p.Rows, message.RoleReceiver), Through: uint64(p.Through), More: p.More})
			if err != nil {
				return err
			}
		}
		after = max(after, p.Through) // a cursor of the future waits for its time
		if p.More {
			continue
		}
		select {
		case <-nudge:
		case <-ctx.Done():
			return code.New(code.ShuttingDown, "the listen has ended")
		}
	}
}

func (s *Server) delete(ctx context.Context, sess *session.Server, m *message.Delete) (message.Message, error) {
	ops, errs, err := s.opener.deletes(m, sess.Identity(), s.nowMilli())
	if err != nil {
		return nil, err
	}
	receipts, results, err := s.each(ctx, sess, ops, errs)
	return &message.Deleted{Receipts: receipts, Results: results}, err
}

func (s *Server) acknowledge(ctx context.Context, sess *session.Server, m *message.Acknowledge) (message.Message, error) {
	ops, errs, err := s.opener.acks(m, sess.Identity(), s.nowMilli())
	if err != nil {
		return nil, err
	}
	receipts, results, err := s.each(ctx, sess, ops, errs)
	return &message.Acknowledged{Receipts: receipts, Results: results}, err
}

// each decides the good ones of many operations and gives every one its result and, where there
// is one, its signed receipt.
func (s *Server) each(ctx context.Context, sess *session.Server, ops []store.Op, errs []error) ([][]byte, []message.Result, error) {
	start, missed := time.Now(), false
	var good []store.Op
	for _, op := range ops {
		if op != nil {
			good = append(good, op)
		}
	}
	answers, err := s.committer.do(ctx, good...)
	if err != nil {
		return nil, nil, err
	}
	receipts, results := make([][]byte, len(ops)), make([]message.Result, len(ops))
	for i, op := range ops {
		e := errs[i]
		if op != nil {
			a := answers[0]
			answers = answers[1:]
			if e = a.Err; e == nil && !a.signed.IsZero() {
				receipts[i] = a.signed.Bytes()
			}
		}
		results[i] = message.NewResult(e)
		missed = missed || code.Of(e) == code.NotFound
		if code.Of(e) == code.BadSignature {
			sess.Strike()
		}
	}
	if missed {
		even(ctx, start)
	}
	return receipts, results, nil
}

func (s *Server) putIdentity(ctx context.Context, by identity.PublicKey, m *message.PutIdentity) (message.Message, error) {
	op, err := s.opener.document(m, by, s.nowMilli())
	if err != nil {
		return nil, err
	}
	if err := s.roomForFree(); err != nil {
		return nil, err
	}
	_, err = s.one(ctx, op)
	return &message.OK{}, err
}

// roomForFree refuses what costs nobody anything before it takes what deletes and payments need.
func (s *Server) roomForFree() error {
	if free, err := s.diskLeft(); err != nil {
		return code.Wrap(code.Internal, err, "asking the disk")
	} else if free < store.DiskReserve {
		return code.New(code.DiskReserve, "%d bytes are left on the disk", free)
	}
	return nil
}

func (s *Server) getIdentity(ctx context.Context, m *message.GetIdentity) (message.Message, error) {
	d, err := s.store.Identity(ctx, m.Key)
	if err != nil {
		return nil, err
	}
	return &message.Identity{Document: d.Bytes()}, nil
}

func (s *Server) offer() (message.Message, error) {
	o := s.offers.get()
	if o.IsZero() {
		return nil, code.New(code.Busy, "the first offer is being made")
	}
	return &message.Offer{Offer: o.Signed().Bytes()}, nil
}
