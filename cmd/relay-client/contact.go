package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/internal/code"
)

func contactCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "contact", Short: "The people whose relays you listen to: add, list, drop",
		Example: "  relay-client contact add bob.relayid\n  relay-client contact list",
	}, contactAdd(o), contactList(o), contactDrop(o))
}

// maxIdentityFile bounds an identity file in bytes.
const maxIdentityFile = 256 << 10

func contactAdd(o *options) *cobra.Command {
	var label string
	cmd := &cobra.Command{
		Use: "add FILE|CARD", Short: "Add somebody from an identity file or a card",
		Long: `add takes an identity file (*.relayid) or a card (relayid:…, as in QR codes). A card is resolved by fetching the document
from the relays that it names. The name of sixteen letters is made from the key: compare it with what your contact
sees under  relay-client id show.`,
		Example: "  relay-client contact add bob.relayid --label bob\n  relay-client contact add 'relayid:rk1…'",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			raw, err := readIdentity(cmd, given[0])
			if err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				c, err := busy(s, "adding", func() (client.Contact, error) { return s.PutContact(ctx, raw, label) })
				if err != nil {
					return err
				}
				return o.show(cmd, c, func(w io.Writer) {
					fmt.Fprintf(w, "added %s (%s), reachable at %d relays\n", clean(c.Label), c.Name, len(c.Relays))
					printWarning(w, c)
				})
			})
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "your own name for this contact; empty: the one in the document")
	return cmd
}

// readIdentity gives a card as it is, and else the file (- is standard input).
func readIdentity(cmd *cobra.Command, arg string) ([]byte, error) {
	if strings.HasPrefix(strings.ToLower(arg), "relayid:") {
		return []byte(arg), nil
	}
	in := cmd.InOrStdin()
	if arg != "-" {
		f, err := os.Open(arg)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, code.New(code.BadArgument, "%q is neither a card (relayid:…) nor a file that exists", arg)
		} else if err != nil {
			return nil, code.Wrap(code.BadArgument, err, "%s", arg)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxIdentityFile+1))
	if err == nil && len(raw) > maxIdentityFile {
		err = errors.New("it is too large for an identity file")
	}
	return raw, code.Wrap(code.BadArgument, err, "%s", arg)
}

func contactList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List your contacts", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				all, err := s.Contacts(ctx)
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printContacts(w, all) })
			})
		},
	}
}

func printContacts(w io.Writer, all []client.Contact) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no contacts yet; add one with  relay-client contact add FILE")
		return
	}
	t := table(w)
	fmt.Fprintln(t, "label\tname\trelays\tdocument\tvalid until")
	for _, c := range all {
		fmt.Fprintf(t, "%s\t%s\t%d\tno. %d\t%s\n", clean(c.Label), c.Name, len(c.Relays), c.Sequence, formatTime(c.Expires))
	}
	_ = t.Flush()
	for _, c := range all {
		printWarning(w, c)
	}
}

func printWarning(w io.Writer, c client.Contact) {
	if c.Warning != "" {
		fmt.Fprintf(w, "warning: %s: %s\n", clean(c.Label), clean(c.Warning))
	}
}

func contactDrop(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "drop CONTACT", Short: "Remove a contact; what was received stays", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				if err := s.DropContact(ctx, given[0]); err != nil {
					return err
				}
				return o.show(cmd, map[string]string{"dropped": given[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is no contact any more\n", given[0]) })
			})
		},
	}
}
