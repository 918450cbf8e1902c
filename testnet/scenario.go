package testnet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

// Command is one line of a scenario file: a verb, the names of those it is about, options, and the
// text below it.
type Command struct {
	Name    string
	Args    []string
	Options map[string]string
	Text    string
}

// Scenario lets a World live through commands and tells in words what each led to. People, relays,
// contracts and messages go by the names that the file gives them: no key, time or height of a
// run is ever told, so that every run of a file tells the same.
type Scenario struct {
	w         *World
	keys      map[string]identity.PublicKey // of relays, by name
	contracts map[string]*agreement         // by label
	last      map[string]string             // label of a person's newest contract
	letters   []letter                      // letters[i] is message i+1
	given     usage.Sat                     // coins that came into the world
}

// agreement is a contract by its name in the file.
type agreement struct {
	label, client, relay string
	id                   usage.ContractID
	info                 client.ContractInfo // as last seen
}

// letter is a message by its number in the file.
type letter struct {
	digest identity.Digest
	relay  string
	file   []byte
}

// NewScenario begins a scenario in a fresh World.
func NewScenario(w *World) *Scenario {
	return &Scenario{w: w, keys: make(map[string]identity.PublicKey), contracts: make(map[string]*agreement), last: make(map[string]string)}
}

// misuse is a mistake in the file, as opposed to a refusal that the file may expect.
type misuse struct{ error }

func misused(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// commandTable is what a scenario file can say.
var commandTable = map[string]func(*Scenario, context.Context, Command) (string, error){
	"relay": (*Scenario).relay, "client": (*Scenario).client, "know": (*Scenario).know, "use": (*Scenario).use,
	"online": (*Scenario).online, "offline": (*Scenario).offline, "crash": (*Scenario).crash, "restart": (*Scenario).restart,
	"stop": (*Scenario).stop, "start": (*Scenario).start, "cut": (*Scenario).cut, "heal": (*Scenario).heal,
	"mine": (*Scenario).mine, "reorg": (*Scenario).reorg, "expire": (*Scenario).expire,
	"open": (*Scenario).open, "contract": (*Scenario).contract, "pay": (*Scenario).pay, "close": (*Scenario).close,
	"renew": (*Scenario).renew, "auto": (*Scenario).auto, "renewed": (*Scenario).renewed,
	"accounts": (*Scenario).accounts, "wallets": (*Scenario).wallets,
	"send": (*Scenario).send, "inbox": (*Scenario).inbox, "outbox": (*Scenario).outbox, "read": (*Scenario).read,
	"delete": (*Scenario).delete, "pull": (*Scenario).pull, "usage": (*Scenario).usage, "audit": (*Scenario).audit,
}

// Run does one command and tells what came of it. What a person or a relay refuses is told as
// "error: " with the name of its code; an error is a mistake in the file, or something that
// cannot be told by a code.
func (s *Scenario) Run(ctx context.Context, c Command) (string, error) {
	f, ok := commandTable[c.Name]
	if !ok {
		return "", fmt.Errorf("there is no command %q", c.Name)
	}
	out, err := f(s, ctx, c)
	if err == nil {
		return out, nil
	}
	if refused := code.Of(err); refused != code.Internal && !errors.As(err, new(misuse)) {
		s.w.log.Info("refused", "command", c.Name, "args", c.Args, "err", err)
		return out + "error: " + refused.String(), nil
	}
	return out, fmt.Errorf("%s %v: %w", c.Name, c.Args, err)
}

// args checks the number of a command's arguments.
func (c Command) args(n int) ([]string, error) {
	if len(c.Args) != n {
		return nil, misused("%d arguments where %d are needed", len(c.Args), n)
	}
	return c.Args, nil
}

// number is an option, or its default.
func (c Command) number(name string, otherwise uint64) (uint64, error) {
	text, ok := c.Options[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, misused("%s=%s is no number", name, text)
	}
	return n, nil
}

// numbers sets several options at once.
func (c Command) numbers(into map[string]*uint64) error {
	for name, p := range into {
		n, err := c.number(name, *p)
		if err != nil {
			return err
		}
		*p = n
	}
	return nil
}

// agent is that of a person who is online.
func (s *Scenario) agent(name string) (*client.Agent, error) {
	c, err := s.w.client(name)
	if err != nil {
		return nil, misuse{err}
	}
	if c.agent == nil {
		return nil, misused("%s is offline", name)
	}
	return c.agent, nil
}

// server is a relay that runs.
func (s *Scenario) server(name string) (*relay.Server, error) {
	r, err := s.w.relay(name)
	if err != nil {
		return nil, misuse{err}
	}
	if r.server == nil {
		return nil, misused("relay %s is stopped", name)
	}
	return r.server, nil
}

// key is the key of a relay, whether it runs or not.
func (s *Scenario) key(name string) (identity.PublicKey, error) {
	if k, ok := s.keys[name]; ok {
		return k, nil
	}
	return identity.PublicKey{}, misused("there is no relay %q", name)
}

// agreementOf finds a contract by its label, or a person's newest.
func (s *Scenario) agreementOf(name string) (*agreement, error) {
	if label, ok := s.last[name]; ok {
		name = label
	}
	if a, ok := s.contracts[name]; ok {
		return a, nil
	}
	return nil, misused("there is no contract %q", name)
}

// settleTime is how long a scenario waits for what it expects before it tells what is instead.
const settleTime = 20 * time.Second

// expect polls until something is as the file expects it; then, or when it takes too long, what is is
// told. Now and then everybody is made to meet their relays, since an agent alone takes its time
// after an outage.
func (s *Scenario) expect(ctx context.Context, look func() (told string, ok bool, err error)) (string, error) {
	begin, hurry := time.Now(), time.Now().Add(300*time.Millisecond)
	for {
		told, ok, err := look()
		if ok || err != nil || time.Since(begin) > settleTime {
			return told, err
		}
		if time.Now().After(hurry) {
			s.w.SyncClients(ctx)
			hurry = time.Now().Add(300 * time.Millisecond)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return told, ctx.Err()
		}
	}
}

// lines joins what is told, one thing to a line.
func lines(l []string) string {
	if len(l) == 0 {
		return "none"
	}
	return strings.Join(l, "\n")
}
