package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// seeded is a deterministic reader: SHA-256 in counter mode.
type seeded struct {
	seed [32]byte
	n    uint64
	left []byte
}

func seed(s string) io.Reader { return &seeded{seed: sha256.Sum256([]byte(s))} }

func (r *seeded) Read(p []byte) (int, error) {
	for i := range p {
		if len(r.left) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64(r.seed[:], r.n))
			r.left, r.n = h[:], r.n+1
		}
		p[i], r.left = r.left[0], r.left[1:]
	}
	return len(p), nil
}

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func must[T any](t fataler, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t fataler, err error, c code.Code) {
	t.Helper()
	if code.Of(err) != c {
		t.Fatalf("%v, expected %v", err, c)
	}
}

const (
	now  identity.UnixMilli = 1_790_000_000_000
	hour identity.UnixMilli = 3_600_000
)

// pair is a sender and a receiver with a sealing key.
type pair struct {
	from, to identity.PrivateKey
	key      SealingKey
}

func newPair(t fataler, s string) pair {
	t.Helper()
	r := seed(s)
	from, err1 := identity.GeneratePrivateKey(r)
	to, err2 := identity.GeneratePrivateKey(r)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	key, err := GenerateSealingKey(r, now)
	return pair{from, to, must(t, key, err)}
}

func (p pair) peer() Peer {
	return Peer{identity.Regtest, p.from.Public(), p.to.Public(), p.key.Public()}
}

func (p pair) draft(id ID) Draft {
	return Draft{
		Network: identity.Regtest, From: p.from.Public(), To: p.to.Public(), ID: id,
		Time: now, Serial: identity.Serial{1}, TTL: 86400,
	}
}

// record signs content as a record.
func (p pair) record(t fataler, id ID, content []byte) Record {
	t.Helper()
	raw, err := p.draft(id).Statement(content)
	s, err2 := identity.SignOne(p.from, must(t, raw, err))
	r, err := Open(must(t, s, err2), content)
	return must(t, r, err)
}

func TestSeededReaderIsDeterministic(t *testing.T) {
	a, b := make([]byte, 100), make([]byte, 100)
	io.ReadFull(seed("x"), a)
	io.ReadFull(seed("x"), b)
	if !bytes.Equal(a, b) {
		t.Fatal("differs")
	}
}
