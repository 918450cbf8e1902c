package contract

import (
	"bytes"
	"encoding/binary"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

const (
	maxInputs   = 16   // of one side (check 1); a funding transaction with a collateral has two
	maxOutputs  = 6    // of any transaction of the protocol (check 1)
	maxUnsigned = 2048 // bytes of an unsigned transaction: 32 inputs and 6 outputs are 1584

	txVersion         = 2
	lockTimeThreshold = 500_000_000 // from here nLockTime is a time and no height (BIP65)

	// spendSequence is the nSequence of every input: replaceable (BIP125) and, with bit 31 set,
	// without a relative lock time (BIP68). btcd relays no replacement of anything else.
	spendSequence uint32 = 0xFFFFFFFD
	// sweepSequence makes the one-block lock of L_csv true (BIP112).
	sweepSequence uint32 = 1
)

// parseUnsigned reads the unsigned (witness-free) serialization of a transaction. It is written
// here because the library's reader allocates what the counts claim; this one has the protocol's
// bounds, one-byte counts, empty input scripts and no trailing bytes (checks 1 and 2).
func parseUnsigned(raw []byte) (*wire.MsgTx, error) {
	if len(raw) > maxUnsigned {
		return nil, code.New(code.TooLarge, "a transaction of %d bytes", len(raw))
	}
	r := &txReader{rest: raw}
	tx := wire.NewMsgTx(int32(r.u32()))
	for n := r.count(2 * maxInputs); n > 0; n-- {
		var op wire.OutPoint
		copy(op.Hash[:], r.take(chainhash.HashSize))
		op.Index = r.u32()
		if r.count(0) != 0 {
			break
		}
		in := wire.NewTxIn(&op, nil, nil)
		in.Sequence = r.u32()
		tx.AddTxIn(in)
	}
	for n := r.count(maxOutputs); n > 0; n-- {
		value := int64(r.u64())
		tx.AddTxOut(wire.NewTxOut(value, bytes.Clone(r.take(r.count(maxScript)))))
	}
	tx.LockTime = r.u32()
	if r.bad || len(r.rest) > 0 {
		return nil, code.New(code.BadTransaction, "not an unsigned transaction with at most %d inputs, %d outputs and native segwit scripts", 2*maxInputs, maxOutputs)
	}
	return tx, nil
}

// txReader reads forward and remembers that something did not fit.
type txReader struct {
	rest []byte
	bad  bool
}

func (r *txReader) take(n int) []byte {
	if n > len(r.rest) || r.bad {
		r.bad = true
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *txReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *txReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// count reads a compact size that may be at most limit, all of which have one byte.
func (r *txReader) count(limit int) int {
	n := int(r.take(1)[0])
	if n > limit {
		r.bad = true
		return 0
	}
	return n
}

// unsignedBytes is the serialization without witnesses, of which the txid is the hash.
func unsignedBytes(tx *wire.MsgTx) []byte {
	var b bytes.Buffer
	// Writing to memory fails only when memory does.
	_ = tx.SerializeNoWitness(&b)
	return b.Bytes()
}

// checkShape holds what is true of every transaction that a peer sends, with at most so many inputs (checks 1 to 4).
func checkShape(tx *wire.MsgTx, most int) error {
	if tx.Version != txVersion || tx.LockTime != 0 {
		return code.New(code.BadTransaction, "version %d and lock time %d instead of 2 and 0", tx.Version, tx.LockTime)
	}
	if n := len(tx.TxIn); n < 1 || n > most {
		return code.New(code.BadTransaction, "%d inputs, allowed are 1 to %d", n, most)
	}
	if n := len(tx.TxOut); n > maxOutputs {
		return code.New(code.BadTransaction, "%d outputs, allowed are %d", n, maxOutputs)
	}
	seen := make(map[wire.OutPoint]bool, len(tx.TxIn))
	for i, in := range tx.TxIn {
		switch {
		case len(in.SignatureScript) > 0 || len(in.Witness) > 0:
			return code.New(code.BadTransaction, "input %d is not empty", i)
		case in.Sequence != spendSequence:
			return code.New(code.BadTransaction, "input %d has sequence %08x instead of %08x", i, in.Sequence, spendSequence)
		case seen[in.PreviousOutPoint]:
			return code.New(code.BadTransaction, "input %d spends a coin twice", i)
		}
		seen[in.PreviousOutPoint] = true
	}
	return nil
}
