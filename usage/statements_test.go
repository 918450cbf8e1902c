package usage

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"relaymarket/identity"
	"relaymarket/internal/code"
)

// kind is one statement type, for tests that hold for all of them.
type kind struct {
	name   string
	draw   func(t *rapid.T) any
	encode func(v any) ([]byte, error)
	decode func(raw []byte) (any, error)
	open   func(s identity.Signed) (any, identity.Digest, error)
	openV  func(s identity.Signed, v identity.Verdict) (any, identity.Digest, error)
}

// kindOf builds a kind out of a type's own functions.
func kindOf[B interface{ Encode() ([]byte, error) }, V interface{ Digest() identity.Digest }](
	name string, draw func(t *rapid.T) B, decode func([]byte) (B, error), open func(identity.Signed) (V, error),
	openV func(identity.Signed, identity.Verdict) (V, error), body func(V) B,
) kind {
	return kind{
		name: name,
		draw: func(t *rapid.T) any { return draw(t) },
		encode: func(v any) ([]byte, error) {
			return v.(B).Encode()
		},
		decode: func(raw []byte) (any, error) { return decode(raw) },
		open: func(s identity.Signed) (any, identity.Digest, error) {
			v, err := open(s)
			return body(v), v.Digest(), err
		},
		openV: func(s identity.Signed, d identity.Verdict) (any, identity.Digest, error) {
			v, err := openV(s, d)
			return body(v), v.Digest(), err
		},
	}
}

func drawDigest(t *rapid.T, label string) identity.Digest {
	return identity.Digest(rapid.SliceOfN(rapid.ByteRange(1, 255), 32, 32).Draw(t, label))
}

func drawHeader(t *rapid.T, ty identity.Type) identity.Header {
	return identity.Header{
		Type: ty, Network: testNet, From: testKey("relay").Public(), To: testKey("client").Public(),
		Time: identity.UnixMilli(rapid.Uint64Range(0, 1<<50).Draw(t, "time")), Serial: identity.Serial(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "serial")),
	}
}

func drawContract(t *rapid.T) (ContractID, identity.Digest) {
	if rapid.Bool().Draw(t, "free") {
		return ContractID{}, identity.Digest{}
	}
	return ContractID(drawDigest(t, "contract")), drawDigest(t, "terms")
}

func drawDigests(t *rapid.T, label string, max int) []identity.Digest {
	var out []identity.Digest
	for range rapid.IntRange(0, max).Draw(t, label) {
		out = append(out, drawDigest(t, label))
	}
	return out
}

func u64(t *rapid.T, label string) uint64 { return rapid.Uint64().Draw(t, label) }

func drawOrder(t *rapid.T) StoreOrder {
	c, terms := drawContract(t)
	return StoreOrder{
		drawHeader(t, identity.TypeStoreOrder), c, terms, rapid.Uint16Range(1, MaxOrderRecords).Draw(t, "n"), drawDigest(t, "root"),
		u64(t, "bytes"), Msat(u64(t, "msat")), identity.UnixMilli(u64(t, "not after")), drawGrantOf(t, c),
	}
}

// drawGrantOf is a grant, or none; the free allowance has none.
func drawGrantOf(t *rapid.T, c ContractID) identity.Digest {
	if c.IsZero() || rapid.Bool().Draw(t, "own") {
		return identity.Digest{}
	}
	return drawDigest(t, "grant")
}

func drawGrant(t *rapid.T) AccountGrant {
	from := rapid.Uint32Range(0, 1<<31).Draw(t, "from")
	price := func(label string) Msat { return Msat(rapid.Uint64Range(0, uint64(MaxPrice)).Draw(t, label)) }
	sum := func(label string) Msat { return Msat(rapid.Uint64Min(1).Draw(t, label)) }
	return AccountGrant{
		drawHeader(t, identity.TypeAccountGrant), ContractID(drawDigest(t, "contract")), testKey("friend").Public(), drawDigest(t, "terms"),
		Prices{price("storage"), price("egress")}, sum("cap"), sum("day"), Height(from), Height(from + rapid.Uint32Range(0, 1<<20).Draw(t, "life")),
	}
}

func drawRevoke(t *rapid.T) AccountRevoke {
	return AccountRevoke{drawHeader(t, identity.TypeAccountRevoke), drawDigest(t, "grant")}
}

