package testnet

import (
	"context"
	"fmt"

	"github.com/btcsuite/btcd/chainhash/v2"

	"relaymarket/client"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

func (s *story) usageReport(ctx context.Context) (string, map[string]any, error) {
	p := s.people["ada"]
	u, err := p.agent.Usage(ctx, p.contract, true)
	if err != nil {
		return "", nil, err
	}
	if !u.Consistent || len(u.Entries) == 0 {
		return "", nil, code.New(code.Internal, "report %d is not consistent: %s", u.Number, u.Inconsistent)
	}
	return fmt.Sprintf("%s reports %d rows, %d bytes delivered, %d msat owed; the signed head and every row check out", p.relay, u.Rows, u.Egress, u.Owed),
		map[string]any{"report": u.Report, "rows": u.Rows, "egress_bytes": u.Egress, "owed_msat": u.Owed}, nil
}

// audit: Ada compares the report with her orders and Bob's acknowledgements. Everything must be
// confirmed, and it must be more than a toy sum.
func (s *story) audit(ctx context.Context) (string, map[string]any, error) {
	p := s.people["ada"]
	var err error
	if s.audits, err = p.agent.Audit(ctx, p.contract); err != nil {
		return "", nil, err
	}
	a := s.audits
	switch {
	case len(a.Refused) > 0:
		return "", nil, code.New(code.Internal, "%d rows of an honest relay are refused, the first as %s: %s", len(a.Refused), a.Refused[0].Class, a.Refused[0].Why)
	case a.Confirmed != a.Usage.Owed:
		return "", nil, code.New(code.Internal, "%d msat are confirmed of %d owed", a.Confirmed, a.Usage.Owed)
	case a.Confirmed.CeilSat() <= 1000:
		return "", nil, code.New(code.Internal, "only %d msat were used", a.Confirmed)
	}
	return fmt.Sprintf("ada's audit confirms %d msat, every row of it: %s", a.Confirmed, a.Summary),
		map[string]any{"confirmed_msat": a.Confirmed, "due_sat": a.Due, "paid_sat": a.Paid, "classes": a.Classes}, nil
}

// payment: exactly what the audit confirms, rounded up once, on top of the contract price.
func (s *story) payment(ctx context.Context) (string, map[string]any, error) {
	p := s.people["ada"]
	res, err := p.agent.ContractPay(ctx, p.contract, s.audits.Due)
	if err != nil {
		return "", nil, err
	}
	want := max(p.opened.Paid, p.opened.ContractPrice+s.audits.Confirmed.CeilSat())
	if res.Paid != want {
		return "", nil, code.New(code.Internal, "%d sat were paid, the audit gives %d", res.Paid, want)
	}
	st, err := s.server(p.relay).Status(ctx)
	if err != nil {
		return "", nil, err
	}
	if st.Contracts[0].Paid != want {
		return "", nil, code.New(code.Internal, "the relay holds a payment of %d sat, %d were given", st.Contracts[0].Paid, want)
	}
	return fmt.Sprintf("ada signs update %d: %d sat in all, %d of them now; %s keeps the signature", res.Number, res.Paid, res.Added, p.relay),
		map[string]any{"update": res.Number, "paid_sat": res.Paid, "added_sat": res.Added}, nil
}

// close: Ada's contract is closed at the relay's request, Bob's by a refund payment of his own: the seed's
// two ways. The first is signed by both as one, by the key path; the second by each, by the leaf.
func (s *story) close(ctx context.Context) (string, map[string]any, error) {
	ada, bob := s.people["ada"], s.people["bob"]
	if _, err := s.server(ada.relay).CloseContract(ctx, ada.contract); err != nil {
		return "", nil, err
	}
	if _, err := ada.agent.ContractClose(ctx, ada.contract, "request"); err != nil {
		return "", nil, err
	}
	if _, err := bob.agent.ContractClose(ctx, bob.contract, "refund-payment"); err != nil {
		return "", nil, err
	}
	data := map[string]any{}
	for name, p := range map[string]*person{"ada": ada, "bob": bob} {
		if err := s.state(ctx, p, p.contract, "closing"); err != nil {
			return "", nil, err
		}
		info, err := p.agent.Contract(ctx, p.contract)
		if err != nil {
			return "", nil, err
		}
		data[name] = map[string]any{"closing_txid": info.ClosingTxid}
	}
	return "ada's contract is closed at the relay's request, both signing as one; bob's by a refund payment that each has signed", data, nil
}

// settled: both closes are final, and the chain itself says who got what.
func (s *story) settled(ctx context.Context) (string, map[string]any, error) {
	for _, p := range []*person{s.people["ada"], s.people["bob"]} {
		info, err := s.finish(ctx, p, p.contract)
		if err != nil {
			return "", nil, err
		}
		s.closed = append(s.closed, info)
	}
	key, leaf := s.closed[0], s.closed[1]
	if key.ClosePath != "key-path" || leaf.ClosePath != "leaf" || key.CloseFee >= leaf.CloseFee {
		return "", nil, code.New(code.Internal, "closed by %s for a fee of %d, and by %s for %d", key.ClosePath, key.CloseFee, leaf.ClosePath, leaf.CloseFee)
	}
	text, data, err := s.books()
	return fmt.Sprintf("both closes are final: by the key path for a fee of %d sat, by the leaf for %d. ", key.CloseFee, leaf.CloseFee) + text, data, err
}

// finish mines until a contract is closed for good and checks it against the chain.
func (s *story) finish(ctx context.Context, p *person, id usage.ContractID) (client.ContractInfo, error) {
	m, err := contract.MarginsOf(identity.Regtest)
	if err != nil {
		return client.ContractInfo{}, err
	}
	var info client.ContractInfo
	err = s.w.MineUntil(ctx, p.Name+"'s contract is closed for good", int(m.FinalDepth)+12, func() (bool, error) {
		var err error
		info, err = p.agent.Contract(ctx, id)
		return info.State == "closed", err
	})
	if err != nil {
		return info, fmt.Errorf("%w (it is %s)", err, info.State)
	}
	return info, s.onChain(info)
}

// onChain holds a contract's figures against the node's own copy of its closing transaction.
func (s *story) onChain(c client.ContractInfo) error {
	txid, err := chainhash.NewHashFromStr(c.ClosingTxid)
	if err != nil {
		return err
	}
	tx, err := s.w.Node.Client().GetRawTransaction(txid)
	if err != nil {
		return err
	}
	var out usage.Sat
	for _, o := range tx.MsgTx().TxOut {
		out += usage.Sat(o.Value)
	}
	if out != c.ClientPayout+c.RelayPayout || out+c.CloseFee != c.Deposit {
		return code.New(code.Internal, "contract %.8s: deposit %d, on the chain %d, to the client %d, to the relay %d, fee %d",
			c.ID, c.Deposit, out, c.ClientPayout, c.RelayPayout, c.CloseFee)
	}
	return nil
}

// books sums up all contracts that are over: deposits = payouts + fees, to the satoshi.
func (s *story) books() (string, map[string]any, error) {
	var in, toClients, toRelays, fees usage.Sat
	for _, c := range s.closed {
		in += c.Deposit
		toClients += c.ClientPayout
		toRelays += c.RelayPayout
		fees += c.CloseFee
	}
	data := map[string]any{"contracts": len(s.closed), "deposits_sat": in, "to_clients_sat": toClients, "to_relays_sat": toRelays, "fees_sat": fees}
	text := fmt.Sprintf("Books: %d sat deposited = %d to clients + %d to relays + %d fees", in, toClients, toRelays, fees)
	if in != toClients+toRelays+fees || in == 0 {
		return text, data, code.New(code.Internal, "the books do not balance: %s", text)
	}
	return text, data, nil
}

// vanish: Ada opens a contract with the third relay, which then is gone without a word.
func (s *story) vanish(ctx context.Context) (string, map[string]any, error) {
	ada := s.people["ada"]
	name := s.third()
	info, _, err := s.open(ctx, ada, name, DefaultPrices().MinDuration)
	if err != nil {
		return "", nil, err
	}
	if err := s.active(ctx, ada, info.ID); err != nil {
		return "", nil, err
	}
	if err := s.w.StopRelay(name); err != nil {
		return "", nil, err
	}
	s.gone = info
	return fmt.Sprintf("ada locks %d sat with %s, and %s vanishes without an answer", info.Deposit, name, name),
		map[string]any{"contract": info.ID, "relay": name, "deposit_sat": info.Deposit, "funding_txid": info.FundingTxid, "expiry_height": info.ExpiryHeight}, nil
}

// third is the relay that nobody chose.
func (s *story) third() string {
	for _, spec := range s.w.opts.Relays {
		if spec.Name != s.people["ada"].relay && spec.Name != s.people["bob"].relay {
			return spec.Name
		}
	}
	return ""
}

// refund: at the expiry height Ada takes everything back with her own key alone.
func (s *story) refund(ctx context.Context) (string, map[string]any, error) {
	ada := s.people["ada"]
	_, height, err := s.w.Node.Tip()
	if err != nil {
		return "", nil, err
	}
	if left := int(s.gone.ExpiryHeight) - int(height); left > 0 {
		if err := s.w.Mine(ctx, left); err != nil {
			return "", nil, err
		}
	}
	info, err := s.finish(ctx, ada, s.gone.ID)
	if err != nil {
		return "", nil, err
	}
	if info.ClosedBy != "refund" || info.RelayPayout != 0 || info.ClientPayout+info.CloseFee != info.Deposit {
		return "", nil, code.New(code.Internal, "closed by %s: %d sat to the client, %d to the relay", info.ClosedBy, info.ClientPayout, info.RelayPayout)
	}
	s.closed = append(s.closed, info)
	text, data, err := s.books()
	data["refund_txid"], data["refund_sat"], data["refund_fee_sat"] = info.ClosingTxid, info.ClientPayout, info.CloseFee
	return fmt.Sprintf("at height %d ada takes back %d sat alone (fee %d) in %.12s…. %s", info.ExpiryHeight, info.ClientPayout, info.CloseFee, info.ClosingTxid, text), data, err
}
