package btcd

import (
	"context"
	"testing"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/testnet/btcdnode"
)

// check ends the test at an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startNode runs a node for the length of a test.
func startNode(t *testing.T, o btcdnode.Options) *btcdnode.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node, err := btcdnode.Start(ctx, o)
	check(t, err)
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	return node
}

func config(node *btcdnode.Node) Config {
	return Config{
		Host: node.RPCHost(), User: node.RPCUser(), Pass: node.RPCPass(), CertFile: node.CertFile(),
		Params: &chaincfg.RegressionNetParams, Timeout: 10 * time.Second,
	}
}

func connect(t *testing.T, node *btcdnode.Node) *Backend {
	t.Helper()
	b, err := Dial(t.Context(), config(node))
	check(t, err)
	t.Cleanup(b.Close)
	return b
}

// person has one taproot key and can spend what is paid to it.
type person struct {
	key    *btcec.PrivateKey
	script []byte
	addr   string
}

func newPerson(t *testing.T) *person {
	t.Helper()
	key, err := btcec.NewPrivateKey()
	check(t, err)
	output := txscript.ComputeTaprootKeyNoScript(key.PubKey())
	script, err := txscript.PayToTaprootScript(output)
	check(t, err)
	addr, err := address.NewAddressTaproot(schnorr.SerializePubKey(output), &chaincfg.RegressionNetParams)
	check(t, err)
	return &person{key, script, addr.EncodeAddress()}
}

// spend makes a signed transaction of one input. It signals that it may be
// replaced.
func (p *person) spend(t *testing.T, op wire.OutPoint, value int64, lockTime uint32, outs ...*wire.TxOut) *wire.MsgTx {
	t.Helper()
	tx := wire.NewMsgTx(2)
	tx.LockTime = lockTime
	in := wire.NewTxIn(&op, nil, nil)
	in.Sequence = 0xfffffffd
	tx.AddTxIn(in)
	for _, out := range outs {
		tx.AddTxOut(out)
	}
	prev := txscript.NewCannedPrevOutputFetcher(p.script, value)
	sig, err := txscript.RawTxInTaprootSignature(tx, txscript.NewTxSigHashes(tx, prev), 0, value, p.script,
		nil, txscript.SigHashDefault, p.key)
	check(t, err)
	tx.TxIn[0].Witness = wire.TxWitness{sig}
	return tx
}

func mine(t *testing.T, node *btcdnode.Node, n int) {
	t.Helper()
	_, err := node.Mine(n)
	check(t, err)
}

func fund(t *testing.T, node *btcdnode.Node, p *person, sats int64) wire.OutPoint {
	t.Helper()
	op, err := node.Fund(t.Context(), p.script, sats)
	check(t, err)
	return op
}
