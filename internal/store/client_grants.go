package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// HeldGrant is a grant that this identity gave or received, with what became of it.
type HeldGrant struct {
	Digest  identity.Digest
	Grant   identity.Signed
	Receipt identity.Signed // of the relay for the grant; zero: none yet
	Revoke  identity.Signed // zero while the grant stands
	Ended   identity.Signed // of the relay for the revocation; zero: none yet
	Epoch   [16]byte        // store epoch of the relay in which it gave the last receipt
	Relay   []byte          // where the relay is, in the caller's form
}

func (g HeldGrant) encode() []byte {
	w := newWriter(1024).signed(g.Grant).signed(g.Receipt).signed(g.Revoke).signed(g.Ended)
	return w.fixed(g.Epoch[:]).bytes(g.Relay).b
}

func decodeHeldGrant(digest identity.Digest, b []byte) (HeldGrant, error) {
	r := newReader(b)
	g := HeldGrant{Digest: digest, Grant: r.signed(), Receipt: r.signed(), Revoke: r.signed(), Ended: r.signed()}
	r.fixed(g.Epoch[:])
	g.Relay = r.bytes()
	return g, r.end("a grant")
}

// SaveGrant keeps a grant, if it is not kept yet.
func (c *Client) SaveGrant(ctx context.Context, g HeldGrant) error {
	return c.update(ctx, func(t *clientTx) error {
		key := key32(clientGrant, g.Digest)
		have, err := t.get(key)
		if err == nil && have == nil {
			t.put(key, g.encode())
		}
		return err
	})
}

// ChangeGrant changes what is kept of a grant. Code UnknownGrant.
func (c *Client) ChangeGrant(ctx context.Context, digest identity.Digest, change func(*HeldGrant)) error {
	return c.update(ctx, func(t *clientTx) error {
		key := key32(clientGrant, digest)
		have, err := t.get(key)
		if err != nil {
			return err
		}
		if have == nil {
			return code.New(code.UnknownGrant, "no grant %s is kept", digest.Short())
		}
		g, err := decodeHeldGrant(digest, have)
		if err != nil {
			return err
		}
		change(&g)
		t.put(key, g.encode())
		return nil
	})
}

// Grants lists all grants, given and received.
func (c *Client) Grants(ctx context.Context) ([]HeldGrant, error) {
	var out []HeldGrant
	err := c.each(ctx, []byte{clientGrant}, nil, func(p Pair) (bool, error) {
		if len(p.Key) != 33 {
			return false, corrupt("a grant key of %d bytes", len(p.Key))
		}
		g, err := decodeHeldGrant(identity.Digest(p.Key[1:]), p.Value)
		out = append(out, g)
		return true, err
	})
	return out, err
}

// grantsOn are the grants on a contract, as an audit wants them.
func (c *Client) grantsOn(ctx context.Context, id usage.ContractID) ([]usage.HeldGrant, error) {
	all, err := c.Grants(ctx)
	if err != nil {
		return nil, err
	}
	var out []usage.HeldGrant
	for _, g := range all {
		v, err := usage.DecodeAccountGrant(g.Grant.Statement)
		if err != nil {
			return nil, code.Wrap(code.StoreCorrupt, err, "a kept grant")
		}
		if v.Contract == id {
			out = append(out, usage.HeldGrant{Grant: g.Grant, Revoked: g.Ended})
		}
	}
	return out, nil
}
