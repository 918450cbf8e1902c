package runner_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/testnet/btcdnode"
	"relaymarket/usage"
)

// shared is a node for the tests that leave it in order: starting one takes longer than they do.
var shared sharedNode

type sharedNode struct {
	once sync.Once
	node *btcdnode.Node
	err  error
}

// start starts the node for the first test that needs it.
func (s *sharedNode) start(t *testing.T) {
	t.Helper()
	s.once.Do(func() { s.node, s.err = btcdnode.Start(t.Context(), btcdnode.Options{Blocks: 150}) })
	check(t, s.err)
}

// clear mines what earlier tests have left in the mempool.
func (s *sharedNode) clear(t *testing.T) {
	t.Helper()
	for range 3 {
		if left, err := s.node.Client().GetRawMempool(); err != nil || len(left) == 0 {
			check(t, err)
			return
		}
		_, err := s.node.Mine(1)
		check(t, err)
	}
	t.Fatal("the node does not mine what it has")
}

func TestMain(m *testing.M) {
	result := m.Run()
	if shared.node != nil {
		_ = shared.node.Stop()
	}
	os.Exit(result)
}

// newPair is a pair on the shared node, in whose mempool nothing waits.
func newPair(t *testing.T) *pair {
	t.Helper()
	shared.start(t)
	shared.clear(t)
	return newPairOn(t, shared.node)
}

func must[T any](x T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return x
	}
}

