package records

import (
	"unicode/utf8"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
)

// Media types with a meaning of their own. Any other type is shown or saved by the user's
// program; text types are UTF-8.
const (
	// MediaText is plain text in UTF-8.
	MediaText = "text/plain"
	// MediaAcknowledgements: the body is a list of signed acknowledgements addressed to the
	// receiver of the record. See AcknowledgementsBody.
	MediaAcknowledgements = "application/vnd.relaymarket.acknowledgements"
	// MediaIdentity: the body is the sender's signed Identity document. See IdentityBody.
	MediaIdentity = "application/vnd.relaymarket.identity"
)

// Bounds of a content.
const (
	// MaxMediaType is the longest media type in bytes.
	MaxMediaType = 127
	// MaxAttachments is how many attachments one message has.
	MaxAttachments = 64
	// MaxAcknowledgements is how many acknowledgements one record carries.
	MaxAcknowledgements = 256
)

// Content is what the sender says to the receiver: the plaintext of a record.
type Content struct {
	MediaType   string          // for example text/plain
	Body        []byte          // may be empty
	Regarding   identity.Digest // optional: the record that this one answers
	Forwarded   *Forwarded      // optional
	Attachments []Attachment    // optional
	Sequence    uint64          // place in the conversation, from 1; 0: outside of it
	Previous    identity.Digest // the record with the sequence before; zero for the first
}

// Forwarded is a record that somebody else sent to the forwarder.
//
// What it proves is little, and must be shown like that: the signature proves that the
// original sender signed *a* record with this path, time and size to the forwarder. It does
// not prove what was in it: the header commits to the sealed bytes, and only the forwarder
// could open these. Carrying them too would prove nothing more, because no third party can
// decrypt them without the forwarder's keys. So the content is "as told by the forwarder".
type Forwarded struct {
	Record  identity.Signed // the original header; verify it with OpenHeader
	Content []byte          // the original content, encoded; DecodeContent reads it
}

func (c *Content) fields(forwarded *[]byte, attachments *[][]byte) []codec.Field {
	return []codec.Field{
		codec.String(0, &c.MediaType, 3, MaxMediaType),
		codec.Bytes(2, &c.Body, 0, MaxPlaintext),
		codec.Optional(codec.Fixed(4, c.Regarding[:])),
		codec.Optional(codec.Bytes(6, forwarded, 0, MaxPlaintext)),
		codec.Optional(codec.List(8, attachments, MaxAttachments, maxManifest)),
		codec.U64(10, &c.Sequence),
		codec.Optional(codec.Fixed(12, c.Previous[:])),
	}
}

// Encode writes the content, before padding and sealing. Errors carry code Malformed or
// TooLarge.
func (c Content) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var forwarded []byte
	var err error
	if c.Forwarded != nil {
		if forwarded, err = c.Forwarded.encode(); err != nil {
			return nil, err
		}
	}
	attachments := make([][]byte, len(c.Attachments))
	for i, a := range c.Attachments {
		if attachments[i], err = a.encode(); err != nil {
			return nil, err
		}
	}
	raw, err := codec.Encode(c.fields(&forwarded, &attachments)...)
	if err != nil {
		return nil, code.Wrap(code.Malformed, err, "content")
	}
	if len(raw) > MaxPlaintext {
		return nil, code.New(code.TooLarge, "a message of %d bytes, allowed are %d: send it as an attachment", len(raw), MaxPlaintext)
	}
	return raw, nil
}

// DecodeContent reads a decrypted and unpadded content. Errors carry code Malformed.
func DecodeContent(raw []byte) (Content, error) {
	var c Content
	var forwarded []byte
	var attachments [][]byte
	err := codec.Decode(raw, MaxPlaintext, c.fields(&forwarded, &attachments)...)
	if err != nil {
		return Content{}, code.Wrap(code.Malformed, err, "content")
	}
	if len(forwarded) > 0 {
		if c.Forwarded, err = decodeForwarded(forwarded); err != nil {
			return Content{}, err
		}
	}
	for _, raw := range attachments {
		a, err := decodeAttachment(raw)
		if err != nil {
			return Content{}, err
		}
		c.Attachments = append(c.Attachments, a)
	}
	if err := c.check(); err != nil {
		return Content{}, err
	}
	return c, nil
}

