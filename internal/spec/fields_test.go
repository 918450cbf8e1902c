package spec

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/codec"
	"relaymarket/internal/message"
	"relaymarket/records"
	"relaymarket/usage"
)

// field is one field of a TLV stream.
type field struct {
	typ   uint64
	value []byte
}

// scan takes a stream apart by the rules of chapter 2, independently of the codec.
func scan(t *testing.T, raw []byte) []field {
	t.Helper()
	var out []field
	for len(raw) > 0 {
		var f field
		var n uint64
		f.typ, raw = bigSize(t, raw)
		n, raw = bigSize(t, raw)
		if n > uint64(len(raw)) {
			t.Fatalf("type %d claims %d bytes, %d are left", f.typ, n, len(raw))
		}
		f.value, raw = raw[:n], raw[n:]
		out = append(out, f)
	}
	return out
}

func bigSize(t *testing.T, b []byte) (uint64, []byte) {
	t.Helper()
	switch {
	case len(b) >= 1 && b[0] < 0xfd:
		return uint64(b[0]), b[1:]
	case len(b) >= 3 && b[0] == 0xfd:
		return uint64(binary.BigEndian.Uint16(b[1:])), b[3:]
	case len(b) >= 5 && b[0] == 0xfe:
		return uint64(binary.BigEndian.Uint32(b[1:])), b[5:]
	case len(b) >= 9 && b[0] == 0xff:
		return binary.BigEndian.Uint64(b[1:]), b[9:]
	}
	t.Fatalf("no integer in %x", b)
	return 0, nil
}

func appendSize(b []byte, n uint64) []byte {
	switch {
	case n < 0xfd:
		return append(b, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xfd), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0xfe), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xff), n)
}

// join puts a stream together.
func join(fs []field) []byte {
	var b []byte
	for _, f := range fs {
		b = appendSize(appendSize(b, f.typ), uint64(len(f.value)))
		b = append(b, f.value...)
	}
	return b
}

func number(b []byte) uint64 {
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

func bigEndian(v uint64, size int) []byte {
	return binary.BigEndian.AppendUint64(nil, v)[8-size:]
}

// with is the stream with one field set, or taken out if value is nil.
func with(fs []field, typ uint64, value []byte) []byte {
	var out []field
	for _, f := range fs {
		if f.typ != typ {
			out = append(out, f)
		}
	}
	if value == nil {
		return join(out)
	}
	i := 0
	for i < len(out) && out[i].typ < typ {
		i++
	}
	return join(append(out[:i:i], append([]field{{typ, value}}, out[i:]...)...))
}

// described is a row of a table of fields.
type described struct {
	typ      uint64
	name     string
	min, max int
	items    int // of a list: how many, and how long
	item     int
	optional bool
}

var encodings = regexp.MustCompile(`^(?:u(8|16|32|64|128)|(bool)|\[(\d+)\]|(?:bytes|text) (\d+)\.\.(\d+)|hashes (\d+)|list (\d+) × (\d+))(, opt)?$`)

func describe(t *testing.T, tab table) []described {
	t.Helper()
	var out []described
	for _, row := range tab.rows {
		m := encodings.FindStringSubmatch(row[2])
		typ, err := strconv.ParseUint(row[0], 10, 64)
		if m == nil || err != nil {
			t.Fatalf("%s: %v is no field", tab.name, row)
		}
		n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v }
		d := described{typ: typ, name: row[1], optional: m[9] != "" || row[2] == "bool, opt"}
		switch {
		case m[1] != "":
			d.min, d.max = n(1)/8, n(1)/8
		case m[2] != "":
			d.min, d.max = 1, 1
		case m[3] != "":
			d.min, d.max = n(3), n(3)
		case m[5] != "":
			d.min, d.max = n(4), n(5)
		case m[6] != "":
			d.max = 32 * n(6)
		default:
			d.items, d.item = n(7), n(8)
			d.max = d.items * (4 + d.item)
		}
		out = append(out, d)
	}
	return out
}

// structure is something with a table of fields: beside are fields that belong to it and have a
// table of their own, decode reads a stream through the public functions.
type structure struct {
	beside []field
	decode func(raw []byte) error
}

var testKey = key("spec")

// key is a fixed private key by name.
func key(name string) identity.PrivateKey {
	d := identity.Tagged("spec/"+name, nil)
	k, err := identity.NewPrivateKey(d[:])
	if err != nil {
		panic(err)
	}
	return k
}

// header is the six fields of a statement of a type.
func header(typ identity.Type) []field {
	from, to := testKey.Public(), key("other").Public()
	if i, _ := typ.Info(); i.Rule == identity.ToNobody {
		to = identity.PublicKey{}
	}
	return []field{
		{0, bigEndian(uint64(typ), 2)}, {2, bigEndian(uint64(identity.Regtest), 4)}, {4, from[:]}, {6, to[:]},
		{8, make([]byte, 8)}, {10, make([]byte, 16)},
	}
}

