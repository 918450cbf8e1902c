package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/store"
)

const (
	// refreshAfter is the age at which a contact's document is asked for again before something is
	// sealed to it, in milliseconds.
	refreshAfter identity.UnixMilli = 7 * 24 * 3600 * 1000
	// refreshTime bounds that question.
	refreshTime = 10 * time.Second
	// cardPrefix begins a card's URI.
	cardPrefix = "relayid:"
)

// PutContact adds somebody, or takes a newer document of a contact, from a *.relayid file or from
// a card (relayid:…), whose document is fetched from the relays that it names. A label, if given,
// replaces the one in the document. Errors: BadSignature, IdentityExpired, IdentityRollback,
// WrongNetwork, Malformed, and for a card those of reaching a relay.
func (a *Agent) PutContact(ctx context.Context, fileOrCard []byte, label string) (Contact, error) {
	var d *identity.VerifiedDocument
	var err error
	warning := ""
	if text := strings.TrimSpace(string(fileOrCard)); strings.HasPrefix(text, cardPrefix) {
		d, warning, err = a.fetchCard(ctx, text)
	} else {
		d, err = identity.ParseFile(fileOrCard, a.nowMilli())
	}
	if err != nil {
		return Contact{}, err
	}
	c, err := a.putDocument(ctx, d, label)
	if c.Warning == "" {
		c.Warning = warning
	}
	return c, err
}

func (a *Agent) putDocument(ctx context.Context, d *identity.VerifiedDocument, label string) (Contact, error) {
	switch {
	case d.Owner() == a.Key():
		return Contact{}, code.New(code.BadArgument, "this is the own identity")
	case d.Network() != a.network:
		return Contact{}, code.New(code.WrongNetwork, "the identity is for %s, this agent works on %s", d.Network(), a.network)
	case len(d.SealingKey) == 0:
		return Contact{}, code.New(code.BadKey, "the identity has no sealing key, so nothing can be sent to it")
	}
	old, err := a.store.Contact(ctx, d.Owner())
	if fresh := code.Of(err) == code.UnknownContact; err != nil && !fresh {
		return Contact{}, err
	} else if fresh {
		err = a.told(ctx, d.Owner()) // who gives a document has got the own one in the same way
	} else if label == "" {
		label = old.Label
	}
	if err != nil {
		return Contact{}, err
	}
	if err := a.store.SaveContact(ctx, a.nowMilli(), d.Owner(), label); err != nil {
		return Contact{}, err
	}
	if err := a.store.SaveDocument(ctx, a.nowMilli(), d); err != nil {
		return Contact{}, err
	}
	nudge(a.change)
	c, err := a.store.Contact(ctx, d.Owner())
	return a.contact(c), err
}

// fetchCard gets the document of a card. What counts is that the key of the card signed it; a
// document that is another one than the card names, because it was changed since, is taken with a
// warning.
func (a *Agent) fetchCard(ctx context.Context, text string) (*identity.VerifiedDocument, string, error) {
	card, err := identity.ParseCard(text)
	if err != nil {
		return nil, "", err
	}
	err = code.New(code.NoRelay, "the card names no relay; ask for the identity file")
	for _, ref := range card.Relays {
		a.links.hint(ref)
		var d *identity.VerifiedDocument
		if d, err = a.askIdentity(ctx, ref.Key, card.Key); err != nil {
			continue
		}
		if d.Digest() != card.Digest {
			return d, "the relay has another document than the card names; compare the name " + card.Key.Name(), nil
		}
		return d, "", nil
	}
	return nil, "", err
}

// askIdentity asks one relay for somebody's document.
func (a *Agent) askIdentity(ctx context.Context, relay, of identity.PublicKey) (*identity.VerifiedDocument, error) {
	c, err := a.session(ctx, relay)
	if err != nil {
		return nil, err
	}
	m, err := call[*message.Identity](ctx, c, &message.GetIdentity{Key: of})
	if err != nil {
		return nil, err
	}
	s, err := identity.ParseSigned(m.Document)
	if err != nil {
		return nil, err
	}
	d, err := identity.OpenDocument(s, a.nowMilli())
	if err != nil {
		return nil, err
	}
	if d.Owner() != of || d.Network() != a.network {
		return nil, code.New(code.Forbidden, "relay %s shows the document of %s", relay.Name(), d.Owner().Name())
	}
	return d, nil
}

// Contacts lists all contacts.
func (a *Agent) Contacts(ctx context.Context) ([]Contact, error) {
	all, err := a.store.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Contact, len(all))
	for i, c := range all {
		out[i] = a.contact(c)
	}
	slices.SortFunc(out, func(x, y Contact) int { return strings.Compare(x.Label, y.Label) })
	return out, nil
}

// DropContact forgets a contact; what was received from it stays. Code UnknownContact.
func (a *Agent) DropContact(ctx context.Context, who string) error {
	c, err := a.resolve(ctx, who)
	if err != nil {
		return err
	}
	if err := a.store.DeleteContact(ctx, c.Key); err != nil {
		return err
	}
	nudge(a.change)
	return nil
}

