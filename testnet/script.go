package testnet

import (
	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"relaymarket/internal/code"
)

// scriptOf is the output script of a regtest address.
func scriptOf(addr string) ([]byte, error) {
	a, err := address.DecodeAddress(addr, &chaincfg.RegressionNetParams)
	if err != nil {
		return nil, code.Wrap(code.BadAddress, err, "%s", addr)
	}
	s, err := txscript.PayToAddrScript(a)
	return s, code.Wrap(code.BadAddress, err, "%s", addr)
}
