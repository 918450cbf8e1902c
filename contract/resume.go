package contract

import (
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/usage"
)

// Watches are what the contract must hear of from the chain now. The caller watches at least
// these; after a restart it starts again from this list.
func (c Contract) Watches() []Watch {
	if !c.atStake() {
		return nil
	}
	escrow, err := c.terms.EscrowScript()
	if err != nil {
		return nil
	}
	from := c.terms.Tip
	out := []Watch{
		{TxID: c.funding, Script: escrow, From: from},
		{OutPoint: c.escrow(), Script: escrow, From: from},
	}
	for _, coin := range c.funds() {
		out = append(out, Watch{OutPoint: coin.OutPoint, Script: coin.Script, From: from})
	}
	if c.terms.Collateral > 0 {
		if script, err := c.terms.CollateralScript(); err == nil {
			out = append(out, Watch{OutPoint: c.collateral(), Script: script, From: from})
		}
	}
	if c.role == Client && c.facts.spentAt > 0 && c.facts.spend.Kind == SpendSettlement {
		if script, err := c.terms.DelayedScript(); err == nil {
			out = append(out, Watch{OutPoint: c.locked(), Script: script, From: c.facts.spentAt})
		}
	}
	return out
}

// Resume gives the effects that the state calls for, for a start after a crash: what to watch, the
// unanswered statement, the wallet's signature, the account. Broadcasts come with the next block.
func (c Contract) Resume() []Effect {
	var out []Effect
	for _, w := range c.Watches() {
		out = append(out, w)
	}
	if p := c.Pending(); p != nil {
		out = append(out, Send{p})
	}
	if c.stage == stageVerified {
		out = append(out, c.signFunding())
	}
	if c.signed() {
		out = append(out, Expose{c.Funds()})
	}
	if c.Forgettable() {
		out = append(out, Forget{})
	}
	return out
}

// WorstCase is what a contract can cost, said before it is opened. All sums are satoshi.
type WorstCase struct {
	FundFee     usage.Sat // to miners, at opening
	SettleFee   usage.Sat // of the first tier, out of the relay's payment
	RefundFee   usage.Sat // at the funding fee rate: the client's way out alone
	SweepFee    usage.Sat // at the funding fee rate: fetching the rest after a settlement
	Prepaid     usage.Sat // P_1, the contract price included: gone if the relay never serves
	Dust        usage.Sat // a rest below this can never come back
	ClientLoss  usage.Sat // the most that the client can lose: all of the above that it bears
	LockedUntil usage.Height
	RelayLoss   usage.Sat // the most that the relay can serve unpaid
	// Collateral is what the relay locks until LockedUntil and gets back whatever happens: no part of anybody's loss.
	Collateral usage.Sat
	// BackingFee and ReclaimFee are what the collateral costs the relay in fees: its share of the funding, and getting it
	// back at the funding's fee rate. Before the relay has answered it is with one taproot coin and change.
	BackingFee, ReclaimFee usage.Sat
}

// WorstCase says what the proposal can cost. Later payments add what each pays for in advance.
func (e Propose) WorstCase() (WorstCase, error) {
	t, err := e.Terms()
	if err != nil {
		return WorstCase{}, err
	}
	fee, err := fundingFee(e.Coins, t.Value, e.Change)
	if err != nil {
		return WorstCase{}, err
	}
	return t.worstCase(fee), nil
}

// WorstCase says what the contract can cost, from its record.
func (c Contract) WorstCase() (WorstCase, error) {
	fee, err := fundingFee(c.coins, c.terms.Value, c.change)
	if err != nil {
		return WorstCase{}, err
	}
	w := c.terms.worstCase(fee)
	if len(c.backing.Coins) > 0 {
		w.BackingFee, err = fundingFee(c.backing.Coins, c.terms.Collateral, c.backing.Change)
	}
	return w, err
}

func (t Terms) worstCase(fundFee usage.Sat) WorstCase {
	w := WorstCase{
		FundFee: fundFee, SettleFee: FeeFor(t.SettleFeeRate, settleWeight),
		RefundFee: FeeFor(t.FundFeeRate, refundWeight), SweepFee: FeeFor(t.FundFeeRate, sweepWeight),
		Prepaid: t.FirstPayment, LockedUntil: t.Expiry, RelayLoss: t.CreditLimit,
	}
	exit := max(w.RefundFee, w.SweepFee)
	if rest := t.Value - min(t.FirstPayment, t.Value); rest < exit+dustLimit {
		w.Dust = rest
		exit = 0
	}
	w.ClientLoss = w.FundFee + w.Prepaid + exit + w.Dust
	if w.Collateral = t.Collateral; w.Collateral > 0 {
		w.BackingFee = FeeFor(t.FundFeeRate, 2*outputWeight+4*(36+1+4)+keyPathWitness)
		w.ReclaimFee = FeeFor(t.FundFeeRate, reclaimWeight)
	}
	return w
}

// Summary is a contract for people: one line of a list, or a page.
type Summary struct {
	Contract     usage.ContractID
	Role         Role
	State        State
	Value, Paid  usage.Sat
	Updates      uint32
	Tip          usage.Height
	Depth        usage.Height // confirmations of the funding
	CloseUntil   usage.Height
	ServiceUntil usage.Height
	SettleFrom   usage.Height
	Expiry       usage.Height
	Escrow       wire.OutPoint
	Spend        Spend
	SpentAt      usage.Height
	Collateral   usage.Sat    // K, which the relay can take back from Expiry on; 0: none
	BackAt       usage.Height // of the block in which it did
	// Overdue is an alarm: E is near or past and what should have spent the escrow is not
	// confirmed.
	Overdue bool
}

// Summary describes the contract.
func (c Contract) Summary() Summary {
	s := Summary{
		Role: c.role, State: c.State(), Value: c.terms.Value, Paid: c.paid, Updates: c.n, Tip: c.tip, Depth: c.depth(),
		CloseUntil: c.terms.CloseUntil(), ServiceUntil: c.terms.ServiceUntil(), SettleFrom: c.terms.SettleFrom(),
		Expiry: c.terms.Expiry, Spend: c.facts.spend, SpentAt: c.facts.spentAt,
		Collateral: c.terms.Collateral, BackAt: c.facts.backAt,
	}
	if c.complete() {
		s.Contract, s.Escrow = c.ID(), c.escrow()
	}
	m, err := MarginsOf(c.terms.Network)
	s.Overdue = err == nil && c.facts.fundedAt > 0 && c.facts.spentAt == 0 &&
		c.tip >= before(c.terms.Expiry, m.OverdueBefore) && (c.role == Relay || c.tip > c.terms.Expiry+m.OverdueBefore)
	return s
}
