package client

import (
	"relaymarket/identity"
	"relaymarket/usage"
)

// GrantRequest lets somebody else order at the cost of a contract.
type GrantRequest struct {
	Contract usage.ContractID `json:"contract"`
	To       string           `json:"to"`                     // contact, or key
	CapMsat  usage.Msat       `json:"cap_msat"`               // the most that all of it may ever cost
	DayMsat  usage.Msat       `json:"per_day_msat,omitempty"` // the most that may be ordered a day; 0: cap_msat
	Until    usage.Height     `json:"until_height,omitempty"` // last block; 0: the contract's expiry
}

// GrantResult is a grant with the file for its holder.
type GrantResult struct {
	Grant GrantInfo `json:"grant"`
	File  []byte    `json:"file"` // a *.grant
}

// GrantInfo is a grant as lists show it.
type GrantInfo struct {
	Grant     identity.Digest    `json:"grant"`
	Contract  usage.ContractID   `json:"contract"` // of the sponsor
	Relay     identity.PublicKey `json:"relay"`
	Sponsor   identity.PublicKey `json:"sponsor"`
	Account   identity.PublicKey `json:"account"`
	Label     string             `json:"label,omitempty"` // of the other one of the two
	Given     bool               `json:"given"`           // by this agent; else to it
	State     string             `json:"state"`
	CapMsat   usage.Msat         `json:"cap_msat"`
	DayMsat   usage.Msat         `json:"per_day_msat"`
	NotBefore usage.Height       `json:"not_before_height"`
	NotAfter  usage.Height       `json:"not_after_height"`
	Lane      *LaneInfo          `json:"lane,omitempty"`  // what the relay says now; absent if it does not answer
	Fault     string             `json:"fault,omitempty"` // why it did not
}

// LaneInfo is the relay's own book of a grant.
type LaneInfo struct {
	LiveBytes uint64     `json:"live_bytes"`
	Egress    uint64     `json:"egress_bytes"`
	Owed      usage.Msat `json:"owed_msat"`
	Reserved  usage.Msat `json:"reserved_msat"` // what is stored may still cost
	Ordered   usage.Msat `json:"day_msat"`      // of today's orders
	Open      bool       `json:"contract_open"` // the sponsor's contract takes orders
}

// LaneTotal is one lane of a contract's log, as its rows say.
type LaneTotal struct {
	Grant     identity.Digest    `json:"grant,omitzero"` // absent: the own orders
	Account   identity.PublicKey `json:"account,omitzero"`
	Label     string             `json:"label,omitempty"`
	LiveBytes uint64             `json:"live_bytes"`
	Egress    uint64             `json:"egress_bytes"`
	Owed      usage.Msat         `json:"owed_msat"`
}

// LaneAudit is what an account found in its own lane.
type LaneAudit struct {
	Grant     GrantInfo             `json:"grant"`
	Rows      uint64                `json:"rows"`
	Claimed   usage.Msat            `json:"claimed_msat"` // by the lane's rows, up to now
	Confirmed usage.Msat            `json:"confirmed_msat"`
	Classes   map[string]ClassTotal `json:"classes"`
	Refused   []UsageRow            `json:"refused,omitempty"`
}
