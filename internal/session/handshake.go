package session

import (
	"time"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
)

// The versions of the protocol that this program speaks.
const (
	MinVersion uint16 = 1
	MaxVersion uint16 = 1
)

const (
	// proofTime is how long a client may take to prove itself, and how long an anonymous
	// session lives.
	proofTime = 8 * time.Second
	// mustFeatures are the even bits: whoever offers one requires the other side to know it.
	mustFeatures uint64 = 0x5555555555555555
)

// relayDigest is what the relay signs: hello is the body of the client's message, answer the
// relay's own, whose signature is left out.
func relayDigest(hello []byte, answer *message.HelloRelay, exporter [32]byte) (identity.Digest, error) {
	unsigned, err := answer.Unsigned()
	if err != nil {
		return identity.Digest{}, code.Wrap(code.Malformed, err, "helloRelay")
	}
	return identity.Tagged("hello", hello, unsigned, exporter[:]), nil
}

// clientDigest is what the client signs: both bodies whole, its key and the channel binding.
func clientDigest(hello, helloRelay []byte, key identity.PublicKey, exporter [32]byte) identity.Digest {
	return identity.Tagged("hello-client", hello, helloRelay, key[:], exporter[:])
}

// commonFeatures is what both sides offer, unless one requires what the other does not know.
func commonFeatures(own, theirs uint64) (uint64, error) {
	if unknown := theirs & mustFeatures &^ own; unknown != 0 {
		return 0, code.New(code.Unsupported, "the other side requires features %#x", unknown)
	}
	return own & theirs, nil
}

// commonVersion is the highest version of both ranges.
func commonVersion(min, max uint16) (uint16, error) {
	if min > max {
		return 0, code.New(code.Malformed, "version range %d to %d", min, max)
	}
	if min > MaxVersion || max < MinVersion {
		return 0, code.New(code.Unsupported, "the other side speaks versions %d to %d, this one %d to %d", min, max, MinVersion, MaxVersion)
	}
	if max > MaxVersion {
		max = MaxVersion
	}
	return max, nil
}
