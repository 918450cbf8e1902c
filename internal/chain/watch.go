package chain

import (
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// Watch is a thing to look for in blocks. Make it with OutPoint, Txid or
// Script.
type Watch struct {
	key      string
	from     uint32
	kind     watchKind
	outpoint wire.OutPoint
	txid     chainhash.Hash
	script   string
	at       string // the script by which filters find it; empty: unknown
}

type watchKind uint8

const (
	watchOutPoint watchKind = iota
	watchTxid
	watchScript
)

// OutPoint watches for the spending of an output. key comes back in every Spend
// and may be shared by several watches.
//
// from, here as in Txid and Script, is the first height whose block may matter.
// Blocks at or above it that were already handled are looked through again and
// yield Rescanned events, so it must be the height at which the thing may first
// have happened, not the present one; findings below it may come too. 0 means the first block that this
// Watcher hands over: right for what was watched before a restart and is covered up
// to the stored blocks.
func OutPoint(key string, op wire.OutPoint, from uint32) Watch {
	return Watch{key: key, from: from, kind: watchOutPoint, outpoint: op}
}

// Txid watches for the confirmation of a transaction.
func Txid(key string, txid chainhash.Hash, from uint32) Watch {
	return Watch{key: key, from: from, kind: watchTxid, txid: txid}
}

// Script watches for outputs that pay to a script.
func Script(key string, pkScript []byte, from uint32) Watch {
	return Watch{key: key, from: from, kind: watchScript, script: string(pkScript), at: string(pkScript)}
}

// At says by which script a watch can be found in a filter: that of the watched
// output, or of any output of the watched transaction. A Filtering backend then
// spares the blocks that cannot hold it; without, it has to read them all.
func (w Watch) At(pkScript []byte) Watch {
	w.at = string(pkScript)
	return w
}

// Spend is a watched output's end.
type Spend struct {
	Key      string
	OutPoint wire.OutPoint
	Txid     chainhash.Hash // of Tx
	Tx       *wire.MsgTx    // the spender
	Input    uint32         // which of its inputs spends
}

// Confirm is a watched transaction's arrival in a block.
type Confirm struct {
	Key  string
	Txid chainhash.Hash
	Tx   *wire.MsgTx
}

// Payment is an output to a watched script.
type Payment struct {
	Key      string
	OutPoint wire.OutPoint
	Tx       *wire.MsgTx // the payer; the output is Tx.TxOut[OutPoint.Index]
}

// findings are what a block holds of the watched things, in block order.
type findings struct {
	spends   []Spend
	confirms []Confirm
	payments []Payment
}

func (f findings) empty() bool {
	return len(f.spends)+len(f.confirms)+len(f.payments) == 0
}

// index finds the keys that watch a thing.
type index struct {
	outpoints map[wire.OutPoint][]string
	txids     map[chainhash.Hash][]string
	scripts   map[string][]string

	at    map[string][]string // the scripts by which filters find all of the above
	blind map[string]bool     // keys with a watch that filters cannot find
}

func newIndex() *index {
	return &index{
		outpoints: make(map[wire.OutPoint][]string),
		txids:     make(map[chainhash.Hash][]string),
		scripts:   make(map[string][]string),
		at:        make(map[string][]string),
		blind:     make(map[string]bool),
	}
}

func (x *index) add(w Watch) {
	switch w.kind {
	case watchOutPoint:
		insert(x.outpoints, w.outpoint, w.key)
	case watchTxid:
		insert(x.txids, w.txid, w.key)
	case watchScript:
		insert(x.scripts, w.script, w.key)
	}
	if w.at == "" {
		x.blind[w.key] = true
		return
	}
	insert(x.at, w.at, w.key)
}

// filter gives the scripts by which filters find everything that is watched.
// It is not ok when they cannot.
func (x *index) filter() (scripts [][]byte, ok bool) {
	if len(x.blind) > 0 {
		return nil, false
	}
	for s := range x.at {
		scripts = append(scripts, []byte(s))
	}
	return scripts, true
}

func (x *index) remove(key string) {
	drop(x.outpoints, key)
	drop(x.txids, key)
	drop(x.scripts, key)
	drop(x.at, key)
	delete(x.blind, key)
}

func insert[K comparable](m map[K][]string, what K, key string) {
	if !slices.Contains(m[what], key) {
		m[what] = append(m[what], key)
	}
}

func drop[K comparable](m map[K][]string, key string) {
	for what, keys := range m {
		rest := slices.DeleteFunc(keys, func(k string) bool { return k == key })
		if len(rest) == 0 {
			delete(m, what)
			continue
		}
		m[what] = rest
	}
}

// match looks through a block.
func (x *index) match(b *wire.MsgBlock) findings {
	var f findings
	for _, tx := range b.Transactions {
		x.matchTx(tx, tx.TxHash(), &f)
	}
	return f
}

func (x *index) matchTx(tx *wire.MsgTx, txid chainhash.Hash, f *findings) {
	for i, in := range tx.TxIn {
		for _, key := range x.outpoints[in.PreviousOutPoint] {
			f.spends = append(f.spends, Spend{
				Key: key, OutPoint: in.PreviousOutPoint, Txid: txid, Tx: tx, Input: uint32(i),
			})
		}
	}
	for _, key := range x.txids[txid] {
		f.confirms = append(f.confirms, Confirm{Key: key, Txid: txid, Tx: tx})
	}
	for i, out := range tx.TxOut {
		for _, key := range x.scripts[string(out.PkScript)] {
			op := wire.OutPoint{Hash: txid, Index: uint32(i)}
			f.payments = append(f.payments, Payment{Key: key, OutPoint: op, Tx: tx})
		}
	}
}
