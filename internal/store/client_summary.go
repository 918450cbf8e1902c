package store

import (
	"context"

	"relaymarket/identity"
	"relaymarket/records"
)

// Summary is what a list shows of a message. It lies beside the content, so that a list of many
// messages costs little for each, however large they are.
type Summary struct {
	MediaType string
	Body      uint64 // bytes
	Preview   string
	Files     []SummaryFile
}

// SummaryFile is one attachment of a Summary.
type SummaryFile struct {
	Name      string
	MediaType string
	Size      uint64 // bytes
}

func (v Summary) encode() []byte {
	w := newWriter(256).bytes([]byte(v.MediaType)).u(v.Body).bytes([]byte(v.Preview)).u(uint64(len(v.Files)))
	for _, f := range v.Files {
		w.bytes([]byte(f.Name)).bytes([]byte(f.MediaType)).u(f.Size)
	}
	return w.b
}

func decodeSummary(b []byte) (Summary, error) {
	r := newReader(b)
	v := Summary{MediaType: string(r.bytes()), Body: r.u(), Preview: string(r.bytes())}
	for n := r.u(); n > 0 && !r.bad; n-- {
		v.Files = append(v.Files, SummaryFile{Name: string(r.bytes()), MediaType: string(r.bytes()), Size: r.u()})
	}
	return v, r.end("a summary")
}

// putPlain keeps something for the user, and what lists show of it.
func (t *clientTx) putPlain(record identity.Digest, plain []byte, s *Summary) {
	t.putLarge(clientPlain, record, plain)
	if s != nil {
		t.put(key32(clientSummary, record), s.encode())
	}
}

func (t *clientTx) deletePlain(record identity.Digest) {
	t.deleteLarge(clientPlain, record, records.MaxContent)
	t.delete(key32(clientSummary, record))
}

// Summary reads what lists show of a record; false if none was kept, as versions before summaries
// did, and for records of which nothing is kept.
func (c *Client) Summary(ctx context.Context, record identity.Digest) (Summary, bool, error) {
	v, err := c.getOne(ctx, key32(clientSummary, record))
	if err != nil || v == nil {
		return Summary{}, false, err
	}
	s, err := decodeSummary(v)
	return s, err == nil, err
}

// SaveSummaries adds summaries, in one step, to records that were kept without. Those of which
// nothing is kept any more are left out.
func (c *Client) SaveSummaries(ctx context.Context, all map[identity.Digest]Summary) error {
	return c.update(ctx, func(t *clientTx) error {
		for record, s := range all {
			kept, err := t.get(pieceKey(clientPlain, record, 0))
			if err != nil {
				return err
			}
			if kept != nil {
				t.put(key32(clientSummary, record), s.encode())
			}
		}
		return nil
	})
}
