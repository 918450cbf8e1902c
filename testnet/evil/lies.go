package evil

import (
	"bytes"
	"crypto/rand"

	btcwire "github.com/btcsuite/btcd/wire/v2"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/usage"
)

// Lie is one dishonesty of a relay.
type Lie struct {
	Name string // a word for tests and scenario files
	What string // in a sentence

	bill     func(*Front, *ledger) ([]usage.RowInput, error)                         // rows put on the bill once
	row      func(*usage.RowInput) bool                                              // changes what honest rows say
	report   func(*ledger, *usage.UsageReport) error                                 // changes the next report
	receipt  func(*usage.Receipt)                                                    // changes the next receipt
	contract func(contract.Message) bool                                             // changes contract messages
	delivery func(*Front, *message.Read, *message.ReadData) (message.Message, error) // changes what is delivered
}

// Overcharge is how many satoshi a relay asks beyond what is due, where that is the lie.
const Overcharge usage.Sat = 5_000

// lies is the table of all lies.
var lies = []Lie{
	{Name: "unasked", What: "bills a read for which it has no request", bill: unasked},
	{Name: "replayed", What: "bills a read with the request for another record", bill: replayed},
	{Name: "invented", What: "bills a read with a request that it signed itself", bill: invented},
	{Name: "twice", What: "bills a read twice", bill: twice(usage.RowRead)},
	{Name: "written-twice", What: "bills an order twice", bill: twice(usage.RowWrite)},
	{Name: "oversize", What: "bills twice the bytes of a read", row: oversize},
	{Name: "sums", What: "adds up wrongly from one row to the next", bill: wrongSum},
	{Name: "two-faced", What: "signs two reports with one number", report: twoFaced},
	{Name: "rewritten", What: "signs a report that does not extend the last one", report: rewritten},
	{Name: "overasks", What: "asks for more than its report says", contract: overasks},
	{Name: "denies", What: "denies a record that it has", delivery: denies},
	{Name: "spoils", What: "serves another content than the sender signed", delivery: spoils},
	{Name: "false-receipt", What: "gives a receipt for another order", receipt: falseReceipt},
	{Name: "late-receipt", What: "gives a receipt whose custody ends at once", receipt: noCustody},
}

// Lies are all dishonesties that a Front knows, by name.
func Lies() map[string]*Lie {
	out := make(map[string]*Lie, len(lies))
	for i := range lies {
		out[lies[i].Name] = &lies[i]
	}
	return out
}

// worthiest finds the honest row of a kind that is worth most, leaving out what skip says.
func (l *ledger) worthiest(k usage.RowKind, skip func(usage.Row) bool) (best usage.Row, err error) {
	for _, at := range l.place {
		r, err := usage.DecodeRow(l.rows[at].Row)
		if err != nil {
			return r, err
		}
		if r.Kind == k && r.Bytes > best.Bytes && (skip == nil || !skip(r)) {
			best = r
		}
	}
	if best.Kind == 0 {
		err = code.New(code.NotFound, "no %s row to lie about", k)
	}
	return best, err
}

// again is a row as an input for another one like it.
func again(r usage.Row) usage.RowInput {
	return usage.RowInput{Kind: r.Kind, Bytes: r.Bytes, Receipt: r.Receipt, Record: r.Record, Evidence: r.Evidence}
}

func unasked(_ *Front, l *ledger) ([]usage.RowInput, error) {
	r, err := l.worthiest(usage.RowRead, nil)
	in := again(r)
	in.Evidence = nil
	return []usage.RowInput{in}, err
}

func replayed(_ *Front, l *ledger) ([]usage.RowInput, error) {
	r, err := l.worthiest(usage.RowRead, nil)
	if err != nil {
		return nil, err
	}
	other, err := l.worthiest(usage.RowRead, func(o usage.Row) bool { return o.Record == r.Record })
	in := again(r)
	in.Evidence = other.Evidence
	return []usage.RowInput{in}, err
}

func invented(f *Front, l *ledger) ([]usage.RowInput, error) {
	r, err := l.worthiest(usage.RowRead, nil)
	if err != nil {
		return nil, err
	}
	us := f.opts.Key.Public()
	q := usage.ReadRequest{
		Header: identity.Header{Network: identity.Regtest, From: us, To: us, Time: r.Time}, Record: r.Record, MaxBytes: r.Bytes, NotAfter: r.Time + 60_000,
	}
	if _, err := rand.Read(q.Serial[:]); err != nil {
		return nil, err
	}
	raw, err := q.Encode()
	if err != nil {
		return nil, err
	}
	in := again(r)
	in.Evidence, err = f.sign(raw)
	return []usage.RowInput{in}, err
}

func twice(k usage.RowKind) func(*Front, *ledger) ([]usage.RowInput, error) {
	return func(_ *Front, l *ledger) ([]usage.RowInput, error) {
		r, err := l.worthiest(k, nil)
		return []usage.RowInput{again(r)}, err
	}
}

