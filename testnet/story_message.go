package testnet

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"relaymarket/client"
	"relaymarket/internal/code"
)

// phrase is what Ada writes; no relay may be able to find it on its disk.
const phrase = "meet me where the two rivers join, and bring the blue notebook"

// write: Bob's agent is stopped, then Ada sends. The relay answers when the records are on disk.
func (s *story) write(ctx context.Context) (string, map[string]any, error) {
	if err := s.w.StopClient("bob"); err != nil {
		return "", nil, err
	}
	s.file = make([]byte, fileSize)
	if _, err := rand.Read(s.file); err != nil {
		return "", nil, err
	}
	var err error
	s.sent, err = s.ada().Send(ctx, client.SendRequest{
		To: "bob", MediaType: "text/plain", Body: []byte(phrase), TTLSeconds: 7200, MaxPulls: 1,
		Attachments: []client.Attachment{{Name: "notebook.bin", MediaType: "application/octet-stream", Data: s.file, Size: fileSize}},
	})
	if err != nil {
		return "", nil, err
	}
	if s.sent.State != "stored" {
		return "", nil, code.New(code.Internal, "the record is %s, not stored", s.sent.State)
	}
	return fmt.Sprintf("ada sends a sealed message and a file of %d MiB in %d records; %s has them on disk and gave a receipt (at most %d sat)",
			fileSize>>20, s.sent.Records, s.people["ada"].relay, s.sent.WorstCost.CeilSat()),
		map[string]any{"path": s.sent.Path, "records": s.sent.Records, "receipt": s.sent.Receipt, "worst_msat": s.sent.WorstCost}, nil
}

// offline: Bob was not there, and the relay's disk holds nothing that could be read.
func (s *story) offline(ctx context.Context) (string, map[string]any, error) {
	if s.people["bob"].agent != nil {
		return "", nil, code.New(code.Internal, "bob's agent runs")
	}
	n, err := s.searchDisk(s.w.relays[s.people["ada"].relay].Dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("bob was offline all the while; %d files of the relay were searched, none holds a word of the message", n),
		map[string]any{"files_searched": n}, nil
}

// searchDisk looks for the message in every file below a directory.
func (s *story) searchDisk(dir string) (files int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreGone(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return ignoreGone(err)
		}
		files++
		if bytes.Contains(raw, []byte(phrase)) || bytes.Contains(raw, s.file[:64]) {
			return code.New(code.Internal, "%s holds the message in the clear", path)
		}
		return nil
	})
	if err == nil && files == 0 {
		err = code.New(code.Internal, "no file was found below %s", dir)
	}
	return files, err
}

// ignoreGone lets a living store remove files while they are searched.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// listen: Bob comes back, and hears of the message by listening on Ada's relay.
func (s *story) listen(ctx context.Context) (string, map[string]any, error) {
	start := time.Now()
	if err := s.w.StartClient("bob"); err != nil {
		return "", nil, err
	}
	var got client.Message
	err := wait(ctx, "bob hears of the message", func() (bool, error) {
		in, err := s.bob().Inbox(ctx, true)
		for _, m := range in {
			if m.Digest == s.sent.Digest {
				got = m
			}
		}
		return !got.Digest.IsZero(), err
	})
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("bob's agent starts, listens on %s and has the message after %d ms", s.people["ada"].relay, time.Since(start).Milliseconds()),
		map[string]any{"record": got.Digest, "from": got.Peer}, nil
}

// read: what Bob reads is what Ada wrote, file included.
func (s *story) read(ctx context.Context) (string, map[string]any, error) {
	var m client.Message
	err := wait(ctx, "bob has read message and file", func() (bool, error) {
		var err error
		m, err = s.bob().Read(ctx, s.sent.Digest.String())
		if code.Of(err) == code.NotFound {
			return false, nil // parts of the file are still being read
		}
		return err == nil && len(m.Attachments) == 1 && len(m.Attachments[0].Data) == fileSize, err
	})
	if err != nil {
		return "", nil, err
	}
	if string(m.Body) != phrase || !bytes.Equal(m.Attachments[0].Data, s.file) || m.PeerLabel != "ada" {
		return "", nil, code.New(code.Internal, "bob read something else than ada wrote")
	}
	return fmt.Sprintf("bob asked with signed requests and reads: %q and %s, from %s", m.Body, m.Attachments[0].Name, m.PeerLabel),
		map[string]any{"bytes": len(m.Body) + fileSize}, nil
}

// acknowledge: Bob's acknowledgement travels as a record on Bob's own relay, where Ada's relay
// cannot suppress it.
func (s *story) acknowledge(ctx context.Context) (string, map[string]any, error) {
	var got client.Message
	err := wait(ctx, "ada has bob's acknowledgement", func() (bool, error) {
		out, err := s.ada().Outbox(ctx)
		for _, m := range out {
			if m.Digest == s.sent.Digest && m.State == "acknowledged" {
				got = m
			}
		}
		return !got.Digest.IsZero(), err
	})
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("ada reads bob's acknowledgement record on %s, bob's own relay", s.people["bob"].relay),
		map[string]any{"acknowledged_ms": got.Acknowledged}, nil
}
