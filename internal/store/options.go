package store

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"relaymarket/identity"
	"relaymarket/usage"
)

// FS is the file system under a store.
type FS = vfs.FS

// MemoryFS is an empty file system in memory, for tests and demonstrations.
func MemoryFS() FS { return vfs.NewMem() }

// Size says how much memory a store takes for speed.
type Size struct {
	MemTable uint64 // bytes of one memtable; there are up to four
	Cache    int64  // bytes of block cache
}

// The sizes in use.
var (
	// Production is for a relay that has a machine for itself.
	Production = Size{MemTable: 64 << 20, Cache: 256 << 20}
	// Small is for tests, testnets and clients.
	Small = Size{MemTable: 4 << 20, Cache: 8 << 20}
)

// Options opens a relay's store.
type Options struct {
	Dir     string
	FS      FS   // nil: the disk
	Size    Size // zero: Small
	Network identity.Network
	Relay   identity.PublicKey // signs receipts, denials and reports
	Limits  usage.Limits       // zero: usage.DefaultLimits
	// FreeBytesPerDay is the free allowance of one identity in stored and delivered bytes;
	// zero: none.
	FreeBytesPerDay uint64
	// Rand makes the store_epoch and group ids; nil: crypto/rand.
	Rand io.Reader
	// FreeDisk gives the bytes left on the disk; nil: the real disk is asked, others are not
	// watched.
	FreeDisk func() (uint64, error)
	// Fatal is called, on any goroutine, when the disk fails in a way after which nothing more can
	// be made durable; it must end the process, with the error for its owner. nil: panic.
	Fatal func(error)
}
