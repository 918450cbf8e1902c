package contract

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"

	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/internal/code"
)

// A PSBT comes from a program or a device that this side does not control. The library reads BIP174 and BIP371, but skips
// what it does not know (BIP370, BIP373), takes trailing bytes, and allocates what counts claim. So the whole file is read
// here first, and only what the table below names reaches the library (check 41).

const (
	// maxPSBT bounds a file: 16 inputs that bring the transactions they spend from.
	maxPSBT = 1 << 20
	// maxPSBTField bounds one value; the largest is a spent transaction.
	maxPSBTField = 400_000

	psbtMagic = "psbt\xff"
)

// psbtRule is what one kind of field may look like. The key is what follows the kind.
type psbtRule struct{ minKey, maxKey, minValue, maxValue int }

// psbtFields names the fields of version 0 that an input of native segwit can need, in each of the three maps: of the
// file, of an input, of an output.
var psbtFields = [3]map[byte]psbtRule{
	{
		0x00: {0, 0, minTx, maxUnsigned}, // the unsigned transaction
		0x01: {78, 78, 4, 1024},          // an extended public key
		0xfb: {0, 0, 4, 4},               // the version, which must be 0
	},
	{
		0x00: {0, 0, 10, maxPSBTField}, // the transaction that is spent from
		0x01: {0, 0, 9, 8 + 1 + maxScript},
		0x02: {33, 33, 9, maxDER}, // an ECDSA signature
		0x03: {0, 0, 4, 4},        // the hash type
		0x06: {33, 33, 4, 1024},   // how a key is derived
		0x08: {0, 0, 1, 1024},     // the final witness
		0x13: {0, 0, 64, 65},      // a key path signature
		0x14: {64, 64, 64, 65},    // a leaf signature
		0x15: {33, 33 + 32*128, 2, 1024},
		0x16: {32, 32, 5, 2048},
		0x17: {0, 0, 32, 32},
		0x18: {0, 0, 32, 32},
	},
	{
		0x02: {33, 33, 4, 1024},
		0x05: {0, 0, 32, 32},
		0x06: {0, 0, 4, 10_000},
		0x07: {32, 32, 5, 2048},
	},
}

// readPSBT checks a file, binary or base64, and gives it with its unsigned transaction. Codes BadPSBT, TooLarge.
func readPSBT(raw []byte) (*psbt.Packet, *wire.MsgTx, error) {
	raw, err := binaryPSBT(raw)
	if err != nil {
		return nil, nil, err
	}
	tx, err := scanPSBT(raw)
	if err != nil {
		return nil, nil, err
	}
	p, err := psbt.NewFromRawBytes(bytes.NewReader(raw), false)
	if err != nil {
		return nil, nil, code.Wrap(code.BadPSBT, err, "the file does not read as a PSBT")
	}
	return p, tx, nil
}

// binaryPSBT takes off the base64 that some wallets write, with a line end at most.
func binaryPSBT(raw []byte) ([]byte, error) {
	if len(raw) > maxPSBT {
		return nil, code.New(code.TooLarge, "a PSBT of %d bytes, the most is %d", len(raw), maxPSBT)
	}
	if bytes.HasPrefix(raw, []byte(psbtMagic)) {
		return raw, nil
	}
	text := bytes.TrimRight(raw, "\r\n")
	if bytes.ContainsAny(text, "\r\n") {
		return nil, badPSBT("it is neither binary nor base64 in one line")
	}
	out, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || !bytes.HasPrefix(out, []byte(psbtMagic)) {
		return nil, badPSBT("it is neither binary nor base64 of a PSBT")
	}
	return out, nil
}

func badPSBT(format string, a ...any) error { return code.New(code.BadPSBT, format, a...) }

