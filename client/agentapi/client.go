package agentapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Client asks an agent. Errors carry the agent's code, or NoAgent, Disconnected or Unsupported
// where it cannot be spoken to.
type Client struct{ http *http.Client }

var _ API = (*Client)(nil)

// NewClient makes a client that reaches its agent with dial. It opens no connection yet.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true, MaxIdleConnsPerHost: 4,
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// open sends a request and gives the answer if it is a good one.
func (c *Client) open(ctx context.Context, name string, request any) (*http.Response, error) {
	raw, err := json.Marshal(request)
	if err != nil {
		return nil, code.Wrap(code.BadArgument, err, "the request")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+prefix+name, bytes.NewReader(raw))
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "the request")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, lost(ctx, err)
	}
	if resp.Header.Get(versionHeader) != version {
		resp.Body.Close()
		return nil, code.New(code.Unsupported, "the agent that runs is of another version; stop it and start this one")
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var f Fault
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxSmall)).Decode(&f); err != nil || f.Code == code.OK {
		return nil, code.New(code.Internal, "the agent answered %s", resp.Status)
	}
	return nil, f.Err()
}

// lost explains a failed exchange. One that the caller gave up keeps the context's error.
func lost(ctx context.Context, err error) error {
	var coded *code.Error
	switch {
	case ctx.Err() != nil:
		return code.Wrap(code.Timeout, ctx.Err(), "asking the agent")
	case errors.As(err, &coded):
		return err
	}
	return code.Wrap(code.Disconnected, err, "asking the agent")
}

// ask sends a request and decodes the result.
func ask[Res any](ctx context.Context, c *Client, name string, request any) (Res, error) {
	var out Res
	resp, err := c.open(ctx, name, request)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&out); err != nil {
		return out, lost(ctx, err)
	}
	return out, nil
}

// Identity says who the agent is.
func (c *Client) Identity(ctx context.Context) (client.IdentityInfo, error) {
	return ask[client.IdentityInfo](ctx, c, nameIdentity, nothing{})
}

// Export gives the signed identity document as a file for contacts.
func (c *Client) Export(ctx context.Context) ([]byte, error) {
	r, err := ask[exportResult](ctx, c, nameExport, nothing{})
	return r.File, err
}

// PutContact adds a contact from an identity file or a card.
func (c *Client) PutContact(ctx context.Context, fileOrCard []byte, label string) (client.Contact, error) {
	return ask[client.Contact](ctx, c, namePutContact, contactRequest{fileOrCard, label})
}

// Contacts lists the contacts.
func (c *Client) Contacts(ctx context.Context) ([]client.Contact, error) {
	return ask[[]client.Contact](ctx, c, nameContacts, nothing{})
}

// DropContact removes a contact.
func (c *Client) DropContact(ctx context.Context, who string) error {
	_, err := ask[nothing](ctx, c, nameDropContact, whoRequest{who})
	return err
}

// Relays lists the relays that matter to the agent.
func (c *Client) Relays(ctx context.Context) ([]client.RelayInfo, error) {
	return ask[[]client.RelayInfo](ctx, c, nameRelays, nothing{})
}

// UseRelay begins to use a relay's free allowance.
func (c *Client) UseRelay(ctx context.Context, ref identity.RelayRef) (client.RelayInfo, error) {
	return ask[client.RelayInfo](ctx, c, nameUseRelay, ref)
}

// DropRelay ends the use of a relay's free allowance.
func (c *Client) DropRelay(ctx context.Context, relay identity.PublicKey) error {
	_, err := ask[nothing](ctx, c, nameDropRelay, relayRequest{relay})
	return err
}

// Market ranks the offers of relays.
func (c *Client) Market(ctx context.Context, r client.MarketRequest) (client.MarketResult, error) {
	return ask[client.MarketResult](ctx, c, nameMarket, r)
}

// WalletAddress gives a fresh receiving address.
func (c *Client) WalletAddress(ctx context.Context) (string, error) {
	r, err := ask[addressResult](ctx, c, nameWalletAddress, nothing{})
	return r.Address, err
}

