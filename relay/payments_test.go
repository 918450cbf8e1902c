package relay_test

import (
	"crypto/rand"
	"testing"
	"time"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/records"
	"relaymarket/relay"
	"relaymarket/usage"
)

// dear is a relay whose every byte costs, so that a test can use up a contract.
func dear(t *testing.T) relay.Config {
	c := config(node(t))
	c.Offer.FreeBytesDay, c.Offer.CreditLimit, c.Offer.CreditStart = 0, 5_000, 5_000
	c.Offer.Storage, c.Offer.Egress = 1_000_000_000, 1_000_000_000_000
	return c
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func once(d *records.Draft) { d.MaxPulls = 1 }

// pushed waits for a request of the relay.
func (p *payer) pushed() contract.RequestPayment {
	p.t.Helper()
	return *awaitPush[*contract.RequestPayment](p)
}

// awaitPush waits until the relay says something of a kind; what else it says is taken on the way.
func awaitPush[M contract.Message](p *payer) M {
	p.t.Helper()
	late := time.After(15 * time.Second)
	for {
		select {
		case m := <-p.sess.Pushes():
			if said, ok := p.hear(m).(M); ok {
				return said
			}
		case <-late:
			p.t.Fatalf("the relay says no %T", *new(M))
		}
	}
}

func (p *payer) hear(m message.Message) contract.Message {
	p.t.Helper()
	s, err := identity.ParseSigned(m.(*message.Contract).Statement)
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := contract.OpenMessage(s)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.runner.Receive(p.t.Context(), p.r.Key(), s); err != nil {
		p.t.Fatal(err)
	}
	return v.Message()
}

// report is the relay's signed word on a contract.
func (p *payer) report(id usage.ContractID) (usage.UsageReport, identity.Digest) {
	p.t.Helper()
	s, err := identity.ParseSigned(must[*message.UsageReport](p.person, &message.RequestUsage{Contract: id, Fresh: true}).Report)
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := usage.OpenUsageReport(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return v.UsageReport, v.Digest()
}

// TestPaymentIsAskedForWhenDue uses a contract on credit until the relay asks: a client who is here,
// and one who was not here and comes back. The sum is what the log says; paying it ends the asking.
func TestPaymentIsAskedForWhenDue(t *testing.T) {
	r := start(t, t.TempDir(), dear(t))
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	write := func() *message.Read {
		t.Helper()
		w := p.draftOn(on(c), once, bob.key.Public(), noise(3000))
		must[*message.Written](p.person, w)
		return bob.request(digestOf(t, w, 0), 1<<20)
	}
	read := func(q *message.Read) usage.Sat {
		t.Helper()
		if _, _, err := bob.read(q); err != nil {
			t.Fatal(err)
		}
		return c.Terms().ContractPrice + p.state(c.ID()).Owed.CeilSat()
	}
	pay := func(m contract.RequestPayment, due usage.Sat) {
		t.Helper()
		rep, digest := p.report(c.ID())
		if m.Contract != c.ID() || m.Amount != due || m.Report != digest || m.Final != 0 {
			t.Fatalf("asked for %d sat on report %s, due are %d on %s (report %d)", m.Amount, m.Report.Short(), due, digest.Short(), rep.Number)
		}
		if _, err := p.runner.Pay(t.Context(), c.ID(), due, m.Report, p.exchange); err != nil {
			t.Fatal(err)
		}
		if got := p.state(c.ID()).Paid; got != due {
			t.Fatalf("the relay has %d sat, %d were paid", got, due)
		}
	}
	due := read(write())
	pay(p.pushed(), due)

	q := write()
	p.sess.Close()
	due = read(q)
	time.Sleep(600 * time.Millisecond) // the relay looks, and finds nobody to ask
	p.connect(r)
	pay(p.pushed(), due)

	// A report that this relay did not make is none to pay on.
	_, digest := p.report(c.ID())
	digest[0] ^= 1
	if _, err := p.runner.Pay(t.Context(), c.ID(), due+100, digest, p.exchange); code.Of(err) != code.TermsMismatch {
		t.Errorf("a payment on a foreign report: %v", err)
	}
	if got := p.state(c.ID()).Paid; got != due {
		t.Errorf("after a bad update the relay has %d sat, not %d", got, due)
	}
	select {
	case m := <-p.sess.Pushes():
		t.Errorf("all is paid, and the relay says %v", m)
	default:
	}
}

// TestSmallSumsAreAskedForAfterADay: what is too little for a request is asked for, once, when no payment
// has come for the time that stands for a day.
func TestSmallSumsAreAskedForAfterADay(t *testing.T) {
	r := start(t, t.TempDir(), dear(t))
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	w := p.draftOn(on(c), once, bob.key.Public(), noise(10))
	must[*message.Written](p.person, w)
	if _, _, err := bob.read(bob.request(digestOf(t, w, 0), 1<<20)); err != nil {
		t.Fatal(err)
	}
	due := c.Terms().ContractPrice + p.state(c.ID()).Owed.CeilSat()
	funded := p.runner.Tip() + 1 - usage.Height(c.Terms().Depth)
	p.mine(int(funded + 23 - p.runner.Tip()))
	time.Sleep(500 * time.Millisecond)
	select {
	case m := <-p.sess.Pushes():
		if _, ok := p.hear(m).(*contract.RequestPayment); ok {
			t.Fatal("it is asked for before its time")
		}
	default:
	}
	p.mine(1)
	if m := p.pushed(); m.Amount < due || m.Amount > due+10 {
		t.Fatalf("asked for %d sat, due are %d", m.Amount, due)
	}
	p.mine(4)
	if got := p.state(c.ID()).State; got != "active" {
		t.Fatalf("for so little the contract is %s", got)
	}
}
