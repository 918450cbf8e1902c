package evil_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"relaymarket/client"
	"relaymarket/evidence"
	"relaymarket/internal/code"
	"relaymarket/testnet"
	"relaymarket/testnet/evil"
	"relaymarket/usage"
)

// The sums of every contract on the stage, in satoshi, the size of a message in bytes, and how long ada's contracts last.
const (
	deposit = 60_000
	price   = 600
	prepaid = 400
	large   = 800_000
	blocks  = 30
)

// stage is a world with a relay amber that may lie, an honest one birch, and two people: ada pays for what
// she sends to bob, and bob's acknowledgements come to her over birch, which amber does not see.
type stage struct {
	t     *testing.T
	ctx   context.Context
	w     *testnet.World
	front *evil.Front
	ada   *client.Agent
	bob   *client.Agent
}

// shared is the stage of all tests of this package: to build one takes longer than most tests.
var shared struct {
	dir   string
	stage *stage
}

func TestMain(m *testing.M) {
	result := m.Run()
	if s := shared.stage; s != nil {
		if err := s.w.Close(); err != nil {
			slog.Error("close", "err", err)
			result = 1
		}
	}
	os.RemoveAll(shared.dir)
	os.Exit(result)
}

// newStage gives a test the stage, on which amber is honest.
func newStage(t *testing.T) *stage {
	t.Helper()
	if shared.stage == nil {
		build(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	s := *shared.stage
	s.t, s.ctx = t, ctx
	s.front.Tell(nil)
	return &s
}

// build makes the stage.
func build(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "stage")
	if err != nil {
		t.Fatal(err)
	}
	shared.dir = dir
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("SCENARIO_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w, err := testnet.New(t.Context(), testnet.Options{Dir: dir, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, ctx: t.Context(), w: w}
	shared.stage = s
	p := testnet.DefaultPrices()
	p.Egress, p.CreditLimit, p.ContractPrice = 1_000_000_000, 4_000, price
	for _, name := range []string{"amber", "birch"} {
		s.must(w.JoinRelay(s.ctx, testnet.RelaySpec{Name: name, Prices: p}))
	}
	if s.front, err = w.Corrupt(s.ctx, "amber"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ada", "bob"} {
		s.must(w.AddClient(s.ctx, name))
		if err := w.Fund(s.ctx, name, 2_000_000); err != nil {
			t.Fatal(err)
		}
	}
	s.ada, s.bob = s.agent("ada"), s.agent("bob")
	s.open(s.bob, "birch", 1000)
}

// must is for calls whose value does not matter.
func (s *stage) must(_ any, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) agent(name string) *client.Agent {
	s.t.Helper()
	c, err := s.w.Client(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return c.Agent()
}

func (s *stage) relay(name string) *testnet.Relay {
	s.t.Helper()
	r, err := s.w.Relay(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// until waits for something that happens by itself.
func (s *stage) until(what string, f func() bool) {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("in vain: %s", what)
		}
	}
}

// mined mines until a contract of a client is in a state.
func (s *stage) mined(a *client.Agent, id usage.ContractID, state string, most int) client.ContractInfo {
	s.t.Helper()
	var c client.ContractInfo
	err := s.w.MineUntil(s.ctx, "a contract is "+state, most, func() (bool, error) {
		var err error
		c, err = a.Contract(s.ctx, id)
		return c.State == state, err
	})
	if err != nil {
		s.t.Fatalf("%v (it is %s)", err, c.State)
	}
	return c
}

// open opens a contract that both sides use, and makes the people known to each other.
func (s *stage) open(a *client.Agent, relay string, duration usage.Height) client.ContractInfo {
	s.t.Helper()
	r := s.relay(relay)
	c, err := a.ContractOpen(s.ctx, client.OpenRequest{
		Relay: r.Server().Key(), Sources: []string{r.Board()}, Deposit: deposit, Prepaid: prepaid, Duration: duration, FeeRateSatVB: 2,
		Small: true, // what the private chain says of fees says nothing
	})
	if err != nil {
		s.t.Fatal(err)
	}
	c = s.mined(a, c.ID, "active", 12)
	s.until("the relay serves the contract", func() bool {
		st, err := r.Server().Status(s.ctx)
		return err == nil && slices.ContainsFunc(st.Contracts, func(k testnetContract) bool { return k.Contract == c.ID && k.State == "active" })
	})
	s.until("the identity names the relay", func() bool {
		id, err := a.Identity(s.ctx)
		return err == nil && len(id.Relays) > 0
	})
	for _, pair := range [][2]*client.Agent{{s.ada, s.bob}, {s.bob, s.ada}} {
		file, err := pair[0].Export(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		s.must(pair[1].PutContact(s.ctx, file, ""))
	}
	s.sync(s.ada) // the letter that tells of the relay, and its rows, come before any lie
	s.sync(s.bob)
	return c
}

// sync lets an agent do at once what it would do in a while. What a lying relay makes of that is not the matter here.
func (s *stage) sync(a *client.Agent) {
	s.t.Helper()
	if err := a.Sync(s.ctx); err != nil {
		s.t.Log(err)
	}
}

// write sends a message of ada's to bob.
func (s *stage) write(size int) client.SendResult {
	s.t.Helper()
	body := make([]byte, size)
	rand.Read(body)
	r, err := s.ada.Send(s.ctx, client.SendRequest{To: "bob", MediaType: "application/octet-stream", Body: body, TTLSeconds: 7200, MaxPulls: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// delivered waits until bob has a message and ada his acknowledgement of it.
func (s *stage) delivered(r client.SendResult) {
	s.t.Helper()
	s.until("the message arrives", func() bool {
		in, err := s.bob.Inbox(s.ctx, false)
		return err == nil && slices.ContainsFunc(in, func(m client.Message) bool { return m.Digest == r.Digest })
	})
	s.sync(s.bob) // by itself he would collect acknowledgements for a while
	s.until("it is acknowledged", func() bool {
		out, err := s.ada.Outbox(s.ctx)
		return err == nil && slices.ContainsFunc(out, func(m client.Message) bool { return m.Digest == r.Digest && m.State == "acknowledged" })
	})
}

func (s *stage) audit(id usage.ContractID) client.AuditResult {
	s.t.Helper()
	a, err := s.ada.Audit(s.ctx, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// honest audits a log of at least so many rows with which nothing is wrong. Small letters of the agents' own, which tell
// contacts of a new relay, have rows too.
func (s *stage) honest(id usage.ContractID, rows uint64) client.AuditResult {
	s.t.Helper()
	var a client.AuditResult
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if a = s.audit(id); a.Usage.Rows >= rows && a.Classes["A"].Rows == a.Usage.Rows {
			break
		}
		if time.Now().After(end) {
			s.t.Fatalf("not all rows are matched: %+v", a)
		}
	}
	if len(a.Refused) > 0 || a.Confirmed != a.Usage.Owed || !a.Usage.Consistent || len(a.Usage.Proven) > 0 {
		s.t.Fatalf("an honest log: %+v", a)
	}
	return a
}

// evidence counts the papers about a contract whose name has a part.
func (s *stage) evidence(id usage.ContractID, part string) int {
	s.t.Helper()
	n := 0
	for _, a := range []*client.Agent{s.ada, s.bob} {
		all, err := a.Evidence(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range all {
			if (e.Contract == id || e.Contract.IsZero()) && strings.Contains(e.Name, part) {
				n++
			}
		}
	}
	return n
}

// proves checks that an audit names a fraud of amber's, and that the file which ada exports proves it to
// whoever has nothing else.
func (s *stage) proves(a client.AuditResult, want evidence.Class) {
	s.t.Helper()
	i := slices.IndexFunc(a.Usage.Proven, func(p client.ProvenFault) bool { return p.Class == want.String() })
	if i < 0 {
		s.t.Errorf("no %s is proven: %+v", want, a.Usage.Proven)
		return
	}
	file, err := s.ada.ExportEvidence(s.ctx, a.Usage.Proven[i].Paper.String())
	if err != nil {
		s.t.Fatal(err)
	}
	f, err := evidence.VerifyFile(file)
	if err != nil || f.Class != want || f.Culprit != s.relay("amber").Server().Key() || f.Contract != a.Usage.Contract {
		s.t.Errorf("the file proves %+v (%v)", f, err)
	}
}

// brings hands ada papers that bob has kept.
func (s *stage) brings(names ...string) {
	s.t.Helper()
	all, err := s.bob.Evidence(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range all {
		if slices.Contains(names, e.Name) {
			file, err := s.bob.ExportEvidence(s.ctx, e.ID.String())
			if err != nil {
				s.t.Fatal(err)
			}
			s.must(s.ada.AddEvidence(s.ctx, file))
		}
	}
}

// tell makes amber lie.
func (s *stage) tell(name string) {
	s.t.Helper()
	l := evil.Lies()[name]
	if l == nil && name != "" {
		s.t.Fatalf("there is no lie %q", name)
	}
	s.front.Tell(l)
}

// wasTold ends a lie, which must have been told.
func (s *stage) wasTold() {
	s.t.Helper()
	if s.front.Told() == 0 {
		s.t.Error("the lie was never told")
	}
	s.front.Tell(nil)
}

// pays pays what the audit confirms and says what is paid in all.
func (s *stage) pays(id usage.ContractID) usage.Sat {
	s.t.Helper()
	p, err := s.ada.ContractPay(s.ctx, id, deposit)
	if code.Of(err) == code.NotDue {
		c, err := s.ada.Contract(s.ctx, id)
		if err != nil {
			s.t.Fatal(err)
		}
		return c.Paid
	} else if err != nil {
		s.t.Fatal(err)
	}
	return p.Paid
}

// settled lets amber end a contract alone, by the last payment that it has, and holds the chain against that.
func (s *stage) settled(id usage.ContractID, paid usage.Sat) {
	s.t.Helper()
	s.ended(s.expired(id), "settlement", paid)
}

// expired mines to the end of a contract that nobody closes.
func (s *stage) expired(id usage.ContractID) client.ContractInfo {
	s.t.Helper()
	if err := s.w.Mine(s.ctx, blocks-10); err != nil {
		s.t.Fatal(err)
	}
	return s.mined(s.ada, id, "closed", 60)
}

// ended holds the chain against what is due.
func (s *stage) ended(c client.ContractInfo, by string, due usage.Sat) {
	s.t.Helper()
	if c.ClosedBy != by || c.RelayPayout+c.CloseFee != due || c.ClientPayout != deposit-due {
		s.t.Errorf("closed by %s: %d to ada, %d to amber, %d fee; due were %d", c.ClosedBy, c.ClientPayout, c.RelayPayout, c.CloseFee, due)
	}
}

// closes ends a contract together with amber, and holds the chain against what is due.
func (s *stage) closes(id usage.ContractID, due usage.Sat) {
	s.t.Helper()
	s.must(s.ada.ContractClose(s.ctx, id, client.CloseRefundPayment))
	s.ended(s.mined(s.ada, id, "closed", 30), "close", due)
}
