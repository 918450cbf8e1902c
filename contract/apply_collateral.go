package contract

import (
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
	"relaymarket/usage"
)

// own are this side's coins in the funding transaction.
func (c Contract) own() []Coin {
	if c.role == Relay {
		return c.backing.Coins
	}
	return c.coins
}

// funds are the coins of both sides.
func (c Contract) funds() []Coin {
	return append(append(make([]Coin, 0, len(c.coins)+len(c.backing.Coins)), c.coins...), c.backing.Coins...)
}

// fundFee is what the funding transaction pays, both shares together.
func (c Contract) fundFee() (usage.Sat, error) {
	fee, err := fundingFee(c.coins, c.terms.Value, c.change)
	if err != nil || c.terms.Collateral == 0 {
		return fee, err
	}
	more, err := fundingFee(c.backing.Coins, c.terms.Collateral, c.backing.Change)
	return fee + more, err
}

// collateral is the collateral output; meaningful with K > 0.
func (c Contract) collateral() wire.OutPoint {
	return wire.OutPoint{Hash: c.funding, Index: CollateralIndex}
}

// exposed (relay) tells whether signatures of the relay's own coins have left: the other side can complete the funding
// transaction, so that the contract is never forgotten before its coins are back or spent elsewhere.
func (c Contract) exposed() bool { return c.role == Relay && len(c.backed) > 0 }

// Exposed is, on the relay's side, whether the client can complete the funding transaction, which holds a
// collateral, before it has given anything away.
func (c Contract) Exposed() bool { return c.exposed() && c.stage == stageOffered }

// atStake tells whether signatures have left that can move money.
func (c Contract) atStake() bool { return c.signed() || c.exposed() }

// Locked is, on the relay's side, what of its own money is in this contract, or may be put there by the client: the
// collateral, until it is back or can never be locked any more.
func (c Contract) Locked() usage.Sat {
	switch {
	case c.role != Relay, c.stage == stageNew, c.stage == stageAborted, c.facts.backAt > 0, c.facts.voidAt > 0:
		return 0
	}
	return c.terms.Collateral
}

// offeredState (relay) is the state of a contract for which the client has given nothing yet; with a collateral it can
// complete the funding all the same.
func (c Contract) offeredState() State {
	switch {
	case !c.exposed():
		return StateOffered
	case c.facts.spentAt > 0:
		return c.spentState()
	case c.failed():
		return StateFailed
	case c.facts.fundedAt > 0:
		return StateFunding
	case len(c.cancel) > 0:
		return StateCancelling
	case c.facts.fundingSeen:
		return StateFunding
	}
	return StateOffered
}

// checkBacking (client) holds the relay's coins against the own chain view, and its share against the terms (checks 8, 13
// to 16 and 18 to 21).
func (e Received) checkBacking(c *Contract, m *ServerAddInputs, t Terms) error {
	var err error
	if c.backing, err = m.backing(Share{c.coins, c.change}); err != nil {
		return err
	}
	margins, err := MarginsOf(t.Network)
	if err != nil {
		return err
	}
	if err := checkCoins(c.backing.Coins, e.Coins, margins); err != nil {
		return err
	}
	return checkBacking(t, c.backing)
}

// signedBacking (relay): with the witnesses of its own coins the relay answers the proposal.
func (e SignedFunding) signedBacking(c *Contract) ([]Effect, error) {
	if err := c.want(Relay, StateOffered); err != nil {
		return nil, err
	}
	if c.terms.Collateral == 0 || c.exposed() {
		return nil, code.New(code.BadState, "there is nothing to sign")
	}
	c.backed = c.stacks(e.Witnesses)
	if err := c.checkBacked(c.backed); err != nil {
		return nil, err
	}
	return c.addInputs(e.Stamp)
}

// awaitsSignatures refuses a contractClientSigned for which it is too early or too late. Where there is a collateral it
// may come after the funding: a client whose relay was silent publishes it itself.
func (c *Contract) awaitsSignatures() error {
	if err := c.want(Relay, StateOffered, StateFunding); err != nil {
		return err
	}
	if c.stage != stageOffered || c.terms.Collateral > 0 && !c.exposed() {
		return code.New(code.BadState, "the contract is %s", c.State())
	}
	return nil
}

// withdraws (relay) tells whether the relay takes its coins out of a funding that does not come: of an opening that the
// client has not signed, after the blocks that it has for it; of any other, after those that a funding may take.
func (c *Contract) withdraws() bool {
	if !c.exposed() || c.facts.fundedAt > 0 || c.facts.voidAt > 0 {
		return false
	}
	return len(c.cancel) > 0 || c.overdueFunding() || c.stage == stageOffered && !c.facts.fundingSeen && c.openingLate()
}

// withdraw is the double spend of the relay's coins, signed anew where the fee rate has risen clearly. Coins that cannot bear
// what is wanted go at the last rate, or at the least that outbids the funding; what cannot pay for that is left where it is.
func (c *Contract) withdraw(feeRate uint64) ([]Effect, error) {
	least := min(c.terms.FundFeeRate+MinFeeRate, MaxFeeRate)
	rate := climb(c.acts.cancelRate, max(feeRate, least))
	tx, err := c.cancelTx(rate)
	if code.Of(err) == code.AmountTooSmall {
		rate = max(c.acts.cancelRate, least)
		tx, err = c.cancelTx(rate)
	}
	if code.Of(err) == code.AmountTooSmall {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(c.cancel) > 0 && rate == c.acts.cancelRate {
		tx, err = c.cancelled(rate, c.cancel)
		return []Effect{Broadcast{tx, ForCancel}}, err
	}
	s := c.signFunding()
	s.Cancel, s.Tx, s.FeeRate = true, tx, rate
	return []Effect{s}, nil
}

// dueReclaim (relay) takes the collateral back from E on, until that is in the chain.
func (c *Contract) dueReclaim(key *btcec.PrivateKey, feeRate uint64) ([]Effect, error) {
	if c.role != Relay || c.terms.Collateral == 0 || c.facts.fundedAt == 0 || c.facts.backAt > 0 || c.tip < c.terms.Expiry {
		return nil, nil
	}
	out, err := c.terms.collateral()
	if err != nil {
		return nil, err
	}
	build := func(rate uint64) (*wire.MsgTx, error) { return c.terms.ReclaimTx(c.collateral(), rate) }
	return c.solo(build, &c.acts.reclaim, feeRate, key, c.terms.Collateral, out, ForReclaim)
}

// unclaimed (relay) tells whether the contract holds a collateral that is to come back.
func (c Contract) unclaimed() bool { return c.role == Relay && c.terms.Collateral > 0 }
