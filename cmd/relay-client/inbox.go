package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relaymarket/client"
)

func inboxCommand(o *options) *cobra.Command {
	var newOnly, offline bool
	cmd := &cobra.Command{
		Use: "inbox", Short: "List received messages",
		Long: `inbox fetches what is new from the relays of your contacts (unless an agent runs, which does that all the time) and lists
what was received.`,
		Example: "  relay-client inbox --new\n  relay-client inbox --offline --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				if !offline {
					s.sync(ctx, "fetching")
				}
				all, err := s.Inbox(ctx, newOnly)
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printMessages(w, all, "from") })
			})
		},
	}
	cmd.Flags().BoolVar(&newOnly, "new", false, "only messages that were not read yet")
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask the relays first")
	return cmd
}

func outboxCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "outbox", Short: "List sent messages and how far they came",
		Long: `outbox lists what you sent: queued (on this disk only), stored (the relay's receipt is here), acknowledged (the receiver says
so over his own relays), rejected (he says that what arrived is damaged), deleted, expired, failed (no relay took it).`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				all, err := s.Outbox(ctx)
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printMessages(w, all, "to") })
			})
		},
	}
}

// maxPreview is how many letters of a message a list shows.
const maxPreview = 50

func printMessages(w io.Writer, all []client.Message, who string) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no messages")
		return
	}
	t := table(w)
	fmt.Fprintf(t, "record\t%s\ttime\tstate\tsize\ttext\n", who)
	for _, m := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", short(m.Digest), peer(m), formatTime(m.Time), m.State, formatSize(m.Size), preview(m))
	}
	_ = t.Flush()
	for _, m := range all {
		if m.Gap {
			fmt.Fprintf(w, "warning: before %s a message of %s is missing\n", short(m.Digest), peer(m))
		}
	}
}

func peer(m client.Message) string {
	return or(clean(m.PeerLabel), m.Peer.Name())
}

func preview(m client.Message) string {
	text := []rune(clean(m.Preview))
	if len(text) > maxPreview {
		text = append(text[:maxPreview-1], '…')
	}
	if n := len(m.Attachments); n > 0 {
		return fmt.Sprintf("%s [%d attached]", string(text), n)
	}
	return string(text)
}
