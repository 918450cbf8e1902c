package contract

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Margins are the heights and depths of one network: every deadline of money. Heights are in
// blocks; those named with "before" count back from the expiry height E.
type Margins struct {
	Network identity.Network

	MinDuration     usage.Height // shortest time from opening to E
	DefaultDuration usage.Height // what a client proposes unless told otherwise
	MaxDuration     usage.Height // longest time from opening to E

	RenewBefore   usage.Height // from E−RenewBefore a new contract should be opened
	CloseBefore   usage.Height // from E−CloseBefore no cooperative close is made any more
	StopBefore    usage.Height // from E−StopBefore no service and no payment
	SettleBefore  usage.Height // from E−SettleBefore the relay broadcasts its settlement
	OverdueBefore usage.Height // a settlement unconfirmed at E−OverdueBefore is an alarm

	AskAfter     usage.Height // the relay asks for any sum that is unpaid so long after the last payment
	OverdueAfter usage.Height // after a request that is not paid the relay takes no more orders
	SuspendAfter usage.Height // after that: the payer's last time to fetch what is its own
	RetainAfter  usage.Height // after that nobody reads any more
	PurgeAfter   usage.Height // after that the records may be purged

	DefaultDepth uint8        // confirmations of the funding before service, unless the offer says otherwise
	MaxDepth     uint8        // the most that an offer may ask for
	FinalDepth   usage.Height // confirmations at which a spend counts as final
	SafeDepth    usage.Height // confirmations at which the record may be forgotten

	TipTolerance  usage.Height // by how much the tips of the two sides may differ at opening
	OpeningBlocks usage.Height // an opening in which nothing was signed is dropped after so many blocks
	UnfundedAfter usage.Height // the relay drops a contract whose funding is unconfirmed so long
	CoinbaseDepth usage.Height // confirmations of a coinbase coin (consensus)
}

// marginsTable is printed in PROTOCOL.md. The public test networks use the values of mainnet, so
// that what is learnt there is true; regtest is short enough to live a whole contract in a test.
var marginsTable = []Margins{
	public(identity.Mainnet), public(identity.Testnet3), public(identity.Testnet4), public(identity.Signet),
	{
		Network:     identity.Regtest,
		MinDuration: 30, DefaultDuration: 60, MaxDuration: 10_000,
		RenewBefore: 20, CloseBefore: 18, StopBefore: 12, SettleBefore: 6, OverdueBefore: 3,
		AskAfter: 24, OverdueAfter: 3, SuspendAfter: 3, RetainAfter: 3, PurgeAfter: 6,
		DefaultDepth: 3, MaxDepth: 6, FinalDepth: 3, SafeDepth: 20,
		TipTolerance: 3, OpeningBlocks: 6, UnfundedAfter: 60, CoinbaseDepth: 100,
	},
}

func public(n identity.Network) Margins {
	return Margins{
		Network:     n,
		MinDuration: 1008, DefaultDuration: 4320, MaxDuration: 52_560,
		RenewBefore: 1008, CloseBefore: 432, StopBefore: 288, SettleBefore: 144, OverdueBefore: 72,
		AskAfter: 144, OverdueAfter: 432, SuspendAfter: 432, RetainAfter: 432, PurgeAfter: 1008,
		DefaultDepth: 3, MaxDepth: 6, FinalDepth: 6, SafeDepth: 144,
		TipTolerance: 3, OpeningBlocks: 12, UnfundedAfter: 2016, CoinbaseDepth: 100,
	}
}

// AllMargins lists the margins of every network, for PROTOCOL.md.
func AllMargins() []Margins { return append([]Margins(nil), marginsTable...) }

// MarginsOf finds the margins of a network; code WrongNetwork if it is unknown.
func MarginsOf(n identity.Network) (Margins, error) {
	for _, m := range marginsTable {
		if m.Network == n {
			return m, nil
		}
	}
	return Margins{}, code.New(code.WrongNetwork, "no margins for network %s", n)
}

// before is e − n, and 0 where that would be negative.
func before(e, n usage.Height) usage.Height {
	if n > e {
		return 0
	}
	return e - n
}
