package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"relaymarket/client/agentapi"
	"relaymarket/internal/code"
	"relaymarket/testnet"
)

func testnetCommand(o *options) *cobra.Command {
	var once, verbose bool
	cmd := &cobra.Command{
		Use:   "testnet",
		Short: "Run a whole market on this machine and watch it work",
		Long: `testnet starts a Bitcoin node with a private chain, three relays at different prices and the agents of two people, and
tells the story of the market: they find relays by their signed offers, lock coins in escrow, send a sealed message to
somebody who is offline, audit, pay what the audit confirms, and close; a third relay vanishes and the deposit comes
back alone. Everything in it is real; only the chain is private.

Afterwards it stays up and prints commands to try, until Ctrl-C. With --once it ends after the story, with exit code 0
only if every step held. With --json each step is one line of JSON.`,
		Example: "  relay testnet\n  relay testnet --once --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, remove, err := testnetDir(cmd, o.dir)
			if err != nil {
				return err
			}
			defer remove()
			log := slog.New(slog.DiscardHandler)
			if verbose {
				log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			}
			return runTestnet(cmd.Context(), cmd.OutOrStdout(), testnetRun{dir: dir, once: once, json: o.json, log: log})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the story")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "print the logs of all parts to standard error")
	return cmd
}

// testnetDir is the directory given with --dir, which is kept, or a temporary one, which is not.
func testnetDir(cmd *cobra.Command, dir string) (string, func(), error) {
	if cmd.Flags().Changed("dir") {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", nil, code.Wrap(code.BadArgument, err, "--dir")
		}
		if entries, err := os.ReadDir(abs); err == nil && len(entries) > 0 {
			return "", nil, code.New(code.BadArgument, "--dir %s is not empty: the story needs a fresh directory", abs)
		}
		return abs, func() {}, nil
	}
	tmp, err := os.MkdirTemp("", "relaymarket-")
	if err != nil {
		return "", nil, code.Wrap(code.Internal, err, "temporary directory")
	}
	return tmp, func() { _ = os.RemoveAll(tmp) }, nil
}

type testnetRun struct {
	dir        string
	once, json bool
	log        *slog.Logger
}

func runTestnet(ctx context.Context, out io.Writer, r testnetRun) error {
	start := time.Now()
	w, err := testnet.New(ctx, testnet.Options{Dir: r.dir, Relays: testnet.StoryRelays(), Log: r.log})
	if err != nil {
		return err
	}
	defer func() {
		if err := w.Close(); err != nil {
			r.log.Warn("closing the testnet", "err", err)
		}
	}()
	printStep := stepPrinter(out, r.json)
	if err := testnet.Story(ctx, w, printStep); err != nil {
		return err
	}
	if !r.json {
		fmt.Fprintf(out, "\nEvery step held, in %s.\n", time.Since(start).Round(100*time.Millisecond))
	}
	if r.once {
		return nil
	}
	return stay(ctx, out, w, r)
}

func stepPrinter(out io.Writer, asJSON bool) func(testnet.Step) {
	if asJSON {
		enc := json.NewEncoder(out)
		return func(s testnet.Step) { _ = enc.Encode(s) }
	}
	return func(s testnet.Step) {
		mark := "ok  "
		if !s.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(out, "%s %-16s %6d ms  %s\n", mark, s.Name, s.Took, s.Text)
		if s.Err != "" {
			fmt.Fprintf(out, "     %s\n", s.Err)
		}
	}
}

// stay keeps the market up, with the agents' sockets open, until ctx ends.
func stay(ctx context.Context, out io.Writer, w *testnet.World, r testnetRun) error {
	if err := w.StartRelays(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 2)
	for _, name := range []string{"ada", "bob"} {
		c, err := w.Client(name)
		if err != nil {
			return err
		}
		ln, err := agentapi.Listen(c.Dir)
		if err != nil {
			return err
		}
		go func() { done <- agentapi.Serve(ctx, c.Agent(), ln) }()
	}
	if !r.json {
		printCommands(out, w)
	}
	go w.MineEvery(ctx, 10*time.Second)
	<-ctx.Done()
	for range 2 {
		<-done
	}
	return nil
}

func printCommands(out io.Writer, w *testnet.World) {
	ada, _ := w.Client("ada")
	bob, _ := w.Client("bob")
	fmt.Fprintf(out, `
The market stays up, with a new block every ten seconds, until Ctrl-C. Try, in another terminal:

  go run ./cmd/relay-client --dir %[1]s market list --stored 1MiB --days 30 --egress 100MiB
  go run ./cmd/relay-client --dir %[1]s wallet balance
  go run ./cmd/relay-client --dir %[1]s contract list
  go run ./cmd/relay-client --dir %[1]s contract open %[3]s --deposit 60000 --prepaid 400
  go run ./cmd/relay-client --dir %[1]s send bob "hello from ada"
  go run ./cmd/relay-client --dir %[2]s inbox
  go run ./cmd/relay-client --dir %[1]s outbox
`, ada.Dir, bob.Dir, w.AnyRelayKey())
}
