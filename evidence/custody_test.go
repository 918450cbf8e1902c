package evidence

import (
	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/usage"
)

func leafHash(leaf []byte) identity.Digest { return identity.Digest(tlog.RecordHash(leaf)) }

// denial is a proof about a denied read of a record in custody.
func (w *world) denial(c Class, k *kept, q, d identity.Signed, more ...identity.Signed) Proof {
	return Proof{Class: c, Statements: append([]identity.Signed{k.header, k.order, k.receipt.Signed(), q, d}, more...)}.in(k)
}

// short is the same without order and receipt.
func short(k *kept, q, d identity.Signed, more ...identity.Signed) Proof {
	return Proof{Class: FalseDenial, Statements: append([]identity.Signed{k.header, q, d}, more...)}
}

func (w *world) three() *kept {
	d := draft{to: "bob", size: 1000, ttl: day, pulls: 2}
	k := w.write(d, d, d)[1]
	w.now += 1000
	return k
}

func (w *world) notice(step contract.Step, id usage.ContractID) identity.Signed {
	n := &contract.Notice{Common: w.common("relay", "client"), Contract: id, Step: step, N: 1, Amount: 5000, Report: identity.Digest{1}, Before: 10, Since: 20}
	if step > contract.StepOverdue {
		n.Earlier = identity.Digest{2}
	}
	return w.message("relay", n)
}

func (w *world) challengeBy(name string, k *kept) identity.Signed {
	raw, err := usage.StorageChallenge{Header: w.header(name, "relay"), Record: k.record.Digest(), NotAfter: w.now + 60_000}.Encode()
	return w.sign(name, raw, err)
}

// show answers a challenge; the change is what an honest relay would not make.
func (w *world) show(k *kept, q identity.Signed, change func(*usage.StorageProof)) identity.Signed {
	h := k.record.Header()
	p, _, err := usage.ProveStorage(w.header("relay", "client"), h, must(usage.OpenStorageChallenge(q))(w.t), make([]byte, h.ContentLen))
	must(0, err)(w.t)
	if change != nil {
		change(&p)
	}
	raw, err := p.Encode()
	return w.sign("relay", raw, err)
}

