package runner_test

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/wallet"
)

// signLeaf signs a way out with the contract's key, as a device does that knows nothing but the file.
func signLeaf(t *testing.T, raw []byte, key *btcec.PrivateKey) []byte {
	t.Helper()
	p, err := psbt.NewFromRawBytes(bytes.NewReader(raw), false)
	if err != nil {
		t.Fatal(err)
	}
	in := &p.Inputs[0]
	fetch := txscript.NewCannedPrevOutputFetcher(in.WitnessUtxo.PkScript, in.WitnessUtxo.Value)
	sig, err := txscript.RawTxInTapscriptSignature(p.UnsignedTx, txscript.NewTxSigHashes(p.UnsignedTx, fetch), 0, in.WitnessUtxo.Value,
		in.WitnessUtxo.PkScript, txscript.NewBaseTapLeaf(in.TaprootLeafScript[0].Script), txscript.SigHashDefault, key)
	if err != nil {
		t.Fatal(err)
	}
	d := in.TaprootBip32Derivation[0]
	in.TaprootScriptSpendSig = append(in.TaprootScriptSpendSig,
		&psbt.TaprootScriptSpendSig{XOnlyPubKey: d.XOnlyPubKey, LeafHash: d.LeafHashes[0], Signature: sig})
	var b bytes.Buffer
	if err := p.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRefundSignedOutside: a refund at a higher fee that somebody else signs with the contract's key is taken by the node
// in place of the own one, and is what the books show.
func TestRefundSignedOutside(t *testing.T) {
	p := newPair(t)
	c := p.openActive()
	p.relay.stop()
	key, err := wallet.ContractKey(p.client.seed, p.node.Params(), c.Nonce(), wallet.RoleClient)
	if err != nil {
		t.Fatal(err)
	}
	files, err := c.Exits(20_000)
	if err != nil || len(files) != 1 || files[0].Why != contract.ForRefund {
		t.Fatalf("ways out: %+v, %v", files, err)
	}
	signed := signLeaf(t, files[0].PSBT, key)
	if _, err := p.client.r.ImportExit(t.Context(), c.ID(), signed); code.Of(err) != code.NotDue {
		t.Fatalf("before expiry: %v", err)
	}
	p.mineFor(int(c.Terms().Expiry-p.client.r.Tip()), p.client)
	if _, err := p.client.r.ImportExit(t.Context(), c.ID(), files[0].PSBT); code.Of(err) != code.NotSigned {
		t.Fatalf("not signed: %v", err)
	}
	if _, err := p.client.r.ImportExit(t.Context(), c.ID(), signed); err != nil {
		t.Fatal(err)
	}
	p.mineFor(1, p.client)
	c = p.client.wait(c.ID(), contract.StateSettled)
	spend, _, ok := c.Spend()
	if !ok || spend.Kind != contract.SpendRefund || spend.TxID != files[0].Tx.TxHash() {
		t.Fatalf("spent by %+v", spend)
	}
}
