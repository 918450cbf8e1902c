package wallet

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcwallet/waddrmgr"
	"github.com/btcsuite/btcwallet/walletdb"
)

// account is the only account in use.
const account = waddrmgr.DefaultAccountNum

// The branches of an account (BIP44): addresses that are told to others, and change.
const (
	external byte = 0
	change   byte = 1
)

// watchAhead is how many addresses beyond the last one given out are watched. An older copy of
// the wallet's directory, or one made anew from the phrase while a payment is unconfirmed, still sees
// what goes to addresses that it has not given out itself.
const watchAhead = 20

// NewAddress derives the next unused receiving address: its text form and its script (P2TR,
// BIP86). It works without the node; what is paid to it is seen once Run has caught up.
func (w *Wallet) NewAddress() (string, []byte, error) {
	return w.address(func(e edit) (address.Address, error) { return e.derive(external) })
}

// AddressFor is NewAddress bound to an id: the same id gets the same address until Release frees
// it, and a freed address that was never paid is given to the next id. An address for each
// contract that somebody merely asks for would let strangers push later coins beyond the 250
// addresses that a search from the phrase looks ahead.
func (w *Wallet) AddressFor(id LeaseID) (string, []byte, error) {
	return w.address(func(e edit) (address.Address, error) { return e.bind(external, id, w.params) })
}

func (w *Wallet) address(make func(edit) (address.Address, error)) (string, []byte, error) {
	var addr address.Address
	err := w.edit(func(e edit) (err error) {
		addr, err = make(e)
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("wallet: address: %w", err)
	}
	script, err := txscript.PayToAddrScript(addr)
	if err != nil {
		return "", nil, fmt.Errorf("wallet: address: %w", err)
	}
	return addr.EncodeAddress(), script, nil
}

// Owns tells whether the script pays to an address that this wallet has given out, of either
// branch. A peer's input or output that does is an error or an attack.
func (w *Wallet) Owns(pkScript []byte) bool {
	var found bool
	err := w.view(func(v view) error {
		_, found = managed(v.in.Manager, v.addrs, pkScript, w.params)
		return nil
	})
	return err == nil && found
}

// managed finds the address behind a script.
func managed(m *waddrmgr.Manager, ns walletdb.ReadBucket, pkScript []byte, params *chaincfg.Params) (waddrmgr.ManagedPubKeyAddress, bool) {
	_, addrs, _, err := txscript.ExtractPkScriptAddrs(pkScript, params)
	if err != nil || len(addrs) != 1 {
		return nil, false
	}
	found, err := m.Address(ns, addrs[0])
	if err != nil {
		return nil, false
	}
	key, ok := found.(waddrmgr.ManagedPubKeyAddress)
	return key, ok
}

// derive gives out the next address of a branch that was never paid, and extends what is watched.
// The count of addresses given out is our own; btcwallet's is of those that it watches.
func (e edit) derive(branch byte) (address.Address, error) {
	key := []byte{nextPrefix, branch}
	index := uint32(0)
	if v := e.own.Get(key); len(v) == 4 {
		index = binary.BigEndian.Uint32(v)
	}
	addr, err := e.at(branch, index)
	for err == nil && addr.Used(e.addrs) {
		index++
		addr, err = e.at(branch, index)
	}
	if err != nil {
		return nil, err
	}
	if err := e.own.Put(key, binary.BigEndian.AppendUint32(nil, index+1)); err != nil {
		return nil, err
	}
	return addr.Address(), e.watch(branch, index+1+watchAhead)
}

// at is the address m/86'/0'/0'/branch/index.
func (e edit) at(branch byte, index uint32) (waddrmgr.ManagedAddress, error) {
	scope, err := e.in.Manager.FetchScopedKeyManager(waddrmgr.KeyScopeBIP0086)
	if err != nil {
		return nil, err
	}
	return scope.DeriveFromKeyPath(e.addrs, waddrmgr.DerivationPath{
		InternalAccount: account, Account: account, Branch: uint32(branch), Index: index,
	})
}

// watched is how many addresses of a branch btcwallet watches.
func (e edit) watched(branch byte) (uint32, error) {
	scope, err := e.in.Manager.FetchScopedKeyManager(waddrmgr.KeyScopeBIP0086)
	if err != nil {
		return 0, err
	}
	props, err := scope.AccountProperties(e.addrs, account)
	if err != nil {
		return 0, err
	}
	if branch == change {
		return props.InternalKeyCount, nil
	}
	return props.ExternalKeyCount, nil
}

// watch makes btcwallet watch the first count addresses of a branch. It may be called once in a
// transaction for each branch, because btcwallet counts on at commit.
func (e edit) watch(branch byte, count uint32) error {
	have, err := e.watched(branch)
	if err != nil || have >= count {
		return err
	}
	scope, err := e.in.Manager.FetchScopedKeyManager(waddrmgr.KeyScopeBIP0086)
	if err != nil {
		return err
	}
	next := scope.NextExternalAddresses
	if branch == change {
		next = scope.NextInternalAddresses
	}
	added, err := next(e.addrs, account, count-have)
	for _, a := range added {
		*e.fresh = append(*e.fresh, a.Address())
	}
	return err
}

// tellNode asks the node to report payments to new addresses. Without a connection there is
// nothing to do: every connection starts by registering all addresses. A failure means that the
// connection is about to end.
func (w *Wallet) tellNode(addrs []address.Address) {
	client, err := w.connected()
	if err != nil || len(addrs) == 0 {
		return
	}
	_, err = await(context.Background(), func() (struct{}, error) {
		return struct{}{}, client.NotifyReceived(addrs)
	})
	if err != nil {
		w.log.Warn("new addresses not announced to the node", "error", err)
	}
}
