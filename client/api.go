package client

import (
	"relaymarket/identity"
	"relaymarket/usage"
)

// The requests and results of the agent. They are what the commands print with --json and what
// travels over the agent's socket, so every integer carries its unit in its name and every
// field a JSON name. Times are milliseconds since 1970, heights are block heights.

// IdentityInfo says who this agent is.
type IdentityInfo struct {
	Key      identity.PublicKey  `json:"key"`
	Name     string              `json:"name"`
	Label    string              `json:"label"`
	Network  string              `json:"network"`
	Dir      string              `json:"dir"`
	Relays   []identity.RelayRef `json:"relays"`
	Sequence uint64              `json:"sequence"`
	Expires  identity.UnixMilli  `json:"expires_ms"`
	Card     string              `json:"card"` // the URI for a QR code
}

// Contact is somebody whose relays are listened to.
type Contact struct {
	Key      identity.PublicKey  `json:"key"`
	Name     string              `json:"name"`
	Label    string              `json:"label"` // as given by the user, else by the document
	Relays   []identity.RelayRef `json:"relays"`
	Sequence uint64              `json:"sequence"`
	Expires  identity.UnixMilli  `json:"expires_ms"`
	Warning  string              `json:"warning,omitempty"`
}

// RelayInfo is a relay that matters to this agent: an own one, or one of a contact.
type RelayInfo struct {
	Relay         identity.PublicKey `json:"relay"`
	Name          string             `json:"name"`
	Addresses     []identity.Address `json:"addresses"`
	Own           bool               `json:"own"` // paid by a contract or chosen for its free allowance
	Connected     bool               `json:"connected"`
	FreeBytesDay  uint64             `json:"free_bytes_per_day"`
	ClockOffsetMs int64              `json:"clock_offset_ms"` // relay's clock minus this machine's
	Error         string             `json:"error,omitempty"` // of the last attempt to connect
}

// MarketRequest asks for offers, ranked by the cost of a usage.
type MarketRequest struct {
	Sources      []string   `json:"sources"`       // board URLs and directories; empty: the configured ones
	StoredBytes  uint64     `json:"stored_bytes"`  // kept on average
	Days         uint32     `json:"days"`          // for how long
	EgressBytes  uint64     `json:"egress_bytes"`  // read in all that time
	Deposit      usage.Sat  `json:"deposit_sat"`   // 0: each offer's minimum
	MaxTotal     usage.Sat  `json:"max_total_sat"` // 0: no limit
	MaxStorage   usage.Msat `json:"max_storage_msat_per_gib_day"`
	MaxEgress    usage.Msat `json:"max_egress_msat_per_gib"`
	ShowRefused  bool       `json:"show_refused"`
	FeeRateSatVB uint64     `json:"feerate_sat_per_vb"` // 0: the node's estimate
}

// Quote is one relay's price for the asked usage.
type Quote struct {
	Relay         identity.PublicKey `json:"relay"`
	Name          string             `json:"name"`
	Offer         identity.Digest    `json:"offer"`
	Addresses     []identity.Address `json:"addresses"`
	Storage       usage.Msat         `json:"storage_msat_per_gib_day"`
	Egress        usage.Msat         `json:"egress_msat_per_gib"`
	ContractPrice usage.Sat          `json:"contract_price_sat"`
	MinDeposit    usage.Sat          `json:"min_deposit_sat"`
	MaxDeposit    usage.Sat          `json:"max_deposit_sat"`
	MaxCollateral usage.Sat          `json:"max_collateral_sat"` // skin: what the relay would lock of its own until the expiry; no insurance
	Cost          usage.Msat         `json:"cost_msat"`          // of the usage alone
	Fees          usage.Sat          `json:"fees_sat"`           // opening and closing on the chain
	Total         usage.Sat          `json:"total_sat"`          // usage, contract price and fees
	FreeBytesDay  uint64             `json:"free_bytes_per_day"`
	ValidUntil    identity.UnixMilli `json:"valid_until_ms"`
	Refused       string             `json:"refused,omitempty"` // why it was not ranked
}

// MarketResult is the ranked market and what could not be read.
type MarketResult struct {
	Quotes   []Quote  `json:"quotes"`
	Problems []string `json:"problems,omitempty"`
}