func (c *Content) check() error {
	switch {
	case !mediaType(c.MediaType):
		return code.New(code.Malformed, "not a media type")
	case c.MediaType == MediaText && !utf8.Valid(c.Body):
		return code.New(code.Malformed, "text that is not UTF-8")
	case c.Sequence <= 1 && !c.Previous.IsZero():
		return code.New(code.Malformed, "message %d of a conversation has none before it", c.Sequence)
	case c.Sequence > 1 && c.Previous.IsZero():
		return code.New(code.Malformed, "message %d does not say which one was before it", c.Sequence)
	}
	return nil
}

// mediaType tells whether s is type/subtype, perhaps with parameters, in printable ASCII.
func mediaType(s string) bool {
	slash := 0
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
		if s[i] == '/' && slash == 0 {
			slash = i
		}
	}
	return slash > 0 && slash < len(s)-1 && len(s) <= MaxMediaType
}

// maxSignedHeader bounds a signed record header: a statement of 512 bytes and its proof.
const maxSignedHeader = 4 + 512 + 2 + 68 + 12*32

func (f *Forwarded) encode() ([]byte, error) {
	head := f.Record.Bytes()
	raw, err := codec.Encode(codec.Bytes(0, &head, 1, maxSignedHeader), codec.Bytes(2, &f.Content, 1, MaxPlaintext))
	return raw, code.Wrap(code.Malformed, err, "forwarded record")
}

func decodeForwarded(raw []byte) (*Forwarded, error) {
	var f Forwarded
	var head []byte
	err := codec.Decode(raw, MaxPlaintext, codec.Bytes(0, &head, 1, maxSignedHeader), codec.Bytes(2, &f.Content, 1, MaxPlaintext))
	if err != nil {
		return nil, code.Wrap(code.Malformed, err, "forwarded record")
	}
	if f.Record, err = identity.ParseSigned(head); err != nil {
		return nil, err
	}
	if _, err = DecodeHeader(f.Record.Statement); err != nil {
		return nil, err
	}
	return &f, nil
}

// AcknowledgementsBody frames signed acknowledgements as the body of a content of type
// MediaAcknowledgements. Between 1 and MaxAcknowledgements are allowed; what they say is
// package usage's to read.
func AcknowledgementsBody(acks []identity.Signed) ([]byte, error) {
	if len(acks) < 1 || len(acks) > MaxAcknowledgements {
		return nil, code.New(code.Malformed, "%d acknowledgements in one record, allowed are 1 to %d", len(acks), MaxAcknowledgements)
	}
	items := make([][]byte, len(acks))
	for i, a := range acks {
		items[i] = a.Bytes()
	}
	return codec.AppendList(nil, items), nil
}

// maxSignedAck bounds a signed acknowledgement.
const maxSignedAck = 4 + 512 + 2 + 68 + 12*32

// ParseAcknowledgementsBody reads what AcknowledgementsBody wrote. The signatures are not
// verified and the statements not read. Errors carry code Malformed.
func ParseAcknowledgementsBody(body []byte) ([]identity.Signed, error) {
	items, err := codec.SplitList(body, MaxAcknowledgements, maxSignedAck)
	if err != nil || len(items) == 0 {
		return nil, code.New(code.Malformed, "not a list of acknowledgements: %v", err)
	}
	out := make([]identity.Signed, len(items))
	for i, raw := range items {
		if out[i], err = identity.ParseSigned(raw); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// IdentityBody frames a signed Identity document as the body of a content of type
// MediaIdentity.
func IdentityBody(document identity.Signed) []byte { return document.Bytes() }

// ParseIdentityBody reads what IdentityBody wrote; identity.OpenDocument verifies it.
func ParseIdentityBody(body []byte) (identity.Signed, error) { return identity.ParseSigned(body) }
