// Package chain says what this program wants to know of the Bitcoin chain and
// follows it: which blocks exist, which watched outputs were spent and which
// watched transactions were confirmed, in an order that survives reorgs,
// restarts of the node and restarts of this program.
//
// Backend is a node. Package chain/btcd implements it over RPC; the tests of
// this package implement it by a model.
//
// Watcher pulls blocks from a Backend and hands them to one function, one event
// at a time. A newcomer starts like this:
//
//	w := chain.New(backend, chain.Config{Recent: stored}) // nil on the first run
//	w.Watch(chain.OutPoint("contract-7/escrow", escrow, birthHeight))
//	err := w.Run(ctx, func(e chain.Event) error {
//		// one synced batch: the facts of e and the row of e.Block
//	})
//
// # What is promised
//
// Events follow the chain: Connected for a block on top of the last one,
// Disconnected for the last one. A handler that stores the facts of an event
// under its block's hash, and drops them at Disconnected, ends with the facts of
// the node's best chain, however it got there. Notifications of a node are only
// wake-ups: everything is pulled, so none can be missed.
//
// An event counts as handled when the handler returns nil. Otherwise Run returns
// the handler's error and nothing is lost: the caller starts again from the
// blocks it has stored, and the same event comes again.
//
// A node that does not answer, or answers with a shorter piece of the chain that
// was already seen (it is starting or catching up), is waited for inside Run;
// Health tells. Only a handler's error, a cancelled context, or a reorg deeper
// than the known blocks end Run.
package chain
