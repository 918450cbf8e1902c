package store

import (
	"relaymarket/identity"
	"relaymarket/usage"
)

// accountRow is the account of a contract as it is kept. What the log says of itself is read
// from the log's last row.
type accountRow struct {
	AccountTerms
	pledged usage.Quantities
	epoch   uint32 // of the log
	rows    uint64 // size of the log
	reports uint64 // number of the last report
	grants  uint64 // how many were kept
}

func (a accountRow) encode() []byte {
	w := newWriter(240).fixed(a.Contract[:]).fixed(a.Payer[:]).fixed(a.Terms[:])
	w.u(uint64(a.Prices.StorageMsatPerGiBDay)).u(uint64(a.Prices.EgressMsatPerGiB))
	w.u(uint64(a.ContractPrice)).u(uint64(a.Value)).u(uint64(a.Credit)).u(uint64(a.Paid))
	w.u(uint64(a.ServiceUntil)).u(uint64(a.Expiry)).u(uint64(a.State))
	w.u(a.pledged.ByteSeconds.Hi).u(a.pledged.ByteSeconds.Lo).u(a.pledged.Egress)
	w.u(uint64(a.epoch)).u(a.rows).u(a.reports)
	if a.Final != 0 || !a.Closing.IsZero() || a.grants > 0 {
		w.u(uint64(a.Final)).fixed(a.Closing[:])
	}
	if a.grants > 0 {
		w.u(a.grants)
	}
	return w.b
}

func decodeAccountRow(b []byte) (accountRow, error) {
	var a accountRow
	r := newReader(b)
	r.fixed(a.Contract[:])
	r.fixed(a.Payer[:])
	r.fixed(a.Terms[:])
	a.Prices = usage.Prices{StorageMsatPerGiBDay: usage.Msat(r.u()), EgressMsatPerGiB: usage.Msat(r.u())}
	a.ContractPrice, a.Value, a.Credit, a.Paid = usage.Sat(r.u()), usage.Sat(r.u()), usage.Sat(r.u()), usage.Sat(r.u())
	a.ServiceUntil, a.Expiry, a.State = identity.UnixMilli(r.u()), usage.Height(r.u()), AccountState(r.u())
	a.pledged.ByteSeconds.Hi, a.pledged.ByteSeconds.Lo, a.pledged.Egress = r.u(), r.u(), r.u()
	a.epoch, a.rows, a.reports = uint32(r.u()), r.u(), r.u()
	if len(r.b) > 0 {
		a.Final = usage.Sat(r.u())
		r.fixed(a.Closing[:])
	}
	if len(r.b) > 0 {
		a.grants = r.u()
	}
	return a, r.end("an account")
}

// encode is a pending effect without its number, which is the key.
func (p Pending) encode() []byte {
	return newWriter(64 + len(p.Data)).fixed(p.Nonce[:]).fixed(p.To[:]).fixed(p.Data).b
}

func decodePending(seq uint64, b []byte) (Pending, error) {
	p := Pending{Seq: seq}
	r := newReader(b)
	r.fixed(p.Nonce[:])
	r.fixed(p.To[:])
	p.Data = r.take(uint64(len(r.b)))
	return p, r.end("a pending effect")
}

func (o BoardOffer) encode() []byte {
	return newWriter(16 + len(o.Offer)).u(uint64(o.Expires)).fixed(o.Offer).b
}

func decodeBoardOffer(key identity.PublicKey, b []byte) (BoardOffer, error) {
	r := newReader(b)
	o := BoardOffer{Key: key, Expires: identity.UnixMilli(r.u())}
	o.Offer = r.take(uint64(len(r.b)))
	return o, r.end("a board offer")
}

// clock is how far time has come by the last commits. It is written when it has moved by
// clockStep, so that the truth is less than that ahead.
type clock struct {
	ceiling usage.Arrival      // no arrival above it was ever given
	ms      identity.UnixMilli // the clock at a commit
}

func (c clock) encode() []byte { return newWriter(20).u(uint64(c.ceiling)).u(uint64(c.ms)).b }

func decodeClock(b []byte) (clock, error) {
	if b == nil {
		return clock{}, nil
	}
	r := newReader(b)
	c := clock{usage.Arrival(r.u()), identity.UnixMilli(r.u())}
	return c, r.end("the clock")
}
