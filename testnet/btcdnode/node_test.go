package btcdnode

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// start runs a node for the length of a test.
func start(t *testing.T, o Options) *Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// someScript is a taproot output of a key that nobody keeps.
func someScript(t *testing.T) []byte {
	t.Helper()
	key, err := btcec.NewPrivateKey()
	check(t, err)
	script, err := txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(key.PubKey()))
	check(t, err)
	return script
}

func (n *Node) mustTip(t *testing.T) (string, int32) {
	t.Helper()
	hash, height, err := n.Tip()
	check(t, err)
	return hash.String(), height
}

func TestFundHundredsOfTimes(t *testing.T) {
	n := start(t, Options{Blocks: 150})
	script := someScript(t)
	for i := range 300 {
		op, err := n.Fund(t.Context(), script, 10_000+int64(i))
		if err != nil {
			t.Fatalf("payment %d: %v", i, err)
		}
		if i%100 == 99 {
			_, err := n.Mine(1)
			check(t, err)
			out, err := n.Client().GetTxOut(&op.Hash, op.Index, false)
			check(t, err)
			if out == nil || out.Confirmations != 1 {
				t.Fatalf("payment %d is not confirmed: %+v", i, out)
			}
		}
	}
}

func TestFundSurvivesReorgAndRestart(t *testing.T) {
	n := start(t, Options{Blocks: 130})
	script := someScript(t)
	pay := func() wire.OutPoint {
		op, err := n.Fund(t.Context(), script, 5_000_000_000+1)
		check(t, err)
		return op
	}
	pay()
	_, err := n.Mine(1)
	check(t, err)
	check(t, n.Reorg(20, 22))
	pay()
	check(t, n.Kill())
	check(t, n.Restart(t.Context()))
	op := pay()
	_, err = n.Mine(1)
	check(t, err)
	out, err := n.Client().GetTxOut(&op.Hash, op.Index, false)
	check(t, err)
	if out == nil {
		t.Fatal("the payment after the restart did not confirm")
	}
}

func TestForkConfirmsADoubleSpend(t *testing.T) {
	n := start(t, Options{Blocks: 110})
	first, err := n.Pay(t.Context(), wire.NewTxOut(100_000, someScript(t)))
	check(t, err)
	_, err = n.Mine(1)
	check(t, err)

	second := first.Copy()
	second.TxOut[0].PkScript = someScript(t)
	prev := txscript.NewMultiPrevOutFetcher(nil)
	for _, in := range second.TxIn {
		old, err := n.Client().GetRawTransaction(&in.PreviousOutPoint.Hash)
		check(t, err)
		prev.AddPrevOut(in.PreviousOutPoint, old.MsgTx().TxOut[in.PreviousOutPoint.Index])
	}
	check(t, n.faucet.sign(second, prev))
	check(t, n.Fork(1, []*wire.MsgTx{second}, nil))

	for i, tx := range []*wire.MsgTx{first, second} {
		hash := tx.TxHash()
		out, err := n.Client().GetTxOut(&hash, 0, true)
		check(t, err)
		if got, want := out != nil, i == 1; got != want {
			t.Errorf("transaction %d exists: %t, want %t", i+1, got, want)
		}
	}
}

func TestReorgReplacesBlocks(t *testing.T) {
	n := start(t, Options{Blocks: 5})
	before, _ := n.mustTip(t)
	check(t, n.Reorg(1, 1))
	after, height := n.mustTip(t)
	if after == before || height != 5 {
		t.Fatalf("tip %s at %d, want another than %s at 5", after, height, before)
	}
	check(t, n.Reorg(3, 0))
	if _, height := n.mustTip(t); height != 2 {
		t.Fatalf("height %d after taking three blocks off five", height)
	}
	if err := n.Reorg(3, 1); err == nil {
		t.Fatal("three blocks came off a chain of two")
	}
	_, err := n.MineEmpty(3)
	check(t, err)
	if _, height := n.mustTip(t); height != 5 {
		t.Fatalf("height %d, want 5", height)
	}
}

