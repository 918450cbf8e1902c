package client

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"testing"

	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// allocated gives the bytes that a call allocates: the least of three, because other goroutines allocate too.
func allocated(t *testing.T, f func()) uint64 {
	t.Helper()
	least := ^uint64(0)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// listCost is the most that a list may allocate for a message, in bytes: a fifth of the size of those listed here. The race
// detector allocates too.
const listCost = 96 << 10

// TestListsDoNotReadContents: what a list costs does not depend on how large the messages are.
func TestListsDoNotReadContents(t *testing.T) {
	const messages, size = 6, 500_000
	p := newPair(t)
	for i := range messages {
		body := append(fmt.Appendf(nil, "message %d ", i), bytes.Repeat([]byte("x"), size)...)
		p.arrive(p.write(store.KindMessage, records.Content{MediaType: records.MediaText, Body: body}))
	}
	for name, list := range map[string]func() []Message{
		"outbox": func() []Message { return p.list(p.ada.Outbox(t.Context())) },
		"inbox":  func() []Message { return p.list(p.bob.Inbox(t.Context(), false)) },
	} {
		all := list()
		if len(all) != messages {
			t.Fatalf("%s: %d messages", name, len(all))
		}
		for i, m := range all {
			if m.Body != nil || m.Size < size || m.MediaType != records.MediaText || m.Preview[:10] != fmt.Sprintf("message %d ", i) {
				t.Errorf("%s: %d bytes of %s, %q, body %d", name, m.Size, m.MediaType, m.Preview, len(m.Body))
			}
		}
		if n := allocated(t, func() { list() }); n > messages*listCost {
			t.Errorf("%s: %d bytes are allocated for each message", name, n/messages)
		}
	}
}

func (p *pair) list(all []Message, err error) []Message {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

// TestListsOfAnOlderVersion: what was kept without summaries is listed the same, and only the first time is it read for that.
func TestListsOfAnOlderVersion(t *testing.T) {
	const size = 300_000
	p := newPair(t)
	c := records.Content{MediaType: records.MediaText, Body: append([]byte("hello "), bytes.Repeat([]byte("x"), size)...)}
	d := p.writeWithout(c)
	p.arriveWithout(d)
	for name, list := range map[string]func() []Message{
		"outbox": func() []Message { return p.list(p.ada.Outbox(t.Context())) },
		"inbox":  func() []Message { return p.list(p.bob.Inbox(t.Context(), false)) },
	} {
		first := list()
		if len(first) != 1 || first[0].Size != size+6 || first[0].Preview[:6] != "hello " || first[0].MediaType != records.MediaText {
			t.Fatalf("%s: %+v", name, first)
		}
		if n := allocated(t, func() {
			if again := list(); !reflect.DeepEqual(again, first) {
				t.Errorf("%s: %+v, before %+v", name, again, first)
			}
		}); n > 2*listCost {
			t.Errorf("%s: %d bytes are allocated for a message that was listed before", name, n)
		}
	}
	if m, err := p.bob.Read(t.Context(), d.record.String()); err != nil || !bytes.Equal(m.Body, c.Body) {
		t.Errorf("%d bytes, %v", len(m.Body), err)
	}
	if _, err := p.bob.Delete(t.Context(), d.record.String()); err != nil {
		t.Fatal(err)
	}
	if _, kept, err := p.bob.store.Summary(t.Context(), d.record); err != nil || kept {
		t.Errorf("a deleted message leaves its summary: %v", err)
	}
}

// writeWithout is write by a version that kept no summaries.
func (p *pair) writeWithout(c records.Content) *download {
	p.t.Helper()
	box, at := p.compose(store.KindMessage, c)
	box.drafts[0].summary = nil
	return p.enqueue(box, at)
}

// arriveWithout is arrive in such a version.
func (p *pair) arriveWithout(d *download) {
	p.t.Helper()
	must := func(err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	v, err := p.bob.checkHeader(d)
	must(err)
	rec, err := v.Attach(d.content)
	must(err)
	in := store.Incoming{Record: v, Relay: p.relay, Home: store.NoShard, Verdict: usage.VerdictOK, Kind: store.KindMessage}
	c, err := p.bob.openMessage(p.t.Context(), rec, &in)
	must(err)
	_, err = p.bob.understand(rec, c, &in)
	must(err)
	in.Summary = nil
	must(p.bob.saveIncoming(p.t.Context(), d, &in))
}
