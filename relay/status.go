package relay

import (
	"relaymarket/identity"
	"relaymarket/usage"
)

// Status is what an operator wants to see at a glance; `relay status` prints it.
type Status struct {
	Key        identity.PublicKey `json:"key"`
	Name       string             `json:"name"`
	Network    string             `json:"network"`
	Version    string             `json:"version"`
	Listen     string             `json:"listen"`
	Uptime     uint64             `json:"uptime_s"`
	Ready      bool               `json:"ready"`
	NotReady   string             `json:"not_ready,omitempty"`
	TipHeight  usage.Height       `json:"tip_height"`
	TipAge     uint64             `json:"tip_age_s"`
	OfferUntil identity.UnixMilli `json:"offer_valid_until_ms"`
	OfferSeq   uint64             `json:"offer_sequence"`
	Sessions   int                `json:"sessions"`
	Listeners  int                `json:"listeners"`
	DiskFree   uint64             `json:"disk_free_bytes"`
	Contracts  []ContractStatus   `json:"contracts"`
	Owed       usage.Msat         `json:"owed_msat"`     // by all open contracts together
	Promised   usage.Sat          `json:"promised_sat"`  // payment updates held, contract prices included
	WalletSat  usage.Sat          `json:"wallet_sat"`    // confirmed
	Unsettled  usage.Sat          `json:"unsettled_sat"` // promised in contracts that are not closed
	Locked     usage.Sat          `json:"locked_sat"`    // own coins in contracts as collateral, or promised for it
	StoreEpoch string             `json:"store_epoch"`
}

// ContractStatus is one contract in a Status.
type ContractStatus struct {
	Contract usage.ContractID   `json:"contract"`
	Client   identity.PublicKey `json:"client"`
	Name     string             `json:"name"`
	State    string             `json:"state"`
	Sentence string             `json:"sentence"`
	Value    usage.Sat          `json:"value_sat"`
	Paid     usage.Sat          `json:"paid_sat"`
	Owed     usage.Msat         `json:"owed_msat"`
	Reserved usage.Msat         `json:"reserved_msat"`
	Rows     uint64             `json:"rows"`
	Expiry   usage.Height       `json:"expiry_height"`
	Locked   usage.Sat          `json:"locked_sat"` // own collateral in it, until the expiry
	Txid     string             `json:"closing_txid,omitempty"`
}

// WalletStatus is the money of the relay's own wallet.
type WalletStatus struct {
	Confirmed   usage.Sat `json:"confirmed_sat"`
	Unconfirmed usage.Sat `json:"unconfirmed_sat"`
	Leased      usage.Sat `json:"leased_sat"`
	Locked      usage.Sat `json:"locked_sat"` // in contracts, as collateral; it comes back when they expire
}

// SendRequest sends coins from the relay's wallet. With DryRun only the fee is computed.
type SendRequest struct {
	Address      string    `json:"address"`
	Amount       usage.Sat `json:"amount_sat"`
	All          bool      `json:"all"`
	FeeRateSatVB uint64    `json:"feerate_sat_per_vb"`
	DryRun       bool      `json:"dry_run"`
}

// SendResult is the transaction that was, or would be, sent.
type SendResult struct {
	Txid   string    `json:"txid"`
	Amount usage.Sat `json:"amount_sat"`
	Fee    usage.Sat `json:"fee_sat"`
}
