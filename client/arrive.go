package client

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// maxEager is how many bytes of a message's attachments are fetched at once with it; larger ones
// are fetched when the message is read.
const maxEager = 64 << 20

// arrived takes a complete download: it is verified, opened, and saved in one step with the
// acknowledgements that follow from it. more are the pieces that a message names.
func (a *Agent) arrived(ctx context.Context, relay identity.PublicKey, d *download) (more []wish, held bool, err error) {
	v, err := a.checkHeader(d)
	if err != nil {
		return nil, false, a.falseDelivery(ctx, relay, d, err)
	}
	in := store.Incoming{Record: v, Relay: relay, Arrival: d.arrival, Home: store.Shard(d.home), Verdict: usage.VerdictOK, Kind: store.KindMessage}
	if d.piece != nil {
		in.Kind = store.KindPiece
	}
	rec, err := v.Attach(d.content)
	if err != nil {
		a.log.Warn("a relay delivered what the sender did not sign", "relay", relay.Name(), "record", d.record.Short(), "err", err)
		in.Verdict = usage.VerdictBad
		return nil, false, a.saveIncoming(ctx, d, &in)
	}
	if d.piece != nil {
		return nil, false, a.arrivedPiece(ctx, d, rec, &in)
	}
	return a.arrivedMessage(ctx, d, rec, &in)
}

// checkHeader verifies that the header is the one that was asked for.
func (a *Agent) checkHeader(d *download) (records.Verified, error) {
	s, err := identity.ParseSigned(d.header)
	if err != nil {
		return records.Verified{}, err
	}
	v, err := records.OpenHeader(s)
	if err != nil {
		return v, err
	}
	if h := v.Header(); v.Digest() != d.record || h.From != d.from || h.To != a.Key() {
		return v, code.New(code.BadContent, "another record than the one that was asked for")
	}
	return v, nil
}

// falseDelivery keeps what a relay delivered instead of the record, and says BAD to the relay. It
// is not kept as received: another relay may have the record.
func (a *Agent) falseDelivery(ctx context.Context, relay identity.PublicKey, d *download, why error) error {
	a.log.Warn("a relay delivered something else", "relay", relay.Name(), "record", d.record.Short(), "err", why)
	e := store.Evidence{Relay: relay, Saved: a.nowMilli(), Name: "false delivery: " + why.Error(), Bytes: d.header}
	if len(d.header) > 0 {
		if err := a.keepPaper(ctx, e); err != nil {
			return err
		}
	}
	ack, _, err := a.acknowledgements(relay, d, d.from, uint64(len(d.header)+len(d.content)), usage.VerdictBad)
	if err != nil {
		return err
	}
	if c := a.links.of(relay).live(); c != nil {
		if _, err := a.acknowledge(ctx, c, []store.PendingStatement{{Signed: ack, Home: store.Shard(d.home)}}); err != nil {
			a.log.Debug("a BAD was not taken", "relay", relay.Name(), "err", err)
		}
	}
	return a.store.DropRequest(ctx, relay, d.record)
}

// arrivedPiece opens a chunk of an attachment.
func (a *Agent) arrivedPiece(ctx context.Context, d *download, rec records.Record, in *store.Incoming) error {
	plain, err := d.piece.OpenPiece(d.piece.index, rec)
	if err != nil {
		a.log.Warn("a piece of an attachment cannot be opened", "record", d.record.Short(), "err", err)
	} else {
		in.Opened, in.Plain = true, plain
	}
	return a.saveIncoming(ctx, d, in)
}

// staleTries is how often a message is opened again because another one of its epoch was saved
// meanwhile.
const staleTries = 16

