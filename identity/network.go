package identity

import "fmt"

// Network is the Bitcoin network that a statement belongs to: the four magic bytes of its
// peer-to-peer protocol as a number. It stands in every statement and every signed message,
// so that nothing signed for play can be shown where money is real.
type Network uint32

// The networks that this version knows.
const (
	Mainnet  Network = 0xd9b4bef9
	Testnet3 Network = 0x0709110b
	Testnet4 Network = 0x283f161c
	Signet   Network = 0x40cf030a
	Regtest  Network = 0xdab5bffa
)

var networkNames = map[Network]string{
	Mainnet: "mainnet", Testnet3: "testnet3", Testnet4: "testnet4", Signet: "signet", Regtest: "regtest",
}

// Known tells whether this version can work on the network.
func (n Network) Known() bool { return networkNames[n] != "" }

// String is the name used in configuration files and data directories.
func (n Network) String() string {
	if s := networkNames[n]; s != "" {
		return s
	}
	return fmt.Sprintf("network(%08x)", uint32(n))
}

// ParseNetwork reads a name written by String.
func ParseNetwork(s string) (Network, error) {
	for n, name := range networkNames {
		if name == s {
			return n, nil
		}
	}
	return 0, fmt.Errorf("unknown network %q: use mainnet, testnet3, testnet4, signet or regtest", s)
}
