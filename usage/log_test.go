package usage

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"relaymarket/identity"
)

func drawRow(t *rapid.T) Row {
	r := Row{
		LogEpoch: rapid.Uint32().Draw(t, "epoch"), Index: rapid.Uint64Range(0, MaxLogSize-1).Draw(t, "index"), Kind: RowKind(rapid.IntRange(1, 5).Draw(t, "kind")),
		Arrival: Arrival(u64(t, "arrival")), Time: identity.UnixMilli(u64(t, "time")), Bytes: u64(t, "bytes"), Receipt: drawDigest(t, "receipt"),
		LiveBytes: u64(t, "live"), ByteSeconds: U128{u64(t, "hi"), u64(t, "lo")}, Egress: u64(t, "egress"), Owed: Msat(u64(t, "owed")),
	}
	if r.Kind != RowWrite && r.Kind != RowExpire {
		r.Record = drawDigest(t, "record")
	}
	if ev := rapid.SliceOfN(rapid.Byte(), 0, maxRowEvidence).Draw(t, "evidence"); len(ev) > 0 {
		r.Evidence = ev
	}
	return r
}

func TestRowsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRow(t)
		raw, err := r.Encode()
		if err != nil || len(raw) > MaxRow {
			t.Fatal(len(raw), err)
		}
		back, err := DecodeRow(raw)
		if err != nil || !reflect.DeepEqual(r, back) {
			t.Fatalf("%v\n%+v\n%+v", err, r, back)
		}
		e := RowEntry{Row: raw, Ack: rapid.SliceOfN(rapid.Byte(), 1, maxRowAck).Draw(t, "ack")}
		wire, err := e.Encode()
		if err != nil || len(wire) > MaxRowEntry {
			t.Fatal(len(wire), err)
		}
		if got, err := DecodeRowEntry(wire); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatal(got, err)
		}
	})
}

func TestImpossibleRows(t *testing.T) {
	d := identity.Digest{1}
	for name, r := range map[string]Row{
		"no kind":               {},
		"another kind":          {Kind: 6},
		"read of nothing":       {Kind: RowRead},
		"delete of nothing":     {Kind: RowDelete},
		"purge of nothing":      {Kind: RowPurge},
		"write of one record":   {Kind: RowWrite, Record: d},
		"expiry of one record":  {Kind: RowExpire, Record: d},
		"index beyond the log":  {Kind: RowWrite, Index: MaxLogSize},
		"evidence without end":  {Kind: RowWrite, Evidence: make([]byte, maxRowEvidence+1)},
		"evidence but no order": {Kind: 0, Evidence: []byte{1}},
	} {
		if _, err := r.Encode(); !errors.Is(err, ErrRow) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, err := Row{Kind: RowWrite}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	good[2] = 2
	if _, err := DecodeRow(good); !errors.Is(err, ErrRow) {
		t.Error("another version", err)
	}
}

func FuzzDecodeRow(f *testing.F) {
	for seed := range 6 {
		raw, err := rapid.Custom(drawRow).Example(seed).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := DecodeRow(raw)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
		// no row that decodes can break the arithmetic of the next one
		_, _, _ = AppendRow(r.State(), simPrices, RowInput{Kind: RowDelete, Time: r.Time + 1, Arrival: r.Arrival + 1, Bytes: r.Bytes, Record: identity.Digest{1}})
		_ = CheckRow(simPrices, r.State(), r, r.Time)
	})
}

func FuzzDecodeRowEntry(f *testing.F) {
	raw, err := RowEntry{Row: []byte{1}, Ack: []byte{2}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := DecodeRowEntry(raw)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
	})
}

