package testnet

import (
	"context"
	"fmt"

	"relaymarket/client"
	"relaymarket/usage"
)

// renew CONTRACT deposit= as=: the next contract with the same relay.
func (s *Scenario) renew(ctx context.Context, c Command) (string, error) {
	agent, k, err := s.ofContract(c)
	if err != nil {
		return "", err
	}
	deposit, err := c.number("deposit", 0)
	if err != nil {
		return "", err
	}
	info, err := agent.ContractRenew(ctx, client.RenewRequest{Contract: k.id, Open: client.OpenRequest{
		Sources: []string{s.w.relays[k.relay].Board()}, Deposit: usage.Sat(deposit), FeeRateSatVB: 2, Small: true,
	}})
	if err != nil {
		return "", err
	}
	return s.follows(k, info, c), nil
}

// follows notes the contract that follows another one, and tells of it.
func (s *Scenario) follows(k *agreement, info client.ContractInfo, c Command) string {
	label := k.label + "+"
	if as, ok := c.Options["as"]; ok {
		label = as
	}
	s.contracts[label], s.last[k.client] = &agreement{label, k.client, k.relay, info.ID, info}, label
	return fmt.Sprintf("%s: %s, %d sat locked, %d paid", label, info.State, info.Deposit, info.Paid)
}

// auto CONTRACT sat=: the agent may renew it by itself, within so many satoshi.
func (s *Scenario) auto(ctx context.Context, c Command) (string, error) {
	agent, k, err := s.ofContract(c)
	if err != nil {
		return "", err
	}
	budget, err := c.number("sat", 0)
	if err != nil {
		return "", err
	}
	info, err := agent.ContractAutoRenew(ctx, k.id, usage.Sat(budget))
	return fmt.Sprintf("renewed by itself within %d sat", info.Renewal.AutoBudget), err
}

// renewed CONTRACT as=: the contract that its client's agent has opened by itself to follow it, once there is one. It is funded
// when that is told.
func (s *Scenario) renewed(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	return s.expect(ctx, func() (string, bool, error) {
		k, err := s.show(ctx, a[0])
		if err != nil || k.info.Renewal.Next.IsZero() || k.info.Renewal.NextState != "funding" {
			return "not renewed: " + k.info.Renewal.Problem, false, err
		}
		agent, err := s.agent(k.client)
		if err != nil {
			return "", false, err
		}
		info, err := agent.Contract(ctx, k.info.Renewal.Next)
		if err != nil {
			return "", false, err
		}
		return s.follows(k, info, c), true, nil
	})
}
