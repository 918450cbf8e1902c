package contract

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/codec"
)

// mutant is a statement that differs from an honest one.
type mutant struct {
	typ uint64 // of the field that was changed; noField: the statement as a whole
	how string
	raw []byte
}

// noField stands for a change that is not in one field.
const noField = 1 << 32

// field is one field of a statement.
type field struct {
	typ   uint64
	value []byte
}

// split takes a statement apart, in the compact sizes of lnd/tlv.
func split(raw []byte) []field {
	var out []field
	for len(raw) > 0 {
		typ, n, head := tlvHead(raw)
		out = append(out, field{typ, bytes.Clone(raw[head : head+n])})
		raw = raw[head+n:]
	}
	return out
}

func tlvHead(b []byte) (typ uint64, n, head int) {
	size := func(b []byte) (uint64, int) {
		if b[0] < 0xfd {
			return uint64(b[0]), 1
		}
		return uint64(b[1])<<8 | uint64(b[2]), 3
	}
	typ, a := size(b)
	l, c := size(b[a:])
	return typ, int(l), a + c
}

func join(fields []field) []byte {
	var out []byte
	for _, f := range fields {
		for _, n := range []uint64{f.typ, uint64(len(f.value))} {
			if n < 0xfd {
				out = append(out, byte(n))
			} else {
				out = append(out, 0xfd, byte(n>>8), byte(n))
			}
		}
		out = append(out, f.value...)
	}
	return out
}

// mutantsOf are all changes of a statement: of every field, of everything inside of it, and of the row of
// fields. foreign are honest statements whose values are put in the place of its own.
func mutantsOf(raw []byte, foreign ...[]byte) []mutant {
	fields := split(raw)
	var out []mutant
	add := func(typ uint64, how string, fs []field) {
		if b := join(fs); !bytes.Equal(b, raw) {
			out = append(out, mutant{typ, how, b})
		}
	}
	for i, f := range fields {
		for _, v := range changes(f.value, 0) {
			add(f.typ, v.how, with(fields, i, field{f.typ, v.value}))
		}
		add(f.typ, "removed", slices.Delete(slices.Clone(fields), i, i+1))
		add(f.typ, "doubled", slices.Insert(slices.Clone(fields), i, f))
		add(f.typ, "with an odd neighbour", slices.Insert(slices.Clone(fields), i+1, field{f.typ + 1, []byte{1}}))
		add(f.typ, "renumbered", with(fields, i, field{f.typ + 1, f.value}))
		for j, o := range fields {
			if i != j && len(o.value) == len(f.value) {
				add(f.typ, fmt.Sprintf("with the value of field %d", o.typ), with(fields, i, field{f.typ, o.value}))
			}
		}
		for n, other := range foreign {
			for _, o := range split(other) {
				if o.typ == f.typ {
					add(f.typ, fmt.Sprintf("of foreign statement %d", n), with(fields, i, field{f.typ, o.value}))
				}
			}
		}
	}
	for cut := 1; cut < len(raw); cut += 1 + len(raw)/16 {
		out = append(out, mutant{noField, "cut off", raw[:cut]})
	}
	return append(out, mutant{noField, "with bytes behind", append(bytes.Clone(raw), 0)}, mutant{noField, "with a must behind", append(bytes.Clone(raw), 250, 0)})
}

// with is a row of things with another one at a place.
func with[T any](all []T, i int, x T) []T {
	out := slices.Clone(all)
	out[i] = x
	return out
}

// change is another value and how it came about.
type change struct {
	how   string
	value []byte
}

// maxNesting is how deep changes look into a value: lists of witnesses in a field are two levels.
const maxNesting = 3

// changes are other values in the place of one: as bytes, as a number, and as what it holds.
func changes(v []byte, depth int) []change {
	var out []change
	add := func(how string, b []byte) { out = append(out, change{how, b}) }
	add("emptied", nil)
	add("lengthened", append(bytes.Clone(v), 0))
	if len(v) == 0 || depth > maxNesting {
		return out
	}
	add("shortened", v[:len(v)-1])
	add("zeroed", make([]byte, len(v)))
	add("filled", bytes.Repeat([]byte{0xff}, len(v)))
	for i := range 6 {
		bit := i * (len(v)*8 - 1) / 5
		b := bytes.Clone(v)
		b[bit/8] ^= 1 << (bit % 8)
		add(fmt.Sprintf("bit %d flipped", bit), b)
	}
	out = append(out, numbers(v)...)
	out = append(out, items(v, depth)...)
	out = append(out, transactions(v)...)
	return append(out, nested(v, depth)...)
}

