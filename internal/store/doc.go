// Package store owns every byte that a relay or a client keeps on disk: each key, each value
// and each atomic write, behind verbs of the domain. It is the only importer of pebble.
//
// There are three layers, from the disk upwards:
//
//	engine      an ordered key-value space in 256 shards with one compare-and-set per shard
//	            (Engine: Get, Scan, Commit, DropExpired). Pebble is one; a database behind
//	            a network can be another. A commit can be stale, in conflict or in doubt,
//	            and the layer above settles that before anybody is answered.
//	keys, rows  the byte forms. All key bytes are in keys.go, all values in values*.go.
//	Relay       the durable state of a relay. Its one committer passes verified operations
//	            to Apply, which checks what needs state (uniqueness, funds, caps), assigns
//	            arrivals, appends rows to the logs of contracts, and makes all of it durable
//	            with one fsync before it returns. Queries see synced state only.
//
// Where a record is: its home shard is that of the identity that pays for it, because charge,
// record, caps and log row must commit together. The path of a record belongs to the shard of
// its sender; if that is another one, the path is claimed there first. See keys.go.
//
// Nothing is said to anybody before it is synced: Apply returns the bodies of receipts and
// denials, unsigned, out of the batch that it has just made durable.
package store
