package client

import (
	"context"
	"errors"
	"io"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

const (
	// maxBatch and maxBatchBytes bound what is asked for in one read.
	maxBatch      = 64
	maxBatchBytes = session.MaxStreamBytes / 2
	// requestLife is how long a read request is valid, and requestSpare how much of that must be
	// left to show it, in milliseconds.
	requestLife  = usage.MaxRequestLife - 60_000
	requestSpare = 60_000
	// maxHeader bounds the header of a record, for records whose size is not known.
	maxHeader = 512
)

// wish is a record to be read from a relay.
type wish struct {
	record  identity.Digest
	from    identity.PublicKey // who must have signed it
	size    uint64             // header and content as the relay lists them
	arrival usage.Arrival
	home    uint16
	piece   *piece // of an attachment; nil: a message
}

// piece is where a chunk record belongs.
type piece struct {
	records.Attachment
	index int
}

// download is a record on its way.
type download struct {
	wish
	request identity.Signed
	header  []byte
	content []byte
	offset  uint32 // where this read began
	done    bool
}

// fetch reads records and everything that they bring along. held tells that something could not
// be read now and should be asked for again; an error, that the relay cannot be asked any more.
func (a *Agent) fetch(ctx context.Context, c *session.Client, relay identity.PublicKey, wishes []wish) (held bool, err error) {
	for len(wishes) > 0 {
		n := a.batch(relay, wishes)
		more, h, err := a.fetchBatch(ctx, c, relay, wishes[:n])
		held = held || h
		if err != nil {
			return held, err
		}
		wishes = append(wishes[n:len(wishes):len(wishes)], more...)
	}
	return held, nil
}

// batch is how many of the first wishes go into one read. One that broke off goes alone, because
// only a lone request resumes in the middle.
func (a *Agent) batch(relay identity.PublicKey, wishes []wish) int {
	var bytes uint64
	for i, w := range wishes {
		if a.parts.has(relay, w.record) {
			return max(i, 1)
		}
		bytes += w.size
		if i == maxBatch || i > 0 && bytes > maxBatchBytes {
			return i
		}
	}
	return len(wishes)
}

// fetchBatch reads some records in one request. more are the records that these ask for.
func (a *Agent) fetchBatch(ctx context.Context, c *session.Client, relay identity.PublicKey, wishes []wish) (more []wish, held bool, err error) {
	var mine []wish
	for _, w := range wishes {
		if !a.flight.take(w.record) {
			held = true // it comes from another relay; whether it came well is seen next time
			continue
		}
		defer a.flight.release(w.record)
		mine = append(mine, w)
	}
	if len(mine) == 0 {
		return nil, held, nil
	}
	more, left, h, err := a.read(ctx, c, relay, mine)
	held = held || h
	if err == nil || over(err) {
		return more, held, err
	}
	if len(left) == 1 {
		h, err := a.refused(ctx, relay, left[0], err)
		return more, held || h, err
	}
	// One of several was refused, and the relay does not say which: ask one by one.
	for _, w := range left {
		m, l, h, err := a.read(ctx, c, relay, []wish{w})
		more, held = append(more, m...), held || h
		if err == nil {
			continue
		}
		if over(err) {
			return more, held, err
		}
		if len(l) == 1 {
			if h, err = a.refused(ctx, relay, w, err); err != nil {
				return more, held, err
			}
			held = held || h
		}
	}
	return more, held, nil
}

// refused decides what becomes of a record that the relay neither served nor denied.
func (a *Agent) refused(ctx context.Context, relay identity.PublicKey, w wish, why error) (held bool, err error) {
	a.log.Info("a record was refused", "relay", relay.Name(), "record", w.record.Short(), "err", why)
	switch code.Of(why) {
	case code.RequestReused, code.Expired, code.BadSignature, code.NotYet:
		// The request is of no more use; the next one is a new one.
		return true, a.store.DropRequest(ctx, relay, w.record)
	case code.NotFound, code.TooLarge, code.Forbidden:
		return false, a.store.DropRequest(ctx, relay, w.record)
	}
	a.links.of(relay).unserved.Add(1)
	return true, nil
}

const (
	// stallTime is how long a read may bring nothing at all.
	stallTime = time.Minute
	// slowest is the rate, in bytes per second, below which a read is given up: a relay must not
	// keep a record to itself by sending it for ever. What came is kept and the read goes on there.
	slowest = 8 << 10
)

// readTime is how long a read of some records may take in all.
func readTime(wishes []wish) time.Duration {
	var bytes uint64
	for _, w := range wishes {
		bytes += min(w.size, records.MaxContent+maxHeader)
	}
	return stallTime + time.Duration(bytes/slowest)*time.Second
}

// read shows signed requests, kept before, and takes what comes. left are the wishes that were
// not answered when an error ended the read.
func (a *Agent) read(ctx context.Context, c *session.Client, relay identity.PublicKey, wishes []wish) (more, left []wish, held bool, err error) {
	ds, m, err := a.ask(ctx, relay, wishes)
	if err != nil {
		return nil, wishes, false, err
	}
	s, err := c.Stream(ctx, m)
	if err != nil {
		return nil, wishes, false, err
	}
	defer s.Close()
	within, cancel := context.WithTimeout(ctx, readTime(wishes))
	defer cancel()
	for err == nil {
		var got message.Message
		if got, err = next(within, s); err != nil {
			break
		}
		var w []wish
		var h bool
		w, h, err = a.take(ctx, relay, ds, got)
		more, held = append(more, w...), held || h
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	for i := range ds {
		if ds[i].done {
			continue
		}
		left = append(left, ds[i].wish)
		a.parts.keep(relay, &ds[i])
	}
	if err == nil && len(left) > 0 {
		err = code.New(code.Malformed, "the relay left %d of %d requests unanswered", len(left), len(ds))
	}
	return more, left, held, err
}

// next waits for the next answer of a read, not for long.
func next(ctx context.Context, s *session.Stream) (message.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, stallTime)
	defer cancel()
	return s.Next(ctx)
}

// ask makes the read request of a batch: for each record the one that may have been charged
// already, if it is still valid, else a new one, which is kept before it is shown.
func (a *Agent) ask(ctx context.Context, relay identity.PublicKey, wishes []wish) ([]download, *message.Read, error) {
	at := a.relayTime(relay)
	ds := make([]download, len(wishes))
	var fresh []int
	var raws [][]byte
	for i, w := range wishes {
		ds[i].wish = w
		q, known, err := a.store.Request(ctx, relay, w.record)
		if err != nil {
			return nil, nil, err
		}
		if body, err := usage.DecodeReadRequest(q.Signed.Statement); known && err == nil && body.NotAfter > at+requestSpare {
			ds[i].request = q.Signed
			continue
		}
		raw, err := a.requestStatement(relay, w, at)
		if err != nil {
			return nil, nil, err
		}
		fresh, raws = append(fresh, i), append(raws, raw)
	}
	if err := a.keepRequests(ctx, relay, ds, fresh, raws); err != nil {
		return nil, nil, err
	}
	return a.readMessage(relay, ds)
}

func (a *Agent) requestStatement(relay identity.PublicKey, w wish, at identity.UnixMilli) ([]byte, error) {
	h, err := a.header(relay, at)
	if err != nil {
		return nil, err
	}
	size := w.size
	if size == 0 || size > records.MaxContent+maxHeader {
		size = records.MaxContent + maxHeader
	}
	return usage.ReadRequest{Header: h, Record: w.record, MaxBytes: size, NotAfter: at + requestLife}.Encode()
}

func (a *Agent) keepRequests(ctx context.Context, relay identity.PublicKey, ds []download, fresh []int, raws [][]byte) error {
	if len(fresh) == 0 {
		return nil
	}
	signed, err := identity.Sign(a.home.Key(), raws...)
	if err != nil {
		return err
	}
	keep := make([]store.Request, len(fresh))
	for j, i := range fresh {
		ds[i].request = signed[j]
		keep[j] = store.Request{Signed: signed[j], Relay: relay, Home: store.Shard(ds[i].home)}
	}
	return a.store.SaveRequests(ctx, keep)
}

// readMessage bundles the requests under one signature.
func (a *Agent) readMessage(relay identity.PublicKey, ds []download) ([]download, *message.Read, error) {
	m := &message.Read{}
	raws := make([][]byte, len(ds))
	homes := make([]uint16, len(ds))
	for i := range ds {
		raws[i], homes[i] = ds[i].request.Statement, ds[i].home
		m.Statements = append(m.Statements, a.seen.of(ds[i].record))
	}
	if len(ds) == 1 {
		a.parts.resume(relay, &ds[0])
		m.Offset = ds[0].offset
	}
	b, err := identity.SignBundle(a.home.Key(), raws...)
	if err != nil {
		return nil, nil, err
	}
	m.Requests, m.Homes = b.Bytes(), message.NewHomes(homes...)
	return ds, m, nil
}

// take takes one message of the answer.
func (a *Agent) take(ctx context.Context, relay identity.PublicKey, ds []download, got message.Message) (more []wish, held bool, err error) {
	p, ok := got.(*message.ReadData)
	if !ok || int(p.Index) >= len(ds) {
		return nil, false, code.New(code.Malformed, "the relay answers read with %s", got.Type())
	}
	d := &ds[p.Index]
	switch {
	case len(p.Denial) > 0 && !d.done:
		held, err = a.denied(ctx, relay, d, p.Denial)
		d.done = err == nil
		return nil, held, err
	case p.End && len(p.Data) == 0 && len(p.Header) == 0 && !p.Last:
		return nil, false, nil
	}
	if err := d.add(p, records.MaxContent); err != nil {
		return nil, false, err
	}
	if !p.Last {
		return nil, false, nil
	}
	d.done = true
	if more, held, err = a.arrived(ctx, relay, d); err != nil {
		err = ownFault{err}
	}
	return more, held, err
}

// add takes a piece of a record of at most so many bytes. Code Malformed.
func (d *download) add(p *message.ReadData, most int) error {
	if d.done || int(p.Offset) != len(d.content) || len(d.content)+len(p.Data) > most {
		return code.New(code.Malformed, "the relay sends pieces out of order, or too much")
	}
	if len(p.Header) > 0 {
		d.header = p.Header
	}
	d.content = append(d.content, p.Data...)
	return nil
}

// denied keeps a denial: it is the relay's word. held tells that the record may be had later.
func (a *Agent) denied(ctx context.Context, relay identity.PublicKey, d *download, raw []byte) (held bool, err error) {
	s, err := identity.ParseSigned(raw)
	if err != nil {
		return false, err
	}
	no, err := usage.OpenDenial(s)
	if err != nil {
		return false, err
	}
	q, err := usage.OpenReadRequest(d.request)
	if err != nil {
		return false, err
	}
	if err := no.Answers(q); err != nil {
		return false, err
	}
	a.log.Info("a read was denied", "relay", relay.Name(), "record", d.record.Short(), "reason", no.Reason.String())
	if no.Reason != usage.ReasonBusy {
		for name, paper := range map[string]identity.Signed{"denial: " + no.Reason.String(): s, "denied read request": d.request} {
			e := store.Evidence{Relay: relay, Saved: a.nowMilli(), Name: name, Bytes: paper.Bytes()}
			if err := a.keepPaper(ctx, e); err != nil {
				return false, ownFault{err}
			}
		}
	}
	held = no.Reason == usage.ReasonBusy || no.Reason == usage.ReasonSuspended
	return held, a.store.DropRequest(ctx, relay, d.record)
}
