package evil_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"relaymarket/client"
	"relaymarket/evidence"
	"relaymarket/testnet/evil"
)

// on gives a stage to a part of a test.
func (s *stage) on(t *testing.T) *stage {
	part := *s
	part.t = t
	return &part
}

// TestARelayThatContradictsItself tells the lies about sums and reports: nothing more is paid, both reports are kept, and
// ada gets everything back but what she had paid before.
func TestARelayThatContradictsItself(t *testing.T) {
	stage := newStage(t)
	for _, c := range []struct {
		lie    string
		papers int
		proven evidence.Class
		alone  bool // amber vanishes; else it takes what it has
	}{
		{"sums", 1, evidence.WrongSum, false}, {"two-faced", 2, evidence.TwoReports, false}, {"rewritten", 2, evidence.BadConsistency, true},
	} {
		t.Run(c.lie, func(t *testing.T) {
			s := stage.on(t)
			k := s.open(s.ada, "amber", blocks)
			s.delivered(s.write(large))
			s.delivered(s.write(large))
			s.honest(k.ID, 4)
			s.tell(c.lie)
			a := s.audit(k.ID)
			s.wasTold()
			if a.Usage.Consistent || a.Usage.Inconsistent == "" || a.Confirmed != 0 || a.Due != k.Paid {
				t.Fatalf("%+v", a)
			}
			if n := s.evidence(k.ID, "contradicted"); n < c.papers {
				t.Errorf("%d papers are kept", n)
			}
			s.proves(a, c.proven)
			if paid := s.pays(k.ID); paid != k.Paid {
				t.Errorf("%d sat are paid", paid)
			}
			s.delivered(s.write(1000))
			if !c.alone {
				s.settled(k.ID, k.Paid)
				return
			}
			if err := s.w.StopRelay("amber"); err != nil {
				t.Fatal(err)
			}
			back := s.expired(k.ID)
			if back.ClosedBy != "refund" || back.RelayPayout != 0 || back.ClientPayout+back.CloseFee != deposit {
				t.Errorf("closed by %s: %d to ada, %d to amber, %d fee", back.ClosedBy, back.ClientPayout, back.RelayPayout, back.CloseFee)
			}
			if err := s.w.StartRelay(s.ctx, "amber"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestARelayThatAsksForMore than its own report says is paid what the audit confirms, and no close is agreed to
// that takes more.
func TestARelayThatAsksForMore(t *testing.T) {
	s := newStage(t)
	k := s.open(s.ada, "amber", blocks)
	s.tell("overasks")
	for range 4 {
		s.delivered(s.write(large))
	}
	s.until("amber asks", func() bool {
		c, err := s.ada.Contract(s.ctx, k.ID)
		return err == nil && c.Asked > 0
	})
	c, err := s.ada.Contract(s.ctx, k.ID)
	if err != nil {
		t.Fatal(err)
	}
	a := s.honest(k.ID, 8)
	if c.Asked <= a.Due {
		t.Fatalf("asked are %d sat, due %d", c.Asked, a.Due)
	}
	if paid := s.pays(k.ID); paid != a.Due {
		t.Errorf("%d sat are paid, due are %d", paid, a.Due)
	}
	s.must(s.relay("amber").Server().CloseContract(s.ctx, k.ID))
	short, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	if _, err := s.ada.ContractClose(short, k.ID, client.CloseRequest); err == nil {
		t.Error("a close is agreed to that takes more than is due")
	}
	s.wasTold()
	s.closes(k.ID, a.Due)
}

// TestARelayThatServesSomethingElse is called bad by the receiver, whose word reaches the sender over another relay.
func TestARelayThatServesSomethingElse(t *testing.T) {
	s := newStage(t)
	k := s.open(s.ada, "amber", blocks)
	s.delivered(s.write(large))
	before := s.honest(k.ID, 2)
	s.tell("spoils")
	sent := s.write(large)
	var a client.AuditResult
	s.until("the delivery is disputed", func() bool {
		a = s.audit(k.ID)
		return a.Classes["L"].Rows > 0
	})
	s.wasTold()
	if len(a.Refused) != 1 || a.Refused[0].Class != "L" || diff(a.Confirmed, a.Usage.Owed-a.Refused[0].Owed) > 1 || a.Confirmed < before.Confirmed {
		t.Fatalf("refused: %+v", a.Refused)
	}
	s.until("both know that it is not the message", func() bool {
		in, err := s.bob.Inbox(s.ctx, false)
		out, err2 := s.ada.Outbox(s.ctx)
		broken := func(m client.Message) bool { return m.Digest == sent.Digest && m.State == client.StateBroken }
		rejected := func(m client.Message) bool { return m.Digest == sent.Digest && m.State == client.StateRejected }
		return err == nil && err2 == nil && slices.ContainsFunc(in, broken) && slices.ContainsFunc(out, rejected)
	})
	if paid := s.pays(k.ID); paid != max(a.Due, k.Paid) {
		t.Errorf("%d sat are paid, due are %d", paid, a.Due)
	}
	s.delivered(s.write(1000))
	s.settled(k.ID, a.Due)
}

// TestARelayThatDenies what it has is found out by the receiver, who keeps its signed word; with the sender's papers
// it proves the loss. The read is
// billed with the receiver's own request, so that it is paid for until the acknowledgement is overdue: that is the
// most that a denial can cost, and was said before the message went.
func TestARelayThatDenies(t *testing.T) {
	s := newStage(t)
	k := s.open(s.ada, "amber", blocks)
	s.delivered(s.write(large))
	before := s.honest(k.ID, 2)
	s.tell("denies")
	sent := s.write(large)
	s.until("bob keeps the denial", func() bool { return s.evidence(k.ID, "denial: none") == 1 })
	s.wasTold()
	if s.evidence(k.ID, "denied read request") != 1 {
		t.Error("the request that was denied is not kept")
	}
	s.brings("denial: none", "denied read request")
	a := s.audit(k.ID)
	s.proves(a, evidence.Lost)
	if a.Classes["B"].Rows != 1 || len(a.Refused) != 0 || a.Confirmed > before.Confirmed+sent.WorstCost {
		t.Errorf("%+v", a)
	}
	in, err := s.bob.Inbox(s.ctx, false)
	if err != nil || slices.ContainsFunc(in, func(m client.Message) bool { return m.Digest == sent.Digest }) {
		t.Errorf("what was denied is there: %v", err)
	}
	s.delivered(s.write(1000))
	s.closes(k.ID, s.audit(k.ID).Due)
}

// TestARelayWhoseReceiptIsFalse is not believed: the order stays in the queue, the receipt is kept as evidence, and its
// row is not paid.
func TestARelayWhoseReceiptIsFalse(t *testing.T) {
	stage := newStage(t)
	for _, lie := range []string{"false-receipt", "late-receipt"} {
		t.Run(lie, func(t *testing.T) {
			s := stage.on(t)
			k := s.open(s.ada, "amber", blocks)
			s.delivered(s.write(1000))
			s.honest(k.ID, 2)
			s.tell(lie)
			if sent := s.write(large); sent.State == client.StateStored {
				t.Errorf("the message is %s", sent.State)
			}
			s.wasTold()
			if s.evidence(k.ID, "false receipt") == 0 {
				t.Error("the receipt is not kept")
			}
			a := s.audit(k.ID)
			if len(a.Refused) != 1 || a.Refused[0].Class != "J" {
				t.Errorf("refused: %+v", a.Refused)
			}
			s.pays(k.ID)
			s.closes(k.ID, s.audit(k.ID).Due)
		})
	}
}

// TestLiesHaveTests fails for a lie that no test of this package tells.
func TestLiesHaveTests(t *testing.T) {
	told := []string{
		"unasked", "replayed", "invented", "twice", "written-twice", "oversize", "sums", "two-faced", "rewritten", "overasks", "denies", "spoils",
		"false-receipt", "late-receipt",
	}
	for name, l := range evil.Lies() {
		if !slices.Contains(told, name) || l.What == "" {
			t.Errorf("%s is not told", name)
		}
	}
}
