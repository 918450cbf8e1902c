package client

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"relaymarket/broadcast"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// lists makes a rogue list a record of ada's with an expiry, and serve it.
func (r *rogue) lists(rec records.Record, expiry identity.UnixMilli) {
	r.answer = func(ctx context.Context, s *session.Server, q session.Request) bool {
		switch q.Message.(type) {
		case *message.Inventory:
			h := rec.Header()
			s.Reply(q.ID, &message.InventoryPage{Through: 7, Rows: []message.Row{{
				Digest: rec.Digest(), From: h.From, To: h.To, ID: string(h.ID), Arrival: 5, Size: uint32(rec.StoredBytes()), Expiry: expiry,
			}}})
		case *message.Read:
			_ = s.Send(ctx, q.ID, &message.ReadData{Header: rec.Signed().Bytes(), Data: rec.Content(), Last: true})
			s.Reply(q.ID, &message.ReadData{End: true})
		case *message.Acknowledge:
			s.Reply(q.ID, &message.Acknowledged{Results: make([]message.Result, 1), Receipts: make([][]byte, 1)})
		default:
			return false
		}
		return true
	}
}

// letter is a record from ada to bob.
func (p *pair) record(s string) records.Record {
	p.t.Helper()
	d := p.write(store.KindMessage, text(s))
	signed, err := identity.ParseSigned(d.header)
	if err != nil {
		p.t.Fatal(err)
	}
	rec, err := records.Open(signed, d.content)
	if err != nil {
		p.t.Fatal(err)
	}
	return rec
}

