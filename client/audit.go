package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Usage gets a relay's fresh report on a contract with the rows that are not here yet, checks
// that it is consistent with everything that the relay said before, and keeps it. With entries
// the rows come too. Errors: ContractUnknown, BadState, those of reaching the relay, Malformed.
func (a *Agent) Usage(ctx context.Context, id usage.ContractID, entries bool) (UsageInfo, error) {
	l, err := a.fetchLedger(ctx, id)
	if err != nil {
		return UsageInfo{}, err
	}
	u := l.info()
	if l.fault != nil {
		papers, err := a.store.AuditPapers(ctx, id)
		if err != nil {
			return u, err
		}
		if u.Proven, err = a.prove(ctx, l, papers, nil); err != nil {
			return u, err
		}
	}
	if u.Lanes, err = a.laneTotals(ctx, l); err != nil {
		return UsageInfo{}, err
	}
	if entries {
		u.Entries, err = a.entries(ctx, l)
	}
	return u, err
}

func (l *ledger) info() UsageInfo {
	r := l.report
	u := UsageInfo{
		Contract: r.Contract, Report: r.Digest(), Number: r.Number, Rows: r.Size, LiveBytes: r.LiveBytes, Egress: r.Egress,
		Owed: r.Owed, Paid: r.Paid, Time: r.Time, Consistent: l.fault == nil,
	}
	if l.fault != nil {
		u.Inconsistent = l.fault.Error()
	}
	return u
}

