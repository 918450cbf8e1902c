package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/internal/code"
)

func evidenceCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "evidence", Short: "Papers kept for disputes: list, export",
		Long: `Where an audit finds that a relay contradicts itself, or refuses rows of its log, the signed statements are kept. An exported
paper is a file that anybody checks with  relay-client verify  without a network.`,
		Example: "  relay-client evidence list\n  relay-client evidence export 5f3a9c01 report.evidence",
	}, evidenceList(o), evidenceExport(o))
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

// maxEvidenceFile bounds what verify reads, in bytes.
const maxEvidenceFile = 1 << 20

func verifyCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "Check an exported paper: who signed it, and what it says",
		Long: `verify checks the signature of an exported paper. It needs no identity, no node and no network. It says what the signer has
signed, and nothing more: whether that is a fault is for two papers together to show.`,
		Example: "  relay-client verify report.evidence",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			raw, err := readPaper(given[0])
			if err != nil {
				return err
			}
			v, err := client.VerifyEvidence(raw)
			if err != nil {
				return err
			}
			return o.show(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "the signature holds\n  statement  %s on %s, %s\n  signed by  %s (%s)\n", v.Type, v.Network, formatTime(v.Time), v.Signer, v.Signer.Name())
				fmt.Fprintf(w, "  digest     %s\n  says       %s\n  kept as    %s\n", v.Digest, clean(v.Says), clean(v.Name))
			})
		},
	}
}

func readPaper(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, code.Wrap(code.BadArgument, err, "%s", name)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxEvidenceFile+1))
	if err == nil && len(raw) > maxEvidenceFile {
		err = errors.New("it is too large for a paper")
	}
	return raw, code.Wrap(code.BadArgument, err, "%s", name)
}
