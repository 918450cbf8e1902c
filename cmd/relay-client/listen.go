package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"relaymarket/client"
)

func listenCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "listen", Short: "Print messages as they come, until interrupted",
		Long: `listen waits for messages and prints each. With --json every message is one line. It ends with Ctrl-C. Without a running
agent it is one itself for that time: it fetches, acknowledges and pays within your budget.`,
		Example: "  relay-client listen\n  relay-client listen --json | jq .preview",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				if !o.json {
					fmt.Fprintln(cmd.ErrOrStderr(), "listening; stop with Ctrl-C")
				}
				w := cmd.OutOrStdout()
				return s.Listen(ctx, func(m client.Message) error {
					if o.json {
						return json.NewEncoder(w).Encode(m)
					}
					printMessage(w, m)
					_, err := fmt.Fprintln(w)
					return err
				})
			})
		},
	}
}
