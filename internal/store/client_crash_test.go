package store

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// dump is everything in a store but the engine's own version.
func dump(t clientT, c *Client) map[string]string {
	t.Helper()
	out := make(map[string]string)
	var from []byte
	for {
		rows, err := c.engine.Scan(cctx, clientShard, from, nil, 1000)
		ok(t, err)
		for _, p := range rows {
			if !bytes.Equal(p.Key, versionKey) {
				out[string(p.Key)] = string(p.Value)
			}
			from = append(p.Key, 0)
		}
		if len(rows) < 1000 {
			return out
		}
	}
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, there := b[k]; !there || v != w {
			return false
		}
	}
	return true
}

// watched takes copies of the disk as a crash would leave it, before and during a commit.
type watched struct {
	Engine
	fs     *vfs.MemFS
	clones []*vfs.MemFS
}

func (w *watched) Commit(ctx context.Context, groups []Group) []error {
	w.clones = append(w.clones, w.fs.CrashClone(vfs.CrashCloneCfg{}))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(1, uint64(len(w.clones))))
		for range 3 {
			w.clones = append(w.clones, w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	errs := w.Engine.Commit(ctx, groups)
	close(stop)
	wg.Wait()
	return errs
}

// clientVerbs is every verb that writes, on a store where each has something to change. What
// is made before the verb itself runs belongs to its preparation.
func clientVerbs(t *testing.T, m *market) map[string]func() error {
	queued := m.compose(t, 2)
	ok(t, m.c.Enqueue(cctx, cnow, queued))
	doomed := m.compose(t, 1)
	ok(t, m.c.Enqueue(cctx, cnow, doomed))
	next := m.compose(t, 3)
	next.Replaces = doomed.Order.Digest()
	first := m.incoming(t)
	val(m.c.SaveReceived(cctx, cnow, first))(t)
	second := m.incoming(t)
	second.Sealed = make([]byte, 100_000)
	second.Acks = []usage.VerifiedAcknowledgement{m.ack(t, m.friend, m.me.Public(), queued.Records[0].Record.Digest(), 1)}
	ok(t, m.c.SaveContact(cctx, cnow, m.friend.Public(), "friend"))
	ok(t, m.c.SetBudget(cctx, cnow, 1000, 0))
	ok(t, m.c.SaveRequests(cctx, []Request{m.request(t, identity.Digest{8})}))
	effects := val(m.c.SaveContracts(cctx, ContractBatch{Effects: []Pending{{Data: []byte("old")}}}))(t)
	record := queued.Records[0].Record.Digest()
	d := usage.Delete{Header: m.head(m.me.Public(), m.relay.Public()), Record: record}
	raw, err := d.Encode()
	del := val(usage.OpenDelete(m.sign(t, m.me, raw, err)))(t)
	r := usage.DeleteReceipt{Header: m.head(m.relay.Public(), m.me.Public()), Order: del.Digest(), Record: record, Arrival: 9, Contract: m.contract}
	raw, err = r.Encode()
	deleted := val(usage.OpenDeleteReceipt(m.sign(t, m.relay, raw, err)))(t)
	report, rows := m.report(t, 1, 2)
	return map[string]func() error{
		"SaveSealingKey": func() error { return m.c.SaveSealingKey(cctx, m.friendKey) },
		"Enqueue":        func() error { return m.c.Enqueue(cctx, cnow, next) },
		"MarkTried":      func() error { return m.c.MarkTried(cctx, cnow, queued.Order.Digest(), nil) },
		"Abandon":        func() error { return m.c.Abandon(cctx, doomed.Order.Digest()) },
		"SaveReceipt":    func() error { return m.c.SaveReceipt(cctx, m.receipt(t, queued.Order)) },
		"SaveRequests":   func() error { return m.c.SaveRequests(cctx, []Request{m.request(t, identity.Digest{1})}) },
		"SaveReceived":   func() error { _, err := m.c.SaveReceived(cctx, cnow, second); return err },
		"MarkRead":       func() error { return m.c.MarkRead(cctx, first.Record.Digest()) },
		"Forget":         func() error { return m.c.Forget(cctx, first.Record.Digest()) },
		"SaveSummaries": func() error {
			return m.c.SaveSummaries(cctx, map[identity.Digest]Summary{first.Record.Digest(): {Preview: "another"}})
		},
		"SaveCursor": func() error {
			return m.c.SaveCursor(cctx, CursorMove{Relay: m.relay.Public(), Cursor: Cursor{Through: 77}})
		},
		"DonePending":       func() error { return m.c.DonePending(cctx, pendingIDs(t, m)) },
		"EnqueueDelete":     func() error { return m.c.EnqueueDelete(cctx, cnow, del, 1) },
		"SaveDeleteReceipt": func() error { return m.c.SaveDeleteReceipt(cctx, deleted) },
		"SaveReport":        func() error { return m.c.SaveReport(cctx, report, 0, rows) },
		"SaveChallenge":     func() error { return m.c.SaveChallenge(cctx, record, cnow) },
		"SaveEvidence":      func() error { _, err := m.c.SaveEvidence(cctx, Evidence{Bytes: []byte("x")}); return err },
		"SaveContact":       func() error { return m.c.SaveContact(cctx, cnow, m.relay.Public(), "relay") },
		"SaveDocument":      func() error { return m.c.SaveDocument(cctx, cnow, m.document(t, m.friend, 1, "a")) },
		"DeleteContact":     func() error { return m.c.DeleteContact(cctx, m.friend.Public()) },
		"SaveOwnDocument":   func() error { return m.c.SaveOwnDocument(cctx, m.document(t, m.me, 1, "me")) },
		"SaveOffers": func() error {
			return m.c.SaveOffers(cctx, cnow, []broadcast.VerifiedOffer{m.offer(t, 1)})
		},
		"DropRequest":       func() error { return m.c.DropRequest(cctx, m.relay.Public(), identity.Digest{8}) },
		"DeleteSealingKeys": func() error { return m.c.DeleteSealingKeys(cctx, []records.KeyID{m.myKey.ID()}) },
		"SetBudget":         func() error { return m.c.SetBudget(cctx, cnow, 5, 0) },
		"SaveScore":         func() error { return m.c.SaveScore(cctx, m.relay.Public(), 900) },
		"ApprovePayment": func() error {
			_, err := m.c.ApprovePayment(cctx, Payment{Contract: m.contract, Cumulative: 500, Time: cnow}, false)
			return err
		},
		"SaveContracts": func() error {
			_, err := m.c.SaveContracts(cctx, ContractBatch{
				Rows: []ContractRow{{Nonce: [32]byte{1}, Row: []byte("row")}}, Effects: []Pending{{Data: []byte("new")}},
				Done: []uint64{effects[0].Seq}, Cursor: []byte("tip"),
			})
			return err
		},
		"SetValue":  func() error { return m.c.SetValue(cctx, "name", []byte("value")) },
		"SaveGrant": func() error { return m.c.SaveGrant(cctx, HeldGrant{Digest: identity.Digest{8}, Relay: []byte("here")}) },
		"CleanUp":   func() error { _, err := m.c.CleanUp(cctx, cnow+400*24*hourMs, 0); return err },
	}
}

func pendingIDs(t *testing.T, m *market) []PendingID {
	acks := val(m.c.DeliveryAcks(cctx, m.relay.Public(), 9))(t)
	return []PendingID{acks[0].ID}
}

// TestClientCrashAtEveryVerb: whenever the machine stops, a verb has been done entirely or not
// at all, and once it has returned it has been done.
func TestClientCrashAtEveryVerb(t *testing.T) {
	names := clientVerbs(t, newMarket(t))
	for name := range names {
		t.Run(name, func(t *testing.T) {
			m := newMarket(t)
			verb := clientVerbs(t, m)[name]
			w := &watched{Engine: m.c.engine, fs: m.fs}
			m.c.engine = w
			before := dump(t, m.c)
			ok(t, verb())
			after := dump(t, m.c)
			if same(before, after) || len(w.clones) == 0 {
				t.Fatal("the verb changed nothing")
			}
			if c := m.crash(t); !same(dump(t, c), after) {
				t.Fatal("lost although the verb had returned")
			}
			for i, fs := range w.clones {
				c := val(OpenClient(m.options(fs)))(t)
				if d := dump(t, c); !same(d, before) && (i == 0 || !same(d, after)) {
					t.Fatalf("copy %d is neither before nor after", i)
				}
				ok(t, c.Close())
			}
		})
	}
}

// What a doubtful engine does to a group.
const (
	commitWell = iota
	staleInstead
	unknownLost
	unknownDone
	unknownStale
)

// doubtful is an engine whose commits are overtaken by others', or in doubt with and without
// effect.
type doubtful struct {
	Engine
	next func() int
}

func (d *doubtful) Commit(ctx context.Context, groups []Group) []error {
	errs := make([]error, len(groups))
	for i := range errs {
		errs[i] = ErrSkipped
	}
	for i, g := range groups {
		if errs[i] = d.one(ctx, g); errs[i] != nil {
			return errs
		}
	}
	return errs
}

func (d *doubtful) one(ctx context.Context, g Group) error {
	foreign := Group{Shard: g.Shard, Expect: g.Expect, ID: GroupID{1}}
	switch d.next() {
	case staleInstead:
		return errors.Join(ErrStale, d.Engine.Commit(ctx, []Group{foreign})[0])
	case unknownLost:
		return ErrUnknown
	case unknownDone:
		return errors.Join(ErrUnknown, d.Engine.Commit(ctx, []Group{g})[0])
	case unknownStale:
		return errors.Join(ErrUnknown, d.Engine.Commit(ctx, []Group{foreign})[0])
	}
	return d.Engine.Commit(ctx, []Group{g})[0]
}

// deaf is an engine that answers nothing any more after a commit in doubt.
type deaf struct {
	Engine
	gone bool
}

func (d *deaf) Commit(context.Context, []Group) []error {
	d.gone = true
	return []error{ErrUnknown}
}

func (d *deaf) Get(ctx context.Context, shard uint8, keys [][]byte) ([][]byte, error) {
	if d.gone {
		return nil, errors.New("no answer")
	}
	return d.Engine.Get(ctx, shard, keys)
}

func TestClientStopsWhenACommitStaysInDoubt(t *testing.T) {
	m := newMarket(t)
	inner := m.c.engine
	m.c.engine = &deaf{Engine: inner}
	coded(t, m.c.SetValue(cctx, "a", []byte("1")), code.StoreUnknown)
	m.c.engine = inner
	coded(t, m.c.SetValue(cctx, "a", []byte("2")), code.StoreUnknown)
	m.restart(t)
	ok(t, m.c.SetValue(cctx, "a", []byte("3")))
}

// TestClientStateMachine drives an agent's life with crashes, over an engine whose answers are
// in doubt, and compares it with a model.
func TestClientStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMarket(t)
		w := &life{market: m, t: t}
		w.doubt()
		// Not t.Repeat: its thirty steps per run would be mostly curve arithmetic.
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			w.faults = 5
			rapid.SampledFrom([]func(*rapid.T){
				w.send, w.takeReceipt, w.receive, w.receiveTwo, w.pay, w.reconnect,
			}).Draw(t, "step")(t)
			w.check(t)
		}
		ok(t, m.c.Close())
	})
}