// entries is the rows as a person reads them, with the paths that only this agent knows.
func (a *Agent) entries(ctx context.Context, l ledger) ([]UsageRow, error) {
	out := make([]UsageRow, 0, len(l.rows))
	for i, e := range l.rows {
		r, err := usage.DecodeRow(e.Row)
		if err != nil {
			out = append(out, UsageRow{Index: uint64(i), Kind: "unreadable", Why: err.Error()})
			continue
		}
		row := UsageRow{Index: uint64(i), Kind: r.Kind.String(), Time: r.Time, Bytes: r.Bytes, Owed: r.Owed}
		if !r.Record.IsZero() {
			s, err := a.store.Sent(ctx, r.Record)
			if err == nil {
				row.Receiver, row.Path = s.Header.To, s.Header.Path().String()
			} else if code.Of(err) != code.NotFound {
				return nil, err
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// verdict is a finished audit with what follows from it.
type verdict struct {
	ledger
	result usage.Result
	due    usage.Sat // cumulative; never below what is paid, never above what is confirmed
	proven []ProvenFault
}

// Audit gets the relay's report and compares every row with the agent's own papers. It pays
// nothing. Rows that are refused are named in a signed dissent, which is kept as evidence. Errors
// are those of Usage.
func (a *Agent) Audit(ctx context.Context, id usage.ContractID) (AuditResult, error) {
	v, err := a.audit(ctx, id)
	if err != nil {
		return AuditResult{}, err
	}
	entries, err := a.entries(ctx, v.ledger)
	if err != nil {
		return AuditResult{}, err
	}
	out := v.tell(entries)
	out.Usage.Lanes, err = a.laneTotals(ctx, v.ledger)
	return out, err
}

func (a *Agent) audit(ctx context.Context, id usage.ContractID) (verdict, error) {
	l, err := a.fetchLedger(ctx, id)
	if err != nil {
		return verdict{}, err
	}
	papers, err := a.store.AuditPapers(ctx, l.contract.ID())
	if err != nil {
		return verdict{}, err
	}
	policy := usage.DefaultPolicy()
	policy.TolerancePercent = a.cfg.Limits.UnackedPercent
	t := l.contract.Terms()
	result, err := usage.Reconcile(usage.Input{
		Network: a.network, Relay: l.contract.Peer(), Client: a.Key(), Contract: l.contract.ID(), Terms: t.Digest(), Prices: t.Prices,
		Now: a.nowMilli(), Purged: l.contract.PurgedFrom(), Report: l.report, Previous: l.previous, Rows: l.rows,
		Orders: papers.Orders, Grants: papers.Grants, Acks: papers.Acks, Deleted: papers.Deleted, Seen: papers.Seen, Policy: policy,
	})
	if err != nil {
		return verdict{}, code.Wrap(code.Malformed, err, "the relay's log cannot be audited")
	}
	v := verdict{ledger: l, result: result}
	if l.fault != nil {
		v.result.ConfirmedMsat = 0 // whatever the rows say: a relay that contradicts itself is paid nothing more
	}
	v.due = dueOf(t, l.contract.Paid(), v.result.ConfirmedMsat)
	if v.proven, err = a.prove(ctx, l, papers, result.Refused); err != nil {
		return verdict{}, err
	}
	return v, a.remember(ctx, v)
}

// minRest is the least that can be left of an escrow, in satoshi: a smaller output could not be
// paid out, so that a payment that leaves less takes all of it.
const minRest usage.Sat = 330

// dueOf is the cumulative sum that a confirmed use allows to pay. It never falls, never passes the
// escrow, and never takes a rest along that was not confirmed.
func dueOf(t contract.Terms, paid usage.Sat, confirmed usage.Msat) usage.Sat {
	due, err := t.ContractPrice.Add(confirmed.CeilSat())
	if err != nil {
		due = t.Value
	}
	return capped(t, paid, due)
}

// capped bounds a payment by the escrow, and down to one that leaves no rest which could not be
// paid out; what is paid already is paid.
func capped(t contract.Terms, paid, due usage.Sat) usage.Sat {
	due = min(due, t.Value)
	if due < t.Value && t.Value-due < minRest {
		due = t.Value - min(minRest, t.Value)
	}
	return max(due, paid)
}

// The scores of relays by the agent's own audits, in thousandths of their price.
const (
	scoreClean     broadcast.Score = 900
	scoreRefused   broadcast.Score = 1500
	scoreDishonest broadcast.Score = 10_000
)

// remember keeps what an audit says of a relay: the score that the market is ranked by, and a
// dissent where rows are refused.
func (a *Agent) remember(ctx context.Context, v verdict) error {
	score := scoreClean
	switch {
	case len(v.proven) > 0 || v.fault != nil && !errors.Is(v.fault, usage.ErrLogReset):
		score = scoreDishonest
	case v.fault != nil || len(v.result.Refused) > 0: // a relay that lost its log is no liar

		score = scoreRefused
	case len(v.rows) == 0:
		return nil
	}
	if err := a.store.SaveScore(ctx, v.contract.Peer(), score); err != nil {
		return err
	}
	return a.dissent(ctx, v)
}

// dissentRows is how many rows one dissent names: it must fit what is kept as one paper.
const dissentRows = 6000

// dissent keeps a signed statement of the rows that are refused, once for each report.
func (a *Agent) dissent(ctx context.Context, v verdict) error {
	rows := v.result.Dissent()
	if len(rows) == 0 {
		return nil
	}
	name := fmt.Sprintf("dissent from report %d (%s): ", v.report.Number, v.report.Digest())
	kept, err := a.store.Evidence(ctx)
	if err != nil {
		return err
	}
	for _, e := range kept {
		if e.Contract == v.contract.ID() && strings.HasPrefix(e.Name, name) {
			return nil
		}
	}
	for ; len(rows) > 0; rows = rows[min(len(rows), dissentRows):] {
		part := rows[:min(len(rows), dissentRows)]
		s, err := a.signDissentTo(v.contract.Peer(), v.report.Digest(), part)
		if err != nil {
			return err
		}
		if err := a.keepEvidence(ctx, v.contract, name+namesOf(part), s); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) signDissentTo(relay identity.PublicKey, report identity.Digest, rows []usage.DissentRow) (identity.Signed, error) {
	h, err := a.header(relay, a.nowMilli())
	if err != nil {
		return identity.Signed{}, err
	}
	raw, err := usage.Dissent{Header: h, Report: report, Rows: rows}.Encode()
	if err != nil {
		return identity.Signed{}, err
	}
	return identity.SignOne(a.home.Key(), raw)
}

// namesOf lists rows for the name of a paper, as many as a line takes.
func namesOf(rows []usage.DissentRow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows refused:", len(rows))
	for i, r := range rows {
		if i == 20 {
			b.WriteString(" …")
			break
		}
		fmt.Fprintf(&b, " %d%c", r.Index, r.Class)
	}
	return b.String()
}

// tell is the audit for a person or a program.
func (v *verdict) tell(entries []UsageRow) AuditResult {
	out := AuditResult{
		Usage: v.info(), Classes: make(map[string]ClassTotal), Confirmed: v.result.ConfirmedMsat, Due: v.due, Paid: v.contract.Paid(),
	}
	for c, t := range v.result.Classes {
		out.Classes[letter1(c)] = ClassTotal{Rows: t.Rows, Bytes: t.Bytes, Msat: t.Msat, Means: c.String()[2:]}
	}
	for i := range entries {
		if i < len(v.result.Rows) {
			entries[i].Class = letter1(v.result.Rows[i])
		}
	}
	for _, f := range v.result.Refused {
		row := UsageRow{Index: f.Index}
		if f.Index < uint64(len(entries)) {
			entries[f.Index].Why = f.Why
			row = entries[f.Index]
		}
		row.Owed, row.Class, row.Why = f.Msat, letter1(f.Class), f.Why
		out.Refused = append(out.Refused, row)
	}
	out.Usage.Entries, out.Usage.Proven = entries, v.proven
	out.Summary = v.summary()
	return out
}

func letter1(c usage.Class) string { return string(rune(c)) }

func (v *verdict) summary() string {
	paid := v.contract.Paid()
	s := fmt.Sprintf("billed %s, confirmed %s", broadcast.FormatMsat(v.result.ClaimedMsat), broadcast.FormatMsat(v.result.ConfirmedMsat))
	if n := len(v.result.Refused); n > 0 {
		s += fmt.Sprintf(", %d refusals", n)
	}
	switch {
	case v.fault != nil:
		return fmt.Sprintf("%s; the relay contradicts itself (%v), so nothing more is due", s, v.fault)
	case v.due > paid:
		return fmt.Sprintf("%s; %s of %s are paid, so %s are due", s, broadcast.FormatSat(paid), broadcast.FormatSat(v.due), broadcast.FormatSat(v.due-paid))
	}
	return fmt.Sprintf("%s; %s are paid, so nothing is due", s, broadcast.FormatSat(paid))
}
