package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/internal/runner"
	"relaymarket/internal/session"
	"relaymarket/internal/transport"
)

// dialTime bounds one attempt to reach a relay at one address.
const dialTime = 10 * time.Second

// link is what the agent has with one relay: at most one session, shared by all who need it.
type link struct {
	relay   identity.PublicKey
	dialing chan struct{} // one token: the right to dial
	reading chan struct{} // one token: the right to list and read
	kick    chan struct{} // ends a listen, so that everything is looked at again

	writing   chan struct{} // one token: the right to deliver orders
	unserved  atomic.Int32  // records that were listed and not served since the list was begun
	published atomic.Value  // identity.Digest of the own document that the relay has

	mu     sync.Mutex
	client *session.Client // guarded by mu; may have ended
	offset time.Duration   // guarded by mu; relay's clock minus ours, as of the last session
	err    error           // guarded by mu; of the last attempt
}

func newLink(relay identity.PublicKey) *link {
	l := &link{
		relay: relay, dialing: make(chan struct{}, 1), reading: make(chan struct{}, 1),
		writing: make(chan struct{}, 1), kick: make(chan struct{}, 1),
	}
	l.published.Store(identity.Digest{})
	return l
}

// live is the session, or nil if there is none now.
func (l *link) live() *session.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil || l.client.Err() != nil {
		return nil
	}
	return l.client
}

func (l *link) set(c *session.Client, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client, l.err = c, err
	if c != nil {
		l.offset = c.Info().TimeOffset
		l.published.Store(identity.Digest{}) // the relay may have been restored
	}
}

// close ends the session, if there is one.
func (l *link) close() {
	if c := l.live(); c != nil {
		c.Close()
	}
}

// links are all links, by relay.
type links struct {
	work   sync.WaitGroup // one for each session that is heard
	mu     sync.Mutex
	closed bool // guarded by mu, as are the maps: no session begins any more
	all    map[identity.PublicKey]*link
	hints  map[identity.PublicKey][]identity.Address // from cards, which are not kept
}

func newLinks() *links {
	return &links{all: make(map[identity.PublicKey]*link), hints: make(map[identity.PublicKey][]identity.Address)}
}

func (t *links) of(relay identity.PublicKey) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.all[relay]
	if l == nil {
		l = newLink(relay)
		t.all[relay] = l
	}
	return l
}

func (t *links) list() []*link {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*link, 0, len(t.all))
	for _, l := range t.all {
		out = append(out, l)
	}
	return out
}

// hint remembers where a relay may be found, for as long as the agent runs.
func (t *links) hint(ref identity.RelayRef) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hints[ref.Key] = mergeAddresses(t.hints[ref.Key], ref.Addresses)
}

func (t *links) hinted(relay identity.PublicKey) []identity.Address {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hints[relay]
}

func (t *links) anyLive() bool {
	for _, l := range t.list() {
		if l.live() != nil {
			return true
		}
	}
	return false
}

// keep registers a new session and what hears it; false after shut.
func (t *links) keep(l *link, c *session.Client, hear func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	l.set(c, nil)
	t.work.Go(hear)
	return true
}

// shut ends all sessions for good and waits until nobody hears them.
func (t *links) shut() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.close()
	t.work.Wait()
}

// close ends all sessions.
func (t *links) close() {
	for _, l := range t.list() {
		l.close()
	}
}

// kickAll makes every listener look again at everything.
func (t *links) kickAll() {
	for _, l := range t.list() {
		nudge(l.kick)
	}
}

// acquire takes a token, or gives up with ctx.
func acquire(ctx context.Context, token chan struct{}) error {
	select {
	case token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return code.Wrap(code.Timeout, ctx.Err(), "waiting for another use of the same relay")
	}
}

// errClosed is what is said after Close.
var errClosed = code.New(code.ShuttingDown, "the agent is closed")

// session gives the authenticated session with a relay, connecting if there is none. Every call
// tries: whoever calls in a loop pauses between failures. Errors carry NoRelay (no address is
// known) or those of session.Dial.
func (a *Agent) session(ctx context.Context, relay identity.PublicKey) (*session.Client, error) {
	l := a.links.of(relay)
	if c := l.live(); c != nil {
		return c, nil
	}
	if err := acquire(ctx, l.dialing); err != nil {
		return nil, err
	}
	defer func() { <-l.dialing }()
	if c := l.live(); c != nil {
		return c, nil
	}
	if a.life.Err() != nil {
		return nil, errClosed
	}
	c, err := a.dial(ctx, relay)
	if err == nil && !a.links.keep(l, c, func() { a.hear(relay, c) }) {
		c.Close()
		c, err = nil, errClosed
	}
	if err != nil {
		l.set(nil, err)
	}
	return c, err
}

// dial tries all known addresses. Of several failures the one that needs a person is told.
func (a *Agent) dial(ctx context.Context, relay identity.PublicKey) (*session.Client, error) {
	addresses, err := a.addresses(ctx, relay)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, code.New(code.NoRelay, "no address of relay %s is known", relay.Name())
	}
	if addresses, err = a.usable(addresses); err != nil {
		return nil, err
	}
	for _, at := range addresses {
		c, e := a.dialAt(ctx, relay, at)
		if e == nil {
			return c, nil
		}
		if err == nil || code.Of(err).Retryable() {
			err = e
		}
	}
	return nil, err
}