// WalletBalance gives the coins of the wallet.
func (c *Client) WalletBalance(ctx context.Context) (client.WalletBalance, error) {
	return ask[client.WalletBalance](ctx, c, nameWalletBalance, nothing{})
}

// WalletSend sends coins away.
func (c *Client) WalletSend(ctx context.Context, r client.WalletSendRequest) (client.WalletSendResult, error) {
	return ask[client.WalletSendResult](ctx, c, nameWalletSend, r)
}

// ContractPreview says what a contract would cost.
func (c *Client) ContractPreview(ctx context.Context, r client.OpenRequest) (client.OpenPreview, error) {
	return ask[client.OpenPreview](ctx, c, nameContractPreview, r)
}

// ContractOpen opens a contract.
func (c *Client) ContractOpen(ctx context.Context, r client.OpenRequest) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameContractOpen, r)
}

// ContractRenewPreview says what the next contract would cost.
func (c *Client) ContractRenewPreview(ctx context.Context, r client.RenewRequest) (client.OpenPreview, error) {
	return ask[client.OpenPreview](ctx, c, nameRenewPreview, r)
}

// ContractRenew opens the next contract with the same relay.
func (c *Client) ContractRenew(ctx context.Context, r client.RenewRequest) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameRenew, r)
}

// ContractAutoRenew lets the agent renew a contract by itself.
func (c *Client) ContractAutoRenew(ctx context.Context, id usage.ContractID, budget usage.Sat) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameAutoRenew, contractRequest{Contract: id, Amount: budget})
}

// Contracts lists all contracts.
func (c *Client) Contracts(ctx context.Context) ([]client.ContractInfo, error) {
	return ask[[]client.ContractInfo](ctx, c, nameContracts, nothing{})
}

// Contract shows one contract.
func (c *Client) Contract(ctx context.Context, id usage.ContractID) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameContract, contractRequest{Contract: id})
}

// ContractPay audits a contract and pays what the audit confirms.
func (c *Client) ContractPay(ctx context.Context, id usage.ContractID, max usage.Sat) (client.PayResult, error) {
	return ask[client.PayResult](ctx, c, nameContractPay, contractRequest{Contract: id, Max: max})
}

// ContractPrepay pays in advance.
func (c *Client) ContractPrepay(ctx context.Context, id usage.ContractID, amount usage.Sat) (client.PayResult, error) {
	return ask[client.PayResult](ctx, c, nameContractPrepay, contractRequest{Contract: id, Amount: amount})
}

// ContractClose closes a contract with its relay.
func (c *Client) ContractClose(ctx context.Context, id usage.ContractID, how string) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameContractClose, contractRequest{Contract: id, How: how})
}

// ContractRefund takes the escrow of an expired contract back.
func (c *Client) ContractRefund(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameContractRefund, contractRequest{Contract: id, FeeRateSatVB: feeRateSatVB})
}

// ContractRecovery is the way back into a contract with the phrase alone.
func (c *Client) ContractRecovery(ctx context.Context, id usage.ContractID) (client.RecoveryInfo, error) {
	return ask[client.RecoveryInfo](ctx, c, nameRecovery, contractRequest{Contract: id})
}

// Recover brings a contract back from its recovery.
func (c *Client) Recover(ctx context.Context, text string) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameRecover, recoverRequest{text})
}

// RecoverFrom asks relays for the recoveries that are kept there.
func (c *Client) RecoverFrom(ctx context.Context, relays []identity.PublicKey) (client.Found, error) {
	return ask[client.Found](ctx, c, nameRecoverFrom, recoverFromRequest{relays})
}

// ContractExport gives PSBTs of what can be signed elsewhere.
func (c *Client) ContractExport(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) ([]client.ContractPSBT, error) {
	return ask[[]client.ContractPSBT](ctx, c, nameContractExport, contractRequest{Contract: id, FeeRateSatVB: feeRateSatVB})
}

// ContractImport takes back a PSBT that was signed elsewhere.
func (c *Client) ContractImport(ctx context.Context, file []byte) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameContractImport, exportResult{file})
}

// WalletCoins lists the coins.
func (c *Client) WalletCoins(ctx context.Context) ([]client.WalletCoin, error) {
	return ask[[]client.WalletCoin](ctx, c, nameWalletCoins, nothing{})
}

