package store

import (
	"encoding/binary"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// Values are written by hand and not as TLV: they never leave the house, there are several per
// record, and each begins with its version so that a later format can tell.
const valueVersion = 1

// writer builds a value.
type writer struct{ b []byte }

func newWriter(size int) *writer { return &writer{append(make([]byte, 0, size+1), valueVersion)} }

func (w *writer) u(v uint64) *writer {
	w.b = binary.AppendUvarint(w.b, v)
	return w
}

func (w *writer) fixed(v []byte) *writer {
	w.b = append(w.b, v...)
	return w
}

func (w *writer) bytes(v []byte) *writer {
	w.u(uint64(len(v)))
	return w.fixed(v)
}

// reader takes a value apart. The first fault sticks; end reports it.
type reader struct {
	b   []byte
	bad bool
}

func newReader(b []byte) *reader {
	if len(b) < 1 || b[0] != valueVersion {
		return &reader{bad: true}
	}
	return &reader{b: b[1:]}
}

func (r *reader) u() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// take cuts n bytes off; they alias the value.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) fixed(dst []byte) {
	if v := r.take(uint64(len(dst))); v != nil {
		copy(dst, v)
	}
}

func (r *reader) bytes() []byte { return r.take(r.u()) }

func (r *reader) end(what string) error {
	if r.bad || len(r.b) > 0 {
		return corrupt("%s does not read back", what)
	}
	return nil
}

// placeValue is where a digest leads; the home shard is that of the key.
func placeValue(p place) []byte {
	return newWriter(12).u(uint64(p.bucket)).u(uint64(p.arrival)).b
}

func decodePlace(home uint8, b []byte) (place, error) {
	r := newReader(b)
	p := place{home, Bucket(r.u()), usage.Arrival(r.u())}
	return p, r.end("a place")
}

// claim is what stands at a path: where the record that took it is. If that is in another
// shard, it also says which record and until when, because the record's own row may not be
// there yet, or never; and, once its tombstone has outlived its custody, that it was deleted.
type claim struct {
	place   place
	digest  identity.Digest    // zero in the home shard
	end     identity.UnixMilli // 0 in the home shard
	deleted bool               // false in the home shard
}

func (c claim) encode() []byte {
	w := newWriter(59).u(uint64(c.place.bucket)).u(uint64(c.place.arrival))
	if !c.digest.IsZero() {
		w.fixed([]byte{c.place.home}).fixed(c.digest[:]).u(uint64(c.end))
	}
	if c.deleted {
		w.u(1)
	}
	return w.b
}

func decodeClaim(shard uint8, b []byte) (claim, error) {
	r := newReader(b)
	c := claim{place: place{shard, Bucket(r.u()), usage.Arrival(r.u())}}
	if len(r.b) > 0 {
		home := [1]byte{}
		r.fixed(home[:])
		c.place.home = home[0]
		r.fixed(c.digest[:])
		c.end = identity.UnixMilli(r.u())
	}
	if len(r.b) > 0 {
		c.deleted = r.u() == 1
	}
	return c, r.end("a path")
}

// recordRow is a stored record without its content, and after its deletion the tombstone.
type recordRow struct {
	contract    usage.ContractID // zero: the free allowance
	receipt     identity.Digest
	order       identity.Digest
	orderBucket Bucket // where the order's receipt is
	accepted    identity.UnixMilli
	end         identity.UnixMilli // of custody
	header      []byte             // identity.Signed bytes
	deleted     []byte             // identity.Signed bytes of what deleted it; empty while live
	answer      []byte             // body of the delete receipt
	grantedBy   identity.Digest    // the grant by which it was ordered; zero: its payer's own
}

func (v recordRow) encode() []byte {
	w := newWriter(128 + len(v.header) + len(v.deleted) + len(v.answer))
	w.fixed(v.contract[:]).fixed(v.receipt[:]).fixed(v.order[:]).u(uint64(v.orderBucket))
	w.u(uint64(v.accepted)).u(uint64(v.end)).bytes(v.header)
	if len(v.deleted) > 0 || !v.grantedBy.IsZero() {
		w.bytes(v.deleted).bytes(v.answer)
	}
	if !v.grantedBy.IsZero() {
		w.fixed(v.grantedBy[:])
	}
	return w.b
}

func decodeRecordRow(b []byte) (recordRow, error) {
	var v recordRow
	r := newReader(b)
	r.fixed(v.contract[:])
	r.fixed(v.receipt[:])
	r.fixed(v.order[:])
	v.orderBucket = Bucket(r.u())
	v.accepted, v.end, v.header = identity.UnixMilli(r.u()), identity.UnixMilli(r.u()), r.bytes()
	if len(r.b) > 0 {
		v.deleted, v.answer = r.bytes(), r.bytes()
	}
	if len(r.b) > 0 {
		r.fixed(v.grantedBy[:])
	}
	return v, r.end("a record")
}

