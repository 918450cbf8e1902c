package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"relaymarket/client"
)

func doctorCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check node, clock, relays, wallet, socket and disk",
		Long: "doctor looks at everything the agent needs and says what to do where something is wrong. It fails if anything is.",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				checks, err := busy(s, "checking", func() ([]client.Check, error) { return s.Doctor(ctx) })
				if err != nil {
					return err
				}
				if err := o.show(cmd, list(checks), func(w io.Writer) { printChecks(w, checks) }); err != nil {
					return err
				}
				if failed(checks) {
					return errTold
				}
				return nil
			})
		},
	}
}

func printChecks(w io.Writer, checks []client.Check) {
	t := table(w)
	for _, c := range checks {
		mark := "ok"
		if !c.OK {
			mark = "WRONG"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", mark, c.Name, clean(c.Value))
	}
	_ = t.Flush()
	for _, c := range checks {
		if !c.OK && c.Hint != "" {
			fmt.Fprintf(w, "%s: %s\n", c.Name, c.Hint)
		}
	}
}

// failed tells whether anything is wrong, so that scripts see it.
func failed(checks []client.Check) bool {
	return slices.ContainsFunc(checks, func(c client.Check) bool { return !c.OK })
}