// WalletBalance is the money of the agent's own wallet.
type WalletBalance struct {
	Confirmed   usage.Sat `json:"confirmed_sat"`
	Unconfirmed usage.Sat `json:"unconfirmed_sat"`
	Leased      usage.Sat `json:"leased_sat"` // promised to an opening
}

// WalletSendRequest sends coins away. With DryRun only the fee is computed.
type WalletSendRequest struct {
	Address      string    `json:"address"`
	Amount       usage.Sat `json:"amount_sat"`
	All          bool      `json:"all"`
	FeeRateSatVB uint64    `json:"feerate_sat_per_vb"`
	DryRun       bool      `json:"dry_run"`
}

// WalletSendResult is the transaction that was, or would be, sent.
type WalletSendResult struct {
	Txid   string    `json:"txid"`
	Amount usage.Sat `json:"amount_sat"`
	Fee    usage.Sat `json:"fee_sat"`
}

// OpenRequest opens a contract with the relay of an offer.
type OpenRequest struct {
	Relay        identity.PublicKey `json:"relay"`
	Sources      []string           `json:"sources"`        // where to look for its offer
	Offer        identity.Digest    `json:"offer,omitzero"` // as it was previewed; another one is refused
	Deposit      usage.Sat          `json:"deposit_sat"`
	Prepaid      usage.Sat          `json:"prepaid_sat"`     // on top of the contract price
	Collateral   usage.Sat          `json:"collateral_sat"`  // what the relay is to lock of its own until the expiry; 0: nothing
	Duration     usage.Height       `json:"duration_blocks"` // 0: the network's default within the offer
	FeeRateSatVB uint64             `json:"feerate_sat_per_vb"`
	MaxLoss      usage.Sat          `json:"max_loss_sat"` // refuse if more could be lost; 0: no limit
	MaxStorage   usage.Msat         `json:"max_storage_msat_per_gib_day"`
	MaxEgress    usage.Msat         `json:"max_egress_msat_per_gib"`
	Outside      *OutsideCoins      `json:"outside,omitempty"` // not of the own wallet
	AutoRenew    usage.Sat          `json:"auto_renew_sat"`    // see ContractAutoRenew; 0: the agent only warns
	Small        bool               `json:"small"`             // the user means it, though fees take more than a sane part of the deposit
}

// OpenPreview is what a person is shown, and asked, before money moves.
type OpenPreview struct {
	Relay         identity.PublicKey `json:"relay"`
	Offer         identity.Digest    `json:"offer"` // to be given back in the OpenRequest
	Name          string             `json:"name"`
	Deposit       usage.Sat          `json:"deposit_sat"`
	ContractPrice usage.Sat          `json:"contract_price_sat"`
	Prepaid       usage.Sat          `json:"prepaid_sat"`
	Storage       usage.Msat         `json:"storage_msat_per_gib_day"`
	Egress        usage.Msat         `json:"egress_msat_per_gib"`
	CreditLimit   usage.Sat          `json:"credit_limit_sat"` // at the beginning
	CreditMost    usage.Sat          `json:"credit_most_sat"`  // once it is earned by paying
	FundFee       usage.Sat          `json:"fund_fee_sat"`
	RefundFee     usage.Sat          `json:"refund_fee_sat"`
	ExitFee       usage.Sat          `json:"exit_fee_sat"` // of ending it alone, at the present fee rate
	FeeRate       uint64             `json:"fee_rate_sat_per_kvb"`
	MaxLoss       usage.Sat          `json:"max_loss_sat"` // yours
	MaxLossWhy    string             `json:"max_loss_why"`
	RelayLoss     usage.Sat          `json:"relay_max_loss_sat"`
	RelayLossWhy  string             `json:"relay_max_loss_why"`
	Collateral    usage.Sat          `json:"collateral_sat"`          // of the relay, locked until the expiry
	CollateralFee usage.Sat          `json:"collateral_fee_sat"`      // what that costs the relay in fees
	CollateralFor string             `json:"collateral_is,omitempty"` // what it is and is not, a sentence
	Duration      usage.Height       `json:"duration_blocks"`
	ExpiryHeight  usage.Height       `json:"expiry_height"`
	TipHeight     usage.Height       `json:"tip_height"`
	FundingDepth  uint8              `json:"funding_depth"`
	FeePercent    uint64             `json:"fee_share_percent"`   // fees of opening and of ending it alone, as a share of the deposit
	SaneDeposit   usage.Sat          `json:"sane_deposit_sat"`    // of which these fees are a tenth
	TooSmall      string             `json:"too_small,omitempty"` // why the deposit is refused unless the user insists
	AtExpiry      string             `json:"at_expiry"`           // a sentence
	Usable        usage.Sat          `json:"usable_sat"`          // for use before the first further payment
	Missing       usage.Sat          `json:"missing_sat"`         // coins that the wallet lacks for it
}

