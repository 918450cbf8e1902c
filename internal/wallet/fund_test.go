package wallet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

const rate = 2000 // sat/kvB

// Two wallets fund one transaction with an escrow output, as a contract does.
func TestJointFunding(t *testing.T) {
	client, relay := start(t, config(t)), start(t, config(t))
	client.funded(60_000, 60_000)
	relay.funded(30_000)
	client.sync()
	escrow, collateral := foreignOutput(t, 100_000), foreignOutput(t, 20_000)

	c, err := client.FundShare(0, []*wire.TxOut{escrow}, rate, LeaseID{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.Fund(FundRequest{Outputs: []*wire.TxOut{collateral}, FeeRate: rate, Lease: LeaseID{1}, NoCommon: true})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "client's weight", c.WeightWU, 42+2*230+172+172)
	want(t, "client's fee", c.FeeSat, (c.WeightWU+3)/4*rate/1000)
	want(t, "relay's weight", r.WeightWU, 230+172+172)

	tx, prevouts := build([]*wire.TxOut{escrow, collateral}, c, r)
	client.signed(tx, prevouts, c)
	relay.signed(tx, prevouts, r)
	for i, in := range tx.TxIn {
		if len(in.Witness) != 1 || len(in.Witness[0]) != 64 {
			t.Fatalf("input %d: witness %x", i, in.Witness)
		}
	}
	accepted(t, tx)
	// A third party publishes it; both wallets see their change.
	if _, err := node.Client().SendRawTransaction(tx, true); err != nil {
		t.Fatal(err)
	}
	client.eventually("change", func() bool { return client.balance() == Balance{UnconfirmedSat: c.ChangeSat} })
	client.mine(1)
	relay.sync()
	want(t, "client", client.balance(), Balance{ConfirmedSat: c.ChangeSat})
	want(t, "relay", relay.balance(), Balance{ConfirmedSat: r.ChangeSat})
}

func TestLeasesHold(t *testing.T) {
	l := start(t, config(t))
	ops := l.funded(50_000, 40_000)
	outs := []*wire.TxOut{foreignOutput(t, 30_000)}
	fund := func(id byte) (Share, error) { return l.FundShare(0, outs, rate, LeaseID{id}, 1) }
	must := func(id byte) Share {
		t.Helper()
		s, err := fund(id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	one := must(1)
	want(t, "smallest that suffices", one.Inputs[0].OutPoint, ops[1])
	want(t, "change", string(must(1).ChangeScript), string(one.ChangeScript))
	want(t, "same request, same coin", must(1).Inputs[0].OutPoint, ops[1])
	want(t, "another id, another coin", must(2).Inputs[0].OutPoint, ops[0])
	want(t, "balance", l.balance(), Balance{LeasedSat: 90_000})
	_, err := fund(3)
	wantCode(t, err, code.NotEnoughCoins)
	if err := l.Lease(LeaseID{3}, ops, time.Time{}); !errors.Is(err, ErrLeased) {
		t.Fatalf("lease of a leased coin: %v", err)
	}

	l = l.restart()
	want(t, "after a restart", l.balance(), Balance{LeasedSat: 90_000})
	_, err = fund(3)
	wantCode(t, err, code.NotEnoughCoins)
	if err := l.Release(LeaseID{3}, ops); err != nil {
		t.Fatal(err)
	}
	want(t, "release by a stranger", l.balance(), Balance{LeasedSat: 90_000})
	if err := l.ReleaseAllExcept(map[wire.OutPoint]bool{ops[0]: true}); err != nil {
		t.Fatal(err)
	}
	leases, err := l.Leases()
	if err != nil || len(leases) != 1 || leases[0] != (Lease{ID: LeaseID{2}, OutPoint: ops[0]}) {
		t.Fatalf("leases: %v, %v", leases, err)
	}
	// The change address of the given-up contract is used again, not lost.
	want(t, "change address", string(must(4).ChangeScript), string(one.ChangeScript))
	if err := l.Release(LeaseID{4}, nil); err != nil {
		t.Fatal(err)
	}
	want(t, "released", l.balance(), Balance{ConfirmedSat: 40_000, LeasedSat: 50_000})
}

func TestLeaseEnds(t *testing.T) {
	cfg := config(t)
	now := time.Now()
	cfg.Now = func() time.Time { return now }
	l := start(t, cfg)
	ops := l.funded(20_000)
	if err := l.Lease(LeaseID{1}, ops, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	want(t, "held", l.balance(), Balance{LeasedSat: 20_000})
	now = now.Add(2 * time.Minute)
	want(t, "over", l.balance(), Balance{ConfirmedSat: 20_000})
	if err := l.Lease(LeaseID{2}, ops, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func TestAddressForAnID(t *testing.T) {
	l := start(t, config(t))
	get := func(id byte) string {
		t.Helper()
		addr, script, err := l.AddressFor(LeaseID{id})
		if err != nil || !l.Owns(script) {
			t.Fatal(addr, err)
		}
		return addr
	}
	first := get(1)
	want(t, "same id", get(1), first)
	if get(2) == first {
		t.Fatal("two ids have one address")
	}
	if err := l.Release(LeaseID{1}, nil); err != nil {
		t.Fatal(err)
	}
	want(t, "given to the next", get(3), first)
	script, err := l.ScriptOf(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Fund(context.Background(), script, 1000); err != nil {
		t.Fatal(err)
	}
	l.mine(1)
	if err := l.Release(LeaseID{3}, nil); err != nil {
		t.Fatal(err)
	}
	if get(4) == first {
		t.Fatal("an address that was paid is given out again")
	}
}

func TestNotEnoughCoinsSaysHowMuch(t *testing.T) {
	l := start(t, config(t))
	l.funded(10_000)
	_, err := l.FundShare(0, []*wire.TxOut{foreignOutput(t, 25_000)}, 1000, LeaseID{1}, 1)
	wantCode(t, err, code.NotEnoughCoins)
	// 42 + 230 + 172 weight units are 111 virtual bytes.
	want(t, "text", code.Text(err), "15111 sat are missing: 25111 sat needed with the fee, 10000 sat there")

	if err := l.Lease(LeaseID{9}, l.funded(50_000), time.Time{}); err != nil {
		t.Fatal(err)
	}
	_, err = l.FundShare(0, []*wire.TxOut{foreignOutput(t, 25_000)}, 1000, LeaseID{1}, 1)
	want(t, "text", code.Text(err), "15111 sat are missing: 25111 sat needed with the fee, 10000 sat there;"+
		" besides: 0 sat with too few confirmations, 50000 sat reserved, 0 sat immature")
	_, err = l.FundShare(0, []*wire.TxOut{foreignOutput(t, 5_000)}, 1000, LeaseID{1}, 3)
	wantCode(t, err, code.NotEnoughCoins)
	for _, bad := range []FundRequest{
		{Outputs: []*wire.TxOut{foreignOutput(t, 329)}, FeeRate: 1000},
		{Outputs: []*wire.TxOut{foreignOutput(t, -1)}, FeeRate: 1000},
		{AmountSat: -5, FeeRate: 1000},
	} {
		_, err := l.Fund(bad)
		wantCode(t, err, code.AmountTooSmall)
	}
	for _, r := range []int64{-1, 0, 999, 10_000_001} {
		_, err := l.Fund(FundRequest{AmountSat: 1000, FeeRate: r})
		wantCode(t, err, code.BadFeeRate)
	}
}

// A wallet made anew from the phrase while its last payment is unconfirmed must see the change.
func TestRecoveryWithUnconfirmedChange(t *testing.T) {
	l := start(t, config(t))
	l.funded(50_000)
	for range 30 {
		mustAddress(t, l)
	}
	l.funded(40_000)
	tx, fee, err := l.Send(context.Background(), mustAddress(t, l), 60_000, rate, false)
	if err != nil {
		t.Fatal(err)
	}
	cfg := l.cfg
	cfg.Dir = t.TempDir()
	twin := start(t, cfg)
	twin.eventually("the mempool", func() bool { return twin.balance() == Balance{UnconfirmedSat: 90_000 - fee} })
	for _, out := range tx.TxOut {
		if !twin.Owns(out.PkScript) {
			t.Errorf("not mine: %x", out.PkScript)
		}
	}
	l.mine(1)
	twin.sync()
	want(t, "mined", twin.balance(), Balance{ConfirmedSat: 90_000 - fee})
}

func TestSignOwnRefuses(t *testing.T) {
	l, other := start(t, config(t)), start(t, config(t))
	op := l.funded(50_000)[0]
	foreign := other.funded(50_000)[0]
	l.sync()
	out := foreignOutput(t, 40_000)
	share, err := l.FundShare(0, []*wire.TxOut{out}, rate, LeaseID{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	tx, prevouts := build([]*wire.TxOut{out}, share)
	mine := *prevouts[op]
	theirs := wire.NewTxOut(50_000, mine.PkScript)
	cases := map[string]func() (map[wire.OutPoint]*wire.TxOut, []wire.OutPoint){
		"no prevout":   func() (map[wire.OutPoint]*wire.TxOut, []wire.OutPoint) { return nil, []wire.OutPoint{op} },
		"not an input": func() (map[wire.OutPoint]*wire.TxOut, []wire.OutPoint) { return prevouts, []wire.OutPoint{foreign} },
		"another value": func() (map[wire.OutPoint]*wire.TxOut, []wire.OutPoint) {
			return map[wire.OutPoint]*wire.TxOut{op: wire.NewTxOut(60_000, mine.PkScript)}, []wire.OutPoint{op}
		},
		"another script": func() (map[wire.OutPoint]*wire.TxOut, []wire.OutPoint) {
			return map[wire.OutPoint]*wire.TxOut{op: wire.NewTxOut(50_000, out.PkScript)}, []wire.OutPoint{op}
		},
	}
	for name, c := range cases {
		p, own := c()
		if got, err := l.SignOwn(tx, p, own); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	stranger := tx.Copy()
	stranger.TxIn[0].PreviousOutPoint = foreign
	_, err = l.SignOwn(stranger, map[wire.OutPoint]*wire.TxOut{foreign: theirs}, []wire.OutPoint{foreign})
	if !errors.Is(err, ErrNotMine) {
		t.Errorf("a stranger's coin: %v", err)
	}
	if _, err := l.SignOwn(tx, prevouts, []wire.OutPoint{op}); err != nil || len(tx.TxIn[0].Witness) != 0 {
		t.Errorf("the good one: %v; tx changed: %v", err, tx.TxIn[0].Witness)
	}
}

// TestSignChild signs a child of a transaction that nobody has seen, and of nothing else.
func TestSignChild(t *testing.T) {
	cfg := config(t)
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, script, err := w.NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	parent := wire.NewMsgTx(2)
	parent.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: 1}, nil, nil))
	parent.AddTxOut(foreignOutput(t, 7_000))
	parent.AddTxOut(wire.NewTxOut(5_000, script))
	child := func(op wire.OutPoint, more ...wire.OutPoint) *wire.MsgTx {
		tx := wire.NewMsgTx(2)
		for _, op := range append(more, op) {
			tx.AddTxIn(wire.NewTxIn(&op, nil, nil))
		}
		tx.AddTxOut(wire.NewTxOut(4_000, script))
		return tx
	}
	mine := wire.OutPoint{Hash: parent.TxHash(), Index: 1}
	if got, err := w.SignChild(child(mine), parent); err != nil || len(got) != 1 || len(got[0]) != 64 {
		t.Errorf("%x, %v", got, err)
	}
	for name, op := range map[string]wire.OutPoint{
		"a foreign output": {Hash: parent.TxHash()}, "no output": {Hash: parent.TxHash(), Index: 2}, "another parent": {Index: 1},
	} {
		if _, err := w.SignChild(child(op), parent); !errors.Is(err, ErrNotMine) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.SignChild(child(mine, wire.OutPoint{Index: 3}), parent); err == nil {
		t.Error("a child with another input is signed")
	}
}

func TestSend(t *testing.T) {
	ctx := context.Background()
	l := start(t, config(t))
	l.funded(50_000, 20_000)
	to := foreignOutput(t, 0)
	_, addrs, _, err := txscript.ExtractPkScriptAddrs(to.PkScript, l.cfg.Params)
	if err != nil {
		t.Fatal(err)
	}
	addr := addrs[0].EncodeAddress()

	tx, fee, err := l.PrepareSend(ctx, addr, 10_000, rate, false)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "fee", fee, 154*rate/1000)
	accepted(t, tx)
	want(t, "prepared", l.balance(), Balance{ConfirmedSat: 50_000, LeasedSat: 20_000})
	if err := l.Discard(tx); err != nil {
		t.Fatal(err)
	}
	want(t, "discarded", l.balance(), Balance{ConfirmedSat: 70_000})

	if _, fee, err = l.Send(ctx, addr, 10_000, rate, false); err != nil {
		t.Fatal(err)
	}
	want(t, "sent", l.balance(), Balance{ConfirmedSat: 50_000, UnconfirmedSat: 10_000 - fee})
	l.mine(1)
	left := 60_000 - fee
	want(t, "mined", l.balance(), Balance{ConfirmedSat: left})

	tx, fee, err = l.Send(ctx, addr, 0, rate, true)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "everything", tx.TxOut[0].Value, left-fee)
	want(t, "one output", len(tx.TxOut), 1)
	l.mine(1)
	want(t, "empty", l.balance(), Balance{})
	_, _, err = l.Send(ctx, addr, 0, rate, true)
	wantCode(t, err, code.NotEnoughCoins)
}

func TestSendRefuses(t *testing.T) {
	ctx := context.Background()
	l := start(t, config(t))
	l.funded(50_000)
	own := mustAddress(t, l)
	for _, bad := range []string{
		"", "nonsense", own[:len(own)-1], own + "q",
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
		"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
	} {
		_, _, err := l.Send(ctx, bad, 1000, rate, false)
		wantCode(t, err, code.BadAddress)
	}
	for _, sat := range []int64{-1, 0, 329} {
		_, _, err := l.Send(ctx, own, sat, rate, false)
		wantCode(t, err, code.AmountTooSmall)
	}
	_, _, err := l.Send(ctx, own, 1000, rate, true)
	wantCode(t, err, code.AmountTooSmall)
	_, _, err = l.Send(ctx, own, 49_950, rate, false)
	wantCode(t, err, code.NotEnoughCoins)
	_, _, err = l.Send(ctx, own, 1000, 1, false)
	wantCode(t, err, code.BadFeeRate)

	tx, _, err := l.PrepareSend(ctx, own, 1000, rate, false)
	if err != nil {
		t.Fatal(err)
	}
	tx.TxIn[0].Witness[0][5] ^= 1
	wantCode(t, l.Publish(ctx, tx), code.ChainRejected)
	want(t, "nothing is lost", l.balance(), Balance{ConfirmedSat: 50_000})
}

func TestForget(t *testing.T) {
	l := start(t, config(t))
	l.funded(50_000)
	tx, _, err := l.Send(context.Background(), mustAddress(t, l), 20_000, rate, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Forget(tx); err != nil {
		t.Fatal(err)
	}
	want(t, "forgotten", l.balance(), Balance{ConfirmedSat: 50_000})
	// The node still knows who spends the coin, so it is not chosen.
	_, err = l.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, rate, LeaseID{1}, 1)
	wantCode(t, err, code.NotEnoughCoins)
	_, _, err = l.PrepareSend(context.Background(), mustAddress(t, l), 0, rate, true)
	wantCode(t, err, code.NotEnoughCoins)
	l.mine(1) // it confirms after all
	if b := l.balance(); b.ConfirmedSat >= 50_000 || b.ConfirmedSat < 49_000 {
		t.Fatalf("confirmed after all: %+v", b)
	}
	confirmed := l.balance()
	if err := l.Forget(tx); err != nil {
		t.Fatal(err)
	}
	want(t, "a confirmed one is not forgotten", l.balance(), confirmed)
}

func TestRewardsMature(t *testing.T) {
	cfg := config(t)
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	addr, _, err := w.NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	mine, err := btcdnode.Start(ctx, btcdnode.Options{MiningAddr: addr, Blocks: 99})
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Stop()
	cfg.RPC = RPC{Host: mine.RPCHost(), User: mine.RPCUser(), Pass: mine.RPCPass()}
	l := start(t, cfg)
	const reward = 50 * 100_000_000
	want(t, "young", l.balance(), Balance{ImmatureSat: 99 * reward})
	_, err = l.FundShare(0, []*wire.TxOut{foreignOutput(t, 1000)}, rate, LeaseID{1}, 1)
	wantCode(t, err, code.NotEnoughCoins)
	if _, err := mine.Mine(1); err != nil {
		t.Fatal(err)
	}
	l.sync()
	want(t, "the first is mature", l.balance(), Balance{ConfirmedSat: reward, ImmatureSat: 99 * reward})
	if _, _, err = l.Send(ctx, addr, 1000, rate, false); err != nil {
		t.Fatal(err)
	}
}
