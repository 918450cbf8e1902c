// Package backends makes chain backends from what a configuration file says; relay
// and client share it. docs/backends.md tells people which one to take.
//
//	o, err := backends.Open(backends.Options{First: settings, Params: params, Dir: dir})
//	defer o.Close()
//	tip, err := o.View.Tip(ctx)
package backends

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/chain/bitcoind"
	"relaymarket/internal/chain/btcd"
	"relaymarket/internal/chain/neutrino"
	"relaymarket/internal/code"
)

// The kinds of backend, as configuration files name them.
const (
	Btcd     = "btcd"
	Bitcoind = "bitcoind"
	Neutrino = "neutrino"
)

// Settings say how to see the Bitcoin chain.
type Settings struct {
	// Backend is a kind. Empty: Btcd, as in files from before there was a choice.
	Backend string `toml:"backend"`

	RPC  string `toml:"rpc"`  // of a node, host:port
	User string `toml:"user"` // of the RPC
	Pass string `toml:"pass"`
	Cert string `toml:"cert"` // btcd: PEM file; empty: no TLS, for loopback

	Cookie string `toml:"cookie"` // bitcoind: its .cookie file, instead of user and password

	Peers []string `toml:"peers"` // of the light client, host:port; empty: found by DNS

	// FallbackFeeRate is for when the node has no estimate, in sat per vB; 0: 2.
	FallbackFeeRate uint64 `toml:"fallback_feerate_sat_per_vb"`
}

// Kind is the kind of backend.
func (s Settings) Kind() string {
	if s.Backend == "" {
		return Btcd
	}
	return s.Backend
}

// Where is what a person knows the backend by.
func (s Settings) Where() string {
	if s.Kind() == Neutrino {
		return "light client"
	}
	return s.Kind() + " at " + s.RPC
}

// Exposed tells whether a light client would connect to other machines, and so show them this one's
// address.
func (s Settings) Exposed() bool {
	if s.Kind() != Neutrino || s.None() {
		return false
	}
	local := func(peer string) bool {
		host, _, err := net.SplitHostPort(peer)
		ip := net.ParseIP(host)
		return err == nil && ip != nil && ip.IsLoopback()
	}
	for _, p := range s.Peers {
		if !local(p) {
			return true
		}
	}
	return len(s.Peers) == 0
}

// FallbackRate is FallbackFeeRate in satoshi per 1,000 virtual bytes.
func (s Settings) FallbackRate() int64 { return int64(s.FallbackFeeRate) * 1000 }

// Check finds settings that cannot work or contradict each other. second may be
// the zero value: no second backend.
func Check(first, second Settings) error {
	if err := first.check(); err != nil {
		return fmt.Errorf("bitcoin: %w", err)
	}
	if second.None() {
		return nil
	}
	if err := second.check(); err != nil {
		return fmt.Errorf("second: %w", err)
	}
	if first.Kind() == second.Kind() && first.RPC == second.RPC {
		return errors.New("second: this is the first backend again; it must be another node, or it confirms nothing")
	}
	return nil
}

// None tells that there is no such backend.
func (s Settings) None() bool { return s.Backend == "" && s.RPC == "" }

func (s Settings) check() error {
	switch s.Kind() {
	case Btcd, Bitcoind, Neutrino:
	default:
		return fmt.Errorf("backend = %q: choose btcd, bitcoind or neutrino", s.Backend)
	}
	if most := uint64(chain.MaxFeeRate / 1000); s.FallbackFeeRate > most {
		return fmt.Errorf("fallback_feerate_sat_per_vb = %d: at most %d", s.FallbackFeeRate, most)
	}
	return nil
}

