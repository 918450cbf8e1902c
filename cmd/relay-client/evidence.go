package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/internal/code"
)

func evidenceCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "evidence", Short: "Papers kept for disputes: list, export, import",
		Long: `Where an audit finds that a relay contradicts itself, or refuses rows of its log, the signed statements are kept. An exported
paper is a file that anybody checks with  relay-client verify  without a network. Where the papers together prove a fraud,
the proof is kept as a paper of its own; audit proofs exports all of these.

What a receiver was denied is proven by the sender's papers and the receiver's together: the receiver exports the denial
and the denied read request, the sender imports both, and the sender's next audit makes the proof.`,
		Example: "  relay-client evidence list\n  relay-client evidence export 5f3a9c01 report.evidence\n  relay-client evidence import denial.evidence request.evidence",
	}, evidenceList(o), evidenceExport(o), evidenceImport(o))
}

func evidenceList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the papers", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				all, err := s.Evidence(ctx)
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printEvidence(w, all) })
			})
		},
	}
}

func printEvidence(w io.Writer, all []client.EvidenceInfo) {
	if len(all) == 0 {
		fmt.Fprintln(w, "nothing is kept: no relay has contradicted itself, no row was refused")
		return
	}
	t := table(w)
	fmt.Fprintln(t, "paper\trelay\tcontract\tsaved\twhat")
	for _, e := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", short(e.ID), e.Relay.Name(), short(e.Contract), formatTime(e.Saved), clean(e.Name))
	}
	_ = t.Flush()
}

func evidenceExport(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "export PAPER [FILE]", Short: "Write a paper as a file that others can verify", Args: args(cobra.RangeArgs(1, 2)),
		Example: "  relay-client evidence export 5f3a9c01 report.evidence",
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				raw, err := s.ExportEvidence(ctx, given[0])
				if err != nil {
					return err
				}
				if len(given) == 1 || given[1] == "-" {
					_, err := cmd.OutOrStdout().Write(raw)
					return code.Wrap(code.Internal, err, "printing")
				}
				if err := os.WriteFile(given[1], raw, 0o644); err != nil {
					return code.Wrap(code.BadArgument, err, "%s", given[1])
				}
				return o.show(cmd, map[string]string{"file": given[1]}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", given[1]) })
			})
		},
	}
}

func evidenceImport(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE…", Short: "Keep papers that somebody else has exported", Args: args(cobra.MinimumNArgs(1)),
		Example: "  relay-client evidence import denial.evidence request.evidence",
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				var all []client.EvidenceInfo
				for _, name := range given {
					raw, err := readPaper(name)
					if err != nil {
						return err
					}
					e, err := s.AddEvidence(ctx, raw)
					if err != nil {
						return err
					}
					all = append(all, e)
				}
				return o.show(cmd, list(all), func(w io.Writer) { printEvidence(w, all) })
			})
		},
	}
}
