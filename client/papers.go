package client

import (
	"context"
	"strings"
	"sync"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/store"
)

// maxPapers is how many papers of one kind about one relay are kept. A relay that contradicts
// itself more often is proven dishonest already, and may not fill the disk with its words.
const maxPapers = 200

// papers knows what is kept for disputes.
type papers struct {
	mu   sync.Mutex
	kept map[paperKind]map[identity.Digest]bool // guarded by mu; nil until it was read
}

type paperKind struct {
	relay identity.PublicKey
	kind  string
}

// kindOf is what the name of a paper begins with, without what differs from one to the next.
func kindOf(e store.Evidence) paperKind {
	kind := e.Name
	if i := strings.IndexAny(kind, ":0123456789"); i >= 0 {
		kind = kind[:i]
	}
	return paperKind{e.Relay, kind}
}

func (p *papers) note(k paperKind, d identity.Digest) {
	if p.kept[k] == nil {
		p.kept[k] = make(map[identity.Digest]bool)
	}
	p.kept[k][d] = true
}

// maxPaperName bounds the name of a paper in the store.
const maxPaperName = 500

// keepPaper keeps a paper for a dispute, unless there are enough of its kind.
func (a *Agent) keepPaper(ctx context.Context, e store.Evidence) error {
	p := &a.papers
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept == nil {
		all, err := a.store.Evidence(ctx)
		if err != nil {
			return err
		}
		p.kept = make(map[paperKind]map[identity.Digest]bool)
		for _, old := range all {
			p.note(kindOf(old), old.Digest)
		}
	}
	k := kindOf(e)
	if len(p.kept[k]) >= maxPapers || len(e.Bytes) > store.MaxEvidence {
		a.log.Debug("a paper is not kept", "relay", e.Relay.Name(), "name", e.Name, "bytes", len(e.Bytes))
		return nil
	}
	e.Name = strings.ToValidUTF8(e.Name[:min(len(e.Name), maxPaperName)], "")
	d, err := a.store.SaveEvidence(ctx, e)
	if err == nil {
		p.note(k, d)
	}
	return err
}

// noticed keeps a relay's notice of a missing payment, which it may have to answer for, and lets the payment be
// looked at. One that is repeated is kept once.
func (a *Agent) noticed(ctx context.Context, c contract.Contract, s identity.Signed) error {
	a.log.Warn("a relay says that a payment is missing", "contract", c.ID(), "what", sentence(c))
	a.paymentRequested(ctx, c.ID())
	return a.keepPaper(ctx, store.Evidence{
		Relay: c.Peer(), Contract: c.ID(), Saved: a.nowMilli(), Name: "notice of a missing payment: " + c.Arrears().Step.String(), Bytes: s.Bytes(),
	})
}
