package contract

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// Nonce is the 32 random bytes that the client draws for a contract. Contract keys derive from it
// (see internal/wallet.ContractKey), and every message of the contract carries it.
type Nonce [32]byte

// String is the nonce as hex.
func (n Nonce) String() string { return hex.EncodeToString(n[:]) }

// Key is a public contract key in the 33-byte compressed form (SEC 1). It is never an identity key
// and belongs to one contract.
type Key [33]byte

// KeyOf is the public half of a private contract key.
func KeyOf(priv *btcec.PrivateKey) Key { return Key(priv.PubKey().SerializeCompressed()) }

// point parses the key; code BadKey if it is not on the curve.
func (k Key) point() (*btcec.PublicKey, error) {
	p, err := btcec.ParsePubKey(k[:])
	return p, code.Wrap(code.BadKey, err, "a contract key is no point of the curve")
}

// xonly is the 32-byte form that stands in scripts (BIP340).
func (k Key) xonly() [32]byte { return [32]byte(k[1:]) }

// OfferTerms is what a contract takes from a relay's signed offer (serverBroadcast); the caller
// fills it from the offer that it verified.
type OfferTerms struct {
	Network        identity.Network
	Relay          identity.PublicKey
	Digest         identity.Digest    // of the serverBroadcast statement
	ValidUntil     identity.UnixMilli // the offer binds until then
	Prices         usage.Prices
	ContractPrice  usage.Sat // flat, part of the first payment
	MinDeposit     usage.Sat // bounds of V
	MaxDeposit     usage.Sat
	MaxCollateral  usage.Sat    // the most that the relay locks beside an escrow; 0: nothing
	MinDuration    usage.Height // bounds of E − tip, narrower than the network's
	MaxDuration    usage.Height
	FundingDepth   uint8     // confirmations before service, 1 to Margins.MaxDepth
	CreditLimit    usage.Sat // what the relay serves beyond what is paid, at most
	CreditToEarn   usage.Sat // the part of that which only payments open to a new payer
	SettleFeeRate  uint64    // sat per 1,000 vB of the first settlement tier
	MinFundFeeRate uint64    // least fee rate of the funding transaction, sat per 1,000 vB
}

// Terms is everything that both sides agree on. They are fixed from opening to the end; scripts
// and transactions are built from them alone.
//
// Encoding: TLV in the order of the fields, types 0, 2, 4, … The terms digest is
// tagged("terms", encoding).
type Terms struct {
	Network       identity.Network   // 0
	Client        identity.PublicKey // 2: identity of the client
	Relay         identity.PublicKey // 4: identity of the relay
	ClientKey     Key                // 6: C
	RelayKey      Key                // 8: R
	Nonce         Nonce              // 10
	Offer         identity.Digest    // 12: of the serverBroadcast that the client accepted
	Value         usage.Sat          // 14: V, what the escrow output holds
	Collateral    usage.Sat          // 16: K, what the relay locks until E; 0: nothing
	Expiry        usage.Height       // 18: E, from where on the client may refund
	Tip           usage.Height       // 20: the client's tip when it proposed
	Prices        usage.Prices       // 22 storage, 24 egress, in msat
	ContractPrice usage.Sat          // 26
	FirstPayment  usage.Sat          // 28: P_1 = contract price + prepaid
	CreditLimit   usage.Sat          // 30
	ClientScript  []byte             // 32: where the client is paid
	RelayScript   []byte             // 34: where the relay is paid
	FundFeeRate   uint64             // 36: sat per 1,000 vB
	SettleFeeRate uint64             // 38: of the first tier, sat per 1,000 vB
	Depth         uint8              // 40: confirmations of the funding before service
	CreditToEarn  usage.Sat          // 42: part of CreditLimit that only payments open; absent if zero
}

// maxTerms bounds an encoding of Terms.
const maxTerms = 1024

