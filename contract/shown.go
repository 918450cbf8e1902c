package contract

import (
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/usage"
)

// Standing is where a transaction of a contract stands, as far as its record tells. Only the chain's
// part is certain: a mempool forgets, and another's publishing need not have been seen.
type Standing uint8

// The standings.
const (
	// Planned: not made; what is shown of it is an estimate, and its id is not known yet.
	Planned Standing = 1
	// Unpublished: made, and by this record's knowledge nobody has published it.
	Unpublished Standing = 2
	// Published: given to the network, not in a block.
	Published Standing = 3
	// Confirmed: in a block.
	Confirmed Standing = 4
	// Void: can never confirm any more, unless the chain is reorganised: another transaction spent what it would spend.
	Void Standing = 5
)

// String is the standing in one word.
func (s Standing) String() string {
	return [...]string{"unknown", "planned", "unpublished", "published", "confirmed", "void"}[min(s, Void)]
}

// Recipient is whom an output pays.
type Recipient uint8

// The recipients.
const (
	ToOther  Recipient = 0
	ToEscrow Recipient = 1 // both together
	ToClient Recipient = 2
	ToRelay  Recipient = 3
	ToChange Recipient = 4 // what the client's coins had too much
	ToLocked Recipient = 5 // the client, who can move it one block later

	ToCollateral Recipient = 6 // the relay, which can move it from E on
)

// String is the recipient in one word.
func (r Recipient) String() string {
	return [...]string{"other", "escrow", "client", "relay", "change", "client-locked", "collateral"}[min(r, ToCollateral)]
}

// Payee is one output of a transaction that is shown; the script is empty where it is not known.
type Payee struct {
	To     Recipient
	Value  usage.Sat
	Script []byte
}

// TxShown is one transaction of a contract, for people.
type TxShown struct {
	Purpose  Purpose
	Tier     int            // of a settlement: 0 is the cheapest
	TxID     chainhash.Hash // zero while Planned
	Pays     []Payee
	Fee      usage.Sat
	Standing Standing
	Height   usage.Height // of its block, if Confirmed
}

// Transactions lists what has moved, moves or could move the money of the contract, in the order of a
// contract's life: funding, double spend, settlements, closes, refund, sweep, reclaim of the collateral. It holds what this side can
// build; a client has its half of a settlement, and the relay alone can complete it.
func (c Contract) Transactions() []TxShown {
	if !c.complete() {
		return nil
	}
	out := append(c.shownFunding(), c.shownCancel()...)
	if c.failed() {
		return out
	}
	exits := distinct(append(append(c.shownSettlements(), c.shownCloses()...), c.shownRefund()...))
	return append(append(append(out, c.decided(exits)...), c.shownSweep()...), c.shownReclaim()...)
}

// distinct leaves out what is there already: a settlement that leaves the client nothing is a close by the
// leaf at the same fee rate, byte for byte.
func distinct(all []TxShown) (out []TxShown) {
	at := make(map[chainhash.Hash]int)
	for _, s := range all {
		i, known := at[s.TxID]
		switch {
		case !known || s.Standing == Planned:
			at[s.TxID] = len(out)
			out = append(out, s)
		case s.Standing > out[i].Standing:
			out[i] = s
		}
	}
	return out
}

// shown describes a transaction that this side can build, Unpublished.
func (c Contract) shown(why Purpose, tx *wire.MsgTx, in usage.Sat) TxShown {
	s := TxShown{Purpose: why, TxID: tx.TxHash(), Standing: Unpublished}
	for i, o := range tx.TxOut {
		s.Pays = append(s.Pays, Payee{c.recipient(why, i, o.PkScript), usage.Sat(o.Value), o.PkScript})
	}
	if sum := outputSum(tx); sum <= in {
		s.Fee = in - sum
	}
	return s
}

func (c Contract) recipient(why Purpose, index int, script []byte) Recipient {
	locked, err := c.terms.DelayedScript()
	switch {
	case why == ForFunding && index == int(EscrowIndex):
		return ToEscrow
	case why == ForFunding && index == int(CollateralIndex) && c.terms.Collateral > 0:
		return ToCollateral
	case why == ForFunding && sameScript(script, c.backing.Change.Script) && c.backing.Change.Value > 0:
		return ToRelay
	case why == ForFunding:
		return ToChange
	case err == nil && sameScript(script, locked):
		return ToLocked
	case sameScript(script, c.terms.ClientScript):
		return ToClient
	case sameScript(script, c.terms.RelayScript):
		return ToRelay
	}
	return ToOther
}

func coinSum(coins []Coin) (sum usage.Sat) {
	for _, k := range coins {
		sum += k.Value
	}
	return sum
}

func (c Contract) shownFunding() []TxShown {
	s := TxShown{Purpose: ForFunding, TxID: c.funding, Standing: Unpublished, Pays: []Payee{{To: ToEscrow, Value: c.terms.Value}}}
	if tx := c.FundingTx(); tx != nil {
		s = c.shown(ForFunding, tx, coinSum(c.funds()))
	}
	switch {
	case c.facts.fundedAt > 0:
		s.Standing, s.Height = Confirmed, c.facts.fundedAt
	case c.failed():
		s.Standing = Void
	case c.facts.fundingSeen:
		s.Standing = Published
	}
	return []TxShown{s}
}

func (c Contract) shownCancel() []TxShown {
	if len(c.cancel) == 0 {
		return nil
	}
	tx, err := c.cancelTx(c.acts.cancelRate)
	if err != nil {
		return nil
	}
	s := c.shown(ForCancel, tx, coinSum(c.own()))
	switch s.Standing = Published; {
	case c.facts.fundedAt > 0:
		s.Standing = Void
	case c.facts.voidAt > 0:
		s.Standing, s.Height = Confirmed, c.facts.voidAt
	}
	return []TxShown{s}
}

