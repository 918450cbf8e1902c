package relay

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"

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
type InitResult struct {
	Phrase  string             `json:"phrase"`
	Key     identity.PublicKey `json:"key"`
	Name    string             `json:"name"`
	Config  string             `json:"config"`
	Network string             `json:"network"`
}

// Init makes a relay's directory: keys and a commented configuration file. A directory that
// holds one already is refused with AlreadyInitialised; an existing configuration file is
// kept.
func Init(dir string, o InitOptions) (InitResult, error) {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if err := o.Config.check(); err != nil {
		return InitResult{}, code.Wrap(code.BadConfig, err, "configuration")
	}
	network, err := identity.ParseNetwork(o.Config.Network)
	if err != nil {
		return InitResult{}, code.Wrap(code.BadArgument, err, "network")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return InitResult{}, code.Wrap(code.BadConfig, err, "directory")
	}
	phrase, key, err := home.Create(dir, network, home.Secrets{Phrase: o.Phrase, Passphrase: o.Passphrase, Rand: o.Rand})
	if err != nil {
		return InitResult{}, err
	}
	path := filepath.Join(dir, ConfigName)
	if err := writeConfig(path, o.Config); err != nil {
		return InitResult{}, err
	}
	return InitResult{Phrase: phrase, Key: key, Name: key.Name(), Config: path, Network: o.Config.Network}, nil
}

func writeConfig(path string, c Config) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return code.Wrap(code.BadConfig, err, "%s", path)
	}
	text, err := c.Text()
	if err != nil {
		return err
	}
	return home.WriteFile(path, text, 0o600) // it holds the node's password
}
