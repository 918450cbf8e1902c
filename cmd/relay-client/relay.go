package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

func relayCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "relay", Short: "The relays that you use: list, use, drop",
		Long: `The relays of your contracts, of your contacts, and those whose free allowance you use. A relay may give every identity some
bytes a day for nothing; with  relay use  you can write and be answered there without a contract.`,
		Example: "  relay-client relay use abcd2efgh3ijkl4m\n  relay-client relay list",
	}, relayList(o), relayUse(o), relayDrop(o))
}

func relayList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the relays that matter to you", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				s.sync(ctx, "connecting")
				all, err := s.Relays(ctx)
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printRelayList(w, all) })
			})
		},
	}
}

func printRelayList(w io.Writer, all []client.RelayInfo) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no relays yet; see  relay-client market list")
		return
	}
	t := table(w)
	fmt.Fprintln(t, "relay\tof\tconnected\tfree/day\taddress")
	for _, r := range all {
		of, up, at := "contacts", "yes", "unknown"
		if r.Own {
			of = "you"
		}
		if !r.Connected {
			up = or(clean(r.Error), "no")
		}
		if len(r.Addresses) > 0 {
			at = clean(r.Addresses[0].URL)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Name, of, up, formatSize(r.FreeBytesDay), at)
	}
	_ = t.Flush()
}

func relayUse(o *options) *cobra.Command {
	var sources []string
	cmd := &cobra.Command{
		Use: "use RELAY", Short: "Use a relay's free allowance, without a contract",
		Long: `use connects to a relay that gives some bytes a day for nothing, writes your messages there while no contract pays, and names
it in your identity document. RELAY is a name or key from  relay-client market list.`,
		Example: "  relay-client relay use abcd2efgh3ijkl4m --source https://relay.example.org",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				key, err := s.findRelay(ctx, given[0], sources)
				if err != nil {
					return err
				}
				r, err := busy(s, "connecting", func() (client.RelayInfo, error) { return s.UseRelay(ctx, identity.RelayRef{Key: key}) })
				if err != nil {
					return err
				}
				return o.show(cmd, r, func(w io.Writer) {
					fmt.Fprintf(w, "relay %s is used: %s a day are free\n", r.Name, formatSize(r.FreeBytesDay))
				})
			})
		},
	}
	cmd.Flags().StringArrayVar(&sources, "source", nil, "board to look for its offer on (repeatable)")
	return cmd
}

func relayDrop(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "drop RELAY", Short: "Stop using a relay's free allowance", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				key, err := s.usedRelay(ctx, given[0])
				if err != nil {
					return err
				}
				if err := s.DropRelay(ctx, key); err != nil {
					return err
				}
				return o.show(cmd, map[string]any{"relay": key}, func(w io.Writer) { fmt.Fprintf(w, "relay %s is not used any more\n", key.Name()) })
			})
		},
	}
}

// usedRelay is the relay that a key or a name means, among those that are used already.
func (s *session) usedRelay(ctx context.Context, arg string) (identity.PublicKey, error) {
	if key, err := identity.ParsePublicKey(arg); err == nil {
		return key, nil
	}
	all, err := s.Relays(ctx)
	if err != nil {
		return identity.PublicKey{}, err
	}
	for _, r := range all {
		if strings.EqualFold(r.Name, arg) {
			return r.Relay, nil
		}
	}
	return identity.PublicKey{}, code.New(code.NotFound, "you use no relay %q", arg)
}

// findRelay is the relay that a key or a display name of the market means. The market is looked
// at in any case, so that the agent knows the relay's newest offer and addresses.
func (s *session) findRelay(ctx context.Context, arg string, sources []string) (identity.PublicKey, error) {
	m, err := busy(s, "looking for the relay", func() (client.MarketResult, error) {
		return s.Market(ctx, client.MarketRequest{Sources: sources, ShowRefused: true, FeeRateSatVB: 1})
	})
	if err != nil {
		return identity.PublicKey{}, err
	}
	if key, err := identity.ParsePublicKey(arg); err == nil {
		return key, nil
	}
	var relay identity.PublicKey
	found := make(map[identity.PublicKey]bool)
	for _, q := range m.Quotes {
		if strings.EqualFold(q.Name, arg) {
			relay, found[q.Relay] = q.Relay, true
		}
	}
	switch len(found) {
	case 0:
		for _, p := range m.Problems {
			fmt.Fprintf(s.cmd.ErrOrStderr(), "warning: %s\n", clean(p))
		}
		return relay, code.New(code.NoRelay, "no relay %q is offered on any board; see  relay-client market list --all", arg)
	case 1:
		return relay, nil
	}
	// Names have 80 bits: two relays of one name are an attack.
	return relay, code.New(code.Conflict, "%d relays show the name %q; give the key", len(found), arg)
}
