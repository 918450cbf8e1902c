package spec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/runner"
	"relaymarket/usage"
)

// output is a taproot output built from the words of PROTOCOL.md, apart from package contract.
type output struct {
	script, leaf, control []byte
	key                   *btcec.PublicKey
}

// leaves are the three scripts of a contract.
func leaves(t contract.Terms) (settle, refund, csv []byte) {
	c, r := t.ClientKey[1:], t.RelayKey[1:]
	settle = bytes.Join([][]byte{{0x20}, c, {0xad, 0x20}, r, {0xac}}, nil)
	refund = bytes.Join([][]byte{{0x20}, c, {0xad}, pushHeight(uint32(t.Expiry)), {0xb1}}, nil)
	csv = bytes.Join([][]byte{{0x20}, c, {0xad, 0x51, 0xb2}}, nil)
	return settle, refund, csv
}

// pushHeight is the minimal push of a height: OP_1 to OP_16, or a little-endian script number.
func pushHeight(h uint32) []byte {
	if h >= 1 && h <= 16 {
		return []byte{0x50 + byte(h)}
	}
	var n []byte
	for v := h; v > 0; v >>= 8 {
		n = append(n, byte(v))
	}
	if n[len(n)-1]&0x80 != 0 {
		n = append(n, 0)
	}
	return append([]byte{byte(len(n))}, n...)
}

func tapLeaf(script []byte) []byte {
	h := chainhash.TaggedHash([]byte("TapLeaf"), []byte{0xc0, byte(len(script))}, script)
	return h[:]
}

// build makes the output of an internal key over one leaf, or over two, opened for the first.
func build(internal *btcec.PublicKey, leaf []byte, sibling []byte) output {
	top, path := tapLeaf(leaf), []byte(nil)
	if sibling != nil {
		path = tapLeaf(sibling)
		a, b := top, path
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		h := chainhash.TaggedHash([]byte("TapBranch"), a, b)
		top = h[:]
	}
	key := txscript.ComputeTaprootOutputKey(internal, top)
	control := append([]byte{0xc0 | key.SerializeCompressed()[0]&1}, schnorr.SerializePubKey(internal)...)
	return output{append([]byte{0x51, 0x20}, schnorr.SerializePubKey(key)...), leaf, append(control, path...), key}
}

var nums = "0250929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0"

// outputs are the escrow for its two leaves, and the client's delayed output.
func outputs(t contract.Terms) (settle, refund, delayed output, internal *btcec.PublicKey, err error) {
	c, err1 := btcec.ParsePubKey(t.ClientKey[:])
	r, err2 := btcec.ParsePubKey(t.RelayKey[:])
	raw, err3 := hex.DecodeString(nums)
	if err = errors.Join(err1, err2, err3); err != nil {
		return
	}
	h, err1 := btcec.ParsePubKey(raw)
	agg, _, _, err2 := musig2.AggregateKeys([]*btcec.PublicKey{c, r}, true)
	if err = errors.Join(err1, err2); err != nil {
		return
	}
	internal = agg.PreTweakedKey
	l, f, v := leaves(t)
	return build(internal, l, f), build(internal, f, l), build(h, v, nil), internal, nil
}

// signed signs input 0 of a transaction for a leaf.
func (o output) sign(tx *wire.MsgTx, value usage.Sat, key *btcec.PrivateKey) (hash, sig []byte, err error) {
	fetch := txscript.NewCannedPrevOutputFetcher(o.script, int64(value))
	hash, err = txscript.CalcTapscriptSignaturehash(txscript.NewTxSigHashes(tx, fetch), txscript.SigHashDefault, tx, 0, fetch, txscript.NewBaseTapLeaf(o.leaf))
	if err != nil {
		return nil, nil, err
	}
	s, err := schnorr.Sign(key, hash)
	if err != nil {
		return nil, nil, err
	}
	return hash, s.Serialize(), nil
}

// execute runs the script of input 0.
func (o output) execute(tx *wire.MsgTx, value usage.Sat) error {
	fetch := txscript.NewCannedPrevOutputFetcher(o.script, int64(value))
	vm, err := txscript.NewEngine(o.script, tx, 0, txscript.StandardVerifyFlags, nil, txscript.NewTxSigHashes(tx, fetch), int64(value), fetch)
	if err != nil {
		return err
	}
	return vm.Execute()
}

