package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"sync"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Client is the durable state of one identity's agent. Every verb is one atomic, synced step;
// verbs run one at a time, queries at any time. A verb that returns an error has changed
// nothing, but for code StoreUnknown: then only opening the store again tells, and all further
// verbs are refused until then.
type Client struct {
	engine Engine
	rand   io.Reader
	owner  identity.PublicKey

	mu           sync.Mutex // held by verbs
	version      uint64     // of the shard
	versionKnown bool
	failed       error // a commit in doubt that could not be settled
}

// clientFormat is the format of an agent's store. Version 1 is the first.
var clientFormat = format{magic: "relaymarket client store", version: 1}

// OpenClient opens or creates the store. Errors carry code StoreLocked, StoreVersion,
// StoreCorrupt, WrongNetwork, BadConfig or Internal.
func OpenClient(o ClientOptions) (*Client, error) {
	e, err := openPebble(o.Dir, o.FS, o.Size, o.Fatal)
	if err != nil {
		return nil, err
	}
	c, err := newClient(e, o)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return c, nil
}

// newClient opens the store in an engine, which stays the caller's to close on an error.
func newClient(e Engine, o ClientOptions) (*Client, error) {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	ctx := context.Background()
	head := newWriter(40).u(uint64(o.Network)).fixed(o.Owner[:]).b
	_, err := clientFormat.open(ctx, e, func() ([]Pair, error) { return []Pair{{clientKey, head}}, nil })
	if err != nil {
		return nil, err
	}
	c := &Client{engine: e, rand: o.Rand, owner: o.Owner}
	got, err := c.getOne(ctx, clientKey)
	if err != nil {
		return nil, err
	}
	return c, belongsTo(got, o)
}

// belongsTo checks that the store is the one that the options mean.
func belongsTo(head []byte, o ClientOptions) error {
	var owner identity.PublicKey
	r := newReader(head)
	network := identity.Network(r.u())
	r.fixed(owner[:])
	if err := r.end("the store's header"); err != nil {
		return err
	}
	if network != o.Network {
		return code.New(code.WrongNetwork, "the store is for %s, configured is %s", network, o.Network)
	}
	if owner != o.Owner {
		return code.New(code.BadConfig, "the store belongs to %s, the phrase to %s", owner.Name(), o.Owner.Name())
	}
	return nil
}

// Close releases the store.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = code.New(code.ShuttingDown, "the store is closed")
	}
	return c.engine.Close()
}

// reload reads the shard's version if it is not known. Callers hold c.mu.
func (c *Client) reload(ctx context.Context) error {
	if c.versionKnown {
		return nil
	}
	v, err := shardVersion(ctx, c.engine, clientShard)
	c.version, c.versionKnown = v.Number, err == nil
	return err
}

// getOne reads one key; nil if it is not there.
func (c *Client) getOne(ctx context.Context, key []byte) ([]byte, error) {
	got, err := c.engine.Get(ctx, clientShard, [][]byte{key})
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// getKnown reads one key that must be there. Code NotFound.
func (c *Client) getKnown(ctx context.Context, key []byte, what string) ([]byte, error) {
	v, err := c.getOne(ctx, key)
	if err == nil && v == nil {
		return nil, code.New(code.NotFound, "no such %s", what)
	}
	return v, err
}

// scanPage is how many rows one scan asks for.
const scanPage = 256

// each calls fn with all rows under a prefix whose keys are above it, in order, until fn says
// false or there are no more. from, if not nil, is where to begin.
func (c *Client) each(ctx context.Context, prefix, from []byte, fn func(Pair) (bool, error)) error {
	at := prefix
	if from != nil {
		at = from
	}
	for {
		rows, err := c.engine.Scan(ctx, clientShard, at, after(prefix), scanPage)
		if err != nil {
			return err
		}
		for _, p := range rows {
			if more, err := fn(p); err != nil || !more {
				return err
			}
		}
		if len(rows) < scanPage {
			return nil
		}
		at = append(rows[len(rows)-1].Key, 0)
	}
}

// large reads a value that was written in pieces. Code NotFound.
func (c *Client) large(ctx context.Context, kind byte, record identity.Digest) ([]byte, error) {
	var pieces [][]byte
	err := c.each(ctx, key32(kind, record), nil, func(p Pair) (bool, error) {
		pieces = append(pieces, p.Value)
		return true, nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(pieces) == 0:
		return nil, code.New(code.NotFound, "nothing is kept of record %s", record.Short())
	case len(pieces) == 1:
		return pieces[0], nil
	}
	return slices.Concat(pieces...), nil
}
