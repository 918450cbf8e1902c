package chaintest

import (
	"errors"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

func someOutPoint(n byte) wire.OutPoint { return wire.OutPoint{Hash: chainhash.Hash{n}} }

// lightRefuses wants a light client to say that it cannot know, rather than to guess.
func (x *bench) lightRefuses(t *testing.T, op wire.OutPoint, tx *wire.MsgTx) {
	t.Helper()
	_, outErr := x.b.TxOut(t.Context(), op, false)
	_, poolErr := x.b.TxOut(t.Context(), op, true)
	_, spendErr := x.b.Spending(t.Context(), op)
	_, _, txErr := x.b.Tx(t.Context(), op.Hash)
	for _, err := range []error{outErr, poolErr, spendErr, txErr, x.b.TestAccept(t.Context(), tx)} {
		if code.Of(err) != code.LightClient {
			t.Errorf("got %v", err)
		}
	}
}

// coins: what is unspent, in blocks and in the mempool.
func (x *bench) coins(t *testing.T) {
	p := NewPerson(t)
	op := Fund(t, x.node, p, 50_000)
	spend := p.Spend(t, op, 50_000, 0, p.Pay(40_000))
	if x.Light {
		x.lightRefuses(t, op, spend)
		return
	}
	out := func(op wire.OutPoint, mempool bool) *chain.TxOut {
		t.Helper()
		out, err := x.b.TxOut(t.Context(), op, mempool)
		Check(t, err)
		return out
	}
	if out(op, false) != nil {
		t.Error("an unconfirmed output counts without the mempool")
	}
	if o := out(op, true); o == nil || o.Value != 50_000 || string(o.PkScript) != string(p.Script) || o.Confirmations != 0 || o.Coinbase {
		t.Errorf("in the mempool: %+v", o)
	}
	Mine(t, x.node, 3)
	if o := out(op, false); o == nil || o.Confirmations != 3 {
		t.Errorf("confirmed: %+v", o)
	}
	if o := out(wire.OutPoint{Hash: op.Hash, Index: 77}, true); o != nil {
		t.Errorf("an output that does not exist: %+v", o)
	}
	if spender, err := x.b.Spending(t.Context(), op); err != nil || spender != nil {
		t.Fatalf("spender %v, %v", spender, err)
	}
	Check(t, x.b.Broadcast(t.Context(), spend))
	if spender, err := x.b.Spending(t.Context(), op); err != nil || spender == nil || *spender != spend.TxHash() {
		t.Errorf("spender %v, %v", spender, err)
	}
	if out(op, true) != nil {
		t.Error("the mempool spends it, and it counts")
	}
	if out(op, false) == nil {
		t.Error("no block spends it, and it does not count")
	}
	Mine(t, x.node, 1)
	if out(op, false) != nil || out(op, true) != nil {
		t.Error("spent in a block, and it counts")
	}
}

// coinbase: a block reward is named as one, and refused until it is mature.
func (x *bench) coinbase(t *testing.T) {
	if x.Light {
		t.Skip("a light client has no coins")
	}
	p := NewPerson(t)
	y := x.start(t, btcdnode.Options{Blocks: 99, MiningAddr: p.Addr})
	first, err := y.b.BlockAt(t.Context(), 1)
	Check(t, err)
	msg, _, err := y.b.Block(t.Context(), first)
	Check(t, err)
	op := wire.OutPoint{Hash: msg.Transactions[0].TxHash()}
	out, err := y.b.TxOut(t.Context(), op, true)
	Check(t, err)
	if out == nil || !out.Coinbase || out.Confirmations != 99 {
		t.Fatalf("reward: %+v", out)
	}
	spend := p.Spend(t, op, out.Value, 0, p.Pay(out.Value-1000))
	Rejected(t, y.b.TestAccept(t.Context(), spend), "")
	Mine(t, y.node, 1)
	Check(t, y.b.TestAccept(t.Context(), spend))
}

// broadcast may be repeated at any time, and is a success as long as the node has
// the transaction.
func (x *bench) broadcast(t *testing.T) {
	p := NewPerson(t)
	op := Fund(t, x.node, p, 50_000)
	tx := p.Spend(t, op, 50_000, 0, p.Pay(40_000))
	again := func(when string) {
		t.Helper()
		for range 2 {
			if err := errors.Join(x.b.Broadcast(t.Context(), tx), x.accepts(t, tx)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	x.confirmations(t, tx, false, 0)
	again("in the mempool")
	if !inPool(t, x.node, tx.TxHash()) {
		t.Error("it is not in the mempool")
	}
	x.confirmations(t, tx, true, 0)
	Mine(t, x.node, 2)
	Level(t, x.b, x.node)
	again("in a block")
	x.confirmations(t, tx, true, 2)
	spend := p.Spend(t, wire.OutPoint{Hash: tx.TxHash()}, 40_000, 0, p.Pay(30_000))
	Check(t, x.b.Broadcast(t.Context(), spend))
	if !inPool(t, x.node, spend.TxHash()) {
		t.Error("its child is not in the mempool")
	}
	Mine(t, x.node, 1)
	Level(t, x.b, x.node)
	again("in a block, with its outputs spent")

	other := x.Open(t, x.node) // one that has not seen it yet
	defer x.Close(other)
	Level(t, other, x.node)
	Check(t, other.Broadcast(t.Context(), tx))
}

// accepts asks a full node whether it would take the transaction.
func (x *bench) accepts(t *testing.T, tx *wire.MsgTx) error {
	if x.Light {
		return nil
	}
	return x.b.TestAccept(t.Context(), tx)
}

func (x *bench) confirmations(t *testing.T, tx *wire.MsgTx, known bool, want uint32) {
	t.Helper()
	if x.Light {
		return
	}
	got, n, err := x.b.Tx(t.Context(), tx.TxHash())
	if err != nil || (got != nil) != known || n != want || known && got.WitnessHash() != tx.WitnessHash() {
		t.Errorf("got %v with %d confirmations, %v", got, n, err)
	}
}

// refusals come with the node's reason. A light client hears them only from peers
// that say so, and not of a parent that is missing.
func (x *bench) refusals(t *testing.T) {
	p := NewPerson(t)
	op := Fund(t, x.node, p, 50_000)
	Mine(t, x.node, 1)
	height := Level(t, x.b, x.node).Height
	badSig := p.Spend(t, op, 50_000, 0, p.Pay(40_000))
	badSig.TxIn[0].Witness[0][5] ^= 1
	for reason, tx := range map[string]*wire.MsgTx{
		"failed to validate input": badSig,
		"dust":                     p.Spend(t, op, 50_000, 0, p.Pay(49_000), p.Pay(329)),
		"not finalized":            p.Spend(t, op, 50_000, height+1, p.Pay(40_000)),
		"":                         wire.NewMsgTx(2),
	} {
		Rejected(t, x.b.Broadcast(t.Context(), tx), "")
		if !x.Light {
			Rejected(t, x.b.TestAccept(t.Context(), tx), reason)
		}
	}
	if x.Light {
		return
	}
	for reason, tx := range map[string]*wire.MsgTx{
		"insufficient priority": p.Spend(t, op, 50_000, 0, p.Pay(49_999)),
		"missing-inputs":        p.Spend(t, wire.OutPoint{Hash: op.Hash, Index: 9}, 50_000, 0, p.Pay(40_000)),
	} {
		Rejected(t, x.b.Broadcast(t.Context(), tx), "")
		Rejected(t, x.b.TestAccept(t.Context(), tx), reason)
	}
	Check(t, x.b.TestAccept(t.Context(), p.Spend(t, op, 50_000, height, p.Pay(40_000)))) // lock time at the tip's height
}

// doubleSpend: a cheaper one is refused, a dearer one replaces, and a block decides.
func (x *bench) doubleSpend(t *testing.T) {
	p := NewPerson(t)
	op := Fund(t, x.node, p, 50_000)
	Mine(t, x.node, 1)
	Level(t, x.b, x.node)
	first := p.Spend(t, op, 50_000, 0, p.Pay(40_000))
	cheaper := p.Spend(t, op, 50_000, 0, p.Pay(41_000))
	dearer := p.Spend(t, op, 50_000, 0, p.Pay(30_000))
	Check(t, x.b.Broadcast(t.Context(), first))
	Rejected(t, x.b.Broadcast(t.Context(), cheaper), "")
	Check(t, x.b.Broadcast(t.Context(), dearer)) // both said they may be replaced
	if inPool(t, x.node, first.TxHash()) || !inPool(t, x.node, dearer.TxHash()) {
		t.Error("the dearer one has not replaced the first")
	}
	if x.Light {
		return
	}
	Mine(t, x.node, 1)
	Rejected(t, x.b.TestAccept(t.Context(), first), "")
	Rejected(t, x.b.Broadcast(t.Context(), first), "")
}