func statement(typ identity.Type, decode func([]byte) error) structure {
	return structure{header(typ), decode}
}

func only[T any](f func([]byte) (T, error)) func([]byte) error {
	return func(raw []byte) error { _, err := f(raw); return err }
}

func openDocument(raw []byte) error {
	s, err := identity.SignOne(testKey, raw)
	if err == nil {
		_, err = identity.OpenDocument(s, 0)
	}
	return err
}

func list(raw []byte) []byte { return codec.AppendList(nil, [][]byte{raw}) }

// inside decodes a structure as an item of a field of an outer one.
func inside(outer func([]byte) error, fs []field, typ uint64, wrap func([]byte) []byte) func([]byte) error {
	return func(raw []byte) error { return outer(with(fs, typ, wrap(raw))) }
}

func frame(t message.Type) func([]byte) error {
	return func(raw []byte) error {
		b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(nil, uint16(t)), 1)
		_, _, err := message.Decode(append(b, raw...), 1<<31-1)
		return err
	}
}

// decodeProof decodes the TLV part of a fraud proof.
func decodeProof(raw []byte) error {
	_, err := evidence.Decode(append([]byte("rmfraud\x01"), raw...))
	return err
}

// structures are all that PROTOCOL.md has a table of fields for.
func structures() map[string]structure {
	docBase := append(header(identity.TypeIdentity), field{64, []byte("x")}, field{66, nil}, field{70, make([]byte, 8)}, field{72, make([]byte, 8)}, field{74, []byte{1}})
	relayItem := func(raw []byte) []byte { return list(raw) }
	addressItem := func(raw []byte) []byte {
		return list(join([]field{{0, make([]byte, 32)}, {2, list(raw)}}))
	}
	content := []field{{0, []byte("a/b")}, {2, nil}, {10, make([]byte, 8)}}
	same := func(raw []byte) []byte { return raw }
	all := map[string]structure{
		"header":           {[]field{{64, make([]byte, 32)}}, only(usage.DecodeDelete)},
		"identity":         statement(identity.TypeIdentity, openDocument),
		"identity.relay":   {nil, inside(openDocument, docBase, 66, relayItem)},
		"address":          {nil, inside(openDocument, docBase, 66, addressItem)},
		"record":           statement(identity.TypeRecord, only(records.DecodeHeader)),
		"content":          {nil, only(records.DecodeContent)},
		"forwarded":        {nil, inside(only(records.DecodeContent), content, 6, same)},
		"attachment":       {nil, inside(only(records.DecodeContent), content, 8, list)},
		"storeOrder":       statement(identity.TypeStoreOrder, only(usage.DecodeStoreOrder)),
		"receipt":          statement(identity.TypeReceipt, only(usage.DecodeReceipt)),
		"readRequest":      statement(identity.TypeReadRequest, only(usage.DecodeReadRequest)),
		"acknowledgement":  statement(identity.TypeAcknowledgement, only(usage.DecodeAcknowledgement)),
		"delete":           statement(identity.TypeDelete, only(usage.DecodeDelete)),
		"deleteReceipt":    statement(identity.TypeDeleteReceipt, only(usage.DecodeDeleteReceipt)),
		"denial":           statement(identity.TypeDenial, only(usage.DecodeDenial)),
		"usageReport":      statement(identity.TypeUsageReport, only(usage.DecodeUsageReport)),
		"dissent":          statement(identity.TypeDissent, only(usage.DecodeDissent)),
		"storageChallenge": statement(identity.TypeStorageChallenge, only(usage.DecodeStorageChallenge)),
		"storageProof":     statement(identity.TypeStorageProof, only(usage.DecodeStorageProof)),
		"accountGrant":     statement(identity.TypeAccountGrant, only(usage.DecodeAccountGrant)),
		"accountRevoke":    statement(identity.TypeAccountRevoke, only(usage.DecodeAccountRevoke)),
		"grantReceipt":     statement(identity.TypeGrantReceipt, only(usage.DecodeGrantReceipt)),
		"laneEntry":        {nil, only(usage.DecodeLaneEntry)},
		"row":              {nil, only(usage.DecodeRow)},
		"rowEntry":         {nil, only(usage.DecodeRowEntry)},
		"fraudProof":       {nil, decodeProof},
		"fraudRow":         {nil, inside(decodeProof, []field{{0, []byte{1}}, {2, nil}}, 4, list)},
		"serverBroadcast":  statement(identity.TypeServerBroadcast, only(broadcast.Decode)),
		"terms":            {nil, only(contract.DecodeTerms)},
		"inventoryRow":     {nil, inside(frame(message.TypeInventoryPage), []field{{0, nil}, {2, make([]byte, 8)}, {6, make([]byte, 16)}}, 0, list)},
		"accountContract":  {nil, inside(frame(message.TypeAccountInfo), []field{{4, nil}}, 4, list)},
	}
	common := []field{{64, make([]byte, 32)}, {66, make([]byte, 4)}, {68, make([]byte, 32)}}
	for _, i := range identity.Types() {
		if i.Type >= identity.TypeContractOpen && i.Type < identity.TypeAccountGrant {
			all[i.Name] = structure{append(header(i.Type), common...), only(contract.Decode)}
		}
	}
	all["contractCommon"] = structure{
		append(header(identity.TypeContractAbort), field{70, []byte{0, 1}}, field{72, []byte("x")}), only(contract.Decode),
	}
	for _, i := range message.Types() {
		all["msg "+i.Name] = structure{nil, frame(i.Type)}
	}
	return all
}

