package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"relaymarket/client/agentapi"
	"relaymarket/internal/code"
)

func upCommand(o *options) *cobra.Command {
	var level string
	cmd := &cobra.Command{
		Use: "up", Short: "Keep the agent running until interrupted",
		Long: `up keeps the agent running: it listens to the relays of all your contacts, fetches and acknowledges, sends what is queued,
audits and pays within the budget of client.toml when a relay asks, follows your contracts on the chain and takes an escrow
back when it expires. All other commands then talk to it. It stops with Ctrl-C or SIGTERM.

The passphrase of the recovery phrase, if there is one, is read from the environment variable ` + passphraseEnv + `.`,
		Example: "  relay-client up\n  relay-client up --log debug 2> agent.log &",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return code.New(code.BadArgument, "--log %q: use debug, info, warn or error", level)
			}
			return o.up(cmd, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})))
		},
	}
	cmd.Flags().StringVar(&level, "log", "info", "debug, info, warn or error")
	return cmd
}

func (o *options) up(cmd *cobra.Command, log *slog.Logger) (err error) {
	agent, err := o.openSoon(cmd.Context(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Close()) }()
	l, err := agentapi.Listen(o.dir)
	if err != nil {
		return err
	}
	defer l.Close()
	id, err := agent.Identity(cmd.Context())
	if err != nil {
		return err
	}
	if !o.json {
		fmt.Fprintf(cmd.ErrOrStderr(), "agent %s (%s) runs on %s; stop it with Ctrl-C\n", clean(id.Label), id.Name, id.Network)
	}
	g, ctx := errgroup.WithContext(cmd.Context())
	// The agent works until the last request is answered.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return agent.Run(working) })
	g.Go(func() error {
		defer stop()
		return agentapi.Serve(ctx, agent, l)
	})
	return g.Wait()
}
