package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

func recoverCommand(o *options) *cobra.Command {
	var relays, sources []string
	cmd := &cobra.Command{
		Use: "recover [FILE...]", Short: "Bring contracts back with nothing but the phrase and their recoveries", Args: args(cobra.ArbitraryArgs),
		Long: `When an agent opens a contract it writes the contract's recovery, one line of text, into the directory "recovery", and
contract recovery  prints it. It is encrypted with your phrase and never changes: keep a copy somewhere else.

After everything else is lost:  relay-client init --restore  with the phrase, then this command with the recoveries (FILE
may be - for standard input). The contracts are back: they are refunded to you at their expiry without anybody's help, and if
the relay is still there it returns the latest payment, so that the contract goes on as it was.

Without a FILE the relays that you name are asked: an agent that has contracts with several relays leaves the recovery of each with
the others. --relay takes a relay's name or key, or the address where its board is; the relays of contracts that are found are asked as
well, where a board tells their address.`,
		Example: "  relay-client recover recovery/3f9c0a1be2d47788.txt\n  relay-client contract recovery 3f9c > paper.txt\n  relay-client recover --relay https://relay.example.org:7700",
		RunE: func(cmd *cobra.Command, given []string) error {
			if (len(given) == 0) == (len(relays) == 0) {
				return code.New(code.BadArgument, "give either recoveries, or with --relay the relays to ask for them")
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				if len(relays) > 0 {
					return s.recoverFrom(ctx, relays, sources)
				}
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
	cmd.Flags().StringArrayVar(&relays, "relay", nil, "ask this relay for recoveries: name, key or address (repeatable)")
	cmd.Flags().StringArrayVar(&sources, "source", nil, "board to look for the relays on (repeatable)")
	return cmd
}

// recoverFrom asks relays for the recoveries that they keep.
func (s *session) recoverFrom(ctx context.Context, names, sources []string) error {
	var keys []identity.PublicKey
	for _, name := range names {
		key, err := s.relayAt(ctx, name, sources)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	f, err := busy(s, "asking relays", func() (client.Found, error) { return s.RecoverFrom(ctx, keys) })
	if err != nil {
		return err
	}
	return s.o.show(s.cmd, f, func(w io.Writer) {
		for _, c := range f.Contracts {
			printContract(w, c)
		}
		for _, p := range f.Problems {
			fmt.Fprintln(w, "warning:", clean(p))
		}
	})
}

// relayAt finds a relay by its name, its key, or the address where it can be reached: it hosts a board there, and on it its offer.
func (s *session) relayAt(ctx context.Context, arg string, sources []string) (identity.PublicKey, error) {
	u, err := url.Parse(arg)
	if err != nil || u.Host == "" {
		return s.findRelay(ctx, arg, sources)
	}
	m, err := busy(s, "looking for the relay", func() (client.MarketResult, error) {
		return s.Market(ctx, client.MarketRequest{Sources: []string{"https://" + u.Host}, ShowRefused: true, FeeRateSatVB: 1})
	})
	if err != nil {
		return identity.PublicKey{}, err
	}
	for _, q := range m.Quotes {
		for _, at := range q.Addresses {
			if have, err := url.Parse(at.URL); err == nil && have.Host == u.Host {
				return q.Relay, nil
			}
		}
	}
	return identity.PublicKey{}, code.New(code.NoRelay, "no relay is offered at %s", u.Host)
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
