// Command relay-client is the agent of one person or program on the relay market: it sends and
// receives sealed messages over paid relays, audits what they bill and pays what is right.
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
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"relaymarket/client/agentapi"
	"relaymarket/internal/code"
)

func main() { os.Exit(run()) }

// run is the program; it gives the exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := &options{}
	err := root(o).ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !o.began && code.Of(err) == code.Internal {
		err = code.New(code.BadArgument, "%v", err) // cobra's own words have no code
	}
	if ctx.Err() != nil {
		err = code.New(code.Declined, "interrupted")
	}
	if !errors.Is(err, errTold) {
		o.report(os.Stderr, err)
	}
	return exitCode(err)
}

// Where a user may set what has no flag, or once for all commands.
const (
	dirEnv        = "RELAY_CLIENT_DIR"
	passphraseEnv = "RELAY_CLIENT_PASSPHRASE"
)

// options are the flags that all commands share.
type options struct {
	dir   string
	json  bool
	began bool // the command line was understood
}

func root(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "relay-client",
		Short: "Send and receive sealed messages over paid relays",
		Long: `relay-client is your agent on the relay market. It finds relays by their signed prices, puts money into an escrow that
only you and the relay can spend together (and only you, once it has expired), sends and receives end-to-end
encrypted messages, audits what a relay bills, and pays only what that audit confirms.

Begin:        relay-client init                    keys and a configuration file
              relay-client doctor                  is everything there that is needed?
              relay-client wallet address          where to send coins
              relay-client market list             which relays there are, by the cost of your usage
              relay-client contract open RELAY     shows the most that you can lose, and asks
              relay-client id export me.relayid    a file for the people who shall write to you
              relay-client contact add bob.relayid
              relay-client send bob "hello"

Commands start the agent for as long as they need it. relay-client up keeps it running: it then receives, acknowledges,
audits and pays within your budget by itself, and all commands use it.

Exit codes: 0 done, 1 failed, 2 bad usage, 3 not set up, 4 may work later (a node or a relay does not answer),
5 you said no or interrupted, 6 a limit, a price or missing coins stand against it. verify has codes of its own.`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { o.began = true },
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError(c, err) })
	cmd.PersistentFlags().StringVar(&o.dir, "dir", defaultDir(), "directory of configuration, keys and data (or "+dirEnv+")")
	cmd.PersistentFlags().BoolVar(&o.json, "json", false, "print JSON for programs")
	cmd.AddCommand(
		initCommand(o), upCommand(o), doctorCommand(o), versionCommand(o),
		idCommand(o), contactCommand(o), relayCommand(o), marketCommand(o), walletCommand(o), contractCommand(o), grantCommand(o), usageCommand(o), auditCommand(o),
		evidenceCommand(o), verifyCommand(o), recoverCommand(o),
		sendCommand(o), inboxCommand(o), readCommand(o), listenCommand(o), outboxCommand(o), deleteCommand(o), challengeCommand(o),
	)
	return cmd
}

func defaultDir() string {
	if dir := os.Getenv(dirEnv); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "relay-client-data"
	}
	return filepath.Join(home, ".relaymarket", "client")
}

// group makes a command that only holds others say so when it is given something unknown.
func group(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subs...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usageError(c, fmt.Errorf("unknown command %q, did you mean %s", args[0], strings.Join(near, " or ")))
		}
		return usageError(c, fmt.Errorf("unknown command %q", args[0]))
	}
	return cmd
}

// args checks the number of arguments.
func args(want cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if err := want(c, given); err != nil {
			return usageError(c, err)
		}
		return nil
	}
}

func usageError(c *cobra.Command, err error) error {
	return code.New(code.BadArgument, "%v; usage: %s", err, c.UseLine())
}

// fatal ends the process where it stands: all that was said to anybody is on disk.
func (o *options) fatal(err error) {
	o.report(os.Stderr, err)
	os.Exit(1)
}

// report prints an error: for a person with what to do next, for a program as JSON.
func (o *options) report(w io.Writer, err error) {
	f := agentapi.FaultOf(err)
	if o.json {
		_ = json.NewEncoder(w).Encode(f)
		return
	}
	text := f.Text
	if text == "" {
		text = strings.ReplaceAll(f.Name, "_", " ")
	}
	fmt.Fprintf(w, "relay-client: %s\n", clean(text))
	if f.Hint != "" {
		fmt.Fprintf(w, "hint: %s (%s)\n", f.Hint, f.Name)
	}
}

// exitCode tells scripts what kind of failure it was; see the help of the root command.
func exitCode(err error) int {
	var t told
	if errors.As(err, &t) {
		return int(t)
	}
	switch c := code.Of(err); c {
	case code.BadArgument, code.BadAddress, code.BadPath, code.UnknownContact:
		return 2
	case code.NotInitialised, code.AlreadyInitialised, code.BadConfig, code.BadPhrase, code.WalletWrongPhrase, code.ChainWrongNetwork:
		return 3
	case code.ChainUnavailable, code.NoAgent, code.AlreadyRunning:
		return 4
	case code.Declined:
		return 5
	case code.NoFunds, code.NotEnoughCoins, code.LimitExceeded, code.PriceTooHigh, code.CapReached, code.AllowanceUsed,
		code.DepositTooSmall, code.EscrowUsedUp, code.LaneCap, code.LaneDayCap:
		return 6
	default:
		if c != code.Internal && c.Retryable() {
			return 4
		}
		return 1
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
	enc.SetEscapeHTML(false)
	return code.Wrap(code.Internal, enc.Encode(v), "printing")
}

// list makes an empty list of none, because a program wants [] and not null.
func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

// isTerminal tells whether a person looks at a stream.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// errTold is a failure that the output has told already.
var errTold = errors.New("told")

var errNoTerminal = errors.New("there is nobody to ask; use --yes")
