// Package btcdnode starts a real btcd node on Bitcoin's regression test network
// as a child process, on loopback only, and makes blocks, forks and money on it.
//
// It exists so that every test about money and the `testnet` command run against
// a node nobody here wrote. A newcomer starts like this:
//
//	node, err := btcdnode.Start(ctx, btcdnode.Options{Blocks: 150})
//	defer node.Stop()
//	outpoint, err := node.Fund(ctx, pkScript, 100_000) // 100,000 satoshi, unconfirmed
//	_, err = node.Mine(1)                              // now confirmed
//	err = node.Reorg(1, 2)                             // the last block is replaced by two others
//
// Nothing here imports testing, so the command can use it too.
//
// # Life and death of the child
//
// The node is executed directly, not through `go tool`: killing `go tool` would
// leave the node behind as an orphan. On Linux the kernel kills the node when
// this process dies, however it dies. Done is closed when the node has exited
// for any reason; Stop asks first and then kills, both by process id.
//
// # Time
//
// Blocks are made on demand and carry the current time, or one second more than
// the median of the last eleven when many are made at once, so thousands of
// blocks stay within the two hours that a node tolerates.
package btcdnode
