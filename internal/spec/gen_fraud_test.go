package spec

import (
	"bytes"

	"relaymarket/broadcast"
	"relaymarket/contract"
	"relaymarket/evidence"
	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/records"
	"relaymarket/usage"
)

// decideFraud verifies a fraud proof.
func decideFraud(in input) (values, error) {
	f, err := evidence.VerifyFile(in.bytes("file"))
	if err != nil {
		return nil, err
	}
	out := values{"class": f.Class.String(), "culprit": f.Culprit.String(), "bytes": f.Bytes, "against": "", "contract": ""}
	if !f.Against.IsZero() {
		out["against"] = f.Against.String()
	}
	if !f.Contract.IsZero() {
		out["contract"] = f.Contract.String()
	}
	if f.Priced {
		out["msat"] = uint64(f.Msat)
	}
	var ds []identity.Digest
	for _, s := range f.Statements {
		ds = append(ds, s.Digest)
	}
	out["statements"] = hexAll(ds)
	return out, nil
}

// fraudster is a relay that keeps a log as it likes, and what it is kept for.
type fraudster struct {
	*maker
	terms   contract.Terms
	state   usage.LogState
	log     ledger
	header  identity.Signed // record a of five
	digest  identity.Digest
	path    []identity.Digest
	order   identity.Signed
	ordered usage.StoreOrder
	receipt identity.Signed
	custody identity.Digest // of the receipt
	stored  uint64
}

func (m *maker) fraudster() *fraudster {
	f := &fraudster{maker: m, terms: mainTerms(), state: usage.LogState{Epoch: 1}, header: m.batch()[0]}
	f.terms.Network, f.terms.Prices = identity.Regtest, dear
	var ds []identity.Digest
	for _, s := range m.batch() {
		ds = append(ds, identity.StatementDigest(identity.TypeRecord, s.Statement))
	}
	paths, _ := identity.Paths(ds)
	f.digest, f.path, f.stored = ds[0], paths[0], val(records.OpenHeader(f.header))(m).StoredBytes()
	_, f.ordered = m.order()
	f.ordered.Terms = f.terms.Digest()
	f.order = m.sign("alice", val(f.ordered.Encode())(m))
	f.receipt = m.receipt(func(r *usage.Receipt) {
		r.Order, r.Terms = identity.StatementDigest(identity.TypeStoreOrder, f.order.Statement), f.ordered.Terms
		r.AcceptedMs, r.Arrival = now, usage.Arrival(now)*1000
	})
	f.custody = identity.StatementDigest(identity.TypeReceipt, f.receipt.Statement)
	f.row(usage.RowInput{Kind: usage.RowWrite, Time: now, Bytes: f.ordered.TotalBytes, Receipt: f.custody, Evidence: f.order.Bytes()}, nil)
	return f
}

// request is bob's request for the record; the name makes it another one.
func (f *fraudster) request(name string) identity.Signed {
	return f.sign("bob", val(usage.ReadRequest{Header: head("bob", "relay", name), Record: f.digest, MaxBytes: 1 << 20, NotAfter: now + 600_000}.Encode())(f.maker))
}

func (f *fraudster) read(at identity.UnixMilli, evidence []byte) usage.RowInput {
	return usage.RowInput{Kind: usage.RowRead, Time: at, Bytes: f.stored, Receipt: f.custody, Record: f.digest, Evidence: evidence}
}

// row adds a row, changed where it is said how.
func (f *fraudster) row(in usage.RowInput, change func(*usage.Row)) {
	in.Arrival = usage.Arrival(in.Time)*1000 + usage.Arrival(f.state.Size)
	row, _, err := usage.AppendRow(f.state, dear, in)
	f.must(err)
	if change != nil {
		change(&row)
	}
	f.leaf(val(row.Encode())(f.maker), row.State())
}

func (f *fraudster) leaf(raw []byte, next usage.LogState) {
	f.must(f.log.tree.Append(raw))
	f.log.rows, f.state = append(f.log.rows, raw), next
}

