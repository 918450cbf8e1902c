package testnet

import (
	"context"
	"fmt"
	"time"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/relay"
	"relaymarket/usage"
)

// Step is one step of the story, as it is printed.
type Step struct {
	Name string         `json:"step"`
	OK   bool           `json:"ok"`
	Text string         `json:"text"`
	Data map[string]any `json:"data,omitempty"`
	Err  string         `json:"error,omitempty"`
	Took int64          `json:"took_ms"`
}

// StepNames are the steps in their order.
func StepNames() []string {
	out := make([]string, len(steps))
	for i, s := range steps {
		out[i] = s.name
	}
	return out
}

// steps are the story: each does what it says on real programs and checks that it held.
var steps = []struct {
	name string
	run  func(*story, context.Context) (string, map[string]any, error)
}{
	{"chain", (*story).chain},
	{"relays", (*story).relays},
	{"market", (*story).market},
	{"contract-open", (*story).contractOpen},
	{"contract-active", (*story).contractActive},
	{"write", (*story).write},
	{"offline", (*story).offline},
	{"listen", (*story).listen},
	{"read", (*story).read},
	{"acknowledge", (*story).acknowledge},
	{"usage-report", (*story).usageReport},
	{"audit", (*story).audit},
	{"payment", (*story).payment},
	{"close", (*story).close},
	{"settled", (*story).settled},
	{"vanish", (*story).vanish},
	{"refund", (*story).refund},
}

// StoryRelays are the three relays of the story: one is cheap for those who are read much, one
// for those who keep much, the third is the dearest and will vanish.
func StoryRelays() []RelaySpec {
	a, b, c := DefaultPrices(), DefaultPrices(), DefaultPrices()
	a.Storage, a.Egress = 200_000, 400_000_000
	b.Storage, b.Egress = 20_000, 700_000_000
	c.Storage, c.Egress, c.ContractPrice = 250_000, 900_000_000, 900
	return []RelaySpec{{"amber", a}, {"birch", b}, {"cedar", c}}
}

// Story tells the story of the market in a fresh World: it runs every step and gives each to out. It
// stops at the first that does not hold.
func Story(ctx context.Context, w *World, out func(Step)) error {
	s := &story{w: w, people: map[string]*person{"ada": {wants: adaWants}, "bob": {wants: bobWants}}}
	for _, st := range steps {
		start := time.Now()
		text, data, err := st.run(s, ctx)
		step := Step{Name: st.name, OK: err == nil, Text: text, Data: data, Took: time.Since(start).Milliseconds()}
		if err != nil {
			step.Err = err.Error()
		}
		out(step)
		if err != nil {
			return fmt.Errorf("step %s: %w", st.name, err)
		}
	}
	return nil
}

// Sums of the story, in satoshi.
const (
	pocket  usage.Sat = 1_000_000 // what each person begins with
	deposit usage.Sat = 60_000
	prepaid usage.Sat = 400
)

// What the two expect to use: Ada's files are read, Bob keeps his for long.
var (
	adaWants = client.MarketRequest{StoredBytes: 1 << 20, Days: 30, EgressBytes: 64 << 20, Deposit: deposit}
	bobWants = client.MarketRequest{StoredBytes: 256 << 20, Days: 30, EgressBytes: 1 << 20, Deposit: deposit}
)

// fileSize is the attachment that Ada sends: large enough that reading it costs over 1,000 sat.
const fileSize = 3 << 20

type person struct {
	*Client
	wants    client.MarketRequest
	relay    string // name of the relay it chose
	contract usage.ContractID
	opened   client.ContractInfo
}

type story struct {
	w      *World
	people map[string]*person
	file   []byte
	sent   client.SendResult
	audits client.AuditResult
	closed []client.ContractInfo
	gone   client.ContractInfo // the contract with the relay that vanishes
}

func (s *story) ada() *client.Agent { return s.people["ada"].agent }
func (s *story) bob() *client.Agent { return s.people["bob"].agent }

func (s *story) chain(ctx context.Context) (string, map[string]any, error) {
	hash, height, err := s.w.Node.Tip()
	return fmt.Sprintf("a Bitcoin node of our own (btcd, regtest, standard rules) at height %d", height),
		map[string]any{"height": height, "tip": hash.String(), "rpc": s.w.Node.RPCHost()}, err
}

func (s *story) relays(ctx context.Context) (string, map[string]any, error) {
	data := map[string]any{}
	for _, spec := range s.w.opts.Relays {
		r, err := s.w.AddRelay(ctx, spec)
		if err != nil {
			return "", nil, err
		}
		data[spec.Name] = map[string]any{
			"key": r.server.Key(), "address": "wss://" + r.cable.addr(), "board": r.Board(),
			"storage_msat_per_gib_day": spec.Prices.Storage, "egress_msat_per_gib": spec.Prices.Egress,
		}
	}
	return fmt.Sprintf("%d relays serve, each with its own price, certificate and board", len(data)), data, nil
}

