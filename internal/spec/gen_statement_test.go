package spec

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// maker collects vectors; its methods fail the test instead of giving errors.
type maker struct {
	t   *testing.T
	all []vector
}

func allVectors(t *testing.T) []vector {
	t.Helper()
	m := &maker{t: t}
	m.statements()
	m.bodies()
	m.trees()
	m.keys()
	m.documents()
	m.records()
	m.sealing()
	m.contents()
	m.usage()
	m.logs()
	m.frames()
	m.handshakes()
	m.contracts()
	m.keyCloses()
	m.frauds()
	return m.all
}

func (m *maker) add(path, kind, expect, what string, in values) {
	m.all = append(m.all, vector{path: path, Kind: kind, Expect: expect, What: what, In: in})
}

func (m *maker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// val gives a value or fails.
func val[T any](v T, err error) func(*maker) T {
	return func(m *maker) T { m.t.Helper(); m.must(err); return v }
}

func (m *maker) sign(by string, raw []byte) identity.Signed {
	m.t.Helper()
	return val(identity.SignOne(key(by), raw))(m)
}

// head is the header of a statement from one name to another.
func head(from, to, serial string) identity.Header {
	d := identity.Tagged("spec/serial", []byte(serial))
	h := identity.Header{Network: identity.Regtest, From: key(from).Public(), Time: now, Serial: identity.Serial(d[:16])}
	if to != "" {
		h.To = key(to).Public()
	}
	return h
}

func text(b []byte) string { return hex.EncodeToString(b) }

func signed(s identity.Signed) values { return values{"signed": text(s.Bytes())} }

// filler is n bytes that differ.
func filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/256)
	}
	return b
}

// recordOver is an unsigned record statement from alice to bob.
func (m *maker) recordOver(id string, content []byte, change func(*records.Draft)) []byte {
	m.t.Helper()
	h := head("alice", "bob", id)
	d := records.Draft{Network: h.Network, From: h.From, To: h.To, Time: h.Time, Serial: h.Serial, ID: records.ID(id), TTL: 86_400}
	if change != nil {
		change(&d)
	}
	return val(d.Statement(content))(m)
}

// batch is five records under one signature.
func (m *maker) batch() []identity.Signed {
	var raws [][]byte
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		raws = append(raws, m.recordOver(id, []byte(id), nil))
	}
	return val(identity.Sign(key("alice"), raws...))(m)
}

func (m *maker) statements() {
	raw := m.recordOver("hello", []byte("hello"), nil)
	good := m.sign("alice", raw)
	add := func(name, expect, what string, s identity.Signed) {
		m.add("statement/"+name, "signed", expect, what, signed(s))
	}
	add("ok", "ok", "a lone statement", good)
	five := m.batch()
	add("tree-of-5-first", "ok", "leaf 0 of a tree of 5: a path of three", five[0])
	add("tree-of-5-fourth", "ok", "leaf 3 of a tree of 5: a path of three", five[3])
	add("tree-of-5-last", "ok", "leaf 4 of a tree of 5: a path of one", five[4])

	other := good
	other.Proof.Sig[63] ^= 1
	add("bad-signature", "bad_signature", "one bit of the signature is changed", other)
	other = good
	other.Statement = bytes.Clone(good.Statement)
	other.Statement[len(raw)-1] ^= 1
	add("changed-statement", "bad_signature", "one bit of the statement is changed", other)
	other = five[1]
	other.Proof.Index = 0
	add("wrong-index", "bad_signature", "the path belongs to another leaf", other)
	other = good
	other.Proof.Path = []identity.Digest{{1}}
	add("path-too-long", "malformed", "a lone statement with a path of one", other)
	other = five[0]
	other.Proof.Path = other.Proof.Path[:2]
	add("path-too-short", "malformed", "leaf 0 of 5 with a path of two", other)
	other = good
	other.Proof.N = 0
	add("empty-tree", "malformed", "a tree of no leaves", other)
	other = good
	other.Proof.Index = 1
	add("index-outside", "malformed", "leaf 1 of 1", other)
	m.framing(good)
	m.streams(raw, good.Proof)
}