// head signs the log as it is.
func (f *fraudster) head(change func(*usage.UsageReport)) identity.Signed {
	s := f.report(&f.log, f.state, func(r *usage.UsageReport) {
		r.Terms = f.terms.Digest()
		if change != nil {
			change(r)
		}
	})
	f.log.reports = append(f.log.reports, s)
	return s
}

func (f *fraudster) prove(c evidence.Class, rows []uint64, statements ...identity.Signed) evidence.Proof {
	p := evidence.Proof{Class: c, Statements: statements}
	for _, i := range rows {
		p.Rows = append(p.Rows, evidence.Row{Index: i, Leaf: f.log.rows[i], Path: val(usage.ProveInclusion(f.state.Size, i, &f.log.tree))(f.maker)})
	}
	return p
}

func (f *fraudster) deny(q identity.Signed, reason usage.Reason, change func(*usage.Denial)) identity.Signed {
	d := usage.Denial{
		Header: head("relay", "bob", "no"), Request: identity.StatementDigest(identity.TypeReadRequest, q.Statement), Record: f.digest, Reason: reason,
		AsOf: usage.Arrival(now)*1000 + 5, AsOfMs: now + 1000, StoreEpoch: [16]byte{7},
	}
	if change != nil {
		change(&d)
	}
	return f.sign("relay", val(d.Encode())(f.maker))
}

// frauds is one proof of every class, and some that are none.
func (m *maker) frauds() {
	add := func(name, expect, what string, p evidence.Proof) {
		m.add("fraud/"+name, "fraud", expect, what, values{"file": text(val(p.Encode())(m))})
	}
	m.rowFrauds(add)
	m.headFrauds(add)
	m.custodyFrauds(add)
	m.marketFrauds(add)
}

type adder func(name, expect, what string, p evidence.Proof)

func (m *maker) rowFrauds(add adder) {
	f := m.fraudster()
	q := f.request("q")
	f.row(f.read(now+1000, q.Bytes()), nil)                                              // 1
	f.row(f.read(now+2000, nil), nil)                                                    // 2: no request
	f.row(f.read(now+3000, q.Bytes()), nil)                                              // 3: the same again
	f.row(f.read(now+4000, f.request("r").Bytes()), nil)                                 // 4: one too many
	f.row(f.read(now+5000, q.Bytes()), func(r *usage.Row) { r.Owed += 77_000 })          // 5: a wrong sum
	f.row(f.read(now+700_000, f.request("s").Bytes()), nil)                              // 6: too late
	f.row(f.read(now+700_000, f.request("t").Bytes()), func(r *usage.Row) { r.Bytes++ }) // 7: too large
	f.leaf([]byte("no row"), f.state)
	f.state.Size++
	u := f.head(nil)
	terms := val(f.terms.Encode())(m)
	none := f.prove(evidence.NoEvidence, []uint64{2}, u)
	none.Terms = terms
	add("no-evidence", "ok", "a READ row without a request, and what it costs", none)
	add("no-evidence-not", "not_proven", "a READ row with a good request", f.prove(evidence.NoEvidence, []uint64{1}, u))
	stranger := none
	stranger.Rows = append([]evidence.Row(nil), none.Rows...)
	stranger.Rows[0].Leaf = f.log.rows[1]
	add("no-evidence-inclusion", "not_proven", "another leaf than the one in the log", stranger)
	add("duplicate", "ok", "two READ rows by one request", f.prove(evidence.Duplicate, []uint64{1, 3}, u))
	sum := f.prove(evidence.WrongSum, []uint64{4, 5}, u)
	sum.Terms = terms
	add("wrong-sum", "ok", "owed is 77000 msat too high in row 5", sum)
	sum = f.prove(evidence.WrongSum, []uint64{3, 4}, u)
	sum.Terms = terms
	add("wrong-sum-not", "not_proven", "row 4 follows from row 3", sum)
	add("over-cap", "ok", "five reads of a record with three pulls", f.prove(evidence.OverCap, []uint64{1, 2, 3, 4, 5}, f.header, u))
	add("over-cap-not", "not_proven", "three reads of it", f.prove(evidence.OverCap, []uint64{1, 2, 3}, f.header, u))
	add("oversize", "ok", "a read of one byte more than the record has", f.prove(evidence.Oversize, []uint64{7}, f.header, u))
	add("after-end", "ok", "a read after the time of its request", f.prove(evidence.AfterEnd, []uint64{6}, u))
	add("broken-row", "ok", "a leaf that is no row", f.prove(evidence.BrokenRow, []uint64{8}, u))
	other := m.receipt(func(r *usage.Receipt) { r.Terms, r.WorstMsat = f.terms.Digest(), 1 })
	add("other-row", "ok", "row 0 is of another receipt than the one that names it", f.prove(evidence.OtherRow, []uint64{0}, other, u))
	add("other-row-not", "not_proven", "row 0 is the receipt's", f.prove(evidence.OtherRow, []uint64{0}, f.receipt, u))
}

