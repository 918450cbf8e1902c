package client

import (
	"context"
	"strings"
	"unicode/utf8"

	"relaymarket/identity"
	"relaymarket/internal/store"
	"relaymarket/records"
)

// previewLen is how many characters of a text lists show.
const previewLen = 80

// preview is the beginning of a text message, in one line.
func preview(c records.Content) string {
	if !strings.HasPrefix(c.MediaType, "text/") || !utf8.Valid(c.Body) {
		return ""
	}
	r := []rune(strings.Join(strings.Fields(string(c.Body[:min(len(c.Body), 8*previewLen)])), " "))
	if len(r) > previewLen {
		r = append(r[:previewLen-1], '…')
	}
	return string(r)
}

// summarize is what lists will show of a content.
func summarize(c records.Content) *store.Summary {
	s := &store.Summary{MediaType: c.MediaType, Body: uint64(len(c.Body)), Preview: preview(c)}
	for _, f := range c.Attachments {
		s.Files = append(s.Files, store.SummaryFile{Name: f.Name, MediaType: f.MediaType, Size: f.Size})
	}
	return s
}

// summaries reads what lists show. Messages that an older version kept have no summary: theirs is
// made from the content, and kept by save.
type summaries struct {
	a    *Agent
	made map[identity.Digest]store.Summary
}

func (a *Agent) summaries() *summaries {
	return &summaries{a, make(map[identity.Digest]store.Summary)}
}

func (s *summaries) of(ctx context.Context, record identity.Digest) (store.Summary, error) {
	have, ok, err := s.a.store.Summary(ctx, record)
	if ok || err != nil {
		return have, err
	}
	c, err := s.a.contentOf(ctx, record)
	if err != nil {
		return have, err
	}
	made := *summarize(c)
	if s.made[record] = made; len(s.made) >= scanStep {
		s.save(ctx)
	}
	return made, nil
}

// save keeps the summaries that were made. Without them the next list is as slow as this one, and
// that is all.
func (s *summaries) save(ctx context.Context) {
	if len(s.made) == 0 {
		return
	}
	if err := s.a.store.SaveSummaries(ctx, s.made); err != nil {
		s.a.log.Info("summaries of old messages are not kept", "err", err)
	}
	clear(s.made)
}

// describe adds to a message what lists show of it.
func (s *summaries) describe(ctx context.Context, m *Message) error {
	have, err := s.of(ctx, m.Digest)
	if err != nil {
		return err
	}
	m.MediaType, m.Size, m.Preview = have.MediaType, have.Body, have.Preview
	for _, f := range have.Files {
		m.Size += f.Size
		m.Attachments = append(m.Attachments, Attachment{Name: f.Name, MediaType: f.MediaType, Size: f.Size})
	}
	return nil
}

// filesOf are the attachments of a message whose content is kept. Most have none, and then the
// content is not read.
func (a *Agent) filesOf(ctx context.Context, record identity.Digest) ([]records.Attachment, error) {
	s, ok, err := a.store.Summary(ctx, record)
	if err != nil || ok && len(s.Files) == 0 {
		return nil, err
	}
	c, err := a.contentOf(ctx, record)
	return c.Attachments, err
}
