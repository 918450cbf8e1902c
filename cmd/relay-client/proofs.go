package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/internal/code"
)

func proofsCommand(o *options) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "proofs", Short: "Write all fraud proofs that are kept as files that anybody can check",
		Long: `proofs writes every fraud proof that audits have made as a file of its own. Anybody checks these files with
relay-client verify, without a network and without trusting you.`,
		Example: "  relay-client audit proofs --out proofs\n  relay-client verify proofs/*.fraud",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				files, err := writeProofs(ctx, s, out)
				if err != nil {
					return err
				}
				return o.show(cmd, list(files), func(w io.Writer) { printProofs(w, files) })
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "proofs", "directory for the files")
	return cmd
}

// proofFile is a proof that was written.
type proofFile struct {
	File string `json:"file"`
	Name string `json:"name"`
}

func writeProofs(ctx context.Context, s *session, dir string) ([]proofFile, error) {
	all, err := s.Evidence(ctx)
	if err != nil {
		return nil, err
	}
	var files []proofFile
	for _, e := range all {
		if !e.Proof {
			continue
		}
		raw, err := s.ExportEvidence(ctx, e.ID.String())
		if err != nil {
			return files, err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return files, code.Wrap(code.BadArgument, err, "%s", dir)
		}
		file := filepath.Join(dir, short(e.ID)+".fraud")
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			return files, code.Wrap(code.BadArgument, err, "%s", file)
		}
		files = append(files, proofFile{file, e.Name})
	}
	return files, nil
}

func printProofs(w io.Writer, files []proofFile) {
	if len(files) == 0 {
		fmt.Fprintln(w, "no fraud is proven")
	}
	for _, f := range files {
		fmt.Fprintf(w, "wrote %s: %s\n", f.File, clean(f.Name))
	}
}

// printProven names what an audit has proven.
func printProven(w io.Writer, all []client.ProvenFault) {
	for _, p := range all {
		fmt.Fprintf(w, "  PROVEN      %s: %s (paper %s; relay-client audit proofs writes the file)\n", p.Class, clean(p.What), short(p.Paper))
	}
}
