package board

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"relaymarket/broadcast"
	"relaymarket/identity"
	"relaymarket/internal/code"
)

// fileSuffix marks the files of a directory board.
const fileSuffix = ".offer"

// Dir is a directory of *.offer files, each a list in the one form of this package. Whoever
// may write there can put anything into it; readers verify.
type Dir struct{ path string }

// NewDir names a directory; it need not exist yet.
func NewDir(path string) *Dir { return &Dir{path} }

// file is where the offer of a relay lies: one file for each network and relay, so that a new
// offer replaces the old one.
func (d *Dir) file(network identity.Network, relay identity.PublicKey) string {
	return filepath.Join(d.path, fmt.Sprintf("%s-%x%s", network, relay[:], fileSuffix))
}

// Publish puts an offer into the directory, in place of the relay's last one. Readers see the
// old file or the new one, never half of one; when Publish returns, the new one is on disk.
func (d *Dir) Publish(o broadcast.VerifiedOffer) error {
	raw, err := encodeList([]string{hex.EncodeToString(o.Signed().Bytes())})
	if err == nil {
		err = os.MkdirAll(d.path, 0o755)
	}
	if err == nil {
		err = replace(d.file(o.Network, o.From), raw)
	}
	return code.Wrap(code.Internal, err, "the offer cannot be kept")
}

// replace writes a file whole: a temporary file beside it, synced, renamed, directory synced.
func replace(path string, raw []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Remove takes a relay's offer out of the directory. That there is none is no error.
func (d *Dir) Remove(network identity.Network, relay identity.PublicKey) error {
	err := os.Remove(d.file(network, relay))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return code.Wrap(code.Internal, err, "the offer cannot be removed")
}

// Collect reads all signed offers of the directory, unverified. Files that are no offers do
// not spoil the others; they are counted in one error that comes beside the rest. Only
// regular files named *.offer are opened.
func (d *Dir) Collect() ([]identity.Signed, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, code.Wrap(code.NotFound, err, "no directory of offers")
	}
	if err != nil {
		return nil, code.Wrap(code.Internal, err, "directory of offers")
	}
	var out []identity.Signed
	var bad tally
	for _, e := range entries {
		if filepath.Ext(e.Name()) != fileSuffix || !e.Type().IsRegular() {
			continue
		}
		found, err := readList(filepath.Join(d.path, e.Name()))
		if bad.add(err) {
			bad.first = fmt.Errorf("%q: %w", e.Name(), bad.first)
		}
		if out = append(out, found...); len(out) > MaxListOffers {
			bad.add(code.New(code.TooLarge, "more than %d offers", MaxListOffers))
			return out[:MaxListOffers], bad.err()
		}
	}
	return out, bad.err()
}

func readList(path string) ([]identity.Signed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxListBytes+1))
	if err != nil {
		return nil, err
	}
	return decodeList(raw)
}
