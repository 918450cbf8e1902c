package contract

import (
	"slices"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"

	"relaymarket/usage"
)

// wantShown checks what is shown of a contract against what it knows: every satoshi of every transaction is
// accounted for, and of the ways to spend the escrow the chain's is the only one that counts.
func wantShown(t failer, c Contract) {
	t.Helper()
	confirmed := 0
	ids := make(map[chainhash.Hash]bool)
	for _, s := range c.Transactions() {
		in := c.terms.Value
		switch s.Purpose {
		case ForFunding:
			in = coinSum(c.funds())
		case ForCancel:
			in = coinSum(c.own())
		case ForReclaim:
			in = c.terms.Collateral
		case ForSweep:
			in = c.facts.spend.Client
		}
		out := s.Fee
		for _, p := range s.Pays {
			out += p.Value
		}
		if out != in && !c.recovered() {
			t.Fatalf("%s shows %d sat of %d", s.Purpose, out, in)
		}
		if (s.Standing == Planned) != (s.TxID == chainhash.Hash{}) || (s.Standing == Confirmed) != (s.Height > 0) || ids[s.TxID] {
			t.Fatalf("%s %s is %s at height %d", s.Purpose, s.TxID, s.Standing, s.Height)
		}
		ids[s.TxID] = true
		exit := !slices.Contains([]Purpose{ForFunding, ForCancel, ForSweep, ForReclaim}, s.Purpose)
		if exit && s.Standing == Confirmed {
			confirmed++
		} else if exit && c.facts.spentAt > 0 && s.Standing != Void {
			t.Fatalf("the escrow is spent, and a %s is %s", s.Purpose, s.Standing)
		}
	}
	if spent := c.facts.spentAt > 0; spent != (confirmed == 1) || confirmed > 1 {
		t.Fatalf("%d confirmed spends of an escrow that is %s", confirmed, c.State())
	}
}

// theOne is the only transaction that is shown with that purpose and standing.
func theOne(t *testing.T, c Contract, why Purpose, s Standing) TxShown {
	t.Helper()
	all := slices.DeleteFunc(c.Transactions(), func(x TxShown) bool { return x.Purpose != why || x.Standing != s })
	if len(all) != 1 {
		t.Fatalf("%d of %s are %s: %+v", len(all), why, s, c.Transactions())
	}
	return all[0]
}

func TestShownUntilTheSweep(t *testing.T) {
	w := active(t)
	w.pay(30_000)
	c := w.client.c
	funding := theOne(t, c, ForFunding, Confirmed)
	if funding.TxID != c.funding || funding.Pays[0].To != ToEscrow || funding.Pays[0].Value != c.terms.Value || funding.Height != c.facts.fundedAt {
		t.Fatalf("funding: %+v", funding)
	}
	var fees []usage.Sat
	for _, s := range c.Transactions() {
		if s.Purpose == ForSettlement {
			fees = append(fees, s.Fee)
			if s.Standing != Unpublished || s.Tier != len(fees)-1 || s.Pays[0].To != ToLocked || s.Pays[0].Value != c.terms.Value-c.paid || s.Pays[1].To != ToRelay {
				t.Fatalf("settlement: %+v", s)
			}
		}
	}
	if len(fees) != Tiers || fees[1] <= fees[0] || fees[2] <= fees[1] {
		t.Fatalf("settlements at fees of %d", fees)
	}
	theOne(t, c, ForRefund, Planned)

	w.mineTo(c.terms.SettleFrom() + 1)
	c = w.client.c
	spend := theOne(t, c, ForSettlement, Confirmed)
	if spend.TxID != c.facts.spend.TxID || spend.Fee != fees[spend.Tier] || len(spend.Pays) != 2 {
		t.Fatalf("%+v, the chain has %+v", spend, c.facts.spend)
	}
	w.mine(2)
	sweep := theOne(t, w.client.c, ForSweep, Confirmed)
	if !w.chain.has(sweep.TxID) || sweep.Pays[0].To != ToClient {
		t.Fatalf("sweep: %+v", sweep)
	}
	wantShown(t, w.client.c)
	wantShown(t, w.relay.c)
}

func TestShownCloseAndRefund(t *testing.T) {
	w := active(t)
	c := w.client.c
	w.do(w.client, Close{Amount: c.paid, FeeRate: c.terms.SettleFeeRate, Key: w.client.key, Stamp: w.stamp()})
	half := theOne(t, w.client.c, ForClose, Unpublished)
	w.deliver()
	if full := theOne(t, w.relay.c, ForClose, Published); full.TxID != half.TxID || full.Fee != half.Fee {
		t.Fatalf("the relay publishes %+v, shown was %+v", full, half)
	}
	w.mine(1)
	if done := theOne(t, w.client.c, ForClose, Confirmed); done.TxID != half.TxID {
		t.Fatalf("%+v instead of %+v", done, half)
	}

	w = active(t)
	w.relay.c = Contract{} // the relay is gone for good
	w.mineTo(w.client.c.terms.Expiry + 1)
	if r := theOne(t, w.client.c, ForRefund, Confirmed); !w.chain.has(r.TxID) || r.Pays[0].To != ToClient {
		t.Fatalf("refund: %+v", r)
	}
	wantShown(t, w.client.c)
}
