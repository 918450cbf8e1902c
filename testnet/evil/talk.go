package evil

import (
	"bytes"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// substitutes are the digests of statements that one side knows in another form than the other, because
// the Front has signed them anew. A contract's messages name one another by digest.
type substitutes struct {
	forClient map[identity.Digest]identity.Digest // what the relay knows → what the client knows
	forRelay  map[identity.Digest]identity.Digest // the other way
}

func newSubstitutes() substitutes {
	return substitutes{make(map[identity.Digest]identity.Digest), make(map[identity.Digest]identity.Digest)}
}

func (s substitutes) put(relays, clients identity.Digest) {
	if relays != clients {
		s.forClient[relays], s.forRelay[clients] = clients, relays
	}
}

// rename replaces every digest, standing alone in a field, that has a substitute.
func rename(fields []Field, names map[identity.Digest]identity.Digest) (changed bool) {
	for _, f := range fields {
		if len(f.Value) != len(identity.Digest{}) || f.Type < firstBody {
			continue
		}
		if other, ok := names[identity.Digest(f.Value)]; ok {
			copy(f.Value, other[:])
			changed = true
		}
	}
	return changed
}

// firstBody is the least type of a field that belongs to a statement's own body.
const firstBody = 64

// toClient takes a contract statement of the relay, notes terms, tells the lie, and gives it to the client.
func (f *Front) toClient(signed []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := identity.ParseSigned(signed)
	if err != nil {
		return nil, err
	}
	m, err := contract.Decode(s.Statement)
	if err != nil {
		return nil, err
	}
	if accepted, ok := m.(*contract.ServerAddInputs); ok {
		if err := f.openBook(accepted); err != nil {
			return nil, err
		}
	}
	raw := s.Statement
	if f.lie != nil && f.lie.contract != nil && f.lie.contract(m) {
		f.told++
		if raw, err = contract.Encode(m); err != nil {
			return nil, err
		}
	}
	if raw, err = f.changed(raw); err != nil {
		return nil, err
	}
	return f.restate(f.opts.Key, s, raw, f.names.forClient, func(relays, clients identity.Digest) { f.names.put(relays, clients) })
}

// toRelay takes a contract statement of the client and gives it to the relay, in the relay's own terms.
func (f *Front) toRelay(signed []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := identity.ParseSigned(signed)
	if err != nil {
		return nil, err
	}
	h, err := identity.PeekHeader(s.Statement)
	if err != nil {
		return nil, err
	}
	key, ok := f.opts.Client(h.From)
	if !ok {
		return signed, nil
	}
	raw, err := f.changed(s.Statement)
	if err != nil {
		return nil, err
	}
	return f.restate(key, s, raw, f.names.forRelay, func(clients, relays identity.Digest) { f.names.put(relays, clients) })
}

// restate renames what a statement, which may have been changed to raw, refers to and signs it anew if
// there is a difference.
func (f *Front) restate(key identity.PrivateKey, s identity.Signed, raw []byte, names map[identity.Digest]identity.Digest, note func(before, after identity.Digest)) ([]byte, error) {
	fields, err := Split(raw)
	if err != nil {
		return nil, err
	}
	if rename(fields, names) {
		raw = Join(fields)
	}
	if bytes.Equal(raw, s.Statement) {
		return s.Bytes(), nil
	}
	before, err := digestOf(s.Statement)
	if err != nil {
		return nil, err
	}
	after, err := digestOf(raw)
	if err != nil {
		return nil, err
	}
	note(before, after)
	again, err := identity.SignOne(key, raw)
	return again.Bytes(), code.Wrap(code.Internal, err, "sign anew")
}
