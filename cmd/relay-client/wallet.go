package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
)

func walletCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "wallet", Short: "Your own coins: address, balance, coins, send",
		Long: `The wallet holds the coins that contracts are opened with, and those that come back. Escrow that is in a contract is not in
the wallet; see  relay-client contract list. All addresses are taproot (BIP86, path m/86'/0'/0'): coins on older address types
of the same phrase are not looked for, send them to a new address first.`,
		Example: "  relay-client wallet address\n  relay-client wallet balance\n  relay-client wallet send bcrt1p… all",
	}, walletAddress(o), walletBalance(o), walletCoins(o), walletSend(o))
}

func walletAddress(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "address", Short: "Make a new address to receive coins", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				a, err := s.WalletAddress(ctx)
				if err != nil {
					return err
				}
				return o.show(cmd, map[string]string{"address": a}, func(w io.Writer) { fmt.Fprintln(w, a) })
			})
		},
	}
}

func walletBalance(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "balance", Short: "Show confirmed, unconfirmed and promised coins", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				b, err := busy(s, "reading the chain", func() (client.WalletBalance, error) { return s.WalletBalance(ctx) })
				if err != nil {
					return err
				}
				return o.show(cmd, b, func(w io.Writer) {
					fmt.Fprintf(w, "confirmed    %s\nunconfirmed  %s\npromised     %s (to contracts that are being opened)\n",
						broadcast.FormatSat(b.Confirmed), broadcast.FormatSat(b.Unconfirmed), broadcast.FormatSat(b.Leased))
				})
			})
		},
	}
}

func walletSend(o *options) *cobra.Command {
	var rate uint64
	var yes, dry bool
	cmd := &cobra.Command{
		Use: "send ADDRESS SAT|all", Short: "Send coins away",
		Example: "  relay-client wallet send bc1p… 50000\n  relay-client wallet send bc1p… all --yes\n  relay-client wallet send bc1p… 50000 --dry-run",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			req := client.WalletSendRequest{Address: given[0], All: given[1] == "all", FeeRateSatVB: rate, DryRun: true}
			if !req.All {
				var err error
				if req.Amount, err = parseSat(given[1]); err != nil {
					return err
				}
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				return s.send(ctx, req, yes, dry)
			})
		},
	}
	cmd.Flags().Uint64Var(&rate, "feerate", 0, "sat per vB (0: the node's estimate)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only compute the fee")
	return cmd
}

// send shows the fee first, then asks, then sends.
func (s *session) send(ctx context.Context, req client.WalletSendRequest, yes, dry bool) error {
	res, err := busy(s, "reading the chain", func() (client.WalletSendResult, error) { return s.WalletSend(ctx, req) })
	if err != nil {
		return err
	}
	amount, fee := broadcast.FormatSat(res.Amount), broadcast.FormatSat(res.Fee)
	if dry {
		return s.o.show(s.cmd, res, func(w io.Writer) { fmt.Fprintf(w, "would send %s, fee %s\n", amount, fee) })
	}
	if err := confirm(s.cmd, yes, fmt.Sprintf("send %s to %s, fee %s", amount, req.Address, fee)); err != nil {
		return err
	}
	req.DryRun = false
	if res, err = s.WalletSend(ctx, req); err != nil {
		return err
	}
	return s.o.show(s.cmd, res, func(w io.Writer) {
		fmt.Fprintf(w, "sent %s, fee %s, transaction %s\n", broadcast.FormatSat(res.Amount), broadcast.FormatSat(res.Fee), res.Txid)
	})
}