func serialize(tx *wire.MsgTx) string {
	var b bytes.Buffer
	if err := tx.Serialize(&b); err != nil {
		return err.Error()
	}
	return hex.EncodeToString(b.Bytes())
}

func weight(tx *wire.MsgTx) int { return 3*tx.SerializeSizeStripped() + tx.SerializeSize() }

// spend describes a transaction: unsigned, its txid and digest, the signatures, and whole.
func spend(name string, out values, o output, tx *wire.MsgTx, value usage.Sat, keys ...*btcec.PrivateKey) error {
	out[name+"_txid_hash_order"] = hex.EncodeToString(func() []byte { h := tx.TxHash(); return h[:] }())
	out[name+"_unsigned"] = serialize(tx)
	var sigs [][]byte
	for i, k := range keys {
		hash, sig, err := o.sign(tx, value, k)
		if err != nil {
			return err
		}
		out[name+"_sighash"] = hex.EncodeToString(hash)
		out[fmt.Sprintf("%s_signature_%s", name, []string{"client", "relay"}[i])] = hex.EncodeToString(sig)
		sigs = append([][]byte{sig}, sigs...)
	}
	tx.TxIn[0].Witness = append(sigs, o.leaf, o.control)
	out[name+"_signed"], out[name+"_weight"] = serialize(tx), weight(tx)
	return o.execute(tx, value)
}

// decideTerms checks terms and computes all that follows from them, scripts and digests apart
// from package contract, and fails where the two differ.
// decideRecovery opens a recovery text with the phrase.
func decideRecovery(in input) (values, error) {
	seed, err := identity.Seed(in.text("phrase"), in.text("passphrase"))
	if err != nil {
		return nil, err
	}
	r, err := contract.OpenRecovery(seed, in.text("text"))
	if err != nil {
		return nil, err
	}
	terms, err := r.Terms.Encode()
	return values{"terms": hex.EncodeToString(terms), "funding_txid_hash_order": hex.EncodeToString(r.Funding[:])}, err
}

func decideTerms(in input) (values, error) {
	t, err := contract.DecodeTerms(in.bytes("terms"))
	if err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	params, err := runner.Params(t.Network)
	if err != nil {
		return nil, err
	}
	settle, refund, delayed, internal, err := outputs(t)
	if err != nil {
		return nil, err
	}
	if err := sameScripts(t, settle, delayed); err != nil {
		return nil, err
	}
	funding := wire.OutPoint{Hash: in.fixed("funding_txid_hash_order"), Index: contract.EscrowIndex}
	id := t.ContractID(funding)
	l, f, v := leaves(t)
	out := values{
		"terms_digest": t.Digest().String(), "contract_id": id.String(), "internal_key": hex.EncodeToString(schnorr.SerializePubKey(internal)),
		"settle_leaf": hex.EncodeToString(l), "refund_leaf": hex.EncodeToString(f), "csv_leaf": hex.EncodeToString(v),
		"escrow_script": hex.EncodeToString(settle.script), "delayed_script": hex.EncodeToString(delayed.script),
		"escrow_address": taprootAddress(settle, params), "delayed_address": taprootAddress(delayed, params),
	}
	return out, spends(in, t, funding, out, settle, refund, delayed)
}

func sameScripts(t contract.Terms, settle, delayed output) error {
	a, err1 := t.EscrowScript()
	b, err2 := t.DelayedScript()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !bytes.Equal(a, settle.script) || !bytes.Equal(b, delayed.script) {
		return errors.New("package contract builds other scripts than PROTOCOL.md says")
	}
	return nil
}

func taprootAddress(o output, params *chaincfg.Params) string {
	a, err := address.NewAddressTaproot(schnorr.SerializePubKey(o.key), params)
	if err != nil {
		return err.Error()
	}
	return a.EncodeAddress()
}