func TestRestartKeepsChainAndAddresses(t *testing.T) {
	n := start(t, Options{Blocks: 20})
	_, err := n.Client().Generate(3) // behind the harness's back
	check(t, err)
	host, pid := n.RPCHost(), n.PID()
	before, _ := n.mustTip(t)
	for _, end := range []func() error{n.Halt, n.Kill, n.Halt} {
		check(t, end())
		if _, err := dial(n.ep); err == nil {
			t.Fatal("an ended node answers")
		}
		check(t, n.Restart(t.Context()))
		if after, height := n.mustTip(t); after != before || height != 23 {
			t.Fatalf("tip %s at %d, want %s at 23", after, height, before)
		}
		other, err := dial(n.ep) // the public address, not the harness's connection
		check(t, err)
		other.Shutdown()
	}
	if n.RPCHost() != host || n.PID() == pid {
		t.Fatalf("host %s was %s, pid %d was %d", n.RPCHost(), host, n.PID(), pid)
	}
	check(t, n.Reorg(2, 3))
	if _, height := n.mustTip(t); height != 24 {
		t.Fatalf("height %d, want 24", height)
	}
}

func TestForeignRewards(t *testing.T) {
	key, err := newFaucet()
	check(t, err)
	n := start(t, Options{MiningAddr: key.address, Blocks: 1})
	if _, err := n.Fund(t.Context(), someScript(t), 1000); err != ErrForeignRewards {
		t.Fatalf("got %v", err)
	}
	if _, err := Start(t.Context(), Options{MiningAddr: "bc1qnonsense"}); err == nil {
		t.Fatal("a bad mining address was taken")
	}
}

func TestDeathIsNoticed(t *testing.T) {
	n := start(t, Options{})
	if err := n.Err(); err != nil {
		t.Fatalf("a running node has an obituary: %v", err)
	}
	if err := n.Restart(t.Context()); err != ErrRunning {
		t.Fatalf("restart of a running node: %v", err)
	}
	proc, err := os.FindProcess(n.PID())
	check(t, err)
	check(t, proc.Kill())
	select {
	case <-n.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("nobody noticed")
	}
	if err := n.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("obituary: %v", err)
	}
}

func TestFailureNamesTheReason(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "data"), nil, 0o600)) // a file where the directory should be
	_, err := Start(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "data") {
		t.Fatalf("got %v", err)
	}
}

// TestNodeDiesWithItsParent starts this test binary again, lets it start a
// node, and kills it without warning.
func TestNodeDiesWithItsParent(t *testing.T) {
	const role = "BTCDNODE_TEST_PARENT"
	if os.Getenv(role) != "" {
		n, err := Start(t.Context(), Options{Dir: os.Getenv(role)})
		check(t, err)
		check(t, os.WriteFile(filepath.Join(n.dir, "pid"), []byte(strconv.Itoa(n.PID())), 0o600))
		select {}
	}
	if childAttributes() == nil {
		t.Skip("this system cannot tie a child's life to its parent's")
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], "-test.run=^TestNodeDiesWithItsParent$")
	parent.Env = append(os.Environ(), role+"="+dir)
	check(t, parent.Start())
	pid := awaitPID(t, filepath.Join(dir, "pid"))
	check(t, parent.Process.Kill())
	_ = parent.Wait() // it was killed: the error says so
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("node %d outlived its parent", pid)
		}
	}
}

func awaitPID(t *testing.T, file string) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if pid, convErr := strconv.Atoi(string(text)); err == nil && convErr == nil {
			return pid
		}
	}
	t.Fatal("the child process started no node")
	return 0
}

// alive reads the process state: an orphan that has ended may stay a zombie
// until somebody collects it.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestTaprootScriptOfFaucet(t *testing.T) {
	f, err := newFaucet()
	check(t, err)
	if len(f.script) != 34 || f.script[0] != txscript.OP_1 {
		t.Fatalf("not a taproot script: %x", f.script)
	}
	if _, err := schnorr.ParsePubKey(f.script[2:]); err != nil {
		t.Fatal(err)
	}
}
