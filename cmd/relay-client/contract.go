package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

func contractCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "contract", Short: "Escrows with relays: open, list, show, pay, renew, close, refund, recovery",
		Long: `A contract is an escrow on the chain that you and one relay can only spend together, until it expires; then you can take it
back alone. Payments to the relay only ever rise, are signed off the chain, and never exceed the escrow.

CONTRACT is the id, or its beginning as lists show it.`,
		Example: "  relay-client contract open abcd2efgh3ijkl4m --deposit 50000\n  relay-client contract list\n  relay-client contract pay 3f9c",
	}, contractOpen(o), contractList(o), contractShow(o), contractPay(o), contractRenew(o), contractClose(o), contractRefund(o), contractCancel(o), contractExport(o), contractImport(o), contractRecovery(o))
}

// findContract finds the contract that an id or its beginning means.
func (s *session) findContract(ctx context.Context, arg string) (usage.ContractID, error) {
	var id usage.ContractID
	arg = strings.ToLower(strings.TrimSpace(arg))
	if id.UnmarshalText([]byte(arg)) == nil {
		return id, nil
	}
	if _, err := hex.DecodeString(arg + strings.Repeat("0", len(arg)%2)); err != nil || len(arg) < 4 {
		return id, code.New(code.BadArgument, "%q is not a contract; give at least 4 letters of its id as  contract list  shows it", arg)
	}
	all, err := s.Contracts(ctx)
	if err != nil {
		return id, err
	}
	found := 0
	for _, c := range all {
		if strings.HasPrefix(c.ID.String(), arg) {
			id, found = c.ID, found+1
		}
	}
	switch found {
	case 0:
		return id, code.New(code.ContractUnknown, "you have no contract %s…", arg)
	case 1:
		return id, nil
	}
	return id, code.New(code.BadArgument, "%d contracts begin with %s; give more letters", found, arg)
}

// onContract is a command about one contract.
func (o *options) onContract(cmd *cobra.Command, arg string, f func(context.Context, *session, usage.ContractID) error) error {
	return o.with(cmd, func(ctx context.Context, s *session) error {
		id, err := s.findContract(ctx, arg)
		if err != nil {
			return err
		}
		return f(ctx, s, id)
	})
}

func contractList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List your contracts", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				all, err := busy(s, "reading the chain", func() ([]client.ContractInfo, error) { return s.Contracts(ctx) })
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printContracts(w, all) })
			})
		},
	}
}

func printContracts(w io.Writer, all []client.ContractInfo) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no contracts yet; find a relay with  relay-client market list")
		return
	}
	t := table(w)
	fmt.Fprintln(t, "contract\trelay\tstate\tdeposit\tpaid\tfunds\tnext")
	for _, c := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", short(c.ID), c.Name, c.State, broadcast.FormatSat(c.Deposit),
			broadcast.FormatSat(c.Paid), broadcast.FormatMsat(c.Funds), or(c.NextDeadline, "—"))
	}
	_ = t.Flush()
}

func contractShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show CONTRACT", Short: "Show everything about one contract", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				c, err := busy(s, "reading the chain", func() (client.ContractInfo, error) { return s.Contract(ctx, id) })
				if err != nil {
					return err
				}
				return o.show(cmd, c, func(w io.Writer) { printContract(w, c) })
			})
		},
	}
}