func drawGrantReceipt(t *rapid.T) GrantReceipt {
	return GrantReceipt{
		drawHeader(t, identity.TypeGrantReceipt), drawDigest(t, "order"), drawDigest(t, "grant"), ContractID(drawDigest(t, "contract")),
		rapid.Uint32().Draw(t, "epoch"), u64(t, "row"),
	}
}

func drawReceipt(t *rapid.T) Receipt {
	c, terms := drawContract(t)
	r := Receipt{
		drawHeader(t, identity.TypeReceipt), drawDigest(t, "order"), u64(t, "bytes"), Arrival(u64(t, "arrival")), identity.UnixMilli(u64(t, "accepted")),
		identity.UnixMilli(u64(t, "until")), Msat(u64(t, "worst")), c, rapid.Uint32().Draw(t, "epoch"), u64(t, "row"), terms,
		[16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "store")), rapid.Uint16().Draw(t, "shard"),
	}
	r.Serial = ReceiptSerial(r.Order)
	return r
}

func drawRead(t *rapid.T) ReadRequest {
	r := ReadRequest{drawHeader(t, identity.TypeReadRequest), drawDigest(t, "record"), u64(t, "max"), 0}
	r.NotAfter = r.Time + identity.UnixMilli(rapid.Uint64Range(0, uint64(MaxRequestLife)).Draw(t, "life"))
	return r
}

func drawAck(t *rapid.T) Acknowledgement {
	return Acknowledgement{
		drawHeader(t, identity.TypeAcknowledgement), drawDigest(t, "record"), u64(t, "bytes"), drawDigest(t, "request"),
		rapid.SampledFrom([]Verdict{VerdictOK, VerdictBad}).Draw(t, "verdict"), testKey("rival").Public(),
	}
}

func drawDelete(t *rapid.T) Delete {
	return Delete{drawHeader(t, identity.TypeDelete), drawDigest(t, "record")}
}

func drawDeleteReceipt(t *rapid.T) DeleteReceipt {
	c, _ := drawContract(t)
	return DeleteReceipt{
		drawHeader(t, identity.TypeDeleteReceipt), drawDigest(t, "order"), drawDigest(t, "record"), Arrival(u64(t, "arrival")), c,
		rapid.Uint32().Draw(t, "epoch"), u64(t, "row"),
	}
}

func drawDenial(t *rapid.T) Denial {
	return Denial{
		drawHeader(t, identity.TypeDenial), drawDigest(t, "request"), drawDigest(t, "record"), Reason(rapid.IntRange(1, 7).Draw(t, "reason")),
		Arrival(u64(t, "as of")), identity.UnixMilli(u64(t, "ms")), [16]byte{1}, drawDigests(t, "evidence", MaxDenialEvidence),
	}
}

func drawReport(t *rapid.T) UsageReport {
	r := UsageReport{
		Header: drawHeader(t, identity.TypeUsageReport), Contract: ContractID(drawDigest(t, "contract")), Number: rapid.Uint64Range(1, 9).Draw(t, "number"),
		LogEpoch: rapid.Uint32().Draw(t, "epoch"), Size: rapid.Uint64Range(0, MaxLogSize).Draw(t, "size"), Root: drawDigest(t, "root"),
		Terms: drawDigest(t, "terms"), LiveBytes: u64(t, "live"), ByteSeconds: U128{u64(t, "hi"), u64(t, "lo")}, Egress: u64(t, "egress"),
		Owed: Msat(u64(t, "owed")), Paid: Sat(rapid.Uint64Range(0, uint64(MaxSat)).Draw(t, "paid")), TipHeight: Height(rapid.Uint32().Draw(t, "tip")),
		AsOf: Arrival(u64(t, "as of")),
	}
	if r.Number > 1 {
		r.Previous = drawDigest(t, "previous")
		if rapid.Bool().Draw(t, "rows before") {
			r.PrevSize, r.PrevRoot = rapid.Uint64Range(1, MaxLogSize).Draw(t, "prev size"), drawDigest(t, "prev root")
			r.Consistency = drawDigests(t, "proof", maxConsistency)
		}
	}
	if rapid.Bool().Draw(t, "sponsor") {
		r.Lanes, r.LanesRoot = rapid.Uint32Range(1, MaxGrants+1).Draw(t, "lanes"), drawDigest(t, "lanes root")
	}
	return r
}

