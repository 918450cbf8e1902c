package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
	"relaymarket/records"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
	"relaymarket/usage"
)

// kills is how often the relay is killed under load.
const kills = 50

// TestKillUnderLoad kills a relay, built and run as a process of its own, at random moments while
// it is written to. Every record that it gave a receipt for must be there afterwards, and the
// free allowance must have been charged once for every order, however often it was sent.
func TestKillUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	ctx := t.Context()
	node, err := btcdnode.Start(ctx, btcdnode.Options{Dir: t.TempDir(), Blocks: 101})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Stop() })
	v := newVictim(t, node)
	v.start()
	w := newWriters(t, v, 4)
	stop := w.run()
	for i := range kills {
		time.Sleep(time.Duration(20+mrand.IntN(250)) * time.Millisecond)
		v.kill()
		v.start()
		if i%10 == 9 {
			t.Logf("%d kills, %d orders receipted", i+1, w.count())
		}
	}
	stop()
	w.check()
}

// victim is the relay that is killed.
type victim struct {
	t      *testing.T
	bin    string
	dir    string
	cmd    *exec.Cmd
	listen string
	admin  string
	key    identity.PublicKey
	log    *os.File
	mu     sync.Mutex
	addr   identity.Address // guarded by mu
}

func newVictim(t *testing.T, node *btcdnode.Node) *victim {
	t.Helper()
	v := &victim{t: t, bin: filepath.Join(t.TempDir(), "relay"), dir: t.TempDir(), listen: freePort(t), admin: freePort(t)}
	if out, err := exec.Command("go", "build", "-o", v.bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	c := relay.DefaultConfig(identity.Regtest)
	c.Listen, c.Admin = v.listen, v.admin
	c.Bitcoin = relay.Bitcoin{RPC: node.RPCHost(), User: node.RPCUser(), Pass: node.RPCPass()}
	c.Offer.FreeBytesDay, c.Offer.PowBits, c.Store = 1<<34, 4, relay.Disk{MemtableMiB: 4, CacheMiB: 8}
	res, err := relay.Init(v.dir, relay.InitOptions{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	v.key = res.Key
	if v.log, err = os.Create(filepath.Join(t.TempDir(), "relay.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.kill)
	return v
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (v *victim) start() {
	v.t.Helper()
	v.cmd = exec.Command(v.bin, "run", "--dir", v.dir, "--log", "error")
	v.cmd.Stderr = v.log
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	for range 400 {
		if v.ready() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	text, _ := os.ReadFile(v.log.Name())
	v.t.Fatalf("the relay did not come back:\n%s", text)
}

// ready asks the admin port, and learns the address from the offer.
func (v *victim) ready() bool {
	resp, err := http.Get("http://" + v.admin + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	addr, err := v.address()
	if err != nil {
		return false
	}
	v.mu.Lock()
	v.addr = addr
	v.mu.Unlock()
	return true
}

// address reads the offer from the relay's own files.
func (v *victim) address() (identity.Address, error) {
	files, err := filepath.Glob(filepath.Join(v.dir, "regtest", "offers", "*.offer"))
	if err != nil || len(files) == 0 {
		return identity.Address{}, errors.Join(err, errors.New("no offer yet"))
	}
	raw, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return identity.Address{}, err
	}
	return offerAddress(raw)
}

// kill ends the process at once, by its id.
func (v *victim) kill() {
	if v.cmd == nil || v.cmd.Process == nil {
		return
	}
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
	v.cmd = nil
}

// writers send orders until each has its receipt, over as many sessions as that takes.
type writers struct {
	t      *testing.T
	v      *victim
	people []*writer
	mu     sync.Mutex
	orders int // guarded by mu
}

type writer struct {
	key      identity.PrivateKey
	to       identity.PrivateKey
	mu       sync.Mutex
	receipts map[identity.Digest]identity.Digest // record to receipt; guarded by mu
	charged  uint64                              // guarded by mu
}

func newWriters(t *testing.T, v *victim, n int) *writers {
	w := &writers{t: t, v: v}
	for range n {
		from, err := identity.GeneratePrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		to, err := identity.GeneratePrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.people = append(w.people, &writer{key: from, to: to, receipts: make(map[identity.Digest]identity.Digest)})
	}
	return w
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.orders
}

// run starts writing; the returned function lets every writer finish its order and waits.
func (w *writers) run() func() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, p := range w.people {
		wg.Go(func() {
			for ctx.Err() == nil {
				w.order(p)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// order makes one order of a few records and sends it, again and again, until a receipt comes.
func (w *writers) order(p *writer) {
	m, digests, bytes, err := p.draft(w.v.key, 1+mrand.IntN(4))
	if err != nil {
		w.t.Error(err)
		return
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		r, err := w.send(p.key, m)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		p.mu.Lock()
		for _, d := range digests {
			p.receipts[d] = r
		}
		p.charged += bytes
		p.mu.Unlock()
		w.mu.Lock()
		w.orders++
		w.mu.Unlock()
		return
	}
	w.t.Error("an order got no receipt within a minute")
}

// send gives an order to the relay; half of the time it hangs up without waiting for the answer
// and asks again, so that orders are decided whose receipt nobody saw.
func (w *writers) send(key identity.PrivateKey, m *message.Write) (identity.Digest, error) {
	sess, err := w.v.dial(key)
	if err != nil {
		return identity.Digest{}, err
	}
	defer sess.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if mrand.IntN(2) == 0 {
		short, stop := context.WithTimeout(ctx, time.Duration(mrand.IntN(3000))*time.Microsecond)
		_, _ = sess.Call(short, m)
		stop()
	}
	a, err := sess.Call(ctx, m)
	if err != nil {
		return identity.Digest{}, err
	}
	s, err := identity.ParseSigned(a.(*message.Written).Receipt)
	if err != nil {
		return identity.Digest{}, err
	}
	r, err := usage.OpenReceipt(s)
	return r.Digest(), err
}

func (v *victim) dial(key identity.PrivateKey) (*session.Client, error) {
	params, err := runner.Params(identity.Regtest)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	a := v.addr
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return session.Dial(ctx, transport.DialOptions{URL: a.URL, Pins: a.Pins}, session.Config{Key: key, Relay: v.key, Genesis: *params.GenesisHash})
}

// draft makes n records with an order on the free allowance.
func (p *writer) draft(relayKey identity.PublicKey, n int) (*message.Write, []identity.Digest, uint64, error) {
	at := identity.UnixMilli(time.Now().UnixMilli())
	var statements [][]byte
	var digests []identity.Digest
	var total, stored uint64
	m := &message.Write{}
	for range n {
		content := make([]byte, 100+mrand.IntN(2000))
		_, _ = rand.Read(content)
		id, err := records.NewID(rand.Reader)
		if err != nil {
			return nil, nil, 0, err
		}
		raw, err := records.Draft{Network: identity.Regtest, From: p.key.Public(), To: p.to.Public(), ID: id, Time: at, TTL: 86400}.Statement(content)
		if err != nil {
			return nil, nil, 0, err
		}
		statements, m.Contents = append(statements, raw), append(m.Contents, content)
		digests = append(digests, identity.StatementDigest(identity.TypeRecord, raw))
		total += usage.BillableBytes(len(raw), len(content))
		stored += uint64(len(raw) + len(content))
	}
	order, err := usage.StoreOrder{
		Header: identity.Header{Network: identity.Regtest, From: p.key.Public(), To: relayKey, Time: at},
		N:      uint16(n), Root: identity.Root(digests), TotalBytes: total, NotAfter: at + 3_600_000,
	}.Encode()
	if err != nil {
		return nil, nil, 0, err
	}
	b, err := identity.SignBundle(p.key, append([][]byte{order}, statements...)...)
	m.Bundles = [][]byte{b.Bytes()}
	// The allowance is charged for storage and for all the reads that the records allow.
	return m, digests, total + records.DefaultMaxPulls*stored, err
}

// check lists what the relay holds and compares it with the receipts.
func (w *writers) check() {
	t := w.t
	t.Helper()
	lost, records := 0, 0
	for _, p := range w.people {
		sess, err := w.v.dial(p.key)
		if err != nil {
			t.Fatal(err)
		}
		have, err := outbox(t.Context(), sess)
		if err != nil {
			t.Fatal(err)
		}
		for d := range p.receipts {
			records++
			if !have[d] {
				lost++
			}
		}
		if len(have) != len(p.receipts) {
			t.Errorf("the relay lists %d records, %d have receipts", len(have), len(p.receipts))
		}
		a, err := sess.Call(t.Context(), &message.Account{})
		if err != nil {
			t.Fatal(err)
		}
		if used := a.(*message.AccountInfo).FreeUsed; used != p.charged {
			t.Errorf("%d bytes were charged for orders of %d", used, p.charged)
		}
		sess.Close()
	}
	if lost > 0 || records == 0 {
		t.Errorf("%d of %d receipted records are lost", lost, records)
	}
	raw, _ := json.Marshal(map[string]int{"kills": kills, "orders": w.count(), "records": records, "lost": lost})
	t.Log(string(raw))
}

func outbox(ctx context.Context, sess *session.Client) (map[identity.Digest]bool, error) {
	have := make(map[identity.Digest]bool)
	for after := uint64(0); ; {
		a, err := sess.Call(ctx, &message.Inventory{Role: message.RoleSender, After: after})
		if err != nil {
			return nil, err
		}
		p := a.(*message.InventoryPage)
		for _, r := range p.Rows {
			if have[r.Digest] {
				return nil, fmt.Errorf("record %s is listed twice", r.Digest.Short())
			}
			have[r.Digest] = true
		}
		if !p.More {
			return have, nil
		}
		after = p.Through
	}
}

// offerAddress reads the first address of a signed offer.
func offerAddress(raw []byte) (identity.Address, error) {
	s, err := relay.ParseOfferFile(raw)
	if err != nil {
		return identity.Address{}, err
	}
	o, err := broadcast.Open(s, 0)
	if err != nil {
		return identity.Address{}, err
	}
	return o.Addresses[0], nil
}
