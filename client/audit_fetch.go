package client

import (
	"context"
	"errors"
	"fmt"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/session"
	"relaymarket/internal/store"
	"relaymarket/usage"
)

const (
	// maxAuditRows bounds the rows of one log that are kept here: each has evidence that this agent
	// or its contacts signed, so an honest log of this size takes years.
	maxAuditRows = 1 << 20
	// saveBytes is how many bytes of rows are saved in one step, below the store's bound.
	saveBytes = 512 << 10
	// maxAuditBytes bounds what the rows of one log may take in memory.
	maxAuditBytes = 512 << 20
)

// ledger is a relay's report on a contract with all rows that it counts, as far as they could be
// brought together.
type ledger struct {
	contract contract.Contract
	report   usage.VerifiedUsageReport
	previous *usage.VerifiedUsageReport // the one kept before, if its rows are of the same log
	rows     []usage.RowEntry           // from 0 on, as many as the report counts
	fault    error                      // how the relay contradicts itself; nil: it does not
}

// fetchLedger asks a relay for a fresh report, completes the rows kept here with those that are
// missing, checks that the log only grew, and keeps what is consistent. A contradiction is kept as
// evidence and told in the ledger. Errors are for what cannot be looked at at all.
func (a *Agent) fetchLedger(ctx context.Context, id usage.ContractID) (ledger, error) {
	c, err := a.contractByID(id)
	if err != nil {
		return ledger{}, err
	}
	if c.State() < contract.StateFunding || c.State() == contract.StateAborted || c.State() == contract.StateFailed {
		return ledger{}, code.New(code.BadState, "the contract is %s: nothing can have been billed", c.State())
	}
	s, err := a.session(ctx, c.Peer())
	if err != nil {
		return ledger{}, err
	}
	last, err := a.lastReport(ctx, id)
	if err != nil {
		return ledger{}, err
	}
	l := ledger{contract: c}
	epoch := uint32(0)
	if last != nil {
		epoch = last.LogEpoch
	}
	kept, err := a.store.Rows(ctx, id, epoch, 0, maxAuditRows)
	if err != nil {
		return l, err
	}
	if last == nil && len(kept) > 0 {
		return l, code.New(code.StoreCorrupt, "there are rows without a report")
	}
	from := a.wantRows(kept)
	fetched, err := l.fetch(ctx, s, from)
	if err != nil {
		return l, err
	}
	if last != nil && l.report.LogEpoch == last.LogEpoch {
		l.previous = last
	} else if from > 0 {
		// Another log: its rows are all new.
		if fetched, err = l.fetch(ctx, s, 0); err != nil {
			return l, err
		}
		from = 0
	}
	l.rows = append(kept[:from:from], fetched...)
	if l.fault = l.check(last); l.fault != nil {
		return l, a.keepContradiction(ctx, l, last)
	}
	if err := a.saveRows(ctx, l.report, from, fetched); code.Of(err) == code.Conflict {
		l.fault = err
		return l, a.keepContradiction(ctx, l, last)
	} else if err != nil {
		return l, err
	}
	return l, nil
}

// wantRows is the first row that must be asked for: the first one that is not kept, or the first
// read that may have been acknowledged since, because acknowledgements come later than rows.
func (a *Agent) wantRows(kept []usage.RowEntry) uint64 {
	oldest := a.nowMilli() - min(a.nowMilli(), usage.DefaultPolicy().AckDeadline)
	for i, e := range kept {
		if len(e.Ack) > 0 {
			continue
		}
		if r, err := usage.DecodeRow(e.Row); err == nil && r.Kind == usage.RowRead && r.Time >= oldest {
			return uint64(i)
		}
	}
	return uint64(len(kept))
}

// fetch gets a report and all rows from an index on, page by page. Later pages may come with a
// later report; the first one counts.
func (l *ledger) fetch(ctx context.Context, s *session.Client, from uint64) ([]usage.RowEntry, error) {
	var rows []usage.RowEntry
	bytes := 0
	for first := true; ; first = false {
		m, err := call[*message.UsageReport](ctx, s, &message.RequestUsage{
			Contract: l.contract.ID(), FromRow: from + uint64(len(rows)), Fresh: first,
		})
		if err != nil {
			return nil, err
		}
		if first {
			if l.report, err = openReport(m.Report, l.contract); err != nil {
				return nil, err
			}
		}
		for _, raw := range m.Rows {
			e, err := usage.DecodeRowEntry(raw)
			if err != nil {
				return nil, code.Wrap(code.Malformed, err, "the relay's row %d", from+uint64(len(rows)))
			}
			rows = append(rows, e)
			bytes += len(raw)
		}
		switch have := from + uint64(len(rows)); {
		case have >= l.report.Size:
			return rows[:l.report.Size-min(from, l.report.Size)], nil
		case have > maxAuditRows || bytes > maxAuditBytes:
			return nil, code.New(code.TooLarge, "a log of more than %d rows or %d MiB", maxAuditRows, maxAuditBytes>>20)
		case len(m.Rows) == 0:
			return nil, code.New(code.Malformed, "the relay counts %d rows and shows %d", l.report.Size, have)
		}
	}
}