func drawDissent(t *rapid.T) Dissent {
	d := Dissent{Header: drawHeader(t, identity.TypeDissent), Report: drawDigest(t, "report")}
	index := uint64(0)
	for range rapid.IntRange(0, 5).Draw(t, "rows") {
		index += rapid.Uint64Range(1, 1<<30).Draw(t, "index")
		d.Rows = append(d.Rows, DissentRow{index, rapid.SampledFrom([]Class{ClassNoEvidence, ClassUnproven, ClassUnacknowledged}).Draw(t, "class")})
	}
	return d
}

var kinds = []kind{
	kindOf("storeOrder", drawOrder, DecodeStoreOrder, OpenStoreOrder, OpenStoreOrderVerified, func(v VerifiedStoreOrder) StoreOrder { return v.StoreOrder }),
	kindOf("receipt", drawReceipt, DecodeReceipt, OpenReceipt, OpenReceiptVerified, func(v VerifiedReceipt) Receipt { return v.Receipt }),
	kindOf("readRequest", drawRead, DecodeReadRequest, OpenReadRequest, OpenReadRequestVerified, func(v VerifiedReadRequest) ReadRequest { return v.ReadRequest }),
	kindOf("acknowledgement", drawAck, DecodeAcknowledgement, OpenAcknowledgement, OpenAcknowledgementVerified, func(v VerifiedAcknowledgement) Acknowledgement { return v.Acknowledgement }),
	kindOf("delete", drawDelete, DecodeDelete, OpenDelete, OpenDeleteVerified, func(v VerifiedDelete) Delete { return v.Delete }),
	kindOf("deleteReceipt", drawDeleteReceipt, DecodeDeleteReceipt, OpenDeleteReceipt, OpenDeleteReceiptVerified, func(v VerifiedDeleteReceipt) DeleteReceipt { return v.DeleteReceipt }),
	kindOf("denial", drawDenial, DecodeDenial, OpenDenial, OpenDenialVerified, func(v VerifiedDenial) Denial { return v.Denial }),
	kindOf("usageReport", drawReport, DecodeUsageReport, OpenUsageReport, OpenUsageReportVerified, func(v VerifiedUsageReport) UsageReport { return v.UsageReport }),
	kindOf("dissent", drawDissent, DecodeDissent, OpenDissent, OpenDissentVerified, func(v VerifiedDissent) Dissent { return v.Dissent }),
	kindOf("storageChallenge", drawChallenge, DecodeStorageChallenge, OpenStorageChallenge, OpenStorageChallengeVerified, func(v VerifiedStorageChallenge) StorageChallenge { return v.StorageChallenge }),
	kindOf("storageProof", drawProof, DecodeStorageProof, OpenStorageProof, OpenStorageProofVerified, func(v VerifiedStorageProof) StorageProof { return v.StorageProof }),
	kindOf("accountGrant", drawGrant, DecodeAccountGrant, OpenAccountGrant, OpenAccountGrantVerified, func(v VerifiedAccountGrant) AccountGrant { return v.AccountGrant }),
	kindOf("accountRevoke", drawRevoke, DecodeAccountRevoke, OpenAccountRevoke, OpenAccountRevokeVerified, func(v VerifiedAccountRevoke) AccountRevoke { return v.AccountRevoke }),
	kindOf("grantReceipt", drawGrantReceipt, DecodeGrantReceipt, OpenGrantReceipt, OpenGrantReceiptVerified, func(v VerifiedGrantReceipt) GrantReceipt { return v.GrantReceipt }),
}

func eachKind(t *testing.T, f func(t *rapid.T, k kind)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { f(t, k) }) })
	}
}

