package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

func initCommand(o *options) *cobra.Command {
	var network, label, proxy string
	var chain, second backends.Settings
	var boards []string
	var budget satFlag
	var restore bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make keys and a commented configuration file",
		Long: `init makes your keys and writes client.toml with a comment for every entry. Nothing is overwritten.

The recovery phrase is printed once and kept in a file that only you can read. Write it down: with it, and the
optional passphrase in the environment variable ` + passphraseEnv + `, identity and money can be restored.
Messages cannot: their keys are random and kept on this machine only.

Without a Bitcoin node a light client inside this program follows the chain (--backend neutrino, the default).
With --rpc it asks your own node.`,
		Example: `  relay-client init --label ada --board https://relay.example.org
  relay-client init --proxy socks5://127.0.0.1:9050
  relay-client init --network regtest --rpc 127.0.0.1:18334 --rpc-user u --rpc-pass p
  relay-client init --restore < phrase.txt`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			net, err := identity.ParseNetwork(network)
			if err != nil {
				return code.Wrap(code.BadArgument, err, "--network")
			}
			c := client.DefaultConfig(net)
			c.Label, c.Boards, c.Proxy = label, boards, proxy
			c.Bitcoin, c.Second = chain.Over(c.Bitcoin), second.Over(backends.Settings{})
			if cmd.Flags().Changed("budget") {
				c.Limits.BudgetSat = usage.Sat(budget)
			}
			phrase, err := readPhrase(cmd, restore)
			if err != nil {
				return err
			}
			res, err := client.Init(o.dir, client.InitOptions{Config: c, Phrase: phrase, Passphrase: os.Getenv(passphraseEnv)})
			if err != nil {
				return err
			}
			return o.show(cmd, res, func(w io.Writer) { printInit(w, res, restore) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&network, "network", "mainnet", "mainnet, testnet3, testnet4, signet or regtest")
	f.StringVar(&label, "label", "me", "the name that your contacts see")
	f.StringArrayVar(&boards, "board", nil, "where to look for relays: https://… or file:///dir (repeatable)")
	f.StringVar(&proxy, "proxy", "", "SOCKS5 proxy for relays and boards, for .onion addresses too: socks5://127.0.0.1:9050 is Tor")
	chain.Bind(f, "")
	second.Bind(f, "second-")
	f.Var(&budget, "budget", "what the agent may pay in 24 hours without asking, in sat")
	f.BoolVar(&restore, "restore", false, "read an existing recovery phrase from standard input")
	return cmd
}

// readPhrase reads a phrase from standard input when one is to be restored.
func readPhrase(cmd *cobra.Command, restore bool) (string, error) {
	if !restore {
		return "", nil
	}
	if isTerminal(cmd.InOrStdin()) {
		fmt.Fprintln(cmd.ErrOrStderr(), "Recovery phrase, on one line:")
	}
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1024)).ReadString('\n')
	if strings.TrimSpace(line) == "" {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return "", code.Wrap(code.BadPhrase, err, "no phrase on standard input")
	}
	return line, nil
}

func printInit(w io.Writer, r client.InitResult, restored bool) {
	fmt.Fprintf(w, "agent %s on %s\n\nkey     %s\nconfig  %s\n", r.Name, r.Network, r.Key, r.Config)
	if !restored {
		fmt.Fprintf(w, "\nRecovery phrase (write it down, nobody can restore it for you):\n\n    %s\n", r.Phrase)
	}
	fmt.Fprintf(w, "\nNext: read the configuration file, then  relay-client doctor\n")
}
