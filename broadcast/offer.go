package broadcast

import (
	"relaymarket/identity"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// MaxSigned is the size of the largest signed offer in bytes: a statement of the type's
// maximum, the two lengths around it, and the proof of a full batch.
const MaxSigned = 8192 + 6 + 68 + 12*32

// Offer is the seed's serverBroadcast: what a relay sells, at what price, and where. It is
// unverified; see Open.
type Offer struct {
	identity.Header                    // From is the relay, To is zero, Time is when it was made
	Sequence        uint64             // rises with every offer of the relay; at least 1; on disk before it is published
	ValidUntil      identity.UnixMilli // the offer binds until here, at most MaxValidity after Time
	Addresses       []identity.Address // 1 to identity.MaxAddresses; see CheckAddress
	Prices          usage.Prices       // storage per GiB·day and egress per GiB, each at most usage.MaxPrice
	ContractPrice   usage.Sat          // paid once per contract; at least MinContractPrice(SettleFeeRate)
	MinDeposit      usage.Sat          // smallest value of a contract
	MaxDeposit      usage.Sat          // largest value of a contract
	MinDuration     uint32             // shortest contract in blocks
	MaxDuration     uint32             // longest contract in blocks, at most MaxBlocks
	FundingDepth    uint8              // confirmations before service begins, 1 to MaxDepth
	CreditLimit     usage.Sat          // how much unpaid service the relay tolerates at most; optional
	CreditToEarn    usage.Sat          // the part of CreditLimit that only payments open to a new payer; optional
	SettleFeeRate   uint64             // sat per 1000 vB of the settlement's first fee step
	// MinFundFeeRate is the least fee rate, in sat per 1000 vB, of a funding transaction that
	// the relay waits for.
	MinFundFeeRate  uint64
	Limits          usage.Limits // of sessions, frames and records
	Features        uint64       // feature bits; even ones must be understood by a client; optional
	FreeBytesPerDay uint64       // free allowance of an identity without contract; optional
	MaxTTL          uint32       // longest life of a record in seconds
	PowBits         uint8        // work that the offer commits to, at most MaxPowBits; optional
	MaxCollateral   usage.Sat    // the most that the relay locks beside an escrow until the contract's end; at most MaxDeposit; optional
	Nonce           uint64       // found by Mine; outside the core; optional
}

// nonceType is the last field of an offer, and the one outside its core.
const nonceType = 126

// nonceLen is the encoded size of the nonce: one byte of type, one of length, eight of value.
const nonceLen = 10

// maxLimits bounds the nested limits in bytes.
const maxLimits = 256

func (o *Offer) fields(addresses *[][]byte, limits *[]byte) []codec.Field {
	return append(o.coreFields(addresses, limits), codec.Optional(codec.U64(nonceType, &o.Nonce)))
}

func (o *Offer) coreFields(addresses *[][]byte, limits *[]byte) []codec.Field {
	return []codec.Field{
		codec.U64(64, &o.Sequence), codec.U64(66, &o.ValidUntil),
		codec.List(68, addresses, identity.MaxAddresses, 512),
		codec.U64(70, &o.Prices.StorageMsatPerGiBDay), codec.U64(72, &o.Prices.EgressMsatPerGiB),
		codec.U64(74, &o.ContractPrice), codec.U64(76, &o.MinDeposit), codec.U64(78, &o.MaxDeposit),
		codec.U32(80, &o.MinDuration), codec.U32(82, &o.MaxDuration), codec.U8(84, &o.FundingDepth),
		codec.Optional(codec.U64(86, &o.CreditLimit)),
		codec.U64(88, &o.SettleFeeRate), codec.U64(90, &o.MinFundFeeRate),
		codec.Bytes(92, limits, 1, maxLimits),
		codec.Optional(codec.U64(94, &o.Features)), codec.Optional(codec.U64(96, &o.FreeBytesPerDay)),
		codec.U32(98, &o.MaxTTL), codec.Optional(codec.U8(100, &o.PowBits)),
		codec.Optional(codec.U64(104, &o.MaxCollateral)),
		codec.Optional(codec.U64(106, &o.CreditToEarn)),
	}
}

// Encode writes the bytes of the statement; it sets the type itself. An offer that Check
// refuses is not written. The proof of work is not looked at, so that an offer can be
// encoded before it is mined.
func (o Offer) Encode() ([]byte, error) {
	o.Type = identity.TypeServerBroadcast
	if err := o.Check(); err != nil {
		return nil, err
	}
	addresses, err := identity.EncodeAddresses(o.Addresses)
	if err != nil {
		return nil, err
	}
	limits := o.Limits.Encode()
	return identity.EncodeStatement(o.Header, o.fields(&addresses, &limits)...)
}

// Decode reads the bytes of an offer strictly. Neither Check nor the proof of work nor the
// signature is looked at: that is Open. Errors carry code Malformed, TooLarge or WrongNetwork.
func Decode(raw []byte) (Offer, error) {
	var o Offer
	var addresses [][]byte
	var limits []byte
	err := identity.DecodeStatement(raw, identity.TypeServerBroadcast, &o.Header, o.fields(&addresses, &limits)...)
	if err != nil {
		return Offer{}, err
	}
	if o.Addresses, err = identity.DecodeAddresses(addresses); err != nil {
		return Offer{}, err
	}
	if o.Limits, err = usage.DecodeLimits(limits); err != nil {
		return Offer{}, err
	}
	return o, nil
}

// Relay is the key of the relay that makes the offer.
func (o *Offer) Relay() identity.PublicKey { return o.From }

// Core is the digest of the offer without its nonce. Errors are those of Encode.
func (o Offer) Core() (identity.Digest, error) {
	o.Nonce = 0
	raw, err := o.Encode()
	if err != nil {
		return identity.Digest{}, err
	}
	return coreOf(raw, 0), nil
}

// coreOf digests the received bytes of an offer without its nonce, which stands last and is
// absent when zero. Nothing is encoded again.
func coreOf(raw []byte, nonce uint64) identity.Digest {
	if nonce != 0 {
		raw = raw[:len(raw)-nonceLen]
	}
	return identity.Tagged("offer-core", raw)
}
