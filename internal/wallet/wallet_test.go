package wallet

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

func TestOpenIsQuickAndRefusesStrangers(t *testing.T) {
	cfg := config(t)
	w := quickly(t, "creating", func() (*Wallet, error) {
		cfg.Dir = t.TempDir()
		return Open(cfg)
	})
	if _, err := Open(cfg); code.Of(err) != code.WalletLocked {
		t.Errorf("second Open: %v", err)
	}
	first, script, err := w.NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	if !w.Owns(script) || w.Owns(foreignOutput(t, 0).PkScript) || w.Owns(nil) {
		t.Error("Owns is wrong")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.NewAddress(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}

	for name, change := range map[string]func(*Config){
		"passphrase": func(c *Config) { c.Passphrase = random(t, 32) },
		"seed":       func(c *Config) { c.Seed = random(t, 64) },
	} {
		other := cfg
		change(&other)
		_, err := Open(other)
		if code.Of(err) != code.WalletWrongPhrase {
			t.Errorf("wrong %s: %v", name, err)
		}
	}
	other := cfg
	other.Params = &chaincfg.SigNetParams
	if _, err := Open(other); code.Of(err) != code.WrongNetwork {
		t.Errorf("wrong network: %v", err)
	}

	w = quickly(t, "opening", func() (*Wallet, error) { return Open(cfg) })
	defer w.Close()
	second, _, err := w.NewAddress()
	if err != nil || second == first {
		t.Errorf("after reopening: %q, %v; before: %q", second, err, first)
	}
}

// quickly opens a wallet up to three times, because this machine may be busy with something else,
// and wants one time below a second (more under the race detector).
func quickly(t *testing.T, what string, open func() (*Wallet, error)) *Wallet {
	t.Helper()
	var took time.Duration
	for range 3 {
		begin := time.Now()
		w, err := open()
		if err != nil {
			t.Fatal(err)
		}
		if took = time.Since(begin); took < slowdown*time.Second {
			return w
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("%s took %v", what, took)
	return nil
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no directory":        func(c *Config) { c.Dir = "" },
		"short seed":          func(c *Config) { c.Seed = c.Seed[:32] },
		"short passphrase":    func(c *Config) { c.Passphrase = []byte("password") },
		"plain text far away": func(c *Config) { c.RPC.Host = "192.0.2.1:8334" },
		"no certificate":      func(c *Config) { c.RPC.CertFile = filepath.Join(c.Dir, "missing") },
	} {
		cfg := config(t)
		change(&cfg)
		if w, err := Open(cfg); code.Of(err) != code.BadConfig {
			t.Errorf("%s: %v, %v", name, w, err)
		}
	}
}

func TestMoneyArrivesAndReturnsAfterReorg(t *testing.T) {
	l := start(t, config(t))
	_, script, err := l.NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	op, err := node.Fund(context.Background(), script, 70_000)
	if err != nil {
		t.Fatal(err)
	}
	l.eventually("unconfirmed coin", func() bool { return l.balance() == Balance{UnconfirmedSat: 70_000} })
	l.mine(1)
	want(t, "mined", l.balance(), Balance{ConfirmedSat: 70_000})

	// The block goes, and two come without the payment.
	if err := node.Fork(1, nil, nil); err != nil {
		t.Fatal(err)
	}
	l.sync()
	want(t, "after the fork", l.balance(), Balance{UnconfirmedSat: 70_000})
	_, err = l.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, 1000, LeaseID{1}, 1)
	wantCode(t, err, code.NotEnoughCoins)

	l.mine(1)
	want(t, "mined again", l.balance(), Balance{ConfirmedSat: 70_000})
	share, err := l.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, 1000, LeaseID{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "the same coin", share.Inputs[0].OutPoint, op)
}

func TestDeepReorgWhileAway(t *testing.T) {
	l := start(t, config(t))
	l.funded(50_000)
	l.mine(3)
	l.stop()
	if err := node.Fork(4, nil, nil, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	l = start(t, l.cfg)
	want(t, "after the fork", l.balance(), Balance{UnconfirmedSat: 50_000})
	l.mine(1)
	want(t, "mined again", l.balance(), Balance{ConfirmedSat: 50_000})
}

// A search from nothing but the seed must find coins on both branches, beyond a gap.
func TestRecoveryFromSeed(t *testing.T) {
	l := start(t, config(t))
	l.funded(80_000)
	out := foreignOutput(t, 30_000)
	share, err := l.FundShare(0, []*wire.TxOut{out}, 2000, LeaseID{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	tx, prevouts := build([]*wire.TxOut{out}, share)
	l.signed(tx, prevouts, share)
	if err := l.Publish(context.Background(), tx); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if _, _, err := l.NewAddress(); err != nil {
			t.Fatal(err)
		}
	}
	l.funded(9_000)
	kept := share.ChangeSat
	want(t, "before", l.balance(), Balance{ConfirmedSat: kept + 9_000})
	l.stop()

	cfg := l.cfg
	cfg.Dir = t.TempDir()
	begin := time.Now()
	r := start(t, cfg)
	t.Log("recovered in", time.Since(begin))
	want(t, "recovered", r.balance(), Balance{ConfirmedSat: kept + 9_000})
	r = r.restart()
	want(t, "restarted", r.balance(), Balance{ConfirmedSat: kept + 9_000})

	// What was spent while nobody looked is gone, even where nothing of it comes back.
	share, err = r.FundShare(8_000, []*wire.TxOut{out}, 1000, LeaseID{2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "smallest coin", share.Inputs[0].Value, 9_000)
	tx, prevouts = build([]*wire.TxOut{foreignOutput(t, 8_500)}, Share{Inputs: share.Inputs})
	r.signed(tx, prevouts, share)
	r.stop()
	if _, err := node.Client().SendRawTransaction(tx, true); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Mine(1); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	want(t, "spent while away", r.balance(), Balance{ConfirmedSat: kept})
}

func TestNodeRestart(t *testing.T) {
	l := start(t, config(t))
	l.funded(40_000)
	if err := node.Halt(); err != nil {
		t.Fatal(err)
	}
	l.eventually("the loss is noticed", func() bool { _, ok := l.Status(); return !ok })
	_, err := l.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, 1000, LeaseID{1}, 1)
	wantCode(t, err, code.ChainUnavailable)
	_, _, err = l.Send(context.Background(), mustAddress(t, l), 1000, 1000, false)
	wantCode(t, err, code.ChainUnavailable)
	_, offline, err := l.NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	wantCode(t, l.Synced(short), code.ChainUnavailable)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := node.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	l.sync()
	want(t, "after the restart", l.balance(), Balance{ConfirmedSat: 40_000})
	if _, err := node.Fund(ctx, offline, 5_000); err != nil {
		t.Fatal(err)
	}
	l.mine(1)
	want(t, "an address made offline", l.balance(), Balance{ConfirmedSat: 45_000})
}

// Blocks that arrive while a wallet connects, searches and rescans must not leave it behind.
func TestStartWhileBlocksArrive(t *testing.T) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(10 * time.Millisecond):
			}
			if _, err := node.Mine(1); err != nil {
				done <- err
				return
			}
		}
	}()
	l := start(t, config(t))
	for range 5 {
		l = l.restart()
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.funded(10_000)
	want(t, "after all", l.balance(), Balance{ConfirmedSat: 10_000})
}

