package client

import (
	"context"
	"math"
	"strings"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/store"
	"relaymarket/records"
	"relaymarket/usage"
)

// The states of messages.
const (
	StateNew          = "new"          // received, not yet read
	StateRead         = "read"         // received and read
	StateBroken       = "broken"       // received, but it cannot be opened or is not what was signed
	StateQueued       = "queued"       // on this disk only
	StateStored       = "stored"       // a relay's receipt is on this disk
	StateAcknowledged = "acknowledged" // the receiver says that it arrived
	StateRejected     = "rejected"     // the receiver says that what arrived is not the message
	StateDeleted      = "deleted"      // a relay's delete receipt is on this disk
	StateExpired      = "expired"      // its life at the relay is over
	StateFailed       = "failed"       // given up: no relay took it in its lifetime, or one refused it
)

// scanStep is how many records are looked at in one go.
const scanStep = 256

// Inbox lists received messages, oldest first; with newOnly, those not yet read.
func (a *Agent) Inbox(ctx context.Context, newOnly bool) ([]Message, error) {
	var out []Message
	sums := a.summaries()
	defer sums.save(ctx)
	err := a.scanInbox(ctx, 0, func(r store.Received) (bool, error) {
		if r.Read && newOnly {
			return true, nil
		}
		m, err := a.receivedMessage(ctx, r, sums)
		out = append(out, m)
		return true, err
	})
	return out, err
}

// scanInbox calls fn with received messages after a number, until it says false.
func (a *Agent) scanInbox(ctx context.Context, after uint64, fn func(store.Received) (bool, error)) error {
	for {
		rows, err := a.store.Inbox(ctx, after, scanStep)
		if err != nil {
			return err
		}
		for _, r := range rows {
			after = r.Seq
			if r.Kind != store.KindMessage {
				continue
			}
			if more, err := fn(r); err != nil || !more {
				return err
			}
		}
		if len(rows) < scanStep {
			return nil
		}
	}
}

// scanOutbox calls fn with own messages, oldest first, until it says false.
func (a *Agent) scanOutbox(ctx context.Context, fn func(store.Sent) (bool, error)) error {
	for after := uint64(0); ; {
		rows, err := a.store.Outbox(ctx, after, scanStep)
		if err != nil {
			return err
		}
		for _, s := range rows {
			after = s.Seq
			if s.Kind != store.KindMessage {
				continue
			}
			if more, err := fn(s); err != nil || !more {
				return err
			}
		}
		if len(rows) < scanStep {
			return nil
		}
	}
}

// receivedMessage is a received message as lists show it.
func (a *Agent) receivedMessage(ctx context.Context, r store.Received, sums *summaries) (Message, error) {
	m := Message{
		Digest: r.Digest, Path: r.Header.Path().String(), Peer: r.Header.From, PeerLabel: a.labelOf(ctx, r.Header.From),
		Time: r.Header.Time, Expires: r.Header.Expiry(), Relay: r.Relay, Sequence: r.Sequence, State: StateNew,
		Gap: r.Place == records.Ahead || r.Place == records.Forked,
	}
	switch {
	case !r.Opened || r.Verdict != usage.VerdictOK:
		m.State = StateBroken
	case r.Read:
		m.State = StateRead
	}
	if !r.HasPlain {
		return m, nil
	}
	return m, sums.describe(ctx, &m)
}

// openReceived is a received message with its body, and its content, which is empty if none is kept.
func (a *Agent) openReceived(ctx context.Context, r store.Received) (Message, records.Content, error) {
	sums := a.summaries()
	defer sums.save(ctx)
	m, err := a.receivedMessage(ctx, r, sums)
	if err != nil || !r.HasPlain {
		return m, records.Content{}, err
	}
	c, err := a.addBody(ctx, &m)
	return m, c, err
}

// addBody adds the body to a message whose content is kept.
func (a *Agent) addBody(ctx context.Context, m *Message) (records.Content, error) {
	c, err := a.contentOf(ctx, m.Digest)
	m.Body = c.Body
	return c, err
}

// contentOf is what was said in a record that was sent or received.
func (a *Agent) contentOf(ctx context.Context, record identity.Digest) (records.Content, error) {
	raw, err := a.store.Plain(ctx, record)
	if err != nil {
		return records.Content{}, err
	}
	c, err := records.DecodeContent(raw)
	return c, code.Wrap(code.StoreCorrupt, err, "a message")
}

func (a *Agent) labelOf(ctx context.Context, who identity.PublicKey) string {
	c, err := a.store.Contact(ctx, who)
	if err != nil {
		return ""
	}
	return a.contact(c).Label
}

// Read gives a message with its body and attachments, by record digest, a prefix of at least eight
// digits, or path. A received one counts as read from then on; pieces of attachments that are not
// here yet are fetched. Codes NotFound, Undecryptable, TooLarge (attachments of more than
// MaxTogether), and those of reaching a relay.
func (a *Agent) Read(ctx context.Context, id string) (Message, error) {
	r, s, err := a.find(ctx, id)
	if err != nil {
		return Message{}, err
	}
	if s != nil {
		m, err := a.sentMessage(ctx, *s)
		if err == nil && s.HasPlain {
			_, err = a.addBody(ctx, &m)
		}
		return m, err
	}
	m, c, err := a.openReceived(ctx, *r)
	if err != nil {
		return m, err
	}
	if m.State == StateBroken {
		return m, code.New(code.Undecryptable, "message %s cannot be opened", m.Digest.Short())
	}
	if err := a.attach(ctx, *r, &m, c.Attachments); err != nil {
		return m, err
	}
	m.State = StateRead
	return m, a.store.MarkRead(ctx, m.Digest)
}

