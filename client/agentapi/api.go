package agentapi

import (
	"context"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/usage"
)

// API is what an agent can be asked for, be it in this process (client.Agent) or behind a
// socket (Client). The methods are documented at client.Agent.
type API interface {
	Identity(ctx context.Context) (client.IdentityInfo, error)
	Export(ctx context.Context) ([]byte, error)
	PutContact(ctx context.Context, fileOrCard []byte, label string) (client.Contact, error)
	Contacts(ctx context.Context) ([]client.Contact, error)
	DropContact(ctx context.Context, who string) error

	Relays(ctx context.Context) ([]client.RelayInfo, error)
	UseRelay(ctx context.Context, ref identity.RelayRef) (client.RelayInfo, error)
	DropRelay(ctx context.Context, relay identity.PublicKey) error
	Market(ctx context.Context, r client.MarketRequest) (client.MarketResult, error)
	WalletAddress(ctx context.Context) (string, error)
	WalletBalance(ctx context.Context) (client.WalletBalance, error)
	WalletCoins(ctx context.Context) ([]client.WalletCoin, error)
	WalletSend(ctx context.Context, r client.WalletSendRequest) (client.WalletSendResult, error)

	ContractPreview(ctx context.Context, r client.OpenRequest) (client.OpenPreview, error)
	ContractOpen(ctx context.Context, r client.OpenRequest) (client.ContractInfo, error)
	ContractRenewPreview(ctx context.Context, r client.RenewRequest) (client.OpenPreview, error)
	ContractRenew(ctx context.Context, r client.RenewRequest) (client.ContractInfo, error)
	ContractAutoRenew(ctx context.Context, id usage.ContractID, budget usage.Sat) (client.ContractInfo, error)
	Contracts(ctx context.Context) ([]client.ContractInfo, error)
	Contract(ctx context.Context, id usage.ContractID) (client.ContractInfo, error)
	ContractPay(ctx context.Context, id usage.ContractID, max usage.Sat) (client.PayResult, error)
	ContractPrepay(ctx context.Context, id usage.ContractID, amount usage.Sat) (client.PayResult, error)
	ContractClose(ctx context.Context, id usage.ContractID, how string) (client.ContractInfo, error)
	ContractRefund(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) (client.ContractInfo, error)
	ContractCancel(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) (client.ContractInfo, error)
	ContractRecovery(ctx context.Context, id usage.ContractID) (client.RecoveryInfo, error)
	Recover(ctx context.Context, text string) (client.ContractInfo, error)
	RecoverFrom(ctx context.Context, relays []identity.PublicKey) (client.Found, error)
	ContractExport(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) ([]client.ContractPSBT, error)
	ContractImport(ctx context.Context, file []byte) (client.ContractInfo, error)
	Usage(ctx context.Context, id usage.ContractID, entries bool) (client.UsageInfo, error)
	Audit(ctx context.Context, id usage.ContractID) (client.AuditResult, error)

	GrantGive(ctx context.Context, r client.GrantRequest) (client.GrantResult, error)
	GrantImport(ctx context.Context, file []byte) (client.GrantInfo, error)
	GrantRevoke(ctx context.Context, id string) (client.GrantInfo, error)
	Grants(ctx context.Context) ([]client.GrantInfo, error)
	GrantAudit(ctx context.Context, id string) (client.LaneAudit, error)

	Evidence(ctx context.Context) ([]client.EvidenceInfo, error)
	ExportEvidence(ctx context.Context, id string) ([]byte, error)
	AddEvidence(ctx context.Context, file []byte) (client.EvidenceInfo, error)

	Send(ctx context.Context, r client.SendRequest) (client.SendResult, error)
	Inbox(ctx context.Context, newOnly bool) ([]client.Message, error)
	Read(ctx context.Context, id string) (client.Message, error)
	Listen(ctx context.Context, each func(client.Message) error) error
	Outbox(ctx context.Context) ([]client.Message, error)
	Delete(ctx context.Context, id string) (client.Message, error)
	Challenge(ctx context.Context, r client.ChallengeRequest) ([]client.Challenged, error)

	Doctor(ctx context.Context) ([]client.Check, error)
	Sync(ctx context.Context) error
}

