package backends

import (
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/pelletier/go-toml/v2"

	"relaymarket/internal/code"
)

// TestTextReadsBack: what init writes is what the programs read, whatever is in it.
func TestTextReadsBack(t *testing.T) {
	for _, s := range []Settings{
		{Backend: Btcd, RPC: "127.0.0.1:8334", User: `a "quoted" \ name`, Pass: "p\n", Cert: "/c", FallbackFeeRate: 10},
		{Backend: Bitcoind, RPC: "127.0.0.1:8332", Cookie: "/home/x/.cookie"},
		{Backend: Neutrino, Peers: []string{"127.0.0.1:1", "[::1]:2"}},
		{Backend: Neutrino},
	} {
		var got Settings
		d := toml.NewDecoder(strings.NewReader(s.Text())).DisallowUnknownFields()
		if err := d.Decode(&got); err != nil || got.Text() != s.Text() || len(got.Peers) != len(s.Peers) || got.User != s.User || got.Pass != s.Pass {
			t.Errorf("%+v reads back as %+v, %v\n%s", s, got, err, s.Text())
		}
	}
}

func TestOver(t *testing.T) {
	node, light := Settings{Backend: Btcd, RPC: "127.0.0.1:8334", FallbackFeeRate: 10}, Settings{Backend: Neutrino, FallbackFeeRate: 10}
	for name, c := range map[string]struct {
		set, otherwise Settings
		kind, rpc      string
	}{
		"nothing, with a node":    {Settings{}, node, Btcd, "127.0.0.1:8334"},
		"nothing, without a node": {Settings{}, light, Neutrino, ""},
		"a password":              {Settings{User: "u", Pass: "p"}, node, Btcd, "127.0.0.1:8334"},
		"an RPC":                  {Settings{RPC: "127.0.0.1:1"}, light, Btcd, "127.0.0.1:1"},
		"peers":                   {Settings{Peers: []string{"127.0.0.1:1"}}, node, Neutrino, ""},
		"another kind":            {Settings{Backend: Bitcoind, RPC: "127.0.0.1:2"}, node, Bitcoind, "127.0.0.1:2"},
		"no second":               {Settings{}, Settings{}, Btcd, ""},
	} {
		got := c.set.Over(c.otherwise)
		if got.Kind() != c.kind || got.RPC != c.rpc || got.FallbackFeeRate != c.otherwise.FallbackFeeRate {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if !(Settings{}.Over(Settings{}).None()) {
		t.Error("no second backend has become one")
	}
}

func TestCheck(t *testing.T) {
	good := Settings{Backend: Btcd, RPC: "127.0.0.1:8334", User: "u", Pass: "p"}
	for name, pair := range map[string][2]Settings{
		"unknown kind":     {{Backend: "electrum"}, {}},
		"absurd fees":      {{FallbackFeeRate: 501}, {}},
		"the same twice":   {good, {RPC: good.RPC}},
		"two light ones":   {{Backend: Neutrino}, {Backend: Neutrino}},
		"a second unknown": {good, {Backend: "x"}},
	} {
		_, err := Open(Options{First: pair[0], Second: pair[1], Params: &chaincfg.MainNetParams, Dir: t.TempDir()})
		if code.Of(err) != code.BadConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	o, err := Open(Options{First: good, Second: Settings{Backend: Neutrino}, Params: &chaincfg.MainNetParams, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if got := (Settings{}).Where() + ", " + (Settings{Backend: Neutrino}).Where(); got != "btcd at , light client" {
		t.Error(got)
	}
}