// minPrefix is how many hex digits name a record at least.
const minPrefix = 8

// find finds one received or own message.
func (a *Agent) find(ctx context.Context, id string) (*store.Received, *store.Sent, error) {
	fits, err := matcher(id)
	if err != nil {
		return nil, nil, err
	}
	var received []store.Received
	err = a.scanInbox(ctx, 0, func(r store.Received) (bool, error) {
		if fits(r.Digest, r.Header) {
			received = append(received, r)
		}
		return true, nil
	})
	if err != nil {
		return nil, nil, err
	}
	var sent []store.Sent
	err = a.scanOutbox(ctx, func(s store.Sent) (bool, error) {
		if fits(s.Digest, s.Header) {
			sent = append(sent, s)
		}
		return true, nil
	})
	switch {
	case err != nil:
		return nil, nil, err
	case len(received)+len(sent) == 0:
		return nil, nil, code.New(code.NotFound, "no message %s here", id)
	case len(received)+len(sent) > 1:
		return nil, nil, code.New(code.BadArgument, "%d messages begin with %s", len(received)+len(sent), id)
	case len(received) == 1:
		return &received[0], nil, nil
	}
	return nil, &sent[0], nil
}

// matcher tells which records an id means.
func matcher(id string) (func(identity.Digest, records.Header) bool, error) {
	id = strings.TrimSpace(id)
	if strings.HasPrefix(id, "/") {
		p, err := records.ParsePath(id)
		return func(_ identity.Digest, h records.Header) bool { return h.Path() == p }, err
	}
	id = strings.ToLower(id)
	if len(id) < minPrefix || strings.Trim(id, "0123456789abcdef") != "" {
		return nil, code.New(code.BadArgument, "a message is named by its path, or by at least %d hex digits", minPrefix)
	}
	return func(d identity.Digest, _ records.Header) bool { return strings.HasPrefix(d.String(), id) }, nil
}

// attach puts the files of a message together.
func (a *Agent) attach(ctx context.Context, r store.Received, m *Message, files []records.Attachment) error {
	if err := fitTogether(files); err != nil {
		return err
	}
	if err := a.fetchFiles(ctx, r, files); err != nil {
		return err
	}
	for i, f := range files {
		data := make([]byte, 0, f.Size)
		for _, d := range f.Pieces {
			p, err := a.store.Plain(ctx, d)
			if err != nil {
				return code.Wrap(code.NotFound, err, "a part of attachment %q", f.Name)
			}
			data = append(data, p...)
		}
		m.Attachments[i].Data = data
	}
	return nil
}

// MaxTogether is how many bytes the attachments of one message may have together: they are sealed,
// sent and read at once.
const MaxTogether = 64 << 20

// fitTogether refuses what a sender may well claim and this side would have to hold in memory.
func fitTogether(files []records.Attachment) error {
	var all uint64
	for _, f := range files {
		all += f.Size // each is at most 1 GiB
	}
	if all > MaxTogether {
		return code.New(code.TooLarge, "the attachments have %d MiB, read are %d", all>>20, MaxTogether>>20)
	}
	return nil
}

// fetchFiles reads what is missing of attachments, first where the message came from, then from
// the sender's other relays.
func (a *Agent) fetchFiles(ctx context.Context, r store.Received, files []records.Attachment) error {
	relays := []identity.PublicKey{r.Relay}
	if k, err := a.store.Contact(ctx, r.Header.From); err == nil {
		for _, ref := range a.relaysOf(k) {
			if ref.Key != r.Relay {
				relays = append(relays, ref.Key)
			}
		}
	}
	var last error
	for _, relay := range relays {
		done, err := a.fetchFilesFrom(ctx, relay, r, files)
		if done {
			return err
		}
		if err != nil {
			last = err
		}
	}
	missing, err := a.missingPieces(ctx, r.Header.From, files, uint16(r.Home), math.MaxUint64)
	if err == nil && len(missing) > 0 {
		err = last
	}
	return err
}

// fetchFilesFrom reads from one relay what is missing; done tells that nothing was. It waits for its turn: the
// pieces may be on their way already, and each is asked for, and paid, once.
func (a *Agent) fetchFilesFrom(ctx context.Context, relay identity.PublicKey, r store.Received, files []records.Attachment) (done bool, err error) {
	l := a.links.of(relay)
	if err := acquire(ctx, l.reading); err != nil {
		return true, err
	}
	defer func() { <-l.reading }()
	missing, err := a.missingPieces(ctx, r.Header.From, files, uint16(r.Home), math.MaxUint64)
	if err != nil || len(missing) == 0 {
		return true, err
	}
	c, err := a.session(ctx, relay)
	if err != nil {
		return false, err
	}
	if _, err := a.fetch(ctx, c, relay, missing); err != nil {
		return false, err
	}
	return false, a.sendDeliveryAcks(ctx, c, relay)
}

// Listen calls fn with every message that was not read yet, oldest first, and then with new ones as
// they arrive, until ctx ends (then it gives nil) or fn fails (its error). A message counts as
// read when fn has taken it. Something must fetch messages: Run, or calls of Sync.
func (a *Agent) Listen(ctx context.Context, fn func(Message) error) error {
	news, done := a.news.wait()
	defer done()
	seen := uint64(0)
	for {
		err := a.scanInbox(ctx, seen, func(r store.Received) (bool, error) {
			seen = r.Seq
			if r.Read {
				return true, nil
			}
			m, _, err := a.openReceived(ctx, r)
			if err != nil {
				return false, err
			}
			if err := fn(m); err != nil {
				return false, err
			}
			return true, a.store.MarkRead(ctx, r.Digest)
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil
		}
	}
}
