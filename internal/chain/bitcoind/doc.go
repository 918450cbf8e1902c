// Package bitcoind is a chain.Backend over the JSON-RPC interface of a Bitcoin Core
// node, version 28 or later, with txindex=1.
//
//	backend, err := bitcoind.New(bitcoind.Config{
//		Host: "127.0.0.1:8332", CookieFile: "/home/me/.bitcoin/.cookie", Params: &chaincfg.MainNetParams,
//	})
//	defer backend.Close()
//
// Before the first question, and again after every broken connection, it checks the
// node's version, network and index. The interface has no TLS: a node on another
// machine is reached through a tunnel that ends on this one.
//
// # What this was tested against
//
// No Bitcoin Core node was at hand when this was written. It follows the published
// descriptions of the RPC calls (bitcoincore.org, versions 28 to 30), and the tests
// hold every request, byte for byte, and its reading of the described answers and
// errors against testdata/exchanges.json. Try it on regtest or signet before you
// trust it with money.
package bitcoind
