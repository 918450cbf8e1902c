package board

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// Bounds of a list as it is read from anyone.
const (
	// MaxListBytes is the largest list that is read, in bytes.
	MaxListBytes = 8 << 20
	// MaxListOffers is the most offers that one list, or one directory, may hold.
	MaxListOffers = 10_000

	listVersion = 1
)

// list is the one form in which offers lie on a board.
type list struct {
	Version    int      `json:"version"`
	Broadcasts []string `json:"broadcasts"` // hex of identity.Signed
}

// encodeList writes signed offers that are in hex already.
func encodeList(offers []string) ([]byte, error) {
	if offers == nil {
		offers = []string{}
	}
	raw, err := json.Marshal(list{listVersion, offers})
	return append(raw, '\n'), code.Wrap(code.Internal, err, "list of offers")
}

// decodeList reads a list. Items that are no signed statements do not spoil the others: they
// are counted in one error that comes beside the rest. Nothing is verified.
func decodeList(raw []byte) ([]identity.Signed, error) {
	if len(raw) > MaxListBytes {
		return nil, code.New(code.TooLarge, "a list of %d bytes, allowed are %d", len(raw), MaxListBytes)
	}
	var l list
	if err := json.Unmarshal(raw, &l); err != nil {
		return nil, code.New(code.Malformed, "not a list of offers")
	}
	if l.Version != listVersion {
		return nil, code.New(code.Unsupported, "a list of version %d; this program reads %d", l.Version, listVersion)
	}
	if len(l.Broadcasts) > MaxListOffers {
		return nil, code.New(code.TooLarge, "%d offers, allowed are %d", len(l.Broadcasts), MaxListOffers)
	}
	var out []identity.Signed
	var bad tally
	for _, h := range l.Broadcasts {
		s, err := parseHex(h)
		if bad.add(err) {
			continue
		}
		out = append(out, s)
	}
	return out, bad.err()
}

// parseHex reads one signed offer in hex.
func parseHex(h string) (identity.Signed, error) {
	if len(h) > 2*broadcast.MaxSigned {
		return identity.Signed{}, code.New(code.TooLarge, "an offer of %d hex digits", len(h))
	}
	raw, err := hex.DecodeString(h)
	if err != nil {
		return identity.Signed{}, code.New(code.Malformed, "an offer is not hex")
	}
	return identity.ParseSigned(raw)
}

// parseOne reads one signed offer as it is posted: raw, or in hex with white space around
// it. The two cannot be confused, because the raw form begins with the zero bytes of a length.
func parseOne(body []byte) (identity.Signed, error) {
	if len(body) > 0 && body[0] != 0 {
		return parseHex(strings.TrimSpace(string(body)))
	}
	return identity.ParseSigned(body)
}

// tally counts refusals and keeps the first, so that a list of junk is one line of report.
type tally struct {
	n     int
	first error
}

// add counts an error and tells whether there was one.
func (t *tally) add(err error) bool {
	if err == nil {
		return false
	}
	if t.n++; t.first == nil {
		t.first = err
	}
	return true
}

func (t *tally) err() error {
	if t.n < 2 {
		return t.first
	}
	return fmt.Errorf("%d offers refused, the first: %w", t.n, t.first)
}
