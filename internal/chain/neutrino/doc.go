// Package neutrino is a chain.Backend that needs no node: a light client inside
// this program, which downloads block headers, compact filters (BIP157 and BIP158)
// and the few blocks whose filter says that they may hold what is watched. It is
// what a user without a node gets.
//
//	backend, err := neutrino.New(neutrino.Config{Dir: dir, Params: &chaincfg.MainNetParams})
//	defer backend.Close()
//
// It connects at its first use, to peers from DNS seeds or to the configured ones
// only, and answers with ChainUnavailable until headers and filter headers are
// level with its peers, and whenever no peer is connected.
//
// # What a light client cannot do
//
// It verifies the work of the headers, that filters agree between peers, and every
// block that it fetches. It does not verify that blocks follow the rules of
// consensus: whoever outworks all miners could lie to it. And it has no set of
// unspent outputs and no mempool:
//
//   - TxOut, Spending, Tx and TestAccept are refused with LightClient. Checks 13 to
//     15 of a contract's opening, which a relay makes on its client's coins, need them; so
//     a relay cannot run on this backend, and a client that does asks for no collateral,
//     because it would have to make them on its relay's coins. A scan of filters (neutrino's GetUtxo)
//     would not do: it cannot see a spend in the mempool, and a stranger who names an
//     old coin in a proposal would make the relay download gigabytes of filters.
//   - Broadcast gives a transaction to all peers and hears of a refusal only from
//     those that still send reject messages (btcd does, Bitcoin Core does not): nil
//     means "sent", not "accepted". Only a block tells.
//   - FeeRate never has data; see chain.FeeRate for the fallback.
//
// # Why none of neutrino's rescans
//
// One block that cannot be fetched ends a neutrino rescan for ever (issue 388 of
// that project). Here everything is pulled block by block by chain.Watcher, which tries again.
package neutrino