// market: both people start their agents, read every board and take what is cheapest for their
// own usage.
func (s *story) market(ctx context.Context) (string, map[string]any, error) {
	data, text := map[string]any{}, ""
	for _, name := range []string{"ada", "bob"} {
		c, err := s.w.AddClient(ctx, name)
		if err != nil {
			return "", nil, err
		}
		p := s.people[name]
		p.Client = c
		if err := s.w.Fund(ctx, name, pocket); err != nil {
			return "", nil, err
		}
		m, err := c.agent.Market(ctx, p.wants)
		if err != nil {
			return "", nil, err
		}
		if len(m.Quotes) != len(s.w.relays) || len(m.Problems) > 0 {
			return "", nil, code.New(code.Internal, "%s sees %d offers and %d problems: %v", name, len(m.Quotes), len(m.Problems), m.Problems)
		}
		p.relay = s.nameOf(m.Quotes[0].Relay)
		data[name] = map[string]any{"relay": p.relay, "total_sat": m.Quotes[0].Total, "dearest_total_sat": m.Quotes[len(m.Quotes)-1].Total}
		text += fmt.Sprintf("%s takes %s (%d sat for its usage; the dearest asks %d). ", name, p.relay, m.Quotes[0].Total, m.Quotes[len(m.Quotes)-1].Total)
	}
	if s.people["ada"].relay == s.people["bob"].relay {
		return text, data, code.New(code.Internal, "both chose %s", s.people["ada"].relay)
	}
	return text, data, nil
}

func (s *story) nameOf(key identity.PublicKey) string {
	for name, r := range s.w.relays {
		if r.server != nil && r.server.Key() == key {
			return name
		}
	}
	return key.Name()
}

func (s *story) server(name string) *relay.Server { return s.w.relays[name].server }

// open opens a contract and checks that what was said before is what was done.
func (s *story) open(ctx context.Context, p *person, relayName string, blocks usage.Height) (client.ContractInfo, client.OpenPreview, error) {
	req := client.OpenRequest{
		Relay: s.server(relayName).Key(), Deposit: deposit, Prepaid: prepaid, Duration: blocks, FeeRateSatVB: 2,
		Small: true, // what the private chain says of fees says nothing
	}
	pre, err := p.agent.ContractPreview(ctx, req)
	if err != nil {
		return client.ContractInfo{}, pre, err
	}
	info, err := p.agent.ContractOpen(ctx, req)
	if err == nil && info.FundFee > pre.FundFee {
		err = code.New(code.Internal, "the funding fee was said to be %d sat and is %d", pre.FundFee, info.FundFee)
	}
	return info, pre, err
}

func (s *story) contractOpen(ctx context.Context) (string, map[string]any, error) {
	data, text := map[string]any{}, ""
	for _, name := range []string{"ada", "bob"} {
		p := s.people[name]
		info, pre, err := s.open(ctx, p, p.relay, 0)
		if err != nil {
			return text, data, err
		}
		p.contract, p.opened = info.ID, info
		data[name] = map[string]any{
			"contract": info.ID, "relay": p.relay, "deposit_sat": info.Deposit, "prepaid_sat": pre.Prepaid,
			"contract_price_sat": pre.ContractPrice, "fund_fee_sat": info.FundFee, "max_loss_sat": pre.MaxLoss,
			"expiry_height": info.ExpiryHeight, "funding_txid": info.FundingTxid,
		}
		text += fmt.Sprintf("%s locks %d sat with %s in %.12s… (at most %d can be lost). ", name, info.Deposit, p.relay, info.FundingTxid, pre.MaxLoss)
	}
	return text, data, nil
}

// contractActive mines the funding in; each side counts by its own node view. The two then give
// each other their Identity documents, which name the relays they now have.
func (s *story) contractActive(ctx context.Context) (string, map[string]any, error) {
	for name, p := range s.people {
		if err := s.active(ctx, p, p.contract); err != nil {
			return "", nil, err
		}
		err := wait(ctx, name+"'s relay sees the contract as active", func() (bool, error) {
			st, err := s.server(p.relay).Status(ctx)
			return len(st.Contracts) == 1 && st.Contracts[0].State == "active", err
		})
		if err != nil {
			return "", nil, err
		}
	}
	if err := s.introduce(ctx, s.people["ada"], s.people["bob"]); err != nil {
		return "", nil, err
	}
	if err := s.introduce(ctx, s.people["bob"], s.people["ada"]); err != nil {
		return "", nil, err
	}
	_, height, err := s.w.Node.Tip()
	return fmt.Sprintf("both contracts are active on both sides at height %d; ada and bob have each other's identity files", height),
		map[string]any{"height": height}, err
}

// active mines until a contract is funded deep enough by its client's view.
func (s *story) active(ctx context.Context, p *person, id usage.ContractID) error {
	return s.w.MineUntil(ctx, p.Name+"'s contract is active", 12, func() (bool, error) {
		c, err := p.agent.Contract(ctx, id)
		return c.State == "active", err
	})
}

// introduce waits until the document names the relay, then hands it over as a file would be.
func (s *story) introduce(ctx context.Context, from, to *person) error {
	var file []byte
	err := wait(ctx, from.Name+"'s identity names its relay", func() (bool, error) {
		id, err := from.agent.Identity(ctx)
		if err != nil || len(id.Relays) == 0 {
			return false, err
		}
		file, err = from.agent.Export(ctx)
		return true, err
	})
	if err != nil {
		return err
	}
	_, err = to.agent.PutContact(ctx, file, "")
	return err
}

// state waits until a contract is in a state by its client's view.
func (s *story) state(ctx context.Context, p *person, id usage.ContractID, want string) error {
	var last client.ContractInfo
	err := wait(ctx, fmt.Sprintf("%s's contract is %s", p.Name, want), func() (ok bool, err error) {
		last, err = p.agent.Contract(ctx, id)
		return last.State == want, err
	})
	if err != nil {
		return fmt.Errorf("%w (it is %s)", err, last.State)
	}
	return nil
}
