package chaintest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/testnet/btcdnode"
)

// patience bounds every wait for what a backend must notice by itself.
const patience = 60 * time.Second

// Check ends the test at an error.
func Check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// StartNode runs a node for the length of a test.
func StartNode(t *testing.T, o btcdnode.Options) *btcdnode.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node, err := btcdnode.Start(ctx, o)
	Check(t, err)
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	return node
}

// Person has one taproot key and can spend what is paid to it.
type Person struct {
	key    *btcec.PrivateKey
	Script []byte
	Addr   string
}

// NewPerson makes a key.
func NewPerson(t *testing.T) *Person {
	t.Helper()
	key, err := btcec.NewPrivateKey()
	Check(t, err)
	output := txscript.ComputeTaprootKeyNoScript(key.PubKey())
	script, err := txscript.PayToTaprootScript(output)
	Check(t, err)
	addr, err := address.NewAddressTaproot(schnorr.SerializePubKey(output), &chaincfg.RegressionNetParams)
	Check(t, err)
	return &Person{key, script, addr.EncodeAddress()}
}

// Spend makes a signed transaction of one input. It signals that it may be
// replaced.
func (p *Person) Spend(t *testing.T, op wire.OutPoint, value int64, lockTime uint32, outs ...*wire.TxOut) *wire.MsgTx {
	t.Helper()
	tx := wire.NewMsgTx(2)
	tx.LockTime = lockTime
	in := wire.NewTxIn(&op, nil, nil)
	in.Sequence = 0xfffffffd
	tx.AddTxIn(in)
	for _, out := range outs {
		tx.AddTxOut(out)
	}
	prev := txscript.NewCannedPrevOutputFetcher(p.Script, value)
	sig, err := txscript.RawTxInTaprootSignature(tx, txscript.NewTxSigHashes(tx, prev), 0, value, p.Script,
		nil, txscript.SigHashDefault, p.key)
	Check(t, err)
	tx.TxIn[0].Witness = wire.TxWitness{sig}
	return tx
}

// Pay is an output to the person.
func (p *Person) Pay(sats int64) *wire.TxOut { return wire.NewTxOut(sats, p.Script) }

// Mine makes blocks.
func Mine(t *testing.T, node *btcdnode.Node, n int) {
	t.Helper()
	_, err := node.Mine(n)
	Check(t, err)
}

// Fund pays somebody from the node's own coins, without a block.
func Fund(t *testing.T, node *btcdnode.Node, p *Person, sats int64) wire.OutPoint {
	t.Helper()
	op, err := node.Fund(t.Context(), p.Script, sats)
	Check(t, err)
	return op
}

// Rejected wants a refusal with the node's reason in it.
func Rejected(t *testing.T, err error, reason string) {
	t.Helper()
	if code.Of(err) != code.ChainRejected || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want a refusal because of %q", err, reason)
	}
}

// Eventually waits for something that becomes true by itself.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Level waits until the backend shows the node's tip, and returns it.
func Level(t *testing.T, b chain.Backend, node *btcdnode.Node) chain.Block {
	t.Helper()
	var tip chain.Block
	hash, height, err := node.Tip()
	Check(t, err)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if tip, err = b.Tip(t.Context()); err == nil && tip.Hash == hash {
			return tip
		}
		if time.Now().After(end) {
			t.Fatalf("the backend is at %+v (%v), the node at %d, %s", tip, err, height, hash)
		}
	}
}

// inPool tells whether the node has a transaction in its mempool.
func inPool(t *testing.T, node *btcdnode.Node, txid chainhash.Hash) bool {
	t.Helper()
	pool, err := node.Client().GetRawMempool()
	Check(t, err)
	for _, h := range pool {
		if *h == txid {
			return true
		}
	}
	return false
}
