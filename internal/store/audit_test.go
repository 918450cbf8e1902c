package store

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"relaymarket/identity"
	"relaymarket/records"
	"relaymarket/usage"
)

// signers are people who really sign, for the tests that end in an audit.
type signers struct {
	*world
	keys map[identity.PublicKey]identity.PrivateKey
}

func newSigners(t *testing.T) *signers {
	s := &signers{keys: make(map[identity.PublicKey]identity.PrivateKey)}
	relay := s.key(t, 9)
	s.world = newWorldOf(t, relay, rand.New(rand.NewPCG(3, 3)))
	return s
}

func (s *signers) key(t *testing.T, n byte) identity.PublicKey {
	k, err := identity.NewPrivateKey(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	s.keys[k.Public()] = k
	return k.Public()
}

// sign signs a statement by whoever it names.
func (s *signers) sign(raw []byte, err error) identity.Signed {
	s.t.Helper()
	s.must(err)
	h, err := identity.PeekHeader(raw)
	s.must(err)
	signed, err := identity.SignOne(s.keys[h.From], raw)
	s.must(err)
	return signed
}

func (s *signers) write(a AccountTerms, to identity.PublicKey, ttl uint32, flags records.Flags) (WriteOp, usage.HeldOrder) {
	s.t.Helper()
	content := []byte("content")
	draft := records.Draft{
		Network: testNet, From: a.Payer, To: to, ID: records.ID(rapidID(s.count)), Time: s.now, Serial: s.serial(), TTL: ttl, Flags: flags,
	}
	r, err := records.Open(s.sign(draft.Statement(content)), content)
	s.must(err)
	unsigned := s.order(a, r).Order.StoreOrder
	o, err := usage.OpenStoreOrder(s.sign(unsigned.Encode()))
	s.must(err)
	op := WriteOp{Order: o, Records: []records.Record{r}}
	w := &writing{WriteOp: op}
	s.must(w.matches())
	out := s.do(op)
	return op, usage.HeldOrder{Order: o.Signed(), Receipt: s.sign(out.Statement, nil), Records: w.facts}
}

func (s *signers) readAndAck(r records.Record) {
	s.t.Helper()
	unsigned := s.request(r).Request.ReadRequest
	q, err := usage.OpenReadRequest(s.sign(unsigned.Encode()))
	s.must(err)
	op := ReadOp{Request: q, Home: NoShard}
	s.do(op)
	ack := s.ack(op, r, usage.VerdictOK).Ack.Acknowledgement
	a, err := usage.OpenAcknowledgement(s.sign(ack.Encode()))
	s.must(err)
	s.do(AckOp{a, NoShard})
}

// TestAuditConfirmsEveryRow: whatever the relay logs in an honest life with reads, deletions
// and expiries is confirmed to the last msat by the client's audit.
func TestAuditConfirmsEveryRow(t *testing.T) {
	s := newSigners(t)
	payer, reader := s.key(t, 1), s.key(t, 2)
	a := s.contract(payer)
	s.fund(a)
	var orders []usage.HeldOrder
	for i := range 6 {
		op, held := s.write(a, reader, uint32(3600+1800*i), records.Flags(i%2))
		orders = append(orders, held)
		s.now += 20_000
		s.readAndAck(op.Records[0])
		if i == 2 {
			unsigned := s.deletion(op.Records[0]).Delete.Delete
			d, err := usage.OpenDelete(s.sign(unsigned.Encode()))
			s.must(err)
			s.do(DeleteOp{d, NoShard})
		}
		s.now += 1000 * 1000
	}
	s.now += 5 * testHour
	body, err := s.r.MakeReport(ctx, s.now, a.Contract, Tip{Height: 9})
	s.must(err)
	report, err := usage.OpenUsageReport(s.sign(body, nil))
	s.must(err)
	rows, _, err := s.r.Rows(ctx, a.Contract, RowsQuery{Limit: 1000})
	s.must(err)
	result, err := usage.Reconcile(usage.Input{
		Network: testNet, Relay: s.relay, Client: payer, Contract: a.Contract, Terms: a.Terms, Prices: a.Prices,
		Start: testStart, Now: s.now, Report: report, Rows: rows, Orders: orders, Policy: usage.DefaultPolicy(),
	})
	s.must(err)
	for _, f := range result.Refused {
		t.Errorf("row %d: %v: %s", f.Index, f.Class, f.Why)
	}
	if len(rows) < 6+6+3 || result.ConfirmedMsat != result.ClaimedMsat || result.ConfirmedMsat == 0 {
		t.Fatalf("%d rows, confirmed %d of %d", len(rows), result.ConfirmedMsat, result.ClaimedMsat)
	}
	s.close()
}
