package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/internal/code"
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
				return verdict(checks)
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

// verdict is an error if a check failed, so that scripts see it.
func verdict(checks []client.Check) error {
	bad := 0
	for _, c := range checks {
		if !c.OK {
			bad++
		}
	}
	if bad == 0 {
		return nil
	}
	return code.New(code.BadConfig, "%d of %d checks failed", bad, len(checks))
}