// A search that is broken off at any moment is taken up again.
func TestStopDuringSearch(t *testing.T) {
	l := start(t, config(t))
	l.funded(50_000)
	cfg := l.cfg
	cfg.Dir = t.TempDir()
	for _, delay := range []time.Duration{0, 5, 20, 50, 80, 120, 160} {
		w, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), delay*time.Millisecond)
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	twin := start(t, cfg)
	want(t, "found", twin.balance(), Balance{ConfirmedSat: 50_000})
}

func TestWrongNodeEndsRun(t *testing.T) {
	cfg := config(t)
	cfg.Params = &chaincfg.SimNetParams
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	wantCode(t, w.Run(ctx), code.ChainWrongNetwork)
}

func TestRunWithoutNodeStops(t *testing.T) {
	cfg := config(t)
	cfg.RPC.Host = "127.0.0.1:1"
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for w.running.TryLock() { // Run has not begun
		w.running.Unlock()
		time.Sleep(time.Millisecond)
	}
	if err := w.Close(); !errors.Is(err, ErrRunning) {
		t.Errorf("Close during Run: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestCoinsAreListedWithTheirLeases(t *testing.T) {
	l := start(t, config(t))
	ops := l.funded(30_000, 20_000)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := l.Lease(LeaseID{9}, ops[1:], until); err != nil {
		t.Fatal(err)
	}
	got, err := l.Coins()
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].OutPoint != ops[0] || got[0].Value != 30_000 || got[0].Confirmations != 1 || got[0].Lease != nil {
		t.Errorf("the free coin: %+v", got[0])
	}
	if lease := got[1].Lease; lease == nil || lease.ID != (LeaseID{9}) || !lease.Until.Equal(until) {
		t.Errorf("the reserved coin: %+v", got[1])
	}
}

func mustAddress(t *testing.T, l *live) string {
	t.Helper()
	addr, _, err := l.NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
