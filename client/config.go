package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"text/template"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/internal/transport"
	"relaymarket/usage"
)

// ConfigName is the file that Init writes and Open reads, in the agent's directory.
const ConfigName = "client.toml"

const configVersion = 1

// Config is what a user decides. client.toml holds it, with a comment for each entry.
type Config struct {
	Version int      `toml:"version"`
	Network string   `toml:"network"`
	Label   string   `toml:"label"`
	Devices uint8    `toml:"devices"`
	Boards  []string `toml:"boards"`
	Proxy   string   `toml:"proxy"`

	Bitcoin Bitcoin `toml:"bitcoin"`
	Second  Bitcoin `toml:"second"` // held against the first; see chain.View
	Limits  Limits  `toml:"limits"`
}

// Bitcoin is how to see the chain.
type Bitcoin = backends.Settings

// Limits are what the agent may do without asking.
type Limits struct {
	BudgetSat       usage.Sat  `toml:"budget_sat"`        // per period; 0: every payment is asked for
	BudgetHours     uint32     `toml:"budget_hours"`      // the period
	UnackedPercent  uint8      `toml:"unacked_percent"`   // share of unacknowledged reads that is paid
	AckFlushSeconds uint32     `toml:"ack_flush_seconds"` // acknowledgement records wait this long to be sent together
	MaxStorage      usage.Msat `toml:"max_storage_msat_per_gib_day"`
	MaxEgress       usage.Msat `toml:"max_egress_msat_per_gib"`
}

// DefaultConfig is what Init writes for a network.
func DefaultConfig(network identity.Network) Config {
	// Who has no node needs none, except on regtest, which has no public nodes.
	chain := Bitcoin{Backend: backends.Neutrino, FallbackFeeRate: 10}
	if network == identity.Regtest {
		chain = Bitcoin{Backend: backends.Btcd, RPC: "127.0.0.1:18334", FallbackFeeRate: 2}
	}
	return Config{
		Version: configVersion, Network: network.String(), Label: "me", Devices: 1, Bitcoin: chain,
		Limits: Limits{BudgetSat: 10_000, BudgetHours: 24, UnackedPercent: 10, AckFlushSeconds: 60, MaxStorage: 1_000_000, MaxEgress: 1_000_000_000},
	}
}

var configTemplate = template.Must(template.New(ConfigName).Parse(`# Configuration of an agent. After a change: stop relay-client up and start it again.
version = {{.Version}}

# Bitcoin network: mainnet, testnet3, testnet4, signet or regtest. Each has its own data directory.
network = "{{.Network}}"

# The name that contacts see, and how many devices read for this identity (more than one: records are
# not deleted on the first acknowledgement).
label = "{{.Label}}"
devices = {{.Devices}}

# Where to look for relays: https://… of any relay or list, or file:///directory.
boards = [{{range $i, $a := .Boards}}{{if $i}}, {{end}}"{{$a}}"{{end}}]

# A SOCKS5 proxy, socks5://host:port; Tor's is usually socks5://127.0.0.1:9050. With one, all relays and boards beyond this
# machine are reached through it, their names are resolved by it, and .onion addresses work. The Bitcoin node is not.
proxy = "{{.Proxy}}"

[bitcoin]
{{.Bitcoin.Text}}{{if not .Second.None}}
# A second view of the chain: no contract is opened while the two do not agree.
[second]
{{.Second.Text}}{{end}}
[limits]
# What the agent pays by itself, of what its audit confirms: at most budget_sat in budget_hours. 0: nothing by itself.
budget_sat = {{.Limits.BudgetSat}}
budget_hours = {{.Limits.BudgetHours}}
# Share of reads without an acknowledgement that is paid all the same, in percent.
unacked_percent = {{.Limits.UnackedPercent}}
# Acknowledgement records wait this long, to be sent together.
ack_flush_seconds = {{.Limits.AckFlushSeconds}}
# Offers above these prices are never accepted.
max_storage_msat_per_gib_day = {{.Limits.MaxStorage}}
max_egress_msat_per_gib = {{.Limits.MaxEgress}}
`))