// framing breaks the form around a statement.
func (m *maker) framing(good identity.Signed) {
	b := good.Bytes()
	raw := func(name, what string, b []byte) {
		m.add("statement/"+name, "signed", "malformed", what, values{"signed": text(b)})
	}
	raw("trailing-byte", "a byte after the proof", append(bytes.Clone(b), 0))
	raw("cut-off", "the last byte is missing", b[:len(b)-1])
	raw("empty", "nothing at all", nil)
	long := bytes.Clone(b)
	long[0] = 0xff
	raw("length-beyond-end", "the statement's length passes the end", long)
}

// streams breaks the TLV stream of a statement; each is signed as it is where its header allows.
func (m *maker) streams(raw []byte, proof identity.Proof) {
	fs := scan(m.t, raw)
	zero := key("alice").Public()
	cases := []struct {
		name, expect, what string
		raw                []byte
	}{
		{"unknown-field", "malformed", "a field of type 200", with(fs, 200, []byte{1})},
		{"missing-field", "malformed", "content_root is missing", with(fs, 76, nil)},
		{"present-zero", "malformed", "the optional tag is present and empty", with(fs, 68, []byte{})},
		{"wrong-length", "malformed", "ttl_s with five bytes", with(fs, 66, make([]byte, 5))},
		{"field-twice", "malformed", "type 76 twice", append(bytes.Clone(raw), join(fs[len(fs)-1:])...)},
		{"fields-out-of-order", "malformed", "max_pulls before ttl_s", swap(fs, 66, 70)},
		{"length-beyond-field", "malformed", "the last length passes the end by one", longer(raw)},
		{"trailing-in-statement", "malformed", "a byte after the last field", append(bytes.Clone(raw), 0)},
		{"type-not-minimal", "malformed", "type 64 written in three bytes", replace(raw, 106, []byte{0xfd, 0, 64}, 1)},
		{"length-not-minimal", "malformed", "a length below 0xfd written in three bytes", replace(raw, 107, []byte{0xfd, 0, 5}, 1)},
		{"header-only", "malformed", "a record without a body", raw[:106]},
		{"too-short", "malformed", "a header without its last byte", raw[:105]},
		{"too-large", "too_large", "a record of more than 512 bytes", append(bytes.Clone(raw), make([]byte, 400)...)},
		{"unknown-type", "malformed", "statement type 14", with(fs, 0, []byte{0, 14})},
		{"unknown-network", "wrong_network", "a network that does not exist", with(fs, 2, []byte{1, 2, 3, 4})},
		{"no-signer", "malformed", "from is zero", with(fs, 4, make([]byte, 32))},
		{"no-addressee", "malformed", "a record to nobody", with(fs, 6, make([]byte, 32))},
		{"addressee-not-allowed", "malformed", "an identity document with an addressee", with(scan(m.t, m.document(nil).Statement), 6, zero[:])},
		{"signer-off-curve", "bad_signature", "from is no point of the curve", with(fs, 4, bytes.Repeat([]byte{0xff}, 32))},
	}
	for _, c := range cases {
		s, err := identity.SignOne(key("alice"), c.raw)
		if err != nil {
			s = identity.Signed{Statement: c.raw, Proof: proof}
		}
		m.add("statement/"+c.name, "signed", c.expect, c.what, signed(s))
	}
}

// swap exchanges the places of two fields.
func swap(fs []field, a, b uint64) []byte {
	out := append([]field(nil), fs...)
	i, j := 0, 0
	for k, f := range out {
		if f.typ == a {
			i = k
		}
		if f.typ == b {
			j = k
		}
	}
	out[i], out[j] = out[j], out[i]
	return join(out)
}

// longer claims one byte more for the last field of a record, which has 32.
func longer(raw []byte) []byte {
	b := bytes.Clone(raw)
	b[len(b)-33]++
	return b
}

// replace puts other bytes in the place of n.
func replace(raw []byte, at int, by []byte, n int) []byte {
	return bytes.Join([][]byte{raw[:at], by, raw[at+n:]}, nil)
}

