package contract

// Cause is what moves a contract from one state to another.
type Cause string

// The causes.
const (
	ByBlock       Cause = "block"        // BlockConnected
	ByReorg       Cause = "reorg"        // BlockDisconnected
	ByMempool     Cause = "mempool"      // TxSeen
	ByMessage     Cause = "message"      // Received
	ByPropose     Cause = "propose"      // Propose
	ByAccept      Cause = "accept"       // Accept
	ByAdopt       Cause = "adopt"        // Adopt
	ByRecover     Cause = "recover"      // Recover
	BySign        Cause = "sign"         // SignedFunding
	ByCancel      Cause = "cancel"       // SignedCancel
	ByGiveUp      Cause = "give up"      // GiveUp
	ByClose       Cause = "close"        // Close
	ByAcceptClose Cause = "accept close" // AcceptClose
	ByOfferClose  Cause = "offer close"  // OfferClose
	ByAskClose    Cause = "ask close"    // AskClose
	BySettle      Cause = "settle"       // Settle
	ByNotify      Cause = "notify"       // Notify
	ByNothing     Cause = "nothing"      // every other event changes no state
)

// CauseOf is the cause that an event is.
func CauseOf(e Event) Cause {
	switch e.(type) {
	case BlockConnected:
		return ByBlock
	case BlockDisconnected:
		return ByReorg
	case TxSeen:
		return ByMempool
	case Received:
		return ByMessage
	case Propose:
		return ByPropose
	case Accept:
		return ByAccept
	case Adopt:
		return ByAdopt
	case Recover:
		return ByRecover
	case SignedFunding:
		return BySign
	case SignedCancel:
		return ByCancel
	case GiveUp:
		return ByGiveUp
	case Close:
		return ByClose
	case AcceptClose:
		return ByAcceptClose
	case OfferClose:
		return ByOfferClose
	case AskClose:
		return ByAskClose
	case Settle:
		return BySettle
	case Notify:
		return ByNotify
	}
	return ByNothing
}

// Transition is a row of the table of transitions: on one side, from a state to others, by a cause.
type Transition struct {
	Role Role
	From State
	By   Cause
	To   []State
}

// transitions are all ways from state to state on a chain that only grows, told block by block. STATES.md
// is drawn from it, and every event of every test is held against it. Reorganisations and rescans
// come on top: see Allowed.
var transitions = append([]Transition{
	{Client, StateNew, ByPropose, []State{StateOpening}},
	{Client, StateNew, ByRecover, []State{StateFunding}},
	{Client, StateOpening, ByMessage, []State{StateVerified, StateAborted}},
	{Client, StateOpening, ByBlock, []State{StateAborted}},
	{Client, StateOpening, ByGiveUp, []State{StateAborted}},
	{Client, StateVerified, BySign, []State{StateSigned}},
	{Client, StateVerified, ByBlock, []State{StateAborted}},
	{Client, StateVerified, ByGiveUp, []State{StateAborted}},
	{Client, StateVerified, ByMessage, []State{StateAborted}},
	{Client, StateSigned, ByMessage, []State{StateFunding}},
	{Client, StateSigned, ByMempool, []State{StateFunding}},
	{Client, StateSigned, ByBlock, []State{StateFunding, StateActive, StateFailed}},
	{Client, StateSigned, ByCancel, []State{StateCancelling}},
	{Client, StateFunding, ByBlock, []State{StateActive, StateFailed}},
	{Client, StateFunding, ByCancel, []State{StateCancelling}},
	{Client, StateCancelling, ByBlock, []State{StateFailed, StateFunding}},
	{Client, StateActive, ByBlock, []State{StateDraining, StateSettled}},
	{Client, StateActive, ByClose, []State{StateClosing}},
	{Client, StateActive, ByAcceptClose, []State{StateClosing}},
	{Client, StateActive, ByMempool, []State{StateClosing}},
	{Client, StateActive, ByMessage, []State{StateFrozen, StateClosing, StateOverdue}},
	{Client, StateFrozen, ByClose, []State{StateClosing}},
	{Client, StateFrozen, ByAcceptClose, []State{StateClosing}},
	{Client, StateFrozen, ByMessage, []State{StateClosing}},
	{Client, StateFrozen, ByBlock, []State{StateDraining, StateSettled}},
	{Client, StateDraining, ByBlock, []State{StateRefunding, StateSettled}},
	{Client, StateDraining, ByMempool, []State{StateClosing}},
	{Client, StateClosing, ByBlock, []State{StateRefunding, StateSettled}},
	{Client, StateRefunding, ByBlock, []State{StateSettled}},
	{Client, StateSettled, ByBlock, []State{StateClosed}},
	{Client, StateClosed, ByBlock, []State{StateArchived}},

	{Relay, StateNew, ByAccept, []State{StateOffered}},
	{Relay, StateNew, ByAdopt, []State{StateComplete}},
	{Relay, StateOffered, ByMessage, []State{StateComplete, StateAborted}},
	{Relay, StateOffered, ByBlock, []State{StateAborted, StateFunding, StateFailed}},
	{Relay, StateOffered, ByMempool, []State{StateFunding}},
	{Relay, StateOffered, ByCancel, []State{StateCancelling}},
	{Relay, StateOffered, ByGiveUp, []State{StateAborted}},
	{Relay, StateComplete, ByMempool, []State{StateFunding}},
	{Relay, StateComplete, ByBlock, []State{StateFunding, StateFailed}},
	{Relay, StateComplete, ByCancel, []State{StateCancelling}},
	{Relay, StateFunding, ByBlock, []State{StateActive, StateFailed, StateSettled}},
	{Relay, StateFunding, ByMessage, []State{StateActive}},
	{Relay, StateFunding, ByCancel, []State{StateCancelling}},
	{Relay, StateCancelling, ByBlock, []State{StateFailed, StateFunding}},
	{Relay, StateActive, ByBlock, []State{StateDraining, StateSettled}},
	{Relay, StateActive, ByMempool, []State{StateClosing}},
	{Relay, StateActive, ByMessage, []State{StateClosing, StateFrozen}},
	{Relay, StateActive, ByOfferClose, []State{StateClosing}},
	{Relay, StateActive, ByAskClose, []State{StateClosing}},
	{Relay, StateActive, BySettle, []State{StateClosing}},
	{Relay, StateActive, ByNotify, []State{StateOverdue}},
	{Relay, StateFrozen, ByMessage, []State{StateClosing}},
	{Relay, StateFrozen, ByOfferClose, []State{StateClosing}},
	{Relay, StateFrozen, ByAskClose, []State{StateClosing}},
	{Relay, StateFrozen, BySettle, []State{StateClosing}},
	{Relay, StateFrozen, ByBlock, []State{StateDraining, StateSettled}},
	{Relay, StateDraining, ByBlock, []State{StateClosing, StateSettled}},
	{Relay, StateDraining, BySettle, []State{StateClosing}},
	{Relay, StateClosing, ByBlock, []State{StateSettled}},
	{Relay, StateSettled, ByBlock, []State{StateClosed}},
	{Relay, StateClosed, ByBlock, []State{StateArchived}},
}, owing()...)

