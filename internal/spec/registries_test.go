package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/board"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/transport"
	"relaymarket/records"
	"relaymarket/usage"
)

func TestStatements(t *testing.T) {
	rules := map[identity.Rule]string{identity.ToParty: "party", identity.ToNobody: "nobody"}
	var want [][]string
	for _, i := range identity.Types() {
		want = append(want, []string{fmt.Sprint(uint16(i.Type)), i.Name, i.From, i.To, rules[i.Rule], fmt.Sprint(i.Max)})
	}
	compare(t, "statements", want)
}

func TestMessages(t *testing.T) {
	var want [][]string
	for _, i := range message.Types() {
		var answers []string
		for _, a := range i.Answers {
			answers = append(answers, a.String())
		}
		want = append(want, []string{
			fmt.Sprint(uint16(i.Type)), i.Name, i.From.String(), strings.Join(answers, ", "), yes(i.Streams), yes(i.Anonymous),
		})
	}
	compare(t, "messages", want)
}

func TestCodes(t *testing.T) {
	var want [][]string
	for _, e := range code.All() {
		want = append(want, []string{fmt.Sprint(uint16(e.Code)), e.Name, yes(e.Retryable), e.Hint})
	}
	compare(t, "codes", want)
}

func TestNetworks(t *testing.T) {
	for _, row := range take(t, "networks").rows {
		n, err := identity.ParseNetwork(row[0])
		if err != nil || fmt.Sprintf("0x%08x", uint32(n)) != row[1] || fmt.Sprint(n.CoinType()) != row[2] {
			t.Errorf("%v: the code says %08x, coin type %d (%v)", row, uint32(n), n.CoinType(), err)
		}
	}
	// Every network that has margins is in the table: there is no other list of networks.
	if got, want := len(take(t, "networks").rows), len(contract.AllMargins()); got != want {
		t.Errorf("%d networks in PROTOCOL.md, %d in the code", got, want)
	}
}

func TestMargins(t *testing.T) {
	var want [][]string
	main, err := contract.MarginsOf(identity.Mainnet)
	if err != nil {
		t.Fatal(err)
	}
	regtest, err := contract.MarginsOf(identity.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	a, b := reflect.ValueOf(main), reflect.ValueOf(regtest)
	for i := range a.NumField() {
		if name := a.Type().Field(i).Name; name != "Network" {
			want = append(want, []string{snake(name), fmt.Sprint(a.Field(i)), fmt.Sprint(b.Field(i))})
		}
	}
	compare(t, "margins", want)
	for _, m := range contract.AllMargins() {
		if m.Network == identity.Regtest {
			continue
		}
		m.Network = main.Network
		if m != main {
			t.Errorf("a public network has other margins than mainnet: %+v", m)
		}
	}
}

// snake turns MinDuration into min_duration.
func snake(s string) string {
	return strings.ToLower(strings.TrimPrefix(regexp.MustCompile(`[A-Z]`).ReplaceAllString(s, "_$0"), "_"))
}

func TestStates(t *testing.T) {
	var want [][]string
	for s := contract.StateNew; !strings.HasPrefix(s.String(), "state("); s++ {
		want = append(want, []string{fmt.Sprint(uint8(s)), s.String()})
	}
	compare(t, "states", want)
}

func TestReasonsRowsClasses(t *testing.T) {
	var reasons, rows, classes [][]string
	for r := usage.ReasonNone; !strings.HasPrefix(r.String(), "reason("); r++ {
		reasons = append(reasons, []string{fmt.Sprint(uint8(r)), r.String()})
	}
	for k := usage.RowWrite; !strings.HasPrefix(k.String(), "row("); k++ {
		rows = append(rows, []string{fmt.Sprint(uint8(k)), k.String()})
	}
	for c := range 256 {
		if name := usage.Class(c).String(); !strings.HasPrefix(name, "class(") {
			letter, text, _ := strings.Cut(name, " ")
			classes = append(classes, []string{letter, text})
		}
	}
	compare(t, "reasons", reasons)
	compare(t, "rows", rows)
	compare(t, "classes", classes)
}

func TestFrauds(t *testing.T) {
	var want [][]string
	for _, c := range evidence.Classes() {
		statements, rows := c.Shape()
		want = append(want, []string{fmt.Sprint(uint8(c)), c.String(), statements, rows})
	}
	compare(t, "frauds", want)
}

func TestMedia(t *testing.T) {
	compare(t, "media", [][]string{{records.MediaText}, {records.MediaAcknowledgements}, {records.MediaIdentity}})
}

// TestTags holds the list of tagged digests against every call in the source.
func TestTags(t *testing.T) {
	listed := map[string]bool{}
	for _, row := range take(t, "tags").rows {
		name, _, _ := strings.Cut(row[0], "<")
		listed[name] = true
	}
	used := map[string]bool{}
	call := regexp.MustCompile(`(?:Tagged|serial)\("([^"]+)"|"relaymarket/v1/(pow|\w+-serial)"`)
	for _, path := range sources(t) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(raw), -1) {
			used[m[1]+m[2]] = true
		}
	}
	for name := range used {
		if !listed[name] {
			t.Errorf("tag %q is used and not in PROTOCOL.md", name)
		}
	}
	for name := range listed {
		if !used[name] {
			t.Errorf("tag %q is in PROTOCOL.md and used nowhere", name)
		}
	}
}

