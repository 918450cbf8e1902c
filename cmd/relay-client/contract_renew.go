package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/usage"
)

func contractRenew(o *options) *cobra.Command {
	var x openFlags
	var auto satFlag
	cmd := &cobra.Command{
		Use: "renew CONTRACT", Short: "Open the next contract with the same relay, in time or as a top-up",
		Long: `renew opens a new contract with the relay of CONTRACT, by its present offer. It shows and asks what  contract open  does; deposit,
payment in advance and duration are those of CONTRACT unless others are given. This is also how a contract is topped up: give a
larger --deposit.

New messages go under the next contract once both sides see it in service. The old one stays whole until then, and goes on serving
what is stored under it until its service ends. The agent closes it before, paying for what is stored, if all is paid and that costs
no more than fetching your rest later would. Your contacts need to do nothing: the relay is the same.

With --auto nothing is opened now: the agent is allowed to renew CONTRACT, and those that follow it, by itself when the time comes
(a week before the expiry on mainnet), each time for at most this much out of the wallet, deposit and fee together. If the relay has
become dearer in any of its prices, the agent leaves it to you. --auto 0 takes the permission back.`,
		Example: "  relay-client contract renew 3f9c --wait\n  relay-client contract renew 3f9c --deposit 200000 --dry-run\n  relay-client contract renew 3f9c --auto 60000",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				if cmd.Flags().Changed("auto") {
					return s.autoRenew(ctx, id, usage.Sat(auto))
				}
				q := client.RenewRequest{Contract: id, Open: x.request()}
				p, err := busy(s, "reading offer and chain", func() (client.OpenPreview, error) { return s.ContractRenewPreview(ctx, q) })
				if err != nil {
					return err
				}
				if x.dry {
					return o.show(cmd, p, func(w io.Writer) { printPreview(w, p) })
				}
				return s.renewContract(ctx, q, p, x)
			})
		},
	}
	x.add(cmd, "value of the next escrow in sat; 0: as of this contract", "; 0: as of this contract", "as of this contract")
	cmd.Flags().Var(&auto, "auto", "let the agent renew it by itself, for at most this much out of the wallet, in sat; 0: no more")
	return cmd
}

func (s *session) renewContract(ctx context.Context, q client.RenewRequest, p client.OpenPreview, x openFlags) error {
	if err := s.agreed(&q.Open, p, x.yes); err != nil {
		return err
	}
	c, err := busy(s, "opening", func() (client.ContractInfo, error) { return s.ContractRenew(ctx, q) })
	if err != nil {
		return err
	}
	return s.opened(ctx, c, x.wait)
}

func (s *session) autoRenew(ctx context.Context, id usage.ContractID, budget usage.Sat) error {
	c, err := s.ContractAutoRenew(ctx, id, budget)
	if err != nil {
		return err
	}
	return s.o.show(s.cmd, c, func(w io.Writer) {
		if budget == 0 {
			fmt.Fprintln(w, "the agent does not renew it by itself; it only warns")
		}
		printContract(w, c)
	})
}