// Text is the commented client.toml of a configuration.
func (c Config) Text() ([]byte, error) {
	var b bytes.Buffer
	err := configTemplate.Execute(&b, c)
	return b.Bytes(), code.Wrap(code.Internal, err, "writing %s", ConfigName)
}

// LoadConfig reads client.toml of a directory. Unknown entries are refused with their line.
func LoadConfig(dir string) (Config, error) {
	path, raw, err := home.ReadConfig(dir, ConfigName)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(path, raw)
}

// ParseConfig reads the text of a client.toml; name is used in errors.
func ParseConfig(name string, raw []byte) (Config, error) {
	var c Config
	if err := home.DecodeConfig(name, raw, &c); err != nil {
		return c, err
	}
	return c, code.Wrap(code.BadConfig, c.check(), "%s", name)
}

func (c *Config) check() error {
	_, err := identity.ParseNetwork(c.Network)
	switch {
	case c.Version != configVersion:
		return fmt.Errorf("version = %d: this program reads version %d", c.Version, configVersion)
	case err != nil:
		return fmt.Errorf("network: %w", err)
	case c.Label == "" || len(c.Label) > identity.MaxLabel || strings.ContainsAny(c.Label, "\"\n\r\\"):
		return fmt.Errorf("label: 1 to %d bytes without quotes", identity.MaxLabel)
	case transport.Onion(hostOf(c.Bitcoin.RPC)):
		return errors.New("bitcoin: rpc: a node at a .onion name cannot be used directly; forward it to a port of this machine, and name that")
	case c.Devices == 0:
		return errors.New("devices must be at least 1")
	case c.Limits.UnackedPercent > 100:
		return errors.New("limits: unacked_percent is at most 100")
	case c.Limits.BudgetHours == 0:
		return errors.New("limits: budget_hours must be at least 1")
	}
	if _, err = c.proxy(); err != nil {
		return err
	}
	if c.Proxy != "" && (c.Bitcoin.Exposed() || c.Second.Exposed()) {
		return errors.New("proxy: a light client would connect to strangers without it; use a node of your own (backend btcd or bitcoind), or peers on this machine")
	}
	return backends.Check(c.Bitcoin, c.Second)
}

// proxy is the SOCKS proxy, nil for none.
func (c *Config) proxy() (*url.URL, error) {
	if c.Proxy == "" {
		return nil, nil
	}
	p, err := transport.ParseProxy(c.Proxy)
	return p, code.Wrap(code.BadConfig, err, "proxy = %q", c.Proxy)
}

// hostOf is the host of host:port.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// budgetPeriod is the time that the budget is for.
func (l Limits) budgetPeriod() identity.UnixMilli {
	return identity.UnixMilli((time.Duration(l.BudgetHours) * time.Hour).Milliseconds())
}

// InitOptions is what a user may choose when an agent is made.
type InitOptions struct {
	Config     Config // written to client.toml; see DefaultConfig
	Phrase     string // restore this one; empty draws a new one
	Passphrase string
	Rand       io.Reader // nil: crypto/rand
}

// InitResult is what must be written down.
type InitResult = home.Made

// Init makes an agent's directory: keys and a commented configuration file. A directory that
// holds an identity of this network is refused with AlreadyInitialised; an existing
// configuration file is kept.
func Init(dir string, o InitOptions) (InitResult, error) {
	if err := o.Config.check(); err != nil {
		return InitResult{}, code.Wrap(code.BadConfig, err, "configuration")
	}
	network, err := identity.ParseNetwork(o.Config.Network)
	if err != nil {
		return InitResult{}, code.Wrap(code.BadArgument, err, "network")
	}
	text, err := o.Config.Text()
	if err != nil {
		return InitResult{}, err
	}
	return home.Setup{
		Dir: dir, Network: network, ConfigName: ConfigName, Config: text,
		Phrase: o.Phrase, Passphrase: o.Passphrase, Rand: o.Rand,
	}.Make()
}