// bodies are statements of every type but those of contracts and offers: a good one of each, and
// what their own rules refuse.
func (m *maker) bodies() {
	for name, s := range m.goodBodies() {
		m.add("body/"+name, "signed", "ok", "a good "+name, signed(s))
	}
	self := key("alice").Public()
	for _, c := range []struct {
		name, of, by string
		typ          uint64
		value        []byte
		what         string
	}{
		{"record-id", "record", "alice", 64, []byte("a/b"), "a slash in the id"},
		{"record-ttl", "record", "alice", 66, make([]byte, 4), "ttl 0"},
		{"record-pulls", "record", "alice", 70, make([]byte, 2), "max_pulls 0"},
		{"record-flags", "record", "alice", 72, []byte{2}, "an unknown flag"},
		{"order-empty", "storeOrder", "alice", 68, make([]byte, 2), "an order for no records"},
		{"order-terms", "storeOrder", "alice", 66, make([]byte, 32), "a contract without terms"},
		{"receipt-serial", "receipt", "relay", 10, make([]byte, 16), "a serial that is not derived from the order"},
		{"request-long", "readRequest", "bob", 68, bigEndian(uint64(now)+600_001, 8), "valid for more than ten minutes"},
		{"request-past", "readRequest", "bob", 68, bigEndian(uint64(now)-1, 8), "ends before it begins"},
		{"verdict", "acknowledgement", "bob", 70, []byte{3}, "verdict 3"},
		{"reason", "denial", "relay", 68, []byte{8}, "reason 8"},
		{"evidence-length", "denial", "relay", 76, make([]byte, 33), "evidence of 33 bytes"},
		{"report-first", "usageReport", "relay", 68, filler(32), "report 1 with a predecessor"},
		{"dissent-order", "dissent", "alice", 66, bytes.Join([][]byte{bigEndian(9, 8), {'E'}, bigEndian(8, 8), {'E'}}, nil), "rows that descend"},
		{"dissent-class", "dissent", "alice", 66, append(bigEndian(9, 8), 'Q'), "class Q"},
		{"grant-own", "accountGrant", "alice", 66, self[:], "a grant to oneself"},
		{"grant-heights", "accountGrant", "alice", 76, bigEndian(199, 4), "ends before it begins"},
		{"grant-nothing", "accountGrant", "alice", 70, make([]byte, 8), "a cap of 0"},
		{"report-lanes", "usageReport", "relay", 100, bigEndian(2, 4), "lanes without their root"},
		{"label", "identity", "alice", 64, []byte("a\nb"), "a line feed in the label"},
		{"devices", "identity", "alice", 74, []byte{0}, "no devices"},
		{"sealing-key", "identity", "alice", 68, make([]byte, 32), "a sealing key of 32 bytes"},
	} {
		raw := with(scan(m.t, m.goodBodies()[c.of].Statement), c.typ, c.value)
		m.add("body/bad-"+c.name, "signed", "malformed", c.what, signed(m.sign(c.by, raw)))
	}
	big := with(scan(m.t, m.goodBodies()["record"].Statement), 74, bigEndian(1<<20+1, 4))
	m.add("body/bad-record-size", "signed", "too_large", "content_len above 1 MiB", signed(m.sign("alice", big)))
}

func (m *maker) document(change func(*identity.Document)) identity.Signed {
	m.t.Helper()
	pin := identity.Tagged("spec/pin")
	d := identity.Document{
		Label: "Alice & Bob <ü>", Sequence: 3, Expires: now + 1000, Devices: 1, SealingKey: m.sealingKey("alice").Public(),
		Relays: []identity.RelayRef{{Key: key("relay").Public(), Addresses: []identity.Address{
			{URL: "wss://relay.example:7448/ws", Pins: []identity.Digest{pin}}, {URL: "wss://[2001:db8::1]:7448", Pins: []identity.Digest{pin}},
		}}},
	}
	if change != nil {
		change(&d)
	}
	h := head("alice", "", "document")
	return val(identity.SignDocument(key("alice"), identity.Regtest, d, h.Time, h.Serial))(m)
}

