package relay

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// maxClockLead is how far a statement's time may be ahead of the relay's clock.
const maxClockLead identity.UnixMilli = 120_000

// opener turns messages into verified operations. It holds what every statement is checked
// against; it reads no state and no clock.
type opener struct {
	network identity.Network
	relay   identity.PublicKey
	limits  usage.Limits
}

// check applies what holds for every statement that orders this relay to act: addressed to
// it, on its network, by the session's identity where that is asked, not from the future.
func (o *opener) check(h identity.Header, now identity.UnixMilli) error {
	switch {
	case h.Network != o.network:
		return code.New(code.WrongNetwork, "a %s for %s; this relay is on %s", h.Type, h.Network, o.network)
	case h.To != o.relay:
		return code.New(code.WrongRecipient, "the %s is addressed to %s", h.Type, h.To.Name())
	case h.Time > now+maxClockLead:
		return code.New(code.NotYet, "the %s is dated %d s in the future", h.Type, (h.Time-now)/1000)
	}
	return nil
}

// bundle parses one bundle into statements with proofs, at most max of them.
func (o *opener) bundle(raw []byte, max int) ([]identity.Signed, error) {
	b, err := identity.ParseBundle(raw)
	if err != nil {
		return nil, err
	}
	if len(b.Statements) > max {
		return nil, code.New(code.TooLarge, "%d statements in a bundle, allowed are %d", len(b.Statements), max)
	}
	return b.Split()
}

// write opens a write: one order, then exactly the records that it covers, each with its
// content. The session's identity must be the payer or the sender.
func (o *opener) write(m *message.Write, by identity.PublicKey, now identity.UnixMilli) (store.WriteOp, error) {
	var all []identity.Signed
	for _, raw := range m.Bundles {
		part, err := o.bundle(raw, int(o.limits.MaxBundle)+1)
		if err != nil {
			return store.WriteOp{}, err
		}
		all = append(all, part...)
	}
	if len(all) != len(m.Contents)+1 || len(m.Contents) > int(o.limits.MaxBundle) {
		return store.WriteOp{}, code.New(code.OrderMismatch, "%d statements with %d contents: a write is one order and a content for each of its records", len(all), len(m.Contents))
	}
	verdicts := identity.VerifyBatch(all)
	order, err := usage.OpenStoreOrderVerified(all[0], verdicts[0])
	if err != nil {
		return store.WriteOp{}, err
	}
	if err := o.check(order.Header, now); err != nil {
		return store.WriteOp{}, err
	}
	if order.NotAfter < now {
		return store.WriteOp{}, code.New(code.Expired, "the order was valid until %d s ago", (now-order.NotAfter)/1000)
	}
	op := store.WriteOp{Order: order, Records: make([]records.Record, len(m.Contents))}
	paths := make(map[records.Path]bool, len(m.Contents))
	for i, content := range m.Contents {
		if op.Records[i], err = o.record(all[i+1], verdicts[i+1], content, now); err != nil {
			return store.WriteOp{}, err
		}
		if by != order.From && by != op.Records[i].Header().From {
			return store.WriteOp{}, code.New(code.Forbidden, "only the payer or the sender may bring this record")
		}
		p := op.Records[i].Path()
		if paths[p] {
			return store.WriteOp{}, code.New(code.Conflict, "two records of this order are for %s", p)
		}
		paths[p] = true
	}
	return op, nil
}

func (o *opener) record(s identity.Signed, v identity.Verdict, content []byte, now identity.UnixMilli) (records.Record, error) {
	h, err := records.OpenHeaderVerified(s, v)
	if err != nil {
		return records.Record{}, err
	}
	head := h.Header()
	switch {
	case head.Network != o.network:
		return records.Record{}, code.New(code.WrongNetwork, "a record for %s", head.Network)
	case len(content) > int(o.limits.MaxContent):
		return records.Record{}, code.New(code.TooLarge, "a content of %d bytes, allowed are %d", len(content), o.limits.MaxContent)
	case head.MaxPulls > o.limits.MaxPulls:
		return records.Record{}, code.New(code.TooLarge, "max_pulls %d, allowed are %d", head.MaxPulls, o.limits.MaxPulls)
	}
	if err := records.CheckTimes(head, now, o.limits.MaxTTL); err != nil {
		return records.Record{}, err
	}
	return h.Attach(content)
}