// ContractInfo is the state of one contract.
type ContractInfo struct {
	ID            usage.ContractID   `json:"contract"`
	Relay         identity.PublicKey `json:"relay"`
	Name          string             `json:"name"`
	State         string             `json:"state"`
	Sentence      string             `json:"sentence"` // the state for a person
	Deposit       usage.Sat          `json:"deposit_sat"`
	ContractPrice usage.Sat          `json:"contract_price_sat"`
	Paid          usage.Sat          `json:"paid_sat"`  // cumulative, contract price included
	Asked         usage.Sat          `json:"asked_sat"` // by the relay's last request, cumulative; 0: none
	Owed          usage.Msat         `json:"owed_msat"`
	Funds         usage.Msat         `json:"funds_msat"`    // what may be used before the next payment
	Reserved      usage.Msat         `json:"reserved_msat"` // worst case of what is stored
	ExpiryHeight  usage.Height       `json:"expiry_height"`
	TipHeight     usage.Height       `json:"tip_height"`
	Confirmations usage.Height       `json:"confirmations"` // of the funding
	FundingDepth  uint8              `json:"funding_depth"` // confirmations from which on there is service
	NextDeadline  string             `json:"next_deadline,omitempty"`
	FundingTxid   string             `json:"funding_txid,omitempty"`
	ClosingTxid   string             `json:"closing_txid,omitempty"`
	ClosedBy      string             `json:"closed_by,omitempty"`  // close, settlement or refund; empty until a block has it
	ClosePath     string             `json:"close_path,omitempty"` // of a close: key-path or leaf
	Note          string             `json:"note,omitempty"`       // of the answer to a command only
	ClientPayout  usage.Sat          `json:"client_payout_sat"`
	RelayPayout   usage.Sat          `json:"relay_payout_sat"`
	FundFee       usage.Sat          `json:"fund_fee_sat"`
	CloseFee      usage.Sat          `json:"close_fee_sat"`
	Collateral    usage.Sat          `json:"collateral_sat"`         // of the relay, locked until the expiry
	Deadlines     []Deadline         `json:"deadlines"`              // that come, the next first
	Renewal       RenewalInfo        `json:"renewal,omitzero"`       // of one that is funded and not over
	Transactions  []ContractTx       `json:"transactions,omitempty"` // not in lists
}

// SendRequest sends one message to one contact.
type SendRequest struct {
	To          string             `json:"to"` // label, name or key of a contact
	MediaType   string             `json:"media_type"`
	Body        []byte             `json:"body"`
	Attachments []Attachment       `json:"attachments,omitempty"`
	Regarding   identity.Digest    `json:"regarding,omitzero"`
	TTLSeconds  uint32             `json:"ttl_s"`           // 0: 30 days
	MaxPulls    uint16             `json:"max_pulls"`       // 0: 3
	Relay       identity.PublicKey `json:"relay"`           // zero: the cheapest of the own contracts with funds
	Grant       string             `json:"grant,omitempty"` // digest of a received grant, or its beginning; empty: own contracts first
	MaxCost     usage.Msat         `json:"max_msat"`        // refuse if the worst case is above; 0: no limit
	DeleteOnAck bool               `json:"delete_on_ack"`
	Tag         string             `json:"tag,omitempty"`
}

// Attachment is a file sent with a message.
type Attachment struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Data      []byte `json:"data,omitempty"`
	Size      uint64 `json:"size_bytes"`
}

// SendResult says where the message is and what it can cost at most.
type SendResult struct {
	Digest    identity.Digest    `json:"record"`
	Path      string             `json:"path"`
	State     string             `json:"state"`            // queued, or stored (receipt on disk)
	Reason    string             `json:"reason,omitempty"` // why it is queued
	Relay     identity.PublicKey `json:"relay"`
	Contract  usage.ContractID   `json:"contract"`
	Receipt   identity.Digest    `json:"receipt,omitzero"`
	Records   int                `json:"records"` // with those of attachments
	WorstCost usage.Msat         `json:"worst_msat"`
	Expires   identity.UnixMilli `json:"expires_ms"`
}