// received lists what bob has.
func (p *pair) received() []Message {
	p.t.Helper()
	all, err := p.bob.Inbox(p.t.Context(), false)
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

// A clock that is a year ahead must not make records pass for expired: they would never be asked
// for again.
func TestWrongClockPassesNothingOver(t *testing.T) {
	p := newPair(t)
	rec := p.record("hello")
	r := newRogue(t, p.bob)
	servedBy(t, p.bob, r)
	r.lists(rec, rec.Header().Expiry())
	p.bob.now = func() time.Time { return time.Now().Add(365 * 24 * time.Hour) }
	c, err := p.bob.session(t.Context(), r.ref.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.bob.receive(t.Context(), c, r.ref.Key); err != nil {
		t.Fatal(err)
	}
	if all := p.received(); len(all) != 1 {
		t.Fatalf("%d messages", len(all))
	}
	if p.bob.clockAgrees() {
		t.Fatal("a clock that is a year ahead is taken for right")
	}
	p.bob.now = time.Now
	p.bob.links.close()
	if _, err := p.bob.session(t.Context(), r.ref.Key); err != nil || !p.bob.clockAgrees() {
		t.Fatalf("a right clock is not confirmed: %v", err)
	}
}

// A disk that is nearly full takes no messages, and none is lost by that.
func TestLowDisk(t *testing.T) {
	p := newPair(t)
	rec := p.record("hello")
	r := newRogue(t, p.bob)
	servedBy(t, p.bob, r)
	r.lists(rec, rec.Header().Expiry())
	real := p.bob.disk
	p.bob.disk = func() (uint64, error) { return lowDisk - 1, nil }
	for _, want := range []int{0, 1} {
		c, err := p.bob.session(t.Context(), r.ref.Key)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.bob.receive(t.Context(), c, r.ref.Key); err != nil {
			t.Fatal(err)
		}
		if all := p.received(); len(all) != want {
			t.Fatalf("%d messages, not %d", len(all), want)
		}
		p.bob.disk = real
	}
}

// A relay that lists records and serves none of them must not fill the disk with requests.
func TestUnservedListIsLeftAlone(t *testing.T) {
	p := newPair(t)
	r := newRogue(t, p.bob)
	servedBy(t, p.bob, r)
	page, asked := uint64(0), 0
	r.answer = func(_ context.Context, s *session.Server, q session.Request) bool {
		switch m := q.Message.(type) {
		case *message.Inventory:
			page++
			rows := make([]message.Row, 500)
			for i := range rows {
				rows[i] = message.Row{
					Digest: identity.Digest{1, byte(page), byte(i >> 8), byte(i)}, From: p.ada.Key(), To: p.bob.Key(), ID: "x",
					Arrival: page, Size: 100, Expiry: identity.UnixMilli(time.Now().Add(time.Hour).UnixMilli()),
				}
			}
			s.Reply(q.ID, &message.InventoryPage{Rows: rows, Through: page, More: page < 40})
		case *message.Read:
			b, err := identity.ParseBundle(m.Requests)
			if err != nil {
				t.Error(err)
			}
			if all, _ := b.Split(); len(all) == 1 {
				asked++
			}
			s.Fail(q.ID, code.New(code.Busy, "not now"))
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
	if asked > maxUnserved+500 {
		t.Fatalf("%d records were asked for", asked)
	}
	if at, err := p.bob.store.Cursor(t.Context(), r.ref.Key, everybody); err != nil || at.Through != 0 {
		t.Fatalf("the cursor passed what was not served: %+v %v", at, err)
	}
}

// A read that brings nothing ends, so that another relay may serve the record.
func TestStalledReadEnds(t *testing.T) {
	if d := readTime([]wish{{size: 1 << 40}, {size: 1 << 40}}); d > 10*time.Minute {
		t.Fatalf("two records may take %s", d)
	}
	p := newPair(t)
	rec := p.record("hello")
	r := newRogue(t, p.bob)
	servedBy(t, p.bob, r)
	r.answer = func(ctx context.Context, s *session.Server, q session.Request) bool {
		if _, ok := q.Message.(*message.Read); !ok {
			return false
		}
		go func() { // pieces without end and without bytes
			for s.Send(ctx, q.ID, &message.ReadData{}) == nil {
				time.Sleep(time.Millisecond)
			}
			s.Fail(q.ID, context.Canceled)
		}()
		return true
	}
	c, err := p.bob.session(t.Context(), r.ref.Key)
	if err != nil {
		t.Fatal(err)
	}
	// A machine that is busy may not even have asked in so short a time.
	for patience := 300 * time.Millisecond; r.count(message.TypeRead) == 0; patience *= 4 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err = p.bob.fetch(ctx, c, r.ref.Key, []wish{{record: rec.Digest(), from: p.ada.Key(), size: rec.StoredBytes()}})
		cancel()
		if code.Of(err) != code.Timeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	if !p.bob.flight.take(rec.Digest()) {
		t.Fatal("nobody else may read the record")
	}
}

// A relay that asks for payment again and again gets one audit at a time, not one for each.
func TestAskedOftenIsAuditedOnce(t *testing.T) {
	a := openAgent(t, "ada")
	id := usage.ContractID{1}
	if err := acquire(t.Context(), a.money.token(id)); err != nil {
		t.Fatal(err)
	}
	a.money.asked.Store(id, true) // one waits already
	done := make(chan struct{})
	go func() { a.work.Wait(); close(done) }()
	for range 10_000 {
		a.onPaymentRequested(t.Context(), id)
	}
	select {
	case <-done:
	case <-time.After(time.Minute): // one that waits for the token waits for ever
		t.Fatal("each request has its own goroutine")
	}
	<-a.money.token(id)
}

// A relay that takes some parts of a letter and refuses another must not be given the message: its
// receiver would look for parts that do not exist.
func TestRefusedAttachmentTakesTheMessageAlong(t *testing.T) {
	for name, refusal := range map[string]code.Code{"refused": code.Forbidden, "later": code.NoFunds} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			r := newRogue(t, p.ada)
			servedBy(t, p.ada, r)
			writes := 0
			r.answer = func(_ context.Context, s *session.Server, q session.Request) bool {
				m, ok := q.Message.(*message.Write)
				if !ok {
					return false
				}
				if writes++; writes == 2 {
					s.Fail(q.ID, code.New(refusal, "not this one"))
				} else {
					s.Reply(q.ID, r.written(r.receipt(m)))
				}
				return true
			}
			file := Attachment{Name: "f", Data: make([]byte, 5<<20)}
			out, err := p.ada.Send(t.Context(), SendRequest{To: "bob", Body: []byte("see"), Attachments: []Attachment{file}})
			want := StateQueued
			if refusal == code.Forbidden {
				want = StateFailed
				if code.Of(err) != refusal {
					t.Fatal(err)
				}
			} else if err != nil || out.State != StateQueued {
				t.Fatalf("%+v %v", out, err)
			}
			c := p.ada.links.of(r.ref.Key).live()
			for range 2 {
				if err := p.ada.flushQueue(t.Context(), c, r.ref.Key); err != nil {
					t.Fatal(err)
				}
			}
			box, err := p.ada.Outbox(t.Context())
			if err != nil || len(box) != 1 || box[0].State != want {
				t.Fatalf("%+v %v", box, err)
			}
			if refusal == code.Forbidden {
				return
			}
			// The part that waits is taken in the end, and then the message.
			p.ada.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
			for range 2 {
				if err := p.ada.flushQueue(t.Context(), c, r.ref.Key); err != nil {
					t.Fatal(err)
				}
			}
			if box, err = p.ada.Outbox(t.Context()); err != nil || box[0].State != StateStored {
				t.Fatalf("%+v %v", box, err)
			}
		})
	}
}

func TestAttachmentsThatWouldFillTheMemory(t *testing.T) {
	if err := fitTogether([]records.Attachment{{Size: MaxTogether - 1}, {Size: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := fitTogether([]records.Attachment{{Size: records.MaxAttachment}}); code.Of(err) != code.TooLarge {
		t.Fatal(err)
	}
	p := newPair(t)
	file := Attachment{Name: "f", Data: make([]byte, MaxTogether+1)}
	if _, err := p.ada.Send(t.Context(), SendRequest{To: "bob", Attachments: []Attachment{file}}); code.Of(err) != code.TooLarge {
		t.Fatal(err)
	}
}

// A part of the agent that has stopped, because the disk was full for a moment, runs again.
func TestStoppedPartIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{log: slog.New(slog.DiscardHandler), faults: make(map[string]error)}
		ctx, cancel := context.WithCancel(t.Context())
		runs := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.keep(ctx, job{"x", func(ctx context.Context) error {
				if runs++; runs == 1 {
					return code.New(code.Internal, "the disk is full")
				}
				<-ctx.Done()
				return ctx.Err()
			}})
		}()
		synctest.Wait()
		if len(a.checkParts()) != 1 {
			t.Error("nobody is told")
		}
		time.Sleep(2 * jobPause)
		synctest.Wait()
		if runs != 2 || len(a.checkParts()) != 0 {
			t.Errorf("it ran %d times, %d faults", runs, len(a.checkParts()))
		}
		cancel()
		<-done
	})
}

