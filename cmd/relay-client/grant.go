package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

func grantCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "grant", Short: "Sponsoring: give, import, list, audit, revoke",
		Long: `A grant lets another key order at the cost of your contract, up to a sum in all and a sum a day. You give its file to its holder,
who needs neither coins nor a contract. What is used under it stands in your contract's log, in a lane of its own; you audit and pay it, and so
you see who reads what its holder sends. Its holder sees its own lane alone, and what the contract has used in all.`,
		Example: `  relay-client grant give --contract 3f9c --to bob --cap 5000 --per-day 500 bob.grant
  relay-client grant import bob.grant
  relay-client grant list
  relay-client grant revoke 5f3a9c01`,
	}, grantGive(o), grantImport(o), grantList(o), grantAudit(o), grantRevoke(o))
}

func grantGive(o *options) *cobra.Command {
	var to, contract string
	var limit, day satFlag
	var until uint32
	cmd := &cobra.Command{
		Use: "give --contract CONTRACT --to CONTACT|KEY --cap SAT [--per-day SAT] [--until HEIGHT] FILE", Args: args(cobra.ExactArgs(1)),
		Short: "Let somebody order at the cost of a contract, and write the file for them",
		Long: `give signs a grant, tells the relay, and writes FILE for its holder. Both caps are of the worst case of what is ordered, so that more is
reserved than is used in the end. The grant ends with the contract unless --until says earlier, or when you revoke it.`,
		Example: "  relay-client grant give --contract 3f9c --to bob --cap 5000 --per-day 500 bob.grant",
		RunE: func(cmd *cobra.Command, given []string) error {
			if contract == "" || to == "" || limit == 0 {
				return usageError(cmd, errors.New("--contract, --to and --cap are needed"))
			}
			return o.onContract(cmd, contract, func(ctx context.Context, s *session, id usage.ContractID) error {
				all, err := usage.Sat(limit).Msat()
				if err != nil {
					return code.Wrap(code.BadArgument, err, "--cap")
				}
				aDay, err := usage.Sat(day).Msat()
				if err != nil {
					return code.Wrap(code.BadArgument, err, "--per-day")
				}
				r, err := s.GrantGive(ctx, client.GrantRequest{Contract: id, To: to, CapMsat: all, DayMsat: aDay, Until: usage.Height(until)})
				if err != nil {
					return err
				}
				if err := os.WriteFile(given[0], r.File, 0o644); err != nil {
					return code.Wrap(code.BadArgument, err, "%s", given[0])
				}
				return o.show(cmd, r.Grant, func(w io.Writer) {
					fmt.Fprintf(w, "wrote %s for %s\n", given[0], or(clean(r.Grant.Label), r.Grant.Account.Name()))
					printGrants(w, []client.GrantInfo{r.Grant})
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&contract, "contract", "", "the contract that pays")
	f.StringVar(&to, "to", "", "contact or key that may order")
	f.Var(&limit, "cap", "the most that all of it may ever cost, in sat")
	f.Var(&day, "per-day", "the most that may be ordered a day (UTC), in sat; not given: as --cap")
	f.Uint32Var(&until, "until", 0, "last block at which orders are taken; 0: the contract's expiry")
	return cmd
}

func grantImport(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Take a grant that a sponsor gave you", Args: args(cobra.ExactArgs(1)),
		Example: "  relay-client grant import bob.grant",
		Long:    `import checks a grant and keeps it. Messages are paid by it while no contract of your own can pay, or where  send --grant  says so.`,
		RunE: func(cmd *cobra.Command, given []string) error {
			raw, err := readPaper(given[0])
			if err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				g, err := s.GrantImport(ctx, raw)
				if err != nil {
					return err
				}
				return o.show(cmd, g, func(w io.Writer) { printGrants(w, []client.GrantInfo{g}) })
			})
		},
	}
}

func grantList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the grants given and received, with what is used of each", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				all, err := busy(s, "asking the relays", func() ([]client.GrantInfo, error) { return s.Grants(ctx) })
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printGrants(w, all) })
			})
		},
	}
}

func grantRevoke(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "revoke GRANT", Short: "Take a grant back: no new orders; what is stored stays and is paid", Args: args(cobra.ExactArgs(1)),
		Example: "  relay-client grant revoke 5f3a9c01",
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				g, err := s.GrantRevoke(ctx, given[0])
				if err != nil {
					return err
				}
				return o.show(cmd, g, func(w io.Writer) {
					if g.State != client.GrantRevoked {
						fmt.Fprintln(w, "the relay has not heard of it yet; it is told when it can be reached")
					}
					printGrants(w, []client.GrantInfo{g})
				})
			})
		},
	}
}

func grantAudit(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "audit GRANT", Short: "Compare what a relay bills under a grant given to you with your own papers", Args: args(cobra.ExactArgs(1)),
		Example: "  relay-client grant audit 5f3a9c01",
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				a, err := busy(s, "auditing", func() (client.LaneAudit, error) { return s.GrantAudit(ctx, given[0]) })
				if err != nil {
					return err
				}
				return o.show(cmd, a, func(w io.Writer) {
					printGrants(w, []client.GrantInfo{a.Grant})
					for _, r := range a.Refused {
						fmt.Fprintf(w, "refused row %d (%s, %s): %s\n", r.Index, r.Class, broadcast.FormatMsat(r.Owed), clean(r.Why))
					}
					fmt.Fprintf(w, "%d rows cost %s, confirmed are %s\n", a.Rows, broadcast.FormatMsat(a.Claimed), broadcast.FormatMsat(a.Confirmed))
				})
			})
		},
	}
}

func printGrants(w io.Writer, all []client.GrantInfo) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no grants; give one with  relay-client grant give")
		return
	}
	t := table(w)
	fmt.Fprintln(t, "grant\t\tcontract\tstate\tof\ta day\tuntil block\tused\treserved")
	for _, g := range all {
		who, used, reserved := "from "+g.Sponsor.Name(), "—", "—"
		if g.Given {
			who = "to " + or(clean(g.Label), g.Account.Name())
		}
		if g.Lane != nil {
			used, reserved = broadcast.FormatMsat(g.Lane.Owed), broadcast.FormatMsat(g.Lane.Reserved)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", short(g.Grant), who, short(g.Contract), g.State,
			broadcast.FormatMsat(g.CapMsat), broadcast.FormatMsat(g.DayMsat), g.NotAfter, used, reserved)
	}
	_ = t.Flush()
}

// printLanes tells what each account of a contract has used.
func printLanes(w io.Writer, lanes []client.LaneTotal) {
	if len(lanes) == 0 {
		return
	}
	t := table(w)
	fmt.Fprintln(t, "\nlane\tstored now\tread\tbilled")
	for _, l := range lanes {
		who := "your own"
		if !l.Grant.IsZero() {
			who = or(clean(l.Label), l.Account.Name()) + " (" + short(l.Grant) + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", who, formatSize(l.LiveBytes), formatSize(l.Egress), broadcast.FormatMsat(l.Owed))
	}
	_ = t.Flush()
}
