package testnet

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"relaymarket/client"
	"relaymarket/usage"
)

// open PERSON RELAY deposit= prepaid= blocks= as=: a contract, by the name PERSON@RELAY unless another is given.
func (s *Scenario) open(ctx context.Context, c Command) (string, error) {
	a, err := c.args(2)
	if err != nil {
		return "", err
	}
	agent, err := s.agent(a[0])
	if err != nil {
		return "", err
	}
	key, err := s.key(a[1])
	if err != nil {
		return "", err
	}
	deposit, prepaid, blocks := uint64(60_000), uint64(400), uint64(60)
	if err := c.numbers(map[string]*uint64{"deposit": &deposit, "prepaid": &prepaid, "blocks": &blocks}); err != nil {
		return "", err
	}
	req := client.OpenRequest{
		Relay: key, Sources: []string{s.w.relays[a[1]].Board()}, Deposit: usage.Sat(deposit), Prepaid: usage.Sat(prepaid),
		Duration: usage.Height(blocks), FeeRateSatVB: 2,
		Small: true, // what the private chain says of fees says nothing
	}
	pre, err := agent.ContractPreview(ctx, req)
	if err != nil {
		return "", err
	}
	info, err := agent.ContractOpen(ctx, req)
	if err != nil {
		return "", err
	}
	label := a[0] + "@" + a[1]
	if as, ok := c.Options["as"]; ok {
		label = as
	}
	s.contracts[label], s.last[a[0]] = &agreement{label, a[0], a[1], info.ID, info}, label
	return fmt.Sprintf("%s: %s, %d sat locked, %d paid, %d fee, at most %d can be lost",
		label, info.State, info.Deposit, info.Paid, info.FundFee, pre.MaxLoss), nil
}

// show looks at a contract from its client's side.
func (s *Scenario) show(ctx context.Context, name string) (*agreement, error) {
	k, err := s.agreementOf(name)
	if err != nil {
		return nil, err
	}
	agent, err := s.agent(k.client)
	if err != nil {
		return nil, err
	}
	k.info, err = agent.Contract(ctx, k.id)
	return k, err
}

// contract CONTRACT [until=STATE|asked]: how it stands, once both sides, as far as they are there, see it in a state.
func (s *Scenario) contract(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	return s.expect(ctx, func() (string, bool, error) {
		k, err := s.show(ctx, a[0])
		if err != nil {
			return "", false, err
		}
		until, ok := c.Options["until"]
		if until == "asked" { // for more than is paid
			return describe(k), k.info.Asked > k.info.Paid, nil
		}
		if !ok || until != k.info.State {
			return describe(k), !ok, nil
		}
		theirs, err := s.seenByRelay(ctx, k)
		return describe(k), theirs == until || theirs == "", err
	})
}

// seenByRelay is a contract's state by its relay's books; empty if the relay is not there.
func (s *Scenario) seenByRelay(ctx context.Context, k *agreement) (string, error) {
	r := s.w.relays[k.relay]
	if r.server == nil {
		return "", nil
	}
	st, err := r.server.Status(ctx)
	for _, other := range st.Contracts {
		if other.Contract == k.id {
			return other.State, err
		}
	}
	return "unknown", err
}

func describe(k *agreement) string {
	i := k.info
	out := fmt.Sprintf("%s: %s, %d of %d sat paid", k.label, i.State, i.Paid, i.Deposit)
	if i.ClosedBy != "" {
		by := i.ClosedBy
		if i.ClosePath != "" {
			by += " (" + i.ClosePath + ")"
		}
		out += fmt.Sprintf("; by %s: %d to %s, %d to %s, %d fee", by, i.ClientPayout, k.client, i.RelayPayout, k.relay, i.CloseFee)
	}
	return out
}

// accounts RELAY: its own books on every contract, in the order in which they expire.
func (s *Scenario) accounts(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	r, err := s.server(a[0])
	if err != nil {
		return "", err
	}
	st, err := r.Status(ctx)
	if err != nil {
		return "", err
	}
	var out []string
	for _, k := range st.Contracts {
		out = append(out, fmt.Sprintf("%s: %s, %d sat paid, %d msat owed, %d reserved, %d rows", s.labelOf(k.Contract), k.State, k.Paid, k.Owed, k.Reserved, k.Rows))
	}
	sort.Strings(out)
	return lines(out), nil
}

func (s *Scenario) labelOf(id usage.ContractID) string {
	for label, k := range s.contracts {
		if k.id == id {
			return label
		}
	}
	return "?"
}

// pay CONTRACT [max=]: what the audit confirms, as far as the person has agreed to.
func (s *Scenario) pay(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	k, err := s.show(ctx, a[0])
	if err != nil {
		return "", err
	}
	limit, err := c.number("max", uint64(k.info.Deposit))
	if err != nil {
		return "", err
	}
	agent, err := s.agent(k.client)
	if err != nil {
		return "", err
	}
	p, err := agent.ContractPay(ctx, k.id, usage.Sat(limit))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("update %d: %d sat paid, %d of them now, %d msat refused", p.Number, p.Paid, p.Added, p.Unpaid), nil
}