// ContractCancel takes the coins of an unconfirmed opening back.
func (c *Client) ContractCancel(ctx context.Context, id usage.ContractID, feeRateSatVB uint64) (client.ContractInfo, error) {
	return ask[client.ContractInfo](ctx, c, nameContractCancel, contractRequest{Contract: id, FeeRateSatVB: feeRateSatVB})
}

// Usage gets and checks a relay's report on a contract.
func (c *Client) Usage(ctx context.Context, id usage.ContractID, entries bool) (client.UsageInfo, error) {
	return ask[client.UsageInfo](ctx, c, nameUsage, contractRequest{Contract: id, Entries: entries})
}

// Audit compares a relay's report with the agent's own papers.
func (c *Client) Audit(ctx context.Context, id usage.ContractID) (client.AuditResult, error) {
	return ask[client.AuditResult](ctx, c, nameAudit, contractRequest{Contract: id})
}

// Evidence lists the papers that are kept for disputes.
func (c *Client) Evidence(ctx context.Context) ([]client.EvidenceInfo, error) {
	return ask[[]client.EvidenceInfo](ctx, c, nameEvidence, nothing{})
}

// ExportEvidence gives one of these papers as a file.
func (c *Client) ExportEvidence(ctx context.Context, id string) ([]byte, error) {
	r, err := ask[exportResult](ctx, c, nameExportEvidence, recordRequest{id})
	return r.File, err
}

// AddEvidence keeps a paper that somebody else has exported.
func (c *Client) AddEvidence(ctx context.Context, file []byte) (client.EvidenceInfo, error) {
	return ask[client.EvidenceInfo](ctx, c, nameAddEvidence, exportResult{file})
}

// Send sends a message.
func (c *Client) Send(ctx context.Context, r client.SendRequest) (client.SendResult, error) {
	var all int
	for _, a := range r.Attachments {
		all += len(a.Data)
	}
	if all > MaxAttachments {
		return client.SendResult{}, code.New(code.TooLarge, "attachments of %d MiB, allowed are %d", all>>20, MaxAttachments>>20)
	}
	return ask[client.SendResult](ctx, c, nameSend, r)
}

// Inbox lists received messages.
func (c *Client) Inbox(ctx context.Context, newOnly bool) ([]client.Message, error) {
	return ask[[]client.Message](ctx, c, nameInbox, inboxRequest{newOnly})
}

// Read gives one message with its body and attachments.
func (c *Client) Read(ctx context.Context, id string) (client.Message, error) {
	return ask[client.Message](ctx, c, nameRead, recordRequest{id})
}

// Outbox lists sent messages.
func (c *Client) Outbox(ctx context.Context) ([]client.Message, error) {
	return ask[[]client.Message](ctx, c, nameOutbox, nothing{})
}

// Delete deletes a message.
func (c *Client) Delete(ctx context.Context, id string) (client.Message, error) {
	return ask[client.Message](ctx, c, nameDelete, recordRequest{id})
}

// Doctor checks what the agent needs.
func (c *Client) Doctor(ctx context.Context) ([]client.Check, error) {
	return ask[[]client.Check](ctx, c, nameDoctor, nothing{})
}

// Sync makes one full round with all relays.
func (c *Client) Sync(ctx context.Context) error {
	_, err := ask[nothing](ctx, c, nameSync, nothing{})
	return err
}

// Listen calls each for every new message until ctx ends (nil), each fails (its error) or the
// agent stops (code ShuttingDown or Disconnected).
func (c *Client) Listen(ctx context.Context, each func(client.Message) error) error {
	resp, err := c.open(ctx, nameListen, nothing{})
	if err != nil {
		return quiet(ctx, err)
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var e event
		if err := lines.Decode(&e); err != nil {
			return quiet(ctx, lost(ctx, err))
		}
		if e.Fault != nil {
			return quiet(ctx, e.Fault.Err())
		}
		if e.Message != nil {
			if err := each(*e.Message); err != nil {
				return err
			}
		}
	}
}

// quiet gives no error for an end that the caller asked for.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
