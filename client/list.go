package client

import (
	"context"
	"errors"
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

// Lists of a relay. One cursor per relay says how far everybody's records were looked at. A
// contact that was added later has its own mark (the cursor for that relay and contact): without
// it, the relay's list is looked at once more from its beginning, for that contact alone.

// everybody is the party of a relay's general cursor.
var everybody identity.PublicKey

// listing is one look at the list of one relay.
type listing struct {
	relay identity.PublicKey
	c     *session.Client
	epoch [16]byte // store epoch that the cursor belongs to
	// from are the senders whose records are read.
	from map[identity.PublicKey]bool
	// held tells that a record could not be read yet, so that the saved cursor may not pass it.
	held  bool
	since time.Time // of held
}

func (ls *listing) hold(held bool, now time.Time) {
	if held && !ls.held {
		ls.held, ls.since = true, now
	}
}

// receive reads everything new at a relay.
func (a *Agent) receive(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	l := a.links.of(relay)
	if err := acquire(ctx, l.reading); err != nil {
		return err
	}
	defer func() { <-l.reading }()
	l.unserved.Store(0)
	contacts, err := a.store.Contacts(ctx)
	if err != nil || len(contacts) == 0 {
		return err
	}
	ls := &listing{relay: relay, c: c, epoch: c.Info().StoreEpoch, from: make(map[identity.PublicKey]bool)}
	at, err := a.cursor(ctx, ls)
	if err != nil {
		return err
	}
	if at > 0 {
		if err := a.receiveBacklog(ctx, ls, contacts, at); err != nil {
			return err
		}
	}
	for _, k := range contacts {
		ls.from[k.Key] = true
	}
	if err := a.receiveFrom(ctx, ls, at); err != nil {
		return err
	}
	return a.markListed(ctx, ls, contacts)
}

// cursor is where a list goes on; 0 if the relay was restored or never seen.
func (a *Agent) cursor(ctx context.Context, ls *listing) (usage.Arrival, error) {
	at, err := a.store.Cursor(ctx, ls.relay, everybody)
	if err != nil || at.StoreEpoch != ls.epoch {
		return 0, err
	}
	return at.Through, nil
}

// receiveBacklog reads what contacts that were added later had sent before.
func (a *Agent) receiveBacklog(ctx context.Context, ls *listing, contacts []store.Contact, to usage.Arrival) error {
	old := &listing{relay: ls.relay, c: ls.c, epoch: ls.epoch, from: make(map[identity.PublicKey]bool)}
	for _, k := range contacts {
		mark, err := a.store.Cursor(ctx, ls.relay, k.Key)
		if err != nil {
			return err
		}
		if mark.StoreEpoch != ls.epoch {
			old.from[k.Key] = true
		}
	}
	if len(old.from) == 0 {
		return nil
	}
	pages := 0
	for at := usage.Arrival(0); at < to; pages++ {
		if pages == maxPages {
			return nil // not marked
		}
		p, err := a.page(ctx, old, at, to+1)
		if err != nil {
			return err
		}
		if err := a.takeRows(ctx, old, p.Rows); err != nil {
			return err
		}
		if !p.More || usage.Arrival(p.Through) <= at {
			break
		}
		at = usage.Arrival(p.Through)
	}
	if old.held {
		return nil // not marked: looked at again
	}
	for k := range old.from {
		m := store.CursorMove{Relay: ls.relay, Peer: k, Cursor: store.Cursor{Through: to, StoreEpoch: ls.epoch}}
		if err := a.store.SaveCursor(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// receiveFrom goes through the list from a cursor to its end.
func (a *Agent) receiveFrom(ctx context.Context, ls *listing, at usage.Arrival) error {
	for range maxPages {
		p, err := a.page(ctx, ls, at, 0)
		if err != nil {
			return err
		}
		if err := a.takePage(ctx, ls, p.Rows, usage.Arrival(p.Through)); err != nil {
			return err
		}
		if !p.More || usage.Arrival(p.Through) <= at {
			return nil
		}
		at = usage.Arrival(p.Through)
	}
	return nil
}

// maxPages is how many pages of a list are looked at in one go; the rest comes the next time.
const maxPages = 4096

func (a *Agent) page(ctx context.Context, ls *listing, after, before usage.Arrival) (*message.InventoryPage, error) {
	p, err := call[*message.InventoryPage](ctx, ls.c, &message.Inventory{
		Role: message.RoleReceiver, After: uint64(after), Before: uint64(before),
	})
	if err != nil {
		return nil, err
	}
	if p.StoreEpoch != ls.epoch {
		ls.c.Close() // the next session begins with the new epoch, and from 0
		return nil, code.New(code.Disconnected, "relay %s was restored meanwhile", ls.relay.Name())
	}
	return p, nil
}

// takePage reads what is new on a page and then moves the cursor, unless something must be asked
// for again.
func (a *Agent) takePage(ctx context.Context, ls *listing, rows []message.Row, through usage.Arrival) error {
	if err := a.takeRows(ctx, ls, rows); err != nil {
		return err
	}
	if ls.held {
		return nil
	}
	return a.store.SaveCursor(ctx, store.CursorMove{
		Relay: ls.relay, Cursor: store.Cursor{Through: through, StoreEpoch: ls.epoch},
	})
}

// markListed notes for which contacts the general cursor speaks.
func (a *Agent) markListed(ctx context.Context, ls *listing, contacts []store.Contact) error {
	general, err := a.store.Cursor(ctx, ls.relay, everybody)
	if err != nil || general.StoreEpoch != ls.epoch {
		return err
	}
	for _, k := range contacts {
		mark, err := a.store.Cursor(ctx, ls.relay, k.Key)
		if err != nil {
			return err
		}
		if mark.StoreEpoch == ls.epoch {
			continue
		}
		if err := a.store.SaveCursor(ctx, store.CursorMove{Relay: ls.relay, Peer: k.Key, Cursor: general}); err != nil {
			return err
		}
	}
	return nil
}

// maxUnserved is how many records a relay may list without serving them before its list is left
// alone for a while: the request for each is kept.
const maxUnserved = 1024

// takeRows reads those records of a list that are wanted and not known.
func (a *Agent) takeRows(ctx context.Context, ls *listing, rows []message.Row) error {
	if a.links.of(ls.relay).unserved.Load() > maxUnserved || a.lowOnDisk() {
		ls.hold(true, a.now()) // later
		return nil
	}
	// By the relay's clock: by a wrong one of this machine records would be passed over for good.
	now := identity.UnixMilli(a.now().Add(ls.c.Info().TimeOffset).UnixMilli())
	rows = slices.DeleteFunc(slices.Clone(rows), func(r message.Row) bool {
		if ls.from[r.From] && r.To == a.Key() {
			a.seen.learn(r)
		}
		// Pieces are read when the message that names them has come.
		return !ls.from[r.From] || r.To != a.Key() || records.IsPieceID(records.ID(r.ID)) || r.Expiry <= now
	})
	digests := make([]identity.Digest, len(rows))
	for i, r := range rows {
		digests[i] = r.Digest
	}
	known, err := a.store.Known(ctx, digests)
	if err != nil {
		return err
	}
	var wishes []wish
	for i, r := range rows {
		if !known[i] {
			wishes = append(wishes, wish{record: r.Digest, from: r.From, size: uint64(r.Size), arrival: usage.Arrival(r.Arrival), home: r.Home})
			continue
		}
		pieces, err := a.unfinished(ctx, r)
		if err != nil {
			return err
		}
		wishes = append(wishes, pieces...)
	}
	held, err := a.fetch(ctx, ls.c, ls.relay, wishes)
	ls.hold(held, a.now())
	return err
}

// unfinished are the pieces that a known message lacks. It is listed again because the session ended between the
// two: the cursor does not pass a message whose pieces were not asked for.
func (a *Agent) unfinished(ctx context.Context, row message.Row) ([]wish, error) {
	r, err := a.store.Received(ctx, row.Digest)
	if code.Of(err) == code.NotFound || err == nil && (r.Kind != store.KindMessage || !r.Opened || !r.HasPlain) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	files, err := a.filesOf(ctx, row.Digest)
	if err != nil {
		return nil, err
	}
	return a.missingPieces(ctx, r.Header.From, files, row.Home, maxEager)
}

const (
	// listenPause is how often a listener looks after what waits to be sent to its relay.
	listenPause = 15 * time.Second
	// heldPause is when a record that could not be read is asked for again.
	heldPause = 5 * time.Minute
)

// listen reads what arrives at a relay until the session ends, ctx ends, or the link is kicked
// (then it gives nil).
func (a *Agent) listen(ctx context.Context, c *session.Client, relay identity.PublicKey) error {
	l := a.links.of(relay)
	ls := &listing{relay: relay, c: c, epoch: c.Info().StoreEpoch, from: make(map[identity.PublicKey]bool)}
	contacts, err := a.store.Contacts(ctx)
	if err != nil {
		return err
	}
	for _, k := range contacts {
		ls.from[k.Key] = true
	}
	at, err := a.cursor(ctx, ls)
	if err != nil {
		return err
	}
	s, err := c.Stream(ctx, &message.Listen{After: uint64(at)})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	kicked := make(chan struct{})
	go func() {
		select {
		case <-l.kick:
			close(kicked)
			stop()
		case <-ctx.Done():
		}
	}()
	for {
		err := a.listenOnce(ctx, s, ls)
		select {
		case <-kicked:
			return nil
		default:
		}
		if err != nil {
			return err
		}
	}
}

// listenOnce takes the next event, or, if none comes for a while, sends what waits for the relay.
func (a *Agent) listenOnce(ctx context.Context, s *session.Stream, ls *listing) error {
	wait, cancel := context.WithTimeout(ctx, listenPause)
	defer cancel()
	m, err := s.Next(wait)
	if code.Of(err) == code.Timeout && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		if ls.held && a.now().Sub(ls.since) > heldPause {
			nudge(a.links.of(ls.relay).kick)
		}
		return a.sendWaiting(ctx, ls.c, ls.relay)
	}
	if err != nil {
		return err
	}
	ev, ok := m.(*message.ListenEvent)
	if !ok {
		return code.New(code.Malformed, "the relay answers listen with %s", m.Type())
	}
	l := a.links.of(ls.relay)
	if err := acquire(ctx, l.reading); err != nil {
		return err
	}
	defer func() { <-l.reading }()
	if err := a.takePage(ctx, ls, ev.Rows, usage.Arrival(ev.Through)); err != nil {
		return err
	}
	return a.sendDeliveryAcks(ctx, ls.c, ls.relay)
}
