package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"relaymarket/broadcast"
	"relaymarket/client"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// maxPSBTFile bounds what is read, in bytes.
const maxPSBTFile = 2 << 20

// coldFlags say which coins of an outside wallet fund a contract.
type coldFlags struct {
	out, coins, change string
	inputs             []string
}

func (c *coldFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.out, "psbt", "", "fund it from an outside wallet: write the funding transaction to this file, to be signed there")
	f.StringVar(&c.coins, "coins", "", "with --psbt: a PSBT made by the outside wallet, of which only inputs and change are taken")
	f.StringArrayVar(&c.inputs, "input", nil, "with --psbt: a coin of the outside wallet, as TXID:INDEX (repeatable, instead of --coins)")
	f.StringVar(&c.change, "change", "", "with --psbt: the outside wallet's address for the rest")
}

// read gives the named coins; nil: the own wallet pays.
func (c *coldFlags) read() (*client.OutsideCoins, error) {
	named := c.coins != "" || len(c.inputs) > 0
	switch {
	case c.out == "" && (named || c.change != ""):
		return nil, code.New(code.BadArgument, "say with --psbt FILE where the transaction to be signed is written")
	case c.out == "":
		return nil, nil
	case !named:
		return nil, code.New(code.BadArgument, "name the outside wallet's coins with --coins FILE or --input TXID:INDEX")
	}
	out := &client.OutsideCoins{Inputs: c.inputs, Change: c.change}
	var err error
	if c.coins != "" {
		out.PSBT, err = readPSBT(c.coins)
	}
	return out, err
}

func readPSBT(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, code.Wrap(code.BadArgument, err, "the PSBT")
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPSBTFile+1))
	if err == nil && len(raw) > maxPSBTFile {
		return nil, code.New(code.TooLarge, "%s has more than %d bytes", path, maxPSBTFile)
	}
	return raw, code.Wrap(code.BadArgument, err, "%s", path)
}

func writePSBT(path string, raw []byte) error {
	return code.Wrap(code.BadArgument, os.WriteFile(path, raw, 0o600), "%s", path)
}

// toSign writes the funding transaction of an opening that waits for an outside wallet.
func (s *session) toSign(ctx context.Context, c client.ContractInfo, path string) error {
	files, err := s.ContractExport(ctx, c.ID, 0)
	if err != nil {
		return err
	}
	if err := writePSBT(path, files[0].PSBT); err != nil {
		return err
	}
	return s.o.show(s.cmd, map[string]any{"contract": c.ID, "state": c.State, "file": path, "txid": files[0].Txid}, func(w io.Writer) {
		fmt.Fprintf(w, `contract %s: the relay has agreed. Wrote the funding transaction to %s
sign it in your wallet without changing it, do not broadcast it there, then
  relay-client contract import SIGNED.psbt
within about an hour: the relay keeps the place for few blocks, and for less if it is full. If you do not go on, nothing is
lost; to free the coins at once:  relay-client contract cancel %s
`, short(c.ID), path, short(c.ID))
	})
}

func contractImport(o *options) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Take back a PSBT that was signed elsewhere",
		Long: `import takes a PSBT (version 0, binary or base64) that  contract open --psbt  or  contract export  wrote and that you signed
elsewhere. It must hold the same transaction; only signatures are taken from it, and each is checked. The funding
transaction then goes to the relay and the opening goes on; a refund, close or sweep is broadcast.`,
		Example: "  relay-client contract import funding-signed.psbt --wait",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			raw, err := readPSBT(given[0])
			if err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, s *session) error {
				c, err := busy(s, "checking signatures", func() (client.ContractInfo, error) { return s.ContractImport(ctx, raw) })
				if err == nil && wait {
					done := usable
					if c.State != "funding" && c.State != "signed" {
						done = ended
					}
					c, err = s.await(ctx, c, "waiting for confirmations", done)
				}
				if err != nil {
					return err
				}
				return o.show(cmd, c, func(w io.Writer) { printContract(w, c) })
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the contract is active, or the transaction in a block")
	return cmd
}

