package usage

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/identity"
)

// The log's tree is RFC 6962's over the encoded rows, kept as tlog's stored hashes: the store
// keeps them in order of their index and gives a tlog.HashReader.

// EmptyRoot is the head of a log without rows: SHA-256 of nothing (RFC 6962 §2.1).
var EmptyRoot = func() identity.Digest {
	h, err := tlog.TreeHash(0, nil)
	if err != nil {
		panic(err) // size 0 reads nothing
	}
	return identity.Digest(h)
}()

// StoredHashes are the hashes to store when the row with this index is appended: the first
// one at index StoredHashIndex(index), the others behind it. The reader must serve everything
// stored before.
func StoredHashes(index uint64, row []byte, r tlog.HashReader) ([]tlog.Hash, error) {
	if index >= MaxLogSize {
		return nil, fmt.Errorf("%w: row %d of a log", ErrOverflow, index)
	}
	return tlog.StoredHashesForRecordHash(int64(index), tlog.RecordHash(row), r)
}

// StoredHashIndex is where the hashes of a row begin in the sequence of stored hashes.
func StoredHashIndex(index uint64) uint64 { return uint64(tlog.StoredHashIndex(0, int64(index))) }

// TreeRoot is the head of the log's first size rows.
func TreeRoot(size uint64, r tlog.HashReader) (identity.Digest, error) {
	if size > MaxLogSize {
		return identity.Digest{}, fmt.Errorf("%w: a log of %d rows", ErrOverflow, size)
	}
	h, err := tlog.TreeHash(int64(size), r)
	return identity.Digest(h), err
}

// ProveConsistency proves that the log of prevSize rows is a beginning of that of size rows.
// Nothing needs proof where one of the two is empty or both are one.
func ProveConsistency(prevSize, size uint64, r tlog.HashReader) ([]identity.Digest, error) {
	if prevSize > size || size > MaxLogSize {
		return nil, fmt.Errorf("%w: from %d rows to %d", ErrOverflow, prevSize, size)
	}
	if prevSize == 0 {
		return nil, nil
	}
	p, err := tlog.ProveTree(int64(size), int64(prevSize), r)
	return digests(p), err
}

// errProof is wrapped where a consistency proof fails.
var errProof = errors.New("the consistency proof fails")

// CheckConsistency checks what ProveConsistency made. The empty log is a beginning of every
// log, and then the proof must be empty and the previous root zero.
func CheckConsistency(proof []identity.Digest, prevSize uint64, prevRoot identity.Digest, size uint64, root identity.Digest) error {
	if size > MaxLogSize || prevSize > size {
		return fmt.Errorf("%w: from %d rows to %d", errProof, prevSize, size)
	}
	if prevSize == 0 {
		if len(proof) > 0 || !prevRoot.IsZero() {
			return fmt.Errorf("%w: there is nothing to prove from an empty log", errProof)
		}
		return nil
	}
	if err := tlog.CheckTree(hashes(proof), int64(size), tlog.Hash(root), int64(prevSize), tlog.Hash(prevRoot)); err != nil {
		return fmt.Errorf("%w: %v", errProof, err)
	}
	return nil
}

// ProveInclusion proves that row index is in the log of size rows; see CheckInclusion.
func ProveInclusion(size, index uint64, r tlog.HashReader) ([]identity.Digest, error) {
	if index >= size || size > MaxLogSize {
		return nil, fmt.Errorf("%w: row %d in a log of %d", ErrOverflow, index, size)
	}
	p, err := tlog.ProveRecord(int64(size), int64(index), r)
	return digests(p), err
}

// MemoryTree is the stored hashes of a log held in memory, for audits and tests. The zero
// value is the empty log.
type MemoryTree struct {
	hashes []tlog.Hash
	size   uint64
}

// Append adds an encoded row.
func (m *MemoryTree) Append(row []byte) error {
	hs, err := StoredHashes(m.size, row, m)
	if err != nil {
		return err
	}
	m.hashes = append(m.hashes, hs...)
	m.size++
	return nil
}

// Size is the number of rows.
func (m *MemoryTree) Size() uint64 { return m.size }

// ReadHashes implements tlog.HashReader.
func (m *MemoryTree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("hash %d is not in the tree", x)
		}
		out[i] = m.hashes[x]
	}
	return out, nil
}

func hashes(ds []identity.Digest) []tlog.Hash {
	out := make([]tlog.Hash, len(ds))
	for i, d := range ds {
		out[i] = tlog.Hash(d)
	}
	return out
}

func digests(hs []tlog.Hash) []identity.Digest {
	out := make([]identity.Digest, len(hs))
	for i, h := range hs {
		out[i] = identity.Digest(h)
	}
	return out
}