// spends adds every way to spend the escrow.
func spends(in input, t contract.Terms, funding wire.OutPoint, out values, settle, refund, delayed output) error {
	client, _ := btcec.PrivKeyFromBytes(in.bytes("client_key"))
	relay, _ := btcec.PrivKeyFromBytes(in.bytes("relay_key"))
	p, rate := usage.Sat(in.number("payment_sat")), in.number("feerate")
	for tier := range contract.Tiers {
		tx, err := t.SettlementTx(funding, p, tier)
		if err != nil {
			return err
		}
		if err := spend(fmt.Sprintf("settlement_%d", tier), out, settle, tx, t.Value, client, relay); err != nil {
			return err
		}
		if tier > 0 || p >= t.Value {
			continue
		}
		rest := usage.Sat(tx.TxOut[0].Value)
		sweep, err := t.SweepTx(wire.OutPoint{Hash: tx.TxHash(), Index: 0}, rest, rate)
		if err != nil {
			return err
		}
		if err := spend("sweep", out, delayed, sweep, rest, client); err != nil {
			return err
		}
	}
	final, err := t.CloseTx(funding, p, rate)
	if err != nil {
		return err
	}
	if err := spend("close", out, settle, final, t.Value, client, relay); err != nil {
		return err
	}
	back, err := t.RefundTx(funding, rate)
	if err != nil {
		return err
	}
	if err := spend("refund", out, refund, back, t.Value, client); err != nil || t.Collateral == 0 {
		return err
	}
	return reclaim(t, funding, out, rate, relay)
}

// reclaim adds the collateral output and the way back of what it holds.
func reclaim(t contract.Terms, funding wire.OutPoint, out values, rate uint64, relay *btcec.PrivateKey) error {
	_, _, _, internal, err := outputs(t)
	if err != nil {
		return err
	}
	leaf := bytes.Join([][]byte{{0x20}, t.RelayKey[1:], {0xad}, pushHeight(uint32(t.Expiry)), {0xb1}}, nil)
	coll := build(internal, leaf, nil)
	script, err := t.CollateralScript()
	if err != nil {
		return err
	}
	if !bytes.Equal(script, coll.script) {
		return errors.New("package contract builds another collateral than PROTOCOL.md says")
	}
	out["coll_leaf"], out["collateral_script"] = hex.EncodeToString(leaf), hex.EncodeToString(coll.script)
	tx, err := t.ReclaimTx(wire.OutPoint{Hash: funding.Hash, Index: contract.CollateralIndex}, rate)
	if err != nil {
		return err
	}
	out["reclaim_unsigned"] = serialize(tx)
	hash, sig, err := coll.sign(tx, t.Collateral, relay)
	if err != nil {
		return err
	}
	tx.TxIn[0].Witness = wire.TxWitness{sig, leaf, coll.control}
	out["reclaim_sighash"], out["reclaim_signature_relay"] = hex.EncodeToString(hash), hex.EncodeToString(sig)
	out["reclaim_signed"], out["reclaim_weight"] = serialize(tx), weight(tx)
	return coll.execute(tx, t.Collateral)
}

func seedKey(name string) *btcec.PrivateKey {
	k, _ := btcec.PrivKeyFromBytes(key(name).Bytes())
	return k
}

// payTo is the key-path-only taproot script of a key (BIP86).
func payTo(k *btcec.PrivateKey) []byte {
	return append([]byte{0x51, 0x20}, schnorr.SerializePubKey(txscript.ComputeTaprootKeyNoScript(k.PubKey()))...)
}

// TestWeights holds the table of transactions against what the terms build.
func TestWeights(t *testing.T) {
	v := readVector(t, "contract/terms-mainnet")
	for name, want := range map[string]string{"settlement_0": "816", "close": "816", "refund": "550", "sweep": "515"} {
		if got := fmt.Sprint(v.Out[name+"_weight"]); got != want {
			t.Errorf("%s has weight %s, PROTOCOL.md says %s", name, got, want)
		}
	}
	if got := fmt.Sprint(readVector(t, "contract/terms-with-collateral").Out["reclaim_weight"]); got != "518" {
		t.Errorf("the reclaim has weight %s, PROTOCOL.md says 518", got)
	}
	for name, want := range map[string]string{"key-close-two-outputs": "616", "key-close-one-output": "444"} {
		if got := fmt.Sprint(readVector(t, "contract/"+name).Out["close_weight"]); got != want {
			t.Errorf("%s has weight %s, PROTOCOL.md says %s", name, got, want)
		}
	}
}
