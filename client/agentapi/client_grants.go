package agentapi

import (
	"context"

	"relaymarket/client"
)

// GrantGive lets somebody else order at the cost of a contract.
func (c *Client) GrantGive(ctx context.Context, r client.GrantRequest) (client.GrantResult, error) {
	return ask[client.GrantResult](ctx, c, nameGrantGive, r)
}

// GrantImport keeps a grant that a sponsor gave.
func (c *Client) GrantImport(ctx context.Context, file []byte) (client.GrantInfo, error) {
	return ask[client.GrantInfo](ctx, c, nameGrantImport, exportResult{file})
}

// GrantRevoke takes a grant back.
func (c *Client) GrantRevoke(ctx context.Context, id string) (client.GrantInfo, error) {
	return ask[client.GrantInfo](ctx, c, nameGrantRevoke, recordRequest{id})
}

// Grants lists the grants given and received.
func (c *Client) Grants(ctx context.Context) ([]client.GrantInfo, error) {
	return ask[[]client.GrantInfo](ctx, c, nameGrants, nothing{})
}

// Challenge asks relays to prove that they have own records.
func (c *Client) Challenge(ctx context.Context, r client.ChallengeRequest) ([]client.Challenged, error) {
	return ask[[]client.Challenged](ctx, c, nameChallenge, r)
}

// GrantAudit compares the lane of a received grant with the agent's own papers.
func (c *Client) GrantAudit(ctx context.Context, id string) (client.LaneAudit, error) {
	return ask[client.LaneAudit](ctx, c, nameGrantAudit, recordRequest{id})
}
