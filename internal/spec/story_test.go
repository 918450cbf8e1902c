package spec

import (
	"encoding/binary"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// now is the time of everything in the vectors, tip the height.
const (
	now identity.UnixMilli = 1_790_000_000_000
	tip usage.Height       = 200
)

// story is a whole contract between two honest parties, by the machine itself.
type story struct {
	t               *testing.T
	client, relay   contract.Contract
	clientK, relayK *btcec.PrivateKey
	stamps          uint64
	all             []identity.Signed // every statement, in order
}

func (s *story) stamp() contract.Stamp {
	s.stamps++
	d := identity.Tagged("spec/stamp", binary.BigEndian.AppendUint64(nil, s.stamps))
	return contract.Stamp{Time: now + identity.UnixMilli(s.stamps), Serial: identity.Serial(d[:16])}
}

// act applies an event to one side and gives the verified statement that it makes, if any, and
// all effects.
func (s *story) act(c *contract.Contract, by string, e contract.Event) (contract.Verified, []contract.Effect) {
	s.t.Helper()
	next, effects, err := c.Apply(e)
	if err != nil {
		s.t.Fatalf("%T: %v", e, err)
	}
	*c = next
	var out contract.Verified
	for _, f := range effects {
		send, ok := f.(contract.Send)
		if !ok {
			continue
		}
		signed, err := identity.SignOne(key(by), send.Statement)
		if err != nil {
			s.t.Fatal(err)
		}
		if out, err = contract.OpenMessage(signed); err != nil {
			s.t.Fatal(err)
		}
		s.all = append(s.all, signed)
	}
	return out, effects
}

func (s *story) toClient(m contract.Verified) (contract.Verified, []contract.Effect) {
	s.t.Helper()
	return s.act(&s.client, "alice", contract.Received{Message: m, Key: s.clientK, Stamp: s.stamp()})
}

func (s *story) toRelay(m contract.Verified) (contract.Verified, []contract.Effect) {
	s.t.Helper()
	return s.act(&s.relay, "relay", contract.Received{Message: m, Key: s.relayK, OwnReport: true, Stamp: s.stamp()})
}

func offerTerms() contract.OfferTerms {
	return contract.OfferTerms{
		Network: identity.Regtest, Relay: key("relay").Public(), Digest: identity.Tagged("spec/offer"), ValidUntil: now + 86_400_000,
		Prices: usage.Prices{StorageMsatPerGiBDay: 670, EgressMsatPerGiB: 20_000}, ContractPrice: 1_000, MinDeposit: 10_000,
		MaxDeposit: 1_000_000, MinDuration: 30, MaxDuration: 10_000, FundingDepth: 1, CreditLimit: 2_000, SettleFeeRate: 1_000, MinFundFeeRate: 1_000,
	}
}

func coin() contract.Coin {
	return contract.Coin{OutPoint: wire.OutPoint{Hash: [32]byte(identity.Tagged("spec/coin")), Index: 1}, Value: 100_000, Script: payTo(seedKey("coin"))}
}

func (s *story) proposal() contract.Propose {
	return contract.Propose{
		Offer: offerTerms(), Client: key("alice").Public(), Nonce: contract.Nonce(identity.Tagged("spec/nonce")), Key: contract.KeyOf(s.clientK),
		Value: 50_000, Prepaid: 1_000, Duration: 60, FundFeeRate: 1_000, Coins: []contract.Coin{coin()},
		Change: contract.Change{Value: 100_000 - 50_000 - contract.FeeFor(1_000, 616), Script: payTo(seedKey("change"))},
		Payout: payTo(seedKey("client payout")), Tip: tip, Stamp: s.stamp(),
	}
}

// tell goes through a contract: opening, a payment, all kinds of closes, and an aborted one.
func tell(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, clientK: seedKey("C"), relayK: seedKey("R")}
	open, _ := s.act(&s.client, "alice", s.proposal())
	add, _ := s.act(&s.relay, "relay", contract.Accept{
		Message: open, Offer: offerTerms(), Key: contract.KeyOf(s.relayK), Payout: payTo(seedKey("relay payout")), Tip: tip, Stamp: s.stamp(),
		Coins: []contract.CoinView{{Exists: true, Value: coin().Value, Script: coin().Script, Confirmations: 10}},
	})
	_, effects := s.toClient(add)
	signed, _ := s.act(&s.client, "alice", contract.SignedFunding{Witnesses: s.witnesses(effects), Key: s.clientK, Stamp: s.stamp()})
	s.toRelay(signed)
	opened, _ := s.act(&s.relay, "relay", contract.TxSeen{Tx: s.relay.FundingTx(), Stamp: s.stamp()})
	s.toClient(opened)
	block := contract.BlockConnected{Height: tip + 1, Hash: chainhash.Hash(identity.Tagged("spec/block")), Txs: []*wire.MsgTx{s.relay.FundingTx()}, FeeRate: 1_000, Stamp: s.stamp()}
	block.Key = s.clientK
	s.act(&s.client, "alice", block)
	block.Key = s.relayK
	s.act(&s.relay, "relay", block)
	report := identity.Tagged("spec/report")
	ask, _ := s.act(&s.relay, "relay", contract.AskPayment{Amount: 3_000, Report: report, Stamp: s.stamp()})
	s.toClient(ask)
	pay, _ := s.act(&s.client, "alice", contract.Pay{Amount: 20_000, Report: report, Key: s.clientK, Stamp: s.stamp()})
	ack, _ := s.toRelay(pay)
	s.toClient(ack)
	s.meet()
	active, payer := s.relay, s.client
	s.owe(report)
	s.relay, s.client = active, payer
	s.act(&s.relay, "relay", contract.OfferClose{Amount: 20_000, FeeRate: 1_000, Report: report, Key: s.relayK, Stamp: s.stamp()})
	s.relay = active // the other way to close
	refund, _ := s.act(&s.client, "alice", contract.Close{Amount: 20_000, FeeRate: 1_000, Key: s.clientK, Stamp: s.stamp()})
	s.toRelay(refund)
	s.client, s.relay = payer, active // and the third
	s.closeTogether()
	given := &story{t: t, clientK: s.clientK, relayK: s.relayK, stamps: 1000}
	given.act(&given.client, "alice", given.proposal())
	given.act(&given.client, "alice", contract.GiveUp{Code: code.Declined, Text: "not today", Stamp: given.stamp()})
	s.all = append(s.all, given.all[1])
	return s
}

