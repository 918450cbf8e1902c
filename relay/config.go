package relay

import (
	"fmt"
	"net"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/chain/backends"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
	"relaymarket/usage"
)

// ConfigName is the file that Init writes and Load reads, in the relay's directory.
const ConfigName = "relay.toml"

// configVersion is the version of the configuration file.
const configVersion = 1

// Config is what an operator decides. relay.toml holds it, with a comment for each entry.
type Config struct {
	Version   int      `toml:"version"`
	Network   string   `toml:"network"`
	Listen    string   `toml:"listen"`
	Addresses []string `toml:"addresses"`
	Admin     string   `toml:"admin"`
	Boards    []string `toml:"boards"`

	Bitcoin Bitcoin `toml:"bitcoin"`
	Second  Bitcoin `toml:"second"` // held against the first; see chain.View
	Offer   Prices  `toml:"offer"`
	Store   Disk    `toml:"store"`
}

// Bitcoin is how to see the chain.
type Bitcoin = backends.Settings

// Prices is the commercial part of the offer.
type Prices struct {
	Storage       usage.Msat   `toml:"storage_msat_per_gib_day"`
	Egress        usage.Msat   `toml:"egress_msat_per_gib"`
	ContractPrice usage.Sat    `toml:"contract_price_sat"`
	MinDeposit    usage.Sat    `toml:"min_deposit_sat"`
	MaxDeposit    usage.Sat    `toml:"max_deposit_sat"`
	MinDuration   usage.Height `toml:"min_duration_blocks"`
	MaxDuration   usage.Height `toml:"max_duration_blocks"`
	FundingDepth  uint8        `toml:"funding_depth"`
	CreditLimit   usage.Sat    `toml:"credit_limit_sat"`
	CreditStart   usage.Sat    `toml:"credit_start_sat"`
	SettleFeeRate uint64       `toml:"settle_feerate_sat_per_vb"`
	MinFundRate   uint64       `toml:"min_fund_feerate_sat_per_vb"`
	FreeBytesDay  uint64       `toml:"free_bytes_per_day"`
	MaxTTLDays    uint32       `toml:"max_ttl_days"`
	PowBits       uint8        `toml:"pow_bits"`
	ValidHours    uint32       `toml:"valid_hours"`
	MaxContracts  int          `toml:"max_contracts"`
	MaxCollateral usage.Sat    `toml:"max_collateral_sat"`
	MaxLocked     usage.Sat    `toml:"max_collateral_total_sat"`
	Payout        string       `toml:"payout_address"`
}

// Disk bounds what the store takes.
type Disk struct {
	ReserveMiB  uint64 `toml:"reserve_mib"`
	MemtableMiB uint64 `toml:"memtable_mib"`
	CacheMiB    uint64 `toml:"cache_mib"`
}

// DefaultConfig is what Init writes for a network. The prices are illustrative: see
// docs/market.md for how they were chosen.
func DefaultConfig(network identity.Network) Config {
	c := Config{
		Version: configVersion, Network: network.String(),
		Listen: "127.0.0.1:7700", Admin: "127.0.0.1:7701",
		Bitcoin: Bitcoin{Backend: backends.Btcd, RPC: "127.0.0.1:8334", FallbackFeeRate: 10},
		Offer: Prices{
			Storage: 1_000, Egress: 20_000, ContractPrice: 2_500,
			MinDeposit: 75_000, MaxDeposit: 10_000_000,
			MinDuration: 1_008, MaxDuration: 52_560, FundingDepth: 3, CreditLimit: 10_000, CreditStart: 2_000,
			SettleFeeRate: 10, MinFundRate: 1, FreeBytesDay: 1 << 20, MaxTTLDays: 365,
			PowBits: 20, ValidHours: 72, MaxContracts: 10_000,
		},
		Store: Disk{ReserveMiB: 64, MemtableMiB: 64, CacheMiB: 256},
	}
	if network == identity.Regtest {
		c.Bitcoin.RPC, c.Bitcoin.FallbackFeeRate = "127.0.0.1:18334", 2
		c.Offer.MinDuration, c.Offer.MaxDuration, c.Offer.PowBits = 30, 10_000, 8
	}
	return c
}

// LoadConfig reads relay.toml of a directory. Unknown entries are refused with their line.
func LoadConfig(dir string) (Config, error) {
	path, raw, err := home.ReadConfig(dir, ConfigName)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(path, raw)
}

