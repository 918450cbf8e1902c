package client

import (
	"context"
	"strings"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/usage"
)

// A relay that lists a record and then does not have it is shown what the list said of the record,
// and so has to sign that: the denial is kept. A statement that is not the record's is not shown.
func TestLostRecordIsDenied(t *testing.T) {
	p := newPair(t)
	rec := p.record("hello")
	r := newRogue(t, p.bob)
	servedBy(t, p.bob, r)
	invented := identity.Digest{1}
	r.answer = func(ctx context.Context, s *session.Server, q session.Request) bool {
		switch m := q.Message.(type) {
		case *message.Inventory:
			row := message.Row{
				Digest: rec.Digest(), From: p.ada.Key(), To: p.bob.Key(), ID: "x", Arrival: 5, Size: 100,
				Expiry: identity.UnixMilli(time.Now().Add(time.Hour).UnixMilli()), Statement: rec.Signed().Statement,
			}
			other := row
			other.Digest, other.Arrival = invented, 6
			s.Reply(q.ID, &message.InventoryPage{Through: 7, Rows: []message.Row{row, other}})
		case *message.Read:
			for i, q2 := range r.requests(m) {
				shown := m.Statements[i]
				if err := q2.CheckEntitled(shown); q2.Record == rec.Digest() && err != nil || q2.Record == invented && len(shown) > 0 {
					t.Errorf("for %s %d bytes are shown: %v", q2.Record.Short(), len(shown), err)
				}
				_ = s.Send(ctx, q.ID, &message.ReadData{Index: uint16(i), Denial: r.denial(q2)})
			}
			s.Reply(q.ID, &message.ReadData{End: true})
		default:
			return false
		}
		return true
	}
	c, err := p.bob.session(t.Context(), r.ref.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.bob.receive(t.Context(), c, r.ref.Key); err != nil {
		t.Fatal(err)
	}
	all, err := p.bob.store.Evidence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	denials := 0
	for _, e := range all {
		if strings.HasPrefix(e.Name, "denial: ") {
			denials++
		}
	}
	if denials != 2 || r.count(message.TypeRead) == 0 {
		t.Fatalf("%d denials are kept", denials)
	}
}

// TestSeenIsBounded: what lists show takes bounded memory, and the newest is there.
func TestSeenIsBounded(t *testing.T) {
	s := newSeen()
	for i := range 3 * maxSeen {
		raw := []byte{byte(i), byte(i >> 8), byte(i >> 16)}
		d := identity.StatementDigest(identity.TypeRecord, raw)
		s.learn(message.Row{Digest: d, Statement: raw})
		if s.of(d) == nil {
			t.Fatalf("statement %d was forgotten at once", i)
		}
	}
	if n := len(s.now) + len(s.old); n > 2*maxSeen {
		t.Fatalf("%d statements are kept", n)
	}
}

func (r *rogue) requests(m *message.Read) []usage.VerifiedReadRequest {
	b, err := identity.ParseBundle(m.Requests)
	if err != nil {
		panic(err)
	}
	all, err := b.Split()
	if err != nil {
		panic(err)
	}
	out := make([]usage.VerifiedReadRequest, len(all))
	for i, s := range all {
		if out[i], err = usage.OpenReadRequest(s); err != nil {
			panic(err)
		}
	}
	return out
}

// denial says that there is no such record.
func (r *rogue) denial(q usage.VerifiedReadRequest) []byte {
	raw, err := usage.Denial{
		Header:  identity.Header{Network: q.Network, From: r.key.Public(), To: q.From, Time: q.Time},
		Request: q.Digest(), Record: q.Record, Reason: usage.ReasonNone, AsOf: 9, AsOfMs: q.Time,
	}.Encode()
	if err != nil {
		panic(err)
	}
	s, err := identity.SignOne(r.key, raw)
	if err != nil {
		panic(err)
	}
	return s.Bytes()
}