// numbers are changes of an integer.
func numbers(v []byte) []change {
	if n := len(v); n != 1 && n != 2 && n != 4 && n != 8 {
		return nil
	}
	var wide [8]byte
	copy(wide[8-len(v):], v)
	n := binary.BigEndian.Uint64(wide[:])
	var out []change
	for how, x := range map[string]uint64{"plus 1": n + 1, "minus 1": n - 1, "doubled": 2 * n, "halved": n / 2, "is 1": 1, "plus 1000": n + 1000, "minus 1000": n - 1000} {
		binary.BigEndian.PutUint64(wide[:], x)
		out = append(out, change{how, bytes.Clone(wide[8-len(v):])})
	}
	slices.SortFunc(out, func(a, b change) int { return bytes.Compare([]byte(a.how), []byte(b.how)) })
	return out
}

// items are changes of a list.
func items(v []byte, depth int) []change {
	all, err := codec.SplitList(v, 64, 4096)
	if err != nil || len(all) == 0 {
		return nil
	}
	var out []change
	add := func(how string, items [][]byte) { out = append(out, change{how, codec.AppendList(nil, items)}) }
	for i, item := range all {
		for _, c := range changes(item, depth+1) {
			add(fmt.Sprintf("item %d %s", i, c.how), with(all, i, c.value))
		}
		add(fmt.Sprintf("item %d removed", i), slices.Delete(slices.Clone(all), i, i+1))
		add(fmt.Sprintf("item %d doubled", i), slices.Insert(slices.Clone(all), i, item))
		next := (i + 1) % len(all)
		add(fmt.Sprintf("items %d and %d swapped", i, next), with(with(all, i, all[next]), next, item))
		add(fmt.Sprintf("item %d twice", i), with(all, next, item))
	}
	return out
}

// nested are changes of terms.
func nested(v []byte, depth int) []change {
	if _, err := DecodeTerms(v); err != nil {
		return nil
	}
	var out []change
	fields := split(v)
	for i, f := range fields {
		for _, c := range changes(f.value, depth+1) {
			out = append(out, change{fmt.Sprintf("term %d %s", f.typ, c.how), join(with(fields, i, field{f.typ, c.value}))})
		}
		out = append(out, change{fmt.Sprintf("term %d removed", f.typ), join(slices.Delete(slices.Clone(fields), i, i+1))})
		for j, o := range fields {
			if i < j && len(o.value) == len(f.value) {
				swapped := with(with(fields, i, field{f.typ, o.value}), j, field{o.typ, f.value})
				out = append(out, change{fmt.Sprintf("terms %d and %d swapped", f.typ, o.typ), join(swapped)})
			}
		}
	}
	return out
}

// transactions are changes of an unsigned transaction.
func transactions(v []byte) []change {
	if tx, err := parseUnsigned(v); err != nil || len(tx.TxIn) == 0 {
		return nil
	}
	var out []change
	for _, c := range txChanges(v) {
		tx, _ := parseUnsigned(v)
		c.do(tx)
		out = append(out, change{"tx: " + c.how, unsignedBytes(tx)})
	}
	tx, _ := parseUnsigned(v)
	for _, in := range tx.TxIn {
		in.Witness = wire.TxWitness{make([]byte, 64)}
	}
	var b bytes.Buffer
	_ = tx.Serialize(&b)
	return append(out, change{"tx: with witnesses", b.Bytes()})
}

// txChange changes a transaction.
type txChange struct {
	how string
	do  func(*wire.MsgTx)
}

