package runner_test

import (
	"context"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
	"relaymarket/internal/wallet"
	"relaymarket/usage"
)

// Transactions that do not get into blocks, on a real node.

// until makes empty blocks up to a height: whatever waits in the mempool waits on.
func (p *pair) until(h usage.Height) {
	p.t.Helper()
	for p.relay.r.Tip() < h {
		_, err := p.node.MineEmpty(1)
		check(p.t, err)
		p.level(p.client, p.relay)
	}
}

func feeOf(tx *wire.MsgTx) usage.Sat {
	fee := usage.Sat(100_000)
	for _, o := range tx.TxOut {
		fee -= usage.Sat(o.Value)
	}
	return fee
}

// payoutOf is the relay's output of a settlement: the last.
func payoutOf(tx *wire.MsgTx) wire.OutPoint {
	return wire.OutPoint{Hash: tx.TxHash(), Index: uint32(len(tx.TxOut) - 1)}
}

// TestFault18SettlementClimbs: as long as no block takes the settlement, the relay pays more, in three steps; then
// a child of its own output does. Two blocks before E both are in the chain.
func TestFault18SettlementClimbs(t *testing.T) {
	p := newPair(t)
	c := p.shortly()
	id, escrow, terms := c.ID(), c.Summary().Escrow, c.Terms()
	p.pay(id, 40_000)
	var last chainhash.Hash
	var tx *wire.MsgTx
	for i, factor := range []uint64{1, 4, 16} {
		p.until(terms.SettleFrom() + usage.Height(2*i))
		tx = p.pooled(escrow, last)
		if want := contract.FeeFor(2000*factor, 816); feeOf(tx) != want {
			t.Fatalf("step %d pays %d sat, not %d", i, feeOf(tx), want)
		}
		last = tx.TxHash()
		if p.isPooled(payoutOf(tx)) {
			t.Fatalf("a child at step %d", i)
		}
	}
	p.until(terms.Expiry - 1)
	child := p.pooled(payoutOf(tx), chainhash.Hash{})
	p.mineWith(tx, child)
	p.both(id, contract.StateSettled)
	p.booked(id, contract.SpendSettlement, 60_000)
	p.mine(1)
}

// fullPool is a node with so full a mempool that it takes nothing below a fee rate, unless a child pays for it.
type fullPool struct {
	chain.Backend
	rate int64 // sat per 1,000 vB
}

func (f fullPool) FeeRate(context.Context, int) (int64, error) { return f.rate, nil }

func (f fullPool) fees(ctx context.Context, txs ...*wire.MsgTx) (fee, size int64) {
	made := map[chainhash.Hash]*wire.MsgTx{}
	for _, tx := range txs {
		made[tx.TxHash()] = tx
		size += vsizeOf(tx)
		for _, in := range tx.TxIn {
			op := in.PreviousOutPoint
			if parent := made[op.Hash]; parent != nil {
				fee += parent.TxOut[op.Index].Value
			} else if out, err := f.TxOut(ctx, op, false); err == nil && out != nil {
				fee += out.Value
			}
		}
		for _, o := range tx.TxOut {
			fee -= o.Value
		}
	}
	return fee, size
}

func (f fullPool) Broadcast(ctx context.Context, tx *wire.MsgTx) error {
	return f.BroadcastPackage(ctx, []*wire.MsgTx{tx})
}

