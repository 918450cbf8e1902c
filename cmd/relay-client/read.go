package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/internal/code"
)

func readCommand(o *options) *cobra.Command {
	var save string
	cmd := &cobra.Command{
		Use: "read RECORD", Short: "Show one message with its text and attachments",
		Long: `read shows a message that was received or sent. RECORD is its digest or the beginning of it (at least 8 letters), or its path.
Characters that could deceive on a terminal are shown as �; --json gives the exact bytes.`,
		Example: "  relay-client read 5f3a9c01\n  relay-client read 5f3a9c01 --save downloads/",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				m, err := busy(s, "reading", func() (client.Message, error) { return s.Read(ctx, given[0]) })
				if err != nil {
					return err
				}
				var saved []string
				if save != "" {
					if saved, err = saveAttachments(save, m.Attachments); err != nil {
						return err
					}
				}
				return o.show(cmd, m, func(w io.Writer) {
					printMessage(w, m)
					for _, name := range saved {
						fmt.Fprintf(w, "saved %s\n", name)
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&save, "save", "", "write the attachments into this directory")
	return cmd
}

func printMessage(w io.Writer, m client.Message) {
	fmt.Fprintf(w, "%s (%s), %s, %s\n", peer(m), m.Peer.Name(), formatTime(m.Time), m.State)
	fmt.Fprintf(w, "record %s\n", m.Digest)
	if m.Gap {
		fmt.Fprintln(w, "warning: an earlier message of this conversation is missing")
	}
	for _, a := range m.Attachments {
		fmt.Fprintf(w, "attached %s (%s, %s)\n", clean(a.Name), clean(a.MediaType), formatSize(a.Size))
	}
	if len(m.Body) == 0 {
		return
	}
	if t := m.MediaType; t != "" && !strings.HasPrefix(t, "text/") {
		fmt.Fprintf(w, "\n%s of %s; see it with --json\n", clean(t), formatSize(uint64(len(m.Body))))
		return
	}
	fmt.Fprintf(w, "\n%s\n", strings.TrimRight(cleanLines(string(m.Body)), "\n"))
}

// saveAttachments writes attachments into a directory, under names that their sender chose only
// as far as they are harmless. Nothing that is there is replaced.
func saveAttachments(dir string, all []client.Attachment) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, code.Wrap(code.BadArgument, err, "--save")
	}
	var out []string
	for i, a := range all {
		name, err := saveNew(dir, safeName(a.Name, i), a.Data)
		if err != nil {
			return out, code.Wrap(code.BadArgument, err, "--save")
		}
		out = append(out, name)
	}
	return out, nil
}

// safeName is a name that stays in its directory, is not hidden and has no strange characters.
func safeName(name string, i int) string {
	name = clean(filepath.Base(filepath.ToSlash(strings.ReplaceAll(name, `\`, "/"))))
	name = strings.TrimLeft(name, ".- ")
	if name = strings.Trim(name, "/ "); name == "" || len(name) > 200 {
		return fmt.Sprintf("attachment-%d", i+1)
	}
	return name
}

// maxNames is how many names are tried for one attachment.
const maxNames = 1000

func saveNew(dir, name string, data []byte) (string, error) {
	ext := filepath.Ext(name)
	for i := range maxNames {
		path := filepath.Join(dir, name)
		if i > 0 {
			path = filepath.Join(dir, fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), i, ext))
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return "", err
		}
		_, err = f.Write(data)
		return path, errors.Join(err, f.Close())
	}
	return "", fmt.Errorf("there are %d files named like %s", maxNames, name)
}

func deleteCommand(o *options) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete RECORD", Short: "Delete a message: a sent one at its relay too",
		Long: `delete orders the relay to delete a message that you sent, which ends what its storage costs, and removes the text here. Of
a received message only your own copy is removed. The papers that audits need are kept.`,
		Example: "  relay-client delete 5f3a9c01",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				if err := confirm(cmd, yes, "delete record "+given[0]); err != nil {
					return err
				}
				m, err := busy(s, "deleting", func() (client.Message, error) { return s.Delete(ctx, given[0]) })
				if err != nil {
					return err
				}
				s.sync(ctx, "telling the relay")
				return o.show(cmd, m, func(w io.Writer) { fmt.Fprintf(w, "record %s is %s\n", short(m.Digest), m.State) })
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
