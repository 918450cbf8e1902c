package relay_test

import (
	"testing"
	"time"

	"relaymarket/contract"
	"relaymarket/internal/code"
	"relaymarket/internal/message"
	"relaymarket/records"
	"relaymarket/usage"
)

// noticed waits for a notice of the relay.
func (p *payer) noticed() contract.Notice {
	p.t.Helper()
	return *awaitPush[*contract.Notice](p)
}

// TestMissingPaymentStepByStep: a client uses its credit and does not pay. Step after step is told it by
// signed notices, also while it is away; in the end its records are gone, with proof. It pays, and is
// served again. No block less than what was agreed passes before any step.
func TestMissingPaymentStepByStep(t *testing.T) {
	r := start(t, t.TempDir(), dear(t))
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	write := func(n int) (*message.Write, error) {
		w := p.draftOn(on(c), func(d *records.Draft) { d.MaxPulls = 2 }, bob.key.Public(), noise(n))
		_, err := call[*message.Written](p.person, w)
		return w, err
	}
	w, err := write(1_200)
	if err != nil {
		t.Fatal(err)
	}
	record := digestOf(t, w, 0)
	if _, _, err := bob.read(bob.request(record, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := bob.read(bob.request(record, 1<<20)); err != nil {
		t.Fatal(err)
	}
	w, err = write(10) // this one is never read
	if err != nil {
		t.Fatal(err)
	}
	kept := digestOf(t, w, 0)
	p.pushed()
	asked := p.runner.Tip()

	at := asked
	steps := []struct {
		step   contract.Step
		after  int
		reason usage.Reason
	}{{contract.StepOverdue, 3, usage.ReasonSuspended}, {contract.StepSuspended, 3, usage.ReasonSuspended},
		{contract.StepRetained, 3, usage.ReasonSuspended}, {contract.StepPurged, 6, usage.ReasonPurged}}
	for i, s := range steps {
		p.mine(s.after - 1)
		time.Sleep(300 * time.Millisecond) // the relay looks, and may do nothing yet
		if got := p.state(c.ID()).State; i == 0 && got != "active" || i > 0 && got != steps[i-1].step.String() {
			t.Fatalf("a block too early the contract is %s", got)
		}
		away := s.step == contract.StepSuspended
		if away {
			p.sess.Close()
		}
		p.mine(1)
		at += usage.Height(s.after)
		p.until("the step is taken", func() bool { return p.state(c.ID()).State == s.step.String() })
		if away {
			p.connect(r)
		}
		n := p.noticed()
		for n.Step < s.step { // an earlier one again
			n = p.noticed()
		}
		if n.Step != s.step || n.Since != at || n.Contract != c.ID() {
			t.Fatalf("%+v", n)
		}
		mine, _ := p.runner.ByNonce(c.Nonce())
		if mine.State().String() != s.step.String() || mine.Arrears().Amount != n.Amount {
			t.Fatalf("the client is %s", mine.State())
		}
		if _, err := write(10); code.Of(err) != code.NoFunds && code.Of(err) != code.BadState {
			t.Fatalf("a write: %v", err)
		}
		p.until("the reader is told why", func() bool {
			_, d, err := bob.read(bob.request(kept, 1<<20))
			return err == nil && d != nil && d.Reason == s.reason && d.Evidence[0] == mine.Arrears().Notice
		})
	}
	if st := p.state(c.ID()); st.Reserved > 2 {
		t.Fatalf("%d msat are held back for records that are gone", st.Reserved)
	}
	mine, _ := p.runner.ByNonce(c.Nonce())
	if _, err := p.runner.Pay(t.Context(), c.ID(), mine.Arrears().Amount, mine.Arrears().Report, p.exchange); err != nil {
		t.Fatal(err)
	}
	p.until("it is active again", func() bool {
		mine, _ := p.runner.ByNonce(c.Nonce())
		return mine.Service() && p.state(c.ID()).State == "active"
	})
	if _, err := write(10); err != nil {
		t.Fatal(err)
	}
	if got := bob.denied(kept); got != usage.ReasonPurged {
		t.Fatalf("what is gone is %s", got)
	}
}

// TestAbsenceOfTheRelayIsNotHeldAgainstItsClients: what would have been due while a relay was away is
// not done when it comes back, before its clients can have paid.
func TestAbsenceOfTheRelayIsNotHeldAgainstItsClients(t *testing.T) {
	dir, cfg := t.TempDir(), dear(t)
	r := start(t, dir, cfg)
	p, bob := newPayer(t, r), newPerson(t, r)
	c := p.open(200_000, 0)
	w := p.draftOn(on(c), func(d *records.Draft) { d.MaxPulls = 3 }, bob.key.Public(), noise(1_200))
	must[*message.Written](p.person, w)
	record := digestOf(t, w, 0)
	for range 2 {
		if _, _, err := bob.read(bob.request(record, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	p.pushed()
	p.sess.Close()
	bob.sess.Close()
	r.stop()
	if _, err := node(t).Mine(20); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, cfg)
	p.connect(r)
	bob.connect(r)
	_, tip, err := node(t).Tip()
	if err != nil {
		t.Fatal(err)
	}
	p.until("both have read the chain", func() bool { return r.Tip() == usage.Height(tip) && p.runner.Tip() == usage.Height(tip) })
	time.Sleep(500 * time.Millisecond)
	if got := p.state(c.ID()).State; got != "active" {
		t.Fatalf("at its start the contract is %s", got)
	}
	p.mine(1)
	if n := p.noticed(); n.Step != contract.StepOverdue || n.Since != usage.Height(tip)+1 {
		t.Fatalf("%+v", n)
	}
	p.mine(2)
	time.Sleep(300 * time.Millisecond)
	if got := p.state(c.ID()).State; got != "overdue" {
		t.Fatalf("two blocks later the contract is %s", got)
	}
}
