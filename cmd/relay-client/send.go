package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/client/agentapi"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// maxText bounds a message that is read from standard input; longer things are attachments.
const maxText = 512 << 10

func sendCommand(o *options) *cobra.Command {
	var r client.SendRequest
	var files []string
	var relay, regarding string
	var ttl secondsFlag
	cmd := &cobra.Command{
		Use: "send CONTACT [TEXT…]", Short: "Send a sealed message to a contact",
		Long: `send seals a message to a contact and stores it on a relay that you have a contract with, or on its free allowance. Without
TEXT, or with -, the text is read from standard input. When the command answers "stored", the relay's signed receipt is
on this disk; "queued" means that no relay could be reached, and it is sent when one can.

The worst case is printed: storage for the whole life of the message and --max-pulls reads. Nothing beyond it can be billed.`,
		Example: `  relay-client send bob "see you at eight"
  relay-client send bob --attach photo.jpg --attach map.pdf "the trip"
  echo "long text" | relay-client send bob --ttl 7d`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			var err error
			r.To, r.TTLSeconds = given[0], uint32(ttl)
			if regarding != "" {
				if r.Regarding, err = identity.ParseDigest(regarding); err != nil {
					return code.Wrap(code.BadArgument, err, "--regarding")
				}
			}
			if r.Attachments, err = readAttachments(files); err != nil {
				return err
			}
			if r.Body, err = readText(cmd, given[1:], len(files) > 0); err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				if relay != "" {
					if r.Relay, err = s.usedRelay(ctx, relay); err != nil {
						return err
					}
				}
				return s.deliver(ctx, r)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Grant, "grant", "", "pay by this grant of a sponsor, as grant list shows it")
	f.StringArrayVar(&files, "attach", nil, "file to send with it (repeatable, 64 MiB in all)")
	f.Var(&ttl, "ttl", "how long the relay keeps it, like 12h or 30d (default 30d)")
	f.Uint16Var(&r.MaxPulls, "max-pulls", 0, "how often it may be read at your cost (0: three times)")
	f.Uint64Var((*uint64)(&r.MaxCost), "max-cost", 0, "refuse if the worst case is above this, in msat")
	f.StringVar(&relay, "relay", "", "name or key of the relay to store it on; empty: the cheapest of your contracts")
	f.StringVar(&regarding, "regarding", "", "digest of the record that this one answers")
	f.StringVar(&r.MediaType, "type", "", "media type of the text")
	f.StringVar(&r.Tag, "tag", "", "up to 32 bytes that the relay shows to the receiver, unencrypted")
	f.BoolVar(&r.DeleteOnAck, "delete-on-ack", false, "delete it when the receiver has acknowledged it")
	return cmd
}

// readText gives the words of the command line, or else standard input; with attachments there
// need be no text.
func readText(cmd *cobra.Command, words []string, optional bool) ([]byte, error) {
	if len(words) > 0 && (len(words) > 1 || words[0] != "-") {
		return []byte(strings.Join(words, " ")), nil
	}
	if len(words) == 0 && (optional || isTerminal(cmd.InOrStdin())) {
		if optional {
			return nil, nil
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "Text, ended with Ctrl-D:")
	}
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxText+1))
	switch {
	case err != nil:
		return nil, code.Wrap(code.BadArgument, err, "standard input")
	case len(text) > maxText:
		return nil, code.New(code.TooLarge, "a text of more than %s; send it with --attach", formatSize(maxText))
	case len(text) == 0:
		return nil, code.New(code.BadArgument, "there is no text to send")
	}
	return text, nil
}

func readAttachments(files []string) ([]client.Attachment, error) {
	var out []client.Attachment
	left := int64(agentapi.MaxAttachments)
	for _, name := range files {
		data, err := readBounded(name, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(data))
		kind := mime.TypeByExtension(filepath.Ext(name))
		out = append(out, client.Attachment{
			Name: filepath.Base(name), MediaType: or(kind, "application/octet-stream"), Data: data, Size: uint64(len(data)),
		})
	}
	return out, nil
}

func readBounded(name string, left int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, code.Wrap(code.BadArgument, err, "--attach")
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.IsDir() {
		return nil, code.Wrap(code.BadArgument, errors.Join(err, errors.New("it is not a file")), "--attach %s", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, left+1))
	if int64(len(data)) > left {
		return nil, code.New(code.TooLarge, "attachments of more than %s", formatSize(agentapi.MaxAttachments))
	}
	return data, code.Wrap(code.BadArgument, err, "--attach %s", name)
}

// deliver sends, and in an agent of its own makes a round, so that the message is at a relay when
// the command ends if any relay can be reached.
func (s *session) deliver(ctx context.Context, r client.SendRequest) error {
	res, err := busy(s, "sealing", func() (client.SendResult, error) { return s.Send(ctx, r) })
	if err != nil {
		return err
	}
	if res.State == client.StateQueued {
		s.sync(ctx, "sending")
		out, err := s.Outbox(ctx)
		if err != nil {
			return err
		}
		for _, m := range out {
			if m.Digest == res.Digest {
				res.State = m.State
			}
		}
	}
	return s.o.show(s.cmd, res, func(w io.Writer) { printSent(w, res) })
}

func printSent(w io.Writer, r client.SendResult) {
	where := r.Relay.Name()
	if r.Relay.IsZero() {
		where = "no relay yet"
	}
	how := "contract " + short(r.Contract)
	if r.Contract == (usage.ContractID{}) {
		how = "the free allowance"
	}
	fmt.Fprintf(w, "%s at %s under %s: record %s\n", r.State, where, how, short(r.Digest))
	if r.State == client.StateQueued && r.Reason != "" {
		fmt.Fprintf(w, "not sent yet: %s\n", clean(r.Reason))
	}
	fmt.Fprintf(w, "kept until %s, costs %s at most", formatTime(r.Expires), broadcast.FormatMsat(r.WorstCost))
	if r.Records > 1 {
		fmt.Fprintf(w, ", %d records with the attachments", r.Records)
	}
	fmt.Fprintln(w)
}
