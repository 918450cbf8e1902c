package identity

import (
	"encoding/binary"

	"relaymarket/internal/code"
)

// Bundle is the compact form in which a whole signed tree travels: one signature and all its
// statements in order, without paths. The receiver rebuilds the tree, verifies once, and
// keeps each statement with a proof of its own.
type Bundle struct {
	Sig        [64]byte
	Statements [][]byte
}

// SignBundle signs the statements as one tree.
func SignBundle(key PrivateKey, statements ...[]byte) (Bundle, error) {
	s, err := Sign(key, statements...)
	if err != nil {
		return Bundle{}, err
	}
	return Bundle{s[0].Proof.Sig, statements}, nil
}

// Split gives each statement its own proof, without verifying the signature: pass the result
// to VerifyBatch, which then does one verification for all.
func (b Bundle) Split() ([]Signed, error) {
	digests, _, err := batchDigests(b.Statements)
	if err != nil {
		return nil, err
	}
	paths, _ := Paths(digests)
	out := make([]Signed, len(digests))
	for i := range out {
		out[i] = Signed{b.Statements[i], Proof{b.Sig, uint16(len(out)), uint16(i), paths[i]}}
	}
	return out, nil
}

// Bytes is the wire form: signature ‖ u16 n ‖ n × (u32 length ‖ statement).
func (b Bundle) Bytes() []byte {
	out := append([]byte(nil), b.Sig[:]...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(b.Statements)))
	for _, s := range b.Statements {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
	}
	return out
}

// ParseBundle reads the wire form; trailing bytes are refused. The result aliases raw.
func ParseBundle(raw []byte) (Bundle, error) {
	if len(raw) < 66 {
		return Bundle{}, code.New(code.Malformed, "%d bytes are too short for a bundle", len(raw))
	}
	b := Bundle{Sig: [64]byte(raw[:64])}
	n := int(binary.BigEndian.Uint16(raw[64:]))
	raw = raw[66:]
	if n < 1 || n > MaxBatch || n*(4+headerLen) > len(raw) {
		return Bundle{}, code.New(code.Malformed, "a bundle of %d statements in %d bytes", n, len(raw))
	}
	b.Statements = make([][]byte, n)
	for i := range b.Statements {
		if len(raw) < 4 || uint64(binary.BigEndian.Uint32(raw)) > uint64(len(raw)-4) {
			return Bundle{}, code.New(code.Malformed, "statement %d of the bundle is cut off", i)
		}
		end := 4 + binary.BigEndian.Uint32(raw)
		b.Statements[i], raw = raw[4:end:end], raw[end:]
	}
	if len(raw) > 0 {
		return Bundle{}, code.New(code.Malformed, "%d bytes after the bundle", len(raw))
	}
	return b, nil
}