// life is the model: what must be in the store.
type life struct {
	*market
	t        *rapid.T
	waiting  []Outgoing
	sent     int
	received int
	paid     usage.Sat
	spent    usage.Sat
	faults   int // that the engine may still make in this step
}

func (w *life) doubt() {
	w.c.engine = &doubtful{w.c.engine, func() int {
		if w.faults == 0 {
			return 0
		}
		fault := rapid.IntRange(commitWell, unknownStale).Draw(w.t, "fault")
		if fault != commitWell {
			w.faults--
		}
		return fault
	}}
}

func (w *life) reconnect(t *rapid.T) {
	w.restart(t)
	w.doubt()
}

func (w *life) send(t *rapid.T) {
	o := w.compose(t, rapid.IntRange(1, 3).Draw(t, "n"))
	ok(t, w.c.Enqueue(cctx, cnow, o))
	w.waiting, w.sent = append(w.waiting, o), w.sent+len(o.Records)
}

func (w *life) takeReceipt(t *rapid.T) {
	if len(w.waiting) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.waiting)-1).Draw(t, "which")
	ok(t, w.c.SaveReceipt(cctx, w.market.receipt(t, w.waiting[i].Order)))
	w.waiting = append(w.waiting[:i:i], w.waiting[i+1:]...)
}

