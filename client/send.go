package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

const (
	// defaultTTL is how long a message lives if nothing is said: 30 days, in seconds.
	defaultTTL = 30 * 24 * 3600
	// minTTL leaves a relay, which wants an hour of life, some minutes to be reached.
	minTTL = 3600 + 600
	// orderLife is how long an order may wait in the queue, in milliseconds: 7 days.
	orderLife identity.UnixMilli = 7 * 24 * 3600 * 1000
)

// posted is a letter that is on disk and will be sent.
type posted struct {
	payer
	digest  identity.Digest // of the message
	path    records.Path
	expires identity.UnixMilli
	orders  []identity.Digest // in the order in which they are sent; the message is in the last
	records int
	worst   usage.Msat
}

// Send seals a message for a contact and stores it at one of the agent's own relays. It returns
// when the receipt of the relay is on disk (stored), or when the message is on disk here and the
// relay could not be reached or asks for patience (queued); then the agent goes on trying. Errors
// mean that nothing is sent: UnknownContact, NoRelay, NoFunds, AllowanceUsed, LimitExceeded,
// IdentityExpired, TooLarge, BadArgument, or a refusal of the relay that waiting does not cure.
func (a *Agent) Send(ctx context.Context, r SendRequest) (SendResult, error) {
	l, err := a.letter(ctx, r)
	if err != nil {
		return SendResult{}, err
	}
	p, err := a.post(ctx, l)
	if err != nil {
		return SendResult{}, err
	}
	out := SendResult{
		Digest: p.digest, Path: p.path.String(), State: StateQueued, Relay: p.relay, Contract: p.contract,
		Records: p.records, WorstCost: p.worst, Expires: p.expires,
	}
	if p.fault != nil {
		out.Reason = p.fault.Error()
		return out, nil
	}
	receipt, err := a.deliverAll(ctx, p)
	switch {
	case err == nil:
		out.State, out.Receipt = StateStored, receipt.Digest()
		out.Expires = min(out.Expires, receipt.ServiceUntil)
	case waits(err):
		out.Reason = err.Error()
	default:
		return out, errors.Join(err, a.abandonAll(ctx, p.orders))
	}
	return out, nil
}

// abandonAll gives all of a letter up: without one of its orders the others are of no use.
func (a *Agent) abandonAll(ctx context.Context, orders []identity.Digest) error {
	for _, o := range orders {
		if err := a.store.Abandon(context.WithoutCancel(ctx), o); err != nil {
			return err
		}
	}
	return nil
}

// letter checks a request.
func (a *Agent) letter(ctx context.Context, r SendRequest) (letter, error) {
	to, err := a.resolve(ctx, r.To)
	if err != nil {
		return letter{}, err
	}
	if r.MediaType == "" {
		r.MediaType = records.MediaText
	}
	l := letter{
		to: to, files: r.Attachments, kind: store.KindMessage, ttl: r.TTLSeconds, pulls: r.MaxPulls,
		tag: []byte(r.Tag), relay: r.Relay, grant: r.Grant, limit: r.MaxCost,
		content: records.Content{MediaType: r.MediaType, Body: r.Body, Regarding: r.Regarding},
	}
	if r.DeleteOnAck {
		l.flags = records.DeleteOnAck
	}
	all := 0
	for _, f := range r.Attachments {
		all += len(f.Data)
	}
	switch {
	case all > MaxTogether:
		return l, code.New(code.TooLarge, "attachments of %d MiB, allowed are %d", all>>20, MaxTogether>>20)
	case r.TTLSeconds != 0 && r.TTLSeconds < minTTL:
		return l, code.New(code.BadArgument, "a message lives at least %d seconds", minTTL)
	case len(r.Tag) > records.MaxTag:
		return l, code.New(code.BadArgument, "a tag has at most %d bytes", records.MaxTag)
	case len(r.Attachments) > records.MaxAttachments:
		return l, code.New(code.BadArgument, "a message has at most %d attachments", records.MaxAttachments)
	case strings.HasPrefix(r.MediaType, "application/vnd.relaymarket."):
		return l, code.New(code.BadArgument, "media type %s is the agent's own", r.MediaType)
	}
	_, err = l.content.Encode()
	return l, code.Wrap(code.BadArgument, err, "message")
}