func printContract(w io.Writer, c client.ContractInfo) {
	fmt.Fprintf(w, "contract %s with %s\n%s: %s\n", c.ID, c.Name, c.State, c.Sentence)
	if c.Note != "" {
		fmt.Fprintln(w, clean(c.Note))
	}
	line := func(name string, v any) { fmt.Fprintf(w, "  %-16s%v\n", name, v) }
	line("deposit", broadcast.FormatSat(c.Deposit))
	if c.Collateral > 0 {
		line("collateral", broadcast.FormatSat(c.Collateral)+" of the relay's own, which goes back to it at expiry whatever happens: a time-lock, no insurance")
	}
	line("paid", fmt.Sprintf("%s, of it %s for the contract itself", broadcast.FormatSat(c.Paid), broadcast.FormatSat(min(c.ContractPrice, c.Paid))))
	if c.Asked > c.Paid {
		line("asked", broadcast.FormatSat(c.Asked)+" in all by the relay")
	}
	line("used", broadcast.FormatMsat(c.Owed)+" as the relay says")
	line("reserved", broadcast.FormatMsat(c.Reserved)+" for what is stored")
	line("funds", broadcast.FormatMsat(c.Funds)+" may be used in all before the next payment")
	line("height", fmt.Sprintf("%d, expires at %d", c.TipHeight, c.ExpiryHeight))
	for i, d := range c.Deadlines {
		line([]string{"next", "then"}[min(i, 1)], fmt.Sprintf("at height %d, in %s: %s", d.Height, blocksAndHours(d), d.What))
	}
	if c.FundingTxid != "" {
		line("funding", fmt.Sprintf("%s, fee %s", c.FundingTxid, broadcast.FormatSat(c.FundFee)))
	}
	if c.Renewal.AutoBudget > 0 {
		line("renewal", fmt.Sprintf("by itself from height %d on, within %s", c.Renewal.From, broadcast.FormatSat(c.Renewal.AutoBudget)))
	}
	printEnd(line, c)
	printTransactions(w, c.Transactions)
}

// printEnd says how the escrow was spent, or is about to be.
func printEnd(line func(string, any), c client.ContractInfo) {
	if c.ClosingTxid == "" {
		return
	}
	how := or(c.ClosedBy, "close, not in a block yet")
	if c.ClosePath != "" {
		how += " (" + c.ClosePath + ")"
	}
	line("closed by", fmt.Sprintf("%s, transaction %s", how, c.ClosingTxid))
	line("you get back", broadcast.FormatSat(c.ClientPayout))
	line("the relay gets", broadcast.FormatSat(c.RelayPayout))
	line("closing fee", broadcast.FormatSat(c.CloseFee))
}

func contractPay(o *options) *cobra.Command {
	var limit, advance satFlag
	var yes bool
	cmd := &cobra.Command{
		Use: "pay CONTRACT", Short: "Audit, then pay what the audit confirms",
		Long: `pay gets the relay's report, audits it and signs a payment for what your own papers confirm, never for more. It asks first;
a running agent also pays by itself, within the budget in client.toml, when the relay asks.

--advance pays before it is used, for relays that give little credit; it is lost if the relay never serves it. More than the escrow
holds cannot be paid: then  contract renew --deposit  opens the next contract with a larger one.`,
		Example: "  relay-client contract pay 3f9c\n  relay-client contract pay 3f9c --max 2000 --yes\n  relay-client contract pay 3f9c --advance 1000",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				if advance > 0 {
					return s.prepay(ctx, id, usage.Sat(advance), yes)
				}
				a, err := busy(s, "auditing", func() (client.AuditResult, error) { return s.Audit(ctx, id) })
				if err != nil {
					return err
				}
				return s.pay(ctx, id, a, usage.Sat(limit), yes)
			})
		},
	}
	cmd.Flags().Var(&limit, "max", "pay at most up to this sum in all, in sat, the contract price included")
	cmd.Flags().Var(&advance, "advance", "pay this much in advance instead, in sat")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// prepay asks, and pays in advance.
func (s *session) prepay(ctx context.Context, id usage.ContractID, amount usage.Sat, yes bool) error {
	if err := confirm(s.cmd, yes, "pay "+broadcast.FormatSat(amount)+" in advance"); err != nil {
		return err
	}
	p, err := busy(s, "paying", func() (client.PayResult, error) { return s.ContractPrepay(ctx, id, amount) })
	if err != nil {
		return err
	}
	return s.o.show(s.cmd, p, func(w io.Writer) { printPaid(w, p) })
}

func printPaid(w io.Writer, p client.PayResult) {
	fmt.Fprintf(w, "paid %s by update %d, %s in all", broadcast.FormatSat(p.Added), p.Number, broadcast.FormatSat(p.Paid))
	if p.Unpaid > 0 {
		fmt.Fprintf(w, "; %s are billed and not confirmed", broadcast.FormatMsat(p.Unpaid))
	}
	fmt.Fprintln(w)
}