func (w *life) receive(t *rapid.T) {
	place, err := w.c.SaveReceived(cctx, cnow, w.incoming(t))
	if ok(t, err); place != records.InOrder {
		t.Fatal(place)
	}
	w.received++
}

// receiveTwo reads two messages in the wrong order.
func (w *life) receiveTwo(t *rapid.T) {
	a, b := w.incoming(t), w.incoming(t)
	if place := val(w.c.SaveReceived(cctx, cnow, b))(t); place != records.Ahead {
		t.Fatal(place)
	}
	_, err := w.c.SaveReceived(cctx, cnow, a)
	coded(t, err, code.StoreStale)
	s := val(records.ParseSealed(w.contents[a.Record.Digest()]))(t)
	state := val(w.c.RecvEpoch(cctx, w.friend.Public(), s.Epoch))(t)
	_, after, err := records.OpenSealed(nil, state, a.Record.Header(), w.contents[a.Record.Digest()])
	ok(t, err)
	a.Epoch = &after
	if place := val(w.c.SaveReceived(cctx, cnow, a))(t); place != records.Filled {
		t.Fatal(place)
	}
	w.received += 2
}

func (w *life) pay(t *rapid.T) {
	p := Payment{Contract: w.contract, Cumulative: usage.Sat(rapid.IntRange(1, 300).Draw(t, "sum")), Time: cnow}
	asked := rapid.Bool().Draw(t, "asked")
	ok(t, w.c.SetBudget(cctx, cnow, 200, 0))
	added := max(p.Cumulative, w.paid) - w.paid
	got, err := w.c.ApprovePayment(cctx, p, asked)
	if !asked && w.spent+added > 200 {
		coded(t, err, code.LimitExceeded)
		return
	}
	if ok(t, err); got.Added != added {
		t.Fatalf("adds %d, expected %d", got.Added, added)
	}
	w.paid += added
	if !asked {
		w.spent += added
	}
}