// offer is a relay's offer with a number; two prices make two offers.
func (r *rogue) offer(number uint64, price usage.Msat) broadcast.VerifiedOffer {
	r.t.Helper()
	now := identity.UnixMilli(time.Now().UnixMilli())
	o := broadcast.Offer{
		Header:   identity.Header{Network: identity.Regtest, From: r.key.Public(), Time: now},
		Sequence: number, ValidUntil: now + 24*3600*1000, Addresses: r.ref.Addresses,
		Prices: usage.Prices{StorageMsatPerGiBDay: price, EgressMsatPerGiB: 20_000}, ContractPrice: 2370, MinDeposit: 35_800, MaxDeposit: 5_000_000,
		MinDuration: 30, MaxDuration: 1000, FundingDepth: 1, SettleFeeRate: 10_000, MinFundFeeRate: 1000,
		Limits: usage.DefaultLimits(), MaxTTL: 86400,
	}
	if err := o.Mine(nil); err != nil {
		r.t.Fatal(err)
	}
	v, err := o.Sign(r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func TestOfferThatContradictsItselfOrChanges(t *testing.T) {
	a := openAgent(t, "ada")
	r := newRogue(t, a)
	servedBy(t, a, r)
	var shown broadcast.VerifiedOffer
	r.answer = func(_ context.Context, s *session.Server, q session.Request) bool {
		if _, ok := q.Message.(*message.GetOffer); !ok {
			return false
		}
		s.Reply(q.ID, &message.Offer{Offer: shown.Signed().Bytes()})
		return true
	}
	c, err := a.session(t.Context(), r.ref.Key)
	if err != nil {
		t.Fatal(err)
	}
	learn := func(o broadcast.VerifiedOffer) error {
		shown = o
		_, err := a.learnOffer(t.Context(), c, r.ref.Key)
		return err
	}
	first := r.offer(3, 500)
	if err := learn(first); err != nil {
		t.Fatal(err)
	}
	if err := learn(first); err != nil {
		t.Fatalf("the same again: %v", err)
	}
	if err := learn(r.offer(3, 600)); code.Of(err) != code.Conflict {
		t.Fatalf("two offers with one number: %v", err)
	}
	papers, err := a.store.Evidence(t.Context()) // both offers, and the proof that they make together
	if err != nil || len(papers) != 3 {
		t.Fatalf("%d papers: %v", len(papers), err)
	}
	proven := 0
	for _, e := range papers {
		if f, err := evidence.VerifyFile(e.Bytes); err == nil && f.Class == evidence.TwoOffers && f.Culprit == r.ref.Key {
			proven++
		}
	}
	if proven != 1 {
		t.Fatalf("%d of the papers prove it", proven)
	}
	q := OpenRequest{Relay: r.ref.Key, Offer: first.Digest()}
	if o, err := a.offerFrom(t.Context(), q); err != nil || o.Digest() != first.Digest() {
		t.Fatal(err)
	}
	if err := learn(r.offer(4, 600)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.offerFrom(t.Context(), q); code.Of(err) != code.OfferExpired {
		t.Fatalf("another offer than the one that was shown: %v", err)
	}
}

// While a clock is wrong, a relay calls everything expired: that must not make a new order every
// few seconds.
func TestYoungOrdersAreNotMadeAnew(t *testing.T) {
	p := newPair(t)
	r := newRogue(t, p.ada)
	servedBy(t, p.ada, r)
	r.answer = func(_ context.Context, s *session.Server, q session.Request) bool {
		if _, ok := q.Message.(*message.Write); !ok {
			return false
		}
		s.Fail(q.ID, code.New(code.Expired, "by my clock"))
		return true
	}
	if s := p.send("hello"); s.State != StateQueued {
		t.Fatal(s.State)
	}
	order := func(after time.Duration) identity.Digest {
		t.Helper()
		p.ada.now = func() time.Time { return time.Now().Add(after) }
		if err := p.ada.flushQueue(t.Context(), p.ada.links.of(r.ref.Key).live(), r.ref.Key); err != nil {
			t.Fatal(err)
		}
		queue, err := p.ada.store.Queue(t.Context(), r.ref.Key)
		if err != nil || len(queue) != 1 {
			t.Fatalf("%d orders wait: %v", len(queue), err)
		}
		return queue[0].Order
	}
	first := order(0)
	for i := range time.Duration(20) {
		if order(i*2*time.Minute) != first {
			t.Fatal("a young order was made anew")
		}
	}
	if n := r.count(message.TypeWrite); n < 3 || n > 6 {
		t.Fatalf("it was tried %d times in 40 minutes", n)
	}
	if order(2*time.Hour) == first {
		t.Fatal("an old order was not made anew")
	}
}

// An agent that is closed in the middle of what relays do to it ends soon and leaves nothing behind.
func TestCloseLeavesNothingRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 2 {
		a := openAgent(t, "ada")
		r := newRogue(t, a)
		servedBy(t, a, r)
		r.answer = func(ctx context.Context, s *session.Server, q session.Request) bool {
			go func() {
				for ctx.Err() == nil && s.Push(&message.Contract{Statement: []byte("nonsense")}) {
					time.Sleep(time.Millisecond)
				}
			}()
			switch q.Message.(type) {
			case *message.Inventory, *message.Account:
				return true // and no answer, ever
			}
			return false
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		for r.count(message.TypeListen)+r.count(message.TypeInventory)+r.count(message.TypeGetOffer) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > callTime/2 {
			t.Fatalf("the end took %s", d)
		}
		r.stop()
	}
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	}
}