// close CONTRACT [how=key-path|refund-payment|request]: by both signing as one, by a refund payment of the
// client (the leaf), or as the relay asks.
func (s *Scenario) close(ctx context.Context, c Command) (string, error) {
	agent, k, err := s.ofContract(c)
	if err != nil {
		return "", err
	}
	how := c.Options["how"]
	if how == client.CloseRequest {
		r, err := s.server(k.relay)
		if err != nil {
			return "", err
		}
		if _, err := r.CloseContract(ctx, k.id); err != nil {
			return "", err
		}
	}
	if k.info, err = agent.ContractClose(ctx, k.id, how); err != nil {
		return "", err
	}
	return describe(k), nil
}

// wallets: who has what, those who are offline left out, and what of all coins ever given is in nobody's hands:
// in escrow, or with the miners as fees.
func (s *Scenario) wallets(ctx context.Context, _ Command) (string, error) {
	if err := s.refresh(ctx); err != nil {
		return "", err
	}
	var out []string
	rest := s.given
	for name, c := range s.w.clients {
		if c.agent == nil {
			continue
		}
		b, err := c.agent.WalletBalance(ctx)
		if err != nil {
			return "", err
		}
		rest -= min(rest, b.Confirmed+b.Unconfirmed)
		out = append(out, holding(name, b.Confirmed, b.Unconfirmed))
	}
	relays, err := s.relayWallets(ctx, &rest)
	if err != nil {
		return "", err
	}
	out = append(out, relays...)
	slices.Sort(out)
	escrow := s.escrowed()
	return lines(append(out, fmt.Sprintf("escrow %d, miners %d", escrow, rest-min(rest, escrow)))), nil
}

func holding(name string, confirmed, unconfirmed usage.Sat) string {
	if unconfirmed == 0 {
		return fmt.Sprintf("%s %d", name, confirmed)
	}
	return fmt.Sprintf("%s %d and %d unconfirmed", name, confirmed, unconfirmed)
}

// refresh looks at every contract whose client is online.
func (s *Scenario) refresh(ctx context.Context) error {
	for label, k := range s.contracts {
		if s.w.clients[k.client].agent == nil {
			continue
		}
		if _, err := s.show(ctx, label); err != nil {
			return err
		}
	}
	return nil
}

// relayWallets waits until the wallets of the relays that run show what contracts have paid out to them.
func (s *Scenario) relayWallets(ctx context.Context, rest *usage.Sat) ([]string, error) {
	var out []string
	for name, r := range s.w.relays {
		if r.server == nil {
			continue
		}
		var earned usage.Sat
		for _, k := range s.contracts {
			if k.relay == name && k.info.ClosedBy != "" {
				earned += k.info.RelayPayout
			}
		}
		var has usage.Sat
		_, err := s.expect(ctx, func() (string, bool, error) {
			b, err := r.server.WalletBalance()
			has = b.Confirmed + b.Unconfirmed
			return "", has >= earned, err
		})
		if err != nil {
			return nil, err
		}
		*rest -= min(*rest, has)
		out = append(out, holding(name, has, 0))
	}
	return out, nil
}

// escrowed is what lies in contracts, as last seen.
func (s *Scenario) escrowed() usage.Sat {
	var sum usage.Sat
	for _, k := range s.contracts {
		if k.info.ClosedBy == "" && !slices.Contains([]string{"aborted", "failed"}, k.info.State) {
			sum += k.info.Deposit
		}
	}
	return sum
}

// usage CONTRACT: the relay's report, and the kinds of its rows in their order.
func (s *Scenario) usage(ctx context.Context, c Command) (string, error) {
	agent, k, err := s.ofContract(c)
	if err != nil {
		return "", err
	}
	u, err := agent.Usage(ctx, k.id, true)
	if err != nil {
		return "", err
	}
	kinds := make([]string, len(u.Entries))
	for i, e := range u.Entries {
		kinds[i] = strings.ToLower(e.Kind)
	}
	out := fmt.Sprintf("%s\n%d bytes live, %d delivered, %d msat owed", lines([]string{strings.Join(kinds, " ")}), u.LiveBytes, u.Egress, u.Owed)
	if !u.Consistent {
		out += "\ninconsistent: " + u.Inconsistent
	}
	return out, nil
}

// ofContract is the contract that a command names alone, with its client's agent.
func (s *Scenario) ofContract(c Command) (*client.Agent, *agreement, error) {
	a, err := c.args(1)
	if err != nil {
		return nil, nil, err
	}
	k, err := s.agreementOf(a[0])
	if err != nil {
		return nil, nil, err
	}
	agent, err := s.agent(k.client)
	return agent, k, err
}

// audit CONTRACT: the classes of rows that are billed for anything, and what is due. How many rows also wait for a proof
// of storage is left out: that depends on how many seconds a run takes.
func (s *Scenario) audit(ctx context.Context, c Command) (string, error) {
	agent, k, err := s.ofContract(c)
	if err != nil {
		return "", err
	}
	r, err := agent.Audit(ctx, k.id)
	if err != nil {
		return "", err
	}
	var out []string
	for class, t := range r.Classes {
		// A row that adds nothing is told by the second in which it fell, not by the story.
		if t.Rows > 0 && (t.Bytes > 0 || t.Msat > 0) {
			out = append(out, fmt.Sprintf("%s: %d rows, %d bytes, %d msat", class, t.Rows, t.Bytes, t.Msat))
		}
	}
	slices.Sort(out)
	return lines(append(out, fmt.Sprintf("%d of %d msat confirmed, %d rows refused; %d of %d sat paid", r.Confirmed, r.Usage.Owed, len(r.Refused), r.Paid, r.Due))), nil
}
