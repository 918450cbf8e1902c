package spec

import (
	"bytes"
	"encoding/hex"
	"errors"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr/musig2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/usage"
)

// Closes by the key path with secret nonces that stand in the vector, so that another implementation can
// follow every step. Nobody signs like that but a test: programs use the library's sessions.

// secretNonce is k_1 ‖ k_2 ‖ public key, the secret nonce of BIP327, of a name.
func secretNonce(name string, key *btcec.PrivateKey) (out [musig2.SecNonceSize]byte) {
	a, b := identity.Tagged("spec/k1", []byte(name)), identity.Tagged("spec/k2", []byte(name))
	copy(out[:], a[:])
	copy(out[32:], b[:])
	copy(out[64:], key.PubKey().SerializeCompressed())
	return out
}

// publicNonce is k_1·G ‖ k_2·G.
func publicNonce(secret [musig2.SecNonceSize]byte) (out contract.PubNonce) {
	for i := range 2 {
		_, p := btcec.PrivKeyFromBytes(secret[32*i : 32*(i+1)])
		copy(out[33*i:], p.SerializeCompressed())
	}
	return out
}

// partial signs with a secret nonce under the aggregate of both public ones.
func partial(k contract.KeySpend, key *btcec.PrivateKey, secret [musig2.SecNonceSize]byte, all [musig2.PubNonceSize]byte) (*musig2.PartialSignature, contract.PartialSignature, error) {
	signers, err := k.Signers()
	if err != nil {
		return nil, contract.PartialSignature{}, err
	}
	sig, err := musig2.Sign(secret, key, all, signers, k.Hash, musig2.WithSortedKeys(), musig2.WithTaprootSignTweak(k.Root[:]))
	if err != nil {
		return nil, contract.PartialSignature{}, err
	}
	var b bytes.Buffer
	err = sig.Encode(&b)
	return sig, contract.PartialSignature(b.Bytes()), err
}

// closeOf is the close by the key path that a vector asks for, and its escrow output; digest and root are
// computed apart from package contract.
func closeOf(in input) (contract.Terms, *wire.MsgTx, contract.KeySpend, output, error) {
	var none contract.KeySpend
	t, err := contract.DecodeTerms(in.bytes("terms"))
	if err != nil {
		return t, nil, none, output{}, err
	}
	settle, _, _, internal, err := outputs(t)
	if err != nil {
		return t, nil, none, output{}, err
	}
	funding := wire.OutPoint{Hash: in.fixed("funding_txid_hash_order"), Index: contract.EscrowIndex}
	tx, err := t.KeyCloseTx(funding, usage.Sat(in.number("payment_sat")), in.number("feerate"))
	if err != nil {
		return t, nil, none, output{}, err
	}
	k, err := t.KeySpend(tx)
	if err != nil {
		return t, nil, none, output{}, err
	}
	fetch := txscript.NewCannedPrevOutputFetcher(settle.script, int64(t.Value))
	hash, err := txscript.CalcTaprootSignatureHash(txscript.NewTxSigHashes(tx, fetch), txscript.SigHashDefault, tx, 0, fetch)
	if err == nil && (!bytes.Equal(hash, k.Hash[:]) || !txscript.ComputeTaprootOutputKey(internal, k.Root[:]).IsEqual(settle.key)) {
		err = errors.New("package contract signs another digest than PROTOCOL.md says")
	}
	return t, tx, k, settle, err
}

// decideKeyClose goes through a close by the key path step by step, the client asking.
func decideKeyClose(in input) (values, error) {
	t, tx, k, escrow, err := closeOf(in)
	if err != nil {
		return nil, err
	}
	client, _ := btcec.PrivKeyFromBytes(in.bytes("client_key"))
	relay, _ := btcec.PrivKeyFromBytes(in.bytes("relay_key"))
	own, other := [musig2.SecNonceSize]byte(in.bytes("client_secret_nonce")), [musig2.SecNonceSize]byte(in.bytes("relay_secret_nonce"))
	a, b := publicNonce(own), publicNonce(other)
	all, err := musig2.AggregateNonces([][musig2.PubNonceSize]byte{a, b})
	if err != nil {
		return nil, err
	}
	p, mine, err1 := partial(k, client, own, all)
	q, theirs, err2 := partial(k, relay, other, all)
	if err := errors.Join(err1, err2, k.CheckPartial(t.ClientKey, a, b, mine), k.CheckPartial(t.RelayKey, b, a, theirs)); err != nil {
		return nil, err
	}
	signers, err := k.Signers()
	if err != nil {
		return nil, err
	}
	sig := contract.Signature(musig2.CombineSigs(p.R, []*musig2.PartialSignature{p, q},
		musig2.WithTaprootTweakedCombine(k.Hash, signers, k.Root[:], true)).Serialize())
	if err := k.Check(sig); err != nil {
		return nil, err
	}
	out := values{
		"close_unsigned": serialize(tx), "merkle_root": hex.EncodeToString(k.Root[:]), "sighash": hex.EncodeToString(k.Hash[:]),
		"client_public_nonce": hex.EncodeToString(a[:]), "relay_public_nonce": hex.EncodeToString(b[:]), "aggregate_nonce": hex.EncodeToString(all[:]),
		"client_partial": hex.EncodeToString(mine[:]), "relay_partial": hex.EncodeToString(theirs[:]), "signature": hex.EncodeToString(sig[:]),
	}
	tx.TxIn[0].Witness = wire.TxWitness{sig[:]}
	out["close_signed"], out["close_weight"] = serialize(tx), weight(tx)
	return out, escrow.execute(tx, t.Value)
}