func (w *life) check(t *rapid.T) {
	queue := val(w.c.Queue(cctx, w.relay.Public()))(t)
	if len(queue) != len(w.waiting) {
		t.Fatalf("%d orders wait, expected %d", len(queue), len(w.waiting))
	}
	for i, q := range queue {
		if w.waiting[i].Order.Digest() != q.Order || len(val(w.c.QueuedWrite(cctx, q.Order))(t).Contents) != q.Records {
			t.Fatal("another order waits")
		}
	}
	if n := len(val(w.c.Outbox(cctx, 0, 1e6))(t)); n != w.sent {
		t.Fatalf("%d sent, expected %d", n, w.sent)
	}
	if n := len(val(w.c.Inbox(cctx, 0, 1e6))(t)); n != w.received || len(val(w.c.DeliveryAcks(cctx, w.relay.Public(), 1e6))(t)) != n {
		t.Fatalf("%d received, expected %d", n, w.received)
	}
	out, in := val(w.c.SendThread(cctx, w.friend.Public()))(t), val(w.c.RecvThread(cctx, w.friend.Public()))(t)
	if out.Highest != uint64(w.sent) || in.Highest != uint64(w.received) || in.Missing() != 0 {
		t.Fatalf("conversation %d and %d", out.Highest, in.Highest)
	}
	if b := val(w.c.Budget(cctx, cnow))(t); b.Spent != w.spent {
		t.Fatalf("%d spent, expected %d", b.Spent, w.spent)
	}
}
