package evidence

import (
	"testing"

	"relaymarket/identity"
	"relaymarket/usage"
)

// input is what the client of a world has before it.
func (w *world) input(refused ...uint64) Input {
	in := Input{Report: w.reports[len(w.reports)-1], Terms: must(w.terms.Encode())(w.t), Headers: map[identity.Digest]identity.Signed{}}
	in.Others = w.reports[:len(w.reports)-1]
	for _, l := range w.leaves {
		in.Rows = append(in.Rows, usage.RowEntry{Row: l})
	}
	orders := map[identity.Digest]*usage.HeldOrder{}
	for _, k := range w.kept {
		in.Headers[k.record.Digest()] = k.header
		o := orders[k.receipt.Order]
		if o == nil {
			o = &usage.HeldOrder{Order: k.order, Receipt: k.receipt.Signed()}
			orders[k.receipt.Order] = o
		}
		o.Records = append(o.Records, usage.RecordFacts{Digest: k.record.Digest()})
	}
	for _, o := range orders {
		in.Orders = append(in.Orders, *o)
	}
	in.Deleted = w.said[identity.TypeDeleteReceipt]
	for _, s := range w.said[identity.TypeDenial] {
		d := must(usage.DecodeDenial(s.Statement))(w.t)
		for _, q := range w.said[identity.TypeReadRequest] {
			if digestOf(q) == d.Request {
				in.Asked = append(in.Asked, Asked{q, s})
			}
		}
	}
	in.Named = append(w.said[identity.TypeContractNotice], w.said[identity.TypeDelete]...)
	in.Named = append(in.Named, w.said[identity.TypeAcknowledgement]...)
	for _, i := range refused {
		in.Refused = append(in.Refused, usage.Refusal{Index: i})
	}
	return in
}

// allRows suspects every row.
func (w *world) allRows() []uint64 {
	out := make([]uint64, len(w.leaves))
	for i := range out {
		out[i] = uint64(i)
	}
	return out
}

// unfindable are stories whose papers no audit of a contract has before it, or that it cannot tell from
// what the proof needs beside. Who challenges proves at once.
var unfindable = map[Class]bool{TwoOffers: true, TwoUpdates: true, DishonouredOffer: true, FalseReceipt: true, LostChallenged: true, FalseProof: true}

var notHeld = map[string]bool{
	"an order by a grant for somebody else": true, "suspended although it is free": true, "two rows at one place": true,
	"another row than the receipt names": true, "a read after the relay's delete receipt": true,
	"another row than the receipt of a grant's account names": true, "purged although it was free, until it was stored again": true,
}

// TestFindMakesTheProofs: from what a client has, Find makes a proof of the class of every story, and none
// of that class from its twin.
func TestFindMakesTheProofs(t *testing.T) {
	for _, s := range allStories() {
		if unfindable[s.class] || notHeld[s.name] {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			for _, fraud := range []bool{true, false} {
				w := newWorld(t)
				s.tell(w, fraud)
				if len(w.reports) == 0 {
					w.report()
				}
				found := false
				for _, f := range Find(w.input(w.allRows()...)) {
					found = found || f.Finding.Class == s.class
					raw := must(f.Proof.Encode())(t)
					if again := must(VerifyFile(raw))(t); again.Class != f.Finding.Class {
						t.Fatal("the file proves something else")
					}
				}
				if found != fraud {
					t.Errorf("fraud %v, found %v", fraud, found)
				}
			}
		})
	}
}
