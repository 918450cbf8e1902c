package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"rsc.io/qr"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

func idCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use: "id", Short: "Who you are: show, export, qr",
		Example: "  relay-client id show\n  relay-client id export me.relayid\n  relay-client id qr --png me.png",
	}, idShow(o), idExport(o), idQR(o))
}

func idShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show your key, your name and the relays where you can be reached", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				id, err := s.Identity(ctx)
				if err != nil {
					return err
				}
				return o.show(cmd, id, func(w io.Writer) { printIdentity(w, id) })
			})
		},
	}
}

func printIdentity(w io.Writer, id client.IdentityInfo) {
	fmt.Fprintf(w, "%s (%s) on %s\n", clean(id.Label), id.Name, id.Network)
	fmt.Fprintf(w, "key       %s\n", id.Key)
	fmt.Fprintf(w, "document  no. %d, valid until %s\n", id.Sequence, formatTime(id.Expires))
	fmt.Fprintf(w, "data      %s\n", id.Dir)
	if len(id.Relays) == 0 {
		fmt.Fprintf(w, "relays    none yet: open a contract, so that others can be answered\n")
	}
	printRelays(w, id.Relays)
	fmt.Fprintf(w, "card      %s\n", id.Card)
}

func printRelays(w io.Writer, relays []identity.RelayRef) {
	for _, r := range relays {
		urls := make([]string, len(r.Addresses))
		for i, a := range r.Addresses {
			urls[i] = clean(a.URL)
		}
		fmt.Fprintf(w, "relay     %s  %s\n", r.Key.Name(), strings.Join(urls, " "))
	}
}

func idExport(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "export [FILE]", Short: "Write your signed identity document for your contacts",
		Long: `export writes the document by which others reach you: your key, label, sealing key and relays, signed. It is no secret.
Without FILE, or with -, it goes to standard output. An existing file is replaced.`,
		Example: "  relay-client id export me.relayid\n  relay-client id export | mail -s 'my address' bob",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				raw, err := s.Export(ctx)
				if err != nil {
					return err
				}
				if len(given) == 0 || given[0] == "-" {
					_, err := cmd.OutOrStdout().Write(raw)
					return code.Wrap(code.Internal, err, "printing")
				}
				if err := os.WriteFile(given[0], raw, 0o644); err != nil {
					return code.Wrap(code.BadArgument, err, "%s", given[0])
				}
				return o.show(cmd, map[string]string{"file": given[0]}, func(w io.Writer) {
					fmt.Fprintf(w, "wrote %s; give it to the people who shall write to you\n", given[0])
				})
			})
		},
	}
}

func idQR(o *options) *cobra.Command {
	var png string
	var invert bool
	cmd := &cobra.Command{
		Use: "qr", Short: "Show your card as a QR code",
		Long: `qr shows the card that a contact can scan or paste: key, up to three relays with their pins, and the digest of your identity
document, which is fetched from those relays and checked.`,
		Example: "  relay-client id qr\n  relay-client id qr --png card.png",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				id, err := s.Identity(ctx)
				if err != nil {
					return err
				}
				c, err := qr.Encode(id.Card, qr.L)
				if err != nil {
					return code.Wrap(code.TooLarge, err, "the card does not fit a QR code")
				}
				if png != "" {
					if err := os.WriteFile(png, c.PNG(), 0o644); err != nil {
						return code.Wrap(code.BadArgument, err, "--png")
					}
				}
				return o.show(cmd, map[string]string{"card": id.Card, "png": png}, func(w io.Writer) {
					if png == "" {
						drawQR(w, c.Size, c.Black, invert)
					} else {
						fmt.Fprintf(w, "wrote %s\n", filepath.Clean(png))
					}
					fmt.Fprintln(w, id.Card)
				})
			})
		},
	}
	cmd.Flags().StringVar(&png, "png", "", "write an image to this file instead")
	cmd.Flags().BoolVar(&invert, "invert", false, "for terminals with dark letters on a light ground")
	return cmd
}

// quiet is the empty margin that readers want around a code, in modules.
const quiet = 4

// drawQR draws two rows of modules in one line of half blocks. Letters are taken to be light on a
// dark ground, so the light modules are what is drawn.
func drawQR(w io.Writer, size int, black func(x, y int) bool, invert bool) {
	light := func(x, y int) bool { return black(x, y) == invert } // outside of the code nothing is black
	glyph := map[[2]bool]string{{true, true}: "█", {true, false}: "▀", {false, true}: "▄", {false, false}: " "}
	var b strings.Builder
	for y := -quiet; y < size+quiet; y += 2 {
		for x := -quiet; x < size+quiet; x++ {
			b.WriteString(glyph[[2]bool{light(x, y), y+1 < size+quiet && light(x, y+1)}])
		}
		b.WriteByte('\n')
	}
	_, _ = io.WriteString(w, b.String())
}
