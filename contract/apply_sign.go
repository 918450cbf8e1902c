package contract

import (
	"slices"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

func (e SignedFunding) apply(c *Contract) ([]Effect, error) {
	if c.role == Relay {
		return e.signedBacking(c)
	}
	if err := c.want(Client, StateVerified); err != nil {
		return nil, err
	}
	if err := checkPrivate(e.Key, c.terms.ClientKey); err != nil {
		return nil, err
	}
	if c.signingOver() {
		return nil, code.New(code.BadDeadline, "the opening took too long: the relay may have dropped it")
	}
	c.witnesses = c.stacks(e.Witnesses)
	if _, err := c.checkWitnesses(c.witnesses); err != nil {
		return nil, err
	}
	ladder, err := c.signLadder(c.terms.FirstPayment, e.Key)
	if err != nil {
		return nil, err
	}
	c.n, c.paid, c.ladder, c.stage = 1, c.terms.FirstPayment, ladder, stageSigned
	effects, err := c.ask(&ClientSigned{
		Common: c.common(e.Stamp), Contract: c.ID(), Terms: c.terms.Digest(),
		Witnesses: c.witnesses, Signatures: ladder.list(),
	})
	c.opening = append(slices.Clone(c.opening), c.talk.pending)
	return effects, err
}

// signingOver tells whether so many blocks have passed since the proposal that the relay, whose tip
// may be ahead, is about to drop it: a signature now would only have to be cancelled.
func (c *Contract) signingOver() bool {
	m, err := MarginsOf(c.terms.Network)
	return err != nil || c.tip+m.TipTolerance >= c.terms.Tip+m.OpeningBlocks
}

// stacks are the witnesses of the own coins, in their order, as they are stored and sent.
func (c *Contract) stacks(of map[wire.OutPoint]wire.TxWitness) [][]byte {
	out := make([][]byte, len(c.own()))
	for i, coin := range c.own() {
		out[i] = encodeWitness(of[coin.OutPoint])
	}
	return out
}

// signLadder signs the settlement of a payment at every tier that it can bear.
func (c *Contract) signLadder(p usage.Sat, key *btcec.PrivateKey) (Ladder, error) {
	var l Ladder
	out, err := c.terms.escrow(false)
	if err != nil {
		return l, err
	}
	for tier := range Tiers {
		tx, err := c.terms.SettlementTx(c.escrow(), p, tier)
		if code.Of(err) == code.BadAmount && tier > 0 {
			continue
		}
		if err != nil {
			return l, err
		}
		if l[tier], err = signLeaf(key, tx, c.terms.Value, out); err != nil {
			return l, err
		}
	}
	return l, nil
}

// checkLadder verifies the client's signatures of a payment against settlements that this side
// builds itself (checks 34 and 35): at every tier that the payment can bear one, at others none.
func (c *Contract) checkLadder(p usage.Sat, raw [][]byte) (Ladder, error) {
	l, err := parseLadder(raw)
	if err != nil {
		return l, err
	}
	out, err := c.terms.escrow(false)
	if err != nil {
		return l, err
	}
	for tier := range Tiers {
		tx, err := c.terms.SettlementTx(c.escrow(), p, tier)
		if code.Of(err) == code.BadAmount && tier > 0 && l[tier].IsZero() {
			continue
		}
		if err != nil {
			return l, err
		}
		if err := verifyLeaf(c.terms.ClientKey, l[tier], tx, c.terms.Value, out); err != nil {
			return l, err
		}
	}
	return l, nil
}

// clientSigned (relay): with the witnesses and the first payment in hand the relay publishes.
func (e Received) clientSigned(c *Contract, m *ClientSigned) ([]Effect, error) {
	if err := c.awaitsSignatures(); err != nil {
		return nil, err
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if m.Terms != c.terms.Digest() {
		return nil, code.New(code.TermsMismatch, "the client signed other terms")
	}
	tx, err := c.checkWitnesses(m.Witnesses)
	if err != nil {
		return nil, err
	}
	ladder, err := c.checkLadder(c.terms.FirstPayment, m.Signatures)
	if err != nil {
		return nil, err
	}
	if err := c.hear(e.Message); err != nil {
		return nil, err
	}
	c.witnesses, c.n, c.paid, c.ladder, c.stage = m.Witnesses, 1, c.terms.FirstPayment, ladder, stageComplete
	c.cancel = nil // it has lost, if there was one
	if c.facts.fundingSeen {
		return c.confirm(e.Stamp)
	}
	return []Effect{Broadcast{tx, ForFunding}}, nil
}

// sameContract refuses a message that names another contract id.
func (c *Contract) sameContract(id usage.ContractID) error {
	if id != c.ID() {
		return code.New(code.ContractUnknown, "the message names another contract id")
	}
	return nil
}

// opened (client): the relay has everything, and with it the first payment.
func (e Received) opened(c *Contract, m *Opened) ([]Effect, error) {
	if c.role != Client || !c.signed() || c.acked > 0 {
		return nil, code.New(code.BadState, "the contract is %s", c.State())
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if m.Funding != c.funding {
		return nil, code.New(code.BadTransaction, "the relay published another transaction")
	}
	if err := c.hearLate(e.Message); err != nil {
		return nil, err
	}
	c.acked, c.stage = 1, stageFunding
	if c.n == 1 && !c.closing {
		c.talk.pending = nil
	}
	return nil, nil
}

// published notes that the funding transaction is out. The relay then confirms the opening.
func (c *Contract) published(s Stamp) ([]Effect, error) {
	if !c.atStake() || c.facts.fundingSeen {
		return nil, nil
	}
	c.facts.fundingSeen = true
	switch c.stage {
	case stageOffered: // the client has published it, and its first payment is still to come
		return nil, nil
	case stageComplete:
		return c.confirm(s)
	}
	c.stage = stageFunding
	return nil, nil
}

// confirm (relay) says that the opening is complete and its funding published.
func (c *Contract) confirm(s Stamp) ([]Effect, error) {
	c.stage = stageFunding
	return c.answer(&Opened{Common: c.common(s), Contract: c.ID(), Funding: c.funding, Tip: c.tip})
}

func (e PublishFunding) apply(c *Contract) ([]Effect, error) {
	if err := c.want(Client, StateSigned, StateFunding); err != nil {
		return nil, err
	}
	if c.recovered() {
		return nil, code.New(code.BadState, "the funding of a recovered contract is not known here")
	}
	return []Effect{c.fund()}, nil
}

func (c *Contract) fund() Effect { return Broadcast{c.FundingTx(), ForFunding} }

func (e GiveUp) apply(c *Contract) ([]Effect, error) {
	if !c.droppable() {
		return nil, code.New(code.BadState, "the contract is %s: it can be ended, but not forgotten", c.State())
	}
	m := &Abort{Common: c.common(e.Stamp), Code: e.Code, Text: e.Text}
	raw, err := c.say(m)
	if err != nil {
		return nil, err
	}
	c.abandon()
	return []Effect{Send{raw}}, nil
}

// droppable tells whether no signature has left.
func (c *Contract) droppable() bool {
	switch c.State() {
	case StateOpening, StateOffered, StateVerified:
		return !c.exposed()
	}
	return false
}

func (c *Contract) abandon() {
	c.stage, c.talk.pending, c.talk.reply, c.opening = stageAborted, nil, nil, nil
}

// abort (either side): the other side ends an opening in which nothing was signed. After a
// signature has left it changes nothing, because the money could still move.
func (e Received) abort(c *Contract) ([]Effect, error) {
	if !c.droppable() {
		return nil, code.New(code.BadState, "the contract is %s and cannot be aborted", c.State())
	}
	if err := c.hear(e.Message); err != nil {
		return nil, err
	}
	c.abandon()
	return nil, nil
}

// isFunding tells whether a transaction is the funding transaction.
func (c *Contract) isFunding(tx *wire.MsgTx) bool { return c.complete() && tx.TxHash() == c.funding }
