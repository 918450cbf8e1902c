package records

import (
	"encoding/binary"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/chacha20poly1305"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Bounds of an attachment.
const (
	// PieceSize is how many bytes of a file one chunk record carries.
	PieceSize = 512 << 10
	// MaxPieces is how many chunk records one attachment has.
	MaxPieces = 2048
	// MaxAttachment is the largest attachment: 1 GiB.
	MaxAttachment = MaxPieces * PieceSize
	// MaxName is the longest file name in bytes.
	MaxName = 255

	maxManifest = 64 + MaxName + MaxMediaType + 32*MaxPieces + 128
)

// Attachment is the manifest of a file that was sent as chunk records: records of their own
// from the same sender to the same receiver, sealed with a key that only the manifest tells.
// The manifest travels in the Content of a message, after its chunks are stored.
type Attachment struct {
	Name      string            // a plain file name, no path
	MediaType string            // what the file is
	Size      uint64            // bytes, at most MaxAttachment
	Base      string            // common part of the chunk records' ids; see PieceID
	Pieces    []identity.Digest // digest of each chunk record, in order

	key [32]byte
}

// pieceMark is what the id of a chunk record begins with, so that a receiver that lists its
// records does not pay for reading chunks before their manifest asks for them.
const pieceMark = "a."

// NewAttachment draws key and base from rand. Fill Pieces as the chunk records are made.
func NewAttachment(rand io.Reader, name, mediaType string, size uint64) (Attachment, error) {
	a := Attachment{Name: name, MediaType: mediaType, Size: size}
	if _, err := io.ReadFull(rand, a.key[:]); err != nil {
		return a, code.Wrap(code.Internal, err, "no randomness")
	}
	var err error
	if a.Base, err = randomName(rand); err != nil {
		return a, err
	}
	return a, a.checkHead()
}

// Count is the number of pieces that Size needs; an empty file has none.
func (a Attachment) Count() int { return int((a.Size + PieceSize - 1) / PieceSize) }

// pieceLen is the number of bytes of piece i.
func (a Attachment) pieceLen(i int) int {
	return int(min(PieceSize, a.Size-uint64(i)*PieceSize))
}

// PieceID is the id of the i-th chunk record.
func (a Attachment) PieceID(i int) ID { return ID(pieceMark + a.Base + "." + strconv.Itoa(i)) }

// IsPieceID tells whether an id is that of a chunk record.
func IsPieceID(id ID) bool { return strings.HasPrefix(string(id), pieceMark) }

// SealPiece makes the content of the i-th chunk record. Every piece but the last must have
// PieceSize bytes. The last one is padded to a Padmé length. Each piece is sealed once:
// sealing two different pieces under one index would break the cipher.
func (a Attachment) SealPiece(i int, piece []byte) ([]byte, error) {
	if i < 0 || i >= a.Count() || len(piece) != a.pieceLen(i) {
		return nil, code.New(code.BadArgument, "piece %d of %d with %d bytes", i, a.Count(), len(piece))
	}
	aead, err := chacha20poly1305.New(a.key[:])
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "cipher")
	}
	padded := append(make([]byte, 0, PaddedLen(len(piece))+sealTag), piece...)
	padded = padded[:PaddedLen(len(piece))]
	return aead.Seal([]byte{byte(SuiteChunk)}, pieceNonce(i), padded, []byte(a.PieceID(i))), nil
}

// OpenPiece checks that a record is the i-th chunk of the attachment and decrypts it. Errors
// carry code BadContent or Undecryptable.
func (a Attachment) OpenPiece(i int, r Record) ([]byte, error) {
	if i < 0 || i >= len(a.Pieces) || r.Digest() != a.Pieces[i] {
		return nil, code.New(code.BadContent, "the record is not piece %d of %d that the manifest names", i, len(a.Pieces))
	}
	content := r.Content()
	if SuiteOf(content) != SuiteChunk {
		return nil, code.New(code.BadContent, "the record is no piece of an attachment")
	}
	aead, err := chacha20poly1305.New(a.key[:])
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "cipher")
	}
	plain, err := aead.Open(nil, pieceNonce(i), content[1:], []byte(a.PieceID(i)))
	if err != nil {
		return nil, code.Wrap(code.Undecryptable, err, "piece %d", i)
	}
	n := a.pieceLen(i)
	if len(plain) != PaddedLen(n) || !allZero(plain[n:]) {
		return nil, code.New(code.BadContent, "piece %d has not the size that the manifest gives", i)
	}
	return plain[:n], nil
}

// pieceNonce is the index as a nonce: the key is used for one attachment only.
func pieceNonce(i int) []byte {
	n := make([]byte, chacha20poly1305.NonceSize)
	binary.BigEndian.PutUint64(n[4:], uint64(i))
	return n
}

func (a *Attachment) fields() []codec.Field {
	return []codec.Field{
		codec.String(0, &a.Name, 1, MaxName),
		codec.String(2, &a.MediaType, 3, MaxMediaType),
		codec.U64(4, &a.Size),
		codec.Fixed(6, a.key[:]),
		codec.String(8, &a.Base, 26, 26),
		codec.Optional(codec.Hashes(10, &a.Pieces, MaxPieces)),
	}
}

// encode writes the manifest; all pieces must be known.
func (a Attachment) encode() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	raw, err := codec.Encode(a.fields()...)
	return raw, code.Wrap(code.Malformed, err, "attachment")
}

func decodeAttachment(raw []byte) (Attachment, error) {
	var a Attachment
	if err := codec.Decode(raw, maxManifest, a.fields()...); err != nil {
		return a, code.Wrap(code.Malformed, err, "attachment")
	}
	return a, a.check()
}

func (a *Attachment) checkHead() error {
	switch {
	case !fileName(a.Name):
		return code.New(code.Malformed, "not a plain file name: %q", a.Name)
	case !mediaType(a.MediaType):
		return code.New(code.Malformed, "not a media type")
	case a.Size > MaxAttachment:
		return code.New(code.TooLarge, "an attachment of %d bytes, allowed are %d", a.Size, MaxAttachment)
	}
	return nil
}

func (a *Attachment) check() error {
	if err := a.checkHead(); err != nil {
		return err
	}
	if len(a.Pieces) != a.Count() {
		return code.New(code.Malformed, "%d pieces of an attachment that has %d", len(a.Pieces), a.Count())
	}
	return a.PieceID(0).check()
}

// fileName tells whether s can be a file's name in one directory and be shown on a terminal:
// valid UTF-8 without separators, control or invisible formatting characters, not "." or "..".
func fileName(s string) bool {
	if len(s) < 1 || len(s) > MaxName || !utf8.ValidString(s) || s == "." || s == ".." {
		return false
	}
	for _, r := range s {
		if r == '/' || r == '\\' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return false
		}
	}
	return true
}
