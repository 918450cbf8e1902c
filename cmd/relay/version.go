package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relaymarket/relay"
)

func versionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version and protocol", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := map[string]string{"version": relay.Version, "protocol": "1"}
			return o.show(cmd, v, func(w io.Writer) { fmt.Fprintf(w, "relay %s, protocol 1\n", relay.Version) })
		},
	}
}
