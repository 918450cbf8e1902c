package contract

import (
	"bytes"
	"slices"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// KeySpend is what C and R sign together to spend the escrow by its key path (BIP327, BIP341). It
// holds no secret: signing sessions, with their nonces, live outside this package.
type KeySpend struct {
	Keys [2]Key   // C and R in the order of KeySort
	Root [32]byte // of the escrow's script tree, with which the aggregate key is tweaked
	Hash [32]byte // the digest to sign
}

// KeyCloseTx is CloseTx for a close by the key path, which is smaller and so pays less at the same
// rate (sat per 1,000 vB). Code BadAmount if the payment cannot bear the fee.
func (t Terms) KeyCloseTx(funding wire.OutPoint, p usage.Sat, feeRate uint64) (*wire.MsgTx, error) {
	return t.payTx(funding, p, feeRate, t.ClientScript, keyPathWitness)
}

// KeySpend is what is signed for input 0 of tx, which spends the escrow.
func (t Terms) KeySpend(tx *wire.MsgTx) (KeySpend, error) {
	out, err := t.escrow(false)
	if err != nil {
		return KeySpend{}, err
	}
	fetch := txscript.NewCannedPrevOutputFetcher(out.script, int64(t.Value))
	h, err := txscript.CalcTaprootSignatureHash(txscript.NewTxSigHashes(tx, fetch), txscript.SigHashDefault, tx, 0, fetch)
	if err != nil {
		return KeySpend{}, code.Wrap(code.BadTransaction, err, "no digest to sign")
	}
	k := KeySpend{Keys: [2]Key{t.ClientKey, t.RelayKey}, Root: out.root, Hash: [32]byte(h)}
	if bytes.Compare(k.Keys[0][:], k.Keys[1][:]) > 0 {
		slices.Reverse(k.Keys[:])
	}
	return k, nil
}

// Signers are the keys as points, in a slice of the caller's own: the library sorts in place. Code BadKey.
func (k KeySpend) Signers() ([]*btcec.PublicKey, error) {
	var out []*btcec.PublicKey
	for _, key := range k.Keys {
		p, err := key.point()
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// CheckPartial verifies the partial signature of one of the two keys under its own public nonce and
// that of the other side: it tells whose fault a bad signature is. Codes BadPartial, BadNonce.
func (k KeySpend) CheckPartial(signer Key, own, other PubNonce, sig PartialSignature) error {
	s, err := sig.scalar()
	if err == nil {
		err = own.check()
	}
	if err == nil {
		err = other.check()
	}
	if err != nil {
		return err
	}
	signers, err := k.Signers()
	if err != nil {
		return err
	}
	key, err := signer.point()
	if err != nil {
		return err
	}
	all, err := musig2.AggregateNonces([][musig2.PubNonceSize]byte{own, other})
	if err != nil {
		return code.Wrap(code.BadNonce, err, "the public nonces do not aggregate")
	}
	p := musig2.NewPartialSignature(s, nil)
	if !p.Verify(own, all, signers, key, k.Hash, musig2.WithSortedKeys(), musig2.WithTaprootSignTweak(k.Root[:])) {
		return code.New(code.BadPartial, "a partial signature does not fit the close, its signer and its nonce")
	}
	return nil
}

// Check verifies a complete signature against the escrow's output key; code BadSignature (check 40).
func (k KeySpend) Check(sig Signature) error {
	signers, err := k.Signers()
	if err != nil {
		return err
	}
	agg, _, _, err := musig2.AggregateKeys(signers, true, musig2.WithTaprootKeyTweak(k.Root[:]))
	if err != nil {
		return code.Wrap(code.BadKey, err, "the contract keys do not aggregate")
	}
	s, err := schnorr.ParseSignature(sig[:])
	if err != nil || !s.Verify(k.Hash[:], agg.FinalKey) {
		return code.New(code.BadSignature, "the signature of both does not fit the close that the terms give")
	}
	return nil
}
