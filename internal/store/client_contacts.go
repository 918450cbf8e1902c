package store

import (
	"context"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// SaveContact adds a contact or changes the label that the user gave.
func (c *Client) SaveContact(ctx context.Context, now identity.UnixMilli, key identity.PublicKey, label string) error {
	if len(label) > identity.MaxLabel {
		return code.New(code.BadArgument, "a label has at most %d bytes", identity.MaxLabel)
	}
	return c.update(ctx, func(t *clientTx) error {
		v, err := t.get(key32(clientContact, key))
		if err != nil {
			return err
		}
		row := Contact{Key: key, Added: now}
		if v != nil {
			if row, err = decodeContact(key, v); err != nil {
				return err
			}
		}
		row.Label = label
		t.put(key32(clientContact, key), row.encode())
		return nil
	})
}

// SaveDocument keeps a contact's document if its sequence is the highest that was seen. Code
// IdentityRollback if a newer one is kept; UnknownContact if its owner is none. Another
// document with the same sequence as the kept one does not replace it, but marks the contact:
// warn the user.
func (c *Client) SaveDocument(ctx context.Context, now identity.UnixMilli, d *identity.VerifiedDocument) error {
	return c.update(ctx, func(t *clientTx) error {
		v, err := t.get(key32(clientContact, d.Owner()))
		if err != nil {
			return err
		}
		if v == nil {
			return code.New(code.UnknownContact, "%s is no contact", d.Owner().Name())
		}
		row, err := decodeContact(d.Owner(), v)
		if err != nil {
			return err
		}
		if row, err = row.take(now, d); err != nil {
			return err
		}
		t.put(key32(clientContact, d.Owner()), row.encode())
		return nil
	})
}

// take decides what a document does to a contact.
func (v Contact) take(now identity.UnixMilli, d *identity.VerifiedDocument) (Contact, error) {
	switch {
	case v.Document.IsZero() || d.Sequence > v.Sequence:
		v.Document, v.Sequence, v.Digest, v.Checked, v.Conflict = d.Signed(), d.Sequence, d.Digest(), now, false
	case d.Sequence < v.Sequence:
		return v, code.New(code.IdentityRollback, "document %d of %s after number %d", d.Sequence, v.Key.Name(), v.Sequence)
	case d.Digest() != v.Digest:
		v.Conflict = true
	default:
		v.Checked = now
	}
	return v, nil
}

// Contact reads one contact. Code UnknownContact.
func (c *Client) Contact(ctx context.Context, key identity.PublicKey) (Contact, error) {
	v, err := c.getOne(ctx, key32(clientContact, key))
	if err != nil {
		return Contact{}, err
	}
	if v == nil {
		return Contact{}, code.New(code.UnknownContact, "%s is no contact", key.Name())
	}
	return decodeContact(key, v)
}

// Contacts lists all contacts.
func (c *Client) Contacts(ctx context.Context) ([]Contact, error) {
	var out []Contact
	err := c.each(ctx, []byte{clientContact}, nil, func(p Pair) (bool, error) {
		key, err := keyName(p.Key, 1)
		if err != nil {
			return false, err
		}
		row, err := decodeContact(key, p.Value)
		out = append(out, row)
		return true, err
	})
	return out, err
}

// DeleteContact forgets a contact; what was received from it stays.
func (c *Client) DeleteContact(ctx context.Context, key identity.PublicKey) error {
	return c.update(ctx, func(t *clientTx) error {
		t.delete(key32(clientContact, key))
		return nil
	})
}

// SaveOwnDocument keeps the agent's own document before it is published. Its sequence must
// rise, so that no two documents share one: code IdentityRollback. The kept one again changes
// nothing.
func (c *Client) SaveOwnDocument(ctx context.Context, d *identity.VerifiedDocument) error {
	if d.Owner() != c.owner {
		return code.New(code.BadArgument, "the document is of %s", d.Owner().Name())
	}
	return c.update(ctx, func(t *clientTx) error {
		v, err := t.get(ownDocumentKey)
		if err != nil {
			return err
		}
		if v != nil {
			old, err := ownDocument(v)
			if err != nil {
				return err
			}
			if old.Digest() != d.Digest() && d.Sequence <= old.Sequence {
				return code.New(code.IdentityRollback, "own document %d after number %d", d.Sequence, old.Sequence)
			}
		}
		t.put(ownDocumentKey, newWriter(2048).signed(d.Signed()).b)
		return nil
	})
}

func ownDocument(v []byte) (*identity.VerifiedDocument, error) {
	s, err := decodeSigned(v, "the own document")
	if err != nil {
		return nil, err
	}
	d, err := identity.OpenDocument(s, 0)
	return d, code.Wrap(code.StoreCorrupt, err, "the own document")
}

// OwnDocument is the agent's own document. Code NotFound.
func (c *Client) OwnDocument(ctx context.Context) (identity.Signed, error) {
	v, err := c.getKnown(ctx, ownDocumentKey, "own document")
	if err != nil {
		return identity.Signed{}, err
	}
	return decodeSigned(v, "the own document")
}

// SaveOffers keeps the newest offer of each relay.
func (c *Client) SaveOffers(ctx context.Context, now identity.UnixMilli, offers []broadcast.VerifiedOffer) error {
	return c.update(ctx, func(t *clientTx) error {
		for _, o := range offers {
			if err := t.saveOffer(now, o); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *clientTx) saveOffer(now identity.UnixMilli, o broadcast.VerifiedOffer) error {
	key := key32(clientOffer, o.From)
	v, err := t.get(key)
	if err != nil {
		return err
	}
	if v != nil {
		old, err := decodeSeenOffer(o.From, v)
		if err != nil {
			return err
		}
		kept, err := broadcast.Decode(old.Offer.Statement)
		if err != nil {
			return code.Wrap(code.StoreCorrupt, err, "an offer")
		}
		if kept.Sequence > o.Sequence {
			return nil
		}
	}
	t.put(key, SeenOffer{Offer: o.Signed(), Seen: now}.encode())
	return nil
}

// Offers lists the offers that were seen, the newest of each relay.
func (c *Client) Offers(ctx context.Context) ([]SeenOffer, error) {
	var out []SeenOffer
	err := c.each(ctx, []byte{clientOffer}, nil, func(p Pair) (bool, error) {
		relay, err := keyName(p.Key, 1)
		if err != nil {
			return false, err
		}
		o, err := decodeSeenOffer(relay, p.Value)
		out = append(out, o)
		return true, err
	})
	return out, err
}

// SaveScore keeps what the user's own audits say of a relay.
func (c *Client) SaveScore(ctx context.Context, relay identity.PublicKey, score broadcast.Score) error {
	return c.update(ctx, func(t *clientTx) error {
		t.put(key32(clientScore, relay), number(uint64(score)))
		return nil
	})
}

// Scores lists all scores, as broadcast.Guard wants them.
func (c *Client) Scores(ctx context.Context) (map[identity.PublicKey]broadcast.Score, error) {
	out := make(map[identity.PublicKey]broadcast.Score)
	err := c.each(ctx, []byte{clientScore}, nil, func(p Pair) (bool, error) {
		relay, err := keyName(p.Key, 1)
		if err != nil {
			return false, err
		}
		v, err := decodeNumber(p.Value)
		out[relay] = broadcast.Score(v)
		return true, err
	})
	return out, err
}
