package evil_test

import (
	"testing"

	"relaymarket/evidence"
	"relaymarket/relay"
	"relaymarket/usage"
)

type testnetContract = relay.ContractStatus

// TestARelayThatBillsWhatItMayNot tells the lies about rows, one after the other in one log: each is refused by row and class,
// and ada pays to the satoshi what she would have paid an honest relay.
func TestARelayThatBillsWhatItMayNot(t *testing.T) {
	s := newStage(t)
	k := s.open(s.ada, "amber", blocks)
	s.delivered(s.write(large))
	s.delivered(s.write(large))
	s.honest(k.ID, 4)
	refused := 0
	for _, c := range []struct {
		lie, class string
		proven     evidence.Class
	}{
		{"unasked", "E", evidence.NoEvidence}, {"replayed", "E", evidence.NoEvidence}, {"invented", "E", evidence.NoEvidence},
		{"twice", "F", evidence.Duplicate}, {"written-twice", "F", evidence.Duplicate},
	} {
		t.Run(c.lie, func(t *testing.T) {
			s := s.on(t)
			s.tell(c.lie)
			a := s.audit(k.ID)
			s.wasTold()
			refused++
			real := s.billed(k.ID)
			if len(a.Refused) != refused || a.Refused[refused-1].Class != c.class || a.Refused[refused-1].Why == "" || !a.Usage.Consistent {
				t.Fatalf("refused: %+v", a.Refused)
			}
			if row := a.Refused[refused-1]; row.Kind == "read" && row.Owed < 500_000 || a.Usage.Owed < real+row.Owed {
				t.Errorf("the lie is worth nothing: %d msat are billed, %d are real", a.Usage.Owed, real)
			}
			if diff(a.Confirmed, real) > 1 || a.Due != price+real.CeilSat() {
				t.Errorf("confirmed are %d msat, real were %d; due are %d sat", a.Confirmed, real, a.Due)
			}
			if s.evidence(k.ID, "rows refused") < refused {
				t.Error("no dissent is kept")
			}
			s.proves(a, c.proven)
			if paid := s.pays(k.ID); paid != a.Due {
				t.Errorf("%d sat are paid, due are %d", paid, a.Due)
			}
			s.delivered(s.write(1000)) // everything else goes on
			after := s.audit(k.ID)
			if len(after.Refused) != refused || after.Confirmed <= a.Confirmed || diff(after.Confirmed, s.billed(k.ID)) > 1 {
				t.Errorf("afterwards: %d confirmed before, %+v", a.Confirmed, after)
			}
		})
	}
	s.closes(k.ID, s.audit(k.ID).Due)
}

// TestARelayThatBillsMoreBytes than a record has loses the whole row, because what of it is true is not known. It does not
// agree to a close for less than it asks, so that it settles for what it was paid.
func TestARelayThatBillsMoreBytes(t *testing.T) {
	s := newStage(t)
	k := s.open(s.ada, "amber", blocks)
	s.delivered(s.write(large))
	before := s.honest(k.ID, 2)
	s.tell("oversize")
	s.delivered(s.write(large))
	a := s.audit(k.ID)
	s.wasTold()
	if len(a.Refused) != 1 || a.Refused[0].Class != "G" || a.Refused[0].Owed < 1_000_000 || diff(a.Confirmed, before.Confirmed) > 1 {
		t.Fatalf("%d confirmed before, %+v", before.Confirmed, a)
	}
	s.proves(a, evidence.Oversize)
	if paid := s.pays(k.ID); paid != a.Due || a.Due != price+before.Confirmed.CeilSat() {
		t.Errorf("%d sat are paid, due are %d", paid, a.Due)
	}
	s.settled(k.ID, a.Due)
}

func diff(a, b usage.Msat) usage.Msat { return max(a, b) - min(a, b) }

// billed is what the relay behind the front has on its own bill.
func (s *stage) billed(id usage.ContractID) usage.Msat {
	s.t.Helper()
	st, err := s.relay("amber").Server().Status(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, k := range st.Contracts {
		if k.Contract == id {
			return k.Owed
		}
	}
	s.t.Fatal("the relay does not know the contract")
	return 0
}