// A log by hand: every total is a number that can be checked on paper.
func TestLogOnPaper(t *testing.T) {
	p := Prices{StorageMsatPerGiBDay: GiB * Day / 1024, EgressMsatPerGiB: GiB} // 1 msat per 1024 byte·seconds, 1 msat per byte
	receipt, record := identity.Digest{1}, identity.Digest{2}
	state := LogState{Epoch: 3}
	for i, step := range []struct {
		in                RowInput
		live, bs, egress  uint64
		owed              Msat
		sinceTheLastRowIs string
	}{
		{RowInput{Kind: RowWrite, Time: 10_999, Bytes: 1024, Receipt: receipt}, 1024, 0, 0, 0, "nothing kept before"},
		{RowInput{Kind: RowRead, Time: 12_000, Bytes: 700, Receipt: receipt, Record: record}, 1024, 2048, 700, 702, "2 s: seconds are floors"},
		{RowInput{Kind: RowRead, Time: 12_999, Bytes: 300, Receipt: receipt, Record: record}, 1024, 2048, 1000, 1002, "no second"},
		{RowInput{Kind: RowDelete, Time: 110_000, Bytes: 512, Receipt: receipt, Record: record, Accepted: 10_999}, 512, 1024*100 + 512*3500, 1000, 1000 + 100 + 1750, "98 s, and 3,500 s for what closes"},
		{RowInput{Kind: RowExpire, Time: 10_000_000, Bytes: 512, Receipt: receipt, Accepted: 10_999}, 0, 1024*100 + 512*(3500+9890), 1000, 1000 + 100 + 1750 + 4945, "an hour is over"},
	} {
		step.in.Arrival = Arrival(i + 1)
		row, next, err := AppendRow(state, p, step.in)
		if err != nil {
			t.Fatal(i, err)
		}
		if next.Live != step.live || next.ByteSeconds != (U128{0, step.bs}) || next.Egress != step.egress || next.Owed != step.owed {
			t.Fatalf("row %d (%s): %+v", i, step.sinceTheLastRowIs, next)
		}
		if row.Index != uint64(i) || row.State() != next || next.Epoch != 3 || CheckRow(p, state, row, step.in.Accepted) != nil {
			t.Fatalf("row %d: %+v", i, row)
		}
		state = next
	}
}

func TestStepsThatNoLogTakes(t *testing.T) {
	state := LogState{Size: 1, Live: 100, LastTime: 5000, LastArrival: 7}
	d := identity.Digest{1}
	for name, in := range map[string]RowInput{
		"time goes back":              {Kind: RowWrite, Time: 4999, Arrival: 8},
		"arrival stands":              {Kind: RowWrite, Time: 5000, Arrival: 7},
		"more released than is kept":  {Kind: RowDelete, Time: 5000, Arrival: 8, Bytes: 101, Record: d},
		"no kind":                     {Time: 5000, Arrival: 8},
		"read without a record":       {Kind: RowRead, Time: 5000, Arrival: 8},
		"more than all bytes written": {Kind: RowWrite, Time: 5000, Arrival: 8, Bytes: 1<<64 - 50},
	} {
		_, next, err := AppendRow(state, simPrices, in)
		if !errors.Is(err, ErrRow) && !errors.Is(err, ErrOverflow) {
			t.Errorf("%s: %v", name, err)
		}
		if next != state {
			t.Errorf("%s: the state moved", name)
		}
	}
}

func TestCheckRowsFindsTheFirstWrongRow(t *testing.T) {
	s, k := small(t)
	s.tamperRead(k[1], func(r *Row) { r.Owed++ })
	s.rawRow(s.readIn(k[2], s.request(k[2])))
	state, err := CheckRows(simPrices, LogState{Epoch: 1}, s.rows, nil)
	if !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), "row 2") || state.Size != 2 {
		t.Fatal(state.Size, err)
	}
	if _, err := CheckRows(simPrices, LogState{Epoch: 2}, s.rows, nil); !errors.Is(err, ErrRow) {
		t.Fatal("another epoch", err)
	}
	first, _ := DecodeRow(s.rows[0].Row)
	if _, err := CheckRows(simPrices, first.State(), s.rows[1:2], nil); !errors.Is(err, ErrRow) {
		t.Fatal("a read of a receipt that nobody knows", err)
	}
	if _, err := CheckRows(simPrices, first.State(), []RowEntry{{Row: []byte{1}}}, nil); !errors.Is(err, ErrRow) {
		t.Fatal("rubbish", err)
	}
}

