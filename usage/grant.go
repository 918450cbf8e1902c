package usage

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// MaxGrants is how many grants a relay keeps for one contract, and so the most lanes of a report.
const MaxGrants = 4096

// AccountGrant (sponsor → relay) lets another key order at the cost of the sponsor's contract, up to
// two caps. Its digest is its identity: orders name it, and all that belongs to it in the contract's
// log is its lane. It repeats the contract's prices, so that its holder can order without having seen
// the terms.
type AccountGrant struct {
	identity.Header
	Contract  ContractID         // of which the signer is the client
	Account   identity.PublicKey // who may order
	Terms     identity.Digest    // of the contract
	Prices    Prices             // of the terms
	CapMsat   Msat               // the most that the lane may ever cost
	DayMsat   Msat               // the most that may be ordered on one day (UTC, by the relay's clock)
	NotBefore Height             // first and last tip of the relay's chain at which orders are taken
	NotAfter  Height
}

func (g *AccountGrant) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, g.Contract[:]), codec.Fixed(66, g.Account[:]), codec.Fixed(68, g.Terms[:]),
		codec.U64(70, &g.CapMsat), codec.U64(72, &g.DayMsat), codec.U32(74, &g.NotBefore), codec.U32(76, &g.NotAfter),
		codec.U64(78, &g.Prices.StorageMsatPerGiBDay), codec.U64(80, &g.Prices.EgressMsatPerGiB),
	}
}

func (g *AccountGrant) check() error {
	switch {
	case g.Contract.IsZero() || g.Terms.IsZero() || g.Account.IsZero():
		return code.New(code.Malformed, "a grant names a contract, its terms and an account")
	case g.Account == g.From:
		return code.New(code.Malformed, "a sponsor needs no grant for itself")
	case g.CapMsat == 0 || g.DayMsat == 0:
		return code.New(code.Malformed, "a grant of nothing")
	case g.NotBefore > g.NotAfter:
		return code.New(code.Malformed, "a grant from block %d to block %d", g.NotBefore, g.NotAfter)
	}
	return g.Prices.Check()
}

// Encode writes the statement. Errors: a field outside its bounds.
func (g AccountGrant) Encode() ([]byte, error) {
	g.Type = identity.TypeAccountGrant
	if err := g.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(g.Header, g.fields()...)
}

// DecodeAccountGrant reads the statement; the signature is not looked at.
func DecodeAccountGrant(raw []byte) (AccountGrant, error) {
	var g AccountGrant
	if err := identity.DecodeStatement(raw, identity.TypeAccountGrant, &g.Header, g.fields()...); err != nil {
		return AccountGrant{}, err
	}
	return g, g.check()
}

// Admits tells whether an order is one that the grant, whose digest the order names, is for, at a tip
// of the relay's chain. Caps are Lane's. Codes UnknownGrant, TermsMismatch, GrantNotYet, GrantExpired.
func (g AccountGrant) Admits(o StoreOrder, tip Height) error {
	switch {
	case o.From != g.Account || o.Contract != g.Contract || o.To != g.To || o.Network != g.Network:
		return code.New(code.UnknownGrant, "the grant is for another key or contract than the order's")
	case o.Terms != g.Terms:
		return code.New(code.TermsMismatch, "the order names other terms than the grant")
	case tip < g.NotBefore:
		return code.New(code.GrantNotYet, "the grant begins at block %d, the relay is at %d", g.NotBefore, tip)
	case tip > g.NotAfter:
		return code.New(code.GrantExpired, "the grant ended with block %d, the relay is at %d", g.NotAfter, tip)
	}
	return nil
}

// VerifiedAccountGrant is a grant whose signature held.
type VerifiedAccountGrant struct {
	AccountGrant
	verified
}

// OpenAccountGrant decodes and verifies.
func OpenAccountGrant(s identity.Signed) (VerifiedAccountGrant, error) {
	b, v, err := open(s, DecodeAccountGrant)
	return VerifiedAccountGrant{b, v}, err
}

// OpenAccountGrantVerified is OpenAccountGrant with the verdict of identity.VerifyBatch.
func OpenAccountGrantVerified(s identity.Signed, v identity.Verdict) (VerifiedAccountGrant, error) {
	b, ok, err := openVerified(s, v, DecodeAccountGrant)
	return VerifiedAccountGrant{b, ok}, err
}

// AccountRevoke (sponsor → relay) ends a grant for new orders. What was receipted under it is kept and
// billed to its end.
type AccountRevoke struct {
	identity.Header
	Grant identity.Digest
}

