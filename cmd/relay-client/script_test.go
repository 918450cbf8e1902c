package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"relaymarket/identity"
	"relaymarket/relay"
	"relaymarket/testnet/btcdnode"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"relay-client": func() { os.Exit(run()) }})
}

// TestScripts runs the program as people do; these scripts need no node.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands(nil), Setup: setup(nil)})
}

// TestMarketScripts runs scripts against a real node and a real relay.
func TestMarketScripts(t *testing.T) {
	w := newMarket(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/market", Cmds: commands(w), Setup: setup(w)})
}

// market is a node with a private chain, and one relay.
type market struct {
	node  *btcdnode.Node
	relay *relay.Server
	mu    sync.Mutex
	keys  coldKeys // guarded by mu
}

func newMarket(t *testing.T) *market {
	t.Helper()
	n, err := btcdnode.Start(context.Background(), btcdnode.Options{Blocks: 150})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := relay.DefaultConfig(identity.Regtest)
	c.Listen, c.Admin = "127.0.0.1:0", "127.0.0.1:0"
	c.Bitcoin = relay.Bitcoin{RPC: n.RPCHost(), User: n.RPCUser(), Pass: n.RPCPass()}
	c.Offer.PowBits, c.Offer.FreeBytesDay, c.Offer.CreditLimit, c.Offer.CreditStart = 4, 10<<20, 5000, 5000
	c.Store.MemtableMiB, c.Store.CacheMiB = 4, 8
	dir := t.TempDir()
	if _, err := relay.Init(dir, relay.InitOptions{Config: c}); err != nil {
		t.Fatal(err)
	}
	s, err := relay.New(relay.Options{Dir: dir, Config: c, Poll: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	w := &market{node: n, relay: s}
	w.awaitReady(t)
	return w
}

func (w *market) awaitReady(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if st, err := w.relay.Status(context.Background()); err == nil && st.Ready {
			return
		}
	}
	t.Fatal("the relay does not become ready")
}

func setup(w *market) func(*testscript.Env) error {
	return func(e *testscript.Env) error {
		e.Setenv("RELAY_CLIENT_DIR", filepath.Join(e.WorkDir, "ada"))
		if w == nil {
			return nil
		}
		e.Setenv("RPC", w.node.RPCHost())
		e.Setenv("RPC_USER", w.node.RPCUser())
		e.Setenv("RPC_PASS", w.node.RPCPass())
		e.Setenv("BOARD", "https://"+w.relay.Addr())
		e.Setenv("RELAY", w.relay.Key().Name())
		e.Setenv("RELAY_KEY", w.relay.Key().String())
		return nil
	}
}

// commands are what scripts can do besides running programs.
func commands(w *market) map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"fails":      fails,
		"mine":       w.mine,
		"fund":       w.fund,
		"word":       word,
		"cold":       w.cold,
		"coldsign":   w.coldsign,
		"eventually": eventually,
		"mineuntil":  w.mineUntil,
		"envfile": func(ts *testscript.TestScript, _ bool, args []string) {
			ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
		},
	}
}

// fails CODE PROGRAM ARGS… runs a program that must end with this exit code.
func fails(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("%s: %v, wanted exit code %s", strings.Join(args[1:], " "), err, args[0])
	}
}

// mine N makes blocks.
func (w *market) mine(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.node.Mine(n)
	ts.Check(err)
}

// mineUntil PATTERN PROGRAM ARGS… makes block after block until the output of a program matches. A miner
// takes a transaction into one of the next blocks, and whoever follows the chain needs a moment after
// each.
func (w *market) mineUntil(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for range 50 {
		w.mine(ts, false, []string{"1"})
		for end := time.Now().Add(time.Second); ; time.Sleep(100 * time.Millisecond) {
			if says(ts, pattern, args[1:]) {
				return
			}
			if time.Now().After(end) {
				break
			}
		}
	}
	neverSays(ts, args)
}

// fund FILE SAT pays to the address in a file and makes a block.
func (w *market) fund(ts *testscript.TestScript, _ bool, args []string) {
	sat, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	addr, err := address.DecodeAddress(strings.TrimSpace(ts.ReadFile(args[0])), w.node.Params())
	ts.Check(err)
	script, err := txscript.PayToAddrScript(addr)
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.node.Pay(context.Background(), wire.NewTxOut(sat, script))
	ts.Check(err)
	_, err = w.node.Mine(1)
	ts.Check(err)
}

// word NAME FILE FIELD sets a variable to the n-th word (from 1) of the second line of a table.
func word(ts *testscript.TestScript, _ bool, args []string) {
	lines := strings.Split(ts.ReadFile(args[1]), "\n")
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	if len(lines) < 2 || len(strings.Fields(lines[1])) < n {
		ts.Fatalf("there is no word %d in the second line of %q", n, ts.ReadFile(args[1]))
	}
	ts.Setenv(args[0], strings.Fields(lines[1])[n-1])
}

// patience bounds what takes a moment on a machine that has nothing else to do.
const patience = 2 * time.Minute

// eventually PATTERN PROGRAM ARGS… runs a program again and again until its output matches.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if says(ts, pattern, args[1:]) {
			return
		}
	}
	neverSays(ts, args)
}

func says(ts *testscript.TestScript, pattern *regexp.Regexp, program []string) bool {
	return ts.Exec(program[0], program[1:]...) == nil && pattern.MatchString(ts.ReadFile("stdout"))
}

func neverSays(ts *testscript.TestScript, args []string) {
	ts.Fatalf("%s never says %q but %s", strings.Join(args[1:], " "), args[0], fmt.Sprint(ts.ReadFile("stdout"), ts.ReadFile("stderr")))
}