func TestConsistencyFromEverySizeToEverySize(t *testing.T) {
	var tree MemoryTree
	roots := []identity.Digest{EmptyRoot}
	const n = 20
	for i := range n {
		if got := StoredHashIndex(uint64(i)); got != uint64(len(tree.hashes)) {
			t.Fatalf("the hashes of row %d begin at %d", i, got)
		}
		if err := tree.Append([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		root, err := TreeRoot(tree.Size(), &tree)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
	}
	prevRoot := func(i int) identity.Digest {
		if i == 0 {
			return identity.Digest{}
		}
		return roots[i]
	}
	for from := range n + 1 {
		for to := from; to <= n; to++ {
			p, err := ProveConsistency(uint64(from), uint64(to), &tree)
			if err != nil || CheckConsistency(p, uint64(from), prevRoot(from), uint64(to), roots[to]) != nil {
				t.Fatal(from, to, err)
			}
			wrong := prevRoot(from)
			wrong[9] ^= 1
			if CheckConsistency(p, uint64(from), wrong, uint64(to), roots[to]) == nil {
				t.Fatal("another root is consistent", from, to)
			}
			if CheckConsistency(append(p, identity.Digest{}), uint64(from), prevRoot(from), uint64(to), roots[to]) == nil {
				t.Fatal("a longer proof is accepted", from, to)
			}
		}
	}
	if _, err := ProveConsistency(5, 4, &tree); err == nil {
		t.Fatal("a log does not shrink")
	}
	if _, err := ProveInclusion(4, 4, &tree); err == nil {
		t.Fatal("row 4 is not among 4")
	}
	if CheckConsistency(nil, 5, roots[5], 4, roots[4]) == nil {
		t.Fatal("a log does not shrink")
	}
	if _, err := tree.ReadHashes([]int64{1000}); err == nil {
		t.Fatal("a hash that is not there")
	}
	if _, err := StoredHashes(MaxLogSize, nil, &tree); err == nil {
		t.Fatal("the log is full")
	}
	if _, err := TreeRoot(3, tlog.HashReaderFunc(func([]int64) ([]tlog.Hash, error) { return nil, errors.New("disk") })); err == nil {
		t.Fatal("the reader failed")
	}
}

// reportPair is two reports in a row over a growing log.
func reportPair(t *testing.T) (*sim, VerifiedUsageReport, VerifiedUsageReport) {
	s, k := small(t)
	first := s.report()
	s.readAcked(k[1])
	s.readAcked(k[2])
	return s, first, s.report()
}

func TestReportFollowsReport(t *testing.T) {
	_, first, second := reportPair(t)
	for name, err := range map[string]error{
		"the first":    CheckReport(nil, first),
		"the second":   CheckReport(&first, second),
		"any alone":    CheckReport(nil, second),
		"one again":    CheckReport(&second, second),
		"its own root": CheckReport(&first, first),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckReport(&second, first); !errors.Is(err, ErrReport) {
		t.Error("an older report", err)
	}
}

func TestReportsThatDoNotFollow(t *testing.T) {
	for name, c := range map[string]struct {
		want   error
		change func(r *UsageReport)
	}{
		"same number": {ErrReport, func(r *UsageReport) {
			r.Number, r.Previous, r.PrevSize, r.PrevRoot, r.Consistency = 1, identity.Digest{}, 0, identity.Digest{}, nil
		}},
		"gap": {ErrReportGap, func(r *UsageReport) { r.Number = 4 }},
		"rollback behind a gap": {ErrReport, func(r *UsageReport) {
			r.Number, r.Size, r.PrevSize, r.PrevRoot, r.Consistency = 4, 1, 0, identity.Digest{}, nil
		}},
		"rewritten behind a gap": {ErrReport, func(r *UsageReport) {
			r.Number, r.Size, r.PrevSize, r.PrevRoot, r.Consistency = 4, 2, 0, identity.Digest{}, nil
		}},
		"other predecessor":  {ErrReport, func(r *UsageReport) { r.Previous[0] ^= 1 }},
		"other contract":     {ErrReport, func(r *UsageReport) { r.Contract[0] ^= 1 }},
		"other terms":        {ErrReport, func(r *UsageReport) { r.Terms[0] ^= 1 }},
		"other client":       {ErrReport, func(r *UsageReport) { r.To = testKey("bob").Public() }},
		"broken proof":       {ErrReport, func(r *UsageReport) { r.Consistency[0][0] ^= 1 }},
		"no proof":           {ErrReport, func(r *UsageReport) { r.Consistency = nil }},
		"other root":         {ErrReport, func(r *UsageReport) { r.Root[0] ^= 1 }},
		"other prev root":    {ErrReport, func(r *UsageReport) { r.PrevRoot[0] ^= 1 }},
		"nothing before":     {ErrReport, func(r *UsageReport) { r.PrevSize, r.PrevRoot, r.Consistency = 0, identity.Digest{}, nil }},
		"sum falls":          {ErrReport, func(r *UsageReport) { r.Owed = 0 }},
		"egress falls":       {ErrReport, func(r *UsageReport) { r.Egress = 0 }},
		"reset":              {ErrLogReset, func(r *UsageReport) { r.LogEpoch++ }},
		"reset of the reset": {ErrReport, func(r *UsageReport) { r.LogEpoch-- }},
		"empty with a root": {ErrReport, func(r *UsageReport) {
			r.Size, r.PrevSize, r.PrevRoot, r.Consistency = 0, 0, identity.Digest{}, nil
		}},
	} {
		s, first, _ := reportPair(t)
		s.reports = s.reports[:1]
		bad := s.reportWith(c.change)
		if err := CheckReport(&first, bad); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
