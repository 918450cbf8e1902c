package usage

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

func TestCoverOrder(t *testing.T) {
	s := newSim(t)
	records := []RecordFacts{s.facts("client", "bob", 1000, simDay, 2, false), s.facts("client", "bob", 2000, simHour, 1, false)}
	good := s.order(records)
	worst, cost, err := CoverOrder(good, records, simPrices, s.now, simUntil)
	want := Quantities{Mul64(1256*Day+2256*3600, 1), 4000}
	if err != nil || worst != want {
		t.Fatal(worst, err)
	}
	for name, c := range map[string]struct {
		want   code.Code
		change func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli)
	}{
		"exactly enough":      {code.OK, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { o.MaxMsat = cost }},
		"one msat too little": {code.OrderMismatch, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { o.MaxMsat = cost - 1 }},
		"bytes too little":    {code.OrderMismatch, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { o.TotalBytes-- }},
		"bytes too many":      {code.OrderMismatch, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { o.TotalBytes++ }},
		"one record missing":  {code.OrderMismatch, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { *r = (*r)[:1] }},
		"another order of them": {code.OrderMismatch, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) {
			*r = []RecordFacts{(*r)[1], (*r)[0]}
		}},
		"one twice": {code.OrderMismatch, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) {
			*r = []RecordFacts{(*r)[0], (*r)[0]}
		}},
		"one twice, and signed so": {code.OrderMismatch, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) {
			*r = []RecordFacts{(*r)[0], (*r)[0]}
			o.Root, o.TotalBytes = identity.Root([]identity.Digest{(*r)[0].Digest, (*r)[0].Digest}), 2*(*r)[0].Billable()
		}},
		"on the last moment": {code.OK, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { *at = o.NotAfter }},
		"past its time":      {code.Expired, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { *at = o.NotAfter + 1 }},
		"past the service":   {code.Expired, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { *until = *at }},
		"beyond all measure": {code.BadAmount, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) {
			(*r)[0].Stored, (*r)[1].Stored, (*r)[0].Expiry, *until, o.TotalBytes = maxStored, 0, math.MaxUint64, math.MaxUint64, maxStored+2*RecordOverhead
		}},
		"beyond all limits": {code.TooLarge, func(o *StoreOrder, r *[]RecordFacts, at, until *identity.UnixMilli) { (*r)[0].Stored = math.MaxUint64 }},
	} {
		o, r, at, until := good, append([]RecordFacts(nil), records...), s.now, simUntil
		c.change(&o, &r, &at, &until)
		_, _, err := CoverOrder(o, r, simPrices, at, until)
		if code.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A payer who reckons with the earliest acceptance always orders enough.
func TestOrderMadeEarlyCoversLaterAcceptance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t)
		f := s.facts("client", "bob", rapid.Uint64Range(0, 1<<20).Draw(t, "stored"), identity.UnixMilli(rapid.Uint64Range(uint64(simHour), uint64(simDay)).Draw(t, "ttl")), 3, false)
		early, err := OrderWorst([]RecordFacts{f}, s.now-AcceptAhead, simUntil)
		s.must(err)
		late, err := OrderWorst([]RecordFacts{f}, s.now-AcceptAhead+identity.UnixMilli(rapid.Uint64Range(0, uint64(2*AcceptAhead)).Draw(t, "later")), simUntil)
		s.must(err)
		if early.ByteSeconds.Less(late.ByteSeconds) || early.Egress != late.Egress {
			t.Fatal(early, late)
		}
	})
}

func TestReceiptAnswersItsOrder(t *testing.T) {
	s, k := small(t)
	o, err := OpenStoreOrder(s.in.Orders[0].Order)
	s.must(err)
	good := k[0].receipt.Receipt
	if err := good.Answers(o); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *Receipt){
		"another relay":    func(r *Receipt) { r.From[0] ^= 1 },
		"another payer":    func(r *Receipt) { r.To[0] ^= 1 },
		"another network":  func(r *Receipt) { r.Network = identity.Mainnet },
		"another order":    func(r *Receipt) { r.Order[0] ^= 1 },
		"another contract": func(r *Receipt) { r.Contract[0] ^= 1 },
		"other terms":      func(r *Receipt) { r.Terms[0] ^= 1 },
		"fewer bytes":      func(r *Receipt) { r.StoredBytes-- },
		"later":            func(r *Receipt) { r.AcceptedMs = o.NotAfter + 1 },
	} {
		r := good
		change(&r)
		if code.Of(r.Answers(o)) != code.Conflict {
			t.Error(name)
		}
	}
	o.MaxMsat = good.WorstMsat - 1
	if code.Of(good.Answers(o)) != code.Conflict {
		t.Error("dearer than ordered")
	}
}