// shownSettlements are the latest settlement at each fee rate that it can bear.
func (c Contract) shownSettlements() (out []TxShown) {
	for tier := range Tiers {
		if c.ladder[tier].IsZero() {
			continue
		}
		tx, err := c.terms.SettlementTx(c.escrow(), c.paid, tier)
		if err != nil {
			continue
		}
		s := c.shown(ForSettlement, tx, c.terms.Value)
		s.Tier = tier
		if c.role == Relay && c.facts.seen == SpendSettlement && tier == int(c.acts.settleTier) {
			s.Standing = Published
		}
		out = append(out, s)
	}
	return out
}

// shownCloses are the close that this side can broadcast, or else those that one side has signed: the other
// can complete them.
func (c Contract) shownCloses() (out []TxShown) {
	if plan, ok := c.Closing(); ok {
		s := c.shown(ForClose, plan.Tx, c.terms.Value)
		s.Standing = Published
		return []TxShown{s}
	}
	halves := []closing{c.offered}
	if m, err := Decode(c.talk.pending); err == nil {
		if own, ok := m.(*RefundPayment); ok {
			halves = append(halves, closing{amount: own.Amount, feeRate: own.FeeRate})
		}
	}
	for _, k := range halves {
		if tx, err := c.terms.CloseTx(c.escrow(), k.amount, k.feeRate); err == nil && k.feeRate > 0 {
			out = append(out, c.shown(ForClose, tx, c.terms.Value))
		}
	}
	if g := c.joint.granted; g.feeRate > 0 {
		if tx, err := c.terms.KeyCloseTx(c.escrow(), g.amount, g.feeRate); err == nil {
			out = append(out, c.shown(ForClose, tx, c.terms.Value))
		}
	}
	return out
}

// shownRefund is the client's way out at E: as it was broadcast last, or as it would be at the fee
// rate of the funding.
func (c Contract) shownRefund() []TxShown {
	if c.role != Client {
		return nil
	}
	rate, standing := c.acts.refundRate, Published
	if rate == 0 {
		rate, standing = c.terms.FundFeeRate, Planned
	}
	tx, err := c.terms.RefundTx(c.escrow(), rate)
	if err != nil {
		return nil
	}
	return []TxShown{c.planned(c.shown(ForRefund, tx, c.terms.Value), standing)}
}

// planned takes the id from what is only an estimate.
func (c Contract) planned(s TxShown, standing Standing) TxShown {
	if s.Standing = standing; standing == Planned {
		s.TxID = chainhash.Hash{}
	}
	return s
}

// decided marks the exit that the chain has; the others are void then. One that this side could not
// have built, an earlier settlement for one, is added.
func (c Contract) decided(exits []TxShown) []TxShown {
	if c.facts.spentAt == 0 {
		return exits
	}
	spend, found := c.facts.spend, false
	out := exits[:0]
	for _, s := range exits {
		switch s.Standing {
		case Planned:
			continue // and never made
		default:
			s.Standing = Void
		}
		if s.TxID == spend.TxID {
			s.Standing, s.Height, found = Confirmed, c.facts.spentAt, true
		}
		out = append(out, s)
	}
	if found {
		return out
	}
	return append(out, c.foreign(spend))
}

// foreign is the spend of the escrow by what the chain shows of it alone.
func (c Contract) foreign(spend Spend) TxShown {
	s := TxShown{Purpose: purposeOf(spend.Kind), TxID: spend.TxID, Fee: spend.Fee, Standing: Confirmed, Height: c.facts.spentAt}
	to := ToClient
	if spend.Kind == SpendSettlement {
		to = ToLocked
	}
	if spend.Client > 0 {
		s.Pays = append(s.Pays, Payee{To: to, Value: spend.Client})
	}
	if spend.Relay > 0 {
		s.Pays = append(s.Pays, Payee{To: ToRelay, Value: spend.Relay})
	}
	return s
}

func purposeOf(k SpendKind) Purpose {
	return [...]Purpose{0, ForSettlement, ForClose, ForRefund, 0}[min(k, SpendUnknown)]
}

// shownSweep fetches the client's part of a settlement, if there is one.
func (c Contract) shownSweep() []TxShown {
	if !c.sweepable() {
		return nil
	}
	rate, standing := c.acts.sweepRate, Published
	if rate == 0 {
		rate, standing = c.terms.FundFeeRate, Planned
	}
	value := c.facts.spend.Client
	tx, err := c.terms.SweepTx(c.locked(), value, rate)
	if err != nil {
		return nil
	}
	s := c.planned(c.shown(ForSweep, tx, value), standing)
	if c.facts.sweptAt > 0 {
		s.Standing, s.Height = Confirmed, c.facts.sweptAt
	}
	return []TxShown{s}
}

// shownReclaim takes the collateral back to the relay.
func (c Contract) shownReclaim() []TxShown {
	if c.terms.Collateral == 0 {
		return nil
	}
	rate, standing := c.acts.reclaim, Published
	if rate == 0 {
		rate, standing = c.terms.FundFeeRate, Planned
	}
	tx, err := c.terms.ReclaimTx(c.collateral(), rate)
	if err != nil {
		return nil
	}
	s := c.planned(c.shown(ForReclaim, tx, c.terms.Collateral), standing)
	if c.facts.backAt > 0 {
		s.Standing, s.Height = Confirmed, c.facts.backAt
	}
	return []TxShown{s}
}