// Message is one received or sent message as lists show it.
type Message struct {
	Digest       identity.Digest    `json:"record"`
	Path         string             `json:"path"`
	Peer         identity.PublicKey `json:"peer"`
	PeerLabel    string             `json:"peer_label"`
	Time         identity.UnixMilli `json:"time_ms"`
	Expires      identity.UnixMilli `json:"expires_ms"`
	MediaType    string             `json:"media_type,omitempty"`
	Size         uint64             `json:"size_bytes"`
	State        string             `json:"state"` // inbox: new, read; outbox: queued, stored, acknowledged, rejected, deleted, expired, failed
	Relay        identity.PublicKey `json:"relay"`
	Contract     usage.ContractID   `json:"contract,omitzero"`
	Sequence     uint64             `json:"sequence,omitempty"`
	Gap          bool               `json:"gap,omitempty"` // an earlier message of the conversation is missing
	Preview      string             `json:"preview,omitempty"`
	Attachments  []Attachment       `json:"attachments,omitempty"` // without data in lists
	Body         []byte             `json:"body,omitempty"`        // only from Read and Listen
	WorstCost    usage.Msat         `json:"worst_msat,omitempty"`
	Acknowledged identity.UnixMilli `json:"acknowledged_ms,omitempty"`
}

// UsageInfo is a relay's report on a contract, checked for consistency.
type UsageInfo struct {
	Contract     usage.ContractID   `json:"contract"`
	Report       identity.Digest    `json:"report"`
	Number       uint64             `json:"report_no"`
	Rows         uint64             `json:"rows"`
	LiveBytes    uint64             `json:"live_bytes"`
	Egress       uint64             `json:"egress_bytes"`
	Owed         usage.Msat         `json:"owed_msat"`
	Paid         usage.Sat          `json:"paid_sat"`
	Time         identity.UnixMilli `json:"time_ms"`
	Consistent   bool               `json:"consistent"`
	Inconsistent string             `json:"inconsistent,omitempty"`
	Entries      []UsageRow         `json:"entries,omitempty"`
	Proven       []ProvenFault      `json:"proven,omitempty"` // frauds of the relay that anybody can check
	Lanes        []LaneTotal        `json:"lanes,omitempty"`  // by grant, where others order at the contract's cost
}

// UsageRow is one row of a relay's log as a person reads it: the seed's receiver and path,
// and what the row adds.
type UsageRow struct {
	Index    uint64             `json:"index"`
	Kind     string             `json:"kind"`
	Time     identity.UnixMilli `json:"time_ms"`
	Receiver identity.PublicKey `json:"receiver"`
	Path     string             `json:"path,omitempty"`
	Bytes    uint64             `json:"bytes"`
	Owed     usage.Msat         `json:"owed_msat"`
	Class    string             `json:"class,omitempty"`
	Why      string             `json:"why,omitempty"`
}

// AuditResult compares a usage report with orders, requests and acknowledgements.
type AuditResult struct {
	Usage     UsageInfo             `json:"usage"`
	Classes   map[string]ClassTotal `json:"classes"`
	Confirmed usage.Msat            `json:"confirmed_msat"`
	Due       usage.Sat             `json:"due_sat"`  // cumulative sum that the audit allows to pay
	Paid      usage.Sat             `json:"paid_sat"` // cumulative sum already paid
	Refused   []UsageRow            `json:"refused,omitempty"`
	Summary   string                `json:"summary"`
}

// ClassTotal sums the rows of one reconciliation class.
type ClassTotal struct {
	Rows  uint64     `json:"rows"`
	Bytes uint64     `json:"bytes"`
	Msat  usage.Msat `json:"msat"`
	Means string     `json:"means"`
}

// PayResult is a payment update that the relay acknowledged.
type PayResult struct {
	Contract usage.ContractID `json:"contract"`
	Number   uint64           `json:"update_no"`
	Paid     usage.Sat        `json:"paid_sat"`    // cumulative
	Added    usage.Sat        `json:"added_sat"`   // by this payment
	Unpaid   usage.Msat       `json:"unpaid_msat"` // billed but not confirmed
}

// Check is one line of doctor.
type Check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Value string `json:"value"`
	Hint  string `json:"hint,omitempty"`
}