// level waits until the sides have handled the node's last block.
func (p *pair) level(sides ...*side) {
	p.t.Helper()
	hash, height, err := p.node.Tip()
	check(p.t, err)
	for _, s := range sides {
		for i := 0; s.r.Health().Last.Hash != hash; i++ {
			if i == 2000 {
				p.t.Fatalf("%v: at height %d of %d", s.role, s.r.Tip(), height)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// mineWith makes a block of these transactions and no others.
func (p *pair) mineWith(txs ...*wire.MsgTx) {
	p.t.Helper()
	_, err := p.node.MineWith(txs...)
	check(p.t, err)
	p.level(p.client, p.relay)
}

// shortly opens a contract of 30 blocks.
func (p *pair) shortly() contract.Contract {
	p.t.Helper()
	o := p.opening()
	o.Duration = 30
	return p.openedAs(o)
}

func (p *pair) openedAs(o runner.Opening) contract.Contract {
	p.t.Helper()
	c, err := p.client.r.Open(p.t.Context(), o, p.exchange)
	check(p.t, err)
	p.mine(2)
	p.relay.wait(c.ID(), contract.StateActive)
	return p.client.wait(c.ID(), contract.StateActive)
}

// pooled waits for the transaction of the node's mempool that spends an output; nil of was is one that it is not.
func (p *pair) pooled(op wire.OutPoint, not chainhash.Hash) *wire.MsgTx {
	p.t.Helper()
	for range 400 {
		got, err := p.node.Client().GetTxSpendingPrevOut([]wire.OutPoint{op})
		if err == nil && len(got) == 1 && got[0].SpendingTxid != "" && got[0].SpendingTxid != not.String() {
			id := must(chainhash.NewHashFromStr(got[0].SpendingTxid))(p.t)
			return must(p.node.Client().GetRawTransaction(id))(p.t).MsgTx()
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("nothing spends %s", op)
	return nil
}

// isPooled tells whether the node's mempool has a spend of an output.
func (p *pair) isPooled(op wire.OutPoint) bool {
	p.t.Helper()
	got := must(p.node.Client().GetTxSpendingPrevOut([]wire.OutPoint{op}))(p.t)
	return len(got) == 1 && got[0].SpendingTxid != ""
}

// both waits for a state on both sides.
func (p *pair) both(id usage.ContractID, want contract.State) {
	p.t.Helper()
	p.client.wait(id, want)
	p.relay.wait(id, want)
}

// booked checks that both have booked the same, all of V, and this for the client.
func (p *pair) booked(id usage.ContractID, kind contract.SpendKind, client usage.Sat) {
	p.t.Helper()
	a, _, _ := must(p.client.r.Contract(id))(p.t).Spend()
	b, _, _ := must(p.relay.r.Contract(id))(p.t).Spend()
	if a != b || a.Kind != kind || a.Client != client || a.Client+a.Relay+a.Fee != 100_000 {
		p.t.Fatalf("%+v and %+v", a, b)
	}
}

// TestFault09FundingReplaced: the client replaces its unconfirmed funding by a transaction with the same escrow, but
// another id. The contract is void, and nothing binds the sides to the look-alike.
func TestFault09FundingReplaced(t *testing.T) {
	p := newPair(t)
	c := p.open()
	prevouts := map[wire.OutPoint]*wire.TxOut{}
	var own []wire.OutPoint
	for _, coin := range c.Coins() {
		prevouts[coin.OutPoint] = wire.NewTxOut(int64(coin.Value), coin.Script)
		own = append(own, coin.OutPoint)
	}
	other := c.FundingTx()
	other.TxOut[1].Value -= 2000 // of the change, to the miners
	witnesses := must(p.client.wallet.SignOwn(other, prevouts, own))(t)
	for _, in := range other.TxIn {
		in.Witness = witnesses[in.PreviousOutPoint]
	}
	_, err := p.node.Client().SendRawTransaction(other, true)
	check(t, err)
	for range 3 {
		p.mine(1)
		if r := must(p.relay.r.Contract(c.ID()))(t); r.Service() {
			t.Fatalf("the relay serves on a look-alike: %s", r.State())
		}
	}
	p.both(c.ID(), contract.StateFailed)
	if _, err := p.relay.r.Settle(t.Context(), c.ID()); err == nil || p.isPooled(wire.OutPoint{Hash: other.TxHash()}) {
		t.Fatal("the relay settles from an escrow that is not the contract's")
	}
}

// TestFault12SettlementReorgedOut: what was settled is closing again, is broadcast again, and closes at depth. Blocks are
// made by hand: btcd's miner does not end when its mempool holds the sweep, which is locked for a block, beside its parent.
func TestFault12SettlementReorgedOut(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	id, escrow := c.ID(), c.Summary().Escrow
	p.pay(id, 9000)
	_, err := p.relay.r.Settle(t.Context(), id)
	check(t, err)
	settlement := p.pooled(escrow, chainhash.Hash{})
	p.mineWith(settlement)
	p.both(id, contract.StateSettled)

	check(t, p.node.Fork(1, nil, nil))
	p.level(p.client, p.relay)
	p.both(id, contract.StateClosing)
	p.pooled(escrow, chainhash.Hash{})
	p.mineWith(settlement)
	p.both(id, contract.StateSettled)
	sp, _, _ := must(p.client.r.Contract(id))(t).Spend()
	p.mineWith(p.pooled(wire.OutPoint{Hash: sp.TxID, Index: sp.Locked}, chainhash.Hash{}))
	if got := must(p.relay.r.Contract(id))(t); got.State() != contract.StateSettled {
		t.Fatalf("%s before it is deep", got.State())
	}
	p.mineWith()
	p.mineWith()
	p.both(id, contract.StateClosed)
	p.booked(id, contract.SpendSettlement, 91_000)
}

// TestFault13ReorgAcrossE: the refund is due at E, is not when the chain falls back below, and is again.
func TestFault13ReorgAcrossE(t *testing.T) {
	p := newPair(t)
	c := p.shortly()
	id, escrow := c.ID(), c.Summary().Escrow
	p.relay.stop()
	for p.client.r.Tip() < c.Terms().Expiry {
		p.mineFor(1, p.client)
	}
	p.client.wait(id, contract.StateRefunding)
	refund := p.pooled(escrow, chainhash.Hash{})

	check(t, p.node.Fork(2, nil))
	p.level(p.client)
	if _, err := p.client.r.Refund(t.Context(), id, 2000); code.Of(err) != code.NotDue {
		t.Fatalf("a refund at height %d of %d: %v", p.client.r.Tip(), c.Terms().Expiry, err)
	}
	if _, err := p.node.MineWith(refund); err == nil {
		t.Fatal("a block below E holds the refund")
	}
	_, err := p.node.MineEmpty(1)
	check(t, err)
	p.level(p.client)
	p.client.wait(id, contract.StateRefunding)
	_, err = p.node.MineWith(p.pooled(escrow, chainhash.Hash{}))
	check(t, err)
	_, err = p.node.MineEmpty(2)
	check(t, err)
	p.level(p.client)
	p.client.wait(id, contract.StateClosed)
	p.relay.startUp()
	p.relay.wait(id, contract.StateClosed)
	sp, _, _ := must(p.client.r.Contract(id))(t).Spend()
	p.booked(id, contract.SpendRefund, 100_000-sp.Fee)
}