// reads opens read requests. All are signed by the session's identity.
func (o *opener) reads(m *message.Read, by identity.PublicKey, now identity.UnixMilli) ([]store.Op, error) {
	all, err := o.bundle(m.Requests, int(o.limits.MaxPage))
	if err != nil {
		return nil, err
	}
	if len(m.Statements) > len(all) {
		return nil, code.New(code.Malformed, "%d statements are shown with %d requests", len(m.Statements), len(all))
	}
	if m.Offset != 0 && len(all) != 1 {
		return nil, code.New(code.Malformed, "only a single read can be resumed")
	}
	ops := make([]store.Op, len(all))
	for i, v := range identity.VerifyBatch(all) {
		r, err := usage.OpenReadRequestVerified(all[i], v)
		if err != nil {
			return nil, err
		}
		if err := o.own(r.Header, by, now); err != nil {
			return nil, err
		}
		if r.NotAfter < now {
			return nil, code.New(code.Expired, "the read request was valid until %d s ago", (now-r.NotAfter)/1000)
		}
		op := store.ReadOp{Request: r, Home: homeHint(m.Homes, i), Offset: m.Offset}
		if i < len(m.Statements) && len(m.Statements[i]) > 0 {
			if err := r.CheckEntitled(m.Statements[i]); err != nil {
				return nil, err
			}
			op.Entitled = true
		}
		ops[i] = op
	}
	return ops, nil
}

// own is check for statements that the session's identity must have signed itself.
func (o *opener) own(h identity.Header, by identity.PublicKey, now identity.UnixMilli) error {
	if h.From != by {
		return code.New(code.Forbidden, "the %s is signed by another identity than this session's", h.Type)
	}
	return o.check(h, now)
}

func homeHint(h message.Homes, i int) store.Shard {
	if s, ok := h.At(i); ok {
		return s
	}
	return store.NoShard
}

// deletes opens delete statements; a bad one spoils only itself.
func (o *opener) deletes(m *message.Delete, by identity.PublicKey, now identity.UnixMilli) ([]store.Op, []error, error) {
	return openEach(o, m.Deletes, int(o.limits.MaxPage), func(i int, s identity.Signed, v identity.Verdict) (store.Op, error) {
		d, err := usage.OpenDeleteVerified(s, v)
		if err != nil {
			return nil, err
		}
		return store.DeleteOp{Delete: d, Home: homeHint(m.Homes, i)}, o.own(d.Header, by, now)
	})
}

// acks opens delivery acknowledgements; a bad one spoils only itself.
func (o *opener) acks(m *message.Acknowledge, by identity.PublicKey, now identity.UnixMilli) ([]store.Op, []error, error) {
	return openEach(o, m.Acks, int(o.limits.MaxPage), func(i int, s identity.Signed, v identity.Verdict) (store.Op, error) {
		a, err := usage.OpenAcknowledgementVerified(s, v)
		if err != nil {
			return nil, err
		}
		if a.Relay != o.relay {
			return nil, code.New(code.WrongRecipient, "the acknowledgement names another relay as the serving one")
		}
		return store.AckOp{Ack: a, Home: homeHint(m.Homes, i)}, o.own(a.Header, by, now)
	})
}

// openEach opens the statements of a bundle one by one. Where errs[i] is set, ops[i] is nil.
func openEach(o *opener, raw []byte, most int, open func(int, identity.Signed, identity.Verdict) (store.Op, error)) (ops []store.Op, errs []error, err error) {
	all, err := o.bundle(raw, most)
	if err != nil {
		return nil, nil, err
	}
	ops, errs = make([]store.Op, len(all)), make([]error, len(all))
	for i, v := range identity.VerifyBatch(all) {
		if ops[i], errs[i] = open(i, all[i], v); errs[i] != nil {
			ops[i] = nil
		}
	}
	return ops, errs, nil
}

// document opens an Identity document that its owner puts.
func (o *opener) document(m *message.PutIdentity, by identity.PublicKey, now identity.UnixMilli) (store.IdentityOp, error) {
	s, err := identity.ParseSigned(m.Document)
	if err != nil {
		return store.IdentityOp{}, err
	}
	d, err := identity.OpenDocument(s, now)
	if err != nil {
		return store.IdentityOp{}, err
	}
	switch {
	case d.Owner() != by:
		return store.IdentityOp{}, code.New(code.Forbidden, "only its owner may put an identity document")
	case d.Network() != o.network:
		return store.IdentityOp{}, code.New(code.WrongNetwork, "an identity document for %s", d.Network())
	}
	return store.IdentityOp{Document: d}, nil
}
