package contract

import (
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Apply gives the contract after an event, and what is then to be done. After an error the contract
// is what it was. The receiver is never changed, so an old value stays usable.
func (c Contract) Apply(e Event) (Contract, []Effect, error) {
	next := c
	effects, err := e.apply(&next)
	if err != nil {
		return c, nil, err
	}
	return next, append(effects, next.consequences(c)...), nil
}

// consequences are the effects that follow from the difference of two contracts alone.
func (c Contract) consequences(old Contract) []Effect {
	out := c.newWatches(old)
	if c.signed() && (!old.signed() || c.standingFunds() != old.standingFunds()) {
		out = append(out, Expose{c.Funds()}) // the digests in it are dear, and stand since the signature
	}
	if gone := old.Leases(); len(gone) > 0 && len(c.Leases()) == 0 {
		out = append(out, Release{gone})
	}
	if c.Forgettable() && !old.Forgettable() {
		out = append(out, Forget{})
	}
	return out
}

// newWatches are those that the old contract did not have. Most events change none, and making the
// list costs curve arithmetic.
func (c Contract) newWatches(old Contract) []Effect {
	if c.atStake() == old.atStake() && c.facts.spend == old.facts.spend {
		return nil
	}
	var out []Effect
	known := old.Watches()
	for _, w := range c.Watches() {
		if !slices.ContainsFunc(known, w.same) {
			out = append(out, w)
		}
	}
	return out
}

func (w Watch) same(o Watch) bool { return w.TxID == o.TxID && w.OutPoint == o.OutPoint }

// want refuses an event on the wrong side or in another state than those named (code BadState).
func (c *Contract) want(r Role, states ...State) error {
	if c.role != r {
		return code.New(code.BadState, "this is for the %s", r)
	}
	if s := c.State(); !slices.Contains(states, s) {
		return code.New(code.BadState, "the contract is %s", s)
	}
	return nil
}

// maxSeq bounds message numbers, so that what a peer claims to have heard cannot make them overflow.
const maxSeq = 1 << 30

// maxUnheard bounds the messages that may be on their way without the other side having shown
// that it has an earlier one.
const maxUnheard = 32

// common is what the next message of this side begins with.
func (c *Contract) common(s Stamp) Common {
	return Common{
		Header: identity.Header{
			Network: c.terms.Network, From: c.Self(), To: c.Peer(), Time: s.Time, Serial: s.Serial,
		},
		Nonce: c.terms.Nonce, Seq: c.talk.out + 1, Prev: c.talk.last,
	}
}

// say encodes a message and counts it as sent.
func (c *Contract) say(m Message) ([]byte, error) {
	raw, err := Encode(m)
	if err != nil {
		return nil, err
	}
	if c.talk.out++; c.talk.out > maxSeq {
		return nil, code.New(code.LimitExceeded, "the message numbers of this contract are used up")
	}
	if len(c.talk.said) >= maxUnheard {
		return nil, code.New(code.LimitExceeded, "the other side has answered none of the last %d messages", maxUnheard)
	}
	d := identity.StatementDigest(m.kind(), raw)
	c.talk.said = append(slices.Clone(c.talk.said), d)
	return raw, nil
}

// ask says something that waits for an answer.
func (c *Contract) ask(m Message) ([]Effect, error) {
	raw, err := c.say(m)
	if err != nil {
		return nil, err
	}
	c.talk.pending = raw
	return []Effect{Send{raw}}, nil
}

// answer says something in reply to the last message received.
func (c *Contract) answer(m Message) ([]Effect, error) {
	raw, err := c.say(m)
	if err != nil {
		return nil, err
	}
	c.talk.reply = raw
	return []Effect{Send{raw}}, nil
}

// again is the answer to a message that came before.
func (c *Contract) again() []Effect {
	switch {
	case len(c.talk.reply) > 0:
		return []Effect{Send{c.talk.reply}}
	case c.State() == StateComplete:
		return []Effect{c.fund()}
	case c.role == Relay && c.stage == stageOffered && c.terms.Collateral > 0 && !c.exposed():
		return []Effect{c.signFunding()}
	}
	return nil
}

// addressed refuses a message that is not from the other side of this contract to this side.
func (c *Contract) addressed(m *Common) error {
	switch {
	case m.Network != c.terms.Network:
		return code.New(code.WrongNetwork, "the message is for %s", m.Network)
	case m.To != c.Self():
		return code.New(code.WrongRecipient, "the message is for another party")
	case m.From != c.Peer():
		return code.New(code.Forbidden, "the message is not from the other side of this contract")
	case m.Nonce != c.terms.Nonce:
		return code.New(code.ContractUnknown, "the message is of another contract")
	}
	return nil
}

// hear takes the number and the reference of a new message (code BadSequence).
func (c *Contract) hear(v Verified) error {
	if err := c.refers(v); err != nil {
		return err
	}
	m := v.message.common()
	if m.Seq <= c.talk.in {
		return code.New(code.BadSequence, "message %d after message %d", m.Seq, c.talk.in)
	}
	if i := slices.Index(c.talk.said, m.Prev); i >= 0 {
		c.talk.said = c.talk.said[i:]
	} else {
		c.talk.said = []identity.Digest{m.Prev} // the references began anew with a contractReestablish
	}
	c.talk.in, c.talk.last, c.talk.anew, c.talk.reply = m.Seq, v.digest, false, nil
	return nil
}

// hearLate is hear for an answer whose content names what it answers: one that was lost and is
// sent again may come after a younger message.
func (c *Contract) hearLate(v Verified) error {
	if v.message.common().Seq < c.talk.in {
		return c.refers(v)
	}
	return c.hear(v)
}

// refers refuses a message that refers to none of this side's.
func (c *Contract) refers(v Verified) error {
	if !c.knows(v.message.common().Prev) {
		return code.New(code.BadSequence, "the message refers to one that was not sent, or is too old")
	}
	return nil
}

func (e Received) apply(c *Contract) ([]Effect, error) {
	if e.Message.message == nil {
		return nil, code.New(code.Malformed, "no message")
	}
	if c.stage == stageNew {
		return nil, code.New(code.ContractUnknown, "no contract with this nonce")
	}
	if err := c.addressed(e.Message.message.common()); err != nil {
		return nil, err
	}
	if e.Message.digest == c.talk.last {
		return c.again(), nil
	}
	return e.dispatch(c)
}

// dispatch runs the rule of the message's kind. Each rule checks the message, then calls hear, then
// changes the contract.
func (e Received) dispatch(c *Contract) ([]Effect, error) {
	switch m := e.Message.message.(type) {
	case *ServerAddInputs:
		return e.serverAddInputs(c, m)
	case *ClientSigned:
		return e.clientSigned(c, m)
	case *Opened:
		return e.opened(c, m)
	case *RequestPayment:
		return e.requestPayment(c, m)
	case *PaymentUpdate:
		return e.paymentUpdate(c, m)
	case *PaymentAck:
		return e.paymentAck(c, m)
	case *Notice:
		return e.noticed(c, m)
	case *RefundPayment:
		return e.refundPayment(c, m)
	case *CloseNonce:
		return e.closeNonce(c, m)
	case *CloseSig:
		return e.closeSig(c, m)
	case *Abort:
		return e.abort(c)
	case *Ready:
		return e.ready(c, m)
	case *Reestablish:
		return e.reestablish(c, m)
	}
	return nil, code.New(code.BadState, "a %s begins a contract and comes with its acceptance", e.Message.message.kind())
}