func oversize(in *usage.RowInput) bool {
	if in.Kind != usage.RowRead {
		return false
	}
	in.Bytes *= 2
	return true
}

// wrongSum makes the last row owe more than it may, so that two adjacent rows show it.
func wrongSum(f *Front, l *ledger) ([]usage.RowInput, error) {
	r, err := l.worthiest(usage.RowRead, nil)
	if err != nil {
		return nil, err
	}
	in := again(r)
	in.Arrival, in.Time, in.Accepted = l.state.LastArrival+1, l.state.LastTime, l.accepted[in.Receipt]
	row, _, err := usage.AppendRow(l.state, l.prices, in)
	if err != nil {
		return nil, err
	}
	row.Owed += usage.Msat(Overcharge) * 1000
	f.told++
	return nil, l.put(row, row.State(), nil)
}

func twoFaced(l *ledger, r *usage.UsageReport) error {
	if l.last == nil {
		return code.New(code.NotFound, "no report to contradict")
	}
	r.Number, r.Previous, r.PrevSize, r.PrevRoot, r.Consistency = l.last.Number, l.last.Previous, l.last.PrevSize, l.last.PrevRoot, nil
	if r.PrevSize == 0 {
		return nil
	}
	var err error
	r.Consistency, err = usage.ProveConsistency(r.PrevSize, r.Size, &l.tree)
	return err
}

// rewritten changes the first row: no proof can lead from the old root to the new one.
func rewritten(l *ledger, r *usage.UsageReport) error {
	first, err := usage.DecodeRow(l.rows[0].Row)
	if err != nil {
		return err
	}
	first.Time--
	if l.rows[0].Row, err = first.Encode(); err != nil {
		return err
	}
	l.tree = usage.MemoryTree{}
	for _, e := range l.rows {
		if err := l.tree.Append(e.Row); err != nil {
			return err
		}
	}
	return l.head(r)
}

func overasks(m contract.Message) bool {
	switch q := m.(type) {
	case *contract.RequestPayment:
		q.Amount += Overcharge
	case *contract.CloseNonce:
		q.Amount += Overcharge
		q.Tx = overpays(q.Tx)
	default:
		return false
	}
	return true
}

// overpays moves the overcharge from the client's output of a close to the relay's.
func overpays(raw []byte) []byte {
	var tx btcwire.MsgTx
	if err := tx.DeserializeNoWitness(bytes.NewReader(raw)); err != nil || len(tx.TxOut) != 2 {
		return raw
	}
	tx.TxOut[0].Value -= int64(Overcharge)
	tx.TxOut[1].Value += int64(Overcharge)
	var b bytes.Buffer
	_ = tx.SerializeNoWitness(&b) // memory does not fail
	return b.Bytes()
}

func falseReceipt(r *usage.Receipt) { r.Order[0] ^= 1 }

func noCustody(r *usage.Receipt) { r.ServiceUntil = r.AcceptedMs }

// delivery changes a piece of a read.
func (f *Front) delivery(q *message.Read, m *message.ReadData) (message.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lie == nil || f.lie.delivery == nil {
		return nil, nil
	}
	return f.lie.delivery(f, q, m)
}

// spoils changes one byte of the content.
func spoils(f *Front, _ *message.Read, m *message.ReadData) (message.Message, error) {
	if len(m.Data) == 0 {
		return nil, nil
	}
	f.told++
	other := *m
	other.Data = bytes.Clone(m.Data)
	other.Data[len(other.Data)-1] ^= 1
	return &other, nil
}

// denies says of every record that it is not there; the pieces that follow are kept back.
func denies(f *Front, q *message.Read, m *message.ReadData) (message.Message, error) {
	if m.End || len(m.Denial) > 0 {
		return nil, nil
	}
	if len(m.Header) == 0 {
		return withheld, nil
	}
	b, err := identity.ParseBundle(q.Requests)
	if err != nil {
		return nil, err
	}
	all, err := b.Split()
	if err != nil || int(m.Index) >= len(all) {
		return nil, err
	}
	r, err := usage.OpenReadRequest(all[m.Index])
	if err != nil {
		return nil, err
	}
	d := usage.Denial{
		Header:  identity.Header{Network: r.Network, From: r.To, To: r.From, Time: r.Time},
		Request: r.Digest(), Record: r.Record, Reason: usage.ReasonNone, AsOf: usage.Arrival(r.Time) * 1000, AsOfMs: r.Time,
	}
	if _, err := rand.Read(d.Serial[:]); err != nil {
		return nil, err
	}
	raw, err := d.Encode()
	if err != nil {
		return nil, err
	}
	f.told++
	signed, err := f.sign(raw)
	return &message.ReadData{Index: m.Index, Denial: signed}, err
}
