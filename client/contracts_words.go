package client

import (
	"fmt"

	"relaymarket/contract"
)

// blockMinutes is the target spacing of blocks, by which heights are told as times.
const blockMinutes = 10

// sentence says where a contract stands and what comes next, for a person.
func sentence(c contract.Contract) string {
	s := c.Summary()
	switch c.State() {
	case contract.StateOpening:
		return "proposed to the relay; nothing is signed yet"
	case contract.StateVerified:
		return "the relay has agreed and its answer is right; the wallet that holds the coins is to sign: contract export gives the file, contract import takes it back"
	case contract.StateSigned:
		return "your signatures have left and the relay has not confirmed; it is asked again by itself, and if it stays silent your agent publishes the funding: to get the coins back instead, cancel"
	case contract.StateFunding:
		return fmt.Sprintf("the funding has %d of %d confirmations; service begins with the last of them", s.Depth, c.Terms().Depth)
	case contract.StateActive:
		return "in service" + unfunded(c) + asked(c) + offered(c)
	case contract.StateOverdue, contract.StateSuspended, contract.StateRetained, contract.StatePurged:
		return owing(c)
	case contract.StateFrozen:
		why, _ := c.Frozen()
		return "frozen: " + why.String() + "; nothing more is stored or paid, and nothing can be lost by waiting: close it with  contract close, or take the rest back at expiry"
	case contract.StateDraining:
		return "expiry is near: nothing is stored or paid any more; the relay settles, or you get everything back that was not paid"
	case contract.StateClosing:
		return closing(c)
	case contract.StateRefunding:
		return "expired; your agent takes the escrow back, alone" + overdue(s)
	case contract.StateSettled:
		return spent(s) + final(c, s)
	case contract.StateClosed, contract.StateArchived:
		return "over: " + spent(s)
	case contract.StateAborted:
		return "ended before anything was signed; no coins have moved"
	case contract.StateCancelling:
		return "cancelled: your coins come back with the next block, unless the funding is faster"
	case contract.StateFailed:
		return "void: the funding never came into the chain, because a coin of it was spent elsewhere; nothing is in escrow"
	}
	return "nothing has happened yet"
}

// unfunded says that nothing can be used before something is paid in advance.
func unfunded(c contract.Contract) string {
	if f := c.Funds(); f.Paid+f.CreditLimit > f.ContractPrice {
		return ""
	}
	return ", but the relay gives no credit and nothing is paid in advance: pay with  contract pay --advance"
}

// owing says what a missing payment has led to, what comes next and what ends it.
func owing(c contract.Contract) string {
	a := c.Arrears()
	s := map[contract.Step]string{
		contract.StepOverdue:   "overdue: the relay takes no new messages and lets nobody but you read",
		contract.StepSuspended: "suspended: the relay takes no new messages; now is the last time to read what is yours",
		contract.StepRetained:  "retained: the relay keeps what is stored and lets nobody read",
		contract.StepPurged:    "purged: the relay has deleted what was stored; it takes new messages once it is paid",
	}[a.Step]
	s += fmt.Sprintf(", because %d sat are missing: look with  audit, then  contract pay", a.Amount-min(a.Amount, c.Paid()))
	if a.Next > 0 {
		s += fmt.Sprintf("; from height %d on the relay may go on to the next step: %s", a.Next, a.Step+1)
	}
	return s + offered(c)
}

// asked says what the relay asks for that was not paid.
func asked(c contract.Contract) string {
	ask := c.Asked()
	if ask.Amount <= c.Paid() {
		return ""
	}
	return fmt.Sprintf("; the relay asks for %d sat more, beyond what was confirmed or your budget allows: look with audit, then pay or refuse", ask.Amount-c.Paid())
}

// offered says that the relay wants to close.
func offered(c contract.Contract) string {
	amount, ok := c.CloseOffered()
	if !ok {
		return ""
	}
	return fmt.Sprintf("; the relay wants to close for %d sat in all, of which %d are paid: accept with  contract close --how request", amount, c.Paid())
}

func closing(c contract.Contract) string {
	if p, ok := c.Closing(); ok {
		return fmt.Sprintf("closed together, %s; the transaction is on its way into a block: %d sat to you, %d to the relay, %d to miners",
			signedHow(p.KeyPath), p.Client, p.Relay, p.Fee)
	}
	if c.Pending() != nil {
		return "you have signed the close by the leaf; the relay is to publish it, and if it never does, you take everything back at expiry but what is paid"
	}
	if p, ok := c.Granted(); ok && c.Summary().SpentAt == 0 {
		return fmt.Sprintf("you have signed the close by the key path that the relay asked for, at %d sat; it is to publish it, and if it never does, you can close by the leaf or wait for expiry", p)
	}
	return "a closing transaction is on its way into a block"
}

// signedHow says in which of two ways a close is signed by both.
func signedHow(key bool) string {
	if key {
		return "both signing as one (key path)"
	}
	return "each signing (leaf)"
}

func overdue(s contract.Summary) string {
	if s.Overdue {
		return "; that takes unusually long: raise the fee with  contract refund --feerate"
	}
	return ""
}

// spent says how the escrow was spent, to the last satoshi.
func spent(s contract.Summary) string {
	who := map[contract.SpendKind]string{
		contract.SpendClose: "closed together", contract.SpendSettlement: "settled by the relay alone", contract.SpendRefund: "refunded to you alone",
		contract.SpendUnknown: "spent in a way that this version does not know",
	}[s.Spend.Kind]
	if s.Spend.Kind == contract.SpendClose {
		who += ", " + signedHow(s.Spend.KeyPath) + ","
	}
	return fmt.Sprintf("%s at height %d: %d sat to you, %d to the relay, %d to miners", who, s.SpentAt, s.Spend.Client, s.Spend.Relay, s.Spend.Fee)
}

// final says when a spend counts as final.
func final(c contract.Contract, s contract.Summary) string {
	m, err := contract.MarginsOf(c.Terms().Network)
	if depth := s.Tip + 1 - min(s.SpentAt, s.Tip+1); err == nil && depth < m.FinalDepth {
		return "; final in " + blocks(m.FinalDepth-depth)
	}
	return "; final when your part has been fetched from its locked output"
}
