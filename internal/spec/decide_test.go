package spec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/internal/wallet"
	"relaymarket/records"
	"relaymarket/usage"
)

// deciders do what the kinds of vectors ask for. PROTOCOL.md lists them.
var deciders map[string]func(input) (values, error)

func init() {
	deciders = map[string]func(input) (values, error){
		"signed": decideSigned, "bundle": decideBundle, "tree": decideTree, "key": decideKey, "phrase": decidePhrase,
		"identity_file": decideFile, "card": decideCard, "content_root": decideContentRoot, "chunk": decideChunk,
		"record": decideRecord, "pad": decidePad, "unpad": decideUnpad, "sealed": decideSealed, "content": decideContent,
		"attachment": decideAttachment, "receipt": decideReceipt, "row": decideRow, "log": decideLog, "lanes": decideLanes,
		"consistency": decideConsistency, "inclusion": decideInclusion, "report": decideReport, "fraud": decideFraud,
		"handshake": decideHandshake, "frame": decideFrame, "terms": decideTerms, "contract": decideContract,
		"key_close": decideKeyClose, "recovery_content": decideRecoveryContent, "recovery": decideRecovery, "partial_signature": decidePartial,
	}
}

// openAny verifies any statement and reads its body.
func openAny(s identity.Signed) (identity.Header, error) {
	h, _, err := identity.Verify(s)
	if err != nil {
		return h, err
	}
	switch h.Type {
	case identity.TypeRecord:
		_, err = records.OpenHeader(s)
	case identity.TypeStoreOrder:
		_, err = usage.OpenStoreOrder(s)
	case identity.TypeReceipt:
		_, err = usage.OpenReceipt(s)
	case identity.TypeReadRequest:
		_, err = usage.OpenReadRequest(s)
	case identity.TypeAcknowledgement:
		_, err = usage.OpenAcknowledgement(s)
	case identity.TypeDelete:
		_, err = usage.OpenDelete(s)
	case identity.TypeDeleteReceipt:
		_, err = usage.OpenDeleteReceipt(s)
	case identity.TypeDenial:
		_, err = usage.OpenDenial(s)
	case identity.TypeUsageReport:
		_, err = usage.OpenUsageReport(s)
	case identity.TypeDissent:
		_, err = usage.OpenDissent(s)
	case identity.TypeStorageChallenge:
		_, err = usage.OpenStorageChallenge(s)
	case identity.TypeStorageProof:
		_, err = usage.OpenStorageProof(s)
	case identity.TypeAccountGrant:
		_, err = usage.OpenAccountGrant(s)
	case identity.TypeAccountRevoke:
		_, err = usage.OpenAccountRevoke(s)
	case identity.TypeGrantReceipt:
		_, err = usage.OpenGrantReceipt(s)
	case identity.TypeServerBroadcast:
		_, err = broadcast.Open(s, 0)
	case identity.TypeIdentity:
		_, err = identity.OpenDocument(s, 0)
	default:
		_, err = contract.OpenMessage(s)
	}
	return h, err
}

func decideSigned(in input) (values, error) {
	s, err := identity.ParseSigned(in.bytes("signed"))
	if err != nil {
		return nil, err
	}
	h, err := openAny(s)
	return values{
		"type": h.Type.String(), "from": hex.EncodeToString(h.From[:]), "digest": identity.StatementDigest(h.Type, s.Statement).String(),
	}, err
}

func decideBundle(in input) (values, error) {
	b, err := identity.ParseBundle(in.bytes("bundle"))
	if err != nil {
		return nil, err
	}
	all, err := b.Split()
	if err != nil {
		return nil, err
	}
	var out []string
	for i, v := range identity.VerifyBatch(all) {
		if v.Err != nil {
			return nil, v.Err
		}
		out = append(out, hex.EncodeToString(all[i].Bytes()))
	}
	return values{"signed": out}, nil
}

func digests(raw [][]byte) []identity.Digest {
	out := make([]identity.Digest, len(raw))
	for i, b := range raw {
		out[i] = identity.Digest(b)
	}
	return out
}

func decideTree(in input) (values, error) {
	paths, top := identity.Paths(digests(in.hexList("digests")))
	all := make([][]string, len(paths))
	for i, p := range paths {
		all[i] = hexAll(p)
	}
	return values{"root": top.String(), "paths": all}, nil
}

func decideKey(in input) (values, error) {
	k, err := identity.ParsePublicKey(in.text("text"))
	return values{"key": hex.EncodeToString(k[:]), "text": k.String(), "name": k.Name()}, err
}

