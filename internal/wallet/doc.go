// Package wallet keeps the coins of one party: it hands out addresses, reserves coins for a
// contract, signs what it owns, and pays. btcwallet is embedded for what is hard to get right
// (keys at rest, the transaction store, rescans); choosing, reserving and signing are done here.
//
// A newcomer starts like this:
//
//	w, err := wallet.Open(wallet.Config{Dir: dir, Params: params, Seed: seed, Passphrase: pass, RPC: rpc})
//	defer w.Close()
//	go w.Run(ctx)                                  // follows the node until ctx ends
//	err = w.Synced(ctx)                            // now the wallet has seen every block
//	addr, script, err := w.NewAddress()            // send coins here
//	share, err := w.FundShare(100_000, outs, 2000, leaseID, 1) // reserve inputs for a contract
//	witnesses, err := w.SignOwn(tx, prevouts, own) // sign them once both sides agree on tx
//
// # Keys
//
// All addresses are BIP86 taproot key spends on the path m/86'/0'/0' of the seed. btcwallet uses
// coin type 0 on every network; on test networks another wallet therefore has to be told that
// path. Keys of contracts come from the same seed but never from these addresses: see
// ContractKey, whose rule is part of the protocol because it is how a contract's money is found
// again when only the phrase is left.
//
// # What is the truth
//
// The node says which coins exist, and every coin is looked up there once more before it is
// chosen. The contract store says which coins are reserved: leases here survive a restart, but the
// caller derives them again from its contracts at start and drops the rest with
// ReleaseAllExcept. Transactions that others broadcast (funding, settlement, refund) need no
// report to the wallet: whatever pays to or spends from it is seen on the node.
//
// # Following the node
//
// Run holds one websocket to a btcd node. When it breaks, everything that hangs on it is thrown
// away and built again, because btcwallet's own reconnection can lose a rescan that was under way.
// The same happens when blocks are replaced, in the chain or during a scan: btcwallet never hears of
// a reorganisation, because it rolls back only a part of a deep one (see gate.go). Every scan ends
// with a comparison of the wallet's own record with the node.
// A new wallet directory first searches the chain for coins of its seed with compact filters
// (BIP158), 250 addresses ahead; after that it only rescans what it missed.
package wallet
