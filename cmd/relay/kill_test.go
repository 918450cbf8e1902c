package main

import (
	"context"
	"errors"
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
	"relaymarket/internal/runner"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
)

// asRelayEnv makes this test program be the relay itself, so that what is killed is always what was
// built last.
const asRelayEnv = "RELAY_TEST_AS_RELAY"

func TestMain(m *testing.M) {
	if os.Getenv(asRelayEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// kills is how often the relay is killed under load.
const kills = 50

// TestKillUnderLoad kills a relay that runs as a process of its own, at random moments while
// it is written to and read from. Every record that it gave a receipt for must be there afterwards.
// Two people write on the free allowance, which must have been charged once for every order. A third
// has a contract, opened on the chain: its log must have one row for every order and one for every
// read request, however often they were sent, and its account must bill exactly these.
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
	v := newVictim(t, node, t.TempDir(), relay.Disk{MemtableMiB: 4, CacheMiB: 8})
	v.start()
	w := newWriters(t, v, 2)
	payer := newPayer(t, v, node)
	w.people = append(w.people, payer.writer)
	stop := w.run()
	for i := range kills {
		time.Sleep(time.Duration(20+mrand.IntN(250)) * time.Millisecond)
		v.kill()
		v.start()
		if i%10 == 9 {
			orders, reads := w.count()
			t.Logf("%d kills, %d orders receipted, %d records read", i+1, orders, reads)
		}
	}
	stop()
	w.check()
	payer.check()
}

// victim is the relay that is killed.
type victim struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	listen string
	admin  string
	key    identity.PublicKey
	log    *os.File
	mu     sync.Mutex
	addr   identity.Address // guarded by mu
}

func newVictim(t *testing.T, node *btcdnode.Node, dir string, disk relay.Disk) *victim {
	t.Helper()
	v := &victim{t: t, dir: dir, listen: freePort(t), admin: freePort(t)}
	c := relay.DefaultConfig(identity.Regtest)
	c.Listen, c.Admin = v.listen, v.admin
	c.Bitcoin = relay.Bitcoin{RPC: node.RPCHost(), User: node.RPCUser(), Pass: node.RPCPass()}
	c.Offer.Egress = 1_000_000_000
	c.Offer.FreeBytesDay, c.Offer.PowBits, c.Store = 1<<34, 4, disk
	res, err := relay.Init(v.dir, relay.InitOptions{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	v.key = res.Key
	if v.log, err = os.OpenFile(filepath.Join(t.TempDir(), "relay.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
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
	v.launch()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
		if v.ready() {
			return
		}
	}
	text, _ := os.ReadFile(v.log.Name())
	v.t.Fatalf("the relay did not come back:\n%s", text)
}

// launch starts the process and waits for nothing.
func (v *victim) launch() {
	v.t.Helper()
	self, err := os.Executable()
	if err != nil {
		v.t.Fatal(err)
	}
	v.cmd = exec.Command(self, "run", "--dir", v.dir, "--log", "error")
	v.cmd.Env = append(os.Environ(), asRelayEnv+"=1")
	v.cmd.Stderr = v.log
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
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