func (m *maker) trees() {
	for _, n := range []int{1, 2, 5, 7} {
		var ds []identity.Digest
		for i := range n {
			ds = append(ds, identity.Tagged("spec/leaf", []byte{byte(i)}))
		}
		name := []string{1: "1", 2: "2", 5: "5", 7: "7"}[n]
		m.add("tree/of-"+name, "tree", "ok", "root and paths of "+name+" digests", values{"digests": hexAll(ds)})
	}
	var raws [][]byte
	for _, s := range m.batch() {
		raws = append(raws, s.Statement)
	}
	b := val(identity.SignBundle(key("alice"), raws...))(m).Bytes()
	add := func(name, expect, what string, b []byte) {
		m.add("bundle/"+name, "bundle", expect, what, values{"bundle": text(b)})
	}
	add("ok", "ok", "five records under one signature", b)
	add("trailing-byte", "malformed", "a byte after the last statement", append(bytes.Clone(b), 0))
	add("cut-off", "malformed", "the last statement is cut off", b[:len(b)-1])
	add("bad-signature", "bad_signature", "one bit of the signature is changed", replace(b, 0, []byte{b[0] ^ 1}, 1))
	add("empty", "malformed", "no statements", append(bytes.Clone(b[:64]), 0, 0))
	mixed := identity.Bundle{Statements: [][]byte{raws[0], m.sign("bob", val(usage.Delete{Header: head("bob", "relay", "x"), Record: identity.Digest{1}}.Encode())(m)).Statement}}
	add("two-signers", "malformed", "statements of two signers", mixed.Bytes())
}

func (m *maker) keys() {
	k := key("alice").Public().String()
	add := func(name, expect, what, s string) {
		m.add("key/"+name, "key", expect, what, values{"text": s})
	}
	add("text", "ok", "the text form", k)
	add("upper", "ok", "the text form in capitals", strings.ToUpper(k))
	pub := key("alice").Public()
	add("hex", "ok", "64 hex digits", text(pub[:]))
	last := byte('q')
	if k[len(k)-1] == last {
		last = 'p'
	}
	add("checksum", "refused", "the last character is changed", k[:len(k)-1]+string(last))
	add("off-curve", "refused", "an x coordinate that is not on the curve", strings.Repeat("f", 64))
	add("short", "refused", "62 hex digits", text(pub[:31]))
	add("bech32", "refused", "bech32 in place of bech32m", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")

	const words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
	nonce := identity.Tagged("spec/nonce")
	phrase := func(name, expect, what, words, pass, network string) {
		m.add("phrase/"+name, "phrase", expect, what, values{"phrase": words, "passphrase": pass, "network": network, "nonce": nonce.String()})
	}
	phrase("mainnet", "ok", "coin type 0", words, "", "mainnet")
	phrase("regtest", "ok", "coin type 1", words, "", "regtest")
	phrase("passphrase", "ok", "BIP39's own passphrase: the seed is that of its test vectors", words, "TREZOR", "mainnet")
	phrase("spaces", "ok", "capitals and white space do not matter", "  "+strings.ToUpper(words)+"\n", "", "mainnet")
	phrase("unknown-word", "bad_phrase", "a word that is not in the list", strings.Replace(words, "about", "abott", 1), "", "mainnet")
	phrase("checksum", "bad_phrase", "twelve words that do not fit together", strings.Replace(words, "about", "abandon", 1), "", "mainnet")
}

func (m *maker) documents() {
	d := val(identity.OpenDocument(m.document(nil), 0))(m)
	file := string(val(identity.MarshalFile(d))(m))
	add := func(name, expect, what, file string, at identity.UnixMilli) {
		m.add("identity/"+name, "identity_file", expect, what, values{"file": file, "now_ms": uint64(at)})
	}
	add("file", "ok", "a *.relayid file", file, now)
	add("file-compact", "ok", "white space does not matter", compact(m.t, file), now)
	add("file-expired", "identity_expired", "one millisecond after its end", file, now+1001)
	add("file-label", "malformed", "the readable label differs from the signed one", strings.Replace(file, "Alice", "Malice", 1), now)
	add("file-version", "unsupported", "version 2", strings.Replace(file, `"version": 1`, `"version": 2`, 1), now)
	bare := val(identity.OpenDocument(m.document(func(d *identity.Document) { d.Relays, d.SealingKey = nil, nil }), 0))(m)
	add("file-bare", "ok", "no relays and no sealing key", string(val(identity.MarshalFile(bare))(m)), now)
	card := identity.NewCard(d).String()
	m.add("identity/card", "card", "ok", "a card of one relay", values{"card": card})
	m.add("identity/card-digest", "card", "malformed", "a card without the document's digest", values{"card": strings.Replace(card, "?d=", "?x=", 1)})
	m.add("identity/card-scheme", "card", "malformed", "another scheme", values{"card": "mailto:" + card})
}