func (m *maker) headFrauds(add adder) {
	f := m.fraudster()
	first := f.head(nil)
	f.row(f.read(now+1000, f.request("q").Bytes()), nil)
	good := f.head(nil)
	f.log.reports = f.log.reports[:1]
	twin := f.head(func(r *usage.UsageReport) { r.Paid++ })
	rewritten := f.report(&f.log, f.state, func(r *usage.UsageReport) { r.Terms, r.Previous = f.terms.Digest(), identity.Digest{1} })
	broken := f.report(&f.log, f.state, func(r *usage.UsageReport) { r.Terms, r.Root = f.terms.Digest(), identity.Digest{1} })
	reset := f.report(&f.log, f.state, func(r *usage.UsageReport) { r.Terms, r.LogEpoch, r.Number, r.Paid = f.terms.Digest(), 2, 2, 9 })
	pair := func(c evidence.Class, a, b identity.Signed) evidence.Proof { return f.prove(c, nil, a, b) }
	add("two-reports", "ok", "two reports with number 2", pair(evidence.TwoReports, good, twin))
	add("two-reports-reset", "not_proven", "two reports with number 2, between them a log reset", pair(evidence.TwoReports, good, reset))
	add("two-reports-one", "not_proven", "one report twice", pair(evidence.TwoReports, good, good))
	add("bad-consistency", "ok", "a root that the proof does not lead to", f.prove(evidence.BadConsistency, nil, broken))
	add("bad-consistency-not", "not_proven", "a proof that holds", f.prove(evidence.BadConsistency, nil, good))
	add("two-roots", "ok", "two roots of two rows", pair(evidence.TwoRoots, good, broken))
	add("rewritten-log", "ok", "a report that names another predecessor", pair(evidence.RewrittenLog, twin, rewritten))
	add("rewritten-log-not", "not_proven", "a report that follows", pair(evidence.RewrittenLog, first, good))
}

