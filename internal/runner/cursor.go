package runner

import (
	"encoding/binary"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"

	"relaymarket/internal/chain"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// The cursor is the list of the last blocks that were handled, oldest first: enough to walk back
// over a reorg that happened while the program was down.

const (
	cursorVersion = 1
	cursorBlock   = 32 + 4 + 32 + 8
)

// moveCursor gives the list after an event; the old list is not changed.
func moveCursor(recent []chain.Block, e chain.Event) []chain.Block {
	switch e.Kind {
	case chain.Connected:
		out := append(append(make([]chain.Block, 0, len(recent)+1), recent...), e.Block)
		if len(out) > chain.DefaultDepth {
			out = out[len(out)-chain.DefaultDepth:]
		}
		return out
	case chain.Disconnected:
		if n := len(recent); n > 0 && recent[n-1].Hash == e.Block.Hash {
			return recent[:n-1]
		}
	}
	return recent
}

func encodeCursor(blocks []chain.Block) []byte {
	b := append(make([]byte, 0, 1+cursorBlock*len(blocks)), cursorVersion)
	for _, x := range blocks {
		b = append(b, x.Hash[:]...)
		b = binary.BigEndian.AppendUint32(b, x.Height)
		b = append(b, x.Prev[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(x.Time.Unix()))
	}
	return b
}

func decodeCursor(b []byte) ([]chain.Block, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != cursorVersion || (len(b)-1)%cursorBlock != 0 {
		return nil, code.New(code.StoreCorrupt, "a chain cursor of version %d and %d bytes", b[0], len(b))
	}
	var out []chain.Block
	for b = b[1:]; len(b) > 0; b = b[cursorBlock:] {
		out = append(out, chain.Block{
			Hash: chainhash.Hash(b[:32]), Height: binary.BigEndian.Uint32(b[32:]),
			Prev: chainhash.Hash(b[36:68]), Time: time.Unix(int64(binary.BigEndian.Uint64(b[68:])), 0),
		})
	}
	return out, nil
}

func heightOf(e chain.Event) usage.Height { return usage.Height(e.Block.Height) }