func (r *AccountRevoke) fields() []codec.Field { return []codec.Field{codec.Fixed(64, r.Grant[:])} }

// Encode writes the statement. Errors: a field outside its bounds.
func (r AccountRevoke) Encode() ([]byte, error) {
	r.Type = identity.TypeAccountRevoke
	if err := need(r.Type, "a grant", r.Grant); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(r.Header, r.fields()...)
}

// DecodeAccountRevoke reads the statement; the signature is not looked at.
func DecodeAccountRevoke(raw []byte) (AccountRevoke, error) {
	var r AccountRevoke
	if err := identity.DecodeStatement(raw, identity.TypeAccountRevoke, &r.Header, r.fields()...); err != nil {
		return AccountRevoke{}, err
	}
	return r, need(r.Type, "a grant", r.Grant)
}

// VerifiedAccountRevoke is a revocation whose signature held.
type VerifiedAccountRevoke struct {
	AccountRevoke
	verified
}

// OpenAccountRevoke decodes and verifies.
func OpenAccountRevoke(s identity.Signed) (VerifiedAccountRevoke, error) {
	b, v, err := open(s, DecodeAccountRevoke)
	return VerifiedAccountRevoke{b, v}, err
}

// OpenAccountRevokeVerified is OpenAccountRevoke with the verdict of identity.VerifyBatch.
func OpenAccountRevokeVerified(s identity.Signed, v identity.Verdict) (VerifiedAccountRevoke, error) {
	b, ok, err := openVerified(s, v, DecodeAccountRevoke)
	return VerifiedAccountRevoke{b, ok}, err
}

// GrantReceipt (relay → sponsor) says that a grant, or its revocation, has taken effect, and where in
// the contract's log: a row of a revoked grant's order at RowIndex or behind it is not paid.
type GrantReceipt struct {
	identity.Header
	Order    identity.Digest // of the AccountGrant, or of the AccountRevoke
	Grant    identity.Digest // of the AccountGrant
	Contract ContractID
	LogEpoch uint32
	RowIndex uint64 // rows of the log when it took effect
}

func (r *GrantReceipt) fields() []codec.Field {
	return []codec.Field{
		codec.Fixed(64, r.Order[:]), codec.Fixed(66, r.Grant[:]), codec.Fixed(68, r.Contract[:]),
		codec.U32(70, &r.LogEpoch), codec.U64(72, &r.RowIndex),
	}
}

func (r *GrantReceipt) check() error {
	if err := need(r.Type, "an order", r.Order); err != nil {
		return err
	}
	if err := need(r.Type, "a contract", identity.Digest(r.Contract)); err != nil {
		return err
	}
	return need(r.Type, "a grant", r.Grant)
}

// Encode writes the statement. Errors: a field outside its bounds.
func (r GrantReceipt) Encode() ([]byte, error) {
	r.Type = identity.TypeGrantReceipt
	if err := r.check(); err != nil {
		return nil, err
	}
	return identity.EncodeStatement(r.Header, r.fields()...)
}

// DecodeGrantReceipt reads the statement; the signature is not looked at.
func DecodeGrantReceipt(raw []byte) (GrantReceipt, error) {
	var r GrantReceipt
	if err := identity.DecodeStatement(raw, identity.TypeGrantReceipt, &r.Header, r.fields()...); err != nil {
		return GrantReceipt{}, err
	}
	return r, r.check()
}

// VerifiedGrantReceipt is a receipt for a grant or a revocation whose signature held.
type VerifiedGrantReceipt struct {
	GrantReceipt
	verified
}

// OpenGrantReceipt decodes and verifies.
func OpenGrantReceipt(s identity.Signed) (VerifiedGrantReceipt, error) {
	b, v, err := open(s, DecodeGrantReceipt)
	return VerifiedGrantReceipt{b, v}, err
}

// OpenGrantReceiptVerified is OpenGrantReceipt with the verdict of identity.VerifyBatch.
func OpenGrantReceiptVerified(s identity.Signed, v identity.Verdict) (VerifiedGrantReceipt, error) {
	b, ok, err := openVerified(s, v, DecodeGrantReceipt)
	return VerifiedGrantReceipt{b, ok}, err
}

// Answers checks that the receipt is the relay's word on a grant or on its revocation: order is the
// digest of that statement. Code Conflict.
func (r GrantReceipt) Answers(g VerifiedAccountGrant, order identity.Digest) error {
	if r.Network != g.Network || r.From != g.To || r.To != g.From || r.Grant != g.Digest() || r.Order != order || r.Contract != g.Contract {
		return code.New(code.Conflict, "the receipt is for another grant")
	}
	return nil
}
