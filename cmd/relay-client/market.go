package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/usage"
)

func marketCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "market", Short: "Which relays there are and what they would cost you: list",
		Example: "  relay-client market list --stored 100MiB --days 90 --egress 1GiB",
	}, marketList(o))
}

func marketList(o *options) *cobra.Command {
	var r client.MarketRequest
	stored, egress := sizeFlag(100<<20), sizeFlag(300<<20)
	var deposit, total satFlag
	cmd := &cobra.Command{
		Use: "list", Short: "Rank relays by the cost of your usage",
		Long: `list collects signed offers from all boards and ranks them by what your usage would cost: storage, egress, the price of the
contract, and the fees of opening and closing it on the chain. Offers above your limits are refused; --all shows them with
the reason. An offer proves itself, so a board need not be trusted.`,
		Example: `  relay-client market list
  relay-client market list --stored 5MiB --days 30 --egress 20MiB
  relay-client market list --source https://relay.example.org --source file:///srv/offers --all`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.StoredBytes, r.EgressBytes = uint64(stored), uint64(egress)
			r.Deposit, r.MaxTotal = usage.Sat(deposit), usage.Sat(total)
			return o.with(cmd, func(ctx context.Context, s *session) error {
				res, err := busy(s, "collecting offers", func() (client.MarketResult, error) { return s.Market(ctx, r) })
				if err != nil {
					return err
				}
				res.Quotes = list(res.Quotes)
				return o.show(cmd, res, func(w io.Writer) { printMarket(w, cmd.ErrOrStderr(), r, res) })
			})
		},
	}
	f := cmd.Flags()
	f.Var(&stored, "stored", "bytes kept on average, like 5MiB")
	f.Uint32Var(&r.Days, "days", 30, "for how many days")
	f.Var(&egress, "egress", "bytes that are read in all that time, like 1GiB")
	f.StringArrayVar(&r.Sources, "source", nil, "board to look at instead of the configured ones (repeatable)")
	f.Var(&deposit, "deposit", "value of the contract in sat; 0: the least that an offer allows")
	f.Var(&total, "max-total", "refuse offers that cost more than this in all, in sat")
	f.Uint64Var((*uint64)(&r.MaxStorage), "max-storage", 0, "refuse dearer storage, in msat per GiB and day")
	f.Uint64Var((*uint64)(&r.MaxEgress), "max-egress", 0, "refuse dearer egress, in msat per GiB")
	f.Uint64Var(&r.FeeRateSatVB, "feerate", 0, "sat per vB for fees on the chain (0: the node's estimate)")
	f.BoolVar(&r.ShowRefused, "all", false, "show refused offers too, with the reason")
	return cmd
}

func printMarket(w, diag io.Writer, r client.MarketRequest, res client.MarketResult) {
	for _, p := range res.Problems {
		fmt.Fprintf(diag, "warning: %s\n", clean(p))
	}
	if len(res.Quotes) == 0 {
		fmt.Fprintln(w, "no offers; name a board with --source, or in client.toml")
		return
	}
	fmt.Fprintf(w, "%s kept for %d days, %s read:\n\n", formatSize(r.StoredBytes), r.Days, formatSize(r.EgressBytes))
	t := table(w)
	fmt.Fprintln(t, "relay\ttotal\tusage\tcontract\tfees\tstorage/GiB·day\tegress/GiB\tdeposit from\tskin up to\tfree/day")
	for _, q := range res.Quotes {
		if q.Refused == "" {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", q.Name, broadcast.FormatSat(q.Total), broadcast.FormatMsat(q.Cost),
				broadcast.FormatSat(q.ContractPrice), broadcast.FormatSat(q.Fees), broadcast.FormatMsat(q.Storage),
				broadcast.FormatMsat(q.Egress), broadcast.FormatSat(q.MinDeposit), broadcast.FormatSat(q.MaxCollateral), formatSize(q.FreeBytesDay))
		}
	}
	_ = t.Flush()
	for _, q := range res.Quotes {
		if q.Refused != "" {
			fmt.Fprintf(w, "refused  %s: %s\n", q.Name, clean(q.Refused))
		}
	}
	fmt.Fprintln(w, "\nopen a contract with  relay-client contract open RELAY")
}
