package contract

import (
	"testing"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// owed is an active contract whose relay has asked for 6,000 sat at its present tip.
func owed(t failer) *world {
	w := active(t)
	w.pay(4_000)
	w.do(w.relay, AskPayment{Amount: 6_000, Stamp: w.stamp()})
	w.deliver()
	return w
}

// notify takes the relay's next step at its height.
func (w *world) notify() {
	w.t.Helper()
	_, from, ok := w.relay.c.NextNotice()
	if !ok {
		w.t.Fatalf("no notice is due in state %s", w.relay.c.State())
	}
	w.mineTo(max(from, w.chain.tip()))
	w.do(w.relay, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()})
	w.deliver()
}

// steppedTo is owed, with both sides at a step.
func steppedTo(t failer, s Step) *world {
	w := owed(t)
	for range s {
		w.notify()
	}
	return w
}

// TestNoticesStepByStep: each step at its height and not a block before; both sides see the same; payment
// of the named sum ends it at any step.
func TestNoticesStepByStep(t *testing.T) {
	for last := StepOverdue; last <= lastStep; last++ {
		w := owed(t)
		m, err := MarginsOf(w.relay.c.terms.Network)
		if err != nil {
			t.Fatal(err)
		}
		at := w.relay.c.Tip()
		for s := StepOverdue; s <= last; s++ {
			at += m.notice(s)
			w.mineTo(at - 1)
			w.wantCode(w.relay, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()}, code.NotDue)
			w.mineTo(at)
			w.do(w.relay, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()})
			w.deliver()
			w.wantStates(s.state(), s.state())
			for _, p := range []*party{w.client, w.relay} {
				if st := p.c.Arrears(); st.Step != s || st.Amount != 6_000 || st.Since != at || st.Notice.IsZero() || p.c.Service() {
					t.Fatalf("%s: %+v", p.role, st)
				}
			}
		}
		if w.relay.c.Arrears().Notice != w.client.c.Arrears().Notice {
			t.Fatal("the two sides hold other notices")
		}
		w.pay(5_999)
		w.wantStates(last.state(), last.state())
		w.pay(6_000)
		w.wantStates(StateActive, StateActive)
		w.goesOn(t, w.client.c.Updates(), 6_000)
	}
}

// TestPaymentsBeginTheTimeAnew: who pays something has the whole time again for the rest.
func TestPaymentsBeginTheTimeAnew(t *testing.T) {
	w := owed(t)
	_, from, _ := w.relay.c.NextNotice()
	w.mineTo(from - 1)
	w.pay(5_000)
	_, later, ok := w.relay.c.NextNotice()
	if m, _ := MarginsOf(w.relay.c.terms.Network); !ok || later != w.relay.c.Tip()+m.OverdueAfter {
		t.Fatalf("the notice is due at %d", later)
	}
	w.mine(2)
	w.pay(5_100) // too little to begin it anew
	if _, still, ok := w.relay.c.NextNotice(); !ok || still != later {
		t.Fatalf("the notice is due at %d, it was at %d", still, later)
	}
	for n := uint32(9); n < 12; n++ { // nor does an old payment under a new number
		again := w.client.c.standing(w.stamp(), Head{})
		again.N = n
		raw, err := Encode(again)
		if err != nil {
			t.Fatal(err)
		}
		s, err := identity.SignOne(w.client.id, raw)
		if err != nil {
			t.Fatal(err)
		}
		_ = w.try(w.relay, w.event(w.relay, w.open(s)))
		if _, still, ok := w.relay.c.NextNotice(); !ok || still != later {
			t.Fatalf("the notice is due at %d, it was at %d", still, later)
		}
	}
	w = owed(t)
	w.pay(6_000)
	if _, _, ok := w.relay.c.NextNotice(); ok {
		t.Fatal("a notice is due although all is paid")
	}
}

