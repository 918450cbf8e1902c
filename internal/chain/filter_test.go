package chain

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// lightModel is the model as a light client sees it: with filters, which are exact
// here except that every fourth one says yes for no reason.
type lightModel struct{ *model }

var _ Filtering = lightModel{}

// lockedBy is the script of the output that an outpoint names.
func lockedBy(op wire.OutPoint) []byte { return []byte{0x52, op.Hash[0]} }

func (m lightModel) MayHold(ctx context.Context, hash chainhash.Hash, scripts [][]byte) (bool, error) {
	msg, _, err := m.Block(ctx, hash)
	if err != nil {
		return false, err
	}
	has := func(script []byte) bool {
		return slices.ContainsFunc(scripts, func(s []byte) bool { return bytes.Equal(s, script) })
	}
	for _, tx := range msg.Transactions[1:] {
		for _, in := range tx.TxIn {
			if has(lockedBy(in.PreviousOutPoint)) {
				return true, nil
			}
		}
		for _, out := range tx.TxOut {
			if has(out.PkScript) {
				return true, nil
			}
		}
	}
	return hash[3]%4 == 0, nil
}

// findable gives a watch the script that filters find it by. The model's
// transactions all spend outpoint 0.
func findable(w Watch, thing byte) Watch {
	switch w.kind {
	case watchOutPoint:
		return w.At(lockedBy(outpoint(thing)))
	case watchTxid:
		return w.At(lockedBy(outpoint(0)))
	}
	return w
}

// countingModel counts whole blocks.
type countingModel struct {
	lightModel
	blocks *int
}

func (m countingModel) Block(ctx context.Context, hash chainhash.Hash) (*wire.MsgBlock, uint32, error) {
	*m.blocks++
	return m.lightModel.Block(ctx, hash)
}

// TestFiltersSpareBlocks: of 400 blocks, of which one matters, only that one and
// the false positives are read; and all of them when one watch cannot be found by
// filters.
func TestFiltersSpareBlocks(t *testing.T) {
	for blind, most := range map[bool]int{false: 160, true: 401} {
		m := newModel(399)
		m.extend([]*wire.MsgTx{spendOf(2, []byte{7}, nil)})
		blocks, found := 0, 0
		w := New(countingModel{lightModel{m}, &blocks}, Config{})
		watch := OutPoint("seven", outpoint(7), 1)
		if !blind {
			watch = findable(watch, 7)
		}
		w.Watch(watch)
		w.handle = func(e Event) error { found += len(e.Spends); return nil }
		if err := w.catchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found == 0 || blocks > most || blind && blocks < 400 {
			t.Errorf("blind %t: found %d times by reading %d blocks", blind, found, blocks)
		}
	}
}