func (f fullPool) BroadcastPackage(ctx context.Context, txs []*wire.MsgTx) error {
	if fee, size := f.fees(ctx, txs...); fee*1000 < f.rate*size {
		return code.New(code.ChainRejected, "mempool min fee not met, %d for %d vB", fee, size)
	}
	for _, tx := range txs {
		if err := f.Backend.Broadcast(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// TestFault21StuckFees: the mempool asks for more than the highest step of the settlement gives. It goes in together with
// a child that pays for both, as soon as the first third of the time is over, within the budget.
func TestFault21StuckFees(t *testing.T) {
	p := newPair(t)
	c := p.shortly()
	id, escrow, terms := c.ID(), c.Summary().Escrow, c.Terms()
	p.pay(id, 60_000)
	p.relay.stop()
	p.relay.view = func(b chain.Backend) chain.Backend { return fullPool{b, 40_000} }
	p.relay.startUp()
	p.until(terms.SettleFrom() + 1)
	if p.isPooled(escrow) {
		t.Fatal("the settlement is in the mempool alone")
	}
	p.until(terms.SettleFrom() + 2)
	tx := p.pooled(escrow, chainhash.Hash{})
	child := p.pooled(payoutOf(tx), chainhash.Hash{})
	paid := feeOf(tx) + usage.Sat(tx.TxOut[len(tx.TxOut)-1].Value-child.TxOut[0].Value)
	if rate := int64(paid) * 1000 / (vsizeOf(tx) + vsizeOf(child)); rate < 40_000 || paid > 30_000 {
		t.Fatalf("both pay %d sat, %d per 1,000 vB", paid, rate)
	}
	p.mineWith(tx, child)
	p.both(id, contract.StateSettled)
	p.booked(id, contract.SpendSettlement, 40_000)
	p.mine(1)
}

// TestFault19NoPinningByTheClient: a child of the client's output of an unconfirmed settlement would have to be paid for by
// whoever replaces the settlement. Its output is locked for a block, so that the node takes no such child, and the next step
// of the settlement costs what it costs.
func TestFault19NoPinningByTheClient(t *testing.T) {
	p := newPair(t)
	c := p.shortly()
	id, escrow, terms := c.ID(), c.Summary().Escrow, c.Terms()
	p.pay(id, 40_000)
	p.until(terms.SettleFrom())
	tx := p.pooled(escrow, chainhash.Hash{})
	for _, sequence := range []uint32{0, 1, 0xFFFFFFFD} {
		_, err := p.node.Client().SendRawTransaction(p.pin(c, tx, sequence), true)
		if err == nil || sequence == 1 && !strings.Contains(err.Error(), "sequence locks") {
			t.Fatalf("a child with sequence %d of the unconfirmed settlement: %v", sequence, err)
		}
	}
	p.until(terms.SettleFrom() + 2)
	bumped := p.pooled(escrow, tx.TxHash())
	if feeOf(bumped) != 4*feeOf(tx) {
		t.Fatalf("the next step pays %d sat after %d", feeOf(bumped), feeOf(tx))
	}
	p.mineWith(bumped)
	p.both(id, contract.StateSettled)
	p.mine(1)
}

// pin is a large child of the client's output of a settlement.
func (p *pair) pin(c contract.Contract, parent *wire.MsgTx, sequence uint32) *wire.MsgTx {
	p.t.Helper()
	params := must(runner.Params(identity.Regtest))(p.t)
	key := must(wallet.ContractKey(p.client.seed, params, c.Nonce(), wallet.RoleClient))(p.t)
	leaf := txscript.NewBaseTapLeaf(must(txscript.NewScriptBuilder().AddData(schnorr.SerializePubKey(key.PubKey())).AddOp(txscript.OP_CHECKSIGVERIFY).
		AddInt64(1).AddOp(txscript.OP_CHECKSEQUENCEVERIFY).Script())(p.t))
	nobody := must(btcec.ParsePubKey(append([]byte{2}, nothingUpMySleeve...)))(p.t)
	tree := txscript.AssembleTaprootScriptTree(leaf)
	root := tree.RootNode.TapHash()
	script := must(txscript.PayToTaprootScript(txscript.ComputeTaprootOutputKey(nobody, root[:])))(p.t)
	if string(script) != string(parent.TxOut[0].PkScript) {
		p.t.Fatal("the settlement's first output is not the client's")
	}
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Hash: parent.TxHash()}, Sequence: sequence})
	for range 60 {
		tx.AddTxOut(wire.NewTxOut(500, c.Terms().ClientScript))
	}
	out := parent.TxOut[0]
	fetch := txscript.NewCannedPrevOutputFetcher(out.PkScript, out.Value)
	sig := must(txscript.RawTxInTapscriptSignature(tx, txscript.NewTxSigHashes(tx, fetch), 0, out.Value, out.PkScript, leaf, txscript.SigHashDefault, key))(p.t)
	proof := tree.LeafMerkleProofs[0].ToControlBlock(nobody)
	tx.TxIn[0].Witness = wire.TxWitness{sig, leaf.Script, must(proof.ToBytes())(p.t)}
	return tx
}

// nothingUpMySleeve is the point without a known key of BIP341.
var nothingUpMySleeve = []byte{
	0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e,
	0x07, 0x8a, 0x5a, 0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
}

// TestFault20FundingPinnedByItsChange: a large child of the funding's change makes the funding dear to replace. Nothing is
// urgent: cancelling is refused by the node, and a block decides.
func TestFault20FundingPinnedByItsChange(t *testing.T) {
	p := newPair(t)
	c := p.open()
	funding := c.FundingTx()
	change := wire.OutPoint{Hash: funding.TxHash(), Index: 1}
	pin := wire.NewMsgTx(2)
	pin.AddTxIn(&wire.TxIn{PreviousOutPoint: change, Sequence: 0xFFFFFFFD})
	for range 300 {
		pin.AddTxOut(wire.NewTxOut(1200, funding.TxOut[1].PkScript))
	}
	pin.TxIn[0].Witness = must(p.client.wallet.SignChild(pin, funding))(t)
	_, err := p.node.Client().SendRawTransaction(pin, true)
	check(t, err)
	if _, err := p.client.r.Cancel(t.Context(), c.ID(), 10_000); code.Of(err) != code.ChainRejected {
		t.Fatalf("the pinned funding is replaced: %v", err)
	}
	p.mineWith(funding, pin)
	p.mine(1)
	p.both(c.ID(), contract.StateActive)
	p.pay(c.ID(), 5000)
	p.closesFor(c.ID(), 5000)
}