// TestSmallSumsLeadToNoNotice: a request for a small sum does not begin the time of a larger one.
func TestSmallSumsLeadToNoNotice(t *testing.T) {
	w := active(t)
	w.pay(4_000)
	w.do(w.relay, AskPayment{Amount: 4_010, Small: true, Stamp: w.stamp()})
	w.deliver()
	w.mine(5)
	if _, _, ok := w.relay.c.NextNotice(); ok {
		t.Fatal("a notice is due for ten satoshis")
	}
	w.do(w.relay, AskPayment{Amount: 6_000, Stamp: w.stamp()})
	w.deliver()
	if m, _ := MarginsOf(w.relay.c.terms.Network); true {
		if _, from, ok := w.relay.c.NextNotice(); !ok || from != w.relay.c.Tip()+m.OverdueAfter {
			t.Fatalf("the notice is due at %d", from)
		}
	}
}

// TestArrearsOutliveOtherStates: what a client does to the contract's state does not lift what it owes.
func TestArrearsOutliveOtherStates(t *testing.T) {
	for s := StepOverdue; s <= lastStep; s++ {
		for _, change := range []func(*Reestablish){
			func(m *Reestablish) { m.Closing = 1 }, func(m *Reestablish) { m.Frozen = FrozenFork },
		} {
			w := steppedTo(t, s)
			m := w.client.c.standing(w.stamp(), Head{})
			change(m)
			raw, err := Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := identity.SignOne(w.client.id, raw)
			if err != nil {
				t.Fatal(err)
			}
			w.do(w.relay, w.event(w.relay, w.open(signed)))
			if f := w.relay.c.Funds(); w.relay.c.State().Owing() || f.Step != s || f.Notice.IsZero() || f.Closed {
				t.Fatalf("%s: %+v", w.relay.c.State(), f)
			}
		}
	}
}

// TestUnpublishedCloseIsNoPayment: a close by the key path whose whole signature only the client has counts
// for no more than what is paid, until it is seen.
func TestUnpublishedCloseIsNoPayment(t *testing.T) {
	w := active(t)
	w.pay(4_000)
	w.relay.due = 20_000
	w.client.deaf = true // it keeps the answer to itself
	w.askClose(w.client, 20_000, 1_000)
	w.do(w.relay, w.event(w.relay, w.open(w.relay.inbox[0])))
	if f := w.relay.c.Funds(); !f.Closed || f.Final != 4_000 {
		t.Fatalf("%+v", f)
	}
}

// TestNothingIsPurgedForAPittance: below 1,000 sat the records stay, on the word of neither side.
func TestNothingIsPurgedForAPittance(t *testing.T) {
	w := steppedTo(t, StepRetained)
	w.pay(5_001)
	_, from, _ := w.relay.c.NextNotice()
	w.mineTo(from)
	w.wantCode(w.relay, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()}, code.NotDue)
	w.do(w.relay, Notify{Amount: 7_000, Report: identity.Tagged("r"), Stamp: w.stamp()})
	v := forge(w, w.relay, w.client.inbox[0], func(m *Notice) { m.Amount = 6_000 })
	w.wantCode(w.client, w.event(w.client, v), code.NotDue)
}

// TestMissedNotices: a client who was away hears of the whole sequence when it comes, in order; the same
// again changes nothing; a relay that was put back begins anew.
func TestMissedNotices(t *testing.T) {
	w := owed(t)
	backup := w.copyOf(w.relay)
	w.client.deaf = true
	for range 3 {
		w.notify()
	}
	w.client.deaf = false
	w.wantStates(StateActive, StateRetained)
	for range 2 {
		for _, raw := range w.relay.c.Notices() {
			s, err := identity.SignOne(w.relay.id, raw)
			if err != nil {
				t.Fatal(err)
			}
			w.do(w.client, w.event(w.client, w.open(s)))
		}
		w.wantStates(StateRetained, StateRetained)
	}
	w.pay(4_500) // what was made before finds its way after it too
	for _, raw := range w.relay.c.Notices() {
		s, err := identity.SignOne(w.relay.id, raw)
		if err != nil {
			t.Fatal(err)
		}
		w.do(w.client, w.event(w.client, w.open(s)))
	}
	w.restore(w.relay, backup)
	w.reconnect()
	w.notify()
	w.wantStates(StateOverdue, StateOverdue)
	w.pay(6_000)
	w.wantStates(StateActive, StateActive)
}

