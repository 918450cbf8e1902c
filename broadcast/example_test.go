package broadcast_test

import (
	"bytes"
	"fmt"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/usage"
)

// A relay makes an offer; a client opens it and asks what a month of 10 GiB would cost.
func Example() {
	key, err := identity.NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	const now = 1_750_000_000_000 // milliseconds; a program passes its clock and a random serial
	offer := broadcast.Offer{
		Header:   identity.Header{Network: identity.Mainnet, From: key.Public(), Time: now},
		Sequence: 1, ValidUntil: now + broadcast.MaxValidity,
		Addresses:     []identity.Address{{URL: "wss://relay.example:7448", Pins: []identity.Digest{{1}}}},
		Prices:        usage.Prices{StorageMsatPerGiBDay: 670, EgressMsatPerGiB: 20_000},
		ContractPrice: broadcast.MinContractPrice(10_000),
		MinDeposit:    35_800, MaxDeposit: 5_000_000, MinDuration: 1008, MaxDuration: 52_560,
		FundingDepth: 3, SettleFeeRate: 10_000, MinFundFeeRate: 1000,
		Limits: usage.DefaultLimits(), MaxTTL: 30 * 86400, PowBits: 12,
	}
	if err := offer.Mine(nil); err != nil {
		panic(err)
	}
	signed, err := offer.Sign(key)
	if err != nil {
		panic(err)
	}

	seen, err := broadcast.Open(signed.Signed(), now+1)
	if err != nil {
		panic(err)
	}
	month := broadcast.Usage{StoredBytes: 10 << 30, Days: 30, EgressBytes: 5 << 30, FeeRate: 2000}
	for _, q := range broadcast.Rank([]broadcast.VerifiedOffer{seen}, month, broadcast.DefaultGuard()) {
		fmt.Println(broadcast.FormatPrices(q.Offer.Prices))
		fmt.Println("usage", broadcast.FormatMsat(q.Cost), "contract", broadcast.FormatSat(q.ContractPrice),
			"fees", broadcast.FormatSat(q.FundFee+q.CloseFee), "total", broadcast.FormatSat(q.Total))
		fmt.Println("deposit", broadcast.FormatSat(q.Deposit))
	}
	// Output:
	// 0.670 sat/GiB·day stored, 20.000 sat/GiB read
	// usage 301.000 sat contract 2,370 sat fees 616 sat total 3,287 sat
	// deposit 35,800 sat
}
