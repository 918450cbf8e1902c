package client

import (
	"bytes"
	"context"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

// The states of a grant as lists show them.
const (
	GrantWaiting = "waiting" // the relay has not receipted it yet
	GrantStands  = "stands"
	GrantRevoked = "revoked"
	GrantEnded   = "ended" // past its last block
)

// Grants lists the grants given and received, with what their relays say of them now.
func (a *Agent) Grants(ctx context.Context) ([]GrantInfo, error) {
	all, err := a.grants(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(x, y heldGrant) int { return bytes.Compare(x.Digest[:], y.Digest[:]) })
	out := make([]GrantInfo, 0, len(all))
	for _, g := range all {
		out = append(out, a.grantInfo(ctx, g))
	}
	return out, nil
}

// grantInfo is a grant as lists show it; the lane's sums are missing where its relay does not answer.
func (a *Agent) grantInfo(ctx context.Context, g heldGrant) GrantInfo {
	i := GrantInfo{
		Grant: g.Digest, Contract: g.Contract, Relay: g.To, Sponsor: g.From, Account: g.Account, Given: g.From == a.Key(),
		CapMsat: g.CapMsat, DayMsat: g.DayMsat, NotBefore: g.NotBefore, NotAfter: g.NotAfter, State: GrantStands,
	}
	if i.Given {
		i.Label = a.labelOf(ctx, g.Account)
	} else {
		i.Label = a.labelOf(ctx, g.From)
	}
	lane, err := a.lane(ctx, g, ^uint64(0))
	switch {
	case err != nil:
		i.Fault = err.Error()
	default:
		i.Lane = &LaneInfo{
			LiveBytes: lane.LiveBytes, Egress: lane.Egress, Owed: usage.Msat(lane.OwedMsat), Reserved: usage.Msat(lane.ReservedMsat),
			Ordered: usage.Msat(lane.DayMsat), Open: lane.Open,
		}
	}
	switch {
	case !g.Revoke.IsZero() && (!g.Ended.IsZero() || !i.Given) || lane != nil && len(lane.Revoke) > 0:
		i.State = GrantRevoked
	case g.Receipt.IsZero() || !g.Revoke.IsZero():
		i.State = GrantWaiting
	case a.runner.Tip() > g.NotAfter:
		i.State = GrantEnded
	}
	return i
}

// lane asks a relay how a grant stands, with rows of its lane from an index on. That a received grant was
// revoked is remembered.
func (a *Agent) lane(ctx context.Context, g heldGrant, from uint64) (*message.Lane, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, err := a.session(ctx, g.To)
	if err != nil {
		return nil, err
	}
	m, err := call[*message.Lane](ctx, c, &message.RequestLane{Contract: g.Contract, Grant: g.Digest, FromRow: from})
	if err != nil || len(m.Revoke) == 0 || g.Account != a.Key() || !g.Revoke.IsZero() {
		return m, err
	}
	s, err := identity.ParseSigned(m.Revoke)
	if err != nil {
		return m, err
	}
	r, err := usage.OpenAccountRevoke(s)
	if err != nil {
		return m, err
	}
	if r.From != g.From || r.Grant != g.Digest {
		return m, code.New(code.Malformed, "the relay shows the revocation of another grant")
	}
	return m, a.store.ChangeGrant(ctx, g.Digest, func(k *store.HeldGrant) { k.Revoke = s })
}

// laneTotals are the lanes of a log by its rows; nil where all rows are the agent's own, or the rows cannot
// be read.
func (a *Agent) laneTotals(ctx context.Context, l ledger) ([]LaneTotal, error) {
	if l.report.Lanes == 0 || l.fault != nil {
		return nil, nil
	}
	ls, err := usage.LanesOf(l.rows)
	if err != nil {
		return nil, code.Wrap(code.Malformed, err, "the lanes of the relay's log")
	}
	entries, err := ls.Entries(l.contract.Terms().Prices)
	if err != nil {
		return nil, code.Wrap(code.Malformed, err, "the lanes of the relay's log")
	}
	given, err := a.grants(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]LaneTotal, len(entries))
	for i, e := range entries {
		out[i] = LaneTotal{Grant: e.Grant, LiveBytes: e.LiveBytes, Egress: e.Egress, Owed: e.Owed}
		for _, g := range given {
			if g.Digest == e.Grant {
				out[i].Account, out[i].Label = g.Account, a.labelOf(ctx, g.Account)
			}
		}
	}
	return out, nil
}

