// Command relay runs a relay of the market: it stores sealed records for money and settles
// through Bitcoin escrow contracts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"relaymarket/internal/code"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		report(os.Stderr, err)
		os.Exit(1)
	}
}

// options are the flags that all commands share.
type options struct {
	dir  string
	json bool
}

func root() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Sell message storage for bitcoin",
		Long: `relay stores other people's sealed messages and is paid for it out of 2-of-2 Bitcoin escrow contracts.

Begin with:   relay testnet          a whole market on this machine, with its own Bitcoin chain
Or for real:  relay init             make keys and a configuration file
              relay run              serve`,
		SilenceUsage: true, SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVar(&o.dir, "dir", defaultDir(), "directory of configuration, keys and data")
	cmd.PersistentFlags().BoolVar(&o.json, "json", false, "print JSON for programs")
	cmd.AddCommand(initCommand(o), runCommand(o), statusCommand(o), walletCommand(o), contractCommand(o), clockCommand(o), recoverCommand(o), versionCommand(o), testnetCommand(o))
	return cmd
}

func defaultDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return "relay-data"
	}
	return filepath.Join(home, ".relaymarket", "relay")
}

// fatal ends the process where it stands: all that was answered is on disk.
func fatal(err error) {
	report(os.Stderr, err)
	os.Exit(1)
}

// report prints an error for a person: what failed, and what to do next.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "relay: %v\n", err)
	var coded *code.Error
	if errors.As(err, &coded) {
		// The hint of NoAgent speaks of the client's agent; the sentence itself says what to do here.
		if hint := coded.Code.Hint(); hint != "" && coded.Code != code.NoAgent {
			fmt.Fprintf(w, "hint: %s\n", hint)
		}
	}
}

// show prints a result: as JSON, or by the given function for a person.
func (o *options) show(cmd *cobra.Command, v any, human func(io.Writer)) error {
	if !o.json {
		human(cmd.OutOrStdout())
		return nil
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