func (t *Terms) fields() []codec.Field {
	return []codec.Field{
		codec.U32(0, &t.Network), codec.Fixed(2, t.Client[:]), codec.Fixed(4, t.Relay[:]),
		codec.Fixed(6, t.ClientKey[:]), codec.Fixed(8, t.RelayKey[:]), codec.Fixed(10, t.Nonce[:]),
		codec.Fixed(12, t.Offer[:]), codec.U64(14, &t.Value), codec.U64(16, &t.Collateral),
		codec.U32(18, &t.Expiry), codec.U32(20, &t.Tip),
		codec.U64(22, &t.Prices.StorageMsatPerGiBDay), codec.U64(24, &t.Prices.EgressMsatPerGiB),
		codec.U64(26, &t.ContractPrice), codec.U64(28, &t.FirstPayment), codec.U64(30, &t.CreditLimit),
		codec.Bytes(32, &t.ClientScript, 0, maxScript), codec.Bytes(34, &t.RelayScript, 0, maxScript),
		codec.U64(36, &t.FundFeeRate), codec.U64(38, &t.SettleFeeRate), codec.U8(40, &t.Depth),
		codec.Optional(codec.U64(42, &t.CreditToEarn)),
	}
}

// Encode writes the terms. Errors: a script that is too long.
func (t Terms) Encode() ([]byte, error) {
	raw, err := codec.Encode(t.fields()...)
	return raw, code.Wrap(code.Malformed, err, "the terms cannot be written")
}

// DecodeTerms reads what Encode wrote, strictly. Whether the values make sense is Check's.
func DecodeTerms(raw []byte) (Terms, error) {
	var t Terms
	if err := codec.Decode(raw, maxTerms, t.fields()...); err != nil {
		return Terms{}, code.Wrap(code.Malformed, err, "not contract terms")
	}
	return t, nil
}

// Digest names the terms in orders, receipts and reports: tagged("terms", encoding). It is zero for
// terms that cannot be encoded.
func (t Terms) Digest() identity.Digest {
	raw, err := t.Encode()
	if err != nil {
		return identity.Digest{}
	}
	return identity.Tagged("terms", raw)
}

// ContractID names the contract: tagged("contract-id", funding txid ‖ output u32 ‖ terms digest),
// the txid in the byte order in which it is hashed, not the reversed one in which it is shown.
func (t Terms) ContractID(funding wire.OutPoint) usage.ContractID {
	d := t.Digest()
	vout := binary.BigEndian.AppendUint32(nil, funding.Index)
	return usage.ContractID(identity.Tagged("contract-id", funding.Hash[:], vout, d[:]))
}

// Check holds complete terms against the rules of the network and of this version, whoever made
// them. Errors carry the code of the field that is wrong.
func (t Terms) Check() error {
	if err := t.checkProposal(); err != nil {
		return err
	}
	if err := checkContractKey(t.RelayKey, t); err != nil {
		return err
	}
	if t.ClientKey.xonly() == t.RelayKey.xonly() {
		return code.New(code.BadKey, "client and relay use the same contract key")
	}
	return checkPayout(t.RelayScript)
}

// checkProposal is Check without what only the relay's answer brings: its key and its script.
func (t Terms) checkProposal() error {
	m, err := MarginsOf(t.Network)
	if err != nil {
		return err
	}
	if t.Client == t.Relay || t.Client.IsZero() || t.Relay.IsZero() {
		return code.New(code.BadKey, "a contract has two different identities")
	}
	if err := checkContractKey(t.ClientKey, t); err != nil {
		return err
	}
	if err := t.checkTime(m); err != nil {
		return err
	}
	if err := checkPayout(t.ClientScript); err != nil {
		return err
	}
	return t.checkMoney()
}

// checkContractKey refuses keys off the curve and keys that are identities (check 12).
func checkContractKey(k Key, t Terms) error {
	if _, err := k.point(); err != nil {
		return err
	}
	if x := k.xonly(); x == t.Client || x == t.Relay {
		return code.New(code.BadKey, "a contract key must not be an identity key")
	}
	return nil
}