func decidePhrase(in input) (values, error) {
	seed, err := identity.Seed(in.text("phrase"), in.text("passphrase"))
	if err != nil {
		return nil, err
	}
	network, err := identity.ParseNetwork(in.text("network"))
	if err != nil {
		return nil, err
	}
	id, err := identity.FromSeed(seed, network)
	if err != nil {
		return nil, err
	}
	params, err := runner.Params(network)
	if err != nil {
		return nil, err
	}
	out := values{"seed": hex.EncodeToString(seed), "identity": id.Public().String()}
	for name, role := range map[string]byte{"client_contract_key": wallet.RoleClient, "relay_contract_key": wallet.RoleRelay} {
		k, err := wallet.ContractKey(seed, params, in.fixed("nonce"), role)
		if err != nil {
			return nil, err
		}
		out[name] = hex.EncodeToString(k.Serialize())
	}
	return out, nil
}

func decideFile(in input) (values, error) {
	d, err := identity.ParseFile([]byte(in.text("file")), identity.UnixMilli(in.number("now_ms")))
	if err != nil {
		return nil, err
	}
	return values{"owner": d.Owner().String(), "digest": d.Digest().String()}, nil
}

func decideCard(in input) (values, error) {
	c, err := identity.ParseCard(in.text("card"))
	if err != nil {
		return nil, err
	}
	var relays []string
	for _, r := range c.Relays {
		relays = append(relays, r.Key.String()+" "+r.Addresses[0].URL)
	}
	return values{"key": c.Key.String(), "digest": c.Digest.String(), "relays": relays}, nil
}

func decideContentRoot(in input) (values, error) {
	c := in.bytes("content")
	return values{"root": records.ContentRoot(c).String(), "chunks": records.Chunks(len(c))}, nil
}

func decideChunk(in input) (values, error) {
	s, err := identity.ParseSigned(in.bytes("header"))
	if err != nil {
		return nil, err
	}
	h, err := records.OpenHeader(s)
	if err != nil {
		return nil, err
	}
	p, err := records.ParseChunkProof(in.bytes("proof"))
	if err != nil {
		return nil, err
	}
	return values{"index": p.Index}, p.Verify(h.Header())
}

func openRecord(in input, signed, content []byte) (records.Record, error) {
	s, err := identity.ParseSigned(signed)
	if err != nil {
		return records.Record{}, err
	}
	return records.Open(s, content)
}

func decideRecord(in input) (values, error) {
	r, err := openRecord(in, in.bytes("signed"), in.bytes("content"))
	if err != nil {
		return nil, err
	}
	return values{
		"path": r.Path().String(), "digest": r.Digest().String(), "stored_bytes": r.StoredBytes(), "expiry_ms": r.Header().Expiry(),
	}, nil
}

func decidePad(in input) (values, error) {
	b, err := records.Pad(in.bytes("plain"))
	return values{"padded": hex.EncodeToString(b)}, err
}

func decideUnpad(in input) (values, error) {
	b, err := records.Unpad(in.bytes("padded"))
	return values{"plain": hex.EncodeToString(b)}, err
}

// decideRecoveryContent reads the text from a content of suite 3.
func decideRecoveryContent(in input) (values, error) {
	s, err := records.ParseRecoveryContent(in.bytes("content"))
	return values{"text": s}, err
}

// decideSealed opens the records of one epoch one after the other.
func decideSealed(in input) (values, error) {
	seed := in.fixed("sealing_seed")
	raw := join([]field{{0, []byte{1}}, {2, bigEndian(in.number("created_ms"), 8)}, {4, seed[:]}})
	k, err := records.DecodeSealingKey(raw)
	if err != nil {
		return nil, err
	}
	var state records.RecvEpoch
	var out []string
	for _, x := range in.list("records") {
		m, ok := x.(map[string]any)
		if !ok {
			m = x.(values)
		}
		one := input{in.t, m}
		r, err := openRecord(one, one.bytes("signed"), one.bytes("content"))
		if err != nil {
			return nil, err
		}
		plain, next, err := records.OpenSealed([]records.SealingKey{k}, state, r.Header(), r.Content())
		if err != nil {
			return nil, err
		}
		state, out = next, append(out, hex.EncodeToString(plain))
	}
	return values{"plain": out}, nil
}

func decideContent(in input) (values, error) {
	c, err := records.DecodeContent(in.bytes("plain"))
	return values{"media_type": c.MediaType, "body": hex.EncodeToString(c.Body), "sequence": c.Sequence}, err
}

func decideAttachment(in input) (values, error) {
	c, err := records.DecodeContent(in.bytes("plain"))
	if err != nil {
		return nil, err
	}
	r, err := openRecord(in, in.bytes("signed"), in.bytes("content"))
	if err != nil {
		return nil, err
	}
	piece, err := c.Attachments[0].OpenPiece(0, r)
	return values{"piece": hex.EncodeToString(piece)}, err
}

func decideReceipt(in input) (values, error) {
	s, err := identity.ParseSigned(in.bytes("order"))
	if err != nil {
		return nil, err
	}
	o, err := usage.OpenStoreOrder(s)
	if err != nil {
		return nil, err
	}
	if s, err = identity.ParseSigned(in.bytes("receipt")); err != nil {
		return nil, err
	}
	r, err := usage.OpenReceipt(s)
	if err != nil {
		return nil, err
	}
	return values{"order_digest": o.Digest().String(), "receipt_digest": r.Digest().String()}, r.Answers(o)
}

