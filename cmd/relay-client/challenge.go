package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relaymarket/client"
)

func challengeCommand(o *options) *cobra.Command {
	var r client.ChallengeRequest
	cmd := &cobra.Command{
		Use: "challenge [MESSAGE]", Short: "Have relays prove that they still keep what you sent",
		Long: `challenge asks relays for a chunk, drawn by chance, of messages that you sent and that wait there. You may not read them, but
you know what each chunk must hash to, so that a good answer needs no trust. Answers are signed: a relay that denies what
it gave you a receipt for proves its loss itself, and audit proofs writes the file. Silence is noticed and proves nothing.
A good answer does not show that the relay kept the data all the time. Challenges are not billed.`,
		Example: "  relay-client challenge --sample 20\n  relay-client challenge 3f9c0a12bd --json",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) == 1 {
				r.ID = given[0]
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				all, err := busy(s, "challenging", func() ([]client.Challenged, error) { return s.Challenge(ctx, r) })
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printChallenged(w, all) })
			})
		},
	}
	cmd.Flags().BoolVar(&r.All, "all", false, "challenge every stored message, at most 500")
	cmd.Flags().IntVar(&r.Sample, "sample", 0, "challenge so many stored messages, drawn by chance")
	return cmd
}

func printChallenged(w io.Writer, all []client.Challenged) {
	good := 0
	for _, c := range all {
		fmt.Fprintf(w, "%s at %s: %s\n", short(c.Record), c.Relay.Name(), clean(c.String()))
		if c.Outcome == client.ChallengeProven {
			good++
		}
		if c.Proof != nil {
			printProven(w, []client.ProvenFault{*c.Proof})
		}
	}
	fmt.Fprintf(w, "%d of %d proven stored\n", good, len(all))
}
