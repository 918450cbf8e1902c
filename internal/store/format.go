package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// formatKey holds magic and format version; it is read before anything else is believed.
var formatKey = metaKey("format")

// format is a kind of store with its present version and the ways to it.
type format struct {
	magic   string // what the store is for
	version uint16
	// migrations[v] takes a store from version v to v+1 and must bear being repeated.
	migrations map[uint16]func(context.Context, Engine) error
}

// relayFormat is the format of a relay's store. Version 1 is the first. Version 2 knows grants and
// lanes, whose values version 1 would take for broken ones; what version 1 wrote reads as it is.
var relayFormat = format{magic: "relaymarket relay store", version: 2, migrations: map[uint16]func(context.Context, Engine) error{
	1: func(context.Context, Engine) error { return nil },
}}

func (f format) value(version uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte(f.magic), version)
}

// open checks what is in the engine. A new store gets the initial pairs; an old one is
// migrated. It tells whether the store is new.
func (f format) open(ctx context.Context, e Engine, initial func() ([]Pair, error)) (bool, error) {
	got, err := e.Get(ctx, metaShard, [][]byte{formatKey})
	if err != nil {
		return false, err
	}
	if got[0] == nil {
		return true, f.create(ctx, e, initial)
	}
	if len(got[0]) != len(f.magic)+2 || string(got[0][:len(f.magic)]) != f.magic {
		return false, code.New(code.StoreVersion, "this is no %s", f.magic)
	}
	return false, f.migrate(ctx, e, binary.BigEndian.Uint16(got[0][len(f.magic):]))
}

func (f format) create(ctx context.Context, e Engine, initial func() ([]Pair, error)) error {
	pairs, err := initial()
	if err != nil {
		return err
	}
	g := Group{Shard: metaShard, MustBeAbsent: [][]byte{formatKey}}
	g.Puts = append([]Pair{{formatKey, f.value(f.version)}}, pairs...)
	return insist(ctx, e, g)
}

// insist commits a group that may be repeated, whatever others do meanwhile. That a key exists
// means that it, or somebody else's like it, is there.
func insist(ctx context.Context, e Engine, g Group) error {
	var last error
	for range maxAttempts {
		v, err := shardVersion(ctx, e, g.Shard)
		if err != nil {
			return err
		}
		g.Expect = v.Number
		last = e.Commit(ctx, []Group{g})[0]
		if last == nil || errors.Is(last, ErrExists) {
			return nil
		}
		if !errors.Is(last, ErrStale) && !errors.Is(last, ErrUnknown) {
			break
		}
	}
	return code.Wrap(code.Internal, last, "writing to the store")
}

// migrate runs the migrations one by one, each sealed by its new version number.
func (f format) migrate(ctx context.Context, e Engine, at uint16) error {
	for ; at < f.version; at++ {
		step, ok := f.migrations[at]
		if !ok {
			break
		}
		if err := step(ctx, e); err != nil {
			return fmt.Errorf("migrating the store from version %d: %w", at, err)
		}
		if err := putMeta(ctx, e, Pair{formatKey, f.value(at + 1)}); err != nil {
			return err
		}
	}
	if at != f.version {
		return code.New(code.StoreVersion, "the store has version %d, this program works with %d", at, f.version)
	}
	return nil
}

// putMeta writes one pair into the meta shard while nobody else commits.
func putMeta(ctx context.Context, e Engine, pairs ...Pair) error {
	return insist(ctx, e, Group{Shard: metaShard, Puts: pairs})
}

// storeKey holds what a relay's store was created with.
var storeKey = metaKey("store")

// storeRow is what a relay's store was created with.
type storeRow struct {
	network identity.Network
	relay   identity.PublicKey
	numbers numbers
	epoch   [16]byte // store_epoch
}

func newStoreRow(o Options) (storeRow, error) {
	v := storeRow{network: o.Network, relay: o.Relay}
	if _, err := io.ReadFull(o.Rand, v.numbers[:]); err != nil {
		return v, code.Wrap(code.Internal, err, "no randomness")
	}
	_, err := io.ReadFull(o.Rand, v.epoch[:])
	return v, code.Wrap(code.Internal, err, "no randomness")
}

func (v storeRow) encode() []byte {
	return newWriter(72).u(uint64(v.network)).fixed(v.relay[:]).fixed(v.numbers[:]).fixed(v.epoch[:]).b
}

func decodeStoreRow(b []byte) (storeRow, error) {
	var v storeRow
	r := newReader(b)
	v.network = identity.Network(r.u())
	r.fixed(v.relay[:])
	r.fixed(v.numbers[:])
	r.fixed(v.epoch[:])
	return v, r.end("the store's header")
}

// belongs checks that the store is the one that the options mean.
func (v storeRow) belongs(o Options) error {
	if v.network != o.Network {
		return code.New(code.WrongNetwork, "the store is for %s, configured is %s", v.network, o.Network)
	}
	if v.relay != o.Relay {
		return code.New(code.BadConfig, "the store belongs to relay %s, configured is %s", v.relay.Name(), o.Relay.Name())
	}
	return nil
}
