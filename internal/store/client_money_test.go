package store

import (
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// document signs an Identity document.
func (m *market) document(t clientT, owner identity.PrivateKey, sequence uint64, label string) *identity.VerifiedDocument {
	t.Helper()
	d := identity.Document{Label: label, Sequence: sequence, Expires: cnow + 1e10, Devices: 1}
	s := val(identity.SignDocument(owner, identity.Regtest, d, cnow, identity.Serial{1}))(t)
	return val(identity.OpenDocument(s, cnow))(t)
}

// report signs a report on a log of rows, which say nothing that matters here.
func (m *market) report(t clientT, number uint64, n int) (usage.VerifiedUsageReport, []usage.RowEntry) {
	t.Helper()
	var state usage.LogState
	var tree usage.MemoryTree
	var rows []usage.RowEntry
	for i := range n {
		in := usage.RowInput{
			Kind: usage.RowWrite, Arrival: usage.Arrival(i + 1), Time: cnow, Bytes: 1000, Receipt: identity.Digest{byte(i + 1)},
			Evidence: m.request(t, identity.Digest{1}).Signed.Bytes(),
		}
		row, next, err := usage.AppendRow(state, usage.Prices{}, in)
		ok(t, err)
		state = next
		raw := val(row.Encode())(t)
		ok(t, tree.Append(raw))
		rows = append(rows, usage.RowEntry{Row: raw})
	}
	r := usage.UsageReport{
		Header: m.head(m.relay.Public(), m.me.Public()), Contract: m.contract, Number: number, Size: state.Size,
		Root: val(usage.TreeRoot(state.Size, &tree))(t), Terms: identity.Digest{1}, LiveBytes: state.Live,
		ByteSeconds: state.ByteSeconds, Egress: state.Egress, Owed: state.Owed, AsOf: state.LastArrival,
	}
	if number > 1 {
		r.Previous = identity.Digest{byte(number)}
	}
	raw, err := r.Encode()
	return val(usage.OpenUsageReport(m.sign(t, m.relay, raw, err)))(t), rows
}

func TestClientBudget(t *testing.T) {
	m := newMarket(t)
	pay := func(contract byte, sum usage.Sat, at identity.UnixMilli, asked bool) (Payment, error) {
		return m.c.ApprovePayment(cctx, Payment{Contract: usage.ContractID{contract}, Cumulative: sum, Time: at, Report: identity.Digest{1}}, asked)
	}
	_, err := pay(1, 1, cnow, false)
	coded(t, err, code.LimitExceeded)
	ok(t, m.c.SetBudget(cctx, cnow, 1000, 24*hourMs))
	if p := val(pay(1, 600, cnow, false))(t); p.Added != 600 {
		t.Fatalf("%+v", p)
	}
	m.restart(t)
	if p := val(pay(1, 600, cnow, false))(t); p.Added != 0 {
		t.Fatal("the same payment is booked twice")
	}
	_, err = pay(2, 401, cnow, false)
	coded(t, err, code.LimitExceeded)
	val(pay(2, 400, cnow, false))(t)
	val(pay(2, 5000, cnow, true))(t)
	if b := val(m.c.Budget(cctx, cnow))(t); b.Spent != 1000 || b.Limit != 1000 {
		t.Fatalf("%+v", b)
	}
	if b := val(m.c.Budget(cctx, cnow-hourMs))(t); b.Spent != 1000 {
		t.Fatal("a clock that went back renews the budget")
	}
	if b := val(m.c.Budget(cctx, cnow+49*hourMs))(t); b.Spent != 0 || b.Start != cnow+48*hourMs {
		t.Fatalf("%+v", b)
	}
	val(pay(1, 1600, cnow+24*hourMs, false))(t)
	_, err = pay(1, usage.MaxSat, cnow+24*hourMs, false)
	coded(t, err, code.LimitExceeded)
	if ps := val(m.c.Payments(cctx, usage.ContractID{1}))(t); len(ps) != 2 || ps[1].Added != 1000 || ps[1].Cumulative != 1600 {
		t.Fatalf("%+v", ps)
	}
}

func TestClientContacts(t *testing.T) {
	m := newMarket(t)
	coded(t, m.c.SaveDocument(cctx, cnow, m.document(t, m.friend, 1, "a")), code.UnknownContact)
	ok(t, m.c.SaveContact(cctx, cnow, m.friend.Public(), "Fred"))
	two := m.document(t, m.friend, 2, "b")
	ok(t, m.c.SaveDocument(cctx, cnow+1, two))
	coded(t, m.c.SaveDocument(cctx, cnow+2, m.document(t, m.friend, 1, "a")), code.IdentityRollback)
	ok(t, m.c.SaveDocument(cctx, cnow+3, two))
	ok(t, m.c.SaveDocument(cctx, cnow+4, m.document(t, m.friend, 2, "another")))
	ok(t, m.c.SaveContact(cctx, cnow+5, m.friend.Public(), "Freddy"))
	m.restart(t)
	c := val(m.c.Contact(cctx, m.friend.Public()))(t)
	if c.Label != "Freddy" || c.Sequence != 2 || !c.Document.Equal(two.Signed()) || !c.Conflict || c.Checked != cnow+3 || c.Added != cnow {
		t.Fatalf("%+v", c)
	}
	ok(t, m.c.SaveDocument(cctx, cnow+6, m.document(t, m.friend, 3, "c")))
	if all := val(m.c.Contacts(cctx))(t); len(all) != 1 || all[0].Conflict || all[0].Sequence != 3 {
		t.Fatalf("%+v", all)
	}
	ok(t, m.c.DeleteContact(cctx, m.friend.Public()))
	_, err := m.c.Contact(cctx, m.friend.Public())
	coded(t, err, code.UnknownContact)
}

func TestClientOwnDocumentRises(t *testing.T) {
	m := newMarket(t)
	_, err := m.c.OwnDocument(cctx)
	coded(t, err, code.NotFound)
	d := m.document(t, m.me, 5, "me")
	ok(t, m.c.SaveOwnDocument(cctx, d))
	ok(t, m.c.SaveOwnDocument(cctx, d))
	coded(t, m.c.SaveOwnDocument(cctx, m.document(t, m.me, 5, "other")), code.IdentityRollback)
	coded(t, m.c.SaveOwnDocument(cctx, m.document(t, m.friend, 6, "f")), code.BadArgument)
	m.restart(t)
	if !val(m.c.OwnDocument(cctx))(t).Equal(d.Signed()) {
		t.Fatal("another document")
	}
}

func TestClientReportsAndRows(t *testing.T) {
	m := newMarket(t)
	_, err := m.c.LastReport(cctx, m.contract)
	coded(t, err, code.NotFound)
	r1, rows := m.report(t, 1, 3)
	ok(t, m.c.SaveReport(cctx, r1, 0, rows))
	r2, more := m.report(t, 2, 3)
	coded(t, m.c.SaveReport(cctx, r2, 0, more), code.Conflict) // other rows at the same places
	if val(m.c.LastReport(cctx, m.contract))(t).Statement == nil || !val(m.c.LastReport(cctx, m.contract))(t).Equal(r1.Signed()) {
		t.Fatal("a refused report was kept")
	}
	rows[1].Ack = m.ack(t, m.friend, m.relay.Public(), identity.Digest{1}, 1).Signed().Bytes()
	ok(t, m.c.SaveReport(cctx, r2, 1, rows[1:]))
	rows[1].Ack = nil
	ok(t, m.c.SaveReport(cctx, r2, 1, rows[1:]))
	m.restart(t)
	if !val(m.c.LastReport(cctx, m.contract))(t).Equal(r2.Signed()) || !val(m.c.Report(cctx, m.contract, 1))(t).Equal(r1.Signed()) {
		t.Fatal("reports")
	}
	got := val(m.c.Rows(cctx, m.contract, 0, 0, 10))(t)
	if len(got) != 3 || len(got[1].Ack) == 0 || string(got[2].Row) != string(rows[2].Row) {
		t.Fatalf("%d rows", len(got))
	}
	if len(val(m.c.Rows(cctx, m.contract, 0, 1, 1))(t)) != 1 || len(val(m.c.Rows(cctx, m.contract, 1, 0, 9))(t)) != 0 {
		t.Fatal("limits")
	}
	other, _ := m.report(t, 1, 3)
	coded(t, m.c.SaveReport(cctx, other, 0, nil), code.Conflict)
}

func TestClientContractsAndValues(t *testing.T) {
	m := newMarket(t)
	if c := val(m.c.ChainCursor(cctx))(t); c != nil {
		t.Fatal(c)
	}
	effects := val(m.c.SaveContracts(cctx, ContractBatch{
		Rows:    []ContractRow{{Nonce: [32]byte{1}, Row: []byte("one")}, {Nonce: [32]byte{2}}},
		Effects: []Pending{{Nonce: [32]byte{1}, Data: []byte("a")}, {To: m.relay.Public(), Data: []byte("b")}},
		Cursor:  []byte("tip"),
	}))(t)
	val(m.c.SaveContracts(cctx, ContractBatch{Done: []uint64{effects[0].Seq}}))(t)
	m.restart(t)
	left := val(m.c.PendingEffects(cctx))(t)
	if len(left) != 1 || left[0].Seq != effects[1].Seq || left[0].To != m.relay.Public() || string(left[0].Data) != "b" {
		t.Fatalf("%+v", left)
	}
	if all := val(m.c.Contracts(cctx))(t); len(all) != 2 || string(all[0].Row) != "one" || string(val(m.c.ChainCursor(cctx))(t)) != "tip" {
		t.Fatalf("%+v", all)
	}
	_, err := m.c.Contract(cctx, [32]byte{3})
	coded(t, err, code.ContractUnknown)
	ok(t, m.c.SetValue(cctx, "a", []byte("1")))
	if string(val(m.c.Value(cctx, "a"))(t)) != "1" || val(m.c.Value(cctx, "b"))(t) != nil {
		t.Fatal("values")
	}
	ok(t, m.c.SetValue(cctx, "a", nil))
	if val(m.c.Value(cctx, "a"))(t) != nil {
		t.Fatal("not deleted")
	}
}

func TestClientEvidenceChallengesScores(t *testing.T) {
	m := newMarket(t)
	e := Evidence{Relay: m.relay.Public(), Contract: m.contract, Saved: cnow, Name: "denial", Bytes: []byte("paper")}
	first := val(m.c.SaveEvidence(cctx, e))(t)
	e.Saved = cnow + 5
	if val(m.c.SaveEvidence(cctx, e))(t) != first {
		t.Fatal("another digest")
	}
	_, err := m.c.SaveEvidence(cctx, Evidence{Bytes: make([]byte, MaxEvidence+1)})
	coded(t, err, code.TooLarge)
	ok(t, m.c.SaveScore(cctx, m.relay.Public(), 700))
	o := m.compose(t, 1)
	ok(t, m.c.Enqueue(cctx, cnow, o))
	record := o.Records[0].Record.Digest()
	ok(t, m.c.SaveChallenge(cctx, record, cnow))
	ok(t, m.c.SaveChallenge(cctx, record, cnow-1))
	m.restart(t)
	all := val(m.c.Evidence(cctx))(t)
	if len(all) != 1 || all[0].Digest != first || all[0].Saved != cnow || all[0].Name != "denial" || string(all[0].Bytes) != "paper" {
		t.Fatalf("%+v", all)
	}
	if val(m.c.Scores(cctx))(t)[m.relay.Public()] != 700 || val(m.c.AuditPapers(cctx, m.contract))(t).Seen[record] != cnow {
		t.Fatal("score or challenge")
	}
}

// A grant is kept once, changed, and there after a crash; an audit of its contract finds it.
func TestGrantsAreKept(t *testing.T) {
	m := newMarket(t)
	raw := val(usage.AccountGrant{
		Header: m.head(m.me.Public(), m.relay.Public()), Contract: m.contract, Account: m.friend.Public(), Terms: identity.Digest{1}, CapMsat: 5, DayMsat: 5,
	}.Encode())(t)
	h := HeldGrant{Digest: identity.StatementDigest(identity.TypeAccountGrant, raw), Grant: val(identity.SignOne(m.me, raw))(t), Relay: []byte("here")}
	for range 2 {
		ok(t, m.c.SaveGrant(cctx, h))
	}
	raw = val(usage.AccountRevoke{Header: m.head(m.me.Public(), m.relay.Public()), Grant: h.Digest}.Encode())(t)
	ended := val(identity.SignOne(m.me, raw))(t)
	ok(t, m.c.ChangeGrant(cctx, h.Digest, func(k *HeldGrant) { k.Ended, k.Epoch = ended, [16]byte{3} }))
	ok(t, m.c.SaveGrant(cctx, h)) // the file again changes nothing
	coded(t, m.c.ChangeGrant(cctx, identity.Digest{1}, func(*HeldGrant) {}), code.UnknownGrant)
	c := m.crash(t)
	defer c.Close()
	all := val(c.Grants(cctx))(t)
	if len(all) != 1 || !all[0].Ended.Equal(ended) || all[0].Epoch != [16]byte{3} || string(all[0].Relay) != "here" {
		t.Fatalf("%+v", all)
	}
	if p := val(c.AuditPapers(cctx, m.contract))(t); len(p.Grants) != 1 || !p.Grants[0].Revoked.Equal(ended) {
		t.Fatalf("%+v", p.Grants)
	}
	if p := val(c.AuditPapers(cctx, usage.ContractID{99}))(t); len(p.Grants) != 0 {
		t.Fatalf("%+v", p.Grants)
	}
}
