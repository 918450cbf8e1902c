package home

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Setup is what a directory is made from: keys of one network, and a configuration file.
type Setup struct {
	Dir        string
	Network    identity.Network
	ConfigName string // of the file in Dir
	Config     []byte // its text; an existing file is kept
	Phrase     string // restore this one; empty draws a new one
	Passphrase string
	Rand       io.Reader // nil: crypto/rand
}

// Made is what must be written down after a Setup.
type Made struct {
	Phrase  string             `json:"phrase"`
	Key     identity.PublicKey `json:"key"`
	Name    string             `json:"name"`
	Config  string             `json:"config"`
	Network string             `json:"network"`
}

// Make makes the directory. One that holds an identity of this network is refused with
// AlreadyInitialised.
func (s Setup) Make() (Made, error) {
	if s.Rand == nil {
		s.Rand = rand.Reader
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return Made{}, code.Wrap(code.BadConfig, err, "directory")
	}
	phrase, key, err := Create(s.Dir, s.Network, Secrets{Phrase: s.Phrase, Passphrase: s.Passphrase, Rand: s.Rand})
	if err != nil {
		return Made{}, err
	}
	path := filepath.Join(s.Dir, s.ConfigName)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := WriteFile(path, s.Config, 0o600); err != nil { // it holds the node's password
			return Made{}, err
		}
	} else if err != nil {
		return Made{}, code.Wrap(code.BadConfig, err, "%s", path)
	}
	return Made{Phrase: phrase, Key: key, Name: key.Name(), Config: path, Network: s.Network.String()}, nil
}

// ReadConfig reads a configuration file of a directory; a missing one is NotInitialised.
func ReadConfig(dir, name string) (path string, raw []byte, err error) {
	path = filepath.Join(dir, name)
	raw, err = os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return path, nil, code.New(code.NotInitialised, "there is no %s", path)
	}
	return path, raw, code.Wrap(code.BadConfig, err, "%s", path)
}

// DecodeConfig reads TOML strictly: an entry that v does not have is refused with its line, so that
// a typing error does not silently leave a default in force. name is used in errors.
func DecodeConfig(name string, raw []byte, v any) error {
	err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(v)
	var strict *toml.StrictMissingError
	var de *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		return code.New(code.BadConfig, "%s: unknown entry\n%s", name, strict.String())
	case errors.As(err, &de):
		return code.New(code.BadConfig, "%s:\n%s", name, de.String())
	}
	return code.Wrap(code.BadConfig, err, "%s", name)
}
