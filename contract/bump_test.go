package contract

import (
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/usage"
)

// stuck is a relay whose settlement no miner takes, told of blocks with a fee rate.
func (w *world) stuck(rate uint64) {
	w.t.Helper()
	b := w.chain.mine(func(*wire.MsgTx) bool { return false })
	w.do(w.relay, BlockConnected{Height: w.chain.tip(), Hash: b.hash(), Txs: b.txs, Key: w.relay.key, FeeRate: rate, Stamp: w.stamp()})
}

// packageRate is what the settlement and its children pay together, in sat per 1,000 vB.
func (w *world) packageRate() uint64 {
	w.t.Helper()
	var fee, size int64
	for _, tx := range w.chain.pool {
		f, err := w.chain.fee(tx)
		if err != nil {
			w.t.Fatalf("%v", err)
		}
		fee, size = fee+f, size+vsize(tx)
	}
	return uint64(fee * 1000 / size)
}

// TestFault21StuckFees: the ladder climbs, then a child of the relay's output pays for both, up to
// half of the payment and never beyond.
func TestFault21StuckFees(t *testing.T) {
	w := active(t)
	w.pay(60_000)
	w.mineTo(w.relay.c.Terms().SettleFrom() - 1)
	w.stuck(1_000)
	if len(w.chain.pool) != 1 || w.packageRate() != 1_000 {
		t.Fatalf("%d transactions at %d: nothing presses", len(w.chain.pool), w.packageRate())
	}
	w.stuck(30_000) // the estimate is above the highest tier, but it is early
	if len(w.chain.pool) != 1 || w.packageRate() != 1_000 {
		t.Fatalf("%d transactions at %d: there is time", len(w.chain.pool), w.packageRate())
	}
	w.stuck(30_000)
	if len(w.chain.pool) != 2 || w.packageRate() < 29_900 || w.packageRate() > 30_100 {
		t.Fatalf("%d transactions at %d, wanted a package at 30000", len(w.chain.pool), w.packageRate())
	}
	first := w.relay.c.acts.bumpFee
	w.stuck(31_000)
	if w.relay.c.acts.bumpFee != first {
		t.Fatal("a replacement that nodes refuse")
	}
	w.stuck(60_000)
	if w.relay.c.acts.bumpFee < first*3/2 || w.packageRate() < 59_900 {
		t.Fatalf("no climb: %d after %d, %d", w.relay.c.acts.bumpFee, first, w.packageRate())
	}
	w.stuck(500_000)
	if spent := w.relay.c.acts.bumpFee + FeeFor(16_000, settleWeight); spent != 30_000 {
		t.Fatalf("%d of 60000 sat go to miners, the budget is half", spent)
	}
	w.mine(1)
	w.wantStates(StateSettled, StateSettled)
	s, _, _ := w.relay.c.Spend()
	if got := w.paidTo(w.relay); got != 30_000 || w.bumped(s.TxID)+s.Fee != 30_000 {
		t.Fatalf("the relay has %d", got)
	}
}

// TestBumpNeedsWhatItCosts: a payment that cannot bear a child gets none.
func TestBumpNeedsWhatItCosts(t *testing.T) {
	for _, paid := range []usage.Sat{1_600, 1_700, 2_000} {
		w := active(t)
		if paid > 1_600 {
			w.pay(paid)
		}
		w.mineTo(w.relay.c.Terms().SettleFrom() - 1)
		for range 7 {
			w.stuck(400_000)
		}
		fee := w.relay.c.acts.bumpFee
		tier := w.relay.c.acts.settleTier
		spent := fee + FeeFor(1_000*tierFactor[tier], settleWeight)
		if fee > 0 && spent > paid/2 || paid-spent < dustLimit {
			t.Fatalf("paid %d: tier %d, child %d", paid, tier, fee)
		}
	}
}

// bump is the relay's wallet: it signs the child and gives it to the node.
func (w *world) bump(e SignBump) {
	w.t.Helper()
	fetch := txscript.NewCannedPrevOutputFetcher(e.Prevout.PkScript, e.Prevout.Value)
	hashes := txscript.NewTxSigHashes(e.Tx, fetch)
	witness, err := txscript.TaprootWitnessSignature(e.Tx, hashes, 0, e.Prevout.Value, e.Prevout.PkScript, txscript.SigHashDefault, seedKey("relay payout"))
	if err != nil {
		w.t.Fatalf("wallet: %v", err)
	}
	e.Tx.TxIn[0].Witness = witness
	if e.Tx.TxIn[0].PreviousOutPoint.Hash != e.Parent.TxHash() {
		w.t.Fatalf("a child of another transaction")
	}
	_ = w.chain.accept(e.Tx)
}

// bumped is what confirmed children of a settlement paid to miners out of the relay's output.
func (w *world) bumped(settlement chainhash.Hash) usage.Sat {
	var sum usage.Sat
	for _, b := range w.chain.blocks {
		for _, tx := range b.txs {
			if tx.TxIn[0].PreviousOutPoint.Hash == settlement && sameScript(tx.TxOut[0].PkScript, w.relay.c.terms.RelayScript) {
				sum += usage.Sat(w.valueOf(tx.TxIn[0].PreviousOutPoint)) - outputSum(tx)
			}
		}
	}
	return sum
}

// valueOf is the value of an output in a block, spent or not.
func (w *world) valueOf(op wire.OutPoint) int64 {
	for _, b := range w.chain.blocks {
		for _, tx := range b.txs {
			if tx.TxHash() == op.Hash {
				return tx.TxOut[op.Index].Value
			}
		}
	}
	return 0
}

func vsize(tx *wire.MsgTx) int64 { return (weight(tx) + 3) / 4 }

func weight(tx *wire.MsgTx) int64 {
	return 3*int64(tx.SerializeSizeStripped()) + int64(tx.SerializeSize())
}
