package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the running relay stands: chain, offer, contracts, earnings",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s relay.Status
			if err := o.admin(cmd.Context(), "/status", nil, &s); err != nil {
				return err
			}
			return o.show(cmd, s, func(w io.Writer) { printStatus(w, s) })
		},
	}
}

func printStatus(w io.Writer, s relay.Status) {
	ready := "ready"
	if !s.Ready {
		ready = "NOT READY: " + s.NotReady
	}
	fmt.Fprintf(w, "relay %s on %s, %s\n", s.Name, s.Network, ready)
	fmt.Fprintf(w, "key       %s\nlistens   %s, up %s, %d sessions, %d listening\n", s.Key, s.Listen, time.Duration(s.Uptime)*time.Second, s.Sessions, s.Listeners)
	fmt.Fprintf(w, "chain     height %d, tip %s old\n", s.TipHeight, time.Duration(s.TipAge)*time.Second)
	fmt.Fprintf(w, "offer     no. %d, valid until %s\n", s.OfferSeq, time.UnixMilli(int64(s.OfferUntil)).Format(time.RFC3339))
	fmt.Fprintf(w, "earnings  %s promised, %s of it not settled yet; wallet %s\n", broadcast.FormatSat(s.Promised), broadcast.FormatSat(s.Unsettled), broadcast.FormatSat(s.WalletSat))
	if s.Locked > 0 {
		fmt.Fprintf(w, "locked    %s of your own coins as collateral, each until its contract expires\n", broadcast.FormatSat(s.Locked))
	}
	if len(s.Contracts) == 0 {
		fmt.Fprintln(w, "contracts none")
		return
	}
	t := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\ncontract\tclient\tstate\tdeposit\tpaid\towed\trows\texpires")
	for _, c := range s.Contracts {
		fmt.Fprintf(t, "%.8s\t%s\t%s\t%d sat\t%d sat\t%s\t%d\t%d\n", c.Contract, c.Name, c.State, c.Value, c.Paid, broadcast.FormatMsat(c.Owed), c.Rows, c.Expiry)
	}
	_ = t.Flush()
}

func contractCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "contract", Short: "Act on a contract"}
	cmd.AddCommand(&cobra.Command{
		Use:   "close CONTRACT",
		Short: "Ask the client to close now, for what it has agreed to pay",
		Long: `close sends the client a final request for payment with this relay's signature on the closing transaction. No service is
given on the contract afterwards. If the client does not answer, the relay settles alone before the contract expires.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var id usage.ContractID
			if err := id.UnmarshalText([]byte(args[0])); err != nil {
				return code.Wrap(code.BadArgument, err, "CONTRACT")
			}
			var c relay.ContractStatus
			if err := o.admin(cmd.Context(), "/contracts/close", relay.CloseRequest{Contract: id}, &c); err != nil {
				return err
			}
			return o.show(cmd, c, func(w io.Writer) { fmt.Fprintf(w, "contract %.8s is %s: %s\n", c.Contract, c.State, c.Sentence) })
		},
	})
	return cmd
}
