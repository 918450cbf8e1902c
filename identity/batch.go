package identity

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/secp256k1"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fp"
	"github.com/consensys/gnark-crypto/ecc/secp256k1/fr"
)

const (
	// batchMin is the number of signatures from which one equation over all of them is
	// cheaper than single verifications (docs/PERFORMANCE.md).
	batchMin = 6
	// batchMax bounds one equation: its memory, what a bad signature in it costs, and the
	// size of the sum, which stays below the one where the library adds points in another way.
	batchMax = 256
)

// triple is one signature to verify: that from signed the digest m.
type triple struct {
	from PublicKey
	m    Digest
	sig  [64]byte
}

// verify is the verification of this triple alone.
func (t *triple) verify() bool { return t.from.VerifyDigest(t.m, t.sig) }

// verifyTriples verifies many signatures; out[i] is what all[i].verify() gives, except with
// probability 2^-128 per equation. All input is public, so nothing here is constant-time.
//
// The signatures are put in an order in which those of one signer are neighbours (by first
// appearance), and every batchMax of them are checked with one equation. If it does not hold,
// halves are checked, down to single verifications: an equation only ever accepts, and what is
// refused was refused alone or is malformed. So a bad signature delays its neighbours, which
// are its signer's, and the search for bad ones is bounded (search).
func verifyTriples(all []triple) []bool {
	out := make([]bool, len(all))
	if len(all) < batchMin {
		for i := range all {
			out[i] = all[i].verify()
		}
		return out
	}
	terms := make([]term, 0, len(all))
	for _, i := range bySigner(all) {
		if t, ok := newTerm(&all[i], terms); ok {
			t.good = &out[i]
			terms = append(terms, t)
		}
	}
	for len(terms) > 0 {
		n := min(batchMax, len(terms))
		(&search{2 * n}).settle(terms[:n], false)
		terms = terms[n:]
	}
	return out
}

// bySigner gives the indices of all, each signer's together, signers by first appearance.
func bySigner(all []triple) []int {
	first := make(map[PublicKey]int)
	order, group := make([]int, len(all)), make([]int, len(all))
	for i := range all {
		at, ok := first[all[i].from]
		if !ok {
			at = i
			first[all[i].from] = at
		}
		order[i], group[i] = i, at
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(group[i], group[j]) })
	return order
}

// term is a signature that is well formed by BIP340: P and R are points with even y, s is below
// the group's order. It holds if and only if s⋅G = R + e⋅P.
type term struct {
	*triple
	p, r secp256k1.G1Affine
	s, e fr.Element
	good *bool
}

// newTerm does BIP340's steps before the equation. The key is not lifted again if the last of
// the terms before is the same signer's.
func newTerm(t *triple, before []term) (out term, ok bool) {
	out.triple = t
	if n := len(before); n > 0 && before[n-1].from == t.from {
		out.p = before[n-1].p
	} else if out.p, ok = liftX(t.from[:]); !ok {
		return out, false
	}
	if out.r, ok = liftX(t.sig[:32]); !ok || out.s.SetBytesCanonical(t.sig[32:]) != nil {
		return out, false
	}
	e := chainhash.TaggedHash(chainhash.TagBIP0340Challenge, t.sig[:32], t.from[:], t.m[:])
	out.e.SetBytes(e[:])
	return out, true
}

// liftX is BIP340's lift_x: the point with this x coordinate and an even y, if x is below the
// field's prime and on the curve.
func liftX(x []byte) (p secp256k1.G1Affine, ok bool) {
	if p.X.SetBytesCanonical(x) != nil {
		return p, false
	}
	_, b := secp256k1.CurveCoefficients()
	var c fp.Element
	c.Square(&p.X).Mul(&c, &p.X).Add(&c, &b)
	if p.Y.Sqrt(&c) == nil {
		return p, false
	}
	if p.Y.Bits()[0]&1 == 1 {
		p.Y.Neg(&p.Y)
	}
	return p, true
}

// search looks for bad signatures by halving. budget is how many more signatures may stand in
// equations that do not hold; then what is left is verified alone. Twice the signatures are
// enough to find a lone bad one, and bound what many can cost to two equations over all.
type search struct{ budget int }

// settle finds the verdicts of terms. bad tells that one of them is already known not to hold,
// so that the equation over all need not be tried.
func (s *search) settle(terms []term, bad bool) {
	if len(terms) < batchMin || s.budget <= 0 {
		for i := range terms {
			*terms[i].good = terms[i].verify()
		}
		return
	}
	if !bad {
		if holds(terms) {
			for i := range terms {
				*terms[i].good = true
			}
			return
		}
		s.budget -= len(terms)
	}
	half := len(terms) / 2
	s.settle(terms[:half], false)
	s.settle(terms[half:], allGood(terms[:half]))
}

func allGood(terms []term) bool {
	for i := range terms {
		if !*terms[i].good {
			return false
		}
	}
	return true
}

// holds is BIP340's batch verification: with coefficients a, the first of them 1,
//
//	Σ aᵢ⋅Rᵢ + Σ (aᵢ⋅eᵢ)⋅Pᵢ − (Σ aᵢ⋅sᵢ)⋅G = 0
//
// where the terms of one key are added up before they are multiplied. If all signatures hold
// it is true; if one does not, it is true for at most one of the 2^128 values of that
// signature's coefficient (or, if it is the first alone, for none).
func holds(terms []term) bool {
	n := len(terms)
	points := make([]secp256k1.G1Affine, 0, 2*n+1)
	scalars := make([]fr.Element, 0, 2*n+1)
	var sum, x fr.Element
	a := coefficients(terms)
	for i := range terms {
		points, scalars = append(points, terms[i].r), append(scalars, a[i])
		sum.Sub(&sum, x.Mul(&a[i], &terms[i].s))
	}
	for i := range terms {
		x.Mul(&a[i], &terms[i].e)
		if i > 0 && terms[i].from == terms[i-1].from {
			last := &scalars[len(scalars)-1]
			last.Add(last, &x)
			continue
		}
		points, scalars = append(points, terms[i].p), append(scalars, x)
	}
	_, g := secp256k1.Generators()
	points, scalars = append(points, g), append(scalars, sum)
	// The library works in goroutines of its own, which have done their work when it returns; it is
	// held to one task. Its only error here would be for slices of different length.
	var total secp256k1.G1Jac
	_, err := total.MultiExp(points, scalars, ecc.MultiExpConfig{NbTasks: 1})
	return err == nil && total.Z.IsZero()
}

// coefficients derives the 128-bit coefficients of an equation from a hash of all that goes
// into it: each key, message and signature, in order. BIP340 ("Batch Verification") allows
// this in place of random numbers: whoever makes a signature fixes it before the coefficients
// exist, and every change of any input gives new, unpredictable ones. So all that is left to an
// attacker is to try batches, and each try is accepted with probability 2^-128, which is the
// strength of the signatures themselves. It needs no source of randomness, and the same input
// always has the same verdict.
func coefficients(terms []term) []fr.Element {
	h := sha256.New()
	for i := range terms {
		h.Write(terms[i].from[:])
		h.Write(terms[i].m[:])
		h.Write(terms[i].sig[:])
	}
	var seed [sha256.Size + 4]byte
	h.Sum(seed[:0])
	out := make([]fr.Element, len(terms))
	out[0].SetOne()
	for i := 1; i < len(out); i++ {
		binary.BigEndian.PutUint32(seed[sha256.Size:], uint32(i))
		a := sha256.Sum256(seed[:])
		out[i].SetBytes(a[:16])
	}
	return out
}
