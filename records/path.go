package records

import (
	"encoding/base32"
	"io"
	"strings"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// MaxID is the longest ID in bytes.
const MaxID = 64

// ID names a record among all records of one sender to one receiver: 1 to 64 characters of
// a-z A-Z 0-9 . _ -. It is visible to the relay: put nothing secret into it.
type ID string

// ParseID checks a string for being an ID. Errors carry code BadPath.
func ParseID(s string) (ID, error) {
	if err := ID(s).check(); err != nil {
		return "", err
	}
	return ID(s), nil
}

// NewID draws 128 bits from rand and writes them as 26 characters: an ID that nobody guesses
// and that tells nothing.
func NewID(rand io.Reader) (ID, error) {
	s, err := randomName(rand)
	return ID(s), err
}

// randomName is 128 random bits in lower-case base32, 26 characters.
func randomName(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", code.Wrap(code.Internal, err, "no randomness")
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])), nil
}

func (id ID) check() error {
	if len(id) < 1 || len(id) > MaxID {
		return code.New(code.BadPath, "an id has 1 to %d characters, not %d", MaxID, len(id))
	}
	for i := range len(id) {
		if !idChar(id[i]) {
			return code.New(code.BadPath, "the id has a character outside a-z A-Z 0-9 . _ - at place %d", i+1)
		}
	}
	return nil
}

func idChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// Path is where a record lives: in the sender's outbox for one receiver, under an id. It is
// comparable and can be a map key. The first record that is stored at a path stays there.
type Path struct {
	Sender   identity.PublicKey
	Receiver identity.PublicKey
	ID       ID
}

// outbox is the fixed second element of every path.
const outbox = "outbox"

// ParsePath reads /sender/outbox/receiver/id; keys in rk1 form or hex. Errors carry code
// BadPath.
func ParsePath(s string) (Path, error) {
	part := strings.Split(s, "/")
	if len(part) != 5 || part[0] != "" || part[2] != outbox {
		return Path{}, code.New(code.BadPath, "%q is not of the form /sender/outbox/receiver/id", s)
	}
	sender, err := identity.ParsePublicKey(part[1])
	if err != nil {
		return Path{}, code.Wrap(code.BadPath, err, "the sender of the path")
	}
	receiver, err := identity.ParsePublicKey(part[3])
	if err != nil {
		return Path{}, code.Wrap(code.BadPath, err, "the receiver of the path")
	}
	id, err := ParseID(part[4])
	return Path{sender, receiver, id}, err
}

// String is the text form, with keys as rk1….
func (p Path) String() string {
	return "/" + p.Sender.String() + "/" + outbox + "/" + p.Receiver.String() + "/" + string(p.ID)
}

// MarshalText writes the text form.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form.
func (p *Path) UnmarshalText(b []byte) error {
	q, err := ParsePath(string(b))
	*p = q
	return err
}