func decideRow(in input) (values, error) {
	r, err := usage.DecodeRow(in.bytes("row"))
	leaf := tlog.RecordHash(in.bytes("row"))
	return values{"kind": r.Kind.String(), "leaf": hex.EncodeToString(leaf[:])}, err
}

func decideLog(in input) (values, error) {
	var entries []usage.RowEntry
	var tree usage.MemoryTree
	for _, raw := range in.hexList("rows") {
		entries = append(entries, usage.RowEntry{Row: raw})
		if err := tree.Append(raw); err != nil {
			return nil, err
		}
	}
	prices := usage.Prices{
		StorageMsatPerGiBDay: usage.Msat(in.number("storage_msat_per_gib_day")), EgressMsatPerGiB: usage.Msat(in.number("egress_msat_per_gib")),
	}
	state, err := usage.CheckRows(prices, usage.LogState{Epoch: 1}, entries, nil)
	if err != nil {
		return nil, err
	}
	top, err := usage.TreeRoot(tree.Size(), &tree)
	bs := state.ByteSeconds.Bytes()
	return values{"root": top.String(), "byte_seconds": hex.EncodeToString(bs[:]), "egress": state.Egress, "owed_msat": state.Owed}, err
}

func decideConsistency(in input) (values, error) {
	return nil, usage.CheckConsistency(digests(in.hexList("proof")), in.number("prev_size"), in.fixed("prev_root"), in.number("size"), in.fixed("root"))
}

func openReport(in input, name string) (usage.VerifiedUsageReport, error) {
	s, err := identity.ParseSigned(in.bytes(name))
	if err != nil {
		return usage.VerifiedUsageReport{}, err
	}
	return usage.OpenUsageReport(s)
}

func decideInclusion(in input) (values, error) {
	r, err := openReport(in, "report")
	if err != nil {
		return nil, err
	}
	return nil, usage.CheckInclusion(r.UsageReport, in.number("index"), in.bytes("row"), digests(in.hexList("proof")))
}

func decideReport(in input) (values, error) {
	r, err := openReport(in, "report")
	if err != nil {
		return nil, err
	}
	var held *usage.VerifiedUsageReport
	if in.text("previous") != "" {
		p, err := openReport(in, "previous")
		if err != nil {
			return nil, err
		}
		held = &p
	}
	return values{"report_no": r.Number}, usage.CheckReport(held, r)
}

// decideHandshake computes both digests by the words of PROTOCOL.md and verifies the signatures.
func decideHandshake(in input) (values, error) {
	hello, answer, exporter := in.bytes("hello"), in.bytes("helloRelay"), in.bytes("exporter")
	_, m, err := message.Decode(answer, transportFirst)
	if err != nil {
		return nil, err
	}
	relay, ok := m.(*message.HelloRelay)
	if !ok {
		return nil, fmt.Errorf("a %s is no helloRelay", m.Type())
	}
	unsigned := with(scan(in.t, message.Body(answer)), 12, nil)
	own, err := relay.Unsigned()
	if err != nil || !bytes.Equal(own, unsigned) {
		return nil, errors.Join(err, errors.New("the unsigned form is not the body without field 12"))
	}
	d := identity.Tagged("hello", message.Body(hello), unsigned, exporter)
	if !relay.Key.VerifyDigest(d, relay.Sig) {
		return nil, code.New(code.BadSignature, "the relay's proof does not hold")
	}
	_, m, err = message.Decode(in.bytes("auth"), transportFirst)
	if err != nil {
		return nil, err
	}
	auth, ok := m.(*message.Auth)
	if !ok {
		return nil, fmt.Errorf("a %s is no auth", m.Type())
	}
	c := identity.Tagged("hello-client", message.Body(hello), message.Body(answer), auth.Key[:], exporter)
	if !auth.Key.VerifyDigest(c, auth.Sig) {
		return nil, code.New(code.BadSignature, "the client's proof does not hold")
	}
	return values{"relay_digest": d.String(), "client_digest": c.String()}, nil
}

// transportFirst is the frame limit before a proof.
const transportFirst = 1024

func decideFrame(in input) (values, error) {
	id, m, err := message.Decode(in.bytes("frame"), int(in.number("limit")))
	if err != nil {
		return nil, err
	}
	again, err := message.Encode(id, m)
	if err != nil || !bytes.Equal(again, in.bytes("frame")) {
		return nil, errors.Join(err, errors.New("the frame has another canonical form"))
	}
	return values{"type": m.Type().String(), "id": id}, nil
}

func decideContract(in input) (values, error) {
	s, err := identity.ParseSigned(in.bytes("signed"))
	if err != nil {
		return nil, err
	}
	v, err := contract.OpenMessage(s)
	if err != nil {
		return nil, err
	}
	f := scan(in.t, s.Statement)
	return values{"type": v.Header().Type.String(), "nonce": v.Nonce().String(), "seq": number(f[7].value)}, nil
}
