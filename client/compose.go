package client

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// letter is something to be said to one contact, of whatever kind.
type letter struct {
	to      store.Contact
	content records.Content // numbered here, if it is a message
	files   []Attachment
	kind    store.Kind
	ttl     uint32 // seconds; 0: defaultTTL, or what the relay allows
	pulls   uint16
	tag     []byte
	flags   records.Flags
	relay   identity.PublicKey // zero: whichever pays best
	grant   string             // of a sponsor, by which it is paid; empty: own contracts first
	limit   usage.Msat         // of the worst case; 0: none
	flushed []store.PendingID  // acknowledgements that travel in it
}

// draft is one record, sealed and not yet signed.
type draft struct {
	raw      []byte
	content  []byte
	kind     store.Kind
	sequence uint64
	previous identity.Digest
	plain    []byte
	summary  *store.Summary
	facts    usage.RecordFacts
}

// parcel is all records of a letter: pieces of files first, the message last.
type parcel struct {
	drafts []draft
	epoch  records.SendEpoch // after sealing the message
}

func (p parcel) facts() []usage.RecordFacts {
	out := make([]usage.RecordFacts, len(p.drafts))
	for i, d := range p.drafts {
		out[i] = d.facts
	}
	return out
}

// compose seals a letter. Nothing is saved: until it is queued, it can be dropped without a trace.
func (a *Agent) compose(ctx context.Context, l letter, d *identity.VerifiedDocument, at identity.UnixMilli) (parcel, error) {
	var p parcel
	c := l.content
	for _, f := range l.files {
		m, err := a.composeFile(&p, l, f, at)
		if err != nil {
			return p, err
		}
		c.Attachments = append(c.Attachments, m)
	}
	if l.kind == store.KindMessage {
		t, err := a.store.SendThread(ctx, l.to.Key)
		if err != nil {
			return p, err
		}
		c.Sequence, c.Previous = t.Next()
	}
	epoch, err := a.epochTo(ctx, d)
	if err != nil {
		return p, err
	}
	id, err := records.NewID(a.rand)
	if err != nil {
		return p, err
	}
	sealed, epoch, err := epoch.SealContent(id, c)
	if err != nil {
		return p, err
	}
	p.epoch = epoch
	m := draft{content: sealed, kind: l.kind, sequence: c.Sequence, previous: c.Previous}
	if l.kind == store.KindMessage {
		if m.plain, err = c.Encode(); err != nil {
			return p, err
		}
		m.summary = summarize(c)
	}
	return p, a.addDraft(&p, l, id, m, at)
}

// epochTo is the state to seal the next message from.
func (a *Agent) epochTo(ctx context.Context, d *identity.VerifiedDocument) (records.SendEpoch, error) {
	e, err := a.store.SendEpoch(ctx, d.Owner())
	if err != nil {
		return e, err
	}
	if !e.Due(a.runID, records.KeyIDOf(d.SealingKey), a.nowMilli()) {
		return e, nil
	}
	to := records.Peer{Network: a.network, From: a.Key(), To: d.Owner(), SealingKey: d.SealingKey}
	return records.NewEpoch(a.rand, to, a.runID, a.nowMilli())
}

// composeFile adds the pieces of one file and gives its manifest.
func (a *Agent) composeFile(p *parcel, l letter, f Attachment, at identity.UnixMilli) (records.Attachment, error) {
	if f.MediaType == "" {
		f.MediaType = "application/octet-stream"
	}
	m, err := records.NewAttachment(a.rand, f.Name, f.MediaType, uint64(len(f.Data)))
	if err != nil {
		return m, code.Wrap(code.BadArgument, err, "attachment %q", f.Name)
	}
	for i := range m.Count() {
		piece := f.Data[i*records.PieceSize : min((i+1)*records.PieceSize, len(f.Data))]
		sealed, err := m.SealPiece(i, piece)
		if err != nil {
			return m, err
		}
		if err := a.addDraft(p, l, m.PieceID(i), draft{content: sealed, kind: store.KindPiece}, at); err != nil {
			return m, err
		}
		m.Pieces = append(m.Pieces, p.drafts[len(p.drafts)-1].facts.Digest)
	}
	return m, nil
}

// addDraft writes the header over a sealed content.
func (a *Agent) addDraft(p *parcel, l letter, id records.ID, d draft, at identity.UnixMilli) error {
	serial, err := a.serial()
	if err != nil {
		return err
	}
	h := records.Draft{
		Network: a.network, From: a.Key(), To: l.to.Key, ID: id, Time: at, Serial: serial,
		TTL: l.ttl, MaxPulls: l.pulls, Tag: l.tag, Flags: l.flags,
	}
	if d.raw, err = h.Statement(d.content); err != nil {
		return err
	}
	head, err := records.DecodeHeader(d.raw)
	if err != nil {
		return err
	}
	d.facts = usage.RecordFacts{
		Digest: identity.StatementDigest(identity.TypeRecord, d.raw), Sender: head.From, Receiver: head.To,
		Stored: uint64(len(d.raw) + len(d.content)), Expiry: head.Expiry(), MaxPulls: head.MaxPulls, DeleteOnAck: head.DeleteOnAck(),
	}
	p.drafts = append(p.drafts, d)
	return nil
}

// frameRoom is what a frame needs besides headers and contents, generously.
const frameRoom = 64 << 10

// split cuts the drafts into runs that each fit one order and one frame, in order.
func split(all []draft, l usage.Limits) ([][]draft, error) {
	var out [][]draft
	room := 0
	for _, d := range all {
		size := len(d.raw) + len(d.content) + 16
		if len(d.content) > int(l.MaxContent) || size+frameRoom > int(l.MaxFrame) {
			return nil, code.New(code.TooLarge, "a record of %d bytes, the relay takes %d", len(d.content), l.MaxContent)
		}
		if n := len(out); n == 0 || size > room || len(out[n-1]) == int(l.MaxBundle) {
			out, room = append(out, nil), int(l.MaxFrame)-frameRoom
		}
		out[len(out)-1] = append(out[len(out)-1], d)
		room -= size
	}
	return out, nil
}