// sources are all Go files that are no tests.
func sources(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			out = append(out, path)
		}
		return err
	})
	if err != nil || len(out) < 50 {
		t.Fatalf("%d sources (%v)", len(out), err)
	}
	sort.Strings(out)
	return out
}

// TestConstants compares the bounds of the protocol by name.
func TestConstants(t *testing.T) {
	have := map[string]uint64{
		"max_batch": identity.MaxBatch, "max_content": records.MaxContent, "chunk_size": records.ChunkSize,
		"max_id": records.MaxID, "max_tag": records.MaxTag, "max_pulls": records.MaxPulls,
		"default_max_pulls": records.DefaultMaxPulls, "max_ttl_s": records.MaxTTL, "max_ahead_ms": uint64(records.MaxAhead),
		"min_life_ms": uint64(records.MinLife), "max_plaintext": records.MaxPlaintext, "max_media_type": records.MaxMediaType,
		"max_attachments": records.MaxAttachments, "max_acknowledgements": records.MaxAcknowledgements,
		"piece_size": records.PieceSize, "max_pieces": records.MaxPieces, "max_name": records.MaxName,
		"epoch_messages": records.EpochMessages, "epoch_age_ms": uint64(records.EpochAge), "max_skipped": records.MaxSkipped,
		"sealing_rotate_ms": uint64(records.RotateAfter), "sealing_grace_ms": uint64(records.KeyGrace), "max_gaps": records.MaxGaps,
		"max_price_msat": uint64(usage.MaxPrice), "record_overhead": usage.RecordOverhead, "min_storage_s": usage.MinStorageSeconds,
		"max_order_records": usage.MaxOrderRecords, "max_request_ms": uint64(usage.MaxRequestLife),
		"max_denial_evidence": usage.MaxDenialEvidence, "max_dissent_rows": usage.MaxDissentRows, "max_row": usage.MaxRow, "max_proof_file": evidence.MaxFile, "max_proof_rows": evidence.MaxRows,
		"max_row_entry": usage.MaxRowEntry, "max_log_size": usage.MaxLogSize, "max_grants": usage.MaxGrants, "max_lane_entry": usage.MaxLaneEntry, "max_validity_ms": uint64(broadcast.MaxValidity),
		"max_pow_bits": broadcast.MaxPowBits, "max_list_bytes": board.MaxListBytes, "max_list_offers": board.MaxListOffers,
		"max_items": message.MaxItems, "max_signed": message.MaxSigned, "max_bundle": message.MaxBundle,
		"max_piece": message.MaxPiece, "max_text": message.MaxText, "first_frame": transport.FirstLimit,
		"fee_tiers": contract.Tiers, "min_feerate": contract.MinFeeRate, "max_feerate": contract.MaxFeeRate,
	}
	rows := take(t, "constants").rows
	for _, row := range rows {
		if v, ok := have[row[0]]; !ok || strconv.FormatUint(v, 10) != row[1] {
			t.Errorf("%s: PROTOCOL.md says %s, the code %d", row[0], row[1], v)
		}
	}
	if len(rows) != len(have) {
		t.Errorf("%d constants in PROTOCOL.md, %d in the code", len(rows), len(have))
	}
	if broadcast.MaxAhead != records.MaxAhead || usage.AcceptAhead != records.MaxAhead || message.MaxContent != records.MaxContent {
		t.Error("PROTOCOL.md has one value where the code has several")
	}
}

// TestLimits compares the limits: fields, defaults and bounds.
func TestLimits(t *testing.T) {
	fields := scan(t, usage.DefaultLimits().Encode())
	rows := take(t, "limits").rows
	if len(fields) != len(rows) {
		t.Fatalf("%d limits in PROTOCOL.md, %d in the code", len(rows), len(fields))
	}
	for i, row := range rows {
		f := fields[i]
		if fmt.Sprint(f.typ) != row[0] || fmt.Sprint(number(f.value)) != row[3] || fmt.Sprintf("u%d", 8*len(f.value)) != row[2] {
			t.Errorf("%v: the code has type %d with %x", row, f.typ, f.value)
		}
		limitBound(t, row, len(f.value), i)
	}
}

// limitBound tries a limit at its bounds and one beyond them.
func limitBound(t *testing.T, row []string, size, i int) {
	t.Helper()
	least, most := parse(t, row[4]), parse(t, row[5])
	over := uint64(1)<<(8*size) - 1
	for _, try := range []struct {
		v    uint64
		good bool
	}{{least, true}, {most, true}, {least - 1, least == 0}, {min(most+1, over), most == over}} {
		l := usage.DefaultLimits()
		l.MaxFrame, l.MaxContent = usage.LimitMaxFrame, 1
		f := scan(t, l.Encode())
		f[i].value = bigEndian(try.v, size)
		_, err := usage.DecodeLimits(join(f))
		if try.v <= over && (err == nil) != try.good {
			t.Errorf("%s = %d: %v", row[1], try.v, err)
		}
	}
}

func parse(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
