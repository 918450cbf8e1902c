package wallet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"
	"github.com/btcsuite/btcwallet/wtxmgr"

	"relaymarket/internal/code"
)

// empty are n blocks without transactions, for Fork.
func empty(n int) [][]*wire.MsgTx { return make([][]*wire.MsgTx, n) }

func fork(t *testing.T, depth int, blocks ...[]*wire.MsgTx) {
	t.Helper()
	if err := node.Fork(depth, blocks...); err != nil {
		t.Fatal(err)
	}
}

// spread gives the wallet one coin in each of the next blocks, and their sum.
func (l *live) spread(blocks int) (sum int64) {
	l.t.Helper()
	_, script, err := l.NewAddress()
	if err != nil {
		l.t.Fatal(err)
	}
	for i := range blocks {
		value := 10_000 + int64(i)
		if _, err := node.Fund(context.Background(), script, value); err != nil {
			l.t.Fatal(err)
		}
		l.mine(1)
		sum += value
	}
	want(l.t, "spread", l.balance(), Balance{ConfirmedSat: sum})
	return sum
}

// Every coin of the lost blocks is unconfirmed, also of the lower ones, and confirmed once when it comes again.
func TestDeepReorgWhileConnected(t *testing.T) {
	for _, depth := range []int{2, 3, 6} {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			l := start(t, config(t))
			sum := l.spread(depth)
			fork(t, depth, empty(depth+1)...)
			l.sync()
			want(t, "after the fork", l.balance(), Balance{UnconfirmedSat: sum})
			_, err := l.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, 1000, LeaseID{1}, 1)
			wantCode(t, err, code.NotEnoughCoins)
			l.mine(1)
			want(t, "mined again", l.balance(), Balance{ConfirmedSat: sum})
		})
	}
}

// A payment that was confirmed is replaced by another spend of the same coin, and then comes back.
func TestCoinsVanishInReorgAndComeBack(t *testing.T) {
	for _, depth := range []int{2, 3, 6} {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			payer, payee := start(t, config(t)), start(t, config(t))
			op := payer.funded(100_000)[0]
			pay := payer.pays(mustAddress(t, payee), 40_000)
			other := payer.doubleSpend(op)
			payer.mine(depth)
			payee.sync()
			want(t, "paid", payee.balance(), Balance{ConfirmedSat: 40_000})

			fork(t, depth, append([][]*wire.MsgTx{{other}}, empty(depth)...)...)
			payee.sync()
			payer.sync()
			payee.eventually("vanished", func() bool { return payee.balance() == Balance{} })
			payer.eventually("vanished", func() bool { return payer.balance() == Balance{} })
			_, err := payee.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, 1000, LeaseID{1}, 1)
			wantCode(t, err, code.NotEnoughCoins)

			fork(t, depth+1, append([][]*wire.MsgTx{{pay}}, empty(depth+1)...)...)
			payee.sync()
			payer.sync()
			want(t, "back", payee.balance(), Balance{ConfirmedSat: 40_000})
			want(t, "change", payer.balance(), Balance{ConfirmedSat: pay.TxOut[1].Value})
			share, err := payee.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, 1000, LeaseID{1}, 1)
			if err != nil {
				t.Fatal(err)
			}
			want(t, "spendable", share.Inputs[0].OutPoint, wire.OutPoint{Hash: pay.TxHash()})
		})
	}
}

// pays sends, and gives the transaction with the payment first.
func (l *live) pays(addr string, sat int64) *wire.MsgTx {
	l.t.Helper()
	tx, _, err := l.Send(context.Background(), addr, sat, 2000, false)
	if err != nil {
		l.t.Fatal(err)
	}
	return tx
}

// doubleSpend is another payment of the same coin, to a stranger, that nobody has seen yet.
func (l *live) doubleSpend(op wire.OutPoint) *wire.MsgTx {
	l.t.Helper()
	out, err := node.Client().GetRawTransaction(&op.Hash)
	if err != nil {
		l.t.Fatal(err)
	}
	spent := out.MsgTx().TxOut[op.Index]
	share := Share{Inputs: []Input{{OutPoint: op, Value: spent.Value, PkScript: spent.PkScript}}}
	tx, prevouts := build([]*wire.TxOut{foreignOutput(l.t, spent.Value-5_000)}, share)
	l.signed(tx, prevouts, share)
	return tx
}