// pay asks for what an audit allows, and pays it.
func (s *session) pay(ctx context.Context, id usage.ContractID, a client.AuditResult, limit usage.Sat, yes bool) error {
	due := a.Due
	if limit > 0 {
		due = min(due, limit)
	}
	if due <= a.Paid {
		return code.New(code.NotDue, "%s", or(a.Summary, "nothing is due"))
	}
	fmt.Fprintln(s.cmd.ErrOrStderr(), clean(a.Summary))
	what := fmt.Sprintf("pay %s, %s in all", broadcast.FormatSat(due-a.Paid), broadcast.FormatSat(due))
	if err := confirm(s.cmd, yes, what); err != nil {
		return err
	}
	p, err := busy(s, "paying", func() (client.PayResult, error) { return s.ContractPay(ctx, id, due) })
	if err != nil {
		return err
	}
	return s.o.show(s.cmd, p, func(w io.Writer) { printPaid(w, p) })
}

func contractClose(o *options) *cobra.Command {
	var how string
	var yes, wait bool
	cmd := &cobra.Command{
		Use: "close CONTRACT", Short: "End a contract together with its relay and get the rest back",
		Long: `close ends a contract at once: what the audit confirms goes to the relay, the rest comes back to your wallet, in one
transaction. Records that are still stored under it can then not be read any more, unless you pay for them: with --how keep
also what they may still cost goes to the relay, and it serves them to the end that its receipts name. What you want neither
kept nor paid for you can delete before.

Both sign as one where that works: the smallest transaction, which looks like any other. Else each signs by the leaf of the
escrow. What is printed says which it was, and why.

  --how key-path        both sign as one, or not at all; you publish
  --how refund-payment  you sign first, by the leaf; the relay publishes
  --how keep            as without --how, and what is still stored is paid for to its end
  --how request         you accept the close that the relay has asked for

If the relay does not answer, nothing is lost: the contract expires, and the agent takes the escrow back by itself.`,
		Example: "  relay-client contract close 3f9c\n  relay-client contract close 3f9c --wait --yes",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				what := "what is still stored under it can no longer be read (--how keep pays for it)"
				if how == client.CloseKeeping {
					what = "what is still stored under it is paid for to its end"
				}
				if err := confirm(cmd, yes, "close contract "+short(id)+"; "+what); err != nil {
					return err
				}
				c, err := busy(s, "closing", func() (client.ContractInfo, error) { return s.ContractClose(ctx, id, how) })
				if err == nil && wait {
					c, err = s.await(ctx, c, "waiting for a block", ended)
				}
				if err != nil {
					return err
				}
				return o.show(cmd, c, func(w io.Writer) { printContract(w, c) })
			})
		},
	}
	cmd.Flags().StringVar(&how, "how", "", "key-path, refund-payment, keep or request (default: key-path, else refund-payment)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the closing transaction is in a block")
	return cmd
}

func contractRefund(o *options) *cobra.Command {
	var rate uint64
	var wait bool
	cmd := &cobra.Command{
		Use: "refund CONTRACT", Short: "Take the escrow of an expired contract back alone",
		Long: `refund spends the escrow to your own wallet. It is possible once the contract has expired, needs nobody else, and happens by
itself while an agent runs. Say it again with a higher --feerate if it does not get into a block.`,
		Example: "  relay-client contract refund 3f9c --feerate 5 --wait",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				c, err := busy(s, "refunding", func() (client.ContractInfo, error) { return s.ContractRefund(ctx, id, rate) })
				if err == nil && wait {
					c, err = s.await(ctx, c, "waiting for a block", ended)
				}
				if err != nil {
					return err
				}
				return o.show(cmd, c, func(w io.Writer) { printContract(w, c) })
			})
		},
	}
	cmd.Flags().Uint64Var(&rate, "feerate", 0, "sat per vB (0: the node's estimate)")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the refund is in a block")
	return cmd
}
