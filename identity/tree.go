package identity

import "math/bits"

// MaxBatch is the largest number of statements under one signature.
const MaxBatch = 4096

// Tree hashing is RFC 6962's shape (RFC 9162 §2.1) with the project's own tags: no leaf is
// ever duplicated, and leaf and node tags differ.

func leafHash(d Digest) Digest    { return Tagged("leaf", d[:]) }
func nodeHash(l, r Digest) Digest { return Tagged("node", l[:], r[:]) }

// Root is the tree head over the digests in their order; there must be at least one.
func Root(digests []Digest) Digest {
	if len(digests) == 1 {
		return leafHash(digests[0])
	}
	k := split(len(digests))
	return nodeHash(Root(digests[:k]), Root(digests[k:]))
}

// split is the largest power of two below n, for n ≥ 2.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

// Paths gives the inclusion path of every leaf, and the root, in one pass over the tree.
func Paths(digests []Digest) ([][]Digest, Digest) {
	paths := make([][]Digest, len(digests))
	return paths, fillPaths(digests, paths)
}

func fillPaths(digests []Digest, paths [][]Digest) Digest {
	if len(digests) == 1 {
		return leafHash(digests[0])
	}
	k := split(len(digests))
	l := fillPaths(digests[:k], paths[:k])
	r := fillPaths(digests[k:], paths[k:])
	for i := range paths {
		if i < k {
			paths[i] = append(paths[i], r)
		} else {
			paths[i] = append(paths[i], l)
		}
	}
	return nodeHash(l, r)
}

// pathLen is the exact length of the path of leaf index in a tree of n (RFC 9162 §2.1.3).
func pathLen(n, index int) int {
	count := 0
	for n > 1 {
		k := split(n)
		if index < k {
			n = k
		} else {
			index -= k
			n -= k
		}
		count++
	}
	return count
}

// RootFromPath computes the root that a leaf at index in a tree of n gives with its path
// (RFC 9162 §2.1.3.2); false if the path has the wrong length for that place.
func RootFromPath(d Digest, n, index int, path []Digest) (Digest, bool) {
	if index < 0 || index >= n || len(path) != pathLen(n, index) {
		return Digest{}, false
	}
	return climb(leafHash(d), n, index, path), true
}

// climb folds a path, which lists siblings from the leaf upwards, from the top down.
func climb(h Digest, n, index int, path []Digest) Digest {
	if n == 1 {
		return h
	}
	last := len(path) - 1
	if k := split(n); index < k {
		return nodeHash(climb(h, k, index, path[:last]), path[last])
	} else {
		return nodeHash(path[last], climb(h, n-k, index-k, path[:last]))
	}
}
