package contract

import (
	"bytes"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// Adopt (relay) takes up a contract again of which it has lost every record, because it was restored
// from a copy older than the contract: StateNew → StateComplete. The client shows the messages of
// the opening; the relay's own signature on the terms is what binds it. The caller has looked at its
// chain: only an escrow that exists and is unspent is adopted. The contractReestablish itself is
// then Received as ever, and brings the latest update.
type Adopt struct {
	Message Verified // the contractReestablish with its opening
	Key     Key      // R, derived from the nonce
	KeyUsed bool     // R was seen in another contract
	Tip     usage.Height
}

// lostOpening are the messages that a contractReestablish shows.
type lostOpening struct {
	open   *Open
	answer *ServerAddInputs
	signed *ClientSigned
	last   identity.Digest // of the relay's answer
}

// lostOpening reads the messages that a client shows to a relay that has lost the contract. Code NotFound
// if there are none; else that of what is wrong.
func (m *Reestablish) lostOpening() (o lostOpening, err error) {
	if len(m.Opening) != openingItems {
		return o, code.New(code.NotFound, "the opening is not shown")
	}
	client, relay := m.From, m.To
	if o.open, err = part[*Open](m, m.Opening[openingProposal], client, relay); err != nil {
		return o, err
	}
	s, err := identity.ParseSigned(m.Opening[openingAnswer])
	if err != nil {
		return o, err
	}
	answer, err := OpenMessage(s)
	if err != nil {
		return o, err
	}
	if o.answer, err = part[*ServerAddInputs](m, s.Statement, relay, client); err != nil {
		return o, err
	}
	o.last = answer.digest
	o.signed, err = part[*ClientSigned](m, m.Opening[openingSigned], client, relay)
	return o, err
}

// part reads one message of an opening, which must be of the contract that shows it.
func part[M Message](m *Reestablish, raw []byte, from, to identity.PublicKey) (M, error) {
	var none M
	p, err := Decode(raw)
	if err != nil {
		return none, err
	}
	got, ok := p.(M)
	if !ok {
		return none, code.New(code.Malformed, "a %s stands in the place of another message", p.kind())
	}
	c := p.common()
	switch {
	case c.Network != m.Network:
		return none, code.New(code.WrongNetwork, "the opening is for %s", c.Network)
	case c.From != from || c.To != to:
		return none, code.New(code.WrongRecipient, "the opening is between others")
	case c.Nonce != m.Nonce:
		return none, code.New(code.ContractUnknown, "the opening is of another contract")
	}
	return got, nil
}

func (e Adopt) apply(c *Contract) ([]Effect, error) {
	m, ok := e.Message.message.(*Reestablish)
	if !ok {
		return nil, code.New(code.Malformed, "only a contractReestablish can be adopted")
	}
	if c.stage != stageNew {
		return nil, code.New(code.BadState, "the contract is %s", c.State())
	}
	o, err := m.lostOpening()
	if err != nil {
		return nil, err
	}
	if err := e.rebuild(c, m, o); err != nil {
		return nil, err
	}
	return []Effect{c.fund()}, nil
}

// rebuild makes the contract out of its opening with the checks of an ordinary one, except those on
// the offer and the coins: the relay has signed the terms, and the escrow exists.
func (e Adopt) rebuild(c *Contract, m *Reestablish, o lostOpening) error {
	t, err := DecodeTerms(o.answer.Terms)
	if err != nil {
		return err
	}
	switch {
	case t.Client != m.From || t.Relay != m.To || t.Network != m.Network || t.Nonce != m.Nonce:
		return code.New(code.TermsMismatch, "the terms are of another contract")
	case t.RelayKey != e.Key:
		return code.New(code.BadKey, "the relay's contract key is not the one that this nonce gives")
	}
	if err := keyUnused(e.KeyUsed); err != nil {
		return err
	}
	if err := t.Check(); err != nil {
		return err
	}
	coins, change, err := o.open.Funding()
	if err != nil {
		return err
	}
	c.begin(Relay, t, coins, change, e.Tip)
	if c.backing, err = o.answer.backing(Share{coins, change}); err != nil {
		return err
	}
	c.backed = o.answer.Witnesses
	tx, err := c.fix()
	if err != nil {
		return err
	}
	if !bytes.Equal(unsignedBytes(tx), o.answer.Tx) || c.terms.Digest() != o.signed.Terms || c.terms.ContractID(c.escrow()) != m.Contract {
		return code.New(code.TermsMismatch, "the opening does not give this contract")
	}
	if _, err := c.checkWitnesses(o.signed.Witnesses); err != nil {
		return err
	}
	ladder, err := c.checkLadder(t.FirstPayment, o.signed.Signatures)
	if err != nil {
		return err
	}
	c.witnesses, c.n, c.paid, c.ladder, c.stage = o.signed.Witnesses, 1, t.FirstPayment, ladder, stageComplete
	c.talk.in, c.talk.out = o.signed.Seq, o.answer.Seq
	c.talk.said = append(c.talk.said, o.last)
	return nil
}
