package client

import (
	"context"
	"errors"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// fundsPause is how long an order that could not be paid for waits before it is tried again, in
// milliseconds.
const fundsPause identity.UnixMilli = 60_000

// youngOrder is the age, in milliseconds, below which an order that a relay calls expired is not
// made anew: one of the two clocks is wrong, and the next order would fare no better.
const youngOrder identity.UnixMilli = 3600_000

// falsePause is the same for an order that was answered with a false receipt, or called
// expired: each try carries all of its records.
const falsePause identity.UnixMilli = 10 * 60_000

// deliverAll sends the orders of a letter, in order, and gives the receipt of the last.
func (a *Agent) deliverAll(ctx context.Context, p posted) (usage.VerifiedReceipt, error) {
	var r usage.VerifiedReceipt
	c, err := a.session(ctx, p.relay)
	if err != nil {
		return r, err
	}
	for _, o := range p.orders {
		if r, err = a.deliver(ctx, c, p.relay, o); err != nil {
			return r, err
		}
	}
	return r, nil
}

// deliver sends one queued order and keeps its receipt, or what went wrong. An order that was
// delivered meanwhile gives the receipt that is kept. An order that the relay will never take is
// given up.
func (a *Agent) deliver(ctx context.Context, c *session.Client, relay identity.PublicKey, order identity.Digest) (usage.VerifiedReceipt, error) {
	var r usage.VerifiedReceipt
	l := a.links.of(relay)
	if err := acquire(ctx, l.writing); err != nil {
		return r, err
	}
	defer func() { <-l.writing }()
	w, err := a.store.QueuedWrite(ctx, order)
	if code.Of(err) == code.NotFound {
		s, err := a.store.Receipt(ctx, order)
		if err != nil {
			return r, err
		}
		return usage.OpenReceipt(s)
	} else if err != nil {
		return r, err
	}
	if err = a.piecesStored(ctx, order, w); err == nil {
		r, err = a.write(ctx, c, w)
	}
	if err == nil {
		return r, a.keepReceipt(ctx, order, r)
	}
	ctx = context.WithoutCancel(ctx) // the outcome is noted even if the caller has gone
	if e := a.store.MarkTried(ctx, a.nowMilli(), order, err); e != nil {
		return r, e
	}
	if !waits(err) {
		if e := a.store.Abandon(ctx, order); e != nil {
			return r, e
		}
		a.log.Warn("the relay will not take an order", "relay", relay.Name(), "order", order.Short(), "err", err)
	}
	return r, err
}

// piecesStored makes a message wait until the pieces of its attachments are stored: code Busy. When
// one of them was given up, the message is of no use either: code BadState.
func (a *Agent) piecesStored(ctx context.Context, order identity.Digest, w store.QueuedWrite) error {
	for _, h := range w.Headers {
		s, err := a.store.Sent(ctx, identity.StatementDigest(identity.TypeRecord, h.Statement))
		if err != nil {
			return err
		}
		if s.Kind != store.KindMessage || !s.HasPlain {
			continue
		}
		files, err := a.filesOf(ctx, s.Digest)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := a.pieceStored(ctx, order, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Agent) pieceStored(ctx context.Context, order identity.Digest, f records.Attachment) error {
	for _, d := range f.Pieces {
		s, err := a.store.Sent(ctx, d)
		if err != nil {
			return err
		}
		if s.Stored > 0 || slices.Contains(s.Orders, order) {
			continue
		}
		waiting, err := a.waiting(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(s.Orders, func(o identity.Digest) bool { _, ok := waiting[o]; return ok }) {
			return code.New(code.BadState, "a part of attachment %q was given up", f.Name)
		}
		return code.New(code.Busy, "attachment %q is not stored yet", f.Name)
	}
	return nil
}

// keepReceipt saves a receipt. A relay that has the records already, under an earlier order of
// this agent, answers with that order's receipt.
func (a *Agent) keepReceipt(ctx context.Context, order identity.Digest, r usage.VerifiedReceipt) error {
	if err := a.store.SaveReceipt(ctx, r); err != nil || r.Order == order {
		return err
	}
	return a.store.Abandon(ctx, order)
}

// write sends a queued write and verifies the receipt. Order and records are signed again in one
// tree, because they travel as one bundle: statements are what counts, not their proofs.
func (a *Agent) write(ctx context.Context, c *session.Client, w store.QueuedWrite) (usage.VerifiedReceipt, error) {
	var r usage.VerifiedReceipt
	raws := [][]byte{w.Order.Statement}
	for _, h := range w.Headers {
		raws = append(raws, h.Statement)
	}
	b, err := identity.SignBundle(a.home.Key(), raws...)
	if err != nil {
		return r, err
	}
	m, err := call[*message.Written](ctx, c, &message.Write{Bundles: [][]byte{b.Bytes()}, Contents: w.Contents})
	if err != nil {
		return r, err
	}
	s, err := identity.ParseSigned(m.Receipt)
	if err != nil {
		return r, err
	}
	if r, err = usage.OpenReceipt(s); err != nil {
		return r, err
	}
	if err := a.checkReceipt(ctx, w, r, c.Info()); err != nil {
		return r, a.falseReceipt(ctx, w.Order, r, err)
	}
	return r, nil
}

// waits tells whether an order that failed stays in the queue: because the relay was not reached
// or answered nonsense, asks for patience, has no money for it now, or because it is too old and
// its records will be ordered anew.
func waits(err error) bool {
	var lie falseReceipt
	if errors.As(err, &lie) {
		return true
	}
	switch c := code.Of(err); c {
	case code.NoFunds, code.ContractUnknown, code.PinMismatch, code.WrongRelay, code.NoRelay, code.BadSignature, code.Expired:
		return true
	default:
		return c.Retryable()
	}
}

// flushQueue sends everything that waits for a relay.
func (a *Agent) flushQueue(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	queue, err := a.store.Queue(ctx, relay)
	if err != nil {
		return err
	}
	for _, q := range queue {
		if err := a.flushOne(ctx, c, q); over(err) {
			return err
		} else if err != nil {
			a.log.Info("an order waits", "relay", relay.Name(), "order", q.Order.Short(), "err", err)
		}
	}
	return nil
}

func (a *Agent) flushOne(ctx context.Context, c *session.Client, q store.QueuedOrder) error {
	now := a.nowMilli()
	if now < q.LastTry+pauseAfter(q.Error) && now >= q.LastTry {
		return nil
	}
	pays, err := a.pays(ctx, q.Contract)
	if err != nil {
		return err
	}
	if now < q.NotAfter && pays {
		_, err := a.deliver(ctx, c, q.Relay, q.Order)
		if code.Of(err) != code.Expired || now >= q.Created && now < q.Created+youngOrder {
			return err
		}
	}
	return a.reorder(ctx, q.Order)
}

// pauseAfter is how long an order waits before it is tried again after it failed so.
func pauseAfter(c code.Code) identity.UnixMilli {
	switch c {
	case code.NoFunds, code.AllowanceUsed:
		return fundsPause
	case code.Conflict, code.Expired: // the first is left by a false receipt only
		return falsePause
	}
	return 0
}

// pays tells whether a contract takes records now, one's own or by a grant; the free allowance always may.
func (a *Agent) pays(ctx context.Context, id usage.ContractID) (bool, error) {
	if id.IsZero() {
		return true, nil
	}
	for _, c := range a.serving() {
		if c.ID() == id {
			return true, nil
		}
	}
	return a.mayOrderOn(ctx, id)
}

// reorder orders the records of an order anew that can no longer be carried out: it is too old,
// or its contract is over. Records whose life is nearly over are given up. What was said that they
// may cost at most stays true.
func (a *Agent) reorder(ctx context.Context, order identity.Digest) error {
	w, err := a.store.QueuedWrite(ctx, order)
	if code.Of(err) == code.NotFound {
		return nil // delivered or given up meanwhile
	} else if err != nil {
		return err
	}
	at := a.nowMilli()
	run := make([]draft, len(w.Headers))
	for i, h := range w.Headers {
		if run[i], err = redraft(h, w.Contents[i]); err != nil {
			return err
		}
		if run[i].facts.Expiry < at+minTTL*1000 {
			a.log.Warn("a message was not delivered in its lifetime", "record", run[i].facts.Digest.Short())
			return a.store.Abandon(ctx, order)
		}
	}
	all, err := a.payers(ctx, identity.PublicKey{})
	if err != nil {
		return err
	}
	old, err := usage.DecodeStoreOrder(w.Order.Statement)
	if err != nil {
		return code.Wrap(code.StoreCorrupt, err, "a queued order")
	}
	p, _, err := choose(all, parcel{drafts: run}.facts(), at, old.MaxMsat)
	if err != nil {
		return err
	}
	o, err := a.order(run, p, min(at, a.relayTime(p.relay)))
	if err != nil {
		return err
	}
	o.Replaces = order
	return a.store.Enqueue(ctx, at, o)
}

// redraft makes a draft of a record that was signed before.
func redraft(h identity.Signed, content []byte) (draft, error) {
	head, err := records.DecodeHeader(h.Statement)
	return draft{
		raw: h.Statement, content: content,
		facts: usage.RecordFacts{
			Digest: identity.StatementDigest(identity.TypeRecord, h.Statement), Sender: head.From, Receiver: head.To,
			Stored: uint64(len(h.Statement) + len(content)), Expiry: head.Expiry(), MaxPulls: head.MaxPulls, DeleteOnAck: head.DeleteOnAck(),
		},
	}, err
}
