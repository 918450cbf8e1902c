package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/records"
	"relaymarket/usage"
)

// writers send orders until each has its receipt, and read requests until each is answered, over as
// many sessions as that takes.
type writers struct {
	t      *testing.T
	v      *victim
	people []*writer
}

// writer is somebody who writes to somebody who reads. Without a contract it is on the free
// allowance.
type writer struct {
	key, to  identity.PrivateKey
	contract usage.ContractID
	terms    identity.Digest
	lanes    int // orders at the same time
	size     int // of a record's content, in bytes; 0: up to two thousand

	mu      sync.Mutex
	records map[identity.Digest]int             // what has a receipt: reads asked for; guarded by mu
	orders  []usage.HeldOrder                   // with receipts; guarded by mu
	reads   map[identity.Digest]identity.Digest // answered requests: record; guarded by mu
	charged uint64                              // of the free allowance; guarded by mu
}

func newWriters(t *testing.T, v *victim, n int) *writers {
	w := &writers{t: t, v: v}
	for range n {
		p := newWriter(t)
		p.key, p.lanes = newKey(t), 1
		w.people = append(w.people, p)
	}
	return w
}

func newWriter(t *testing.T) *writer {
	return &writer{to: newKey(t), records: make(map[identity.Digest]int), reads: make(map[identity.Digest]identity.Digest)}
}

func newKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	k, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *writers) count() (orders, reads int) {
	for _, p := range w.people {
		p.mu.Lock()
		orders, reads = orders+len(p.orders), reads+len(p.reads)
		p.mu.Unlock()
	}
	return orders, reads
}

// run starts writing; the returned function lets every writer finish what it began and waits.
func (w *writers) run() func() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, p := range w.people {
		for range p.lanes {
			wg.Go(func() {
				for ctx.Err() == nil {
					w.order(p)
				}
			})
		}
	}
	return func() { cancel(); wg.Wait() }
}

// order makes one order of a few records and has it stored, then has some of the records read.
func (w *writers) order(p *writer) {
	d, err := p.draft(w.v.key, 1+mrand.IntN(4))
	if err != nil {
		w.t.Error(err)
		return
	}
	if !w.insist("an order", func() (err error) { d.held.Receipt, err = w.send(p.key, d.write); return err }) {
		return
	}
	p.mu.Lock()
	for _, f := range d.held.Records {
		p.records[f.Digest] = 0
	}
	p.orders = append(p.orders, d.held)
	p.charged += d.allowance
	p.mu.Unlock()
	for _, f := range d.held.Records {
		if mrand.IntN(4) == 0 {
			w.read(p, f)
		}
	}
}

// insist tries something again until the relay, which is being killed, has answered it.
func (w *writers) insist(what string, try func() error) bool {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if try() == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Errorf("%s got no answer within a minute", what)
	return false
}

// impatient tells how long to wait for an answer before hanging up and asking again: half of the
// time not long enough, so that the relay decides what nobody hears of.
func impatient(ctx context.Context) (context.Context, context.CancelFunc, bool) {
	if mrand.IntN(2) != 0 {
		return ctx, func() {}, false
	}
	short, stop := context.WithTimeout(ctx, time.Duration(mrand.IntN(3000))*time.Microsecond)
	return short, stop, true
}

// send gives an order to the relay.
func (w *writers) send(key identity.PrivateKey, m *message.Write) (identity.Signed, error) {
	sess, err := w.v.dial(key)
	if err != nil {
		return identity.Signed{}, err
	}
	defer sess.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if short, stop, yes := impatient(ctx); yes {
		_, _ = sess.Call(short, m)
		stop()
	}
	a, err := sess.Call(ctx, m)
	if err != nil {
		return identity.Signed{}, err
	}
	return identity.ParseSigned(a.(*message.Written).Receipt)
}

// read has one record read, with one signed request.
func (w *writers) read(p *writer, f usage.RecordFacts) {
	m, request, err := p.request(w.v.key, f.Digest)
	if err != nil {
		w.t.Error(err)
		return
	}
	if !w.insist("a read request", func() error { return w.fetch(p.to, m) }) {
		return
	}
	p.mu.Lock()
	p.records[f.Digest]++
	p.reads[request] = f.Digest
	p.mu.Unlock()
}

// fetch reads to the end. A request that the relay will not serve a third time was granted.
func (w *writers) fetch(key identity.PrivateKey, m *message.Read) error {
	sess, err := w.v.dial(key)
	if err != nil {
		return err
	}
	defer sess.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if short, stop, yes := impatient(ctx); yes {
		_ = drain(short, sess, m)
		stop()
	}
	if err := drain(ctx, sess, m); code.Of(err) != code.RequestReused {
		return err
	}
	return nil
}

func drain(ctx context.Context, sess *session.Client, m *message.Read) error {
	st, err := sess.Stream(ctx, m)
	if err != nil {
		return err
	}
	defer st.Close()
	for {
		a, err := st.Next(ctx)
		if err != nil {
			return err
		}
		switch d := a.(*message.ReadData); {
		case len(d.Denial) > 0:
			return code.New(code.NotFound, "a receipted record is denied")
		case d.End:
			return nil
		}
	}
}