// scanPSBT reads all maps against the table and gives the unsigned transaction.
func scanPSBT(raw []byte) (*wire.MsgTx, error) {
	s := &psbtScanner{rest: raw[len(psbtMagic):]}
	global, err := s.table(0)
	if err != nil {
		return nil, err
	}
	if v, ok := global["\xfb"]; ok && binary.LittleEndian.Uint32(v) != 0 {
		return nil, badPSBT("only version 0 is read")
	}
	unsigned, ok := global["\x00"]
	if !ok {
		return nil, badPSBT("it holds no unsigned transaction; only version 0 is read")
	}
	tx, err := parseUnsigned(unsigned)
	if err != nil {
		return nil, code.Wrap(code.BadPSBT, err, "its unsigned transaction")
	}
	if len(tx.TxIn) == 0 || len(tx.TxOut) == 0 {
		return nil, badPSBT("a transaction of %d inputs and %d outputs", len(tx.TxIn), len(tx.TxOut))
	}
	for i, n := range []int{1: len(tx.TxIn), 2: len(tx.TxOut)} {
		for range n {
			if _, err := s.table(i); err != nil {
				return nil, err
			}
		}
	}
	if len(s.rest) > 0 {
		return nil, badPSBT("bytes follow the last output")
	}
	return tx, nil
}

// psbtScanner reads forward.
type psbtScanner struct{ rest []byte }

// table reads one map: of the file (0), an input (1) or an output (2). Keys are kind and key together.
func (s *psbtScanner) table(which int) (map[string][]byte, error) {
	where := [...]string{"the file", "an input", "an output"}[which]
	out := make(map[string][]byte)
	for {
		key, err := s.bytes()
		if err != nil {
			return nil, err
		}
		if len(key) == 0 {
			return out, nil
		}
		value, err := s.bytes()
		if err != nil {
			return nil, err
		}
		rule, known := psbtFields[which][key[0]]
		switch n := len(key) - 1; {
		case !known:
			return nil, badPSBT("%s has a field of kind %#02x, which is not taken", where, key[0])
		case n < rule.minKey || n > rule.maxKey || len(value) < rule.minValue || len(value) > rule.maxValue:
			return nil, badPSBT("%s has a field of kind %#02x with a key of %d and a value of %d bytes", where, key[0], n, len(value))
		}
		if _, twice := out[string(key)]; twice {
			return nil, badPSBT("%s has a field of kind %#02x twice", where, key[0])
		}
		out[string(key)] = value
	}
}

// bytes reads a compact size, which must be the shortest, and as many bytes.
func (s *psbtScanner) bytes() ([]byte, error) {
	n, ok := s.size()
	if !ok || n > uint64(len(s.rest)) {
		return nil, badPSBT("it ends in the middle of a field")
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b, nil
}

func (s *psbtScanner) size() (uint64, bool) {
	n, used := compactSize(s.rest)
	if used == 0 {
		return 0, false
	}
	s.rest = s.rest[used:]
	return n, true
}

// compactSize reads a size of at most four bytes; 0 used: it is cut off, not the shortest, or too large.
func compactSize(b []byte) (n uint64, used int) {
	switch {
	case len(b) >= 1 && b[0] < 0xfd:
		return uint64(b[0]), 1
	case len(b) >= 3 && b[0] == 0xfd:
		if n = uint64(binary.LittleEndian.Uint16(b[1:])); n >= 0xfd {
			return n, 3
		}
	case len(b) >= 5 && b[0] == 0xfe:
		if n = uint64(binary.LittleEndian.Uint32(b[1:])); n > 0xffff {
			return n, 5
		}
	}
	return 0, 0
}

// parseStack reads a final witness: a count and as many items, with nothing after them.
func parseStack(raw []byte) (wire.TxWitness, error) {
	s := &psbtScanner{rest: raw}
	n, ok := s.size()
	if !ok || n > 4 {
		return nil, code.New(code.BadWitness, "a final witness that does not read")
	}
	var w wire.TxWitness
	for range n {
		item, err := s.bytes()
		if err != nil {
			return nil, code.Wrap(code.BadWitness, err, "a final witness")
		}
		w = append(w, item)
	}
	if len(s.rest) > 0 {
		return nil, code.New(code.BadWitness, "bytes follow a final witness")
	}
	return w, nil
}

// stackBytes is what parseStack reads.
func stackBytes(w wire.TxWitness) []byte {
	out := []byte{byte(len(w))}
	for _, item := range w {
		out = append(append(out, byte(len(item))), item...)
	}
	return out
}
