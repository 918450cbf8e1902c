package evil

import (
	"crypto/rand"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/usage"
)

// ledger is the log of one contract as the Front shows it: the honest rows, and what the lies put
// among them. It only grows, and every report about it follows from the one before, unless that
// is the lie.
type ledger struct {
	prices   usage.Prices
	rows     []usage.RowEntry
	state    usage.LogState
	tree     usage.MemoryTree
	accepted map[identity.Digest]identity.UnixMilli // by receipt, as shown
	receipts map[identity.Digest]identity.Digest    // honest receipt → receipt as shown
	taken    int                                    // honest rows among rows
	place    []int                                  // place[i] is where honest row i stands
	last     *usage.UsageReport                     // as shown
	lastRaw  []byte
}

// openBook begins the ledger of a contract, whose prices are in the terms. Called with f.mu held.
func (f *Front) openBook(m *contract.ServerAddInputs) error {
	t, err := contract.DecodeTerms(m.Terms)
	if err != nil || f.books[m.Contract] != nil {
		return err
	}
	f.books[m.Contract] = &ledger{
		prices: t.Prices, accepted: make(map[identity.Digest]identity.UnixMilli), receipts: make(map[identity.Digest]identity.Digest),
	}
	return nil
}

// extra is how many rows the relay behind has not made.
func (l *ledger) extra() uint64 { return uint64(len(l.rows) - l.taken) }

// usage makes the Front's report of the relay's, which came with all rows.
func (f *Front) usage(q *message.RequestUsage, m *message.UsageReport) (message.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.books[q.Contract]
	if l == nil || m.More {
		return nil, code.New(code.Internal, "a log that is too long, or of an unknown contract")
	}
	s, err := identity.ParseSigned(m.Report)
	if err != nil {
		return nil, err
	}
	honest, err := usage.DecodeUsageReport(s.Statement)
	if err != nil {
		return nil, err
	}
	if err := f.takeRows(l, m.Rows); err != nil {
		return nil, err
	}
	raw, err := f.nextReport(l, honest)
	if err != nil {
		return nil, err
	}
	shown, err := digestOf(raw)
	if err != nil {
		return nil, err
	}
	f.names.put(identity.StatementDigest(identity.TypeUsageReport, s.Statement), shown)
	out := &message.UsageReport{}
	if out.Report, err = f.sign(raw); err != nil {
		return nil, err
	}
	for _, e := range l.rows[min(q.FromRow, uint64(len(l.rows))):] {
		row, err := e.Encode()
		if err != nil {
			return nil, err
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

// takeRows brings the ledger up to date with the honest log, and tells the lie.
func (f *Front) takeRows(l *ledger, raw [][]byte) error {
	for i, b := range raw {
		e, err := usage.DecodeRowEntry(b)
		if err != nil {
			return err
		}
		if i < l.taken {
			l.rows[l.place[i]].Ack = e.Ack // it may have come since
			continue
		}
		if err := f.takeRow(l, e); err != nil {
			return err
		}
	}
	if f.lie == nil || f.lie.bill == nil || f.told > 0 {
		return nil
	}
	rows, err := f.lie.bill(f, l)
	if err != nil {
		return err
	}
	for _, in := range rows {
		if err := l.append(in, nil); err != nil {
			return err
		}
		f.told++
	}
	return nil
}

// takeRow takes one honest row.
func (f *Front) takeRow(l *ledger, e usage.RowEntry) error {
	r, err := usage.DecodeRow(e.Row)
	if err != nil {
		return err
	}
	in := usage.RowInput{
		Kind: r.Kind, Arrival: r.Arrival, Time: r.Time, Bytes: r.Bytes, Receipt: r.Receipt, Record: r.Record, Evidence: r.Evidence,
	}
	if shown, ok := l.receipts[r.Receipt]; ok {
		in.Receipt = shown
	}
	if f.lie != nil && f.lie.row != nil && f.lie.row(&in) {
		f.told++
	}
	l.place = append(l.place, len(l.rows))
	l.taken++
	return l.append(in, e.Ack)
}

// append adds a row that follows from those before.
func (l *ledger) append(in usage.RowInput, ack []byte) error {
	if in.Arrival == 0 {
		in.Arrival, in.Time = l.state.LastArrival+1, l.state.LastTime
	}
	if in.Kind == usage.RowWrite {
		l.accepted[in.Receipt] = in.Time
	}
	in.Accepted = l.accepted[in.Receipt]
	row, state, err := usage.AppendRow(l.state, l.prices, in)
	if err != nil {
		return err
	}
	return l.put(row, state, ack)
}

func (l *ledger) put(row usage.Row, state usage.LogState, ack []byte) error {
	raw, err := row.Encode()
	if err != nil {
		return err
	}
	l.rows, l.state = append(l.rows, usage.RowEntry{Row: raw, Ack: ack}), state
	return l.tree.Append(raw)
}

// nextReport is the Front's report: the last one again if nothing changed, else one that follows it.
func (f *Front) nextReport(l *ledger, honest usage.UsageReport) ([]byte, error) {
	lies := f.lie != nil && f.lie.report != nil && f.told == 0
	if l.last != nil && l.last.Size == l.tree.Size() && l.last.Paid == honest.Paid && !lies {
		return l.lastRaw, nil
	}
	r := honest
	r.Number, r.Previous, r.PrevSize, r.PrevRoot, r.Consistency = 1, identity.Digest{}, 0, identity.Digest{}, nil
	r.LiveBytes, r.ByteSeconds, r.Egress, r.Owed, r.AsOf = l.state.Live, l.state.ByteSeconds, l.state.Egress, l.state.Owed, l.state.LastArrival
	if _, err := rand.Read(r.Serial[:]); err != nil {
		return nil, err
	}
	if err := l.head(&r); err != nil {
		return nil, err
	}
	if lies {
		f.told++
		if err := f.lie.report(l, &r); err != nil {
			return nil, err
		}
	}
	raw, err := r.Encode()
	if err == nil {
		l.last, l.lastRaw = &r, raw
	}
	return raw, err
}

// head fills in size, root and predecessor.
func (l *ledger) head(r *usage.UsageReport) (err error) {
	r.Size = l.tree.Size()
	if r.Root, err = usage.TreeRoot(r.Size, &l.tree); err != nil || l.last == nil {
		return err
	}
	r.Number, r.PrevSize = l.last.Number+1, l.last.Size
	if r.Previous, err = digestOf(l.lastRaw); err != nil || r.PrevSize == 0 {
		return err
	}
	r.PrevRoot = l.last.Root
	r.Consistency, err = usage.ProveConsistency(r.PrevSize, r.Size, &l.tree)
	return err
}

// receipt gives the client a receipt that fits the ledger.
func (f *Front) receipt(signed []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := identity.ParseSigned(signed)
	if err != nil {
		return nil, err
	}
	r, err := usage.DecodeReceipt(s.Statement)
	if err != nil {
		return nil, err
	}
	if l := f.books[r.Contract]; l != nil && r.RowIndex >= uint64(l.taken) {
		r.RowIndex += l.extra()
	}
	if f.lie != nil && f.lie.receipt != nil && f.told == 0 {
		f.told++
		f.lie.receipt(&r)
	}
	raw, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if l := f.books[r.Contract]; l != nil {
		before, err := digestOf(s.Statement)
		if err != nil {
			return nil, err
		}
		after, err := digestOf(raw)
		if err != nil {
			return nil, err
		}
		l.receipts[before] = after
	}
	return f.sign(raw)
}