// stored is a record row with its header read.
type stored struct {
	recordRow
	records.Header
	place  place
	signed identity.Signed
	digest identity.Digest
}

func openStored(p place, b []byte) (stored, error) {
	row, err := decodeRecordRow(b)
	if err != nil {
		return stored{}, err
	}
	s := stored{recordRow: row, place: p}
	if s.signed, err = identity.ParseSigned(row.header); err == nil {
		s.Header, err = records.DecodeHeader(s.signed.Statement)
	}
	s.digest = identity.StatementDigest(identity.TypeRecord, s.signed.Statement)
	return s, code.Wrap(code.StoreCorrupt, err, "the header of a record")
}

// size is header and content in bytes: the egress of one pull.
func (s stored) size() uint64 { return uint64(len(s.signed.Statement)) + uint64(s.ContentLen) }

// facts is what billing knows of the record. Its end of custody stands for its expiry.
func (s stored) facts() usage.RecordFacts {
	return usage.RecordFacts{
		Digest: s.digest, Sender: s.From, Receiver: s.To, Stored: s.size(),
		Expiry: s.end, MaxPulls: s.MaxPulls, DeleteOnAck: s.DeleteOnAck(),
	}
}

// takes tells until when the record takes its path: to the end of its custody, and once it was
// deleted to its own expiry.
func (s stored) takes() identity.UnixMilli {
	if len(s.deleted) > 0 {
		return s.Expiry()
	}
	return s.end
}

// live tells whether the record can still be read and listed.
func (s stored) live(now identity.UnixMilli) bool { return len(s.deleted) == 0 && now < s.end }

// docRow is a kept Identity document.
type docRow struct {
	sequence uint64
	devices  uint8
	expires  identity.UnixMilli
	digest   identity.Digest
	signed   []byte // identity.Signed bytes
}

func (d docRow) encode() []byte {
	w := newWriter(64 + len(d.signed)).u(d.sequence).u(uint64(d.devices)).u(uint64(d.expires))
	return w.fixed(d.digest[:]).bytes(d.signed).b
}

func decodeDocRow(b []byte) (docRow, error) {
	r := newReader(b)
	d := docRow{sequence: r.u(), devices: uint8(r.u()), expires: identity.UnixMilli(r.u())}
	r.fixed(d.digest[:])
	d.signed = r.bytes()
	return d, r.end("an identity document")
}

// due is what is left of one receipt's records with one end of custody.
type due struct {
	accepted identity.UnixMilli
	live     uint64          // billable bytes still kept
	egress   uint64          // bytes of the pulls that are left
	grant    identity.Digest // of the receipt's order
}

func (d due) encode() []byte {
	w := newWriter(56).u(uint64(d.accepted)).u(d.live).u(d.egress)
	if !d.grant.IsZero() {
		w.fixed(d.grant[:])
	}
	return w.b
}

func decodeDue(b []byte) (due, error) {
	r := newReader(b)
	d := due{accepted: identity.UnixMilli(r.u()), live: r.u(), egress: r.u()}
	if len(r.b) > 0 {
		r.fixed(d.grant[:])
	}
	return d, r.end("a due entry")
}

// answered is how a request was answered: with a denial, or with the record.
type answered struct {
	denial []byte // body; empty if the record was granted
	record identity.Digest
	place  place
	served uint64 // bytes granted in all, for the bound on repetitions
}

func (a answered) encode() []byte {
	w := newWriter(64 + len(a.denial)).bytes(a.denial).fixed(a.record[:]).fixed([]byte{a.place.home})
	return w.u(uint64(a.place.bucket)).u(uint64(a.place.arrival)).u(a.served).b
}

func decodeAnswered(b []byte) (answered, error) {
	var a answered
	var home [1]byte
	r := newReader(b)
	a.denial = r.bytes()
	r.fixed(a.record[:])
	r.fixed(home[:])
	a.place = place{home[0], Bucket(r.u()), usage.Arrival(r.u())}
	a.served = r.u()
	return a, r.end("a request")
}

// number is a value that is one integer: pulls used, the row of a pull, free bytes, counters.
func number(v uint64) []byte { return newWriter(10).u(v).b }

// decodeNumber reads it; a missing one is 0.
func decodeNumber(b []byte) (uint64, error) {
	if b == nil {
		return 0, nil
	}
	r := newReader(b)
	v := r.u()
	return v, r.end("a number")
}
