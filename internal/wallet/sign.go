package wallet

import (
	"fmt"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"
)

// SignOwn signs the inputs that spend the outpoints in own, and returns one witness for each; tx
// is not changed. prevouts are the spent outputs of all inputs, also the peer's, because a taproot
// signature commits to all of them (BIP341). Every witness is one 64-byte key path signature with
// SIGHASH_DEFAULT, and has been run by the script engine with the rules of relay policy before
// it is returned.
//
// ErrNotMine when an outpoint is not a coin that the wallet has seen, or not with the value and
// script that prevouts says. Whether tx is what was agreed is for the caller to check first.
func (w *Wallet) SignOwn(tx *wire.MsgTx, prevouts map[wire.OutPoint]*wire.TxOut, own []wire.OutPoint) (map[wire.OutPoint]wire.TxWitness, error) {
	index := make(map[wire.OutPoint]int, len(tx.TxIn))
	for i, in := range tx.TxIn {
		op := in.PreviousOutPoint
		if prevouts[op] == nil {
			return nil, fmt.Errorf("wallet: sign: the output spent by input %d is not given", i)
		}
		if _, twice := index[op]; twice {
			return nil, fmt.Errorf("wallet: sign: %v is spent twice", op)
		}
		index[op] = i
	}
	s := &signer{tx: tx.Copy(), fetcher: txscript.NewMultiPrevOutFetcher(prevouts)}
	s.hashes = txscript.NewTxSigHashes(s.tx, s.fetcher)
	out := make(map[wire.OutPoint]wire.TxWitness, len(own))
	err := w.unlocked(func(v view, keys *waddrmgr.Manager) error {
		for _, op := range own {
			i, ok := index[op]
			if !ok {
				return fmt.Errorf("wallet: sign: %v is not an input", op)
			}
			witness, err := s.input(v, keys, i)
			if err != nil {
				return fmt.Errorf("wallet: sign %v: %w", op, err)
			}
			out[op] = witness
		}
		return nil
	})
	return out, err
}

// SignChild signs a transaction of one input that spends an own output of parent, and returns its witness. The
// wallet need not have seen parent, which may be on its way into a block only because the child pays for
// it: that output has the value and script that are signed for is what the outpoint commits to. The witness is as
// SignOwn's. ErrNotMine when the output is not of parent or not paid to this wallet.
func (w *Wallet) SignChild(tx, parent *wire.MsgTx) (wire.TxWitness, error) {
	if len(tx.TxIn) != 1 {
		return nil, fmt.Errorf("wallet: sign: a child of %d inputs", len(tx.TxIn))
	}
	op := tx.TxIn[0].PreviousOutPoint
	if op.Hash != parent.TxHash() || int64(op.Index) >= int64(len(parent.TxOut)) {
		return nil, fmt.Errorf("wallet: sign %v: %w", op, ErrNotMine)
	}
	s := &signer{tx: tx.Copy(), fetcher: txscript.NewMultiPrevOutFetcher(map[wire.OutPoint]*wire.TxOut{op: parent.TxOut[op.Index]})}
	s.hashes = txscript.NewTxSigHashes(s.tx, s.fetcher)
	var out wire.TxWitness
	err := w.unlocked(func(v view, keys *waddrmgr.Manager) (err error) {
		if out, err = s.sign(v, keys, 0); err != nil {
			return fmt.Errorf("wallet: sign %v: %w", op, err)
		}
		return nil
	})
	return out, err
}

// unlocked opens the keys for the time of f, apart from those that follow the chain.
func (w *Wallet) unlocked(f func(view, *waddrmgr.Manager) error) error {
	return w.view(func(v view) error {
		keys, err := waddrmgr.Open(v.addrs, w.pass, w.params)
		if err != nil {
			return fmt.Errorf("wallet: keys: %w", err)
		}
		defer keys.Close()
		if err := keys.Unlock(v.addrs, w.pass); err != nil {
			return fmt.Errorf("wallet: keys: %w", err)
		}
		return f(v, keys)
	})
}

// signer signs inputs of one transaction.
type signer struct {
	tx      *wire.MsgTx
	fetcher txscript.PrevOutputFetcher
	hashes  *txscript.TxSigHashes
}

func (s *signer) input(v view, keys *waddrmgr.Manager, i int) (wire.TxWitness, error) {
	op := s.tx.TxIn[i].PreviousOutPoint
	out := s.fetcher.FetchPrevOutput(op)
	if err := v.checkMine(op, out); err != nil {
		return nil, err
	}
	return s.sign(v, keys, i)
}

// sign signs an input whose prevout is known to be true.
func (s *signer) sign(v view, keys *waddrmgr.Manager, i int) (wire.TxWitness, error) {
	out := s.fetcher.FetchPrevOutput(s.tx.TxIn[i].PreviousOutPoint)
	addr, ok := managed(keys, v.addrs, out.PkScript, keys.ChainParams())
	if !ok || !txscript.IsPayToTaproot(out.PkScript) {
		return nil, ErrNotMine
	}
	key, err := addr.PrivKey()
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	witness, err := txscript.TaprootWitnessSignature(s.tx, s.hashes, i, out.Value, out.PkScript, txscript.SigHashDefault, key)
	if err != nil {
		return nil, err
	}
	return witness, s.check(i, out, witness)
}

// checkMine compares a prevout with the wallet's own record of the transaction that made it.
func (v view) checkMine(op wire.OutPoint, out *wire.TxOut) error {
	details, err := v.in.TxStore.TxDetails(v.txs, &op.Hash)
	if err != nil {
		return err
	}
	if details == nil || int64(op.Index) >= int64(len(details.MsgTx.TxOut)) {
		return ErrNotMine
	}
	real := details.MsgTx.TxOut[op.Index]
	if real.Value != out.Value || string(real.PkScript) != string(out.PkScript) {
		return fmt.Errorf("%w: it has another value or script", ErrNotMine)
	}
	return nil
}

// check runs the witness as a node would.
func (s *signer) check(i int, out *wire.TxOut, witness wire.TxWitness) error {
	s.tx.TxIn[i].Witness = witness
	engine, err := txscript.NewEngine(out.PkScript, s.tx, i, txscript.StandardVerifyFlags, nil, s.hashes, out.Value, s.fetcher)
	if err != nil {
		return err
	}
	return engine.Execute()
}
