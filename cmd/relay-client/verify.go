package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// The verdicts on a file. Their order is that of the exit codes: the worst one counts.
const (
	verdictProven    = "proven"     // 0; of a single paper: signed
	verdictNotProven = "not proven" // 1
	verdictMalformed = "malformed"  // 2
)

// told is the exit code of a command whose output has told why.
type told int

// Error is the text of an error that is never shown.
func (t told) Error() string { return fmt.Sprintf("told, exit code %d", int(t)) }

// Unwrap keeps the error from being told again.
func (t told) Unwrap() error { return errTold }

func verifyCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE…", Short: "Check fraud proofs and exported papers: who, what, how much, by which statements",
		Long: `verify checks files by nothing but their bytes. It needs no identity, no node, no network and no configuration.

Of a fraud proof (.fraud) it says who has broken the rules, how, what it was worth, and which signed statements prove it;
or which condition does not hold. Of a single exported paper it says who signed it, and what it says: whether that is a
fault is for papers together to show.

Exit codes: 0 every file proves what it claims, 1 a file proves nothing (or its signature does not hold), 2 a file is
no such file or cannot be read. Of several files the highest code counts.`,
		Example: "  relay-client verify lost.fraud\n  relay-client verify --json proofs/*.fraud report.evidence",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			all, worst := make([]checked, 0, len(given)), told(0)
			for _, name := range given {
				c := checkFile(name)
				all, worst = append(all, c), max(worst, c.exit())
			}
			err := o.show(cmd, all, func(w io.Writer) {
				for i, c := range all {
					if i > 0 {
						fmt.Fprintln(w)
					}
					c.print(w)
				}
			})
			if err == nil && worst > 0 {
				err = worst
			}
			return err
		},
	}
}

// checked is the verdict on one file.
type checked struct {
	File    string                   `json:"file"`
	Verdict string                   `json:"verdict"`
	Why     string                   `json:"why,omitempty"` // it is not proven, or malformed
	Fraud   *provenFraud             `json:"fraud,omitempty"`
	Paper   *client.VerifiedEvidence `json:"paper,omitempty"`
}

// provenFraud is a finding for people and programs.
type provenFraud struct {
	Class      string             `json:"class"`
	Means      string             `json:"means"`
	Network    string             `json:"network"`
	Who        identity.PublicKey `json:"who"`
	WhoName    string             `json:"who_name"`
	Against    identity.PublicKey `json:"against,omitzero"`
	Contract   usage.ContractID   `json:"contract,omitzero"`
	What       string             `json:"what"`
	Bytes      uint64             `json:"bytes,omitempty"`
	Msat       *usage.Msat        `json:"msat,omitempty"` // absent: no prices are in evidence
	Statements []saidBy           `json:"statements"`
	Rows       []uint64           `json:"rows,omitempty"`
}

type saidBy struct {
	Type   string             `json:"type"`
	Digest identity.Digest    `json:"digest"`
	From   identity.PublicKey `json:"from"`
}

func (c checked) exit() told {
	return told(map[string]int{verdictProven: 0, verdictNotProven: 1, verdictMalformed: 2}[c.Verdict])
}

// checkFile reads and verifies one file, a proof or a paper.
func checkFile(name string) checked {
	c := checked{File: name, Verdict: verdictProven}
	raw, err := readPaper(name)
	switch {
	case err != nil:
	case evidence.IsProof(raw):
		var f evidence.Finding
		if f, err = evidence.VerifyFile(raw); err == nil {
			c.Fraud = fraudOf(f)
		}
	default:
		var v client.VerifiedEvidence
		if v, err = client.VerifyEvidence(raw); err == nil {
			c.Paper = &v
		}
	}
	switch code.Of(err) {
	case code.OK:
	case code.NotProven, code.BadSignature:
		c.Verdict, c.Why = verdictNotProven, sentenceOf(err)
	default:
		c.Verdict, c.Why = verdictMalformed, sentenceOf(err)
	}
	return c
}

// sentenceOf is an error without its code.
func sentenceOf(err error) string {
	_, text, _ := strings.Cut(err.Error(), ": ")
	return text
}

func fraudOf(f evidence.Finding) *provenFraud {
	out := &provenFraud{
		Class: f.Class.String(), Means: f.Class.What(), Network: f.Network.String(), Who: f.Culprit, WhoName: f.Culprit.Name(), Against: f.Against,
		Contract: f.Contract, What: f.What, Bytes: f.Bytes, Rows: f.Rows,
	}
	if f.Priced {
		out.Msat = &f.Msat
	}
	for _, s := range f.Statements {
		out.Statements = append(out.Statements, saidBy{s.Type.String(), s.Digest, s.From})
	}
	return out
}

func (c checked) print(w io.Writer) {
	switch {
	case c.Fraud != nil:
		fmt.Fprintf(w, "%s: PROVEN: %s\n", c.File, c.Fraud.Means)
		c.Fraud.print(w)
	case c.Paper != nil:
		v := c.Paper
		fmt.Fprintf(w, "%s: the signature holds\n  statement  %s on %s, %s\n  signed by  %s (%s)\n", c.File, v.Type, v.Network, formatTime(v.Time), v.Signer, v.Signer.Name())
		fmt.Fprintf(w, "  digest     %s\n  says       %s\n  kept as    %s\n", v.Digest, clean(v.Says), clean(v.Name))
	default:
		fmt.Fprintf(w, "%s: %s: %s\n", c.File, strings.ToUpper(c.Verdict), clean(c.Why))
	}
}

func (f *provenFraud) print(w io.Writer) {
	fmt.Fprintf(w, "  who        %s (%s)\n  what       %s\n  class      %s\n", f.Who, f.WhoName, clean(f.What), f.Class)
	var much []string
	if f.Msat != nil {
		much = append(much, fmt.Sprintf("%d msat (%s)", *f.Msat, broadcast.FormatMsat(*f.Msat)))
	}
	if f.Bytes > 0 {
		much = append(much, fmt.Sprintf("%d bytes", f.Bytes))
	}
	if len(much) > 0 {
		fmt.Fprintf(w, "  how much   %s\n", strings.Join(much, ", "))
	}
	if !f.Against.IsZero() {
		fmt.Fprintf(w, "  against    %s (%s)\n", f.Against, f.Against.Name())
	}
	if !f.Contract.IsZero() {
		fmt.Fprintf(w, "  contract   %s\n", f.Contract)
	}
	fmt.Fprintf(w, "  network    %s\n", f.Network)
	for _, s := range f.Statements {
		fmt.Fprintf(w, "  statement  %s %s by %s\n", s.Type, s.Digest, s.From.Name())
	}
	if len(f.Rows) > 0 {
		fmt.Fprintf(w, "  rows       %v of the signed log\n", f.Rows)
	}
}

func readPaper(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, code.Wrap(code.BadArgument, err, "%s", name)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, evidence.MaxFile+1))
	if err == nil && len(raw) > evidence.MaxFile {
		err = errors.New("it is too large for a paper")
	}
	return raw, code.Wrap(code.BadArgument, err, "%s", name)
}
