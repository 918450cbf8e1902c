package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"relaymarket/internal/code"
	"relaymarket/relay"
)

func runCommand(o *options) *cobra.Command {
	var level string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve until interrupted",
		Long: `run serves until it is interrupted (Ctrl-C or SIGTERM), then answers what it has accepted and stops within ten seconds.
The passphrase of the recovery phrase, if there is one, is read from the environment variable ` + passphraseEnv + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return code.New(code.BadArgument, "--log %q: use debug, info, warn or error", level)
			}
			cfg, err := relay.LoadConfig(o.dir)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			s, err := relay.New(relay.Options{Dir: o.dir, Config: cfg, Passphrase: os.Getenv(passphraseEnv), Log: log, Fatal: fatal})
			if err != nil {
				return err
			}
			defer s.Close()
			fmt.Fprintf(cmd.ErrOrStderr(), "relay %s listens on %s; stop it with Ctrl-C\n", s.Key().Name(), s.Addr())
			return s.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&level, "log", "info", "debug, info, warn or error")
	return cmd
}
