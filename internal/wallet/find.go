package wallet

import (
	"bytes"
	"fmt"

	"github.com/btcsuite/btcd/txscript/v2"
)

// findAhead is how many receiving addresses are tried for one that was given out by a lost copy of the
// wallet. Trying costs one derivation each.
const findAhead = 10_000

// Adopt makes sure that the wallet watches an address of its own phrase that an earlier copy of it
// gave out: the payout of a contract that is recovered. It tells whether the script is the wallet's.
func (w *Wallet) Adopt(pkScript []byte) (bool, error) {
	if w.Owns(pkScript) {
		return true, nil
	}
	found := false
	err := w.edit(func(e edit) error {
		for i := range uint32(findAhead) {
			addr, err := e.at(external, i)
			if err != nil {
				return err
			}
			script, err := txscript.PayToAddrScript(addr.Address())
			if err != nil {
				return err
			}
			if bytes.Equal(script, pkScript) {
				found = true
				return e.watch(external, i+1+watchAhead)
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("wallet: search for an address: %w", err)
	}
	return found, nil
}
