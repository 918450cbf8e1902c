package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"relaymarket/broadcast"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// EvidenceInfo is a paper that is kept for a dispute: a report that was contradicted, a dissent, a
// denial.
type EvidenceInfo struct {
	ID       identity.Digest    `json:"id"`
	Name     string             `json:"name"`
	Relay    identity.PublicKey `json:"relay"`
	Contract usage.ContractID   `json:"contract"`
	Saved    identity.UnixMilli `json:"saved_ms"`
	Size     uint64             `json:"size_bytes"`
	Proof    bool               `json:"proof,omitempty"` // it is a fraud proof
}

func infoOf(e store.Evidence) EvidenceInfo {
	return EvidenceInfo{
		ID: e.Digest, Name: e.Name, Relay: e.Relay, Contract: e.Contract, Saved: e.Saved, Size: uint64(len(e.Bytes)), Proof: evidence.IsProof(e.Bytes),
	}
}

// EvidenceFile is a paper as a file that anybody can verify without a store and without a network.
// Statement is identity.Signed; everything else is a note of who kept it, and proves nothing.
type EvidenceFile struct {
	Version   int    `json:"version"` // 1
	Name      string `json:"name"`
	Statement []byte `json:"statement"`
}

const evidenceVersion = 1

// Evidence lists the papers that are kept, oldest first.
func (a *Agent) Evidence(ctx context.Context) ([]EvidenceInfo, error) {
	kept, err := a.store.Evidence(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]EvidenceInfo, 0, len(kept))
	for _, e := range kept {
		out = append(out, infoOf(e))
	}
	slices.SortStableFunc(out, func(x, y EvidenceInfo) int { return cmp.Compare(x.Saved, y.Saved) })
	return out, nil
}

// ExportEvidence gives a paper as an EvidenceFile, or a fraud proof as its own file. id is its digest or at least 8 letters of its
// beginning. Codes NotFound, BadArgument.
func (a *Agent) ExportEvidence(ctx context.Context, id string) ([]byte, error) {
	kept, err := a.store.Evidence(ctx)
	if err != nil {
		return nil, err
	}
	if len(id) < minPrefix {
		return nil, code.New(code.BadArgument, "give at least %d letters of the paper's id", minPrefix)
	}
	var found []store.Evidence
	for _, e := range kept {
		if strings.HasPrefix(e.Digest.String(), strings.ToLower(id)) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return nil, code.New(code.NotFound, "no paper %s is kept", id)
	case 1:
		if evidence.IsProof(found[0].Bytes) {
			return found[0].Bytes, nil
		}
		raw, err := json.MarshalIndent(EvidenceFile{evidenceVersion, found[0].Name, found[0].Bytes}, "", "  ")
		return append(raw, '\n'), code.Wrap(code.Internal, err, "the paper")
	}
	return nil, code.New(code.BadArgument, "%d papers begin with %s; give more letters", len(found), id)
}

// VerifiedEvidence is what an EvidenceFile proves by itself: that its signer has said this.
type VerifiedEvidence struct {
	Name     string             `json:"name"`
	Type     string             `json:"type"`
	Network  string             `json:"network"`
	Signer   identity.PublicKey `json:"signer"`
	To       identity.PublicKey `json:"to,omitzero"`
	Time     identity.UnixMilli `json:"time_ms"`
	Digest   identity.Digest    `json:"digest"`
	Says     string             `json:"says"`
	Contract usage.ContractID   `json:"contract,omitzero"`
}

// VerifyEvidence checks an EvidenceFile. It needs no agent, no store and no network. Codes
// Malformed, Unsupported, BadSignature.
func VerifyEvidence(file []byte) (VerifiedEvidence, error) {
	_, v, err := openEvidence(file)
	return v, err
}

func openEvidence(file []byte) (EvidenceFile, VerifiedEvidence, error) {
	var f EvidenceFile
	if err := json.Unmarshal(file, &f); err != nil {
		return f, VerifiedEvidence{}, code.Wrap(code.Malformed, err, "not an evidence file")
	}
	if f.Version != evidenceVersion {
		return f, VerifiedEvidence{}, code.New(code.Unsupported, "an evidence file of version %d; this program reads %d", f.Version, evidenceVersion)
	}
	s, err := identity.ParseSigned(f.Statement)
	if err != nil {
		return f, VerifiedEvidence{}, err
	}
	h, digest, err := identity.Verify(s)
	if err != nil {
		return f, VerifiedEvidence{}, err
	}
	v := VerifiedEvidence{
		Name: f.Name, Type: h.Type.String(), Network: h.Network.String(), Signer: h.From, To: h.To, Time: h.Time, Digest: digest,
	}
	v.Says, v.Contract = inWords(h.Type, s.Statement)
	return f, v, nil
}

// inWords puts the statements that papers are made of into words.
func inWords(t identity.Type, raw []byte) (string, usage.ContractID) {
	switch t {
	case identity.TypeUsageReport:
		if r, err := usage.DecodeUsageReport(raw); err == nil {
			return fmt.Sprintf("report %d: %d rows with root %s, %s owed, %s paid", r.Number, r.Size, r.Root, broadcast.FormatMsat(r.Owed), broadcast.FormatSat(r.Paid)), r.Contract
		}
	case identity.TypeDissent:
		if d, err := usage.DecodeDissent(raw); err == nil {
			return fmt.Sprintf("from report %s: %s", d.Report, namesOf(d.Rows)), usage.ContractID{}
		}
	case identity.TypeDenial:
		if d, err := usage.DecodeDenial(raw); err == nil {
			return fmt.Sprintf("record %s is denied: %s, as of arrival %d", d.Record, d.Reason, d.AsOf), usage.ContractID{}
		}
	case identity.TypeReceipt:
		if r, err := usage.DecodeReceipt(raw); err == nil {
			return fmt.Sprintf("%d bytes of order %s are kept until %d", r.StoredBytes, r.Order, r.ServiceUntil), r.Contract
		}
	}
	return "a " + t.String() + " statement of " + fmt.Sprint(len(raw)) + " bytes", usage.ContractID{}
}
