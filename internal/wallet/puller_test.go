package wallet

import (
	"context"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/chain/btcd"
	"relaymarket/internal/chain/neutrino"
)

// backends are the ones that a wallet can be fed from here.
var backends = map[string]func(t *testing.T) chain.Backend{
	"btcd": func(t *testing.T) chain.Backend {
		b, err := btcd.New(btcd.Config{Host: node.RPCHost(), User: node.RPCUser(), Pass: node.RPCPass(), Params: &chaincfg.RegressionNetParams})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	},
	"neutrino": func(t *testing.T) chain.Backend {
		b, err := neutrino.New(neutrino.Config{
			Dir: t.TempDir(), Params: &chaincfg.RegressionNetParams, Peers: []string{node.P2PAddr()}, BroadcastTimeout: 500 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return b
	},
}

// onEvery runs a test with a wallet on each of them.
func onEvery(t *testing.T, run func(t *testing.T, l *live)) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.RPC, cfg.Chain = RPC{}, open(t)
			run(t, start(t, cfg))
		})
	}
}

// level waits until the backend and with it the wallet has the node's tip.
func (l *live) level() {
	l.t.Helper()
	l.eventually("the backend has the node's tip", func() bool {
		hash, _, err := node.Tip()
		if err != nil {
			l.t.Fatal(err)
		}
		tip, err := l.cfg.Chain.Tip(context.Background())
		return err == nil && tip.Hash == hash
	})
	l.sync()
}

func (l *live) fundedOn(values ...int64) []wire.OutPoint {
	l.t.Helper()
	ops := l.funded(values...)
	l.level()
	return ops
}

// TestPulledPayments: coins come in, are reserved, signed and sent, and the change comes back.
func TestPulledPayments(t *testing.T) {
	onEvery(t, func(t *testing.T, l *live) {
		l.fundedOn(100_000, 50_000)
		want(t, "confirmed", l.balance(), Balance{ConfirmedSat: 150_000})
		out := foreignOutput(t, 120_000)
		share, err := l.FundShare(0, []*wire.TxOut{out}, 2000, LeaseID{1}, 1)
		if err != nil {
			t.Fatal(err)
		}
		tx, prevouts := build([]*wire.TxOut{out}, share)
		l.signed(tx, prevouts, share)
		if err := l.Publish(context.Background(), tx); err != nil {
			t.Fatal(err)
		}
		want(t, "change is on its way", l.balance().UnconfirmedSat, share.ChangeSat)
		l.mine(1)
		l.level()
		want(t, "after", l.balance(), Balance{ConfirmedSat: 150_000 - 120_000 - share.FeeSat})
		l = l.restart()
		l.level()
		want(t, "after a restart", l.balance(), Balance{ConfirmedSat: 150_000 - 120_000 - share.FeeSat})
	})
}

// TestPulledReorg: a coin goes with its block and comes back with another one, also when the
// wallet was not looking; and a coin that is spent in the block that made it is never there.
func TestPulledReorg(t *testing.T) {
	onEvery(t, func(t *testing.T, l *live) {
		_, script, err := l.NewAddress()
		if err != nil {
			t.Fatal(err)
		}
		pay, err := node.Pay(context.Background(), wire.NewTxOut(70_000, script))
		if err != nil {
			t.Fatal(err)
		}
		l.mine(1)
		l.level()
		want(t, "confirmed", l.balance().ConfirmedSat, 70_000)
		fork := func(blocks ...[]*wire.MsgTx) {
			t.Helper()
			if err := node.Fork(1, blocks...); err != nil {
				t.Fatal(err)
			}
		}
		fork(nil, nil)
		l.level()
		want(t, "reorged out", l.balance().ConfirmedSat, 0)
		fork([]*wire.MsgTx{pay}, nil)
		l.level()
		want(t, "back", l.balance().ConfirmedSat, 70_000)

		l.stop()
		if err := node.Fork(2, nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		l = start(t, l.cfg)
		l.level()
		want(t, "reorged out while away", l.balance().ConfirmedSat, 0)

		op := wire.OutPoint{Hash: pay.TxHash()}
		spend := wire.NewMsgTx(2)
		spend.AddTxIn(wire.NewTxIn(&op, nil, nil))
		spend.AddTxOut(foreignOutput(t, 69_000))
		witness, err := l.SignOwn(spend, map[wire.OutPoint]*wire.TxOut{op: pay.TxOut[0]}, []wire.OutPoint{op})
		if err != nil {
			t.Fatal(err)
		}
		spend.TxIn[0].Witness = witness[op]
		fork([]*wire.MsgTx{pay, spend}, nil)
		l.level()
		want(t, "made and spent in one block", l.balance(), Balance{})
	})
}

// TestPulledSearch: from the seed alone the coins are found again, also those of addresses far
// ahead.
func TestPulledSearch(t *testing.T) {
	onEvery(t, func(t *testing.T, l *live) {
		for range 30 {
			if _, _, err := l.NewAddress(); err != nil {
				t.Fatal(err)
			}
		}
		l.fundedOn(40_000)
		l.fundedOn(60_000)
		l.stop()
		cfg := l.cfg
		cfg.Dir, cfg.Birthday = t.TempDir(), time.Time{}
		again := start(t, cfg)
		again.level()
		want(t, "found", again.balance(), Balance{ConfirmedSat: 100_000})
	})
}
