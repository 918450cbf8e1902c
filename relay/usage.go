package relay

import (
	"context"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// usage answers with the signed head of a contract's log and a page of its rows. Only the payer
// may see them; to anybody else the contract does not exist.
func (s *Server) usage(ctx context.Context, by identity.PublicKey, m *message.RequestUsage) (message.Message, error) {
	id := usage.ContractID(m.Contract)
	acc, err := s.store.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	if acc.Payer != by {
		return nil, code.New(code.ContractUnknown, "no contract %s of yours here", id)
	}
	report, err := s.report(ctx, id, m.Fresh)
	if err != nil {
		return nil, err
	}
	limit := s.page(m.Limit)
	rows, more, err := s.store.Rows(ctx, id, store.RowsQuery{
		From: m.FromRow, After: usage.Arrival(m.AfterTs), Before: usage.Arrival(m.BeforeTs), Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	out := &message.UsageReport{Report: report.Bytes(), More: more}
	var all bool
	if out.Rows, all, err = entries(rows, int(s.limits.MaxFrame)-len(out.Report)-1024); err != nil {
		return nil, err
	}
	out.More = out.More || !all
	return out, nil
}

// report gives the latest report of a contract, signed; with fresh, or if there is none, a new
// one if the log has grown. Its body is on disk before it is signed.
func (s *Server) report(ctx context.Context, id usage.ContractID, fresh bool) (identity.Signed, error) {
	raw, err := s.store.Report(ctx, id)
	if fresh || code.Of(err) == code.NotFound {
		tip := s.runner.Health().Last
		raw, err = s.store.MakeReport(ctx, s.nowMilli(), id, store.Tip{Height: usage.Height(tip.Height), Hash: tip.Hash})
	}
	if err != nil {
		return identity.Signed{}, err
	}
	return identity.SignOne(s.home.Key(), raw)
}

// maxReportsBack is how many reports a payment may be behind: others are made while a client audits
// one.
const maxReportsBack = 32

// ownReport tells whether a digest is that of one of this relay's last reports on a contract.
func (s *Server) ownReport(ctx context.Context, id usage.ContractID, d identity.Digest) (bool, error) {
	raw, err := s.store.Report(ctx, id)
	for range maxReportsBack {
		if code.Of(err) == code.NotFound {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if identity.StatementDigest(identity.TypeUsageReport, raw) == d {
			return true, nil
		}
		r, err2 := usage.DecodeUsageReport(raw)
		if err2 != nil || r.Number <= 1 {
			return false, err2
		}
		raw, err = s.store.ReportNo(ctx, id, r.Number-1)
	}
	return false, nil
}

// logHead is where the log of a contract stands by its latest report.
func (s *Server) logHead(ctx context.Context, c contract.Contract) (contract.Head, error) {
	raw, err := s.store.Report(ctx, c.ID())
	if k := code.Of(err); k == code.NotFound || k == code.ContractUnknown {
		return contract.Head{}, nil
	} else if err != nil {
		return contract.Head{}, err
	}
	r, err := usage.DecodeUsageReport(raw)
	return contract.Head{Epoch: r.LogEpoch, Size: r.Size, Root: r.Root}, err
}

// account tells a client how its contracts and its free allowance stand.
func (s *Server) account(ctx context.Context, by identity.PublicKey) (message.Message, error) {
	all, err := s.store.Accounts(ctx, by)
	if err != nil {
		return nil, err
	}
	used, err := s.store.FreeUsed(ctx, by, s.nowMilli())
	if err != nil {
		return nil, err
	}
	info := &message.AccountInfo{FreeUsed: used, FreeLimit: s.cfg.Offer.FreeBytesDay}
	for _, a := range all {
		c, err := s.runner.Contract(a.Contract)
		if err != nil {
			continue // its account outlives a contract that was forgotten
		}
		info.Contracts = append(info.Contracts, message.AccountContract{
			Contract: a.Contract, State: uint8(c.State()), OwedMsat: uint64(a.Owed), ReservedMsat: uint64(a.Reserved),
			PaidSat: uint64(a.Paid), FundsMsat: uint64(a.Funds), ValueSat: uint64(a.Value),
			ExpiryHeight: uint32(a.Expiry), Rows: a.Rows,
		})
	}
	return info, nil
}

// contract hands a contract statement to the runner and gives its answer.
func (s *Server) contract(ctx context.Context, by identity.PublicKey, m *message.Contract) (message.Message, error) {
	signed, err := identity.ParseSigned(m.Statement)
	if err != nil {
		return nil, err
	}
	reply, err := s.runner.Receive(ctx, by, signed)
	if err != nil {
		return nil, err
	}
	s.noteCompared(signed)
	if reply.IsZero() {
		return &message.OK{}, nil
	}
	return &message.Contract{Statement: reply.Bytes()}, nil
}

// ownOffer is what package contract must know of an own offer that still binds.
func (s *Server) ownOffer(d identity.Digest) (contract.OfferTerms, bool) {
	v, ok := s.offers.find(d)
	if !ok {
		return contract.OfferTerms{}, false
	}
	return contract.OfferTerms{
		Network: v.Network, Relay: v.From, Digest: v.Digest(), ValidUntil: v.ValidUntil, Prices: v.Prices,
		ContractPrice: v.ContractPrice, MinDeposit: v.MinDeposit, MaxDeposit: v.MaxDeposit,
		MinDuration: usage.Height(v.MinDuration), MaxDuration: usage.Height(v.MaxDuration),
		FundingDepth: v.FundingDepth, CreditLimit: v.CreditLimit, CreditToEarn: v.CreditToEarn,
		SettleFeeRate: v.SettleFeeRate, MinFundFeeRate: v.MinFundFeeRate, MaxCollateral: v.MaxCollateral,
	}, true
}