// contact is a contact as it is shown.
func (a *Agent) contact(c store.Contact) Contact {
	out := Contact{Key: c.Key, Name: c.Key.Name(), Label: c.Label, Sequence: c.Sequence}
	d, err := a.documentOf(c)
	switch {
	case err != nil:
		out.Warning = code.Text(err)
	case d.Expires < a.nowMilli():
		out.Warning = "the identity document has expired; ask for a fresh one"
	case c.Conflict:
		out.Warning = "two different documents with one number were seen; compare with its owner"
	}
	if err == nil {
		out.Relays, out.Expires = d.Relays, d.Expires
		if out.Label == "" {
			out.Label = d.Label
		}
	}
	return out
}

// relaysOf are the relays that a contact's document names.
func (a *Agent) relaysOf(c store.Contact) []identity.RelayRef {
	d, err := a.documentOf(c)
	if err != nil {
		return nil
	}
	return d.Relays
}

// documentOf is the contact's newest document, also if it has expired. Documents are verified
// once in the agent's life. Code UnknownContact if there is none.
func (a *Agent) documentOf(c store.Contact) (*identity.VerifiedDocument, error) {
	if c.Document.IsZero() {
		return nil, code.New(code.UnknownContact, "no identity document of %s is known; ask for one", c.Key.Name())
	}
	if d, ok := a.opened.Load(c.Digest); ok {
		return d.(*identity.VerifiedDocument), nil
	}
	d, err := identity.OpenDocument(c.Document, 0)
	if err == nil {
		a.opened.Store(c.Digest, d)
	}
	return d, err
}

// resolve finds one contact by key, name, or label. Code UnknownContact, also if several fit.
func (a *Agent) resolve(ctx context.Context, who string) (store.Contact, error) {
	all, err := a.store.Contacts(ctx)
	if err != nil {
		return store.Contact{}, err
	}
	who = strings.TrimSpace(who)
	key, _ := identity.ParsePublicKey(who)
	var found []store.Contact
	for _, c := range all {
		if c.Key == key || strings.EqualFold(c.Key.Name(), who) {
			return c, nil
		}
		if who != "" && a.contact(c).Label == who {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return store.Contact{}, code.New(code.UnknownContact, "nobody is called %q", who)
	}
	names := make([]string, len(found))
	for i, c := range found {
		names[i] = c.Key.Name()
	}
	return store.Contact{}, code.New(code.UnknownContact, "%d contacts are called %q; use a name: %s", len(found), who, strings.Join(names, ", "))
}

// fresh gives the document that something can be sealed to, asked for again if it was not seen
// for long. Code IdentityExpired.
func (a *Agent) fresh(ctx context.Context, c store.Contact) (*identity.VerifiedDocument, error) {
	if c.Document.IsZero() || a.nowMilli()-min(c.Checked, a.nowMilli()) > refreshAfter {
		if err := a.refresh(ctx, c); err != nil {
			a.log.Debug("a contact's document could not be refreshed", "contact", c.Key.Name(), "err", err)
		}
		var err error
		if c, err = a.store.Contact(ctx, c.Key); err != nil {
			return nil, err
		}
	}
	d, err := identity.OpenDocument(c.Document, a.nowMilli())
	if code.Of(err) == code.IdentityExpired {
		if e := a.refresh(ctx, c); e != nil {
			return nil, err
		}
		if c, err = a.store.Contact(ctx, c.Key); err == nil {
			d, err = identity.OpenDocument(c.Document, a.nowMilli())
		}
	}
	return d, err
}

// refresh asks the contact's relays, then the own ones, for its newest document, until one answers.
func (a *Agent) refresh(ctx context.Context, c store.Contact) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	refs, err := a.ownRelays(ctx)
	if err != nil {
		return err
	}
	err = code.New(code.NoRelay, "no relay of %s is known", c.Key.Name())
	for _, r := range append(slices.Clone(a.relaysOf(c)), refs...) {
		var d *identity.VerifiedDocument
		if d, err = a.askIdentity(ctx, r.Key, c.Key); err == nil {
			return a.takeDocument(ctx, d)
		}
	}
	return err
}

// takeDocument keeps a contact's document if it is not older than the known one.
func (a *Agent) takeDocument(ctx context.Context, d *identity.VerifiedDocument) error {
	before, err := a.store.Contact(ctx, d.Owner())
	if err != nil {
		return err
	}
	if err := a.store.SaveDocument(ctx, a.nowMilli(), d); err != nil {
		return err
	}
	if before.Digest != d.Digest() {
		a.opened.Delete(before.Digest)
		nudge(a.change)
	}
	return nil
}

// toldKey is the named value with the sequence of the own document that a contact was told of.
func toldKey(contact identity.PublicKey) string { return "told " + hex.EncodeToString(contact[:]) }

// told notes that a contact knows the own document as it is now.
func (a *Agent) told(ctx context.Context, contact identity.PublicKey) error {
	d, err := a.ownDocument(ctx)
	if err != nil {
		return err
	}
	return a.store.SetValue(ctx, toldKey(contact), binary.BigEndian.AppendUint64(nil, d.Sequence))
}

// untold are the contacts that do not know yet where the own relays are.
func (a *Agent) untold(ctx context.Context) ([]store.Contact, error) {
	changed, err := a.store.Value(ctx, relaysChangedKey)
	if err != nil || changed == nil {
		return nil, err
	}
	all, err := a.store.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	var out []store.Contact
	for _, c := range all {
		knows, err := a.store.Value(ctx, toldKey(c.Key))
		if err != nil {
			return nil, err
		}
		if bytes.Compare(knows, changed) < 0 && !c.Document.IsZero() {
			out = append(out, c)
		}
	}
	return out, nil
}
