package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"testing/cryptotest"

	"relaymarket/identity"
	"relaymarket/records"
)

func compact(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sealingSeed is the private seed of somebody's sealing key.
func sealingSeed(of string) identity.Digest { return identity.Tagged("spec/sealing", []byte(of)) }

func (m *maker) sealingKey(of string) records.SealingKey {
	m.t.Helper()
	seed := sealingSeed(of)
	return val(records.GenerateSealingKey(bytes.NewReader(seed[:]), now))(m)
}

func (m *maker) records() {
	content := filler(4*4096 + 100)
	s := m.sign("alice", m.recordOver("big", content, func(d *records.Draft) {
		d.Tag, d.Flags, d.MaxPulls = []byte("photo"), records.DeleteOnAck, 7
	}))
	add := func(name, expect, what string, content []byte) {
		m.add("record/"+name, "record", expect, what, values{"signed": text(s.Bytes()), "content": text(content)})
	}
	add("ok", "ok", "a record of five chunks, every optional field", content)
	add("short", "bad_content", "the last byte of the content is missing", content[:len(content)-1])
	add("changed", "bad_content", "one bit of the content is changed", replace(content, 5000, []byte{content[5000] ^ 1}, 1))
	for _, n := range []int{0, 1, 4096, 4097} {
		m.add(fmt.Sprintf("record/root-%d", n), "content_root", "ok", fmt.Sprintf("root over %d bytes", n), values{"content": text(filler(n))})
	}
	p := val(records.ProveChunk(content, 4))(m)
	chunk := func(name, expect, what string, p []byte) {
		m.add("record/chunk-"+name, "chunk", expect, what, values{"header": text(s.Bytes()), "proof": text(p)})
	}
	chunk("ok", "ok", "the last chunk of five", p.Bytes())
	b := p.Bytes()
	chunk("changed", "bad_content", "one bit of the chunk is changed", replace(b, 4, []byte{b[4] ^ 1}, 1))
	chunk("index", "bad_content", "the index of another chunk", replace(b, 1, []byte{3}, 1))
	chunk("outside", "bad_content", "chunk 5 of 5", replace(b, 1, []byte{5}, 1))
	chunk("trailing-byte", "malformed", "a byte after the path", append(bytes.Clone(b), 0))

	for _, n := range []int{0, 1, 5, 101, 1000} {
		m.add(fmt.Sprintf("padding/pad-%d", n), "pad", "ok", fmt.Sprintf("%d bytes", n), values{"plain": text(filler(n))})
	}
	padded := val(records.Pad(filler(101)))(m)
	unpad := func(name, expect, what string, b []byte) {
		m.add("padding/"+name, "unpad", expect, what, values{"padded": text(b)})
	}
	unpad("ok", "ok", "101 bytes and seven zeros", padded)
	unpad("not-zero", "malformed", "the last byte of padding is 1", replace(padded, len(padded)-1, []byte{1}, 1))
	unpad("not-padme", "malformed", "one zero too many", append(bytes.Clone(padded), 0))
	unpad("length", "malformed", "the length passes the end", replace(padded, 2, []byte{1}, 1))
}

// sealing makes an epoch of three messages from alice to bob. Encapsulations are random, so the
// files are kept once they are made; see keepOrCompare.
func (m *maker) sealing() {
	cryptotest.SetGlobalRandom(m.t, 1)
	seed := identity.Tagged("spec/epoch")
	e := val(records.NewEpoch(bytes.NewReader(seed[:]), records.Peer{
		Network: identity.Regtest, From: key("alice").Public(), To: key("bob").Public(), SealingKey: m.sealingKey("bob").Public(),
	}, records.RunID{1}, now))(m)
	var all []values
	for i, id := range []records.ID{"m0", "m1", "m2"} {
		if i == 2 {
			e = e.Acknowledge(e.ID)
		}
		plain := val(records.Pad(val(records.Content{MediaType: records.MediaText, Body: []byte(id)}.Encode())(m)))(m)
		content, next, err := e.Seal(id, plain)
		m.must(err)
		e = next
		all = append(all, m.sealed(string(id), content))
	}
	add := func(name, expect, what string, rs ...values) {
		list := make([]any, len(rs))
		for i, r := range rs {
			list[i] = r
		}
		bob := sealingSeed("bob")
		m.add("sealed/"+name, "sealed", expect, what, values{"sealing_seed": bob.String(), "created_ms": uint64(now), "records": list})
	}
	add("in-order", "ok", "three messages; the third without encapsulation", all...)
	add("out-of-order", "ok", "the second message first", all[1], all[0], all[2])
	add("twice", "undecryptable", "the first message twice", all[0], all[0])
	add("no-encapsulation", "undecryptable", "the epoch's beginning is not there", all[2])
	raw := input{m.t, all[0]}.bytes("content")
	add("moved", "undecryptable", "the same content under another id", m.sealed("m9", raw))
	add("changed", "undecryptable", "one bit of the ciphertext is changed", m.sealed("m0", replace(raw, len(raw)-1, []byte{raw[len(raw)-1] ^ 1}, 1)))
	add("flags", "malformed", "an unknown flag", m.sealed("m0", replace(raw, 1, []byte{3}, 1)))
	add("suite", "unsupported", "suite 9", m.sealed("m0", replace(raw, 0, []byte{9}, 1)))
	add("short", "malformed", "the encapsulation is cut off", m.sealed("m0", raw[:1000]))
	add("other-key", "undecryptable", "sealed to a key that is not here", m.sealed("m0", replace(raw, 2, []byte{raw[2] ^ 1}, 1)))
}

// sealed is a signed record from alice to bob over sealed content.
func (m *maker) sealed(id string, content []byte) values {
	s := m.sign("alice", m.recordOver(id, content, nil))
	return values{"signed": text(s.Bytes()), "content": text(content)}
}

func (m *maker) contents() {
	add := func(name, expect, what string, raw []byte) {
		m.add("content/"+name, "content", expect, what, values{"plain": text(raw)})
	}
	small := val(records.Content{MediaType: records.MediaText, Body: []byte("grüß dich")}.Encode())(m)
	add("text", "ok", "a text outside of any conversation", small)
	full := m.fullContent()
	raw := val(full.Encode())(m)
	add("full", "ok", "every optional field", raw)
	fs := scan(m.t, raw)
	add("media-type", "malformed", "no subtype", with(fs, 0, []byte("text/")))
	add("not-utf8", "malformed", "text that is not UTF-8", with(fs, 2, []byte{0xff}))
	add("no-previous", "malformed", "message 7 does not name the one before it", with(fs, 12, nil))
	add("first-previous", "malformed", "message 1 names one before it", with(fs, 10, bigEndian(1, 8)))
	file := full.Attachments[0]
	add("file-name", "malformed", "a path in place of a file name", bytes.Replace(raw, []byte(file.Name), []byte("../x.bin"), 1))

	acks := val(records.AcknowledgementsBody([]identity.Signed{m.goodBodies()["acknowledgement-to-sender"]}))(m)
	add("acknowledgements", "ok", "an acknowledgement record", val(records.Content{MediaType: records.MediaAcknowledgements, Body: acks}.Encode())(m))
	add("identity", "ok", "an identity update", val(records.Content{MediaType: records.MediaIdentity, Body: records.IdentityBody(m.document(nil))}.Encode())(m))

	piece := func(name, expect, what string, s identity.Signed, content []byte) {
		m.add("content/piece-"+name, "attachment", expect, what, values{"plain": text(raw), "signed": text(s.Bytes()), "content": text(content)})
	}
	sealed := val(file.SealPiece(0, filler(300)))(m)
	piece("ok", "ok", "the only piece of a file of 300 bytes", m.pieceRecord(file, sealed), sealed)
	foreign := replace(sealed, 9, []byte{sealed[9] ^ 1}, 1)
	piece("other", "bad_content", "a record that the manifest does not name", m.pieceRecord(file, foreign), foreign)
}

func (m *maker) pieceRecord(a records.Attachment, content []byte) identity.Signed {
	return m.sign("alice", m.recordOver(string(a.PieceID(0)), content, nil))
}

// fullContent has every field: an answer, a forwarded record and a file of one piece.
func (m *maker) fullContent() records.Content {
	seed := append(filler(32), filler(16)...)
	a := val(records.NewAttachment(bytes.NewReader(seed), "file.bin", "application/octet-stream", 300))(m)
	sealed := val(a.SealPiece(0, filler(300)))(m)
	s := m.pieceRecord(a, sealed)
	a.Pieces = []identity.Digest{identity.StatementDigest(identity.TypeRecord, s.Statement)}
	carol := val(records.Draft{
		Network: identity.Regtest, From: key("carol").Public(), To: key("alice").Public(), Time: now, ID: "f", TTL: 86_400,
	}.Statement([]byte("sealed to alice")))(m)
	inner := val(records.Content{MediaType: records.MediaText, Body: []byte("as told by alice")}.Encode())(m)
	return records.Content{
		MediaType: "text/plain", Body: []byte("see the file"), Regarding: identity.Tagged("spec/regarding"), Sequence: 7,
		Previous: identity.Tagged("spec/previous"), Forwarded: &records.Forwarded{Record: m.sign("carol", carol), Content: inner},
		Attachments: []records.Attachment{a},
	}
}
