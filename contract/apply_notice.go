package contract

import (
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// minPurge is the least unpaid sum, in satoshi, for which records may be purged.
const minPurge usage.Sat = 1_000

// Notify (relay) takes the next step about a payment that does not come: sends contractNotice. Code
// NotDue before its height, or where nothing is unpaid; NextNotice tells when it is.
type Notify struct {
	Amount usage.Sat       // what is due in all, by the relay's log
	Report identity.Digest // of the report that says so
	Stamp  Stamp
}

// notice is one that was sent, or received. Raw is the statement on the relay's side, and the Signed
// on the client's, because there it is evidence.
type notice struct {
	Notice
	digest identity.Digest
	raw    []byte
}

// decodeNotice reads what notice.raw keeps.
func decodeNotice(r Role, raw []byte) (notice, error) {
	statement := raw
	if r == Client {
		s, err := identity.ParseSigned(raw)
		if err != nil {
			return notice{}, code.Wrap(code.StoreCorrupt, err, "a notice that is kept")
		}
		statement = s.Statement
	}
	m, err := Decode(statement)
	if err != nil {
		return notice{}, code.Wrap(code.StoreCorrupt, err, "a notice that is kept")
	}
	n, ok := m.(*Notice)
	if !ok {
		return notice{}, code.New(code.StoreCorrupt, "a %s is kept as a notice", m.kind())
	}
	return notice{*n, identity.StatementDigest(m.kind(), statement), raw}, nil
}

// dues is what is known of a payment that does not come.
type dues struct {
	from    usage.Height       // relay: the tip when the payment that is missing was asked for; 0 if none is
	notices []notice           // of the present sequence, by step
	paidAt  usage.Height       // relay: the tip at the last payment that came; 0 before the first update after the opening
	purged  identity.UnixMilli // client: when the first notice of a purge was made
}

// Arrears is the last step that was taken about an unpaid sum; the zero value where none was.
type Arrears struct {
	Step   Step
	Amount usage.Sat       // the cumulative payment that ends it
	Report identity.Digest // that the sum comes from
	Since  usage.Height
	Next   usage.Height    // the next step is possible from here on; 0 after the last
	Notice identity.Digest // the evidence
}

// Arrears tells how an unpaid sum stands.
func (c Contract) Arrears() Arrears {
	k := len(c.dues.notices)
	if k == 0 {
		return Arrears{}
	}
	n := c.dues.notices[k-1]
	s := Arrears{Step: n.Step, Amount: n.Amount, Report: n.Report, Since: n.Since, Notice: n.digest}
	if m, err := MarginsOf(c.terms.Network); err == nil && n.Step < lastStep {
		s.Next = n.Since + m.notice(n.Step+1)
	}
	return s
}

// Notices are the relay's statements of the present sequence, to be signed and pushed in this order to a
// client who may have missed some; none on the client's side.
func (c Contract) Notices() [][]byte {
	if c.role != Relay {
		return nil
	}
	var out [][]byte
	for _, n := range c.dues.notices {
		out = append(out, slices.Clone(n.raw))
	}
	return out
}

// NextNotice (relay) is the next step and the height from which it may be taken; not ok where no payment
// is missing, or no step is left.
func (c Contract) NextNotice() (Step, usage.Height, bool) {
	m, err := MarginsOf(c.terms.Network)
	if err != nil || c.role != Relay || !c.Payable() {
		return 0, 0, false
	}
	k := len(c.dues.notices)
	if k == 0 {
		return StepOverdue, c.demandedAt() + m.notice(StepOverdue), c.dues.from > 0
	}
	last := c.dues.notices[k-1]
	return last.Step + 1, last.Since + m.notice(last.Step+1), last.Step < lastStep
}

// AskFrom (relay) is the height from which any unpaid sum is asked for, however small: some time after
// the last payment, or after the funding.
func (c Contract) AskFrom() usage.Height {
	m, err := MarginsOf(c.terms.Network)
	if err != nil {
		return 0
	}
	return max(c.dues.paidAt, c.facts.fundedAt) + m.AskAfter
}

// Payable tells whether payments are made and taken now.
func (c Contract) Payable() bool { return slices.Contains(payableStates(), c.State()) }

// notice is after how many blocks a step may follow the one before, or the request.
func (m Margins) notice(s Step) usage.Height {
	return [...]usage.Height{0, m.OverdueAfter, m.SuspendAfter, m.RetainAfter, m.PurgeAfter}[min(s, lastStep)]
}

func (e Notify) apply(c *Contract) ([]Effect, error) {
	if err := c.want(Relay, payableStates()...); err != nil {
		return nil, err
	}
	step, from, ok := c.NextNotice()
	p := snap(c.terms.Value, min(e.Amount, c.terms.Value))
	switch {
	case !ok || c.tip < from:
		return nil, code.New(code.NotDue, "the next notice is due at height %d, the tip is %d", from, c.tip)
	case p <= c.paid:
		return nil, code.New(code.NotDue, "%d sat are paid, due are %d", c.paid, p)
	case step == StepPurged && p-c.paid < minPurge:
		return nil, code.New(code.NotDue, "nothing is purged for %d sat; the least is %d", p-c.paid, minPurge)
	}
	m := &Notice{
		Common: c.common(e.Stamp), Contract: c.ID(), Step: step, N: c.n, Amount: p, Report: e.Report,
		Before: c.demandedAt(), Since: c.tip,
	}
	if k := len(c.dues.notices); k > 0 {
		m.Before, m.Earlier = c.dues.notices[k-1].Since, c.dues.notices[k-1].digest
	}
	m.Seq = c.talk.out
	raw, err := Encode(m)
	if err != nil {
		return nil, err
	}
	c.dues.notices = append(slices.Clone(c.dues.notices), notice{*m, identity.StatementDigest(m.kind(), raw), raw})
	return []Effect{Send{raw}}, nil
}

// noticed (client) takes a relay's step, if it is the next one and does not come early. One that begins
// anew replaces the others: a relay that has lost them knows no better.
func (e Received) noticed(c *Contract, m *Notice) ([]Effect, error) {
	if err := c.want(Client, payableStates()...); err != nil {
		return nil, err
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(c.dues.notices, func(n notice) bool { return n.digest == e.Message.digest }) {
		return nil, nil
	}
	if err := c.checkNotice(m); err != nil {
		return nil, err
	}
	// It need not refer to anything that this side still knows: it comes again as it was made, however late,
	// and the notices are chained by themselves.
	var earlier []notice
	if m.Step > StepOverdue {
		earlier = slices.Clone(c.dues.notices)
	}
	c.dues.notices = append(earlier, notice{*m, e.Message.digest, e.Message.signed.Bytes()})
	if m.Step == StepPurged && c.dues.purged == 0 {
		c.dues.purged = m.Time
	}
	return nil, nil
}

// checkNotice holds a step against the chain, the payments and the step before.
func (c *Contract) checkNotice(m *Notice) error {
	margins, err := MarginsOf(c.terms.Network)
	if err != nil {
		return err
	}
	switch {
	case m.Amount > c.terms.Value || m.N > c.n:
		return code.New(code.BadAmount, "a notice asks for %d sat of %d, after update %d of %d", m.Amount, c.terms.Value, m.N, c.n)
	case m.Amount <= c.paid:
		return code.New(code.NotDue, "the notice asks for %d sat, paid are %d", m.Amount, c.paid)
	case m.Step == StepPurged && m.Amount-c.paid < minPurge:
		return code.New(code.NotDue, "nothing may be purged for %d sat", m.Amount-c.paid)
	case m.Since > c.tip+margins.TipTolerance:
		return code.New(code.StaleTip, "the notice is of height %d, the tip here is %d", m.Since, c.tip)
	case m.Since < m.Before+margins.notice(m.Step):
		return code.New(code.NotDue, "%s %d blocks after height %d: %d are due", m.Step, m.Since-m.Before, m.Before, margins.notice(m.Step))
	}
	if m.Step == StepOverdue {
		if m.Before < c.facts.fundedAt {
			return code.New(code.NotDue, "a payment asked for at height %d, before the funding", m.Before)
		}
		return nil
	}
	k := len(c.dues.notices)
	if k == 0 || c.dues.notices[k-1].Step+1 != m.Step || c.dues.notices[k-1].digest != m.Earlier || c.dues.notices[k-1].Since != m.Before {
		return code.New(code.BadSequence, "the notice does not follow the one before")
	}
	return nil
}

// demandedAt (relay) is the height of the request that was not paid; a reorganisation may have moved the
// funding above it.
func (c *Contract) demandedAt() usage.Height { return max(c.dues.from, c.facts.fundedAt) }

// PurgedFrom (client) is when the relay first gave notice that it purges, by its clock; 0: it never did.
// No PURGE row may be older.
func (c Contract) PurgedFrom() identity.UnixMilli { return c.dues.purged }

// demanded (relay) begins the time after which a notice is due.
func (c *Contract) demanded() {
	if c.dues.from == 0 {
		c.dues.from = max(c.tip, 1)
	}
}

// paidMore ends arrears that the payment clears. On the relay's side a payment of at least half of what
// was missing begins the time of the rest anew; less does not, or a satoshi now and then would hold off every notice.
func (c *Contract) paidMore(before usage.Sat) {
	if c.paid <= before {
		return
	}
	if k := len(c.dues.notices); k > 0 && c.paid >= c.dues.notices[k-1].Amount {
		c.dues.notices = nil
	}
	if c.role != Relay {
		return
	}
	c.dues.paidAt = c.tip
	switch {
	case c.asked.Amount <= c.paid:
		c.dues.from = 0
	case c.dues.from > 0 && c.paid-before >= c.asked.Amount-c.paid:
		c.dues.from = max(c.tip, 1)
	}
}