func contractExport(o *options) *cobra.Command {
	var rate uint64
	var dir string
	cmd := &cobra.Command{
		Use: "export CONTRACT", Short: "Write what you can sign elsewhere as PSBTs",
		Long: `export writes PSBTs (version 0 with the taproot fields of BIP371) of what a contract lets you sign: the funding transaction
while an opening waits for your outside wallet; afterwards the refund, which is valid after expiry, a close that the
relay has signed, or the sweep of what a settlement left you. A signer that holds the contract's key can sign them with
leaf script and control block; contract import broadcasts them. Your agent does all that by itself too.`,
		Example: "  relay-client contract export 3f9c --out-dir . --feerate 5",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				files, err := s.ContractExport(ctx, id, rate)
				if err != nil {
					return err
				}
				written := make([]map[string]any, 0, len(files))
				for _, f := range files {
					path := filepath.Join(dir, short(id)+"-"+f.What+".psbt")
					if err := writePSBT(path, f.PSBT); err != nil {
						return err
					}
					written = append(written, map[string]any{"file": path, "what": f.What, "txid": f.Txid, "from_height": f.FromHeight})
				}
				return o.show(cmd, written, func(w io.Writer) {
					for _, f := range written {
						fmt.Fprintf(w, "wrote %v (%v, transaction %v", f["file"], f["what"], f["txid"])
						if f["from_height"] != usage.Height(0) {
							fmt.Fprintf(w, ", from height %v on", f["from_height"])
						}
						fmt.Fprintln(w, ")")
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&dir, "out-dir", ".", "directory for the files")
	cmd.Flags().Uint64Var(&rate, "feerate", 0, "sat per vB of a refund or sweep (0: the node's estimate)")
	return cmd
}

func contractCancel(o *options) *cobra.Command {
	var rate uint64
	cmd := &cobra.Command{
		Use: "cancel CONTRACT", Short: "Take the coins of an opening back before its funding is confirmed",
		Long: `cancel ends an opening. If nothing was signed yet, its coins are free at once. If your signatures have left, the coins are
spent back to your wallet at a higher fee, and a block decides which of the two transactions counts. Coins of an outside
wallet can only be spent back there.`,
		Example: "  relay-client contract cancel 3f9c --feerate 10",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.onContract(cmd, given[0], func(ctx context.Context, s *session, id usage.ContractID) error {
				c, err := busy(s, "cancelling", func() (client.ContractInfo, error) { return s.ContractCancel(ctx, id, rate) })
				if err != nil {
					return err
				}
				return o.show(cmd, c, func(w io.Writer) { printContract(w, c) })
			})
		},
	}
	cmd.Flags().Uint64Var(&rate, "feerate", 0, "sat per vB (0: the node's estimate)")
	return cmd
}

func walletCoins(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "coins", Short: "List your coins, and what each is promised to", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, s *session) error {
				all, err := busy(s, "reading the chain", func() ([]client.WalletCoin, error) { return s.WalletCoins(ctx) })
				if err != nil {
					return err
				}
				return o.show(cmd, list(all), func(w io.Writer) { printCoins(w, all) })
			})
		},
	}
}

func printCoins(w io.Writer, all []client.WalletCoin) {
	t := table(w)
	fmt.Fprintln(t, "COIN\tVALUE\tCONFIRMATIONS\tPROMISED TO")
	for _, c := range all {
		to := ""
		switch {
		case c.Immature:
			to = "nothing yet: a block reward that is too young"
		case c.Leased && !c.LeasedBy.IsZero():
			to = "contract " + short(c.LeasedBy)
		case c.Leased:
			to = "a payment that is being prepared"
		}
		if c.LeasedUntil != "" {
			to += ", until " + c.LeasedUntil
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", c.Coin, broadcast.FormatSat(c.Value), c.Confirmations, to)
	}
	t.Flush()
}
