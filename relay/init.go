package relay

import (
	"io"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/home"
)

// InitOptions is what an operator may choose when a relay is made.
type InitOptions struct {
	Config     Config // written to relay.toml; see DefaultConfig
	Phrase     string // restore this one; empty draws a new one
	Passphrase string
	Rand       io.Reader // nil: crypto/rand
}

// InitResult is what must be written down.
type InitResult = home.Made

// Init makes a relay's directory: keys and a commented configuration file. A directory that
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
