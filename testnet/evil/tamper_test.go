package evil_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"relaymarket/client"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/testnet/evil"
	"relaymarket/usage"
)

// flips changes one bit in the middle of a field of the next statement of a type.
func (s *stage) flips(t identity.Type, field uint64) {
	done := false
	s.front.Change(func(got identity.Type, fields []evil.Field) bool {
		i := slices.IndexFunc(fields, func(f evil.Field) bool { return f.Type == field })
		if done || got != t || i < 0 || len(fields[i].Value) == 0 {
			return false
		}
		done = true
		fields[i].Value[len(fields[i].Value)/2] ^= 1
		return true
	})
}

// hasFlipped ends the changes, of which there must have been one.
func (s *stage) hasFlipped() {
	s.t.Helper()
	if s.front.Told() == 0 {
		s.t.Error("no statement was changed")
	}
	s.front.Change(nil)
}

// TestChangedOpenings changes one message of an opening on the real node each time: it is refused, and either all coins are
// free again or the honest message that is sent again leads on to a contract from which every satoshi is accounted for.
func TestChangedOpenings(t *testing.T) {
	stage := newStage(t)
	for name, c := range map[string]struct {
		typ   identity.Type
		field uint64
	}{
		"contractOpen, the client's key":           {identity.TypeContractOpen, 72},
		"contractOpen, the transaction":            {identity.TypeContractOpen, 88},
		"contractServerAddInputs, the terms":       {identity.TypeContractServerAddInputs, 74},
		"contractServerAddInputs, the transaction": {identity.TypeContractServerAddInputs, 76},
		"contractClientSigned, the witnesses":      {identity.TypeContractClientSigned, 74},
		"contractClientSigned, the signatures":     {identity.TypeContractClientSigned, 76},
		"contractOpened, the funding":              {identity.TypeContractOpened, 72},
	} {
		t.Run(name, func(t *testing.T) {
			s := stage.on(t)
			before := s.coins()
			s.flips(c.typ, c.field)
			r := s.relay("amber")
			known := s.contracts()
			_, err := s.ada.ContractOpen(s.ctx, client.OpenRequest{
				Relay: r.Server().Key(), Sources: []string{r.Board()}, Deposit: deposit, Prepaid: prepaid, Duration: blocks, FeeRateSatVB: 2,
				Small: true, // what the private chain says of fees says nothing
			})
			s.hasFlipped()
			if err != nil && code.Of(err) == code.Internal {
				t.Errorf("refused without a code: %v", err)
			}
			var k client.ContractInfo
			err = s.w.MineUntil(s.ctx, "the opening comes to an end", 12, func() (bool, error) {
				s.w.SyncClients(s.ctx)
				all, err := s.ada.Contracts(s.ctx)
				for _, x := range all {
					if !slices.Contains(known, x.ID) {
						k = x
					}
				}
				return k.State == "" || k.State == "active" || k.State == "aborted" || k.State == "failed", err
			})
			if err != nil {
				t.Fatalf("%v (it is %s)", err, k.State)
			}
			if k.State == "active" {
				s.closes(k.ID, k.Paid)
				s.until("the rest is back", func() bool { return s.coins() == before-k.FundFee-k.Paid })
			} else if after := s.coins(); after != before {
				t.Errorf("ada had %d sat and has %d", before, after)
			}
		})
	}
}

// coins is what ada's wallet holds.
func (s *stage) coins() usage.Sat {
	s.t.Helper()
	b, err := s.ada.WalletBalance(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return b.Confirmed + b.Unconfirmed
}

func (s *stage) contracts() []usage.ContractID {
	s.t.Helper()
	all, err := s.ada.Contracts(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	ids := make([]usage.ContractID, len(all))
	for i, k := range all {
		ids[i] = k.ID
	}
	return ids
}

// TestChangedPayments changes each message of an update and of a close on the real node: what is changed is refused, the
// honest message that follows is taken, and the sums are right to the satoshi.
func TestChangedPayments(t *testing.T) {
	s := newStage(t)
	k := s.open(s.ada, "amber", blocks)
	s.delivered(s.write(large))
	for _, c := range []struct {
		typ   identity.Type
		field uint64
	}{
		{identity.TypeContractPaymentUpdate, 78}, {identity.TypeContractPaymentUpdate, 74},
		{identity.TypeContractPaymentAck, 74}, {identity.TypeContractPaymentAck, 76},
	} {
		s.delivered(s.write(large))
		due := s.audit(k.ID).Due
		s.flips(c.typ, c.field)
		if _, err := s.ada.ContractPay(s.ctx, k.ID, deposit); err == nil || code.Of(err) == code.Internal {
			t.Errorf("%s, field %d: %v", c.typ, c.field, err)
		}
		s.hasFlipped()
		s.w.SyncClients(s.ctx)
		if paid := s.pays(k.ID); paid != due {
			t.Errorf("%s, field %d: %d sat are paid in the end, due are %d", c.typ, c.field, paid, due)
		}
		st, err := s.relay("amber").Server().Status(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range st.Contracts {
			if x.Contract == k.ID && x.Paid != due {
				t.Errorf("%s, field %d: amber holds %d sat, due are %d", c.typ, c.field, x.Paid, due)
			}
		}
	}
	s.delivered(s.write(large)) // not paid: what amber wants is for ada to agree to
	due := s.audit(k.ID).Due
	for _, c := range []struct {
		typ   identity.Type
		field uint64
	}{
		{identity.TypeContractCloseNonce, 78}, {identity.TypeContractCloseNonce, 80}, {identity.TypeContractCloseSig, 74}, {identity.TypeContractCloseSig, 76},
	} {
		s.flips(c.typ, c.field)
		if _, err := s.ada.ContractClose(s.ctx, k.ID, client.CloseKeyPath); err == nil || code.Of(err) == code.Internal {
			t.Errorf("%s, field %d: %v", c.typ, c.field, err)
		}
		s.hasFlipped()
	}
	s.flips(identity.TypeContractRefundPayment, 80)
	if _, err := s.ada.ContractClose(s.ctx, k.ID, client.CloseRefundPayment); err == nil || code.Of(err) == code.Internal {
		t.Errorf("a close whose signature does not hold: %v", err)
	}
	s.hasFlipped()
	s.flips(identity.TypeContractRequestPayment, 84)
	s.must(s.relay("amber").Server().CloseContract(s.ctx, k.ID))
	short, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	if _, err := s.ada.ContractClose(short, k.ID, client.CloseRequest); err == nil {
		t.Error("an offer to close is taken whose signature does not hold")
	}
	s.hasFlipped()
	s.closes(k.ID, due)
}
