package relay

import (
	"reflect"
	"strings"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestConfigTextReadsBack(t *testing.T) {
	for _, n := range []identity.Network{identity.Mainnet, identity.Regtest} {
		c := DefaultConfig(n)
		c.Addresses, c.Boards = []string{"wss://192.0.2.1:7700"}, []string{"https://a.example", "file:///b"}
		raw, err := c.Text()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseConfig(ConfigName, raw)
		if err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("%v\n%+v\n%+v", err, back, c)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	for name, change := range map[string][2]string{
		"unknown entry":  {"[store]", "[store]\nreserve = 1"},
		"not toml":       {"version = 1", "version = = 1"},
		"version":        {"version = 1", "version = 2"},
		"network":        {`network = "regtest"`, `network = "moon"`},
		"public admin":   {`admin = "127.0.0.1:7701"`, `admin = "0.0.0.0:7701"`},
		"plain address":  {"addresses = []", `addresses = ["ws://1.2.3.4:1"]`},
		"no port":        {"addresses = []", `addresses = ["wss://1.2.3.4:0"]`},
		"upper case":     {"addresses = []", `addresses = ["wss://Relay.example:7700"]`},
		"twice":          {"addresses = []", `addresses = ["wss://1.2.3.4:1", "wss://1.2.3.4:1/"]`},
		"everywhere":     {`listen = "127.0.0.1:7700"`, `listen = "0.0.0.0:7700"`},
		"everywhere v6":  {`listen = "127.0.0.1:7700"`, `listen = "[::]:7700"`},
		"no host":        {`listen = "127.0.0.1:7700"`, `listen = ":7700"`},
		"no fund rate":   {"min_fund_feerate_sat_per_vb = 1", "min_fund_feerate_sat_per_vb = 0"},
		"work for ever":  {"pow_bits = 8", "pow_bits = 200"},
		"credit":         {"credit_limit_sat = 10000", "credit_limit_sat = 20000000"},
		"nothing beyond": {"min_deposit_sat = 75000", "min_deposit_sat = 2500"},
		"price":          {"egress_msat_per_gib = 20000", "egress_msat_per_gib = 2000000000000"},
		"contract price": {"contract_price_sat = 2500", "contract_price_sat = 100"},
		"deposits":       {"min_deposit_sat = 75000", "min_deposit_sat = 75000000"},
		"collateral":     {"max_collateral_sat = 0", "max_collateral_sat = 1000"},
		"skin":           {"max_collateral_sat = 0\nmax_collateral_total_sat = 0", "max_collateral_sat = 10000001\nmax_collateral_total_sat = 20000000"},
		"depth":          {"funding_depth = 3", "funding_depth = 0"},
	} {
		raw, err := DefaultConfig(identity.Regtest).Text()
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(raw), change[0], change[1], 1)
		if text == string(raw) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ParseConfig(ConfigName, []byte(text)); code.Of(err) != code.BadConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConfigListensEverywhereWithAddress: what is told to clients need not be what is listened on.
func TestConfigListensEverywhereWithAddress(t *testing.T) {
	c := DefaultConfig(identity.Mainnet)
	c.Listen, c.Addresses = ":7700", []string{"wss://relay.example:7700"}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
}
