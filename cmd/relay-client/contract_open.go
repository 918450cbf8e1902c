package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

func contractOpen(o *options) *cobra.Command {
	var x openFlags
	var auto satFlag
	var cold coldFlags
	cmd := &cobra.Command{
		Use: "open RELAY", Short: "Open a contract with a relay, after showing the most that you can lose",
		Long: `open finds the relay's newest offer, shows price, fees, expiry and the most that you can lose, and asks. Only then are coins
put into the escrow. RELAY is a name or key from  relay-client market list.

A deposit of which the fees for opening and for ending it alone, at today's fee rate, are more than a tenth is refused, with the
numbers, unless --small is given.

With --collateral the relay is asked to lock coins of its own beside yours until the contract expires, as far as its offer goes (skin in
market list). They go back to the relay then, whatever happened: it is a time-lock that costs the relay something, and no insurance of yours.
Your node has to see the relay's coins, so a light client cannot ask for it.

The service begins when the funding has as many confirmations as the relay asks for; --wait waits for that.

With --psbt the coins come from an outside wallet, whose keys stay where they are. Name them with a PSBT that this wallet makes
(Sparrow, Bitcoin Core: any payment of the deposit; its recipient does not matter) or one by one. The relay is asked first,
because the transaction depends on its key; then the real funding transaction is written to be signed, and
relay-client contract import  goes on with it.`,
		Example: `  relay-client contract open abcd2efgh3ijkl4m
  relay-client contract open abcd2efgh3ijkl4m --deposit 50000 --duration 90d --max-loss 5000
  relay-client contract open abcd2efgh3ijkl4m --psbt funding.psbt --coins payment.psbt
  relay-client contract open abcd2efgh3ijkl4m --dry-run --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			r := x.request()
			r.AutoRenew = usage.Sat(auto)
			var err error
			if r.Outside, err = cold.read(); err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				relay, err := s.findRelay(ctx, given[0], r.Sources)
				if err != nil {
					return err
				}
				r.Relay = relay
				p, err := busy(s, "reading offer and chain", func() (client.OpenPreview, error) { return s.ContractPreview(ctx, r) })
				if err != nil {
					return err
				}
				if x.dry {
					return o.show(cmd, p, func(w io.Writer) { printPreview(w, p) })
				}
				return s.openContract(ctx, r, p, x, cold.out)
			})
		},
	}
	x.add(cmd, "value of the escrow in sat; 0: the least that the offer allows and that is not too small", "", "the network's default")
	f := cmd.Flags()
	f.Var(&auto, "auto-renew", "let the agent renew it by itself, each time for at most this much out of the wallet, in sat")
	f.StringArrayVar(&x.r.Sources, "source", nil, "board to look for the offer on (repeatable)")
	f.Uint64Var((*uint64)(&x.r.MaxStorage), "max-storage", 0, "refuse dearer storage, in msat per GiB and day")
	f.Uint64Var((*uint64)(&x.r.MaxEgress), "max-egress", 0, "refuse dearer egress, in msat per GiB")
	cold.add(cmd)
	return cmd
}

// openFlags are the flags of what opens a contract.
type openFlags struct {
	r                      client.OpenRequest
	deposit, prepaid, loss satFlag
	collateral             satFlag
	duration               blocksFlag
	yes, wait, dry         bool
}

// add adds the flags; the texts say what their defaults are.
func (x *openFlags) add(cmd *cobra.Command, deposit, prepaid, duration string) {
	f := cmd.Flags()
	f.Var(&x.deposit, "deposit", deposit)
	f.BoolVar(&x.r.Small, "small", false, "open it although fees take more than a tenth of the deposit")
	f.Var(&x.prepaid, "prepaid", "pay this much in advance for use, in sat"+prepaid)
	f.Var(&x.collateral, "collateral", "what the relay is to lock of its own until the expiry, in sat; it never becomes yours")
	f.Var(&x.duration, "duration", "until expiry: blocks, or time like 30d, 4w, 1y; empty: "+duration)
	f.Var(&x.loss, "max-loss", "refuse if more than this could be lost, in sat")
	f.Uint64Var(&x.r.FeeRateSatVB, "feerate", 0, "sat per vB of the funding transaction (0: the node's estimate)")
	f.BoolVar(&x.yes, "yes", false, "do not ask")
	f.BoolVar(&x.wait, "wait", false, "wait until the contract is active")
	f.BoolVar(&x.dry, "dry-run", false, "only show what it would cost")
}

func (x *openFlags) request() client.OpenRequest {
	r := x.r
	r.Deposit, r.Prepaid, r.MaxLoss, r.Duration = usage.Sat(x.deposit), usage.Sat(x.prepaid), usage.Sat(x.loss), usage.Height(x.duration)
	r.Collateral = usage.Sat(x.collateral)
	return r
}

func printPreview(w io.Writer, p client.OpenPreview) {
	line := func(name string, v any) { fmt.Fprintf(w, "  %-18s%v\n", name, v) }
	fmt.Fprintf(w, "a contract with %s\n", p.Name)
	line("deposit", broadcast.FormatSat(p.Deposit)+" into the escrow; what is not used comes back")
	line("contract price", broadcast.FormatSat(p.ContractPrice)+" once")
	if p.Prepaid > 0 {
		line("paid in advance", broadcast.FormatSat(p.Prepaid)+" for use")
	}
	if p.Collateral > 0 {
		line("collateral", fmt.Sprintf("%s of the relay's own: %s", broadcast.FormatSat(p.Collateral), p.CollateralFor))
	}
	line("storage", broadcast.FormatMsat(p.Storage)+" per GiB and day")
	line("egress", broadcast.FormatMsat(p.Egress)+" per GiB read")
	credit := broadcast.FormatSat(min(p.CreditLimit, p.Usable)) + " on the relay's credit"
	if p.CreditMost > p.CreditLimit {
		credit += fmt.Sprintf(", which grows with what you pay to %s", broadcast.FormatSat(p.CreditMost))
	}
	line("usable at once", broadcast.FormatSat(p.Usable)+", of it "+credit)
	if p.Usable == 0 {
		line("NOTE", "nothing can be used before you pay in advance; add --prepaid")
	}
	line("fees", fmt.Sprintf("%s for opening, %s for ending it alone at today's %s sat/vB; together %d %% of the deposit",
		broadcast.FormatSat(p.FundFee), broadcast.FormatSat(p.ExitFee), formatRate(p.FeeRate), p.FeePercent))
	line("service from", fmt.Sprintf("%d confirmations", p.FundingDepth))
	line("expires", fmt.Sprintf("at height %d, in %s", p.ExpiryHeight, formatBlocks(p.Duration)))
	line("at expiry", p.AtExpiry)
	if p.Missing > 0 {
		line("MISSING", broadcast.FormatSat(p.Missing)+" in your wallet: send coins to  relay-client wallet address")
	}
	line("MOST YOU CAN LOSE", fmt.Sprintf("%s: %s", broadcast.FormatSat(p.MaxLoss), p.MaxLossWhy))
	line("most it can lose", fmt.Sprintf("%s: %s", broadcast.FormatSat(p.RelayLoss), p.RelayLossWhy))
	if p.TooSmall != "" {
		line("TOO SMALL", p.TooSmall+" (--small opens it all the same)")
	}
}

// formatRate writes a fee rate of sat per 1,000 vB in sat per vB.
func formatRate(rate uint64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%d.%03d", rate/1000, rate%1000), "0"), ".")
}

// openContract asks and opens. What was shown is the limit of what is accepted, should the offer
// have changed in the meantime.
func (s *session) openContract(ctx context.Context, r client.OpenRequest, p client.OpenPreview, x openFlags, psbt string) error {
	if err := s.agreed(&r, p, x.yes); err != nil {
		return err
	}
	c, err := busy(s, "opening", func() (client.ContractInfo, error) { return s.ContractOpen(ctx, r) })
	if err != nil {
		return err
	}
	if psbt != "" {
		return s.toSign(ctx, c, psbt)
	}
	return s.opened(ctx, c, x.wait)
}

// agreed shows what a contract costs, asks, and binds the request to what was shown.
func (s *session) agreed(r *client.OpenRequest, p client.OpenPreview, yes bool) error {
	printPreview(s.cmd.ErrOrStderr(), p)
	if p.Missing > 0 {
		return code.New(code.NotEnoughCoins, "%s are missing", broadcast.FormatSat(p.Missing))
	}
	if p.TooSmall != "" && !r.Small {
		return code.New(code.DepositTooSmall, "%s", p.TooSmall)
	}
	if err := confirm(s.cmd, yes, "open it"); err != nil {
		return err
	}
	r.Deposit, r.Duration, r.MaxLoss, r.Collateral = p.Deposit, p.Duration, p.MaxLoss, p.Collateral
	r.Offer, r.MaxStorage, r.MaxEgress = p.Offer, p.Storage, p.Egress
	return nil
}

// opened shows a contract that was opened, with wait once it can be used.
func (s *session) opened(ctx context.Context, c client.ContractInfo, wait bool) (err error) {
	if wait {
		if c, err = s.await(ctx, c, "waiting for confirmations", usable); err != nil {
			return err
		}
	}
	return s.o.show(s.cmd, c, func(w io.Writer) {
		printContract(w, c)
		if !wait {
			fmt.Fprintln(w, "keep a copy of its recovery elsewhere: with it and your phrase alone you get out; relay-client contract recovery", short(c.ID))
			fmt.Fprintln(w, "keep an agent running with  relay-client up, or look again later")
		}
	})
}

// usable tells whether a contract can be used; an error if it never will.
func usable(c client.ContractInfo) (bool, error) {
	switch c.State {
	case "opening", "verified", "signed", "complete", "funding":
		return false, nil
	case "active":
		return true, nil
	}
	return false, code.New(code.BadState, "the contract is %s: %s", c.State, c.Sentence)
}

// ended tells whether the escrow is spent in a block.
func ended(c client.ContractInfo) (bool, error) {
	switch c.State {
	case "settled", "closed", "archived":
		return true, nil
	}
	return false, nil
}

// await looks at a contract once a second until done says so or a user interrupts.
func (s *session) await(ctx context.Context, c client.ContractInfo, what string, done func(client.ContractInfo) (bool, error)) (client.ContractInfo, error) {
	b := s.o.progress(s.cmd, max(int(c.FundingDepth), 1), what)
	defer b.end()
	for {
		ok, err := done(c)
		if ok || err != nil {
			return c, err
		}
		b.set(min(int(c.Confirmations), int(c.FundingDepth)), fmt.Sprintf("%s (%s, height %d)", what, c.State, c.TipHeight))
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return c, code.New(code.Declined, "stopped waiting; the contract is %s and goes on", c.State)
		}
		if c, err = s.Contract(ctx, c.ID); err != nil {
			return c, err
		}
	}
}
