package store

import (
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// signed writes a statement with its proof; zero is empty.
func (w *writer) signed(s identity.Signed) *writer {
	if s.IsZero() {
		return w.u(0)
	}
	return w.bytes(s.Bytes())
}

// signed reads a statement with its proof.
func (r *reader) signed() identity.Signed {
	b := r.bytes()
	if len(b) == 0 {
		return identity.Signed{}
	}
	s, err := identity.ParseSigned(b)
	if err != nil {
		r.bad = true
	}
	return s
}

func (w *writer) digests(ds []identity.Digest) *writer {
	w.u(uint64(len(ds)))
	for _, d := range ds {
		w.fixed(d[:])
	}
	return w
}

func (r *reader) digests() []identity.Digest {
	n := r.u()
	if n > uint64(len(r.b))/32 {
		r.bad, n = true, 0
	}
	out := make([]identity.Digest, n)
	for i := range out {
		r.fixed(out[i][:])
	}
	return out
}

func (w *writer) flag(b bool) *writer {
	if b {
		return w.u(1)
	}
	return w.u(0)
}

func (r *reader) flag() bool {
	v := r.u()
	r.bad = r.bad || v > 1
	return v == 1
}

func (r *reader) time() identity.UnixMilli { return identity.UnixMilli(r.u()) }

// header reads the signed header of a record.
func (r *reader) header() (identity.Signed, records.Header) {
	s := r.signed()
	h, err := records.DecodeHeader(s.Statement)
	if err != nil {
		r.bad = true
	}
	return s, h
}

// sentRow is a Sent with the epoch that it was sealed in.
type sentRow struct {
	Sent
	epoch records.EpochID
}

func (v sentRow) encode() []byte {
	w := newWriter(1024).signed(v.Signed).u(v.Seq).u(uint64(v.Kind)).u(v.Sequence).u(uint64(v.Saved)).digests(v.Orders)
	w.u(uint64(v.Stored)).u(uint64(v.Acked)).u(uint64(v.Verdict)).u(uint64(v.Deleted))
	return w.flag(v.HasPlain).fixed(v.epoch[:]).b
}

func decodeSent(record identity.Digest, b []byte) (sentRow, error) {
	var v sentRow
	r := newReader(b)
	v.Digest = record
	v.Signed, v.Header = r.header()
	v.Seq, v.Kind, v.Sequence, v.Saved, v.Orders = r.u(), Kind(r.u()), r.u(), r.time(), r.digests()
	v.Stored, v.Acked, v.Verdict, v.Deleted = r.time(), r.time(), usage.Verdict(r.u()), r.time()
	v.HasPlain = r.flag()
	r.fixed(v.epoch[:])
	return v, r.end("a sent record")
}

// facts is what billing needs to know of the record.
func (v sentRow) facts() usage.RecordFacts {
	return usage.RecordFacts{
		Digest: v.Digest, Sender: v.Header.From, Receiver: v.Header.To,
		Stored: uint64(len(v.Signed.Statement)) + uint64(v.Header.ContentLen),
		Expiry: v.Header.Expiry(), MaxPulls: v.Header.MaxPulls, DeleteOnAck: v.Header.DeleteOnAck(),
	}
}

// orderRow is an order with what became of it.
type orderRow struct {
	seq     uint64
	state   OrderState
	order   identity.Signed
	receipt identity.Signed
	records []identity.Digest
	created identity.UnixMilli
	tries   uint64
	lastTry identity.UnixMilli
	fault   code.Code
	text    string
}

func (v orderRow) encode() []byte {
	w := newWriter(2048).u(v.seq).u(uint64(v.state)).signed(v.order).signed(v.receipt).digests(v.records)
	w.u(uint64(v.created)).u(v.tries).u(uint64(v.lastTry)).u(uint64(v.fault))
	return w.bytes([]byte(v.text)).b
}

func decodeOrder(b []byte) (orderRow, error) {
	r := newReader(b)
	v := orderRow{seq: r.u(), state: OrderState(r.u()), order: r.signed(), receipt: r.signed(), records: r.digests()}
	v.created, v.tries, v.lastTry, v.fault, v.text = r.time(), r.u(), r.time(), code.Code(r.u()), string(r.bytes())
	return v, r.end("an order")
}

// waits tells whether the order still has to be sent.
func (v orderRow) waits() bool { return v.state == OrderQueued || v.state == OrderSent }

func (v Received) encode() []byte {
	w := newWriter(1024).signed(v.Signed).u(v.Seq).u(uint64(v.Kind)).fixed(v.Relay[:]).u(uint64(v.Arrival)).u(uint64(v.Home))
	w.u(uint64(v.Verdict)).flag(v.Opened).u(v.Sequence).u(uint64(v.Place)).u(uint64(v.Saved))
	return w.flag(v.Read).flag(v.HasPlain).flag(v.HasSealed).b
}

func decodeReceived(record identity.Digest, b []byte) (Received, error) {
	v := Received{Digest: record}
	r := newReader(b)
	v.Signed, v.Header = r.header()
	v.Seq, v.Kind = r.u(), Kind(r.u())
	r.fixed(v.Relay[:])
	v.Arrival, v.Home, v.Verdict, v.Opened = usage.Arrival(r.u()), Shard(r.u()), usage.Verdict(r.u()), r.flag()
	v.Sequence, v.Place, v.Saved = r.u(), records.Place(r.u()), r.time()
	v.Read, v.HasPlain, v.HasSealed = r.flag(), r.flag(), r.flag()
	return v, r.end("a received record")
}

func (v Cursor) encode() []byte { return newWriter(32).u(uint64(v.Through)).fixed(v.StoreEpoch[:]).b }

func decodeCursor(b []byte) (Cursor, error) {
	if b == nil {
		return Cursor{}, nil
	}
	r := newReader(b)
	v := Cursor{Through: usage.Arrival(r.u())}
	r.fixed(v.StoreEpoch[:])
	return v, r.end("a cursor")
}

func (v Request) encode() []byte { return newWriter(512).u(uint64(v.Home)).signed(v.Signed).b }

func decodeRequest(b []byte) (Request, error) {
	r := newReader(b)
	v := Request{Home: Shard(r.u()), Signed: r.signed()}
	return v, r.end("a read request")
}

func (v PendingStatement) encode() []byte {
	return newWriter(512).u(uint64(v.Home)).u(uint64(v.Saved)).fixed(v.Record[:]).signed(v.Signed).b
}

func decodePendingStatement(b []byte) (PendingStatement, error) {
	r := newReader(b)
	v := PendingStatement{Home: Shard(r.u()), Saved: r.time()}
	r.fixed(v.Record[:])
	v.Signed = r.signed()
	return v, r.end("a pending statement")
}

func (v Contact) encode() []byte {
	w := newWriter(4096).bytes([]byte(v.Label)).signed(v.Document).u(v.Sequence).fixed(v.Digest[:])
	return w.u(uint64(v.Checked)).u(uint64(v.Added)).flag(v.Conflict).b
}

func decodeContact(key identity.PublicKey, b []byte) (Contact, error) {
	r := newReader(b)
	v := Contact{Key: key, Label: string(r.bytes()), Document: r.signed(), Sequence: r.u()}
	r.fixed(v.Digest[:])
	v.Checked, v.Added, v.Conflict = r.time(), r.time(), r.flag()
	return v, r.end("a contact")
}

func (v Payment) encode() []byte {
	return newWriter(64).u(uint64(v.Cumulative)).u(uint64(v.Added)).u(uint64(v.Time)).fixed(v.Report[:]).b
}

func decodePayment(id usage.ContractID, b []byte) (Payment, error) {
	r := newReader(b)
	v := Payment{Contract: id, Cumulative: usage.Sat(r.u()), Added: usage.Sat(r.u()), Time: r.time()}
	r.fixed(v.Report[:])
	return v, r.end("a payment")
}

func (v Budget) encode() []byte {
	return newWriter(40).u(uint64(v.Limit)).u(uint64(v.Period)).u(uint64(v.Start)).u(uint64(v.Spent)).b
}

func decodeBudget(b []byte) (Budget, error) {
	if b == nil {
		return Budget{}, nil
	}
	r := newReader(b)
	v := Budget{Limit: usage.Sat(r.u()), Period: r.time(), Start: r.time(), Spent: usage.Sat(r.u())}
	return v, r.end("the budget")
}

func (v SeenOffer) encode() []byte { return newWriter(2048).u(uint64(v.Seen)).signed(v.Offer).b }

func decodeSeenOffer(relay identity.PublicKey, b []byte) (SeenOffer, error) {
	r := newReader(b)
	v := SeenOffer{Relay: relay, Seen: r.time(), Offer: r.signed()}
	return v, r.end("an offer")
}

func (v Evidence) encode() []byte {
	w := newWriter(128 + len(v.Bytes)).fixed(v.Relay[:]).fixed(v.Contract[:]).u(uint64(v.Saved))
	return w.bytes([]byte(v.Name)).bytes(v.Bytes).b
}

func decodeEvidence(digest identity.Digest, b []byte) (Evidence, error) {
	v := Evidence{Digest: digest}
	r := newReader(b)
	r.fixed(v.Relay[:])
	r.fixed(v.Contract[:])
	v.Saved, v.Name, v.Bytes = r.time(), string(r.bytes()), r.bytes()
	return v, r.end("evidence")
}
