package runner

import (
	"github.com/btcsuite/btcd/chaincfg/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Params are the consensus parameters of a network.
func Params(n identity.Network) (*chaincfg.Params, error) {
	switch n {
	case identity.Mainnet:
		return &chaincfg.MainNetParams, nil
	case identity.Testnet3:
		return &chaincfg.TestNet3Params, nil
	case identity.Testnet4:
		return &chaincfg.TestNet4Params, nil
	case identity.Signet:
		return &chaincfg.SigNetParams, nil
	case identity.Regtest:
		return &chaincfg.RegressionNetParams, nil
	}
	return nil, code.New(code.WrongNetwork, "network %s is unknown", n)
}
