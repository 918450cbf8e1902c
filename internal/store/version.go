package store

import (
	"encoding/binary"

	"relaymarket/internal/code"
)

// versionKey is where an engine keeps a shard's version.
var versionKey = []byte{0, 'v'}

func encodeVersion(v Version) []byte {
	return append(binary.BigEndian.AppendUint64(nil, v.Number), v.Group[:]...)
}

// decodeVersion reads a version; a missing one is 0.
func decodeVersion(b []byte) (Version, error) {
	if b == nil {
		return Version{}, nil
	}
	if len(b) != 24 {
		return Version{}, code.New(code.StoreCorrupt, "a shard version of %d bytes", len(b))
	}
	return Version{binary.BigEndian.Uint64(b), GroupID(b[8:])}, nil
}
