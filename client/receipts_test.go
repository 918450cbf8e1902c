package client

import (
	"context"
	"slices"
	"sync"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/records"
	"relaymarket/usage"
)

// written makes a rogue answer writes with receipts that lie changes.
func (r *rogue) lies(lie func(*usage.Receipt)) {
	r.answer = func(_ context.Context, s *session.Server, q session.Request) bool {
		m, ok := q.Message.(*message.Write)
		if !ok {
			return false
		}
		x := r.receipt(m)
		lie(&x)
		s.Reply(q.ID, r.written(x))
		return true
	}
}

func (p *pair) send(text string) SendResult {
	p.t.Helper()
	s, err := p.ada.Send(p.t.Context(), SendRequest{To: "bob", Body: []byte(text)})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// provable are the lies that receipt and order prove together.
var provable = map[string]bool{"fewer bytes": true, "dearer": true, "to somebody else": true, "another contract": true}

func TestFalseReceiptsAreNotBelieved(t *testing.T) {
	for name, lie := range map[string]func(*usage.Receipt){
		"dated before the order":   func(r *usage.Receipt) { r.AcceptedMs -= 10 * usage.AcceptAhead },
		"dated in 1970":            func(r *usage.Receipt) { r.AcceptedMs = 1 },
		"dated in the future":      func(r *usage.Receipt) { r.AcceptedMs += 10 * usage.AcceptAhead },
		"no custody":               func(r *usage.Receipt) { r.ServiceUntil = r.AcceptedMs },
		"no arrival":               func(r *usage.Receipt) { r.Arrival = 0 },
		"an arrival never reached": func(r *usage.Receipt) { r.Arrival = 1 << 63 },
		"fewer bytes":              func(r *usage.Receipt) { r.StoredBytes-- },
		"dearer":                   func(r *usage.Receipt) { r.WorstMsat++ },
		"to somebody else":         func(r *usage.Receipt) { r.To = r.From },
		"an order of nobody":       func(r *usage.Receipt) { r.Order = identity.Digest{1} },
		"another contract":         func(r *usage.Receipt) { r.Contract, r.Terms = usage.ContractID{1}, identity.Digest{1} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			r := newRogue(t, p.ada)
			servedBy(t, p.ada, r)
			r.lies(lie)
			s := p.send("hello")
			if s.State != StateQueued || s.Reason == "" {
				t.Fatalf("the message is %s: %s", s.State, s.Reason)
			}
			e, err := p.ada.Evidence(t.Context())
			proofs := slices.IndexFunc(e, func(e EvidenceInfo) bool { return e.Proof })
			if err != nil || provable[name] != (proofs >= 0) || len(e) != 1 && !provable[name] || len(e) > 2 {
				t.Fatalf("%d papers are kept: %v", len(e), err)
			}
			// It is not sent over and over, and goes out once the relay answers rightly.
			if err := p.ada.flushQueue(t.Context(), p.ada.links.of(r.ref.Key).live(), r.ref.Key); err != nil {
				t.Fatal(err)
			}
			if n := r.count(message.TypeWrite); n != 1 {
				t.Fatalf("it was sent %d times at once", n)
			}
			r.lies(func(*usage.Receipt) {})
			queue, err := p.ada.store.Queue(t.Context(), r.ref.Key)
			if err != nil || len(queue) != 1 {
				t.Fatalf("%d orders wait: %v", len(queue), err)
			}
			if _, err := p.ada.deliver(t.Context(), p.ada.links.of(r.ref.Key).live(), r.ref.Key, queue[0].Order); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A relay must not make a message disappear by answering with the receipt for another one.
func TestReceiptOfAnotherMessage(t *testing.T) {
	p := newPair(t)
	r := newRogue(t, p.ada)
	servedBy(t, p.ada, r)
	var once sync.Once
	var first usage.Receipt
	r.lies(func(x *usage.Receipt) {
		once.Do(func() { first = *x })
		*x = first
	})
	if s := p.send("one"); s.State != StateStored {
		t.Fatalf("the first is %s: %s", s.State, s.Reason)
	}
	s := p.send("two")
	if s.State != StateQueued {
		t.Fatalf("the second is %s", s.State)
	}
	box, err := p.ada.Outbox(t.Context())
	if err != nil || len(box) != 2 || box[1].State != StateQueued {
		t.Fatalf("%+v %v", box, err)
	}
}

// A relay that has the records under an earlier order of this agent answers with that receipt.
func TestReceiptOfAnEarlierOrderForTheSameRecords(t *testing.T) {
	p := newPair(t)
	r := newRogue(t, p.ada)
	servedBy(t, p.ada, r)
	var first *usage.Receipt
	r.answer = func(_ context.Context, s *session.Server, q session.Request) bool {
		m, ok := q.Message.(*message.Write)
		if !ok {
			return false
		}
		if first == nil {
			x := r.receipt(m)
			first = &x
			s.Fail(q.ID, code.New(code.Busy, "the answer is lost"))
			return true
		}
		s.Reply(q.ID, r.written(*first))
		return true
	}
	if s := p.send("one"); s.State != StateQueued {
		t.Fatalf("it is %s", s.State)
	}
	queue, err := p.ada.store.Queue(t.Context(), r.ref.Key)
	if err != nil || len(queue) != 1 {
		t.Fatal(len(queue), err)
	}
	if err := p.ada.reorder(t.Context(), queue[0].Order); err != nil {
		t.Fatal(err)
	}
	if err := p.ada.flushQueue(t.Context(), p.ada.links.of(r.ref.Key).live(), r.ref.Key); err != nil {
		t.Fatal(err)
	}
	box, err := p.ada.Outbox(t.Context())
	if err != nil || len(box) != 1 || box[0].State != StateStored {
		t.Fatalf("%+v %v", box, err)
	}
}

func TestPapersAreBounded(t *testing.T) {
	a := openAgent(t, "ada")
	p := newPair(t)
	d := p.write(1, records.Content{MediaType: records.MediaText, Body: []byte("x")})
	for i := range 2 * maxPapers {
		d.header = append(d.header[:len(d.header):len(d.header)], byte(i), byte(i>>8))
		if err := a.falseDelivery(t.Context(), p.relay, d, code.New(code.BadContent, "number %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := a.Evidence(t.Context())
	if err != nil || len(all) != maxPapers {
		t.Fatalf("%d papers: %v", len(all), err)
	}
}

func TestServiceMayNotEndLongBeforeTheContract(t *testing.T) {
	const day = 144 // blocks
	now := identity.UnixMilli(1_700_000_000_000)
	for _, x := range []struct {
		left  usage.Height
		hours identity.UnixMilli
		ok    bool
	}{
		{30 * day, 30 * 24, true}, {30 * day, 20 * 24, true}, {30 * day, 13 * 24, false}, {30 * day, 1, false},
		{1 * day, 24, true}, {1 * day, 1, true}, {0, 1, true},
	} {
		if ok := now+x.hours*3_600_000 >= leastService(now, x.left); ok != x.ok {
			t.Errorf("%d blocks left, custody for %d hours: %v", x.left, x.hours, ok)
		}
	}
}