// The names of the methods as they stand in the path of a request.
const (
	nameIdentity        = "identity"
	nameExport          = "export"
	namePutContact      = "contact-put"
	nameContacts        = "contacts"
	nameDropContact     = "contact-drop"
	nameRelays          = "relays"
	nameUseRelay        = "relay-use"
	nameDropRelay       = "relay-drop"
	nameMarket          = "market"
	nameWalletAddress   = "wallet-address"
	nameWalletBalance   = "wallet-balance"
	nameWalletCoins     = "wallet-coins"
	nameWalletSend      = "wallet-send"
	nameContractPreview = "contract-preview"
	nameContractOpen    = "contract-open"
	nameRenewPreview    = "contract-renew-preview"
	nameRenew           = "contract-renew"
	nameAutoRenew       = "contract-auto-renew"
	nameContracts       = "contracts"
	nameContract        = "contract"
	nameContractPay     = "contract-pay"
	nameContractPrepay  = "contract-prepay"
	nameContractClose   = "contract-close"
	nameContractRefund  = "contract-refund"
	nameContractCancel  = "contract-cancel"
	nameRecovery        = "contract-recovery"
	nameRecover         = "recover"
	nameRecoverFrom     = "recover-from"
	nameContractExport  = "contract-export"
	nameContractImport  = "contract-import"
	nameUsage           = "usage"
	nameAudit           = "audit"
	nameGrantGive       = "grant-give"
	nameGrantImport     = "grant-import"
	nameGrantRevoke     = "grant-revoke"
	nameGrants          = "grants"
	nameGrantAudit      = "grant-audit"
	nameEvidence        = "evidence"
	nameExportEvidence  = "evidence-export"
	nameAddEvidence     = "evidence-add"
	nameSend            = "send"
	nameInbox           = "inbox"
	nameRead            = "read"
	nameListen          = "listen"
	nameOutbox          = "outbox"
	nameDelete          = "delete"
	nameChallenge       = "challenge"
	nameDoctor          = "doctor"
	nameSync            = "sync"
)

// The requests of methods whose arguments are not one type of package client.
type (
	nothing struct{}

	contactRequest struct {
		File  []byte `json:"file"`
		Label string `json:"label"`
	}
	recoverFromRequest struct {
		Relays []identity.PublicKey `json:"relays"`
	}
	recoverRequest struct {
		Text string `json:"recovery"`
	}
	whoRequest struct {
		Who string `json:"who"`
	}
	relayRequest struct {
		Relay identity.PublicKey `json:"relay"`
	}
	inboxRequest struct {
		NewOnly bool `json:"new_only"`
	}
	recordRequest struct {
		ID string `json:"id"`
	}
	contractRequest struct {
		Contract     usage.ContractID `json:"contract"`
		Max          usage.Sat        `json:"max_sat,omitempty"`
		Amount       usage.Sat        `json:"amount_sat,omitempty"`
		How          string           `json:"how,omitempty"`
		FeeRateSatVB uint64           `json:"feerate_sat_per_vb,omitempty"`
		Entries      bool             `json:"entries,omitempty"`
	}
	exportResult struct {
		File []byte `json:"file"`
	}
	addressResult struct {
		Address string `json:"address"`
	}
)

// Bounds of bodies in bytes. Base64 makes 4 bytes of 3.
const (
	// MaxAttachments is the most that the attachments of one message may hold together.
	MaxAttachments = client.MaxTogether

	maxSmall   = 1 << 20
	maxMessage = MaxAttachments/3*4 + 4<<20
	// maxAnswer holds a message with all attachments, or long lists.
	maxAnswer = maxMessage
)

// version is the version of the API, in the path of every request and in versionHeader of every
// answer.
const (
	prefix        = "/v1/"
	versionHeader = "Relaymarket-Api"
	version       = "1"
)
