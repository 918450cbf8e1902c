package runner_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/runner"
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

// TestSignedTooLateForTheRelay: a full relay has given the place to others when the signatures come. It refuses, this
// side does not publish the funding, and the coins are the outside wallet's to spend: that ends the contract.
func TestSignedTooLateForTheRelay(t *testing.T) {
	p := newPair(t)
	s := p.stranger()
	if _, err := s.propose(newKey(t)); err != nil { // has the place that is held
		t.Fatal(err)
	}
	key, err := btcec.NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	script, err := txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(key.PubKey()))
	if err != nil {
		t.Fatal(err)
	}
	op, err := p.node.Fund(t.Context(), script, 150_000)
	if err != nil {
		t.Fatal(err)
	}
	p.mine(1)
	coins := map[wire.OutPoint]*wire.TxOut{op: wire.NewTxOut(150_000, script)}
	spend := func(tx *wire.MsgTx) wire.TxWitness {
		hashes := txscript.NewTxSigHashes(tx, txscript.NewMultiPrevOutFetcher(coins))
		w, err := txscript.TaprootWitnessSignature(tx, hashes, 0, 150_000, script, txscript.SigHashDefault, key)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	c, err := p.client.r.Open(t.Context(), runner.Opening{
		Offer: p.relay.offer, Value: 100_000, Prepaid: 1000, Duration: 60, FundFeeRate: 2000,
		Outside: &contract.Outside{Coins: []wire.OutPoint{op}, Change: script},
	}, p.exchange)
	if err != nil || c.State() != contract.StateVerified {
		t.Fatalf("opened: %v, %v", c.State(), err)
	}
	raw, err := c.FundingPSBT(nil)
	if err != nil {
		t.Fatal(err)
	}
	for len(p.relay.r.Contracts()) < 10 {
		if _, err := s.propose(newKey(t)); err != nil {
			t.Fatal(err)
		}
	}
	p.relay.ahead.Store(int64(2 * time.Minute))
	for range 9 {
		if _, err := s.propose(newKey(t)); err != nil {
			t.Fatal(err)
		}
		p.relay.ahead.Add(int64(2 * time.Second))
	}
	if _, held := p.relay.r.ByNonce(c.Nonce()); held {
		t.Fatal("the relay still has a place for it")
	}
	f, err := psbt.NewFromRawBytes(bytes.NewReader(raw), false)
	if err != nil {
		t.Fatal(err)
	}
	f.Inputs[0].TaprootKeySpendSig = spend(f.UnsignedTx)[0]
	var b bytes.Buffer
	if err := f.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	if c, err = p.client.r.ImportFunding(t.Context(), c.Nonce(), b.Bytes(), p.exchange); code.Of(err) != code.ContractUnknown || c.State() != contract.StateSigned {
		t.Fatalf("imported: %v, %v", c.State(), err)
	}
	if _, err := p.client.r.Cancel(t.Context(), c.ID(), 5000); code.Of(err) != code.OutsideCoins {
		t.Fatalf("cancelled: %v", err)
	}
	back := wire.NewMsgTx(2)
	back.AddTxIn(wire.NewTxIn(&op, nil, nil))
	back.AddTxOut(wire.NewTxOut(149_000, script))
	back.TxIn[0].Witness = spend(back)
	if _, err := p.node.Client().SendRawTransaction(back, true); err != nil {
		t.Fatal(err)
	}
	p.mine(1)
	p.client.wait(c.ID(), contract.StateFailed)
}