// arrivedMessage opens a message and everything in it.
func (a *Agent) arrivedMessage(ctx context.Context, d *download, rec records.Record, in *store.Incoming) ([]wish, bool, error) {
	var c records.Content
	var document *identity.VerifiedDocument
	for try := 0; ; try++ {
		var err error
		if c, err = a.openMessage(ctx, rec, in); err != nil {
			return nil, false, err
		}
		if document, err = a.understand(rec, c, in); err != nil {
			return nil, false, err
		}
		err = a.saveIncoming(ctx, d, in)
		if code.Of(err) == code.StoreStale && try < staleTries {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		break
	}
	if document != nil {
		if err := a.takeDocument(ctx, document); err != nil && code.Of(err) != code.IdentityRollback {
			return nil, false, err
		}
	}
	if in.Kind != store.KindMessage || !in.Opened {
		return nil, false, nil
	}
	a.news.give()
	more, err := a.missingPieces(ctx, rec.Header().From, c.Attachments, d.home, maxEager)
	return more, false, err
}

// openMessage decrypts. A record that cannot be opened is saved all the same: it arrived whole, so
// the relay gets its acknowledgement, but its sender gets none (see records.RecvEpoch).
func (a *Agent) openMessage(ctx context.Context, rec records.Record, in *store.Incoming) (records.Content, error) {
	in.Opened, in.Epoch = false, nil
	s, err := records.ParseSealed(rec.Content())
	if err != nil {
		a.cannotOpen(rec, err)
		return records.Content{}, nil
	}
	keys, err := a.store.SealingKeys(ctx)
	if err != nil {
		return records.Content{}, err
	}
	before, err := a.store.RecvEpoch(ctx, rec.Header().From, s.Epoch)
	if err != nil {
		return records.Content{}, err
	}
	c, after, err := records.OpenContent(keys, before, rec)
	if err != nil {
		a.cannotOpen(rec, err)
		return records.Content{}, nil
	}
	in.Opened, in.Epoch = true, &after
	return c, nil
}

func (a *Agent) cannotOpen(rec records.Record, why error) {
	a.log.Warn("a record cannot be opened", "from", rec.Header().From.Name(), "record", rec.Digest().Short(), "err", why)
}

// understand decides what an opened content is for. What it claims to be and is not is shown as
// nothing and changes nothing.
func (a *Agent) understand(rec records.Record, c records.Content, in *store.Incoming) (*identity.VerifiedDocument, error) {
	in.Kind, in.Acks, in.Plain, in.Summary, in.Sequence, in.Previous = store.KindMessage, nil, nil, nil, 0, identity.Digest{}
	if !in.Opened {
		return nil, nil
	}
	switch c.MediaType {
	case records.MediaAcknowledgements:
		in.Kind = store.KindAcknowledgements
		in.Acks = a.openAcks(rec.Header().From, c.Body)
		return nil, nil
	case records.MediaIdentity:
		in.Kind = store.KindIdentity
		return a.openIdentity(rec.Header().From, c.Body), nil
	}
	var err error
	in.Sequence, in.Previous, in.Summary = c.Sequence, c.Previous, summarize(c)
	in.Plain, err = c.Encode()
	return nil, err
}

// openAcks verifies acknowledgements that a receiver sends to this agent; others are left out.
func (a *Agent) openAcks(from identity.PublicKey, body []byte) []usage.VerifiedAcknowledgement {
	all, err := records.ParseAcknowledgementsBody(body)
	if err != nil {
		a.log.Warn("acknowledgements cannot be read", "from", from.Name(), "err", err)
		return nil
	}
	var out []usage.VerifiedAcknowledgement
	for i, v := range identity.VerifyBatch(all) {
		k, err := usage.OpenAcknowledgementVerified(all[i], v)
		if err == nil && (k.From != from || k.To != a.Key() || k.Network != a.network) {
			err = code.New(code.Forbidden, "it is between other parties")
		}
		if err != nil {
			a.log.Warn("an acknowledgement does not count", "from", from.Name(), "err", err)
			continue
		}
		out = append(out, k)
	}
	return out
}

func (a *Agent) openIdentity(from identity.PublicKey, body []byte) *identity.VerifiedDocument {
	s, err := records.ParseIdentityBody(body)
	if err != nil {
		a.log.Warn("an identity document cannot be read", "from", from.Name(), "err", err)
		return nil
	}
	d, err := identity.OpenDocument(s, a.nowMilli())
	if err != nil || d.Owner() != from || d.Network() != a.network {
		a.log.Warn("an identity document does not count", "from", from.Name(), "err", err)
		return nil
	}
	return d
}

// saveIncoming signs what follows from a record and saves everything in one step. The sender is
// told of messages and pieces that it can rely on, and of those that its relay spoiled; not of
// acknowledgements, and not of what this agent could not open.
func (a *Agent) saveIncoming(ctx context.Context, d *download, in *store.Incoming) error {
	delivery, sender, err := a.acknowledgements(in.Relay, d, in.Record.Header().From, in.Record.StoredBytes(), in.Verdict)
	if err != nil {
		return err
	}
	in.DeliveryAck, in.SenderAck = delivery, identity.Signed{}
	content := in.Kind == store.KindMessage || in.Kind == store.KindPiece
	if content && (in.Opened || in.Verdict == usage.VerdictBad) {
		in.SenderAck = sender
	}
	_, err = a.store.SaveReceived(ctx, a.nowMilli(), *in)
	return err
}

// acknowledgements are both forms of one acknowledgement, signed together: to the serving relay
// and to the sender.
func (a *Agent) acknowledgements(relay identity.PublicKey, d *download, sender identity.PublicKey, bytes uint64, verdict usage.Verdict) (toRelay, toSender identity.Signed, err error) {
	var raws [2][]byte
	for i, to := range []identity.PublicKey{relay, sender} {
		h, err := a.header(to, a.relayTime(relay))
		if err != nil {
			return toRelay, toSender, err
		}
		raws[i], err = usage.Acknowledgement{
			Header: h, Record: d.record, Bytes: bytes, Request: requestDigest(d.request), Verdict: verdict, Relay: relay,
		}.Encode()
		if err != nil {
			return toRelay, toSender, err
		}
	}
	s, err := identity.Sign(a.home.Key(), raws[:]...)
	if err != nil {
		return toRelay, toSender, err
	}
	return s[0], s[1], nil
}

// missingPieces are the chunk records of attachments that are not here yet, of attachments up to a
// number of bytes in all.
func (a *Agent) missingPieces(ctx context.Context, from identity.PublicKey, files []records.Attachment, home uint16, limit uint64) ([]wish, error) {
	var out []wish
	for _, f := range files {
		if f.Size > limit {
			continue
		}
		limit -= f.Size
		known, err := a.store.Known(ctx, f.Pieces)
		if err != nil {
			return nil, err
		}
		for i, digest := range f.Pieces {
			if !known[i] {
				out = append(out, wish{record: digest, from: from, size: records.MaxContent + maxHeader, home: home, piece: &piece{f, i}})
			}
		}
	}
	return out, nil
}