// owing are the ways of a contract whose payment is missing: on to the next step, back by paying, and
// out as from StateActive.
func owing() []Transition {
	var out []Transition
	for step := StepOverdue; step <= lastStep; step++ {
		s, onByMessage := step.state(), []State{StateActive}
		if step < lastStep {
			onByMessage = append(onByMessage, (step + 1).state())
			out = append(out, Transition{Relay, s, ByNotify, []State{(step + 1).state()}})
		}
		out = append(out, Transition{Client, s, ByMessage, onByMessage}, Transition{Relay, s, ByMessage, []State{StateActive}})
		for _, by := range []Cause{ByClose, ByAcceptClose} {
			out = append(out, Transition{Client, s, by, []State{StateClosing}})
		}
		for _, by := range []Cause{ByOfferClose, ByAskClose, BySettle} {
			out = append(out, Transition{Relay, s, by, []State{StateClosing}})
		}
		for _, r := range []Role{Client, Relay} {
			out = append(out, Transition{r, s, ByBlock, []State{StateDraining}})
		}
	}
	return out
}

// Transitions is the table, for diagrams.
func Transitions() []Transition { return append([]Transition(nil), transitions...) }

// Allowed tells whether an event of that cause may lead from one state to another: by a row of the
// table; from state to state of a contract that is signed when a reorganisation takes facts away; and
// over several rows at once when a rescan, or a message after an absence, brings several facts together.
func Allowed(r Role, from State, by Cause, to State) bool {
	if from == to {
		return true
	}
	for _, t := range transitions {
		if t.Role == r && t.From == from && t.By == by {
			for _, s := range t.To {
				if s == to {
					return true
				}
			}
		}
	}
	switch by {
	case ByReorg:
		return (from.signed() || from == StateOffered) && (to.signed() || to == StateOffered)
	case ByBlock, ByMempool, ByMessage:
		return from.signed() && to.signed() && from != StateArchived || from == StateOffered && by == ByMessage && to.signed()
	}
	return false
}

// signed tells whether the client's signatures have left in a state.
func (s State) signed() bool {
	switch s {
	case StateNew, StateOpening, StateOffered, StateVerified, StateAborted:
		return false
	}
	return true
}