// TestFields compares every table of fields with what the decoders take: which types exist,
// which are required, and how long their values may be.
func TestFields(t *testing.T) {
	all, seen := structures(), map[string]bool{}
	for name, tab := range tables(t) {
		name, ok := strings.CutPrefix(name, "fields ")
		if !ok {
			continue
		}
		seen[name] = true
		s, ok := all[name]
		if !ok {
			t.Errorf("PROTOCOL.md describes %q, which is not known here", name)
			continue
		}
		t.Run(name, func(t *testing.T) { checkFields(t, s, describe(t, tab)) })
	}
	for name, s := range all {
		if !seen[name] && !empty(s) {
			t.Errorf("PROTOCOL.md has no table of the fields of %q", name)
		}
	}
}

// empty tells whether a structure takes no field at all.
func empty(s structure) bool {
	for typ := uint64(0); typ < 256; typ++ {
		if err := s.decode(join([]field{{typ, nil}})); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("unknown type %d", typ)) {
			return false
		}
	}
	return true
}

func checkFields(t *testing.T, s structure, ds []described) {
	base, known := append([]field(nil), s.beside...), map[uint64]bool{}
	for _, f := range s.beside {
		known[f.typ] = true
	}
	for _, d := range ds {
		known[d.typ] = true
		if !d.optional {
			base = scan(t, with(base, d.typ, make([]byte, d.min)))
		}
	}
	says := func(raw []byte) string {
		if err := s.decode(raw); err != nil {
			return err.Error()
		}
		return ""
	}
	if e := says(join(base)); strings.Contains(e, "required type") || strings.Contains(e, "unknown type") || strings.Contains(e, "allowed are") && strings.Contains(e, "malformed TLV") {
		t.Fatalf("the required fields of the table are not accepted: %s", e)
	}
	for _, d := range ds {
		checkField(t, d, base, says)
	}
	for typ := uint64(0); typ < 256; typ++ {
		if e := says(with(base, typ, []byte{1})); !known[typ] && !strings.Contains(e, fmt.Sprintf("unknown type %d", typ)) {
			t.Errorf("type %d is not in the table and accepted (%s)", typ, e)
		}
	}
}

// unreachable is a bound so large that a frame's own limit comes first.
const unreachable = 128 << 20

var overall = regexp.MustCompile(`\d+ bytes, allowed are \d+$`)

func checkField(t *testing.T, d described, base []field, says func([]byte) string) {
	without := says(with(base, d.typ, nil))
	if missing := strings.Contains(without, fmt.Sprintf("required type %d is missing", d.typ)); missing == d.optional {
		t.Errorf("%d %s: optional is %v in the table, not so in the code (%s)", d.typ, d.name, d.optional, without)
	}
	bounds := func(n int) string {
		return fmt.Sprintf("type %d has %d bytes, allowed are %d to %d", d.typ, n, d.min, d.max)
	}
	if d.min > 0 {
		if e := says(with(base, d.typ, []byte{})); !strings.Contains(e, bounds(0)) {
			t.Errorf("%d %s: empty gives %q, the table %q", d.typ, d.name, e, bounds(0))
		}
	}
	if d.items > 0 {
		checkItems(t, d, base, says)
	}
	if d.max > unreachable {
		return
	}
	e := says(with(base, d.typ, make([]byte, d.max+1)))
	if !strings.Contains(e, bounds(d.max+1)) && !overall.MatchString(e) {
		t.Errorf("%d %s: %d bytes give %q, the table %q", d.typ, d.name, d.max+1, e, bounds(d.max+1))
	}
}

// checkItems tries a list with one item too many, and with one byte too many in an item.
func checkItems(t *testing.T, d described, base []field, says func([]byte) string) {
	many := fmt.Sprintf("more than %d items", d.items)
	if e := says(with(base, d.typ, make([]byte, 4*(d.items+1)))); !strings.Contains(e, many) {
		t.Errorf("%d %s: %d items give %q, the table %q", d.typ, d.name, d.items+1, e, many)
	}
	long := fmt.Sprintf("an item claims %d bytes, allowed are %d and", d.item+1, d.item)
	if e := says(with(base, d.typ, list(make([]byte, d.item+1)))); !strings.Contains(e, long) && !overall.MatchString(e) {
		t.Errorf("%d %s: an item of %d bytes gives %q, the table %q", d.typ, d.name, d.item+1, e, long)
	}
}
