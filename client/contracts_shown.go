package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"relaymarket/contract"
	"relaymarket/usage"
)

// Deadline is a height that matters to a contract, and how far it is.
type Deadline struct {
	What   string       `json:"what"`
	Height usage.Height `json:"height"`
	Blocks usage.Height `json:"blocks"` // from the tip on
	Hours  uint64       `json:"hours"`  // that they take at ten minutes a block, rounded up
}

// ContractTx is a transaction that has moved, moves or could move the money of a contract.
type ContractTx struct {
	What string `json:"what"`           // funding, cancel, settlement, close, refund, sweep or reclaim
	Tier int    `json:"tier,omitempty"` // of a settlement: 0 is the cheapest of its fee rates
	Txid string `json:"txid,omitempty"` // empty while it is planned
	// State is planned (not made, the numbers are an estimate), unpublished (made and held back), published (given to
	// the network; whether a mempool holds it, the node did not say), mempool, confirmed, or void (another transaction
	// spent what it would spend).
	State         string           `json:"state"`
	Confirmations usage.Height     `json:"confirmations"`
	Height        usage.Height     `json:"height,omitempty"` // of its block
	Fee           usage.Sat        `json:"fee_sat"`
	Outputs       []ContractOutput `json:"outputs"`
	By            string           `json:"by"` // who can publish it, and when, for a person
}

// ContractOutput is one output of a ContractTx.
type ContractOutput struct {
	To      string    `json:"to"` // escrow, collateral (the relay's, from E on), client, client-locked (from the next block on), relay, change or other
	Address string    `json:"address,omitempty"`
	Amount  usage.Sat `json:"amount_sat"`
}

// The states of a ContractTx that contract.Standing does not have.
const inMempool = "mempool"

// transactions describes the transactions of a contract. Where the node can be asked, it says which of them are in
// its mempool.
func (a *Agent) transactions(ctx context.Context, c contract.Contract) []ContractTx {
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	out := []ContractTx{}
	for _, s := range c.Transactions() {
		t := ContractTx{
			What: s.Purpose.String(), Tier: s.Tier, State: s.Standing.String(), Height: s.Height, Fee: s.Fee, By: by(c, s),
		}
		if s.TxID != (chainhash.Hash{}) {
			t.Txid = s.TxID.String()
		}
		switch s.Standing {
		case contract.Confirmed:
			t.Confirmations = c.Tip() + 1 - min(s.Height, c.Tip()+1)
		case contract.Published, contract.Unpublished:
			t.State = a.whereabouts(ctx, s)
		}
		for _, p := range s.Pays {
			t.Outputs = append(t.Outputs, ContractOutput{To: p.To.String(), Address: a.addressOf(p.Script), Amount: p.Value})
		}
		out = append(out, t)
	}
	return out
}

// whereabouts asks the node for a transaction that no block is known to have.
func (a *Agent) whereabouts(ctx context.Context, s contract.TxShown) string {
	tx, _, err := a.chain.Tx(ctx, s.TxID)
	switch {
	case err != nil:
		return s.Standing.String()
	case tx == nil:
		return contract.Unpublished.String()
	}
	return inMempool
}

// addressOf is the address of a script; empty if it has none.
func (a *Agent) addressOf(script []byte) string {
	_, at, _, err := txscript.ExtractPkScriptAddrs(script, a.params)
	if err != nil || len(at) != 1 {
		return ""
	}
	return at[0].EncodeAddress()
}

// by says who can publish a transaction, and when.
func by(c contract.Contract, s contract.TxShown) string {
	t := c.Terms()
	switch s.Purpose {
	case contract.ForFunding:
		return "you or the relay; it puts the deposit into the escrow"
	case contract.ForReclaim:
		return fmt.Sprintf("the relay alone, by itself from height %d on; its collateral was a time-lock, no insurance", t.Expiry)
	case contract.ForCancel:
		return "you, while the funding is not confirmed; it takes the deposit back"
	case contract.ForSettlement:
		return fmt.Sprintf("the relay alone, by itself from height %d on; your half is signed", t.SettleFrom())
	case contract.ForClose:
		if s.Standing == contract.Published {
			return "you or the relay; both have signed"
		}
		return "the side that signs last"
	case contract.ForRefund:
		return fmt.Sprintf("you alone, by itself from height %d on", t.Expiry)
	case contract.ForSweep:
		return "you alone, by itself, from the block after the settlement on"
	}
	return "unknown to this version"
}

// deadlines are the heights that come, the next first.
func deadlines(c contract.Contract) []Deadline {
	s := c.Summary()
	out := []Deadline{}
	add := func(at usage.Height, what string) {
		if at > s.Tip {
			out = append(out, Deadline{What: what, Height: at, Blocks: at - s.Tip, Hours: hours(at - s.Tip)})
		}
	}
	switch c.State() {
	case contract.StateFunding, contract.StateSigned:
		add(s.Expiry, "the escrow could be refunded")
	case contract.StateActive, contract.StateFrozen, contract.StateDraining, contract.StateClosing,
		contract.StateOverdue, contract.StateSuspended, contract.StateRetained, contract.StatePurged:
		if a := c.Arrears(); c.State().Owing() {
			add(a.Next, "the relay may go on to the next step, "+(a.Step+1).String())
		}
		add(renewFrom(c), "the time to renew begins")
		add(s.CloseUntil, "the last chance to close together")
		add(s.ServiceUntil, "service ends")
		add(s.SettleFrom, "the relay settles alone")
		add(s.Expiry, "you can take the escrow back alone"+collateralToo(s))
	case contract.StateSettled:
		if m, err := contract.MarginsOf(c.Terms().Network); err == nil {
			add(s.SpentAt+m.FinalDepth-1, "the end is final")
		}
	}
	slices.SortStableFunc(out, func(a, b Deadline) int { return cmp.Compare(a.Height, b.Height) })
	return out
}

// collateralToo says that the relay's collateral is free at the same height.
func collateralToo(s contract.Summary) string {
	if s.Collateral == 0 {
		return ""
	}
	return fmt.Sprintf(", and the relay its collateral of %d sat", s.Collateral)
}

// renewFrom is the height from which on the next contract should be opened.
func renewFrom(c contract.Contract) usage.Height {
	m, err := contract.MarginsOf(c.Terms().Network)
	if err != nil {
		return 0
	}
	return c.Terms().Expiry - min(m.RenewBefore, c.Terms().Expiry)
}

// nextDeadline is the next height that matters, and how far it is.
func nextDeadline(c contract.Contract) string {
	all := deadlines(c)
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf("%s at height %d, in %s", all[0].What, all[0].Height, blocks(all[0].Blocks))
}

func hours(n usage.Height) uint64 { return (uint64(n)*blockMinutes + 59) / 60 }

// blocks is a number of blocks with the time that they take on average.
func blocks(n usage.Height) string {
	h := hours(n)
	switch {
	case n == 1:
		return "1 block (about 10 minutes)"
	case h < 2:
		return fmt.Sprintf("%d blocks (about %d minutes)", n, n*blockMinutes)
	case h < 3*24:
		return fmt.Sprintf("%d blocks (about %d hours)", n, h)
	}
	return fmt.Sprintf("%d blocks (about %d hours, %d days)", n, h, (h+12)/24)
}
