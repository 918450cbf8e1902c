// Package btcd is a chain.Backend over the RPC interface of a btcd node.
//
//	backend, err := btcd.Dial(ctx, btcd.Config{
//		Host: "127.0.0.1:8334", User: user, Pass: pass, Params: &chaincfg.MainNetParams,
//	})
//	defer backend.Close()
//
// One websocket connection serves all calls. When it breaks, the call at hand
// fails with ChainUnavailable and the next one connects again and checks again
// that the node is on the right network; nothing waits or repeats in here. A
// node that accepts but does not answer is given up after Config.Timeout.
//
// The node needs --txindex for Tx (and so for recognising old transactions in
// Broadcast and TestAccept).
//
// # Where btcd differs from Bitcoin Core
//
// gettxout shows an output although the mempool spends it, so TxOut asks for the
// spender too. Headers of blocks off the best chain cannot be asked for with
// their height; that is ErrNotOnChain here. There is no estimatesmartfee; the
// older estimatefee is asked when it is missing.
package btcd