var custodyStories = []story{
	{"a record that is lost, as its sender's challenge shows", LostChallenged, func(w *world, fraud bool) Proof {
		k := w.three()
		w.now += pick[identity.UnixMilli](fraud, 0, day)
		q := w.challengeBy("client", k)
		return w.denial(LostChallenged, k, q, w.deny(k, q, usage.ReasonNone))
	}},
	{"a challenge by another than the sender", LostChallenged, func(w *world, fraud bool) Proof {
		k := w.three()
		q := w.challengeBy(pick(fraud, "client", "bob"), k)
		return w.denial(LostChallenged, k, q, w.deny(k, q, usage.ReasonNone))
	}},
	{"a storage proof of another content", FalseProof, func(w *world, fraud bool) Proof {
		k := w.three()
		q := w.challengeBy("client", k)
		p := w.show(k, q, func(p *usage.StorageProof) { p.ChunkHash[3] ^= pick[byte](fraud, 1, 0) })
		return Proof{Class: FalseProof, Statements: []identity.Signed{k.header, q, p}}
	}},
	{"a storage proof of a chunk that is none", FalseProof, func(w *world, fraud bool) Proof {
		k := w.three()
		raw, err := usage.StorageChallenge{
			Header: w.header("client", "relay"), Record: k.record.Digest(), Chunk: pick[uint32](fraud, 1, 0), NotAfter: w.now + 60_000,
		}.Encode()
		q := w.sign("client", raw, err)
		h := must(usage.OpenStorageChallenge(q))(w.t)
		raw, err = usage.StorageProof{
			Header: w.header("relay", "client"), Challenge: digestOf(q), Record: h.Record, Chunk: h.Chunk,
			ChunkHash: identity.Tagged("chunk", make([]byte, k.record.Header().ContentLen)),
		}.Encode()
		return Proof{Class: FalseProof, Statements: []identity.Signed{k.header, q, w.sign("relay", raw, err)}}
	}},
	{"a record that is lost", Lost, func(w *world, fraud bool) Proof {
		k := w.three()
		w.now += pick[identity.UnixMilli](fraud, 0, day)
		q := w.request(k)
		return w.denial(Lost, k, q, w.deny(k, q, usage.ReasonNone))
	}},
	{"a record that was not asked for by its receiver", Lost, func(w *world, fraud bool) Proof {
		k := w.three()
		q := w.requestBy(pick(fraud, "bob", "carol"), k)
		return w.denial(Lost, k, q, w.deny(k, q, usage.ReasonNone))
	}},
	{"a denial that is older than the record", Lost, func(w *world, fraud bool) Proof {
		k := w.three()
		w.arrival = k.receipt.Arrival + pick[usage.Arrival](fraud, 1, 0)
		q := w.request(k)
		return w.denial(Lost, k, q, w.deny(k, q, usage.ReasonNone))
	}},
	{"expired before its time", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		w.now += pick(fraud, 23*hour, 24*hour-60_000) // what is nearly over is not judged
		q := w.request(k)
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonExpired))
	}},
	{"deleted without an order", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		q := w.request(k)
		if !fraud {
			return short(k, q, w.deny(k, q, usage.ReasonDeleted, digestOf(w.deletion(k))))
		}
		return short(k, q, w.deny(k, q, usage.ReasonDeleted))
	}},
	{"deleted by an order for another record", FalseDenial, func(w *world, fraud bool) Proof {
		k, other := w.three(), w.letter(9)
		q, del := w.request(k), w.deletion(other)
		if !fraud {
			del = w.deletion(k)
		}
		return short(k, q, w.deny(k, q, usage.ReasonDeleted, digestOf(del)), del)
	}},
	{"deleted by an acknowledgement that may not", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.write(draft{to: "bob", size: 9, ttl: day, pulls: 2, onAck: !fraud})[0]
		q := w.request(k)
		a := w.ack(k, q)
		return short(k, q, w.deny(k, q, usage.ReasonDeleted, digestOf(a)), a)
	}},
	{"capped without rows", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.served()
		w.read(k)
		q := w.request(k)
		return short(k, q, w.deny(k, q, usage.ReasonCap, k.pulls[pick(fraud, 1, 0):]...))
	}},
	{"capped by one row twice", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.served()
		w.read(k)
		q := w.request(k)
		return short(k, q, w.deny(k, q, usage.ReasonCap, k.pulls[0], k.pulls[pick(fraud, 0, 1)]))
	}},
	{"capped by a row that is no read of it", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.served()
		w.read(k)
		at := pick[uint64](fraud, 0, 1)
		q := w.request(k)
		p := short(k, q, w.deny(k, q, usage.ReasonCap, leafHash(w.leaves[at]), k.pulls[1]))
		p.Rows = []Row{{Index: at, Leaf: w.leaves[at]}}
		return p
	}},
	{"purged without a notice", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		q := w.request(k)
		if !fraud {
			return short(k, q, w.deny(k, q, usage.ReasonPurged, digestOf(w.notice(contract.StepPurged, w.id))))
		}
		return short(k, q, w.deny(k, q, usage.ReasonPurged))
	}},
	{"purged by a notice of an earlier step", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		q, n := w.request(k), w.notice(pick(fraud, contract.StepRetained, contract.StepPurged), w.id)
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonPurged, digestOf(n)), n)
	}},
	{"suspended by a notice on another contract", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		q, n := w.request(k), w.notice(contract.StepSuspended, pick(fraud, usage.ContractID{5}, w.id))
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonSuspended, digestOf(n)), n)
	}},
	{"suspended although it is free", FalseDenial, func(w *world, fraud bool) Proof {
		if fraud {
			w.id = usage.ContractID{}
		}
		k := w.three()
		q := w.request(k)
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonSuspended))
	}},
	{"suspended by the contract of another custody", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.write(draft{to: "bob", size: 9, ttl: 120 * day, pulls: 2})[0]
		w.now += pick(fraud, day, 91*day) // the service is over, and the record was stored again elsewhere
		q, n := w.request(k), w.notice(contract.StepSuspended, usage.ContractID{5})
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonSuspended, digestOf(n)), n)
	}},
	{"suspended by the contract of a custody before", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		w.arrival -= pick[usage.Arrival](fraud, 0, 3)
		q, n := w.request(k), w.notice(contract.StepSuspended, usage.ContractID{5})
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonSuspended, digestOf(n)), n)
	}},
	{"purged by the contract of a custody after a restored backup", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		w.epoch[0] += pick[byte](fraud, 0, 1)
		q, n := w.request(k), w.notice(contract.StepPurged, usage.ContractID{5})
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonPurged, digestOf(n)), n)
	}},
	{"purged although it was free, until it was stored again", FalseDenial, func(w *world, fraud bool) Proof {
		w.id = usage.ContractID{}
		k := w.write(draft{to: "bob", size: 9, ttl: 120 * day, pulls: 2})[0]
		w.now += pick(fraud, day, 91*day)
		q, n := w.request(k), w.notice(contract.StepPurged, usage.ContractID{5})
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonPurged, digestOf(n)), n)
	}},
	{"expired before its time, with a restored backup in between", FalseDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		w.epoch[0] += pick[byte](fraud, 0, 1)
		q := w.request(k)
		return w.denial(FalseDenial, k, q, w.deny(k, q, usage.ReasonExpired))
	}},
	{"served after it was denied", AfterDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		q := w.request(k)
		d := w.deny(k, q, pick(fraud, usage.ReasonNone, usage.ReasonSuspended))
		w.now += hour
		u, rows := w.bill(k.readIn(w.request(k)))
		p := w.proof(AfterDenial, &u, rows, k.header, k.order, k.receipt.Signed(), q, d)
		return p.in(k)
	}},
	{"served before it was denied", AfterDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		w.now += hour
		row := w.append(k.readIn(w.request(k)))
		q := w.request(k)
		if fraud {
			w.arrival, w.now = w.arrival-1, w.now-hour
		}
		d := w.deny(k, q, usage.ReasonNone)
		u := w.report()
		return w.proof(AfterDenial, &u, []uint64{row.Index}, k.header, k.order, k.receipt.Signed(), q, d).in(k)
	}},
	{"deleted after it was denied", AfterDenial, func(w *world, fraud bool) Proof {
		k := w.three()
		q := w.request(k)
		d := w.deny(k, q, pick(fraud, usage.ReasonExpired, usage.ReasonCap))
		w.now += hour
		row := w.remove(k, w.deletion(k))
		u := w.report()
		return w.proof(AfterDenial, &u, []uint64{row.Index}, k.header, k.order, k.receipt.Signed(), q, d).in(k)
	}},
}