// Blocks are replaced at every moment of a start, of a known wallet and of one that searches from its seed.
func TestReorgDuringStart(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		t.Run(fmt.Sprint("fresh=", fresh), func(t *testing.T) {
			l := start(t, config(t))
			sum := l.spread(3)
			l.stop()
			for ms := 0; ms <= 120; ms += 20 {
				cfg := l.cfg
				if fresh {
					cfg.Dir = t.TempDir()
				}
				forked := make(chan error, 1)
				go func() {
					time.Sleep(time.Duration(ms) * time.Millisecond)
					forked <- node.Reorg(3, 4)
				}()
				began := time.Now()
				w := start(t, cfg)
				if err := <-forked; err != nil {
					t.Fatal(err)
				}
				w.sync()
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("at %d ms: synced after %v", ms, took)
				}
				// The payments come again in the first new block.
				want(t, fmt.Sprintf("at %d ms", ms), w.balance(), Balance{ConfirmedSat: sum})
				w.stop()
			}
		})
	}
}

// A directory that an earlier version left with coins of lost blocks is mended at the next start.
func TestStaleRecordIsMended(t *testing.T) {
	l := start(t, config(t))
	sum := l.spread(1)
	l.mine(3)
	tx := l.recordIn(wtxmgr.Block{Height: l.height() - 1, Hash: chainhash.Hash{1}})
	if l.balance().ConfirmedSat != sum+tx.TxOut[0].Value {
		t.Fatalf("not damaged: %+v", l.balance())
	}
	l = l.restart()
	l.eventually("mended", func() bool { return l.balance() == Balance{ConfirmedSat: sum} })
}

// A record that mixes two blocks cannot be rolled back; the chain is searched anew.
func TestMixedRecordIsSearchedAnew(t *testing.T) {
	l := start(t, config(t))
	l.spread(1)
	l.recordIn(wtxmgr.Block{Height: l.height(), Hash: chainhash.Hash{1}})
	l.recordIn(wtxmgr.Block{Height: l.height(), Hash: chainhash.Hash{2}})
	fork(t, 2, empty(3)...)
	l.sync()
	l.mine(1)
	want(t, "after all", l.balance(), Balance{ConfirmedSat: 10_000})
	l = l.restart()
	want(t, "restarted", l.balance(), Balance{ConfirmedSat: 10_000})
}

func (l *live) height() int32 {
	h, _ := l.Status()
	return h
}

// recordIn writes a payment that is in no real block into the record of transactions.
func (l *live) recordIn(at wtxmgr.Block) *wire.MsgTx {
	l.t.Helper()
	_, script, err := l.NewAddress()
	if err != nil {
		l.t.Fatal(err)
	}
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Hash: chainhash.Hash(random(l.t, 32))}, nil, nil))
	tx.AddTxOut(wire.NewTxOut(7_000, script))
	err = l.edit(func(e edit) error {
		rec, err := wtxmgr.NewTxRecordFromMsgTx(tx, time.Now())
		if err != nil {
			return err
		}
		meta := &wtxmgr.BlockMeta{Block: at, Time: time.Now()}
		return errors.Join(e.in.TxStore.InsertTx(e.txs, rec, meta), e.in.TxStore.AddCredit(e.txs, rec, meta, 0, false))
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return tx
}

// What a scan saw of two branches is noticed although its last block is right.
func TestScanOfTwoBranchesIsNotTrusted(t *testing.T) {
	l := start(t, config(t))
	sum := l.spread(2)
	lower := l.height() - 1
	l.stop()
	w, err := Open(l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = w.edit(func(e edit) error {
		top := e.in.Manager.SyncedTo()
		stamp := waddrmgr.BlockStamp{Height: lower, Hash: chainhash.Hash{9}, Timestamp: top.Timestamp}
		return errors.Join(e.in.Manager.SetSyncedTo(e.addrs, &stamp),
			e.in.Manager.SetSyncedTo(e.addrs, &top), e.in.TxStore.Rollback(e.txs, lower))
	})
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	l = start(t, l.cfg)
	want(t, "found again", l.balance(), Balance{ConfirmedSat: sum})
}
