package contract

import (
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Reconnect (client) tells the relay how the contract stands, at the beginning of a session: sends
// contractReestablish, which the relay answers with its own. Nothing is tried while money cannot be
// at stake yet, or after the escrow is spent.
type Reconnect struct {
	Head Head // of the latest usage report that was verified
	// Opening also shows the messages of the opening, for a relay that says it does not know the
	// contract.
	Opening bool
	Stamp   Stamp
}

// Comparable tells whether the client has a reason to compare the contract with the relay's record:
// it has signed, and the escrow is unspent.
func (c Contract) Comparable() bool {
	return c.role == Client && c.signed() && c.facts.spentAt == 0
}

func (e Reconnect) apply(c *Contract) ([]Effect, error) {
	if !c.Comparable() {
		return nil, code.New(code.BadState, "the contract is %s: there is nothing to agree on", c.State())
	}
	m := c.standing(e.Stamp, e.Head)
	if e.Opening {
		if m.Opening = c.opening; len(m.Opening) == 0 {
			return nil, code.New(code.NotFound, "the messages of the opening were not kept by the version that opened it")
		}
	}
	raw, err := c.hail(m)
	return []Effect{Send{raw}}, err
}

// standing is this side's contractReestablish.
func (c *Contract) standing(s Stamp, log Head) *Reestablish {
	m := &Reestablish{
		Common: c.common(s), Contract: c.ID(), State: c.State(), Heard: c.talk.in, N: c.n, Amount: c.paid,
		Report: c.report, Signatures: c.ladder.list(), Log: log, Closing: flag(c.closing), Tip: c.tip, Frozen: c.frozen,
	}
	m.Seq = c.talk.out
	return m
}

// hail encodes a contractReestablish, which the other side may refer to but which has no number.
func (c *Contract) hail(m *Reestablish) ([]byte, error) {
	raw, err := Encode(m)
	if err != nil {
		return nil, err
	}
	c.talk.hailed = identity.StatementDigest(m.kind(), raw)
	return raw, nil
}

// reestablish compares the other side's standing with this side's:
//
//   - an update that this side lacks is taken, if the client's signatures on it hold;
//   - an update that the other side lacks goes to it with this side's standing;
//   - updates that contradict each other, and a log behind the reported one, freeze the contract: the
//     higher payment stands, and nothing more is served or paid;
//   - numbers that one side has forgotten are taken from the other.
//
// The relay answers with its own standing, after what it took.
func (e Received) reestablish(c *Contract, m *Reestablish) ([]Effect, error) {
	if !c.complete() {
		return nil, code.New(code.BadState, "the contract is %s", c.State())
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if err := e.compareUpdates(c, m); err != nil {
		return nil, err
	}
	if c.role == Client {
		c.acknowledged(m)
		e.compareLogs(c, m)
	}
	c.closing = c.closing || m.Closing == 1 && c.signed()
	if m.Frozen != NotFrozen && c.signed() {
		c.freeze(m.Frozen, e.Message)
	}
	lost := c.lost(m)
	c.keepReferred(m.Prev)
	var effects []Effect
	if c.role == Relay {
		raw, err := c.hail(c.standing(e.Stamp, e.Head))
		if err != nil {
			return nil, err
		}
		effects = append(effects, Send{raw})
	}
	if lost {
		c.renumber(m)
	}
	if lost || c.talk.anew {
		c.referTo(e.Message.digest)
	}
	return effects, nil
}

// compareUpdates takes the later update, and freezes a contract with two that contradict each other.
// What the client never signed changes nothing.
func (e Received) compareUpdates(c *Contract, m *Reestablish) error {
	if !c.signed() || c.facts.spentAt > 0 || m.N < c.n || m.N == c.n && m.Amount == c.paid {
		return nil
	}
	if m.Amount > c.terms.Value || snap(c.terms.Value, m.Amount) != m.Amount {
		return code.New(code.BadAmount, "a payment of %d sat from an escrow of %d", m.Amount, c.terms.Value)
	}
	ladder, err := c.checkLadder(m.Amount, m.Signatures)
	if err != nil {
		return err
	}
	if m.N == c.n || m.Amount < c.paid {
		c.freeze(FrozenUpdate, e.Message)
	}
	if m.Amount > c.paid || m.N > c.n && m.Amount == c.paid {
		before := c.paid
		c.n, c.paid, c.ladder, c.report, c.update = m.N, m.Amount, ladder, m.Report, identity.Digest{}
		c.paidMore(before)
	}
	return nil
}

// acknowledged (client): the relay has the latest update, and with the first one the contract.
func (c *Contract) acknowledged(m *Reestablish) {
	if !c.signed() || m.N == 0 || m.N != c.n || m.Amount != c.paid {
		return
	}
	c.acked, c.stage = c.n, stageFunding
	c.paidMore(0)
	if !c.closing {
		c.talk.pending = nil
	}
}

// compareLogs (client) freezes a contract whose relay shows less, or other, than it has reported.
func (e Received) compareLogs(c *Contract, m *Reestablish) {
	switch seen := e.Head; {
	case seen.Size == 0:
	case m.Log.Size < seen.Size || m.Log.Epoch != seen.Epoch:
		c.freeze(FrozenLog, e.Message)
	case m.Log.Size == seen.Size && m.Log.Root != seen.Root:
		c.freeze(FrozenFork, e.Message)
	}
}

// freeze keeps the first reason and its evidence.
func (c *Contract) freeze(why Freeze, v Verified) {
	if c.frozen == NotFrozen {
		c.frozen, c.dispute = why, v.signed.Bytes()
	}
}

// lost tells whether one of the two sides has forgotten messages that the other knows.
func (c *Contract) lost(m *Reestablish) bool {
	return m.Seq < c.talk.in || m.Heard > c.talk.out || !c.knows(m.Prev)
}

// renumber begins the numbering anew above everything that either side remembers.
func (c *Contract) renumber(m *Reestablish) {
	c.talk.out, c.talk.in = max(c.talk.out, m.Heard), max(c.talk.in, m.Seq)
}

// referTo begins the references anew with the other side's contractReestablish. Until it says
// something with a number, each further one takes the place of the one before, which it may forget.
func (c *Contract) referTo(d identity.Digest) {
	c.talk.last, c.talk.anew, c.talk.reply = d, true, nil
}

// keepReferred keeps a contractReestablish of this side to which the other side refers: what it says
// next may refer to it still, if the one that follows does not arrive.
func (c *Contract) keepReferred(prev identity.Digest) {
	if prev == c.talk.hailed && !prev.IsZero() && !slices.Contains(c.talk.said, prev) {
		c.talk.said = []identity.Digest{prev}
	}
}

// knows tells whether a digest is that of something which this side has said.
func (c *Contract) knows(d identity.Digest) bool {
	return slices.Contains(c.talk.said, d) || d == c.talk.hailed && !d.IsZero()
}
