package contract

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// payable refuses payments outside service time (check 31). State says ACTIVE, and what becomes of it
// while a payment is missing, only below stop_service.
func (c *Contract) payable(r Role) error {
	if c.role == r && c.State() == StateDraining {
		return code.New(code.BadDeadline, "from height %d on nothing is paid; the tip is %d", c.terms.ServiceUntil(), c.tip)
	}
	return c.want(r, payableStates()...)
}

// checkPayment holds a cumulative payment against the last one and V (check 33).
func (c *Contract) checkPayment(p usage.Sat) error {
	switch {
	case p < c.paid:
		return code.New(code.PaymentTooLow, "a payment of %d sat after one of %d", p, c.paid)
	case p > c.terms.Value:
		return code.New(code.BadAmount, "a payment of %d sat from an escrow of %d", p, c.terms.Value)
	case snap(c.terms.Value, p) != p:
		return code.New(code.BadAmount, "a payment of %d sat leaves dust of an escrow of %d", p, c.terms.Value)
	}
	return nil
}

func (e Pay) apply(c *Contract) ([]Effect, error) {
	if err := c.payable(Client); err != nil {
		return nil, err
	}
	if err := checkPrivate(e.Key, c.terms.ClientKey); err != nil {
		return nil, err
	}
	if c.acked < c.n {
		return nil, code.New(code.Busy, "payment %d is not acknowledged yet", c.n)
	}
	if c.n >= maxSeq {
		return nil, code.New(code.LimitExceeded, "the update numbers of this contract are used up")
	}
	p := snap(c.terms.Value, min(e.Amount, usage.MaxSat))
	if err := c.checkPayment(p); err != nil {
		return nil, err
	}
	if p == c.paid {
		return nil, code.New(code.NotDue, "%d sat are paid already", p)
	}
	ladder, err := c.signLadder(p, e.Key)
	if err != nil {
		return nil, err
	}
	c.n, c.paid, c.ladder, c.report = c.n+1, p, ladder, e.Report
	effects, err := c.ask(&PaymentUpdate{
		Common: c.common(e.Stamp), Contract: c.ID(), N: c.n, Amount: p, Report: e.Report, Signatures: ladder.list(),
	})
	c.update = identity.StatementDigest(identity.TypeContractPaymentUpdate, c.talk.pending)
	return effects, err
}

// paymentUpdate (relay): checks 31 to 36.
func (e Received) paymentUpdate(c *Contract, m *PaymentUpdate) ([]Effect, error) {
	if err := c.payable(Relay); err != nil {
		return nil, err
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if err := e.checkUpdate(c, m); err != nil {
		return nil, err
	}
	ladder, err := c.checkLadder(m.Amount, m.Signatures)
	if err != nil {
		return nil, err
	}
	if err := c.hear(e.Message); err != nil {
		return nil, err
	}
	before := c.paid
	c.n, c.paid, c.ladder, c.report, c.update = m.N, m.Amount, ladder, m.Report, e.Message.digest
	c.paidMore(before)
	return c.answer(&PaymentAck{
		Common: c.common(e.Stamp), Contract: m.Contract, N: m.N, Amount: m.Amount, Update: e.Message.digest,
	})
}

// checkUpdate holds number, sum and report of an update (checks 32, 33 and 36). The last update
// again, in a new message, is accepted again: a client that lost its memory of sending it is
// not stuck.
func (e Received) checkUpdate(c *Contract, m *PaymentUpdate) error {
	repeat := m.N == c.n && m.Amount == c.paid && m.Report == c.report
	if !repeat && m.N != c.n+1 {
		return code.New(code.BadSequence, "update %d after update %d", m.N, c.n)
	}
	if err := c.checkPayment(m.Amount); err != nil {
		return err
	}
	if (m.Report != identity.Digest{}) && !e.OwnReport {
		return code.New(code.TermsMismatch, "the payment is for a report that this relay did not make")
	}
	return nil
}

// paymentAck (client).
func (e Received) paymentAck(c *Contract, m *PaymentAck) ([]Effect, error) {
	if c.role != Client || !c.signed() {
		return nil, code.New(code.BadState, "the contract is %s", c.State())
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if m.N != c.n || c.n < 2 {
		return nil, code.New(code.BadSequence, "an acknowledgement of update %d, the last is %d", m.N, c.n)
	}
	if m.Amount != c.paid || m.Update != c.update {
		return nil, code.New(code.BadAmount, "an acknowledgement of another update than was sent")
	}
	if err := c.hearLate(e.Message); err != nil {
		return nil, err
	}
	c.acked, c.stage = m.N, stageFunding
	c.paidMore(0)
	if !c.closing {
		c.talk.pending = nil
	}
	return nil, nil
}

func (e AskPayment) apply(c *Contract) ([]Effect, error) {
	if err := c.payable(Relay); err != nil {
		return nil, err
	}
	p := snap(c.terms.Value, min(e.Amount, c.terms.Value))
	if p <= c.paid {
		return nil, code.New(code.NotDue, "%d sat are paid, asked are %d", c.paid, p)
	}
	m := &RequestPayment{Common: c.common(e.Stamp), Contract: c.ID(), N: c.n + 1, Amount: p, Report: e.Report}
	m.Seq = c.talk.out
	raw, err := Encode(m)
	if err != nil {
		return nil, err
	}
	c.asked = Ask{c.n + 1, p, e.Report}
	if !e.Small {
		c.demanded()
	}
	return []Effect{Send{raw}}, nil
}

// requestPayment (client): noted, for the agent to audit and pay; a final one is an offer to close.
func (e Received) requestPayment(c *Contract, m *RequestPayment) ([]Effect, error) {
	if m.Final == 1 {
		return e.finalRequest(c, m)
	}
	if err := c.want(Client, payableStates(StateDraining, StateClosing)...); err != nil {
		return nil, err
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if m.Amount > c.terms.Value {
		return nil, code.New(code.BadAmount, "%d sat are asked from an escrow of %d", m.Amount, c.terms.Value)
	}
	if err := c.refers(e.Message); err != nil {
		return nil, err
	}
	c.asked = Ask{m.N, m.Amount, m.Report}
	return nil, nil
}
