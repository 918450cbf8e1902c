package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

func recoverCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "recover FILE...", Short: "Bring contracts back with nothing but the phrase and their recoveries", Args: args(cobra.MinimumNArgs(1)),
		Long: `When an agent opens a contract it writes the contract's recovery, one line of text, into the directory "recovery", and
contract recovery  prints it. It is encrypted with your phrase and never changes: keep a copy somewhere else.

After everything else is lost:  relay-client init --restore  with the phrase, then this command with the recoveries (FILE
may be - for standard input). The contracts are back: they are refunded to you at their expiry without anybody's help, and if
the relay is still there it returns the latest payment, so that the contract goes on as it was.`,
		Example: "  relay-client recover recovery/3f9c0a1be2d47788.txt\n  relay-client contract recovery 3f9c > paper.txt",
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				var all []client.ContractInfo
				var failed []error
				for _, name := range given {
					c, err := s.recoverOne(ctx, name)
					if err != nil {
						failed = append(failed, fmt.Errorf("%s: %w", name, err))
						continue
					}
					all = append(all, c)
				}
				err := o.show(cmd, list(all), func(w io.Writer) {
					for _, c := range all {
						printContract(w, c)
					}
				})
				return errors.Join(append(failed, err)...)
			})
		},
	}
}

func (s *session) recoverOne(ctx context.Context, name string) (client.ContractInfo, error) {
	in := s.cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return client.ContractInfo{}, code.Wrap(code.BadArgument, err, "no such recovery")
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, 2*contract.MaxRecovery))
	if err != nil {
		return client.ContractInfo{}, code.Wrap(code.BadArgument, err, "reading %s", name)
	}
	return busy(s, "looking at the chain", func() (client.ContractInfo, error) { return s.Recover(ctx, string(raw)) })
}

func contractRecovery(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "recovery CONTRACT", Short: "Print what brings a contract back with the phrase alone", Args: args(cobra.ExactArgs(1)),
		Long:    "Prints one line of text to keep away from this machine. It is of no use to anybody without your phrase; see  relay-client recover --help.",
		Example: "  relay-client contract recovery 3f9c > 3f9c.txt",
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				r, err := s.ContractRecovery(ctx, id)
				if err != nil {
					return err
				}
				return o.show(cmd, r, func(w io.Writer) { fmt.Fprint(w, r.Text) })
			})
		},
	}
}
