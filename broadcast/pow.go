package broadcast

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
	"math/bits"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/usage"
)

// MaxPowBits is the most work that an offer can commit to. It keeps 2^bits within 64 bits.
const MaxPowBits = 63

// minRankedValidity is what a shorter validity counts as when offers are compared by work: a
// flash offer must not outrank everyone for the minute that it lives.
const minRankedValidity identity.UnixMilli = 3_600_000

// mineSlice is how many nonces Mine tries between two reports: about 40 ms of work.
const mineSlice = 1 << 18

// powHash is tagged("pow", core ‖ nonce).
func powHash(core identity.Digest, nonce uint64) identity.Digest {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], nonce)
	return identity.Tagged("pow", core[:], n[:])
}

func leadingZeros(d identity.Digest) int {
	for i := range 4 {
		if w := binary.BigEndian.Uint64(d[8*i:]); w != 0 {
			return 64*i + bits.LeadingZeros64(w)
		}
	}
	return 256
}

// Search looks for a nonce among the tries numbers from `from` on for which
// tagged("pow", core ‖ nonce) begins with at least the given number of zero bits. It has no
// state: call it again with from + tries to go on.
func Search(core identity.Digest, powBits uint8, from, tries uint64) (nonce uint64, found bool) {
	m := newMiner(core)
	for i := range tries {
		if leadingZeros(m.hash(from+i)) >= int(powBits) {
			return from + i, true
		}
	}
	return 0, false
}

// miner computes powHash with the first block, which is the same for every nonce, done once:
// mining is all loop, and this halves it.
type miner struct {
	h     hash.Hash
	state []byte // of h after the tag
	tail  [40]byte
}

func newMiner(core identity.Digest) *miner {
	tag := sha256.Sum256([]byte("relaymarket/v1/pow"))
	m := &miner{h: sha256.New()}
	m.h.Write(tag[:])
	m.h.Write(tag[:])
	m.state = must(m.h.(encoding.BinaryMarshaler).MarshalBinary())
	copy(m.tail[:], core[:])
	return m
}

func (m *miner) hash(nonce uint64) (d identity.Digest) {
	binary.BigEndian.PutUint64(m.tail[32:], nonce)
	must(0, m.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(m.state))
	m.h.Write(m.tail[:])
	m.h.Sum(d[:0])
	return d
}

// must unpacks what crypto/sha256 promises for its own state.
func must[T any](v T, err error) T {
	if err != nil {
		panic("broadcast: sha256 does not take its own state: " + err.Error())
	}
	return v
}

// Mine finds a nonce for the work that the offer commits to (PowBits) and sets it. Everything
// else of the offer must be final. keepOn is told after every slice how many nonces were
// tried; mining stops with code Declined when it returns false. It may be nil. The expected
// number of tries is 2^PowBits.
func (o *Offer) Mine(keepOn func(tried uint64) bool) error {
	core, err := o.Core()
	if err != nil {
		return err
	}
	for from := uint64(0); ; from += mineSlice {
		if nonce, ok := Search(core, o.PowBits, from, mineSlice); ok {
			o.Nonce = nonce
			return nil
		}
		if keepOn != nil && !keepOn(from+mineSlice) {
			return code.New(code.Declined, "mining was stopped after %d tries", from+mineSlice)
		}
	}
}

// Stronger tells whether offer a has more right to a place on a full board than b: more
// committed work per time of validity. Only the work committed in the offer counts, so a
// lucky nonce gains nothing. Equal offers are not stronger.
func Stronger(a, b VerifiedOffer) bool {
	wa, wb := usage.Mul64(a.work(), b.rankedValidity()), usage.Mul64(b.work(), a.rankedValidity())
	return wb.Less(wa)
}

func (o *Offer) work() uint64 { return 1 << min(o.PowBits, MaxPowBits) }

func (o *Offer) rankedValidity() uint64 {
	return uint64(max(o.ValidUntil-o.Time, minRankedValidity))
}