// post seals a letter, chooses who pays, and queues it: from here on it is sent until its receipt
// comes.
func (a *Agent) post(ctx context.Context, l letter) (posted, error) {
	d, err := a.fresh(ctx, l.to)
	if err != nil {
		return posted{}, err
	}
	all, err := a.letterPayers(ctx, l)
	if err != nil {
		return posted{}, err
	}
	at := a.nowMilli()
	for _, p := range all {
		at = min(at, a.relayTime(p.relay))
	}
	a.sealing.Lock()
	defer a.sealing.Unlock()
	var box parcel
	var p payer
	var worst usage.Msat
	for _, l.ttl = range lives(l.ttl, all) {
		if box, err = a.compose(ctx, l, d, at); err != nil {
			return posted{}, err
		}
		if p, worst, err = choose(all, box.facts(), at, l.limit); err == nil {
			break
		}
	}
	if err != nil {
		return posted{}, err
	}
	last := box.drafts[len(box.drafts)-1]
	head, err := records.DecodeHeader(last.raw)
	if err != nil {
		return posted{}, err
	}
	out := posted{payer: p, digest: last.facts.Digest, path: head.Path(), expires: head.Expiry(), records: len(box.drafts), worst: worst}
	out.orders, err = a.enqueue(ctx, l, box, p, at)
	return out, err
}

// letterPayers are those that may pay for a letter: all, or the one grant that was chosen.
func (a *Agent) letterPayers(ctx context.Context, l letter) ([]payer, error) {
	if l.grant == "" {
		return a.payers(ctx, l.relay)
	}
	g, err := a.findGrant(ctx, l.grant)
	if err != nil {
		return nil, err
	}
	all, err := a.grantPayers(ctx, l.relay, g.Digest)
	if err == nil && len(all) == 0 {
		err = code.New(code.NoRelay, "grant %s cannot be used", g.Digest.Short())
	}
	return all, err
}

// lives are the lives, in seconds, to try for a letter, the best first. If none is asked for it is
// the usual one, and only where no relay that grants this can pay, a shorter one: one relay with a
// short limit must not shorten what others keep.
func lives(asked uint32, all []payer) []uint32 {
	if asked > 0 {
		return []uint32{asked}
	}
	var out []uint32
	for _, p := range all {
		out = append(out, min(defaultTTL, p.limits.MaxTTL))
	}
	slices.SortFunc(out, func(x, y uint32) int { return cmp.Compare(y, x) })
	return slices.Compact(out)
}

// enqueue makes the orders of a parcel and keeps them for sending, all or none.
func (a *Agent) enqueue(ctx context.Context, l letter, box parcel, p payer, at identity.UnixMilli) ([]identity.Digest, error) {
	runs, err := split(box.drafts, p.limits)
	if err != nil {
		return nil, err
	}
	var orders []identity.Digest
	for i, run := range runs {
		o, err := a.order(run, p, at)
		if err == nil {
			if i == len(runs)-1 && l.kind != store.KindRecovery { // which has no epoch
				o.Epochs, o.Flushed = []records.SendEpoch{box.epoch}, l.flushed
			}
			err = a.store.Enqueue(ctx, a.nowMilli(), o)
		}
		if err != nil {
			return nil, errors.Join(err, a.abandonAll(ctx, orders))
		}
		orders = append(orders, o.Order.Digest())
	}
	return orders, nil
}

// order signs an order and its records in one tree.
func (a *Agent) order(run []draft, p payer, at identity.UnixMilli) (store.Outgoing, error) {
	facts := parcel{drafts: run}.facts()
	raw, err := a.orderStatement(facts, p, at)
	if err != nil {
		return store.Outgoing{}, err
	}
	raws := [][]byte{raw}
	for _, d := range run {
		raws = append(raws, d.raw)
	}
	signed, err := identity.Sign(a.home.Key(), raws...)
	if err != nil {
		return store.Outgoing{}, err
	}
	var out store.Outgoing
	if out.Order, err = usage.OpenStoreOrder(signed[0]); err != nil {
		return out, err
	}
	for i, d := range run {
		r, err := records.Open(signed[i+1], d.content)
		if err != nil {
			return out, err
		}
		out.Records = append(out.Records, store.OutgoingRecord{
			Record: r, Kind: d.kind, Sequence: d.sequence, Previous: d.previous, Plain: d.plain, Summary: d.summary,
		})
	}
	return out, nil
}

// orderStatement is the order for these records, with their worst case at the payer's prices.
func (a *Agent) orderStatement(facts []usage.RecordFacts, p payer, at identity.UnixMilli) ([]byte, error) {
	worst, _, err := p.worst(facts, at)
	if err != nil {
		return nil, err
	}
	h, err := a.header(p.relay, at)
	if err != nil {
		return nil, err
	}
	o := usage.StoreOrder{
		Header: h, Contract: p.contract, Terms: p.terms, Grant: p.grant, N: uint16(len(facts)), MaxMsat: worst, NotAfter: at + orderLife,
	}
	digests := make([]identity.Digest, len(facts))
	for i, f := range facts {
		digests[i] = f.Digest
		o.TotalBytes += f.Billable()
		o.NotAfter = min(o.NotAfter, f.Expiry-records.MinLife)
	}
	o.Root = identity.Root(digests)
	return o.Encode()
}