func TestStatementsRoundTrip(t *testing.T) {
	eachKind(t, func(t *rapid.T, k kind) {
		v := k.draw(t)
		raw, err := k.encode(v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := k.decode(raw)
		if err != nil || !reflect.DeepEqual(v, back) {
			t.Fatalf("%v\n%+v\n%+v", err, v, back)
		}
	})
}

func TestStatementsOpenOnlyWhenSigned(t *testing.T) {
	eachKind(t, func(t *rapid.T, k kind) {
		v := k.draw(t)
		raw, err := k.encode(v)
		s := sign(t, "relay", raw, err)
		other := sign(t, "relay", mustDelete(t), nil)
		verdicts := identity.VerifyBatch([]identity.Signed{s, other})
		h, _ := identity.PeekHeader(raw)
		want := identity.StatementDigest(h.Type, raw)
		if got, d, err := k.open(s); err != nil || d != want || !reflect.DeepEqual(got, v) {
			t.Fatal(got, d, err)
		}
		if got, d, err := k.openV(s, verdicts[0]); err != nil || d != want || !reflect.DeepEqual(got, v) {
			t.Fatal(got, d, err)
		}
		if _, d, err := k.openV(s, verdicts[1]); err == nil || !d.IsZero() {
			t.Fatal("a verdict on other bytes opens it")
		}
		if _, d, err := k.openV(s, identity.Verdict{}); err == nil || !d.IsZero() {
			t.Fatal("no verdict opens it")
		}
	})
}

func mustDelete(t fataler) []byte {
	raw, err := Delete{Header: identity.Header{Network: testNet, From: testKey("relay").Public(), To: testKey("client").Public()}, Record: identity.Digest{1}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// No flip of any bit, in statement or proof, gives anything that opens.
func TestTamperedStatementsNeverOpen(t *testing.T) {
	eachKind(t, func(t *rapid.T, k kind) {
		raw, err := k.encode(k.draw(t))
		s := sign(t, "relay", raw, err)
		wire := s.Bytes()
		bit := rapid.IntRange(0, len(wire)*8-1).Draw(t, "bit")
		wire[bit/8] ^= 1 << (bit % 8)
		bad, err := identity.ParseSigned(wire)
		if err != nil {
			return
		}
		if _, d, err := k.open(bad); err == nil || !d.IsZero() {
			t.Fatalf("bit %d flipped, and it opens", bit)
		}
		if _, d, err := k.openV(bad, identity.VerifyBatch([]identity.Signed{bad})[0]); err == nil || !d.IsZero() {
			t.Fatalf("bit %d flipped, and it opens", bit)
		}
	})
}

// What no statement may say is refused in writing and in reading.
func TestImpossibleStatements(t *testing.T) {
	h := identity.Header{Network: testNet, From: testKey("relay").Public(), To: testKey("client").Public()}
	d := identity.Digest{1}
	report := UsageReport{Header: h, Contract: ContractID{1}, Terms: d, Number: 1}
	change := func(f func(*UsageReport)) UsageReport { r := report; f(&r); return r }
	for name, x := range map[string]interface{ Encode() ([]byte, error) }{
		"order for nothing":          StoreOrder{Header: h},
		"order for too much":         StoreOrder{Header: h, N: MaxOrderRecords + 1},
		"order without terms":        StoreOrder{Header: h, N: 1, Contract: ContractID{1}},
		"free order with terms":      StoreOrder{Header: h, N: 1, Terms: d},
		"receipt for nothing":        Receipt{Header: h},
		"receipt without terms":      Receipt{Header: h, Order: d, Contract: ContractID{1}},
		"request for nothing":        ReadRequest{Header: h},
		"request that lasts":         ReadRequest{Header: h, Record: d, NotAfter: MaxRequestLife + 1},
		"request over before":        ReadRequest{Header: identity.Header{Network: testNet, From: h.From, To: h.To, Time: 5}, Record: d, NotAfter: 4},
		"acknowledgement of nothing": Acknowledgement{Header: h, Request: d, Verdict: VerdictOK, Relay: h.From},
		"answer to nothing":          Acknowledgement{Header: h, Record: d, Verdict: VerdictOK, Relay: h.From},
		"no verdict":                 Acknowledgement{Header: h, Record: d, Request: d, Relay: h.From},
		"another verdict":            Acknowledgement{Header: h, Record: d, Request: d, Relay: h.From, Verdict: 3},
		"no serving relay":           Acknowledgement{Header: h, Record: d, Request: d, Verdict: VerdictOK},
		"delete nothing":             Delete{Header: h},
		"deleted nothing":            DeleteReceipt{Header: h, Order: d},
		"deleted without order":      DeleteReceipt{Header: h, Record: d},
		"denial without reason":      Denial{Header: h, Request: d, Record: d},
		"denial with another reason": Denial{Header: h, Request: d, Record: d, Reason: 8},
		"denial of nothing":          Denial{Header: h, Request: d, Reason: ReasonNone},
		"denial to no request":       Denial{Header: h, Record: d, Reason: ReasonNone},
		"too much evidence":          Denial{Header: h, Request: d, Record: d, Reason: ReasonCap, Evidence: make([]identity.Digest, 65)},
		"challenge of nothing":       StorageChallenge{Header: h},
		"challenge that lasts":       StorageChallenge{Header: h, Record: d, NotAfter: MaxRequestLife + 1},
		"chunk of no content":        StorageChallenge{Header: h, Record: d, Chunk: 256},
		"proof of nothing":           StorageProof{Header: h, Challenge: d},
		"proof without challenge":    StorageProof{Header: h, Record: d},
		"proof with a long path":     StorageProof{Header: h, Challenge: d, Record: d, Path: make([]identity.Digest, 9)},
		"report without contract":    change(func(r *UsageReport) { r.Contract = ContractID{} }),
		"report without terms":       change(func(r *UsageReport) { r.Terms = identity.Digest{} }),
		"report 0":                   change(func(r *UsageReport) { r.Number = 0 }),
		"first report with another":  change(func(r *UsageReport) { r.Previous = d }),
		"second report without":      change(func(r *UsageReport) { r.Number = 2 }),
		"first report with rows":     change(func(r *UsageReport) { r.PrevSize = 1; r.PrevRoot = d }),
		"root without rows":          change(func(r *UsageReport) { r.Number, r.Previous, r.PrevRoot = 2, d, d }),
		"endless log":                change(func(r *UsageReport) { r.Size = MaxLogSize + 1 }),
		"more than all money":        change(func(r *UsageReport) { r.Paid = MaxSat + 1 }),
		"dissent from nothing":       Dissent{Header: h},
		"dissent with another class": Dissent{Header: h, Report: d, Rows: []DissentRow{{1, 'Q'}}},
		"dissent twice":              Dissent{Header: h, Report: d, Rows: []DissentRow{{1, 'E'}, {1, 'E'}}},
		"dissent backwards":          Dissent{Header: h, Report: d, Rows: []DissentRow{{2, 'E'}, {1, 'E'}}},
		"to nobody":                  Delete{Header: identity.Header{Network: testNet, From: h.From}, Record: d},
	} {
		if _, err := x.Encode(); code.Of(err) != code.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := Receipt{Header: h, Order: d}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r[bytes.Index(r, d[:])-12] ^= 1 // the serial, before the order's type and length
	if _, err := DecodeReceipt(r); code.Of(err) != code.Malformed {
		t.Error("a receipt with a serial of its own", err)
	}
}

// fuzzStatement holds for every decoder: what it accepts, it writes back byte for byte.
func fuzzStatement(f *testing.F, name string) {
	var k kind
	for _, x := range kinds {
		if x.name == name {
			k = x
		}
	}
	for seed := range 4 {
		raw, err := k.encode(rapid.Custom(k.draw).Example(seed))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := k.decode(raw)
		if err != nil {
			return
		}
		again, err := k.encode(v)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("accepted %x, writes %x (%v)", raw, again, err)
		}
	})
}

func FuzzDecodeStoreOrder(f *testing.F)      { fuzzStatement(f, "storeOrder") }
func FuzzDecodeReceipt(f *testing.F)         { fuzzStatement(f, "receipt") }
func FuzzDecodeReadRequest(f *testing.F)     { fuzzStatement(f, "readRequest") }
func FuzzDecodeAcknowledgement(f *testing.F) { fuzzStatement(f, "acknowledgement") }
func FuzzDecodeDelete(f *testing.F)          { fuzzStatement(f, "delete") }
func FuzzDecodeDeleteReceipt(f *testing.F)   { fuzzStatement(f, "deleteReceipt") }
func FuzzDecodeDenial(f *testing.F)          { fuzzStatement(f, "denial") }
func FuzzDecodeUsageReport(f *testing.F)     { fuzzStatement(f, "usageReport") }
func FuzzDecodeDissent(f *testing.F)         { fuzzStatement(f, "dissent") }
func FuzzDecodeAccountGrant(f *testing.F)    { fuzzStatement(f, "accountGrant") }
func FuzzDecodeAccountRevoke(f *testing.F)   { fuzzStatement(f, "accountRevoke") }
func FuzzDecodeGrantReceipt(f *testing.F)    { fuzzStatement(f, "grantReceipt") }
