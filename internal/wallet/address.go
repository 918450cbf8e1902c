package wallet

import (
	"context"
	"fmt"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcwallet/chain"
	"github.com/btcsuite/btcwallet/waddrmgr"
)

// account is the only account in use.
const account = waddrmgr.DefaultAccountNum

// The branches of an account (BIP44): addresses that are told to others, and change.
const (
	external byte = 0
	change   byte = 1
)

// NewAddress derives the next unused receiving address: its text form and its script (P2TR,
// BIP86). It works without the node; what is paid to it is seen once Run has caught up.
func (w *Wallet) NewAddress() (string, []byte, error) {
	var addr address.Address
	err := w.edit(func(e edit) (err error) {
		addr, err = e.derive(external)
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("wallet: new address: %w", err)
	}
	return w.announce(addr)
}

// AddressFor is NewAddress bound to an id: the same id gets the same address until Release frees
// it, and a freed address that was never paid is given to the next id. An address for each
// contract that somebody merely asks for would let strangers push later coins beyond the 250
// addresses that a search from the phrase looks ahead.
func (w *Wallet) AddressFor(id LeaseID) (string, []byte, error) {
	var addr address.Address
	err := w.edit(func(e edit) (err error) {
		addr, err = e.bind(external, id, w.params)
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("wallet: address: %w", err)
	}
	return w.announce(addr)
}

// Owns tells whether the script pays to an address that this wallet has given out, of either
// branch. A peer's input or output that does is an error or an attack.
func (w *Wallet) Owns(pkScript []byte) bool {
	var found bool
	err := w.view(func(v view) error {
		_, found = v.managed(pkScript, w)
		return nil
	})
	return err == nil && found
}

// managed finds the address behind a script.
func (v view) managed(pkScript []byte, w *Wallet) (waddrmgr.ManagedPubKeyAddress, bool) {
	_, addrs, _, err := txscript.ExtractPkScriptAddrs(pkScript, w.params)
	if err != nil || len(addrs) != 1 {
		return nil, false
	}
	found, err := v.in.Manager.Address(v.addrs, addrs[0])
	if err != nil {
		return nil, false
	}
	key, ok := found.(waddrmgr.ManagedPubKeyAddress)
	return key, ok
}

// derive takes the next address of a branch.
func (e edit) derive(branch byte) (address.Address, error) {
	scope, err := e.in.Manager.FetchScopedKeyManager(waddrmgr.KeyScopeBIP0086)
	if err != nil {
		return nil, err
	}
	next := scope.NextExternalAddresses
	if branch == change {
		next = scope.NextInternalAddresses
	}
	got, err := next(e.addrs, account, 1)
	if err != nil {
		return nil, err
	}
	return got[0].Address(), nil
}

// announce gives address and script to the caller, and the address to the node.
func (w *Wallet) announce(addr address.Address) (string, []byte, error) {
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		return "", nil, fmt.Errorf("wallet: address: %w", err)
	}
	w.watchFor(addr)
	return addr.EncodeAddress(), script, nil
}

// watchFor asks the node to report payments to a new address. Without a connection there is
// nothing to do: every connection starts by registering all addresses. A failure means that the
// connection is about to end.
func (w *Wallet) watchFor(addr address.Address) {
	client, err := w.connected()
	if err != nil {
		return
	}
	var backend chain.Interface = client
	_, err = await(context.Background(), func() (struct{}, error) {
		return struct{}{}, backend.NotifyReceived([]address.Address{addr})
	})
	if err != nil {
		w.log.Warn("new address not announced to the node", "error", err)
	}
}
