package spec

import (
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
)

// relayCoin is what the relay of tellCollateral locks.
func relayCoin() contract.Coin {
	return contract.Coin{OutPoint: wire.OutPoint{Hash: [32]byte(identity.Tagged("spec/relay-coin")), Index: 2}, Value: 60_000, Script: payTo(seedKey("relay coin"))}
}

// signWith signs the only own input of a funding.
func signWith(t *testing.T, effects []contract.Effect, k string) map[wire.OutPoint]wire.TxWitness {
	t.Helper()
	f, ok := effects[0].(contract.SignFunding)
	if !ok || len(f.Own) != 1 {
		t.Fatalf("%+v", effects)
	}
	for i, in := range f.Tx.TxIn {
		if in.PreviousOutPoint != f.Own[0] {
			continue
		}
		out := f.Prevouts[f.Own[0]]
		hashes := txscript.NewTxSigHashes(f.Tx, txscript.NewMultiPrevOutFetcher(f.Prevouts))
		sig, err := txscript.RawTxInTaprootSignature(f.Tx, hashes, i, out.Value, out.PkScript, nil, txscript.SigHashDefault, seedKey(k))
		if err != nil {
			t.Fatal(err)
		}
		return map[wire.OutPoint]wire.TxWitness{f.Own[0]: {sig}}
	}
	t.Fatal("the own coin is no input")
	return nil
}

// tellCollateral is an opening with a collateral of 20,000 sat.
func tellCollateral(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, clientK: seedKey("C"), relayK: seedKey("R"), stamps: 2000}
	offer := offerTerms()
	offer.MaxCollateral = 50_000
	p := s.proposal()
	p.Offer, p.Collateral = offer, 20_000
	open, _ := s.act(&s.client, "alice", p)
	view := func(c contract.Coin) []contract.CoinView {
		return []contract.CoinView{{Exists: true, Value: c.Value, Script: c.Script, Confirmations: 10}}
	}
	change := contract.Change{Value: 60_000 - 20_000 - contract.FeeFor(1_000, 574), Script: payTo(seedKey("relay change"))}
	_, effects := s.act(&s.relay, "relay", contract.Accept{
		Message: open, Offer: offer, Coins: view(coin()), Backing: contract.Share{Coins: []contract.Coin{relayCoin()}, Change: change},
		Key: contract.KeyOf(s.relayK), Payout: payTo(seedKey("relay payout")), Tip: tip, Stamp: s.stamp(),
	})
	add, _ := s.act(&s.relay, "relay", contract.SignedFunding{Witnesses: signWith(t, effects, "relay coin"), Stamp: s.stamp()})
	_, effects = s.act(&s.client, "alice", contract.Received{Message: add, Coins: view(relayCoin()), Key: s.clientK, Stamp: s.stamp()})
	signed, _ := s.act(&s.client, "alice", contract.SignedFunding{Witnesses: signWith(t, effects, "coin"), Key: s.clientK, Stamp: s.stamp()})
	s.toRelay(signed)
	return s
}