// checkTime holds E and depth against the network's bounds (check 24).
func (t Terms) checkTime(m Margins) error {
	switch {
	case t.Expiry < t.Tip || t.Expiry-t.Tip < m.MinDuration || t.Expiry-t.Tip > m.MaxDuration:
		return code.New(code.BadDeadline, "expiry %d at tip %d: a contract lasts %d to %d blocks", t.Expiry, t.Tip, m.MinDuration, m.MaxDuration)
	case t.Expiry >= lockTimeThreshold:
		return code.New(code.BadDeadline, "expiry %d is not a height", t.Expiry)
	case t.Depth < 1 || t.Depth > m.MaxDepth:
		return code.New(code.TermsMismatch, "funding depth %d, allowed are 1 to %d", t.Depth, m.MaxDepth)
	}
	return nil
}

// checkMoney holds amounts and fee rates against their bounds (checks 18, 20, 22, 23).
func (t Terms) checkMoney() error {
	if err := t.Prices.Check(); err != nil {
		return err
	}
	if err := checkFeeRate(t.FundFeeRate); err != nil {
		return err
	}
	if err := checkFeeRate(t.SettleFeeRate); err != nil {
		return err
	}
	if t.Value > usage.MaxSat || t.ContractPrice > usage.MaxSat || t.CreditLimit > usage.MaxSat {
		return code.New(code.BadAmount, "more than all the money there is")
	}
	if err := t.checkCollateral(); err != nil {
		return err
	}
	if t.CreditToEarn > t.CreditLimit {
		return code.New(code.BadAmount, "a credit of %d sat, of which %d are still to be earned", t.CreditLimit, t.CreditToEarn)
	}
	return t.checkFirst()
}

// checkFirst holds P_1 against V, the contract price and the cost of settling (check 22): the
// relay must always be able to pay for its own exit out of what it was paid.
func (t Terms) checkFirst() error {
	if t.FirstPayment < t.ContractPrice {
		return code.New(code.BadAmount, "a first payment of %d sat is below the contract price of %d", t.FirstPayment, t.ContractPrice)
	}
	if t.FirstPayment > t.Value || snap(t.Value, t.FirstPayment) != t.FirstPayment {
		return code.New(code.BadAmount, "a first payment of %d sat from %d leaves the client less than %d", t.FirstPayment, t.Value, dustLimit)
	}
	if least := t.MinFirst(); t.FirstPayment < least {
		return code.New(code.BadAmount, "a first payment of %d sat, settling needs %d", t.FirstPayment, least)
	}
	return nil
}

// MinFirst is the least first payment that pays for the relay's own exit: 330 sat and the fee of
// the first settlement tier with two taproot outputs.
func (t Terms) MinFirst() usage.Sat { return dustLimit + FeeFor(t.SettleFeeRate, settleWeight) }

// Prepaid is the part of the first payment that buys use.
func (t Terms) Prepaid() usage.Sat { return t.FirstPayment - min(t.FirstPayment, t.ContractPrice) }

// Credit is what the relay serves ahead of payment once paid sat are paid in all: what need not be
// earned, and beyond it, up to the limit, as much as the relay has been paid for use. Who pays what he
// has used, again and again, doubles it each time; and the relay never risks more of what must be
// earned than it has already got.
func (t Terms) Credit(paid usage.Sat) usage.Sat {
	earn := min(t.CreditToEarn, t.CreditLimit)
	return t.CreditLimit - earn + min(earn, paid-min(paid, t.ContractPrice))
}

// ServiceUntil is the height from which the relay serves no more and is paid no more.
func (t Terms) ServiceUntil() usage.Height {
	return t.deadline(func(m Margins) usage.Height { return m.StopBefore })
}

// SettleFrom is the height from which the relay broadcasts its settlement.
func (t Terms) SettleFrom() usage.Height {
	return t.deadline(func(m Margins) usage.Height { return m.SettleBefore })
}

// CloseUntil is the height from which no cooperative close is made any more.
func (t Terms) CloseUntil() usage.Height {
	return t.deadline(func(m Margins) usage.Height { return m.CloseBefore })
}

// deadline is E less a margin; 0 on an unknown network, where nothing may happen.
func (t Terms) deadline(margin func(Margins) usage.Height) usage.Height {
	m, err := MarginsOf(t.Network)
	if err != nil {
		return 0
	}
	return before(t.Expiry, margin(m))
}