func txChanges(v []byte) []txChange {
	var out []txChange
	add := func(how string, do func(*wire.MsgTx)) { out = append(out, txChange{how, do}) }
	for _, n := range []int32{0, 1, 3, -1} {
		add(fmt.Sprintf("version %d", n), func(tx *wire.MsgTx) { tx.Version = n })
	}
	for _, n := range []uint32{1, startHeight, 1 << 31, 1<<32 - 1} {
		add(fmt.Sprintf("lock time %d", n), func(tx *wire.MsgTx) { tx.LockTime = n })
	}
	honest, _ := parseUnsigned(v)
	for i := range honest.TxIn {
		inputChanges(i, add)
	}
	for i := range honest.TxOut {
		outputChanges(i, add)
	}
	stranger := p2tr(seedKey("stranger"))
	for _, value := range []int64{0, 1, 330, 10_000} {
		add(fmt.Sprintf("another output of %d", value), func(tx *wire.MsgTx) { tx.AddTxOut(wire.NewTxOut(value, stranger)) })
	}
	add("an input of a stranger", func(tx *wire.MsgTx) { tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: 7}, nil, nil)) })
	return out
}

func inputChanges(i int, add func(string, func(*wire.MsgTx))) {
	for _, n := range []uint32{0, 1, 1 << 22, spendSequence - 1, spendSequence + 1, spendSequence + 2} {
		add(fmt.Sprintf("input %d sequence %08x", i, n), func(tx *wire.MsgTx) { tx.TxIn[i].Sequence = n })
	}
	add(fmt.Sprintf("input %d of another transaction", i), func(tx *wire.MsgTx) { tx.TxIn[i].PreviousOutPoint.Hash[3] ^= 1 })
	add(fmt.Sprintf("input %d of another output", i), func(tx *wire.MsgTx) { tx.TxIn[i].PreviousOutPoint.Index++ })
	add(fmt.Sprintf("input %d with a script", i), func(tx *wire.MsgTx) { tx.TxIn[i].SignatureScript = []byte{0x51} })
	add(fmt.Sprintf("input %d doubled", i), func(tx *wire.MsgTx) { tx.AddTxIn(tx.TxIn[i]) })
	add(fmt.Sprintf("input %d removed", i), func(tx *wire.MsgTx) { tx.TxIn = slices.Delete(tx.TxIn, i, i+1) })
	add(fmt.Sprintf("input %d first", i), func(tx *wire.MsgTx) { tx.TxIn[0], tx.TxIn[i] = tx.TxIn[i], tx.TxIn[0] })
}

func outputChanges(i int, add func(string, func(*wire.MsgTx))) {
	for _, d := range []int64{-1, 1, -1000, 1000} {
		add(fmt.Sprintf("output %d %+d sat", i, d), func(tx *wire.MsgTx) { tx.TxOut[i].Value += d })
	}
	for _, v := range []int64{0, 1, -1, 329, 1<<63 - 1, 21e14} {
		add(fmt.Sprintf("output %d of %d sat", i, v), func(tx *wire.MsgTx) { tx.TxOut[i].Value = v })
	}
	add(fmt.Sprintf("output %d to a stranger", i), func(tx *wire.MsgTx) { tx.TxOut[i].PkScript = p2tr(seedKey("stranger")) })
	add(fmt.Sprintf("output %d to nobody", i), func(tx *wire.MsgTx) { tx.TxOut[i].PkScript = []byte{0x6a} })
	add(fmt.Sprintf("output %d to anybody", i), func(tx *wire.MsgTx) { tx.TxOut[i].PkScript = nil })
	add(fmt.Sprintf("output %d removed", i), func(tx *wire.MsgTx) { tx.TxOut = slices.Delete(tx.TxOut, i, i+1) })
	add(fmt.Sprintf("output %d doubled", i), func(tx *wire.MsgTx) { tx.AddTxOut(tx.TxOut[i]) })
	add(fmt.Sprintf("output %d first", i), func(tx *wire.MsgTx) { tx.TxOut[0], tx.TxOut[i] = tx.TxOut[i], tx.TxOut[0] })
	add(fmt.Sprintf("output %d takes the script of the first", i), func(tx *wire.MsgTx) { tx.TxOut[i].PkScript = tx.TxOut[0].PkScript })
	add(fmt.Sprintf("output %d takes the value of the first", i), func(tx *wire.MsgTx) { tx.TxOut[i].Value = tx.TxOut[0].Value })
}
