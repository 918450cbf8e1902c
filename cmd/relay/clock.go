package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"relaymarket/relay"
)

func clockCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "clock", Short: "The clock, where the relay doubts it"}
	cmd.AddCommand(&cobra.Command{
		Use:   "confirm",
		Short: "Say that this machine's clock is right",
		Long: `confirm says that this machine's clock is right. The relay refuses all orders with the code clock_wrong while its clock
is more than a day ahead of what it stored last, for instance after a long stop, or more than a minute behind it. What it
stores is dated and billed by this clock: look at it before you confirm it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c relay.ClockStatus
			if err := o.admin(cmd.Context(), "/clock/confirm", struct{}{}, &c); err != nil {
				return err
			}
			return o.show(cmd, c, func(w io.Writer) {
				fmt.Fprintf(w, "the relay takes it to be %s\n", time.UnixMilli(int64(c.Now)).Format(time.RFC1123Z))
			})
		},
	})
	return cmd
}

func recoverCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "recover",
		Short: "Make a store usable that was restored from a backup",
		Long: `recover must be run once after the relay's directory was restored from a backup, and before relay run. Clients then see
that the store is another one and list everything again; every contract's log goes on in a new epoch, which admits that
what was logged after the backup is lost. Receipts still bind you. The relay must not be running.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := relay.LoadConfig(o.dir)
			if err != nil {
				return err
			}
			if err := relay.Recover(relay.Options{Dir: o.dir, Config: cfg, Passphrase: os.Getenv(passphraseEnv), Fatal: fatal}); err != nil {
				return err
			}
			return o.show(cmd, map[string]bool{"recovered": true}, func(w io.Writer) {
				fmt.Fprintln(w, "the store has a new epoch; start it with: relay run")
			})
		},
	}
}