// owe is what follows a request that is not paid: two notices.
func (s *story) owe(report identity.Digest) {
	s.t.Helper()
	defer func(n uint64) { s.stamps = n }(s.stamps)
	s.stamps = 2000
	ask, _ := s.act(&s.relay, "relay", contract.AskPayment{Amount: 22_000, Report: report, Stamp: s.stamp()})
	s.all = s.all[:len(s.all)-1] // there is one in the story
	s.toClient(ask)
	for h := s.relay.Tip() + 1; h <= s.client.Tip()+3; h++ {
		s.act(&s.relay, "relay", contract.BlockConnected{Height: h, Key: s.relayK, FeeRate: 1_000, Stamp: s.stamp()})
	}
	for range 2 {
		notice, _ := s.act(&s.relay, "relay", contract.Notify{Amount: 22_000, Report: report, Stamp: s.stamp()})
		s.toClient(notice)
		for range 3 {
			s.act(&s.relay, "relay", contract.BlockConnected{Height: s.relay.Tip() + 1, Key: s.relayK, FeeRate: 1_000, Stamp: s.stamp()})
			s.act(&s.client, "alice", contract.BlockConnected{Height: s.relay.Tip(), Key: s.clientK, FeeRate: 1_000, Stamp: s.stamp()})
		}
	}
}

// meet is the beginning of a session: both tell how the contract stands and that the funding is deep
// enough. Neither takes a number, so the rest of the story is the same without it.
func (s *story) meet() {
	s.t.Helper()
	head := contract.Head{Epoch: 1, Size: 5, Root: identity.Tagged("spec/root")}
	again, _ := s.act(&s.client, "alice", contract.Reconnect{Head: head, Opening: true, Stamp: s.stamp()})
	s.act(&s.relay, "relay", contract.Received{Message: again, Head: head, Key: s.relayK, Stamp: s.stamp()})
	ready, _ := s.act(&s.client, "alice", contract.AnnounceReady{Stamp: s.stamp()})
	s.all = s.all[:len(s.all)-1] // the relay's answer is the vector
	s.toRelay(ready)
}

// witnesses sign the funding transaction with the coin's key.
func (s *story) witnesses(effects []contract.Effect) map[wire.OutPoint]wire.TxWitness {
	s.t.Helper()
	for _, e := range effects {
		f, ok := e.(contract.SignFunding)
		if !ok {
			continue
		}
		fetch := txscript.NewMultiPrevOutFetcher(f.Prevouts)
		sig, err := txscript.RawTxInTaprootSignature(f.Tx, txscript.NewTxSigHashes(f.Tx, fetch), 0, int64(coin().Value), coin().Script, nil, txscript.SigHashDefault, seedKey("coin"))
		if err != nil {
			s.t.Fatal(err)
		}
		return map[wire.OutPoint]wire.TxWitness{coin().OutPoint: {sig}}
	}
	s.t.Fatal("the funding is not to be signed")
	return nil
}
