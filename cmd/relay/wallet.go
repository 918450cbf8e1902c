package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

func walletCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "wallet", Short: "The relay's own coins: address, balance, send"}
	cmd.AddCommand(walletAddress(o), walletBalance(o), walletSend(o))
	return cmd
}

func walletAddress(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "address", Short: "Make a new address", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var a map[string]string
			if err := o.admin(cmd.Context(), "/wallet/address", struct{}{}, &a); err != nil {
				return err
			}
			return o.show(cmd, a, func(w io.Writer) { fmt.Fprintln(w, a["address"]) })
		},
	}
}

func walletBalance(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "balance", Short: "Show confirmed and unconfirmed coins", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var b relay.WalletStatus
			if err := o.admin(cmd.Context(), "/wallet/balance", nil, &b); err != nil {
				return err
			}
			return o.show(cmd, b, func(w io.Writer) {
				fmt.Fprintf(w, "confirmed    %s\nunconfirmed  %s\n", broadcast.FormatSat(b.Confirmed), broadcast.FormatSat(b.Unconfirmed))
				if b.Leased+b.Locked > 0 {
					fmt.Fprintf(w, "reserved     %s, for openings\nlocked       %s as collateral, each until its contract expires\n", broadcast.FormatSat(b.Leased), broadcast.FormatSat(b.Locked))
				}
			})
		},
	}
}

func walletSend(o *options) *cobra.Command {
	var rate uint64
	var yes bool
	cmd := &cobra.Command{
		Use: "send ADDRESS SAT|all", Short: "Send coins away", Args: cobra.ExactArgs(2),
		Example: "  relay wallet send bc1q… 50000\n  relay wallet send bc1q… all --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			req := relay.SendRequest{Address: args[0], All: args[1] == "all", FeeRateSatVB: rate, DryRun: true}
			if !req.All {
				n, err := strconv.ParseUint(args[1], 10, 63)
				if err != nil {
					return code.New(code.BadArgument, "%q is not an amount in satoshi", args[1])
				}
				req.Amount = usage.Sat(n)
			}
			var res relay.SendResult
			if err := o.admin(cmd.Context(), "/wallet/send", req, &res); err != nil {
				return err
			}
			if err := confirm(cmd, yes, fmt.Sprintf("send %s to %s, fee %s", broadcast.FormatSat(res.Amount), args[0], broadcast.FormatSat(res.Fee))); err != nil {
				return err
			}
			req.DryRun = false
			if err := o.admin(cmd.Context(), "/wallet/send", req, &res); err != nil {
				return err
			}
			return o.show(cmd, res, func(w io.Writer) {
				fmt.Fprintf(w, "sent %s, fee %s, transaction %s\n", broadcast.FormatSat(res.Amount), broadcast.FormatSat(res.Fee), res.Txid)
			})
		},
	}
	cmd.Flags().Uint64Var(&rate, "feerate", 0, "sat per vB (0: the node's estimate)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirm asks before money moves, unless told not to.
func confirm(cmd *cobra.Command, yes bool, what string) error {
	if yes {
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s? [y/N] ", what)
	var answer string
	if _, err := fmt.Fscanln(cmd.InOrStdin(), &answer); err != nil || (answer != "y" && answer != "yes") {
		return code.New(code.Declined, "nothing was sent")
	}
	return nil
}