// GrantAudit gets the rows of a received grant's own lane and compares them with the agent's papers. It
// pays nothing: that is the sponsor's. Codes UnknownGrant, Forbidden, and those of reaching the relay.
func (a *Agent) GrantAudit(ctx context.Context, id string) (LaneAudit, error) {
	g, err := a.findGrant(ctx, id)
	if err != nil {
		return LaneAudit{}, err
	}
	if g.Account != a.Key() {
		return LaneAudit{}, code.New(code.Forbidden, "the account audits its own lane; the sponsor audits the contract")
	}
	rows, err := a.laneRows(ctx, g)
	if err != nil {
		return LaneAudit{}, err
	}
	papers, err := a.store.AuditPapers(ctx, g.Contract)
	if err != nil {
		return LaneAudit{}, err
	}
	res, err := usage.ReconcileLane(usage.Input{
		Network: a.network, Relay: g.To, Client: a.Key(), Contract: g.Contract, Terms: g.Terms, Prices: g.Prices, Now: a.nowMilli(),
		Rows: rows, Orders: papers.Orders, Acks: papers.Acks, Seen: papers.Seen, Lane: g.Digest, Policy: usage.DefaultPolicy(),
	})
	if err != nil {
		return LaneAudit{}, code.Wrap(code.Malformed, err, "the lane cannot be audited")
	}
	out := LaneAudit{Grant: a.grantInfo(ctx, g), Rows: uint64(len(rows)), Claimed: res.ClaimedMsat, Confirmed: res.ConfirmedMsat, Classes: make(map[string]ClassTotal)}
	for c, t := range res.Classes {
		out.Classes[letter1(c)] = ClassTotal{Rows: t.Rows, Bytes: t.Bytes, Msat: t.Msat, Means: c.String()[2:]}
	}
	for _, f := range res.Refused {
		out.Refused = append(out.Refused, UsageRow{Index: f.Index, Owed: f.Msat, Class: letter1(f.Class), Why: f.Why})
	}
	return out, nil
}

// laneRows gets all rows of a lane, page by page.
func (a *Agent) laneRows(ctx context.Context, g heldGrant) ([]usage.RowEntry, error) {
	var rows []usage.RowEntry
	bytes, from := 0, uint64(0)
	for {
		m, err := a.lane(ctx, g, from)
		if err != nil {
			return nil, err
		}
		for _, raw := range m.Rows {
			e, err := usage.DecodeRowEntry(raw)
			if err != nil {
				return nil, code.Wrap(code.Malformed, err, "a row of the relay's lane")
			}
			r, err := usage.DecodeRow(e.Row)
			if err != nil || r.Index < from {
				return nil, code.New(code.Malformed, "the relay's lane has rows out of order")
			}
			rows, from = append(rows, e), r.Index+1
			bytes += len(raw)
		}
		switch {
		case !m.More:
			return rows, nil
		case len(m.Rows) == 0:
			return nil, code.New(code.Malformed, "the relay tells of more rows and shows none")
		case len(rows) > maxAuditRows || bytes > maxAuditBytes:
			return nil, code.New(code.TooLarge, "a lane of more than %d rows or %d MiB", maxAuditRows, maxAuditBytes>>20)
		}
	}
}

// grantPayers are the grants that can pay, at a relay if one is named.
func (a *Agent) grantPayers(ctx context.Context, relay identity.PublicKey, grant identity.Digest) ([]payer, error) {
	all, err := a.received(ctx)
	if err != nil {
		return nil, err
	}
	var out []payer
	for _, g := range all {
		if !relay.IsZero() && g.To != relay || !grant.IsZero() && g.Digest != grant {
			continue
		}
		p := payer{
			relay: g.To, contract: g.Contract, terms: g.Terms, prices: g.Prices, grant: g.Digest, funds: g.CapMsat, day: g.DayMsat,
		}
		if p.limits, err = a.limitsOf(ctx, p.relay); err != nil {
			return nil, err
		}
		m, err := a.lane(ctx, g, ^uint64(0))
		if err != nil {
			p.fault = err
			out = append(out, p)
			continue
		}
		if len(m.Revoke) > 0 {
			continue
		}
		used := usage.Msat(m.OwedMsat) + min(usage.Msat(m.ReservedMsat), ^usage.Msat(0)-usage.Msat(m.OwedMsat))
		p.funds, p.day = g.CapMsat-min(used, g.CapMsat), g.DayMsat-min(usage.Msat(m.DayMsat), g.DayMsat)
		if !m.Open {
			p.fault = code.New(code.NoFunds, "the sponsor's contract takes no orders now")
		}
		out = append(out, p)
	}
	return out, nil
}

// mayOrderOn tells whether a grant on a contract is held.
func (a *Agent) mayOrderOn(ctx context.Context, id usage.ContractID) (bool, error) {
	all, err := a.received(ctx)
	return slices.ContainsFunc(all, func(g heldGrant) bool { return g.Contract == id }), err
}