// Text is the settings as lines of a configuration file, with what they mean.
func (s Settings) Text() string {
	var b strings.Builder
	line := func(comment, format string, args ...any) {
		if comment != "" {
			fmt.Fprintf(&b, "# %s\n", comment)
		}
		fmt.Fprintf(&b, format+"\n", args...)
	}
	line("btcd, bitcoind, or neutrino: a light client that needs no node. docs/backends.md compares them.", "backend = %q", s.Kind())
	line("The node's RPC (host:port). cert is btcd's rpc.cert; empty means no TLS, for loopback.", "rpc = %q", s.RPC)
	line("", "user = %q", s.User)
	line("", "pass = %q", s.Pass)
	line("", "cert = %q", s.Cert)
	line("bitcoind's .cookie file, instead of user and pass.", "cookie = %q", s.Cookie)
	peers := "peers = [" + quoted(s.Peers) + "]"
	if len(s.Peers) == 0 {
		peers = "# peers = [\"203.0.113.5:8333\"]"
	}
	line("The light client's nodes (host:port), which must serve compact filters. Without, they are found by DNS.", "%s", peers)
	line("Fee rate when the node has no estimate, as on every light client, in sat per vB.", "fallback_feerate_sat_per_vb = %d", s.FallbackFeeRate)
	return b.String()
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// Flags is what Bind needs of a command's flags.
type Flags interface {
	StringVar(p *string, name, value, usage string)
	StringSliceVar(p *[]string, name string, value []string, usage string)
}

// Bind makes flags of an init command for the settings. prefix is empty, or
// "second-" for those of the second backend.
func (s *Settings) Bind(f Flags, prefix string) {
	of := ""
	if prefix != "" {
		of = "second view of the chain: "
	}
	f.StringVar(&s.Backend, prefix+"backend", "", of+"btcd, bitcoind, or neutrino, which needs no node")
	f.StringVar(&s.RPC, prefix+"rpc", "", of+"host:port of the node's RPC")
	f.StringVar(&s.User, prefix+"rpc-user", "", of+"user of the node's RPC")
	f.StringVar(&s.Pass, prefix+"rpc-pass", "", of+"password of the node's RPC")
	f.StringVar(&s.Cert, prefix+"rpc-cert", "", of+"btcd's rpc.cert; empty: no TLS, loopback only")
	f.StringVar(&s.Cookie, prefix+"rpc-cookie", "", of+"bitcoind's .cookie file, instead of user and password")
	f.StringSliceVar(&s.Peers, prefix+"peer", nil, of+"host:port of a node for the light client (repeatable); none: found by DNS")
}

// Over is what a person set, over defaults. An RPC without a kind is btcd's, and
// peers without a kind are a light client's.
func (s Settings) Over(otherwise Settings) Settings {
	switch {
	case s.Backend != "":
	case s.RPC != "":
		s.Backend = Btcd
	case len(s.Peers) > 0:
		s.Backend = Neutrino
	default:
		s.Backend = otherwise.Backend
	}
	if s.RPC == "" && s.Backend == otherwise.Kind() {
		s.RPC = otherwise.RPC
	}
	if s.FallbackFeeRate == 0 {
		s.FallbackFeeRate = otherwise.FallbackFeeRate
	}
	return s
}

// Options are what Open needs.
type Options struct {
	First, Second Settings
	Params        *chaincfg.Params
	Dir           string           // for what a light client keeps; made when needed
	Now           func() time.Time // nil: time.Now
}

// Opened are open backends.
type Opened struct {
	View  *chain.View
	close []func() error
}

// Open makes the backends. It connects to nothing yet. Codes: BadConfig,
// StoreLocked, ChainWrongNetwork, and ChainUnavailable for settings that cannot work.
func Open(o Options) (*Opened, error) {
	if err := Check(o.First, o.Second); err != nil {
		return nil, code.Wrap(code.BadConfig, err, "Bitcoin backends")
	}
	out := &Opened{}
	c := chain.ViewConfig{AnyAge: o.Params.Net == chaincfg.RegressionNetParams.Net, Now: o.Now}
	var err error
	if c.Main, err = out.open(o, o.First); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	if !o.Second.None() {
		if c.Second, err = out.open(o, o.Second); err != nil {
			return nil, errors.Join(err, out.Close())
		}
	}
	out.View = chain.NewView(c)
	return out, nil
}

func (x *Opened) open(o Options, s Settings) (chain.Backend, error) {
	switch s.Kind() {
	case Bitcoind:
		b, err := bitcoind.New(bitcoind.Config{Host: s.RPC, User: s.User, Pass: s.Pass, CookieFile: s.Cookie, Params: o.Params})
		if err != nil {
			return nil, err
		}
		x.close = append(x.close, func() error { b.Close(); return nil })
		return b, nil
	case Neutrino:
		b, err := neutrino.New(neutrino.Config{Dir: filepath.Join(o.Dir, "neutrino"), Params: o.Params, Peers: s.Peers})
		if err != nil {
			return nil, err
		}
		x.close = append(x.close, b.Close)
		return b, nil
	}
	b, err := btcd.New(btcd.Config{Host: s.RPC, User: s.User, Pass: s.Pass, CertFile: s.Cert, Params: o.Params})
	if err != nil {
		return nil, err
	}
	x.close = append(x.close, func() error { b.Close(); return nil })
	return b, nil
}

// Close ends the connections.
func (x *Opened) Close() error {
	var errs []error
	for _, f := range x.close {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}
