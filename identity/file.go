package identity

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"

	"relaymarket/internal/code"
)

// FileVersion is the version of the *.relayid file.
const FileVersion = 1

// MaxFile is the largest *.relayid file that is read, in bytes.
const MaxFile = 128 << 10

// documentFile is the JSON of a *.relayid file. The readable members repeat what the signed
// statement says, so that a person or another program can use them; Statement is what counts,
// and a file whose readable part differs from it is refused.
type documentFile struct {
	Version int       `json:"version"`
	Type    string    `json:"type"`
	Network string    `json:"network"`
	Pubkey  PublicKey `json:"pubkey"`
	Name    string    `json:"name"`
	Document
	Signed string `json:"signed"`
}

// MarshalFile writes the *.relayid form of a document: the seed's
// {"type":"Identity","label":…,"pubkey":…,"relays":[…]} with what makes it checkable.
func MarshalFile(d *VerifiedDocument) ([]byte, error) {
	raw, err := json.MarshalIndent(fileOf(d), "", "  ")
	return append(raw, '\n'), err
}

func fileOf(d *VerifiedDocument) documentFile {
	return documentFile{
		Version: FileVersion, Type: "Identity", Network: d.Network().String(),
		Pubkey: d.Owner(), Name: d.Owner().Name(), Document: d.Document,
		Signed: hex.EncodeToString(d.signed.Bytes()),
	}
}

// normal makes files comparable that say the same: an absent list is an empty one, and hex has
// one case.
func normal(f documentFile) documentFile {
	f.Signed = strings.ToLower(f.Signed)
	if len(f.SealingKey) == 0 {
		f.SealingKey = nil
	}
	relays := make([]RelayRef, len(f.Relays))
	for i, r := range f.Relays {
		relays[i] = RelayRef{Key: r.Key, Addresses: make([]Address, len(r.Addresses))}
		for j, a := range r.Addresses {
			relays[i].Addresses[j] = Address{URL: a.URL, Pins: append([]Digest{}, a.Pins...)}
		}
	}
	f.Relays = relays
	return f
}

// ParseFile reads and verifies a *.relayid file. The expiry is checked against now unless
// now is 0.
func ParseFile(raw []byte, now UnixMilli) (*VerifiedDocument, error) {
	if len(raw) > MaxFile {
		return nil, code.New(code.TooLarge, "an identity file of %d bytes, allowed are %d", len(raw), MaxFile)
	}
	var f documentFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, code.Wrap(code.Malformed, err, "not an identity file")
	}
	if f.Version != FileVersion || f.Type != "Identity" {
		return nil, code.New(code.Unsupported, "identity file of type %q, version %d", f.Type, f.Version)
	}
	b, err := hex.DecodeString(f.Signed)
	if err != nil {
		return nil, code.Wrap(code.Malformed, err, "identity file: signed")
	}
	s, err := ParseSigned(b)
	if err != nil {
		return nil, err
	}
	d, err := OpenDocument(s, now)
	if err != nil {
		return nil, err
	}
	if want := fileOf(d); !reflect.DeepEqual(normal(f), normal(want)) {
		return nil, code.New(code.Malformed, "the readable part of the identity file differs from what was signed")
	}
	return d, nil
}
