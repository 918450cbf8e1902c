package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// version is the version of the programs.
const version = "0.1.0"

func versionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version and protocol", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := map[string]string{"version": version, "protocol": "1"}
			return o.show(cmd, v, func(w io.Writer) { fmt.Fprintf(w, "relay-client %s, protocol 1\n", version) })
		},
	}
}
