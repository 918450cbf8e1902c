package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/identity"
	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

// passphraseEnv is where the optional passphrase of the phrase comes from.
const passphraseEnv = "RELAY_PASSPHRASE"

func initCommand(o *options) *cobra.Command {
	var network, listen, admin string
	var chain, second backends.Settings
	var urls, boards []string
	var storage, egress uint64
	var restore bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make keys and a commented configuration file",
		Long: `init makes the relay's keys and writes relay.toml with a comment for every entry. Nothing is overwritten.

The recovery phrase is printed once and kept in a file that only you can read. Write it down: with it, and the
optional passphrase in the environment variable ` + passphraseEnv + `, identity and money can be restored.`,
		Example: `  relay init --network regtest --rpc 127.0.0.1:18334 --rpc-user u --rpc-pass p
  relay init --address wss://203.0.113.5:7700 --storage 1200 --egress 25000
  relay init --rpc 127.0.0.1:8334 --rpc-user u --rpc-pass p --second-backend neutrino`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			net, err := identity.ParseNetwork(network)
			if err != nil {
				return code.Wrap(code.BadArgument, err, "--network")
			}
			c := relay.DefaultConfig(net)
			c.Addresses, c.Boards = urls, boards
			c.Listen, c.Admin = listen, admin
			c.Bitcoin, c.Second = chain.Over(c.Bitcoin), second.Over(backends.Settings{})
			c.Offer.Storage = usage.Msat(pick(cmd, "storage", storage, uint64(c.Offer.Storage)))
			c.Offer.Egress = usage.Msat(pick(cmd, "egress", egress, uint64(c.Offer.Egress)))
			phrase, err := readPhrase(cmd, restore)
			if err != nil {
				return err
			}
			res, err := relay.Init(o.dir, relay.InitOptions{Config: c, Phrase: phrase, Passphrase: os.Getenv(passphraseEnv)})
			if err != nil {
				return err
			}
			return o.show(cmd, res, func(w io.Writer) { printInit(w, res) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&network, "network", "mainnet", "mainnet, testnet3, testnet4, signet or regtest")
	f.StringVar(&listen, "listen", "127.0.0.1:7700", "host:port to listen on")
	f.StringVar(&admin, "admin", "127.0.0.1:7701", "loopback host:port for health, metrics and commands")
	f.StringSliceVar(&urls, "address", nil, "wss:// URL that the offer tells clients (repeatable)")
	f.StringSliceVar(&boards, "board", nil, "board to publish the offer on: https://… or file:///dir (repeatable)")
	chain.Bind(f, "")
	second.Bind(f, "second-")
	f.Uint64Var(&storage, "storage", 0, "price of storage in msat per GiB and day")
	f.Uint64Var(&egress, "egress", 0, "price of egress in msat per GiB")
	f.BoolVar(&restore, "restore", false, "read an existing recovery phrase from standard input")
	return cmd
}

// pick gives the flag's value if the user set it.
func pick(cmd *cobra.Command, name string, set, otherwise uint64) uint64 {
	if cmd.Flags().Changed(name) {
		return set
	}
	return otherwise
}

// readPhrase reads a phrase from standard input when one is to be restored.
func readPhrase(cmd *cobra.Command, restore bool) (string, error) {
	if !restore {
		return "", nil
	}
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1024)).ReadString('\n')
	if strings.TrimSpace(line) == "" {
		return "", code.Wrap(code.BadPhrase, orElse(err, io.ErrUnexpectedEOF), "no phrase on standard input")
	}
	return line, nil
}

func orElse(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}

func printInit(w io.Writer, r relay.InitResult) {
	fmt.Fprintf(w, `relay %s on %s

key     %s
config  %s

Recovery phrase (write it down, nobody can restore it for you):

    %s

Next: read the configuration file, then  relay run
`, r.Name, r.Network, r.Key, r.Config, r.Phrase)
}
