package relay_test

import (
	"testing"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/usage"
)

// grant is a grant on a contract, signed by somebody.
func (p *person) grant(c contract.Contract, to identity.PublicKey, change func(*usage.AccountGrant)) (identity.Signed, identity.Digest) {
	p.t.Helper()
	g := usage.AccountGrant{
		Header: p.header(identity.TypeAccountGrant), Contract: c.ID(), Account: to, Terms: c.Terms().Digest(), Prices: c.Terms().Prices,
		CapMsat: 1 << 50, DayMsat: 1 << 50, NotAfter: 1 << 30,
	}
	if change != nil {
		change(&g)
	}
	raw, err := g.Encode()
	return p.sealed(raw, err), identity.StatementDigest(identity.TypeAccountGrant, raw)
}

func (p *person) sealed(raw []byte, err error) identity.Signed {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := identity.SignOne(p.key, raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// under makes an order one that a sponsor's grant pays for.
func under(c contract.Contract, grant identity.Digest) func(*usage.StoreOrder) {
	return func(o *usage.StoreOrder) {
		on(c)(o)
		o.MaxMsat, o.Grant = 1<<40, grant
	}
}

// TestBadInputGrants: nobody orders at another's cost without that other's word, and a grant that is
// forged, foreign or taken back is none.
func TestBadInputGrants(t *testing.T) {
	r := start(t, t.TempDir(), dear(t))
	p, dora, bob := newPayer(t, r), newPerson(t, r), newPerson(t, r)
	c := p.open(300_000, 100_000)
	write := func(who *person, grant identity.Digest) error {
		_, err := call[*message.Written](who, who.draftOn(under(c, grant), once, bob.key.Public(), noise(500)))
		return err
	}
	good, digest := p.grant(c, dora.key.Public(), nil)
	forged := good
	forged.Proof.Sig[5] ^= 1
	foreign, _ := bob.grant(c, dora.key.Public(), nil)
	elsewhere, _ := p.grant(c, dora.key.Public(), func(g *usage.AccountGrant) { g.To = bob.key.Public() })
	terms, _ := p.grant(c, dora.key.Public(), func(g *usage.AccountGrant) { g.Terms[0] ^= 1 })
	revoke := p.sealed(usage.AccountRevoke{Header: p.header(identity.TypeAccountRevoke), Grant: digest}.Encode())
	for name, x := range map[string]struct {
		who  *person
		s    []byte
		want code.Code
	}{
		"forged":                       {p.person, forged.Bytes(), code.BadSignature},
		"by somebody without contract": {bob, foreign.Bytes(), code.ContractUnknown},
		"brought by a stranger":        {bob, good.Bytes(), code.Forbidden},
		"for another relay":            {p.person, elsewhere.Bytes(), code.WrongRecipient},
		"other terms":                  {p.person, terms.Bytes(), code.TermsMismatch},
		"no statement":                 {p.person, []byte{1, 2, 3}, code.Malformed},
		"a revocation of nothing":      {p.person, revoke.Bytes(), code.UnknownGrant},
		"another type":                 {p.person, p.sealed(usage.Delete{Header: p.header(identity.TypeDelete), Record: digest}.Encode()).Bytes(), code.Malformed},
	} {
		if _, err := call[*message.Granted](x.who, &message.Grant{Statement: x.s}); code.Of(err) != x.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := write(dora, digest); code.Of(err) != code.UnknownGrant {
		t.Errorf("before the relay has the grant: %v", err)
	}
	must[*message.Granted](dora, &message.Grant{Statement: good.Bytes()}) // its holder may bring it
	if err := write(dora, digest); err != nil {
		t.Fatal(err)
	}
	if err := write(bob, digest); code.Of(err) != code.UnknownGrant {
		t.Errorf("another's grant: %v", err)
	}
	if _, err := call[*message.Lane](bob, &message.RequestLane{Contract: c.ID(), Grant: digest}); code.Of(err) != code.UnknownGrant {
		t.Errorf("a stranger asks for the lane: %v", err)
	}
	if _, err := call[*message.Granted](dora, &message.Grant{Statement: revoke.Bytes()}); code.Of(err) != code.Forbidden {
		t.Errorf("the account brings the revocation: %v", err)
	}
	must[*message.Granted](p.person, &message.Grant{Statement: revoke.Bytes()})
	if err := write(dora, digest); code.Of(err) != code.GrantRevoked {
		t.Errorf("after the revocation: %v", err)
	}
	lane := must[*message.Lane](dora, &message.RequestLane{Contract: c.ID(), Grant: digest})
	if len(lane.Rows) != 1 || lane.LiveBytes == 0 || lane.ReservedMsat == 0 || len(lane.Revoke) == 0 || !lane.Open {
		t.Errorf("the lane: %+v", lane)
	}
}