// ParseConfig reads the text of a relay.toml; name is used in errors.
func ParseConfig(name string, raw []byte) (Config, error) {
	var c Config
	if err := home.DecodeConfig(name, raw, &c); err != nil {
		return c, err
	}
	return c, code.Wrap(code.BadConfig, c.check(), "%s", name)
}

// check finds entries that contradict each other or the protocol's limits.
func (c *Config) check() error {
	if c.Version != configVersion {
		return fmt.Errorf("version = %d: this program reads version %d", c.Version, configVersion)
	}
	if _, err := identity.ParseNetwork(c.Network); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	for name, addr := range map[string]string{"listen": c.Listen, "admin": c.Admin} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%s = %q: use host:port", name, addr)
		}
	}
	if host, _, _ := net.SplitHostPort(c.Admin); !isLoopback(host) {
		return fmt.Errorf("admin = %q: the admin port has no password and must stay on loopback", c.Admin)
	}
	if err := backends.Check(c.Bitcoin, c.Second); err != nil {
		return err
	}
	if err := c.Offer.check(); err != nil {
		return err
	}
	return c.checkOffer()
}

// checkOffer finds at once what would else only show when the first offer cannot be made.
func (c *Config) checkOffer() error {
	network, err := identity.ParseNetwork(c.Network)
	if err != nil {
		return err
	}
	o := c.Offer.terms(c.limits())
	o.Network, o.Sequence, o.Time = network, 1, 1
	o.ValidUntil, o.Addresses = o.Time+1, addresses([]string{"wss://stand-in"}, "", identity.Digest{1})
	if len(c.Addresses) > 0 {
		o.Addresses = addresses(c.Addresses, "", identity.Digest{1})
	} else if c.listensEverywhere() {
		return fmt.Errorf("listen = %q is no address that clients can connect to: say in addresses where they find this relay", c.Listen)
	}
	return o.Check()
}

// limits are the protocol's, with what the operator decides.
func (c *Config) limits() usage.Limits {
	l := usage.DefaultLimits()
	l.MaxTTL = c.Offer.MaxTTLDays * 86400
	return l
}

// listensEverywhere tells whether the listen address names all interfaces and so none.
func (c *Config) listensEverywhere() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (p *Prices) check() error {
	const maxPrice = 1_000_000_000_000
	switch {
	case p.Storage > maxPrice || p.Egress > maxPrice:
		return fmt.Errorf("offer: a price is above %d msat", uint64(maxPrice))
	case p.MinDeposit > p.MaxDeposit || p.MaxDeposit > usage.MaxSat:
		return fmt.Errorf("offer: min_deposit_sat %d and max_deposit_sat %d leave no room", p.MinDeposit, p.MaxDeposit)
	case p.MaxCollateral > p.MaxLocked:
		return fmt.Errorf("offer: max_collateral_sat %d is above max_collateral_total_sat %d: no contract could have it", p.MaxCollateral, p.MaxLocked)
	case p.MinDuration > p.MaxDuration:
		return fmt.Errorf("offer: min_duration_blocks is above max_duration_blocks")
	case p.FundingDepth < 1 || p.FundingDepth > 6:
		return fmt.Errorf("offer: funding_depth must be 1 to 6")
	case p.SettleFeeRate < 1 || p.SettleFeeRate > 500:
		return fmt.Errorf("offer: settle_feerate_sat_per_vb must be 1 to 500")
	case uint64(p.ContractPrice) < 330+204*p.SettleFeeRate:
		return fmt.Errorf("offer: contract_price_sat must be at least %d to pay for a settlement at %d sat/vB", 330+204*p.SettleFeeRate, p.SettleFeeRate)
	case p.ValidHours < 1 || p.ValidHours > 14*24:
		return fmt.Errorf("offer: valid_hours must be 1 to 336")
	case p.MaxTTLDays < 1 || p.MaxTTLDays > 365:
		return fmt.Errorf("offer: max_ttl_days must be 1 to 365")
	}
	return nil
}

// offerInterval is how often offer and boards are looked after.
const offerInterval = 30 * time.Second

// offerLife is how long one published offer binds.
func (p *Prices) offerLife() time.Duration { return time.Duration(p.ValidHours) * time.Hour }