func (m *maker) custodyFrauds(add adder) {
	f := m.fraudster()
	q := f.request("q")
	held := func(c evidence.Class, more ...identity.Signed) evidence.Proof {
		p := f.prove(c, nil, append([]identity.Signed{f.header, f.order, f.receipt}, more...)...)
		p.OrderPath = f.path
		return p
	}
	none := f.deny(q, usage.ReasonNone, nil)
	add("lost", "ok", "a record in custody, and a denial that says NONE", held(evidence.Lost, q, none))
	add("lost-early", "not_proven", "the denial speaks of a time before the record arrived", held(evidence.Lost, q, f.deny(q, usage.ReasonNone, func(d *usage.Denial) { d.AsOf = 5 })))
	add("lost-over", "not_proven", "the denial speaks of the end of custody", held(evidence.Lost, q, f.deny(q, usage.ReasonNone, func(d *usage.Denial) { d.AsOfMs = now + 86_400_000 })))
	add("lost-deleted", "not_proven", "the reason is another one", held(evidence.Lost, q, f.deny(q, usage.ReasonDeleted, nil)))
	place := held(evidence.Lost, q, none)
	place.Place = 1
	add("lost-place", "not_proven", "the record is at another place of the order", place)
	other := m.sign("carol", val(usage.ReadRequest{Header: head("carol", "relay", "q"), Record: f.digest, MaxBytes: 9, NotAfter: now}.Encode())(m))
	add("lost-stranger", "not_proven", "the request is not by the receiver", held(evidence.Lost, other, f.deny(other, usage.ReasonNone, func(d *usage.Denial) { d.To = key("carol").Public() })))
	m.challengeFrauds(add, f, held)
	add("false-denial-expired", "ok", "EXPIRED a day before the end of custody", held(evidence.FalseDenial, q, f.deny(q, usage.ReasonExpired, nil)))
	add("false-denial-deleted", "ok", "DELETED without an order", f.prove(evidence.FalseDenial, nil, f.header, q, f.deny(q, usage.ReasonDeleted, nil)))
	add("false-denial-not", "not_proven", "DELETED by an order that is not shown", f.prove(evidence.FalseDenial, nil, f.header, q, f.deny(q, usage.ReasonDeleted, func(d *usage.Denial) { d.Evidence = []identity.Digest{{1}} })))
	f.row(f.read(now+300_000, f.request("later").Bytes()), nil)
	after := f.prove(evidence.AfterDenial, []uint64{1}, f.header, f.order, f.receipt, q, none, f.head(nil))
	after.OrderPath = f.path
	add("after-denial", "ok", "a read is billed five minutes after the record was denied", after)
	dearer := m.receipt(func(r *usage.Receipt) {
		r.Order, r.Terms, r.StoredBytes = identity.StatementDigest(identity.TypeStoreOrder, f.order.Statement), f.ordered.Terms, 1
	})
	add("false-receipt", "ok", "a receipt for one byte", f.prove(evidence.FalseReceipt, nil, f.order, dearer))
	add("false-receipt-not", "not_proven", "a receipt that answers", f.prove(evidence.FalseReceipt, nil, f.order, f.receipt))
}

// challengeFrauds are those that the sender's challenge shows.
func (m *maker) challengeFrauds(add adder, f *fraudster, held func(evidence.Class, ...identity.Signed) evidence.Proof) {
	ask := func(who string) identity.Signed {
		c := usage.StorageChallenge{Header: head(who, "relay", "c"), Record: f.digest, Nonce: [32]byte{1}, NotAfter: now}
		return m.sign(who, val(c.Encode())(m))
	}
	deny := func(c identity.Signed, to string) identity.Signed {
		return f.deny(c, usage.ReasonNone, func(d *usage.Denial) {
			d.To, d.Request = key(to).Public(), identity.StatementDigest(identity.TypeStorageChallenge, c.Statement)
		})
	}
	c, foreign := ask("alice"), ask("bob")
	add("lost-challenged", "ok", "a record in custody, and a denial of its sender's challenge that says NONE", held(evidence.LostChallenged, c, deny(c, "alice")))
	add("lost-challenged-receiver", "not_proven", "the challenge is by the receiver", held(evidence.LostChallenged, foreign, deny(foreign, "bob")))
	show := func(hash identity.Digest) identity.Signed {
		p := usage.StorageProof{
			Header: head("relay", "alice", "p"), Challenge: identity.StatementDigest(identity.TypeStorageChallenge, c.Statement), Record: f.digest, ChunkHash: hash,
		}
		return m.sign("relay", val(p.Encode())(m))
	}
	add("false-proof", "ok", "a storage proof of another content", f.prove(evidence.FalseProof, nil, f.header, c, show(identity.Digest{1})))
}