// openReport verifies a report and that it is the relay's on this contract.
func openReport(raw []byte, c contract.Contract) (usage.VerifiedUsageReport, error) {
	s, err := identity.ParseSigned(raw)
	if err != nil {
		return usage.VerifiedUsageReport{}, err
	}
	r, err := usage.OpenUsageReport(s)
	if err != nil {
		return r, err
	}
	if r.From != c.Peer() || r.To != c.Self() || r.Network != c.Terms().Network || r.Contract != c.ID() || r.Terms != c.Terms().Digest() {
		return r, code.New(code.Malformed, "the relay shows a report on another contract")
	}
	if r.Size > maxAuditRows {
		return r, code.New(code.TooLarge, "a log of %d rows, looked at are %d", r.Size, maxAuditRows)
	}
	return r, nil
}

// check looks for contradictions: between the report and the one before it, between the rows and
// the roots that are signed, between a row and the one before it.
func (l *ledger) check(last *usage.VerifiedUsageReport) error {
	if err := usage.CheckReport(last, l.report); err != nil && !errors.Is(err, usage.ErrReportGap) {
		return err
	}
	var tree usage.MemoryTree
	for i, e := range l.rows {
		if l.previous != nil && uint64(i) == l.previous.Size {
			if err := sameRoot(&tree, *l.previous); err != nil {
				return err
			}
		}
		if err := tree.Append(e.Row); err != nil {
			return err
		}
	}
	if err := sameRoot(&tree, l.report); err != nil {
		return err
	}
	end, err := usage.CheckRows(l.contract.Terms().Prices, usage.LogState{Epoch: l.report.LogEpoch}, l.rows, nil)
	if err != nil {
		return err
	}
	r := l.report
	if r.LiveBytes != end.Live || r.ByteSeconds != end.ByteSeconds || r.Egress != end.Egress || r.Owed != end.Owed {
		return fmt.Errorf("%w: its totals are not those of its last row", usage.ErrReport)
	}
	return usage.CheckLanes(r.UsageReport, l.contract.Terms().Prices, l.rows)
}

func sameRoot(tree *usage.MemoryTree, r usage.VerifiedUsageReport) error {
	root, err := usage.TreeRoot(tree.Size(), tree)
	if err != nil {
		return err
	}
	if root != r.Root {
		return fmt.Errorf("%w: the %d rows do not have the root that report %d signs", usage.ErrReport, tree.Size(), r.Number)
	}
	return nil
}

// saveRows keeps rows and report, in steps that the store takes.
func (a *Agent) saveRows(ctx context.Context, r usage.VerifiedUsageReport, from uint64, rows []usage.RowEntry) error {
	for {
		n, size := 0, 0
		for n < len(rows) && size < saveBytes {
			size += len(rows[n].Row) + len(rows[n].Ack)
			n++
		}
		if err := a.store.SaveReport(ctx, r, from, rows[:n]); err != nil {
			return err
		}
		if from, rows = from+uint64(n), rows[n:]; len(rows) == 0 {
			return nil
		}
	}
}

// keepContradiction keeps both reports of a relay that contradicts itself: together they are
// the proof, or the beginning of it.
func (a *Agent) keepContradiction(ctx context.Context, l ledger, last *usage.VerifiedUsageReport) error {
	a.log.Warn("a relay contradicts itself; nothing is paid on it", "relay", l.contract.Peer().Name(), "contract", l.contract.ID(), "fault", l.fault)
	reports := []usage.VerifiedUsageReport{l.report}
	if last != nil && last.Digest() != l.report.Digest() {
		reports = append(reports, *last)
	}
	for _, r := range reports {
		name := fmt.Sprintf("usage report %d, contradicted: %v", r.Number, l.fault)
		if err := a.keepEvidence(ctx, l.contract, name, r.Signed()); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) keepEvidence(ctx context.Context, c contract.Contract, name string, s identity.Signed) error {
	return a.keepPaper(ctx, store.Evidence{Relay: c.Peer(), Contract: c.ID(), Saved: a.nowMilli(), Name: name, Bytes: s.Bytes()})
}