func (a *Agent) dialAt(ctx context.Context, relay identity.PublicKey, at identity.Address) (*session.Client, error) {
	o := transport.DialOptions{URL: at.URL, Pins: at.Pins, AllowPlain: a.network == identity.Regtest}
	patience := dialTime
	if a.proxy != nil && !transport.Loopback(hostOfURL(at.URL)) {
		o.Proxy, patience = a.proxy.String(), proxyDialTime
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return session.Dial(ctx, o, session.Config{
		Key: a.home.Key(), Relay: relay, Genesis: *a.params.GenesisHash, Now: a.now, Log: a.log,
	})
}

// hear takes what a relay says unasked, until the session ends.
func (a *Agent) hear(relay identity.PublicKey, c *session.Client) {
	for m := range c.Pushes() {
		p, ok := m.(*message.Contract)
		if !ok {
			continue
		}
		if err := a.heard(a.life, relay, p); err != nil {
			a.log.Warn("what a relay said unasked was not taken", "relay", relay.Name(), "err", err)
		}
		a.sleep(a.life, hearPause) // what comes faster is dropped, but for the newest
	}
}

// hearPause is the time between two things that are heard from one relay: each may be written to
// the disk.
const hearPause = 100 * time.Millisecond

// heard gives a contract statement to the contracts, and their answer to the relay.
func (a *Agent) heard(ctx context.Context, relay identity.PublicKey, p *message.Contract) error {
	s, err := identity.ParseSigned(p.Statement)
	if err != nil {
		return err
	}
	reply, err := a.runner.Receive(ctx, relay, s)
	if err != nil {
		return err
	}
	if !reply.IsZero() {
		if _, err := a.exchange(relay)(ctx, reply); err != nil {
			return err
		}
	}
	v, err := contract.OpenMessage(s)
	if err != nil {
		return err
	}
	k, ok := a.runner.ByNonce(v.Nonce())
	switch t := v.Header().Type; {
	case !ok:
	case t == identity.TypeContractNotice:
		return a.noticed(ctx, k, s)
	case t == identity.TypeContractRequestPayment:
		a.paymentRequested(ctx, k.ID())
	}
	return nil
}

// exchange carries contract statements to a relay.
func (a *Agent) exchange(relay identity.PublicKey) runner.Exchange {
	return func(ctx context.Context, s identity.Signed) (identity.Signed, error) {
		c, err := a.session(ctx, relay)
		if err != nil {
			return identity.Signed{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		answer, err := c.Call(ctx, &message.Contract{Statement: s.Bytes()})
		if err != nil {
			return identity.Signed{}, err
		}
		if m, ok := answer.(*message.Contract); ok {
			return identity.ParseSigned(m.Statement)
		}
		return identity.Signed{}, nil
	}
}

// account asks a relay what it holds for this identity: its own book, which is not evidence.
func (a *Agent) account(ctx context.Context, relay identity.PublicKey) (*message.AccountInfo, error) {
	c, err := a.session(ctx, relay)
	if err != nil {
		return nil, err
	}
	return call[*message.AccountInfo](ctx, c, &message.Account{})
}

// callTime is how long a relay may take for one answer, with the time that the largest write takes
// on a slow line. A relay that takes longer must not hold up what concerns others.
const callTime = 2 * time.Minute

// call asks a question that has one kind of answer.
func call[T message.Message](ctx context.Context, c *session.Client, m message.Message) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	a, err := c.Call(ctx, m)
	if err != nil {
		return none, err
	}
	t, ok := a.(T)
	if !ok {
		return none, code.New(code.Malformed, "the relay answers %s with %s", m.Type(), a.Type())
	}
	return t, nil
}

// maxOffset bounds how far a relay's clock is believed.
const maxOffset = 24 * time.Hour

// relayTime is the time by a relay's clock as far as it is known: what statements to that relay
// are dated with, because by that clock it accepts them.
func (a *Agent) relayTime(relay identity.PublicKey) identity.UnixMilli {
	l := a.links.of(relay)
	l.mu.Lock()
	defer l.mu.Unlock()
	return identity.UnixMilli(a.now().Add(max(min(l.offset, maxOffset), -maxOffset)).UnixMilli())
}

// serving are the own contracts that take records now.
func (a *Agent) serving() []contract.Contract {
	var out []contract.Contract
	for _, c := range a.runner.Contracts() {
		if c.Service() {
			out = append(out, c)
		}
	}
	return out
}

// mattering tells whether a contract still needs a session with its relay.
func mattering(c contract.Contract) bool {
	s := c.State()
	return s == contract.StateSettled || s != contract.StateNew && s != contract.StateCancelling && !s.Over()
}

// wanted are the relays to be linked: those of the own contracts, the chosen ones, and those of
// all contacts. The value tells whether a relay is one's own.
func (a *Agent) wanted(ctx context.Context) (map[identity.PublicKey]bool, error) {
	out := make(map[identity.PublicKey]bool)
	contacts, err := a.store.Contacts(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range contacts {
		for _, r := range a.relaysOf(c) {
			out[r.Key] = false
		}
	}
	for _, c := range a.runner.Contracts() {
		if mattering(c) {
			out[c.Peer()] = true
		}
	}
	chosen, err := a.chosenRelays(ctx)
	if err != nil {
		return nil, err
	}
	given, err := a.grantRelays(ctx)
	for _, r := range append(chosen, given...) {
		out[r.Key] = true
	}
	return out, err
}
