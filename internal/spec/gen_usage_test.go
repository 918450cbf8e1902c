package spec

import (
	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

var (
	contractID = usage.ContractID(identity.Tagged("spec/contract"))
	termsID    = identity.Tagged("spec/terms")
)

// dear are prices that make a small log cost something.
var dear = usage.Prices{StorageMsatPerGiBDay: 1_000_000_000, EgressMsatPerGiB: 2_000_000_000}

func (m *maker) order() (identity.Signed, usage.StoreOrder) {
	m.t.Helper()
	o := usage.StoreOrder{Header: head("alice", "relay", "order"), Contract: contractID, Terms: termsID, MaxMsat: 1_000_000, NotAfter: now + 3_600_000}
	var ds []identity.Digest
	for _, s := range m.batch() {
		r := val(records.OpenHeader(s))(m)
		ds = append(ds, r.Digest())
		o.TotalBytes += usage.BillableBytes(len(s.Statement), int(r.Header().ContentLen))
	}
	o.N, o.Root = uint16(len(ds)), identity.Root(ds)
	return m.sign("alice", val(o.Encode())(m)), o
}

func (m *maker) receipt(change func(*usage.Receipt)) identity.Signed {
	m.t.Helper()
	s, o := m.order()
	r := usage.Receipt{
		Header: head("relay", "alice", ""), Order: identity.StatementDigest(identity.TypeStoreOrder, s.Statement),
		StoredBytes: o.TotalBytes, Arrival: 1_790_000_000_000_123, AcceptedMs: now + 50, ServiceUntil: now + 86_400_000, WorstMsat: 900_000,
		Contract: o.Contract, LogEpoch: 1, RowIndex: 0, Terms: o.Terms, StoreEpoch: [16]byte{7}, HomeShard: 42,
	}
	if change != nil {
		change(&r)
	}
	return m.sign("relay", val(r.Encode())(m))
}

// goodBodies is one good statement of every type of packages records, usage and identity.
func (m *maker) goodBodies() map[string]identity.Signed {
	m.t.Helper()
	record := identity.StatementDigest(identity.TypeRecord, m.batch()[0].Statement)
	order, _ := m.order()
	request := usage.ReadRequest{Header: head("bob", "relay", "request"), Record: record, MaxBytes: 1 << 20, NotAfter: now + 600_000}
	asked := m.sign("bob", val(request.Encode())(m))
	ack := usage.Acknowledgement{
		Header: head("bob", "relay", "ack"), Record: record, Bytes: 250, Verdict: usage.VerdictOK, Relay: key("relay").Public(),
		Request: identity.StatementDigest(identity.TypeReadRequest, asked.Statement),
	}
	told := ack
	told.Header = head("bob", "alice", "told")
	del := m.sign("alice", val(usage.Delete{Header: head("alice", "relay", "delete"), Record: record}.Encode())(m))
	gone := usage.DeleteReceipt{
		Header: head("relay", "alice", "gone"), Order: identity.StatementDigest(identity.TypeDelete, del.Statement), Record: record,
		Arrival: 1_790_000_000_000_200, Contract: contractID, LogEpoch: 1, RowIndex: 3,
	}
	denial := usage.Denial{
		Header: head("relay", "bob", "denial"), Request: ack.Request, Record: record, Reason: usage.ReasonDeleted,
		AsOf: 1_790_000_000_000_300, AsOfMs: now + 400, StoreEpoch: [16]byte{7}, Evidence: []identity.Digest{gone.Order},
	}
	dissent := usage.Dissent{
		Header: head("alice", "relay", "dissent"), Report: identity.Tagged("spec/report"),
		Rows: []usage.DissentRow{{Index: 3, Class: usage.ClassNoEvidence}, {Index: 9, Class: usage.ClassPulls}},
	}
	challenge := usage.StorageChallenge{Header: head("alice", "relay", "challenge"), Record: record, Nonce: [32]byte{3}, NotAfter: now + 600_000}
	challenged := m.sign("alice", val(challenge.Encode())(m))
	shown := usage.StorageProof{
		Header: head("relay", "alice", "proof"), Challenge: identity.StatementDigest(identity.TypeStorageChallenge, challenged.Statement), Record: record,
		ChunkHash: identity.Tagged("spec/chunk"), AsOf: 1_790_000_000_000_300, AsOfMs: now + 400, StoreEpoch: [16]byte{7}, Path: []identity.Digest{identity.Tagged("spec/path")},
	}
	grant := usage.AccountGrant{
		Header: head("alice", "relay", "grant"), Contract: contractID, Account: key("bob").Public(), Terms: termsID, Prices: dear,
		CapMsat: 50_000_000, DayMsat: 5_000_000, NotBefore: 200, NotAfter: 4_600,
	}
	given := m.sign("alice", val(grant.Encode())(m))
	revoke := usage.AccountRevoke{Header: head("alice", "relay", "revoke"), Grant: identity.StatementDigest(identity.TypeAccountGrant, given.Statement)}
	revoked := m.sign("alice", val(revoke.Encode())(m))
	done := usage.GrantReceipt{
		Header: head("relay", "alice", "revoked"), Order: identity.StatementDigest(identity.TypeAccountRevoke, revoked.Statement), Grant: revoke.Grant,
		Contract: contractID, LogEpoch: 1, RowIndex: 5,
	}
	byGrant := val(usage.DecodeStoreOrder(order.Statement))(m)
	byGrant.Header, byGrant.Grant = head("bob", "relay", "order by a grant"), revoke.Grant
	return map[string]identity.Signed{
		"storageChallenge": challenged, "storageProof": m.sign("relay", val(shown.Encode())(m)),
		"accountGrant": given, "accountRevoke": revoked, "grantReceipt": m.sign("relay", val(done.Encode())(m)),
		"storeOrder-by-a-grant": m.sign("bob", val(byGrant.Encode())(m)),
		"record":                m.batch()[0], "storeOrder": order, "receipt": m.receipt(nil), "readRequest": asked,
		"acknowledgement": m.sign("bob", val(ack.Encode())(m)), "acknowledgement-to-sender": m.sign("bob", val(told.Encode())(m)),
		"delete": del, "deleteReceipt": m.sign("relay", val(gone.Encode())(m)), "denial": m.sign("relay", val(denial.Encode())(m)),
		"usageReport": m.story().reports[0], "dissent": m.sign("alice", val(dissent.Encode())(m)), "identity": m.document(nil),
	}
}

func (m *maker) usage() {
	s, _ := m.order()
	add := func(name, expect, what string, receipt identity.Signed) {
		m.add("usage/receipt-"+name, "receipt", expect, what, values{"order": text(s.Bytes()), "receipt": text(receipt.Bytes())})
	}
	add("ok", "ok", "a receipt for an order of five records", m.receipt(nil))
	add("other-order", "conflict", "a receipt for another order", m.receipt(func(r *usage.Receipt) { r.Order[0] ^= 1 }))
	add("other-bytes", "conflict", "another number of bytes", m.receipt(func(r *usage.Receipt) { r.StoredBytes++ }))
	add("too-dear", "conflict", "a higher worst case than ordered", m.receipt(func(r *usage.Receipt) { r.WorstMsat = 1_000_001 }))
	add("too-late", "conflict", "accepted after the order's time", m.receipt(func(r *usage.Receipt) { r.AcceptedMs = now + 3_600_001 }))
}

// ledger is a log of five rows with two reports on it.
type ledger struct {
	rows    [][]byte
	tree    usage.MemoryTree
	reports []identity.Signed // after two rows, and after five
}

// story writes, reads, deletes, writes again and expires.
func (m *maker) story() *ledger {
	m.t.Helper()
	first, second := identity.Tagged("spec/receipt 1"), identity.Tagged("spec/receipt 2")
	record := identity.StatementDigest(identity.TypeRecord, m.batch()[0].Statement)
	order, _ := m.order()
	asked := m.sign("bob", val(usage.ReadRequest{Header: head("bob", "relay", "r"), Record: record, MaxBytes: 1000, NotAfter: now + 600_000}.Encode())(m))
	del := m.sign("alice", val(usage.Delete{Header: head("alice", "relay", "d"), Record: record}.Encode())(m))
	l, state := new(ledger), usage.LogState{Epoch: 1}
	for i, in := range []usage.RowInput{
		{Kind: usage.RowWrite, Time: now, Bytes: 2_000_000, Receipt: first, Evidence: order.Bytes()},
		{Kind: usage.RowRead, Time: now + 60_999, Bytes: 900_000, Receipt: first, Record: record, Evidence: asked.Bytes()},
		{Kind: usage.RowDelete, Time: now + 120_000, Bytes: 1_000_000, Receipt: first, Record: record, Accepted: now, Evidence: del.Bytes()},
		{Kind: usage.RowWrite, Time: now + 7_200_000, Bytes: 500_000, Receipt: second, Evidence: order.Bytes()},
		{Kind: usage.RowExpire, Time: now + 86_400_000, Bytes: 1_000_000, Receipt: first, Accepted: now},
	} {
		in.Arrival = usage.Arrival(in.Time)*1000 + usage.Arrival(i)
		row, next, err := usage.AppendRow(state, dear, in)
		m.must(err)
		raw := val(row.Encode())(m)
		m.must(l.tree.Append(raw))
		l.rows, state = append(l.rows, raw), next
		if i == 1 || i == 4 {
			l.reports = append(l.reports, m.report(l, state, nil))
		}
	}
	return l
}

// report signs the head of a log, chained to the last report.
func (m *maker) report(l *ledger, s usage.LogState, change func(*usage.UsageReport)) identity.Signed {
	m.t.Helper()
	r := usage.UsageReport{
		Header: head("relay", "alice", "report"), Contract: contractID, Number: uint64(len(l.reports) + 1), LogEpoch: 1, Size: s.Size,
		Root: val(usage.TreeRoot(s.Size, &l.tree))(m), Terms: termsID, LiveBytes: s.Live, ByteSeconds: s.ByteSeconds, Egress: s.Egress,
		Owed: s.Owed, Paid: 2_000, TipHeight: 200, TipHash: [32]byte{9}, AsOf: s.LastArrival,
	}
	if n := len(l.reports); n > 0 {
		prev := val(usage.DecodeUsageReport(l.reports[n-1].Statement))(m)
		r.Previous = identity.StatementDigest(identity.TypeUsageReport, l.reports[n-1].Statement)
		r.PrevSize, r.PrevRoot = prev.Size, prev.Root
		r.Consistency = val(usage.ProveConsistency(prev.Size, s.Size, &l.tree))(m)
	}
	if change != nil {
		change(&r)
	}
	return m.sign("relay", val(r.Encode())(m))
}

func (m *maker) logs() {
	l := m.story()
	for i, name := range []string{"write", "read", "delete", "write-again", "expire"} {
		m.add("log/row-"+name, "row", "ok", "row "+string(rune('0'+i))+" of the log", values{"row": text(l.rows[i])})
	}
	fs := scan(m.t, l.rows[1])
	m.add("log/row-no-record", "row", "refused", "a READ row without a record", values{"row": text(with(fs, 16, nil))})
	m.add("log/row-kind", "row", "refused", "kind 6", values{"row": text(with(fs, 6, []byte{6}))})
	m.add("log/row-version", "row", "refused", "version 2", values{"row": text(with(fs, 0, []byte{2}))})
	m.add("log/row-no-evidence", "row", "ok", "missing evidence is a matter of the audit, not of the form", values{"row": text(with(fs, 26, nil))})
	m.rowsOf(l)
	m.proofs(l)
	m.heads(l)
	m.lanes()
}

func (m *maker) rowsOf(l *ledger) {
	add := func(name, expect, what string, rows [][]byte) {
		var hex []string
		for _, r := range rows {
			hex = append(hex, text(r))
		}
		m.add("log/"+name, "log", expect, what, values{
			"rows": hex, "storage_msat_per_gib_day": uint64(dear.StorageMsatPerGiBDay), "egress_msat_per_gib": uint64(dear.EgressMsatPerGiB),
		})
	}
	add("ok", "ok", "write, read, delete within the first hour, write, expire", l.rows)
	bad := append([][]byte(nil), l.rows...)
	bad[2] = with(scan(m.t, bad[2]), 24, bigEndian(1, 8))
	add("wrong-sum", "refused", "owed of row 2 is not what follows", bad)
	add("gap", "refused", "row 1 is missing", append([][]byte{l.rows[0]}, l.rows[2:]...))
	bad = append([][]byte(nil), l.rows...)
	bad[4] = with(scan(m.t, bad[4]), 8, bigEndian(1, 8))
	add("arrival", "refused", "an arrival that falls", bad)
}

func (m *maker) proofs(l *ledger) {
	roots := []identity.Digest{2: val(usage.TreeRoot(2, &l.tree))(m), 5: val(usage.TreeRoot(5, &l.tree))(m)}
	add := func(name, expect, what string, proof []identity.Digest, from, to uint64, a, b identity.Digest) {
		m.add("log/consistency-"+name, "consistency", expect, what, values{
			"proof": hexAll(proof), "prev_size": from, "prev_root": a.String(), "size": to, "root": b.String(),
		})
	}
	proof := val(usage.ProveConsistency(2, 5, &l.tree))(m)
	add("ok", "ok", "from two rows to five", proof, 2, 5, roots[2], roots[5])
	add("other-root", "refused", "another root of two rows", proof, 2, 5, roots[5], roots[5])
	add("short", "refused", "a digest of the proof is missing", proof[1:], 2, 5, roots[2], roots[5])
	add("from-empty", "ok", "the empty log is a beginning of every log", nil, 0, 5, identity.Digest{}, roots[5])
	add("from-empty-proof", "refused", "there is nothing to prove from an empty log", proof, 0, 5, identity.Digest{}, roots[5])
	add("back", "refused", "from five rows to two", proof, 5, 2, roots[5], roots[2])
	inc := val(usage.ProveInclusion(5, 2, &l.tree))(m)
	for _, c := range []struct {
		name, expect, what string
		row                []byte
	}{{"ok", "ok", "row 2 of five", l.rows[2]}, {"other", "refused", "row 3 in the place of row 2", l.rows[3]}} {
		m.add("log/inclusion-"+c.name, "inclusion", c.expect, c.what, values{
			"report": text(l.reports[1].Bytes()), "index": uint64(2), "row": text(c.row), "proof": hexAll(inc),
		})
	}
}

func (m *maker) heads(l *ledger) {
	add := func(name, expect, what, previous string, r identity.Signed) {
		m.add("log/report-"+name, "report", expect, what, values{"previous": previous, "report": text(r.Bytes())})
	}
	first := text(l.reports[0].Bytes())
	add("first", "ok", "the first report", "", l.reports[0])
	add("second", "ok", "the report that follows it", first, l.reports[1])
	add("again", "ok", "the report that is held already", first, l.reports[0])
	add("back", "refused", "an older report", text(l.reports[1].Bytes()), l.reports[0])
	state := val(usage.DecodeRow(l.rows[4]))(m).State()
	at := &ledger{rows: l.rows, tree: l.tree, reports: l.reports[:1]}
	change := func(name, what string, f func(*usage.UsageReport)) {
		add(name, "refused", what, first, m.report(at, state, f))
	}
	change("gap", "number 3 follows number 1", func(r *usage.UsageReport) { r.Number = 3 })
	change("other-root", "a root that the proof does not lead to", func(r *usage.UsageReport) { r.Root[0] ^= 1 })
	change("predecessor", "another predecessor", func(r *usage.UsageReport) { r.Previous[0] ^= 1 })
	change("epoch", "a new log epoch", func(r *usage.UsageReport) {
		r.LogEpoch, r.PrevSize, r.PrevRoot, r.Consistency = 2, 0, identity.Digest{}, nil
	})
	change("totals", "owed fell", func(r *usage.UsageReport) { r.Owed = 0 })
	change("terms", "other terms", func(r *usage.UsageReport) { r.Terms[0] ^= 1 })
	twin := m.report(&ledger{tree: l.tree}, state, nil)
	add("twin", "refused", "two different reports with number 1", first, twin)
}
