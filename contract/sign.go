package contract

import (
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Signature is a 64-byte BIP340 signature with the default hash type (BIP341).
type Signature [64]byte

// IsZero tells whether there is no signature: a tier that the payment cannot bear.
func (s Signature) IsZero() bool { return s == Signature{} }

// leafHash is the digest that a signature for a tapscript leaf signs (BIP342): input 0 of tx, which
// spends out of the given value.
func leafHash(tx *wire.MsgTx, value usage.Sat, out taproot) ([]byte, error) {
	fetch := txscript.NewCannedPrevOutputFetcher(out.script, int64(value))
	hashes := txscript.NewTxSigHashes(tx, fetch)
	h, err := txscript.CalcTapscriptSignaturehash(hashes, txscript.SigHashDefault, tx, 0, fetch, out.leaf)
	return h, code.Wrap(code.BadTransaction, err, "no digest to sign")
}

// signLeaf signs input 0 for a leaf. The nonce is deterministic, so that the same transaction is
// signed alike after a crash.
func signLeaf(priv *btcec.PrivateKey, tx *wire.MsgTx, value usage.Sat, out taproot) (Signature, error) {
	h, err := leafHash(tx, value, out)
	if err != nil {
		return Signature{}, err
	}
	sig, err := schnorr.Sign(priv, h)
	if err != nil {
		return Signature{}, code.Wrap(code.Internal, err, "sign")
	}
	return Signature(sig.Serialize()), nil
}

// verifyLeaf checks a signature for a leaf; code BadSignature (check 34).
func verifyLeaf(key Key, sig Signature, tx *wire.MsgTx, value usage.Sat, out taproot) error {
	h, err := leafHash(tx, value, out)
	if err != nil {
		return err
	}
	x := key.xonly()
	pub, err := schnorr.ParsePubKey(x[:])
	if err != nil {
		return code.Wrap(code.BadKey, err, "a contract key is no point of the curve")
	}
	s, err := schnorr.ParseSignature(sig[:])
	if err != nil || !s.Verify(h, pub) {
		return code.New(code.BadSignature, "a contract signature does not fit the transaction that the terms give")
	}
	return nil
}

// settleStack is the witness of a spend by L_settle: the last key's signature comes first.
func settleStack(out taproot, client, relay Signature) wire.TxWitness {
	return wire.TxWitness{relay[:], client[:], out.leaf.Script, out.control}
}

// soloStack is the witness of a spend by a leaf that one key alone opens: L_refund, L_csv, L_coll.
func soloStack(out taproot, sig Signature) wire.TxWitness {
	return wire.TxWitness{sig[:], out.leaf.Script, out.control}
}

// execute runs the scripts of all inputs with the rules of relay policy (check 28).
func execute(tx *wire.MsgTx, prevouts map[wire.OutPoint]*wire.TxOut) error {
	return executeFrom(tx, prevouts, 0)
}

// executeFrom is execute without the inputs before first, which need not be signed yet.
func executeFrom(tx *wire.MsgTx, prevouts map[wire.OutPoint]*wire.TxOut, first int) error {
	for i, in := range tx.TxIn {
		if prevouts[in.PreviousOutPoint] == nil {
			return code.New(code.BadTransaction, "input %d spends an unknown output", i)
		}
	}
	fetch := txscript.NewMultiPrevOutFetcher(prevouts)
	hashes := txscript.NewTxSigHashes(tx, fetch)
	for i := first; i < len(tx.TxIn); i++ {
		out := prevouts[tx.TxIn[i].PreviousOutPoint]
		vm, err := txscript.NewEngine(out.PkScript, tx, i, txscript.StandardVerifyFlags, nil, hashes, out.Value, fetch)
		if err == nil {
			err = vm.Execute()
		}
		if err != nil {
			return code.Wrap(code.BadWitness, err, "input %d", i)
		}
	}
	return nil
}

// checkPrivate refuses a private key that is not this side's (code BadKey).
func checkPrivate(priv *btcec.PrivateKey, pub Key) error {
	if priv == nil || KeyOf(priv) != pub {
		return code.New(code.BadKey, "not the private key of this contract")
	}
	return nil
}