func (m *maker) marketFrauds(add adder) {
	f := m.fraudster()
	offer := func(sequence uint64, price usage.Sat) broadcast.VerifiedOffer {
		o := broadcast.Offer{
			Header: head("relay", "", "offer"), Sequence: sequence, ValidUntil: now + 86_400_000,
			Addresses: []identity.Address{{URL: "wss://relay.example/ws", Pins: []identity.Digest{{1}}}}, Prices: dear, ContractPrice: price,
			MinDeposit: 35_800, MaxDeposit: 5_000_000, MinDuration: 1008, MaxDuration: 52_560, FundingDepth: 3, CreditLimit: 2_000, SettleFeeRate: 1_000,
			MinFundFeeRate: 1000, Limits: usage.DefaultLimits(), MaxTTL: 86_400,
		}
		return val(o.Sign(key("relay")))(m)
	}
	say := func(who string, msg contract.Message) identity.Signed {
		return m.sign(who, val(contract.Encode(msg))(m))
	}
	a, b := offer(4, 1_000), offer(4, 1_001)
	add("two-offers", "ok", "two offers with sequence 4", f.prove(evidence.TwoOffers, nil, a.Signed(), b.Signed()))
	add("two-offers-not", "not_proven", "sequences 4 and 5", f.prove(evidence.TwoOffers, nil, a.Signed(), offer(5, 1_001).Signed()))
	pay := func(n uint32, amount usage.Sat) identity.Signed {
		return say("alice", &contract.PaymentUpdate{
			Common: contract.Common{Header: head("alice", "relay", "pay")}, Contract: contractID, N: n, Amount: amount, Signatures: make([][]byte, contract.Tiers),
		})
	}
	add("two-updates", "ok", "update 2 pays 5000 and 4000 sat", f.prove(evidence.TwoUpdates, nil, pay(2, 5000), pay(2, 4000)))
	add("two-updates-not", "not_proven", "updates 2 and 3", f.prove(evidence.TwoUpdates, nil, pay(2, 5000), pay(3, 6000)))
	terms := f.terms
	terms.Offer, terms.ContractPrice = a.Digest(), 1_001
	answer := say("relay", &contract.ServerAddInputs{
		Common: contract.Common{Header: head("relay", "alice", "answer")}, Terms: val(terms.Encode())(m), Tx: make([]byte, 60), Contract: contractID,
	})
	add("dishonoured-offer", "ok", "terms one satoshi dearer than the offer that they name", f.prove(evidence.DishonouredOffer, nil, a.Signed(), answer))
	open := say("alice", &contract.Open{
		Common: contract.Common{Header: head("alice", "relay", "open")}, Offer: a.Digest(), Value: 100_000, Payout: make([]byte, 22), Tx: make([]byte, 60), Inputs: [][]byte{make([]byte, 30)},
	})
	refuse := func(c code.Code) identity.Signed {
		common := contract.Common{Header: head("relay", "alice", "refuse"), Prev: identity.StatementDigest(identity.TypeContractOpen, open.Statement)}
		return say("relay", &contract.Abort{Common: common, Code: c})
	}
	add("dishonoured-offer-refused", "ok", "a refusal because of the price", f.prove(evidence.DishonouredOffer, nil, a.Signed(), open, refuse(code.PriceTooHigh)))
	add("dishonoured-offer-not", "not_proven", "no capacity is always allowed", f.prove(evidence.DishonouredOffer, nil, a.Signed(), open, refuse(code.NoCapacity)))
	m.brokenFrauds(f.prove(evidence.TwoOffers, nil, a.Signed(), b.Signed()))
}

// brokenFrauds are files that are no proofs.
func (m *maker) brokenFrauds(p evidence.Proof) {
	good := val(p.Encode())(m)
	add := func(name, expect, what string, raw []byte) {
		m.add("fraud/file-"+name, "fraud", expect, what, values{"file": text(raw)})
	}
	add("magic", "malformed", "it does not begin as it must", good[1:])
	add("version", "unsupported", "version 2", replace(good, 7, []byte{2}, 1))
	add("class", "malformed", "class 99", replace(good, 10, []byte{99}, 1))
	add("shape", "malformed", "two offers where one report belongs", replace(good, 10, []byte{10}, 1))
	add("trailing", "malformed", "a byte too many", append(bytes.Clone(good), 0))
	bad := p
	bad.Statements = append([]identity.Signed(nil), p.Statements...)
	bad.Statements[0].Proof.Sig[0] ^= 1
	m.add("fraud/file-signature", "fraud", "not_proven", "a signature that does not hold", values{"file": text(val(bad.Encode())(m))})
}
