package contract

import (
	"fmt"

	"relaymarket/usage"
)

// Role is the side of a contract.
type Role uint8

// The two sides.
const (
	Client Role = 1 // pays
	Relay  Role = 2 // is paid
)

// String is "client" or "relay".
func (r Role) String() string {
	switch r {
	case Client:
		return "client"
	case Relay:
		return "relay"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// State is where a contract stands. It is derived: from how far the opening got and from what the
// chain shows now. Numbers are never reused; they stand in account rows.
type State uint8

// The states, in the order of a contract's life.
const (
	StateNew       State = 0  // nothing happened yet
	StateOpening   State = 1  // client: proposed, no answer yet
	StateOffered   State = 2  // relay: answered, the client has not signed
	StateVerified  State = 3  // client: the relay's answer is right; the wallet is to sign
	StateSigned    State = 4  // client: signatures have left; the relay has not confirmed
	StateComplete  State = 5  // relay: has all signatures; the funding is not in the mempool yet
	StateFunding   State = 6  // the funding waits for its confirmations
	StateActive    State = 7  // service and payments
	StateDraining  State = 8  // E is near: no service, no payment
	StateClosing   State = 9  // a closing transaction is on its way
	StateRefunding State = 10 // client: E has come, the refund is on its way
	StateSettled   State = 11 // the escrow is spent in the chain, not finally yet
	StateClosed    State = 12 // the escrow is spent finally, and swept
	StateArchived  State = 13 // so deep that the record may be forgotten
	StateAborted   State = 14 // ended before anything was signed
	StateFailed    State = 15 // the funding was double-spent, or never came

	StateCancelling State = 16 // client: it is double-spending the unconfirmed funding
	StateFrozen     State = 17 // the records of the two sides contradict each other: no service, no payment

	StateOverdue   State = 18 // a payment that was asked for is missing: no new orders, only the payer reads
	StateSuspended State = 19 // it is still missing: the payer's last time to fetch what is its own
	StateRetained  State = 20 // it is still missing: nobody reads, everything is kept
	StatePurged    State = 21 // it is still missing: the records are gone

	lastState = StatePurged
)

var stateNames = [...]string{
	"new", "opening", "offered", "verified", "signed", "complete", "funding", "active", "draining",
	"closing", "refunding", "settled", "closed", "archived", "aborted", "failed", "cancelling", "frozen",
	"overdue", "suspended", "retained", "purged",
}

// String is the state in one lower-case word.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Live tells whether the escrow is funded or about to be, and not spent.
func (s State) Live() bool {
	switch s {
	case StateFunding, StateActive, StateDraining, StateClosing, StateRefunding, StateFrozen:
		return true
	}
	return s.Owing()
}

// Owing tells whether service is reduced until the client pays what it owes.
func (s State) Owing() bool {
	switch s {
	case StateOverdue, StateSuspended, StateRetained, StatePurged:
		return true
	}
	return false
}

// payableStates are those in which payments are made and taken, and more.
func payableStates(more ...State) []State {
	return append([]State{StateActive, StateOverdue, StateSuspended, StateRetained, StatePurged}, more...)
}

// Over tells whether the escrow is spent, or will never be funded.
func (s State) Over() bool {
	switch s {
	case StateSettled, StateClosed, StateArchived, StateAborted, StateFailed:
		return true
	}
	return false
}

// stage is how far the opening got: the part of the state that no block can change.
type stage uint8

const (
	stageNew stage = iota
	stageOpening
	stageOffered
	stageVerified
	stageSigned   // client: witnesses and update 1 have left
	stageComplete // relay: has them
	stageFunding  // both have seen the funding transaction published
	stageAborted
)

// State derives the state.
func (c Contract) State() State {
	switch c.stage {
	case stageNew:
		return StateNew
	case stageOpening:
		return StateOpening
	case stageOffered:
		return c.offeredState()
	case stageVerified:
		return StateVerified
	case stageAborted:
		return StateAborted
	}
	switch {
	case c.facts.spentAt > 0:
		return c.spentState()
	case c.failed():
		return StateFailed
	case c.depth() >= usage.Height(c.terms.Depth), c.depth() > 0 && c.tip >= c.terms.ServiceUntil():
		return c.liveState()
	case len(c.cancel) > 0 && c.depth() == 0:
		return StateCancelling
	case c.stage == stageSigned && c.depth() == 0:
		return StateSigned
	case c.stage == stageComplete && c.depth() == 0:
		return StateComplete
	}
	return StateFunding
}

// liveState is the state of a funded, unspent contract.
func (c Contract) liveState() State {
	switch {
	case c.role == Client && c.tip >= c.terms.Expiry:
		return StateRefunding
	case c.closing || c.facts.seen != SpendNone || c.settling():
		return StateClosing
	case c.tip >= c.terms.ServiceUntil():
		return StateDraining
	case c.frozen != NotFrozen:
		return StateFrozen
	}
	return c.Arrears().Step.state()
}

// spentState is the state of a contract whose escrow is spent.
func (c Contract) spentState() State {
	m, err := MarginsOf(c.terms.Network)
	if err != nil {
		return StateSettled
	}
	switch d := c.endDepth(); {
	case d >= m.SafeDepth:
		return StateArchived
	case d >= m.FinalDepth:
		return StateClosed
	}
	return StateSettled
}

// endDepth is how deep the end is in the chain: of the spend; on the client's side of the sweep
// of its locked output too, if that is worth sweeping; on the relay's of what takes its collateral back.
func (c Contract) endDepth() usage.Height {
	d := c.confirmations(c.facts.spentAt)
	if c.sweepable() {
		d = min(d, c.confirmations(c.facts.sweptAt))
	}
	if c.unclaimed() {
		d = min(d, c.confirmations(c.facts.backAt))
	}
	return d
}

// depth is the number of confirmations of the funding.
func (c Contract) depth() usage.Height { return c.confirmations(c.facts.fundedAt) }

// confirmations counts from the height of a block; 0 stands for no block.
func (c Contract) confirmations(at usage.Height) usage.Height {
	if at == 0 || at > c.tip {
		return 0
	}
	return c.tip - at + 1
}

// failed tells whether there is, and as far as this side may assume will be, no escrow: an input
// was spent elsewhere, or the relay has waited long enough. Who has signed for coins of its own never gives
// up without a double spend, because its money could still go into the contract.
func (c Contract) failed() bool {
	if c.facts.fundedAt > 0 {
		return false
	}
	return c.facts.voidAt > 0 || c.role == Relay && c.overdueFunding() && !c.exposed()
}

func (c Contract) overdueFunding() bool {
	m, err := MarginsOf(c.terms.Network)
	return err == nil && (c.tip >= c.terms.Tip+m.UnfundedAfter || c.tip >= c.terms.Expiry)
}

// Forgettable tells whether nothing more can happen that this side has to know about.
func (c Contract) Forgettable() bool {
	m, err := MarginsOf(c.terms.Network)
	if err != nil {
		return false
	}
	switch c.State() {
	case StateArchived, StateAborted:
		return true
	case StateFailed:
		return c.role == Relay && c.overdueFunding() && !c.exposed() || c.confirmations(c.facts.voidAt) >= m.SafeDepth
	}
	// The client has locked its own money and given nothing away: what it does with it is no concern of the relay's.
	return c.Exposed() && c.confirmations(c.facts.backAt) >= m.SafeDepth
}