// TestNoticesAreRefused: what does not follow, comes early, or asks for what it may not.
func TestNoticesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		after  Step
		change func(*Notice)
		want   code.Code
	}{
		"early":              {StepNone, func(m *Notice) { m.Before++ }, code.NotDue},
		"before the money":   {StepNone, func(m *Notice) { m.Before = 1 }, code.NotDue},
		"from the future":    {StepNone, func(m *Notice) { m.Since += 4 }, code.StaleTip},
		"more than there is": {StepNone, func(m *Notice) { m.Amount = 1_000_000 }, code.BadAmount},
		"paid":               {StepNone, func(m *Notice) { m.Amount = 4_000 }, code.NotDue},
		"no such update":     {StepNone, func(m *Notice) { m.N++ }, code.BadAmount},
		"a step left out":    {StepOverdue, func(m *Notice) { m.Step = StepRetained }, code.BadSequence},
		"another before":     {StepOverdue, func(m *Notice) { m.Earlier[0]++ }, code.BadSequence},
		"another height":     {StepOverdue, func(m *Notice) { m.Before-- }, code.BadSequence},
		"another contract":   {StepOverdue, func(m *Notice) { m.Contract[0]++ }, code.ContractUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			w := steppedTo(t, c.after)
			_, from, _ := w.relay.c.NextNotice()
			w.mineTo(from)
			w.do(w.relay, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()})
			honest := w.client.inbox[0]
			w.wantCode(w.client, w.event(w.client, forge(w, w.relay, honest, c.change)), c.want)
			w.wantStates(c.after.state(), (c.after + 1).state())
			w.do(w.client, w.event(w.client, w.open(honest)))
			w.wantStates((c.after + 1).state(), (c.after + 1).state())
		})
	}
	w := owed(t)
	w.wantCode(w.client, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()}, code.BadState)
	w.do(w.relay, OfferClose{Amount: 6_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
	w.wantCode(w.relay, Notify{Amount: 6_000, Report: identity.Tagged("r"), Stamp: w.stamp()}, code.BadState)
}

// TestOwingContractsEnd: at every step either side gets out, alone or together, with what was paid.
func TestOwingContractsEnd(t *testing.T) {
	for s := StepOverdue; s <= lastStep; s++ {
		for name, end := range map[string]func(*world){
			"close": func(w *world) {
				w.relay.due = 4_000
				w.do(w.client, Close{Amount: 4_000, FeeRate: 1_000, Key: w.client.key, Stamp: w.stamp()})
				w.deliver()
			},
			"accept close": func(w *world) {
				w.do(w.relay, OfferClose{Amount: 6_000, FeeRate: 1_000, Key: w.relay.key, Stamp: w.stamp()})
				w.deliver()
				w.do(w.client, AcceptClose{Max: 6_000, Key: w.client.key})
			},
			"key path": func(w *world) {
				w.askClose(w.relay, 4_000, 1_000)
				w.deliver()
			},
			"settle": func(w *world) { w.do(w.relay, Settle{Key: w.relay.key}) },
			"wait":   func(w *world) { w.mineTo(w.relay.c.Terms().ServiceUntil()) },
		} {
			t.Run(s.String()+", "+name, func(t *testing.T) {
				w := steppedTo(t, s)
				end(w)
				for w.relay.c.State() != StateClosed || w.client.c.State() != StateClosed {
					if w.chain.tip() > w.relay.c.Terms().Expiry {
						t.Fatal(w.client.c.State(), w.relay.c.State())
					}
					w.mine(1)
				}
			})
		}
	}
}
