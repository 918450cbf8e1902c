package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// verified is the part of every Verified type that only an Open function of this package can
// fill: a value without it has a zero digest.
type verified struct {
	digest identity.Digest
	signed identity.Signed
}

// Digest is the identity of the statement: tagged("stmt/" + type name, bytes).
func (v verified) Digest() identity.Digest { return v.digest }

// Signed is the statement as it travels, with the proof it was opened with.
func (v verified) Signed() identity.Signed { return v.signed }

// open decodes, which is cheap, before it verifies, which is not.
func open[T any](s identity.Signed, decode func([]byte) (T, error)) (T, verified, error) {
	body, err := decode(s.Statement)
	if err != nil {
		return body, verified{}, err
	}
	_, digest, err := identity.Verify(s)
	if err != nil {
		return body, verified{}, err
	}
	return body, verified{digest, s}, nil
}

// openVerified is open for a statement that identity.VerifyBatch has looked at. A verdict
// that belongs to other bytes is refused, so that verdicts cannot be mixed up.
func openVerified[T any](s identity.Signed, v identity.Verdict, decode func([]byte) (T, error)) (T, verified, error) {
	var none T
	if v.Err != nil {
		return none, verified{}, v.Err
	}
	if v.Digest != identity.StatementDigest(v.Header.Type, s.Statement) {
		return none, verified{}, code.New(code.Internal, "the verdict belongs to another statement")
	}
	body, err := decode(s.Statement)
	if err != nil {
		return body, verified{}, err
	}
	return body, verified{v.Digest, s}, nil
}

// need refuses zero digests where the protocol wants one.
func need(t identity.Type, what string, d identity.Digest) error {
	if d.IsZero() {
		return code.New(code.Malformed, "a %s without %s", t, what)
	}
	return nil
}

// checkTerms holds for every statement that names a contract and its terms: the free
// allowance (contract zero) has none, and everything else has.
func checkTerms(t identity.Type, c ContractID, terms identity.Digest) error {
	if c.IsZero() != terms.IsZero() {
		return code.New(code.Malformed, "a %s with a contract has terms, and one without has none", t)
	}
	return nil
}
