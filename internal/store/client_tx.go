package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// clientShard is the one shard that an agent's store uses.
const clientShard uint8 = 0

// clientTx is one attempt at a verb: it reads synced state overlaid with its own writes, and
// all writes become durable together or not at all.
type clientTx struct {
	*Client
	ctx    context.Context
	writes map[string][]byte // nil value: delete
	read   map[string][]byte
	early  []Pair // large values; harmless alone, so they may go in groups before the rest
	seq    uint64 // last sequence number given; 0: none
}

// update runs a verb until it is committed. fn may run several times; it must set the verb's
// results anew each time.
func (c *Client) update(ctx context.Context, fn func(*clientTx) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range maxAttempts {
		if c.failed != nil {
			return c.failed
		}
		t := &clientTx{Client: c, ctx: ctx, writes: make(map[string][]byte), read: make(map[string][]byte)}
		if err := fn(t); err != nil {
			return err
		}
		err := t.commit()
		if err == nil {
			return nil
		}
		c.versionKnown = false
		if !errors.Is(err, ErrStale) && !errors.Is(err, ErrSkipped) {
			return err
		}
	}
	return code.New(code.StoreStale, "%d attempts met another committer", maxAttempts)
}

// get reads one key; nil if it is not there.
func (t *clientTx) get(key []byte) ([]byte, error) {
	if v, ok := t.writes[string(key)]; ok {
		return v, nil
	}
	if v, ok := t.read[string(key)]; ok {
		return v, nil
	}
	if err := t.fetch([][]byte{key}); err != nil {
		return nil, err
	}
	return t.read[string(key)], nil
}

// fetch reads many keys in one round trip, to be found by get.
func (t *clientTx) fetch(keys [][]byte) error {
	got, err := t.engine.Get(t.ctx, clientShard, keys)
	if err != nil {
		return err
	}
	for i, k := range keys {
		t.read[string(k)] = got[i]
	}
	return nil
}

// put writes a value, which may be empty.
func (t *clientTx) put(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	t.writes[string(key)] = value
}

func (t *clientTx) delete(key []byte) { t.writes[string(key)] = nil }

// next gives the next number of the store; numbers rise for ever.
func (t *clientTx) next() (uint64, error) {
	if t.seq == 0 {
		v, err := t.get(clientSeqKey)
		if err != nil {
			return 0, err
		}
		if t.seq, err = decodeNumber(v); err != nil {
			return 0, err
		}
	}
	t.seq++
	t.put(clientSeqKey, number(t.seq))
	return t.seq, nil
}

// clientPiece is how many bytes of a large value lie in one row.
const clientPiece = 48 << 10

// putLarge writes a value in pieces.
func (t *clientTx) putLarge(kind byte, record identity.Digest, value []byte) {
	for i := 0; i == 0 || i*clientPiece < len(value); i++ {
		part := value[i*clientPiece : min((i+1)*clientPiece, len(value))]
		t.early = append(t.early, Pair{pieceKey(kind, record, uint16(i)), part})
	}
}

// deleteLarge deletes the pieces of a value of at most n bytes.
func (t *clientTx) deleteLarge(kind byte, record identity.Digest, n int) {
	for i := 0; i == 0 || i*clientPiece < n; i++ {
		t.delete(pieceKey(kind, record, uint16(i)))
	}
}

// commit makes the attempt durable. ErrStale and ErrSkipped: nothing that matters was written,
// decide again.
func (t *clientTx) commit() error {
	if len(t.writes) == 0 && len(t.early) == 0 {
		return nil
	}
	if err := t.reload(t.ctx); err != nil {
		return err
	}
	groups, err := t.groups()
	if err != nil {
		return err
	}
	for i, err := range t.engine.Commit(t.ctx, groups) {
		if errors.Is(err, ErrUnknown) {
			err = t.settle(groups[i], err)
		}
		if err != nil {
			return err
		}
		t.version = groups[i].Expect + 1
	}
	return nil
}

// settle finds out about a group in doubt: nil if it was committed, ErrStale if not, be it that
// nobody has committed since or that another group took its place. If that cannot be found
// out, nothing more is done before the store is opened again, so that nobody builds on what
// may be there.
func (t *clientTx) settle(g Group, doubt error) error {
	v, err := shardVersion(t.ctx, t.engine, clientShard)
	switch {
	case err == nil && v == Version{g.Expect + 1, g.ID}:
		return nil
	case err == nil && (v.Number == g.Expect || v.Number == g.Expect+1):
		return ErrStale
	}
	t.failed = code.Wrap(code.StoreUnknown, errors.Join(doubt, err), "a commit is in doubt; start the agent again")
	return t.failed
}

// groups packs the writes: large values first, then everything else in one group.
func (t *clientTx) groups() ([]Group, error) {
	var out []Group
	size := MaxGroup + 1
	for _, p := range t.early {
		if size += len(p.Key) + len(p.Value); size > MaxGroup {
			out, size = append(out, Group{}), len(p.Key)+len(p.Value)
		}
		out[len(out)-1].Puts = append(out[len(out)-1].Puts, p)
	}
	out = append(out, t.last())
	for i := range out {
		out[i].Shard, out[i].Expect = clientShard, t.version+uint64(i)
		if _, err := io.ReadFull(t.rand, out[i].ID[:]); err != nil {
			return nil, code.Wrap(code.Internal, err, "no randomness")
		}
	}
	return out, nil
}

// last is the group of all small writes, in the order of their keys.
func (t *clientTx) last() Group {
	var g Group
	for k, v := range t.writes {
		if v == nil {
			g.Deletes = append(g.Deletes, []byte(k))
		} else {
			g.Puts = append(g.Puts, Pair{[]byte(k), v})
		}
	}
	slices.SortFunc(g.Puts, func(a, b Pair) int { return bytes.Compare(a.Key, b.Key) })
	slices.SortFunc(g.Deletes, bytes.Compare)
	return g
}
