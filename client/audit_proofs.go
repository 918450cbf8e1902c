package client

import (
	"context"
	"errors"
	"fmt"

	"relaymarket/broadcast"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// ProvenFault is a fraud that the agent's papers prove to anybody. The proof is kept as a paper.
type ProvenFault struct {
	Class string             `json:"class"`
	What  string             `json:"what"`
	Who   identity.PublicKey `json:"who"`
	Bytes uint64             `json:"bytes,omitempty"`
	Msat  usage.Msat         `json:"msat,omitempty"` // 0: not known by the proof
	Paper identity.Digest    `json:"paper"`          // for ExportEvidence; zero: too large to be kept
}

// prove makes proofs of what an audit has before it, and keeps them as papers.
func (a *Agent) prove(ctx context.Context, l ledger, papers store.AuditPapers, refused []usage.Refusal) ([]ProvenFault, error) {
	in := evidence.Input{
		Report: l.report, Rows: l.rows, Refused: refused, Orders: papers.Orders, Headers: papers.Headers, Deleted: papers.Deleted,
	}
	var err error
	if in.Terms, err = l.contract.Terms().Encode(); err != nil {
		return nil, err
	}
	if in.Others, err = a.otherReports(ctx, l); err != nil {
		return nil, err
	}
	if err := a.heldAgainst(ctx, l.contract.Peer(), &in); err != nil {
		return nil, err
	}
	var out []ProvenFault
	for _, f := range evidence.Find(in) {
		fault, err := a.keepProof(ctx, f)
		if err != nil {
			return out, err
		}
		out = append(out, fault)
	}
	return out, nil
}

// otherReports are those with which a report may be in contradiction: the one kept before it, and the one
// kept under its number.
func (a *Agent) otherReports(ctx context.Context, l ledger) ([]usage.VerifiedUsageReport, error) {
	var out []usage.VerifiedUsageReport
	last, err := a.lastReport(ctx, l.contract.ID())
	if err != nil {
		return nil, err
	}
	if last != nil {
		out = append(out, *last)
	}
	s, err := a.store.Report(ctx, l.contract.ID(), l.report.Number)
	if code.Of(err) == code.NotFound {
		return out, nil
	} else if err != nil {
		return nil, err
	}
	r, err := usage.OpenUsageReport(s)
	return append(out, r), code.Wrap(code.StoreCorrupt, err, "a usage report")
}

// heldAgainst adds the denials and requests among the papers about a relay, and all else that a denial
// may name.
func (a *Agent) heldAgainst(ctx context.Context, relay identity.PublicKey, in *evidence.Input) error {
	kept, err := a.store.Evidence(ctx)
	if err != nil {
		return err
	}
	requests := make(map[identity.Digest]identity.Signed)
	var denials []identity.Signed
	for _, e := range kept {
		s, err := identity.ParseSigned(e.Bytes)
		if err != nil || e.Relay != relay {
			continue
		}
		switch h, err := identity.PeekHeader(s.Statement); {
		case err != nil:
		case h.Type == identity.TypeDenial:
			denials = append(denials, s)
		case h.Type == identity.TypeReadRequest:
			requests[identity.StatementDigest(h.Type, s.Statement)] = s
			in.Named = append(in.Named, s)
		default:
			in.Named = append(in.Named, s)
		}
	}
	for _, s := range denials {
		if d, err := usage.DecodeDenial(s.Statement); err == nil {
			if q, ok := requests[d.Request]; ok {
				in.Asked = append(in.Asked, evidence.Asked{Request: q, Denial: s})
			}
		}
	}
	return nil
}

// keepProof keeps a proof as a paper.
func (a *Agent) keepProof(ctx context.Context, f evidence.Found) (ProvenFault, error) {
	x := f.Finding
	fault := ProvenFault{Class: x.Class.String(), What: x.What, Who: x.Culprit, Bytes: x.Bytes, Msat: x.Msat}
	raw, err := f.Proof.Encode()
	if err != nil {
		return fault, err
	}
	if len(raw) <= store.MaxEvidence {
		fault.Paper = identity.Tagged("evidence", raw)
	}
	name := fmt.Sprintf("%s %s: %s", proofName, x.Class, x.What)
	return fault, a.keepPaper(ctx, store.Evidence{Relay: x.Culprit, Contract: x.Contract, Saved: a.nowMilli(), Name: name, Bytes: raw})
}

// proofName begins the names of papers that are fraud proofs.
const proofName = "fraud proof"

// proveReceipt keeps the proof that a relay's receipt contradicts the order that it names, if it does.
func (a *Agent) proveReceipt(ctx context.Context, order identity.Signed, r usage.VerifiedReceipt) error {
	p := evidence.Proof{Class: evidence.FalseReceipt, Statements: []identity.Signed{order, r.Signed()}}
	f, err := evidence.Verify(p)
	if err != nil {
		return nil // it is false in another way
	}
	_, err = a.keepProof(ctx, evidence.Found{Proof: p, Finding: f})
	return err
}

// proveConflict keeps the proof that a relay signed two offers under one sequence.
func (a *Agent) proveConflict(ctx context.Context, x, y broadcast.VerifiedOffer) error {
	p := evidence.Proof{Class: evidence.TwoOffers, Statements: []identity.Signed{x.Signed(), y.Signed()}}
	f, err := evidence.Verify(p)
	if err != nil {
		return nil
	}
	_, err = a.keepProof(ctx, evidence.Found{Proof: p, Finding: f})
	return err
}

// AddEvidence keeps a paper that somebody else has exported: a receiver's denied request and the denial
// of it, for the audit of who sent the record. What is not signed, or is about no relay, is refused. Codes
// Malformed, Unsupported, BadSignature, TooLarge, BadArgument.
func (a *Agent) AddEvidence(ctx context.Context, file []byte) (EvidenceInfo, error) {
	if evidence.IsProof(file) {
		return a.addProof(ctx, file)
	}
	f, v, err := openEvidence(file)
	if err != nil {
		return EvidenceInfo{}, err
	}
	e := store.Evidence{Contract: v.Contract, Saved: a.nowMilli(), Name: f.Name, Bytes: f.Statement}
	switch v.Type {
	case identity.TypeDenial.String(), identity.TypeReceipt.String(), identity.TypeUsageReport.String(), identity.TypeContractNotice.String():
		e.Relay = v.Signer
	case identity.TypeReadRequest.String(), identity.TypeDelete.String(), identity.TypeAcknowledgement.String():
		e.Relay = v.To
	default:
		return EvidenceInfo{}, code.New(code.BadArgument, "a %s is no paper about a relay", v.Type)
	}
	return a.addPaper(ctx, e)
}

func (a *Agent) addProof(ctx context.Context, file []byte) (EvidenceInfo, error) {
	f, err := evidence.VerifyFile(file)
	if err != nil {
		return EvidenceInfo{}, err
	}
	name := fmt.Sprintf("%s %s: %s", proofName, f.Class, f.What)
	return a.addPaper(ctx, store.Evidence{Relay: f.Culprit, Contract: f.Contract, Saved: a.nowMilli(), Name: name, Bytes: file})
}

var errTooLarge = errors.New("it is too large to be kept")

func (a *Agent) addPaper(ctx context.Context, e store.Evidence) (EvidenceInfo, error) {
	if len(e.Bytes) > store.MaxEvidence {
		return EvidenceInfo{}, code.Wrap(code.TooLarge, errTooLarge, "a paper of %d bytes", len(e.Bytes))
	}
	e.Digest = identity.Tagged("evidence", e.Bytes)
	return infoOf(e), a.keepPaper(ctx, e)
}
