package main

import (
	"context"
	"fmt"
	"io"
	"sort"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/usage"
)

func usageCommand(o *options) *cobra.Command {
	var rows bool
	cmd := &cobra.Command{
		Use: "usage CONTRACT", Short: "Get a relay's signed usage report and check that it is consistent",
		Long: `usage asks the relay for a fresh report and for the rows of its log that are not here yet, checks signature, sums and that
the log only grew, and keeps both. --rows prints the log.`,
		Example: "  relay-client usage 3f9c --rows",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				u, err := busy(s, "asking the relay", func() (client.UsageInfo, error) { return s.Usage(ctx, id, rows) })
				if err != nil {
					return err
				}
				return o.show(cmd, u, func(w io.Writer) { printUsage(w, u); printRows(w, u.Entries) })
			})
		},
	}
	cmd.Flags().BoolVar(&rows, "rows", false, "print the rows of the log")
	return cmd
}

func printUsage(w io.Writer, u client.UsageInfo) {
	fmt.Fprintf(w, "report %d on contract %s, %s\n", u.Number, short(u.Contract), formatTime(u.Time))
	fmt.Fprintf(w, "  stored now  %s\n  read        %s\n  rows        %d\n", formatSize(u.LiveBytes), formatSize(u.Egress), u.Rows)
	fmt.Fprintf(w, "  billed      %s\n  paid        %s\n", broadcast.FormatMsat(u.Owed), broadcast.FormatSat(u.Paid))
	if u.Consistent {
		fmt.Fprintln(w, "  consistent  yes: signed, sums right, nothing of the earlier log changed")
	} else {
		fmt.Fprintf(w, "  consistent  NO: %s\n", clean(u.Inconsistent))
	}
	printProven(w, u.Proven)
	printLanes(w, u.Lanes)
}

func printRows(w io.Writer, rows []client.UsageRow) {
	if len(rows) == 0 {
		return
	}
	t := table(w)
	fmt.Fprintln(t, "\nrow\tkind\ttime\tbytes\tbilled so far\tclass\trecord")
	for _, r := range rows {
		fmt.Fprintf(t, "%d\t%s\t%s\t%d\t%s\t%s\t%s\n", r.Index, r.Kind, formatTime(r.Time), r.Bytes, broadcast.FormatMsat(r.Owed), or(r.Class, "—"), clean(r.Path))
	}
	_ = t.Flush()
}

func auditCommand(o *options) *cobra.Command {
	var rows bool
	cmd := &cobra.Command{
		Use: "audit CONTRACT", Short: "Compare what a relay bills with your own papers",
		Long: `audit gets the relay's report and compares every row of its log with your orders, its receipts, your contacts' read requests
and their acknowledgements. Each row falls into one class; what is not confirmed is refused by row and never paid.
Nothing is paid by an audit. Where your papers prove a fraud to anybody, the proof is kept: see audit proofs.`,
		Example: "  relay-client audit 3f9c\n  relay-client audit 3f9c --rows --json\n  relay-client audit proofs --out proofs",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				a, err := busy(s, "auditing", func() (client.AuditResult, error) { return s.Audit(ctx, id) })
				if err != nil {
					return err
				}
				if !rows {
					a.Usage.Entries = nil
				}
				return o.show(cmd, a, func(w io.Writer) { printAudit(w, a) })
			})
		},
	}
	cmd.Flags().BoolVar(&rows, "rows", false, "print the rows of the log with their classes")
	cmd.AddCommand(proofsCommand(o))
	return cmd
}

func printAudit(w io.Writer, a client.AuditResult) {
	printUsage(w, a.Usage)
	names := make([]string, 0, len(a.Classes))
	for name := range a.Classes {
		names = append(names, name)
	}
	sort.Strings(names)
	if len(names) > 0 {
		t := table(w)
		fmt.Fprintln(t, "\nclass\trows\tbytes\tcost\tmeaning")
		for _, name := range names {
			c := a.Classes[name]
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", name, c.Rows, formatSize(c.Bytes), broadcast.FormatMsat(c.Msat), c.Means)
		}
		_ = t.Flush()
	}
	printRows(w, a.Usage.Entries)
	for _, r := range a.Refused {
		fmt.Fprintf(w, "refused row %d (%s, %s): %s\n", r.Index, r.Class, broadcast.FormatMsat(r.Owed), clean(r.Why))
	}
	fmt.Fprintf(w, "\n%s\n", clean(a.Summary))
}
