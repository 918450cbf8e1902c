package testnet

import (
	"context"
	"strconv"

	"relaymarket/identity"
	"relaymarket/usage"
)

// relay NAME egress= storage= credit= free= price=: a relay with keys, certificate and prices of its own.
func (s *Scenario) relay(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	p := DefaultPrices()
	egress, storage, credit := uint64(p.Egress), uint64(p.Storage), uint64(p.CreditLimit)
	price := uint64(p.ContractPrice)
	err = c.numbers(map[string]*uint64{"egress": &egress, "storage": &storage, "credit": &credit, "free": &p.FreeBytesDay, "price": &price})
	if err != nil {
		return "", err
	}
	p.Egress, p.Storage, p.CreditLimit, p.ContractPrice = usage.Msat(egress), usage.Msat(storage), usage.Sat(credit), usage.Sat(price)
	r, err := s.w.JoinRelay(ctx, RelaySpec{Name: a[0], Prices: p})
	if err != nil {
		return "", err
	}
	s.keys[a[0]] = r.server.Key()
	return "serves", nil
}

// client NAME coins= backend=neutrino: a person with an agent and coins, and without a node if so said.
func (s *Scenario) client(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	coins, err := c.number("coins", 0)
	if err != nil {
		return "", err
	}
	add := s.w.AddClient
	if _, light := c.Options["backend"]; light {
		add = s.w.AddLightClient
	}
	if _, err := add(ctx, a[0]); err != nil || coins == 0 {
		return "online", err
	}
	s.given += usage.Sat(coins)
	return "online", s.w.Fund(ctx, a[0], usage.Sat(coins))
}

// know A B: the two give each other their identity files, which name the relays that they have.
func (s *Scenario) know(ctx context.Context, c Command) (string, error) {
	a, err := c.args(2)
	if err != nil {
		return "", err
	}
	if err := s.introduce(ctx, a[0], a[1]); err != nil {
		return "", err
	}
	return "", s.introduce(ctx, a[1], a[0])
}

func (s *Scenario) introduce(ctx context.Context, from, to string) error {
	giver, err := s.agent(from)
	if err != nil {
		return err
	}
	taker, err := s.agent(to)
	if err != nil {
		return err
	}
	err = wait(ctx, from+"'s identity names all relays of its contracts", func() (bool, error) {
		id, err := giver.Identity(ctx)
		if err != nil {
			return false, err
		}
		all, err := giver.Contracts(ctx)
		for _, k := range all {
			if k.State == "active" && !names(id.Relays, k.Relay) {
				return false, err
			}
		}
		return true, err
	})
	if err != nil {
		return err
	}
	file, err := giver.Export(ctx)
	if err != nil {
		return err
	}
	_, err = taker.PutContact(ctx, file, "")
	return err
}

func names(relays []identity.RelayRef, key identity.PublicKey) bool {
	for _, r := range relays {
		if r.Key == key {
			return true
		}
	}
	return false
}

// use PERSON RELAY: the person uses what the relay gives away each day.
func (s *Scenario) use(ctx context.Context, c Command) (string, error) {
	a, err := c.args(2)
	if err != nil {
		return "", err
	}
	agent, err := s.agent(a[0])
	if err != nil {
		return "", err
	}
	r, err := s.server(a[1])
	if err != nil {
		return "", err
	}
	_, err = agent.UseRelay(ctx, identity.RelayRef{Key: r.Key(), Addresses: r.OfferAddresses()})
	return "", err
}

// each does something with every name given.
func each(c Command, do func(name string) error) (string, error) {
	for _, name := range c.Args {
		if err := do(name); err != nil {
			return "", misuse{err}
		}
	}
	return "", nil
}

// online NAME…: the agents are started, and have met their relays and seen the newest block.
func (s *Scenario) online(ctx context.Context, c Command) (string, error) {
	if out, err := each(c, s.w.StartClient); err != nil {
		return out, err
	}
	s.w.SyncClients(ctx)
	return "", s.w.Follow(ctx)
}

// offline NAME…: the agents are stopped.
func (s *Scenario) offline(_ context.Context, c Command) (string, error) {
	return each(c, s.w.StopClient)
}

// crash NAME…: the agents end without a word, and are started again.
func (s *Scenario) crash(ctx context.Context, c Command) (string, error) {
	if out, err := each(c, s.w.CrashClient); err != nil {
		return out, err
	}
	return s.online(ctx, c)
}

// restart NAME…: the agents are stopped and started again.
func (s *Scenario) restart(ctx context.Context, c Command) (string, error) {
	if out, err := s.offline(ctx, c); err != nil {
		return out, err
	}
	return s.online(ctx, c)
}

// stop NAME…: the relays are gone.
func (s *Scenario) stop(_ context.Context, c Command) (string, error) { return each(c, s.w.StopRelay) }

// start NAME…: the relays are back, everybody has met them, and they have seen the newest block.
func (s *Scenario) start(ctx context.Context, c Command) (string, error) {
	if out, err := each(c, func(name string) error { return s.w.StartRelay(ctx, name) }); err != nil {
		return out, err
	}
	s.w.SyncClients(ctx)
	return "", s.w.Follow(ctx)
}

// cut NAME… [after=BYTES]: the relays cannot be reached any more, or from when they have sent so much more.
func (s *Scenario) cut(_ context.Context, c Command) (string, error) {
	after, err := c.number("after", 0)
	if err != nil {
		return "", err
	}
	if after > 0 {
		return each(c, func(name string) error { return s.w.CutAfter(name, int64(after)) })
	}
	return each(c, s.w.Cut)
}

// heal NAME…: the relays can be reached again, and everybody has met them.
func (s *Scenario) heal(ctx context.Context, c Command) (string, error) {
	out, err := each(c, s.w.Heal)
	if err == nil {
		s.w.SyncClients(ctx)
	}
	return out, err
}

// mine N: so many blocks, each followed by everybody who runs.
func (s *Scenario) mine(ctx context.Context, c Command) (string, error) {
	n, err := c.integers(1)
	if err != nil {
		return "", err
	}
	return "", s.w.Mine(ctx, n[0])
}

// reorg DEPTH LENGTH [empty]: the last DEPTH blocks are replaced by LENGTH others, with empty by such that hold nothing.
func (s *Scenario) reorg(ctx context.Context, c Command) (string, error) {
	empty := len(c.Args) == 3 && c.Args[2] == "empty"
	if empty {
		c.Args = c.Args[:2]
	}
	n, err := c.integers(2)
	if err != nil {
		return "", err
	}
	if empty {
		return "", s.w.ReorgEmpty(ctx, n[0], n[1])
	}
	return "", s.w.Reorg(ctx, n[0], n[1])
}

func (c Command) integers(n int) ([]int, error) {
	a, err := c.args(n)
	if err != nil {
		return nil, err
	}
	out := make([]int, n)
	for i := range a {
		if out[i], err = strconv.Atoi(a[i]); err != nil {
			return nil, misused("%q is no number", a[i])
		}
	}
	return out, nil
}

// expire CONTRACT [before=]: blocks up to the expiry of a contract, or to so many before it.
func (s *Scenario) expire(ctx context.Context, c Command) (string, error) {
	a, err := c.args(1)
	if err != nil {
		return "", err
	}
	k, err := s.agreementOf(a[0])
	if err != nil {
		return "", err
	}
	before, err := c.number("before", 0)
	if err != nil {
		return "", err
	}
	return "", s.w.MineTo(ctx, k.info.ExpiryHeight-usage.Height(before))
}
