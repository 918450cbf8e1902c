package main

import (
	"bytes"
	"context"
	"os"
	"strconv"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/rogpeppe/go-internal/testscript"
)

// coldKeys are those of coins that scripts hold outside of any agent, by script.
type coldKeys map[string]*btcec.PrivateKey

// cold NAME SAT makes a confirmed taproot coin of an outside wallet: sets NAME to TXID:INDEX, NAME_CHANGE to an address.
func (w *market) cold(ts *testscript.TestScript, _ bool, args []string) {
	sat, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	key, err := btcec.NewPrivateKey()
	ts.Check(err)
	out := txscript.ComputeTaprootKeyNoScript(key.PubKey())
	script, err := txscript.PayToTaprootScript(out)
	ts.Check(err)
	addr, err := address.NewAddressTaproot(schnorr.SerializePubKey(out), w.node.Params())
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keys == nil {
		w.keys = coldKeys{}
	}
	w.keys[string(script)] = key
	tx, err := w.node.Pay(context.Background(), wire.NewTxOut(sat, script))
	ts.Check(err)
	_, err = w.node.Mine(1)
	ts.Check(err)
	ts.Setenv(args[0], wire.NewOutPoint(ptr(tx.TxHash()), 0).String())
	ts.Setenv(args[0]+"_CHANGE", addr.EncodeAddress())
}

func ptr[T any](v T) *T { return &v }

// coldsign IN OUT signs every input of a PSBT whose key is an outside wallet's.
func (w *market) coldsign(ts *testscript.TestScript, _ bool, args []string) {
	raw, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	p, err := psbt.NewFromRawBytes(bytes.NewReader(raw), false)
	ts.Check(err)
	prev := map[wire.OutPoint]*wire.TxOut{}
	for i, in := range p.UnsignedTx.TxIn {
		prev[in.PreviousOutPoint] = p.Inputs[i].WitnessUtxo
	}
	hashes := txscript.NewTxSigHashes(p.UnsignedTx, txscript.NewMultiPrevOutFetcher(prev))
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range p.Inputs {
		out := p.Inputs[i].WitnessUtxo
		p.Inputs[i].TaprootKeySpendSig, err = txscript.RawTxInTaprootSignature(
			p.UnsignedTx, hashes, i, out.Value, out.PkScript, nil, txscript.SigHashDefault, w.keys[string(out.PkScript)])
		ts.Check(err)
	}
	var b bytes.Buffer
	ts.Check(p.Serialize(&b))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o600))
}
