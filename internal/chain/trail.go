package chain

import "github.com/btcsuite/btcd/chainhash/v2"

// trail is a piece of chain: consecutive blocks, oldest first, at most depth.
type trail struct {
	blocks []Block
	depth  int
}

// newTrail takes the longest consecutive end of the given blocks, so that rows
// with a gap (an old database, lost rows) are as good as fewer rows.
func newTrail(blocks []Block, depth int) trail {
	start := max(len(blocks)-1, 0)
	for start > 0 && follows(blocks[start], blocks[start-1]) {
		start--
	}
	t := trail{depth: depth}
	for _, b := range blocks[start:] {
		t.push(b)
	}
	return t
}

func follows(b, parent Block) bool {
	return b.Height == parent.Height+1 && b.Prev == parent.Hash
}

func (t *trail) empty() bool { return len(t.blocks) == 0 }

func (t *trail) last() Block { return t.blocks[len(t.blocks)-1] }

func (t *trail) first() Block { return t.blocks[0] }

// at is the hash at a height, if it is within the trail.
func (t *trail) at(height uint32) (chainhash.Hash, bool) {
	if t.empty() || height < t.first().Height || height > t.last().Height {
		return chainhash.Hash{}, false
	}
	return t.blocks[height-t.first().Height].Hash, true
}

func (t *trail) push(b Block) {
	t.blocks = append(t.blocks, b)
	if len(t.blocks) > t.depth {
		t.blocks = append([]Block(nil), t.blocks[len(t.blocks)-t.depth:]...)
	}
}

func (t *trail) pop() { t.blocks = t.blocks[:len(t.blocks)-1] }

// extend puts older blocks below the trail.
func (t *trail) extend(older []Block) {
	t.blocks = append(older, t.blocks...)
}
