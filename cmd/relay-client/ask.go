package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/internal/code"
)

// confirm asks before money moves or something is lost, unless told not to. Anything but yes is no.
func confirm(cmd *cobra.Command, yes bool, what string) error {
	if yes {
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s? [y/N] ", what)
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 64)).ReadString('\n')
	switch answer := strings.ToLower(strings.TrimSpace(line)); {
	case answer == "y" || answer == "yes":
		return nil
	case err != nil && answer == "":
		fmt.Fprintln(cmd.ErrOrStderr())
		return code.Wrap(code.Declined, errNoTerminal, "nothing was done")
	}
	return code.New(code.Declined, "nothing was done")
}
