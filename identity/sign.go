package identity

import (
	"encoding/binary"

	"relaymarket/internal/code"
)

// batchDigest is the message that a signature signs:
// tagged("batch", network ‖ from ‖ n ‖ root).
func batchDigest(network Network, from PublicKey, n int, root Digest) Digest {
	var head [40]byte
	binary.BigEndian.PutUint32(head[:], uint32(network))
	copy(head[4:], from[:])
	binary.BigEndian.PutUint32(head[36:], uint32(n))
	return Tagged("batch", head[:], root[:])
}

// Sign signs statements of one signer and network with one signature and gives each its own
// proof. Between 1 and MaxBatch statements are allowed; all must name the key as signer.
func Sign(key PrivateKey, statements ...[]byte) ([]Signed, error) {
	digests, head, err := batchDigests(statements)
	if err != nil {
		return nil, err
	}
	if head.From != key.Public() {
		return nil, code.New(code.BadSignature, "the statement names another signer than the key")
	}
	paths, root := Paths(digests)
	sig, err := key.SignDigest(batchDigest(head.Network, head.From, len(digests), root))
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "sign")
	}
	out := make([]Signed, len(statements))
	for i := range out {
		out[i] = Signed{statements[i], Proof{sig, uint16(len(out)), uint16(i), paths[i]}}
	}
	return out, nil
}

// SignOne signs a lone statement.
func SignOne(key PrivateKey, statement []byte) (Signed, error) {
	s, err := Sign(key, statement)
	if err != nil {
		return Signed{}, err
	}
	return s[0], nil
}

// batchDigests digests the statements of one batch and checks that one signer on one network
// speaks in all of them.
func batchDigests(statements [][]byte) ([]Digest, Header, error) {
	if len(statements) < 1 || len(statements) > MaxBatch {
		return nil, Header{}, code.New(code.Malformed, "a batch of %d statements, allowed are 1 to %d", len(statements), MaxBatch)
	}
	var first Header
	digests := make([]Digest, len(statements))
	for i, raw := range statements {
		h, err := PeekHeader(raw)
		if err != nil {
			return nil, Header{}, err
		}
		if i == 0 {
			first = h
		} else if h.From != first.From || h.Network != first.Network {
			return nil, Header{}, code.New(code.Malformed, "a batch has one signer and one network")
		}
		digests[i] = StatementDigest(h.Type, raw)
	}
	return digests, first, nil
}

// Verify checks that a statement was signed by its `from` and gives its header and digest.
// Everything cheap is checked before any curve arithmetic. The body is not looked at.
func Verify(s Signed) (Header, Digest, error) {
	h, d, m, err := prepare(s)
	if err != nil {
		return h, d, err
	}
	if !h.From.VerifyDigest(m, s.Proof.Sig) {
		return h, d, code.New(code.BadSignature, "the signature of this %s does not hold", h.Type)
	}
	return h, d, nil
}

// prepare does all of Verify but the curve arithmetic: m is what the signature must sign.
func prepare(s Signed) (h Header, d, m Digest, err error) {
	if h, err = PeekHeader(s.Statement); err != nil {
		return h, d, m, err
	}
	d = StatementDigest(h.Type, s.Statement)
	root, ok := RootFromPath(d, int(s.Proof.N), int(s.Proof.Index), s.Proof.Path)
	if !ok || s.Proof.N > MaxBatch {
		return h, d, m, code.New(code.Malformed, "the proof of this %s is no place in a tree", h.Type)
	}
	return h, d, batchDigest(h.Network, h.From, int(s.Proof.N), root), nil
}

// Verdict is the result of verifying one statement of a batch.
type Verdict struct {
	Header Header
	Digest Digest
	Err    error
}

// VerifyBatch verifies many statements. Equal (signer, message, signature) triples, as the
// members of one signed tree have, are verified once; many different ones are verified
// together, which costs a fraction of Verify for each (docs/PERFORMANCE.md). One bad statement
// spoils no other.
func VerifyBatch(all []Signed) []Verdict {
	known := make(map[triple]int)
	var distinct []triple
	out := make([]Verdict, len(all))
	index := make([]int, len(all))
	for i, s := range all {
		h, d, m, err := prepare(s)
		out[i] = Verdict{h, d, err}
		if err != nil {
			continue
		}
		t := triple{h.From, m, s.Proof.Sig}
		at, seen := known[t]
		if !seen {
			at = len(distinct)
			known[t] = at
			distinct = append(distinct, t)
		}
		index[i] = at
	}
	good := verifyTriples(distinct)
	for i := range out {
		if v := &out[i]; v.Err == nil && !good[index[i]] {
			v.Err = code.New(code.BadSignature, "the signature of this %s does not hold", v.Header.Type)
		}
	}
	return out
}
