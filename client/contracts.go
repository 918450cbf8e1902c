package client

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/usage"
)

// Contracts lists all contracts, those that live first, then the newest. Where the node does not
// answer they are shown as of the last block that was seen.
func (a *Agent) Contracts(ctx context.Context) ([]ContractInfo, error) {
	a.tryLevel(ctx)
	all := a.runner.Contracts()
	slices.SortFunc(all, func(x, y contract.Contract) int {
		xn, yn := x.Nonce(), y.Nonce()
		return cmp.Or(cmp.Compare(ended(x), ended(y)), cmp.Compare(y.Terms().Tip, x.Terms().Tip), bytes.Compare(xn[:], yn[:]))
	})
	out := make([]ContractInfo, 0, len(all))
	for _, c := range all {
		out = append(out, a.brief(ctx, c, a.book(ctx, c, false)))
	}
	return out, nil
}

func ended(c contract.Contract) int {
	if s := c.State(); s.Over() {
		return 1
	}
	return 0
}

// Contract shows one contract, with the relay's own book on it if the relay can be asked. Code
// ContractUnknown.
func (a *Agent) Contract(ctx context.Context, id usage.ContractID) (ContractInfo, error) {
	if _, err := a.contractByID(id); err != nil {
		return ContractInfo{}, err
	}
	a.tryLevel(ctx)
	c, err := a.contractByID(id)
	if err != nil {
		return ContractInfo{}, err
	}
	return a.describe(ctx, c, a.book(ctx, c, true)), nil
}

// tryLevel waits for the newest block; without a node, what is known must do.
func (a *Agent) tryLevel(ctx context.Context) {
	if !a.money.running() {
		return
	}
	if err := a.level(ctx); err != nil {
		a.log.Info("contracts are shown as of the last block seen", "err", err)
	}
}

// book is what the relay holds of a contract, nil if it does not say. Without dial only a relay
// with an open session is asked.
func (a *Agent) book(ctx context.Context, c contract.Contract, dial bool) *message.AccountContract {
	s := c.State()
	if !s.Live() || s == contract.StateRefunding || !dial && a.links.of(c.Peer()).live() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	info, err := a.account(ctx, c.Peer())
	if err != nil {
		return nil
	}
	for i, k := range info.Contracts {
		if usage.ContractID(k.Contract) == c.ID() {
			return &info.Contracts[i]
		}
	}
	return nil
}

// describe makes the info of a contract, with its transactions.
func (a *Agent) describe(ctx context.Context, c contract.Contract, book *message.AccountContract) ContractInfo {
	i := a.brief(ctx, c, book)
	i.Transactions = a.transactions(ctx, c)
	return i
}

// brief makes the info of a contract as lists show it. Owed, funds and reserved are the relay's word where it was
// given, else what the last report and the own books say.
func (a *Agent) brief(ctx context.Context, c contract.Contract, book *message.AccountContract) ContractInfo {
	t, s := c.Terms(), c.Summary()
	i := ContractInfo{
		ID: idOf(c), Relay: c.Peer(), Name: c.Peer().Name(), State: c.State().String(), Sentence: sentence(c),
		Deposit: t.Value, ContractPrice: t.ContractPrice, Paid: c.Paid(), Asked: c.Asked().Amount,
		ExpiryHeight: t.Expiry, TipHeight: s.Tip, NextDeadline: nextDeadline(c), Deadlines: deadlines(c),
		Confirmations: s.Depth, FundingDepth: t.Depth, Collateral: t.Collateral,
	}
	if escrow, ok := c.Escrow(); ok {
		i.FundingTxid = escrow.Hash.String()
	}
	if w, err := c.WorstCase(); err == nil {
		i.FundFee = w.FundFee
	}
	if renewable(c) || c.State() == contract.StateFunding {
		i.Renewal = a.renewalInfo(ctx, c)
		i.Sentence += i.Renewal.words()
	}
	i.fillClose(c)
	a.fillUse(ctx, c, book, &i)
	return i
}

// fillClose says how the escrow was spent, or else what is on its way.
func (i *ContractInfo) fillClose(c contract.Contract) {
	spend, _, ok := c.Spend()
	if ok {
		i.ClosedBy = spend.Kind.String()
	} else if plan, ok := c.Closing(); ok {
		spend = contract.Spend{
			Kind: contract.SpendClose, TxID: plan.Tx.TxHash(), Client: plan.Client, Relay: plan.Relay, Fee: plan.Fee, KeyPath: plan.KeyPath,
		}
	} else {
		return
	}
	i.ClosingTxid, i.ClientPayout, i.RelayPayout, i.CloseFee = spend.TxID.String(), spend.Client, spend.Relay, spend.Fee
	if spend.Kind == contract.SpendClose {
		i.ClosePath = closePath(spend.KeyPath)
	}
}

func closePath(key bool) string {
	if key {
		return "key-path"
	}
	return "leaf"
}

func (a *Agent) fillUse(ctx context.Context, c contract.Contract, book *message.AccountContract, i *ContractInfo) {
	if book != nil {
		i.Owed, i.Reserved, i.Funds = usage.Msat(book.OwedMsat), usage.Msat(book.ReservedMsat), usage.Msat(book.FundsMsat)
		return
	}
	f := c.Funds()
	if !c.State().Over() {
		i.Funds = usage.Account{Paid: f.Paid, ContractPrice: f.ContractPrice, CreditLimit: f.CreditLimit, Value: f.Value}.Funds()
	}
	if r, err := a.lastReport(ctx, c.ID()); err == nil && r != nil {
		i.Owed = r.Owed
	}
}

// logHead is where the log of a contract stands by the newest report.
func (a *Agent) logHead(ctx context.Context, c contract.Contract) (contract.Head, error) {
	r, err := a.lastReport(ctx, c.ID())
	if err != nil || r == nil {
		return contract.Head{}, err
	}
	return contract.Head{Epoch: r.LogEpoch, Size: r.Size, Root: r.Root}, nil
}

// lastReport is the newest report that was kept, nil if there is none.
func (a *Agent) lastReport(ctx context.Context, id usage.ContractID) (*usage.VerifiedUsageReport, error) {
	s, err := a.store.LastReport(ctx, id)
	if code.Of(err) == code.NotFound {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	r, err := usage.OpenUsageReport(s)
	return &r, code.Wrap(code.StoreCorrupt, err, "a usage report")
}