// decidePartial verifies the relay's partial signature.
func decidePartial(in input) (values, error) {
	t, _, k, _, err := closeOf(in)
	if err != nil {
		return nil, err
	}
	own, other := contract.PubNonce(in.bytes("client_public_nonce")), contract.PubNonce(in.bytes("relay_public_nonce"))
	return nil, k.CheckPartial(t.RelayKey, other, own, contract.PartialSignature(in.bytes("relay_partial")))
}

// keyCloses makes the vectors of both kinds.
func (m *maker) keyCloses() {
	in := func(payment uint64) values {
		return values{
			"terms": text(val(mainTerms().Encode())(m)), "funding_txid_hash_order": identity.Tagged("spec/funding").String(),
			"payment_sat": payment, "feerate": uint64(2_500),
		}
	}
	client, relay := seedKey("C"), seedKey("R")
	own, other := secretNonce("client", client), secretNonce("relay", relay)
	add := func(name, what string, payment uint64) {
		v := in(payment)
		v["client_key"], v["relay_key"] = text(key("C").Bytes()), text(key("R").Bytes())
		v["client_secret_nonce"], v["relay_secret_nonce"] = text(own[:]), text(other[:])
		m.add("contract/key-close-"+name, "key_close", "ok", what, v)
	}
	add("two-outputs", "a close by the key path at mainnet heights, step by step", 40_000)
	add("one-output", "the same where everything goes to the relay", 99_700)

	a, b := publicNonce(own), publicNonce(other)
	t := mainTerms()
	tx := val(t.KeyCloseTx(wire.OutPoint{Hash: [32]byte(identity.Tagged("spec/funding"))}, 40_000, 2_500))(m)
	k := val(t.KeySpend(tx))(m)
	all := val(musig2.AggregateNonces([][musig2.PubNonceSize]byte{a, b}))(m)
	_, sig, err := partial(k, relay, other, all)
	if err != nil {
		m.t.Fatal(err)
	}
	check := func(name, expect, what string, payment uint64, change func(nonce *contract.PubNonce, sig *contract.PartialSignature)) {
		nonce, s := b, sig
		change(&nonce, &s)
		v := in(payment)
		v["client_public_nonce"], v["relay_public_nonce"], v["relay_partial"] = text(a[:]), text(nonce[:]), text(s[:])
		m.add("contract/partial-"+name, "partial_signature", expect, what, v)
	}
	check("good", "ok", "the relay's share fits", 40_000, func(*contract.PubNonce, *contract.PartialSignature) {})
	check("flipped", "bad_partial", "one bit of the share is changed", 40_000, func(_ *contract.PubNonce, s *contract.PartialSignature) { s[31] ^= 1 })
	check("above-order", "bad_partial", "a share that is no scalar", 40_000, func(_ *contract.PubNonce, s *contract.PartialSignature) { copy(s[:], bytes.Repeat([]byte{0xff}, 32)) })
	check("other-close", "bad_partial", "a share of another close", 40_001, func(*contract.PubNonce, *contract.PartialSignature) {})
	check("other-nonce", "bad_partial", "the share was made with another nonce", 40_000, func(n *contract.PubNonce, _ *contract.PartialSignature) { *n = a })
	check("zero-nonce", "bad_nonce", "a nonce of zero bytes", 40_000, func(n *contract.PubNonce, _ *contract.PartialSignature) { *n = contract.PubNonce{} })
	check("half-nonce", "bad_nonce", "half of the nonce is no point", 40_000, func(n *contract.PubNonce, _ *contract.PartialSignature) { copy(n[33:], make([]byte, 33)) })
}

// closeTogether adds a close by the key path to a story: the client asks, the relay answers.
func (s *story) closeTogether() {
	s.t.Helper()
	own, other := secretNonce("client", s.clientK), secretNonce("relay", s.relayK)
	ask, _ := s.act(&s.client, "alice", contract.AskClose{Amount: 20_000, FeeRate: 1_000, Nonce: publicNonce(own), Stamp: s.stamp()})
	_, effects := s.toRelay(ask)
	for _, e := range effects {
		c, ok := e.(contract.Cosign)
		if !ok {
			continue
		}
		all, err := musig2.AggregateNonces([][musig2.PubNonceSize]byte{publicNonce(own), publicNonce(other)})
		if err != nil {
			s.t.Fatal(err)
		}
		_, sig, err := partial(c.Spend, s.relayK, other, all)
		if err != nil {
			s.t.Fatal(err)
		}
		s.act(&s.relay, "relay", contract.Cosigned{Request: c.Request, Nonce: publicNonce(other), Partial: sig, Stamp: s.stamp()})
	}
}