func TestDenialAnswersItsRequest(t *testing.T) {
	s, k := small(t)
	q, err := OpenReadRequest(s.request(k[0]))
	s.must(err)
	good := Denial{Header: s.header("relay", "bob"), Request: q.Digest(), Record: q.Record, Reason: ReasonNone}
	if err := good.Answers(q); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(d *Denial){
		"another relay":   func(d *Denial) { d.From[0] ^= 1 },
		"to another":      func(d *Denial) { d.To[0] ^= 1 },
		"another network": func(d *Denial) { d.Network = identity.Mainnet },
		"another request": func(d *Denial) { d.Request[0] ^= 1 },
		"another record":  func(d *Denial) { d.Record[0] ^= 1 },
	} {
		d := good
		change(&d)
		if code.Of(d.Answers(q)) != code.Conflict {
			t.Error(name)
		}
	}
}

func TestFunds(t *testing.T) {
	for name, c := range map[string]struct {
		a    Account
		want Msat
	}{
		"paid and credit":             {Account{Paid: 500, ContractPrice: 100, CreditLimit: 50, Value: 10_000}, 450_000},
		"never beyond the deposit":    {Account{Paid: 500, ContractPrice: 100, CreditLimit: 50, Value: 520}, 420_000},
		"the price comes first":       {Account{Paid: 100, ContractPrice: 100, Value: 520}, 0},
		"less than the price is none": {Account{Paid: 10, ContractPrice: 100, CreditLimit: 50, Value: 520}, 0},
		"sums that are too large":     {Account{Paid: math.MaxUint64, CreditLimit: math.MaxUint64, Value: 520}, 520_000},
		"nothing":                     {Account{}, 0},
	} {
		if got := c.a.Funds(); got != c.want {
			t.Errorf("%s: %d msat", name, got)
		}
	}
}

func TestAccountRefuses(t *testing.T) {
	a := Account{Paid: 3, Value: 100, Prices: Prices{EgressMsatPerGiB: GiB}} // 1 msat per byte
	a, err := a.Reserve(Quantities{Egress: 3000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Reserve(Quantities{Egress: 1}); code.Of(err) != code.NoFunds {
		t.Error("beyond the funds", err)
	}
	if err := a.CanAccept(Quantities{Egress: math.MaxUint64}); code.Of(err) != code.NoFunds {
		t.Error("beyond all measure", err)
	}
	if (Account{Prices: Prices{EgressMsatPerGiB: 1}}).CanAccept(Quantities{Egress: 1}) == nil {
		t.Error("what costs a fraction is not free")
	}
	if _, err := a.Spend(Quantities{}, Quantities{Egress: 3001}); code.Of(err) != code.Internal {
		t.Error("more than pledged", err)
	}
	if _, err := a.Spend(Quantities{Egress: 1}, Quantities{}); code.Of(err) != code.Internal {
		t.Error("the log went back", err)
	}
	if _, err := a.Close(Quantities{Egress: 3001}); code.Of(err) != code.Internal {
		t.Error("more than pledged is released", err)
	}
	b, err := a.Spend(Quantities{Egress: 5}, Quantities{Egress: 1005})
	if err != nil {
		t.Fatal(err)
	}
	owed, _ := b.Owed()
	reserved, _ := b.Reserved()
	if owed != 1000 || reserved != 2000 {
		t.Error(owed, reserved)
	}
	for final, want := range map[Sat]bool{0: false, 2: false, 3: true, math.MaxUint64: false} {
		if b.Covered(final) != want {
			t.Errorf("%d sat cover 3000 msat: %v", final, !want)
		}
	}
	if b, err = b.Close(Quantities{Egress: 2000}); !b.Covered(1) || b.Covered(0) {
		t.Error("what is released need not be paid")
	}
	if err != nil || b.CanAccept(Quantities{Egress: 2000}) != nil {
		t.Error("what is released can be ordered again", err)
	}
	if _, err := Rest(RecordFacts{Expiry: simDay}, 0, 2*simDay, simUntil, 0); !errors.Is(err, ErrOverflow) {
		t.Error("closed after the end of custody", err)
	}
}