// request signs a read request.
func (p *writer) request(relay identity.PublicKey, record identity.Digest) (*message.Read, identity.Digest, error) {
	at := identity.UnixMilli(time.Now().UnixMilli())
	raw, err := usage.ReadRequest{
		Header: identity.Header{Network: identity.Regtest, From: p.to.Public(), To: relay, Time: at, Serial: serial()},
		Record: record, MaxBytes: 1 << 20, NotAfter: at + 600_000,
	}.Encode()
	if err != nil {
		return nil, identity.Digest{}, err
	}
	b, err := identity.SignBundle(p.to, raw)
	return &message.Read{Requests: b.Bytes()}, identity.StatementDigest(identity.TypeReadRequest, raw), err
}

// drafted is an order on its way.
type drafted struct {
	write     *message.Write
	held      usage.HeldOrder
	allowance uint64 // of free bytes that it takes: storage, and all the reads that it allows
}

// draft makes n records with the order that pays for them.
func (p *writer) draft(relay identity.PublicKey, n int) (drafted, error) {
	at := identity.UnixMilli(time.Now().UnixMilli())
	out := drafted{write: &message.Write{}}
	var statements [][]byte
	var digests []identity.Digest
	var total uint64
	for range n {
		size := p.size
		if size == 0 {
			size = 100 + mrand.IntN(2000)
		}
		content := make([]byte, size)
		_, _ = rand.Read(content)
		id, err := records.NewID(rand.Reader)
		if err != nil {
			return out, err
		}
		d := records.Draft{Network: identity.Regtest, From: p.key.Public(), To: p.to.Public(), ID: id, Time: at, TTL: 86400}
		raw, err := d.Statement(content)
		if err != nil {
			return out, err
		}
		f := usage.RecordFacts{
			Digest: identity.StatementDigest(identity.TypeRecord, raw), Sender: d.From, Receiver: d.To,
			Stored: uint64(len(raw) + len(content)), Expiry: at + 86_400_000, MaxPulls: records.DefaultMaxPulls,
		}
		statements, out.write.Contents = append(statements, raw), append(out.write.Contents, content)
		digests, out.held.Records = append(digests, f.Digest), append(out.held.Records, f)
		total += f.Billable()
		out.allowance += f.Billable() + f.Stored*uint64(f.MaxPulls)
	}
	o := usage.StoreOrder{
		Header: identity.Header{Network: identity.Regtest, From: p.key.Public(), To: relay, Time: at, Serial: serial()},
		N:      uint16(n), Root: identity.Root(digests), TotalBytes: total, NotAfter: at + 3_600_000,
	}
	if o.Contract, o.Terms = p.contract, p.terms; !p.contract.IsZero() {
		o.MaxMsat = 1 << 40
	}
	order, err := o.Encode()
	if err != nil {
		return out, err
	}
	b, err := identity.SignBundle(p.key, append([][]byte{order}, statements...)...)
	if err != nil {
		return out, err
	}
	out.write.Bundles = [][]byte{b.Bytes()}
	parts, err := b.Split()
	out.held.Order = parts[0]
	return out, err
}

func serial() (s identity.Serial) {
	_, _ = rand.Read(s[:])
	return s
}

// check lists what the relay holds and compares it with the receipts.
func (w *writers) check() {
	t := w.t
	t.Helper()
	lost, kept := 0, 0
	for _, p := range w.people {
		sess, err := w.v.dial(p.key)
		if err != nil {
			t.Fatal(err)
		}
		have := outbox(t, sess)
		for d, pulls := range p.records {
			kept++
			switch row, ok := have[d]; {
			case !ok:
				lost++
			case int(row.PullsLeft) != records.DefaultMaxPulls-pulls:
				t.Errorf("record %s has %d pulls left after %d requests", d.Short(), row.PullsLeft, pulls)
			}
		}
		if len(have) != len(p.records) {
			t.Errorf("the relay lists %d records, %d have receipts", len(have), len(p.records))
		}
		a, err := sess.Call(t.Context(), &message.Account{})
		if err != nil {
			t.Fatal(err)
		}
		if used := a.(*message.AccountInfo).FreeUsed; p.contract.IsZero() && used != p.charged {
			t.Errorf("%d bytes were charged for orders of %d", used, p.charged)
		}
		sess.Close()
	}
	orders, reads := w.count()
	if lost > 0 || kept == 0 || reads == 0 {
		t.Errorf("%d of %d receipted records are lost; %d were read", lost, kept, reads)
	}
	raw, _ := json.Marshal(map[string]int{"kills": kills, "orders": orders, "records": kept, "reads": reads, "lost": lost})
	t.Log(string(raw))
}

// outbox lists what the relay keeps of a sender.
func outbox(t *testing.T, sess *session.Client) map[identity.Digest]message.Row {
	t.Helper()
	have := make(map[identity.Digest]message.Row)
	for after := uint64(0); ; {
		a, err := sess.Call(t.Context(), &message.Inventory{Role: message.RoleSender, After: after})
		if err != nil {
			t.Fatal(err)
		}
		p := a.(*message.InventoryPage)
		for _, r := range p.Rows {
			if _, twice := have[r.Digest]; twice {
				t.Fatalf("record %s is listed twice", r.Digest.Short())
			}
			have[r.Digest] = r
		}
		if !p.More {
			return have
		}
		after = p.Through
	}
}
