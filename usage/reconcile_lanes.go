package usage

import (
	"fmt"
	"math"

	"relaymarket/identity"
)

// HeldGrant is a grant that the client gave, with the relay's receipt for its revocation if it was
// revoked (else zero).
type HeldGrant struct {
	Grant   identity.Signed
	Revoked identity.Signed
}

// granted is a verified HeldGrant.
type granted struct {
	VerifiedAccountGrant
	revoked *VerifiedGrantReceipt
	days    map[uint64]Msat // ordered by day
	used    Quantities      // of its orders so far, when storage is added up
}

// sponsored is the custody of an order under a grant. Its sponsor has the order, but neither its
// records nor its receipt, so it is judged by what the order bounds: bytes, times and max_msat.
type sponsored struct {
	order   VerifiedStoreOrder
	grant   *granted
	live    uint64
	last    identity.UnixMilli
	used    Quantities                             // storage up to last, and the egress of good reads
	readers map[identity.Digest]identity.PublicKey // by record
}

// holdGrant takes in one of the client's grants. One that is not the client's for this contract is left
// out.
func (a *audit) holdGrant(grant, revoked int) {
	g, err := openAt(a, grant, OpenAccountGrantVerified)
	if err != nil || g.Network != a.in.Network || g.From != a.in.Client || g.To != a.in.Relay || g.Contract != a.in.Contract {
		return
	}
	h := &granted{VerifiedAccountGrant: g, days: make(map[uint64]Msat)}
	if r, err := openAt(a, revoked, OpenGrantReceiptVerified); err == nil && r.Order != g.Digest() && r.Answers(g, r.Order) == nil {
		h.revoked = &r
	}
	a.grants[g.Digest()] = h
}

// ends tells whether a row lies behind the revocation of the grant, as the relay has receipted it.
func (g *granted) ends(r Row) bool {
	return g.revoked != nil && (r.LogEpoch > g.revoked.LogEpoch || r.LogEpoch == g.revoked.LogEpoch && r.Index >= g.revoked.RowIndex)
}

// grantFault is what keeps an order under a grant from being one that the client pays for.
func (a *audit) grantFault(o VerifiedStoreOrder) string {
	g := a.grants[o.Grant]
	switch {
	case a.in.Lane == o.Grant && o.From == a.in.Client:
		return ""
	case g == nil:
		return "the order names a grant that was not given"
	case g.Account != o.From || g.Terms != o.Terms:
		return "the order is not by the grant's account"
	}
	return ""
}

// laneWrite judges a WRITE row whose order is under a grant, and takes its bytes into custody.
func (a *audit) laneWrite(i int, r Row, o VerifiedStoreOrder) fault {
	if a.ordered[o.Digest()] {
		return fault{ClassDuplicate, "its order was billed before"}
	}
	a.ordered[o.Digest()] = true
	g := a.grants[o.Grant]
	c := &custody{index: uint64(i), accepted: r.Time, until: math.MaxUint64}
	c.lane = &sponsored{order: o, grant: g, live: r.Bytes, last: r.Time, readers: make(map[identity.Digest]identity.PublicKey)}
	if a.custodies[r.Receipt] != nil {
		return fault{ClassReceipts, "its receipt has a row before"}
	}
	a.custodies[r.Receipt], a.writes[i] = c, c
	a.order = append(a.order, c)
	return a.laneWriteFault(r, o, g)
}

func (a *audit) laneWriteFault(r Row, o VerifiedStoreOrder, g *granted) fault {
	switch {
	case r.Bytes > o.TotalBytes:
		return fault{ClassOversize, fmt.Sprintf("%d bytes, ordered were %d", r.Bytes, o.TotalBytes)}
	case r.Bytes < o.TotalBytes:
		return fault{ClassReceipts, fmt.Sprintf("%d bytes, ordered were %d", r.Bytes, o.TotalBytes)}
	case r.Time > o.NotAfter:
		return fault{ClassOutside, "the order was accepted after its time"}
	case g.ends(r):
		return fault{ClassOverGrant, "its grant was revoked before"}
	}
	day := uint64(r.Time) / (Day * 1000)
	today, err := g.days[day].Add(o.MaxMsat)
	if err != nil || today > g.DayMsat {
		return fault{ClassOverGrant, fmt.Sprintf("with it more than the %d msat that its grant allows were ordered on one day", g.DayMsat)}
	}
	g.days[day] = today
	return a.inService(r)
}

// laneRead judges a READ row of an order under a grant. Which records the order has, and for whom, only
// the account knows: what one order may cost bounds what can be invented.
func (a *audit) laneRead(i int, r Row, q VerifiedReadRequest, c *custody) fault {
	l := c.lane
	reader, seen := l.readers[r.Record]
	cost := a.priceOf(Quantities{Egress: l.used.Egress + min(r.Bytes, math.MaxUint64-l.used.Egress)})
	switch {
	case q.Network != a.in.Network || q.To != a.in.Relay:
		return fault{ClassNoEvidence, "its request is to another relay"}
	case q.Record != r.Record:
		return fault{ClassNoEvidence, "its request is for another record"}
	case seen && reader != q.From:
		return fault{ClassNoEvidence, "its record was read by another receiver before"}
	case a.served[q.Digest()]:
		return fault{ClassDuplicate, "its request was billed before"}
	case r.Bytes > l.order.TotalBytes:
		return fault{ClassOversize, fmt.Sprintf("%d bytes, ordered were %d", r.Bytes, l.order.TotalBytes)}
	case r.Bytes > q.MaxBytes:
		return fault{ClassOversize, fmt.Sprintf("%d bytes, asked for were at most %d", r.Bytes, q.MaxBytes)}
	case r.Time > q.NotAfter:
		return fault{ClassOutside, "its request was past its time"}
	case l.live == 0:
		return fault{ClassOutside, "a read after all records of its order had ended"}
	case cost > l.order.MaxMsat:
		return fault{ClassOverGrant, fmt.Sprintf("with it the reads of its order cost more than its %d msat", l.order.MaxMsat)}
	}
	a.served[q.Digest()] = true
	l.readers[r.Record] = q.From
	if f := a.inService(r); f.is() {
		return f
	}
	l.used.Egress += r.Bytes
	return a.heard(i, r, q, nil)
}

// laneClosing judges a DELETE, EXPIRE or PURGE row of an order under a grant.
func (a *audit) laneClosing(i int, r Row, c *custody) fault {
	l := c.lane
	released := min(r.Bytes, l.live)
	l.keep(a.clip(r.Time))
	if lacking := storedSeconds(c.accepted, r.Time) - openSeconds(c.accepted, r.Time); lacking > 0 {
		l.used = addUp(l.used, Quantities{ByteSeconds: Mul64(released, lacking)})
	}
	l.live -= released
	switch {
	case r.Bytes > released:
		return fault{ClassReceipts, fmt.Sprintf("%d bytes released, kept were %d", r.Bytes, released)}
	case r.Kind == RowDelete:
		return a.laneDelete(i, r)
	case r.Kind == RowPurge && (a.in.Purged == 0 || r.Time < a.in.Purged):
		return fault{ClassNoEvidence, "the relay had given no notice of a purge"}
	}
	return fault{}
}

// laneDelete checks that somebody has ordered the deletion of this record.
func (a *audit) laneDelete(i int, r Row) fault {
	if d, err := openAt(a, a.evidence[i], OpenDeleteVerified); err == nil {
		if d.Network == a.in.Network && d.To == a.in.Relay && d.Record == r.Record {
			return fault{}
		}
		return fault{ClassNoEvidence, "its order to delete is for another record"}
	}
	w, err := openAt(a, a.evidence[i], OpenAcknowledgementVerified)
	if err != nil || w.Network != a.in.Network || w.To != a.in.Relay || w.Record != r.Record || w.Verdict != VerdictOK {
		return fault{ClassNoEvidence, "its order to delete does not hold"}
	}
	return fault{}
}

// keep adds the storage up to a time.
func (l *sponsored) keep(to identity.UnixMilli) {
	l.used = addUp(l.used, Quantities{ByteSeconds: Mul64(l.live, openSeconds(l.last, to))})
	l.last = max(l.last, to)
}

// clip is a time, but not one of the future.
func (a *audit) clip(t identity.UnixMilli) identity.UnixMilli { return min(t, a.horizon()) }

// addUp is a sum that stops at the largest one.
func addUp(q, more Quantities) Quantities {
	p := part{used: q}
	p.add(0, more)
	return p.used
}

// laneStorage settles the storage of an order under a grant: within what the order may cost and what is
// left of the grant it is confirmed, else it is refused as a whole.
func (a *audit) laneStorage(c *custody) {
	l := c.lane
	if l.live > 0 {
		l.keep(a.clip(a.head))
	}
	o := &a.out[c.index]
	o.used = Quantities{ByteSeconds: l.used.ByteSeconds}
	if o.refused {
		return
	}
	lane := addUp(l.grant.used, l.used)
	switch {
	case a.priceOf(l.used) > l.order.MaxMsat:
		a.refuse(int(c.index), ClassOverGrant, fmt.Sprintf("its storage and reads cost more than its order's %d msat", l.order.MaxMsat))
	case a.priceOf(lane) > l.grant.CapMsat:
		a.refuse(int(c.index), ClassOverGrant, fmt.Sprintf("with it the lane costs more than the %d msat of its grant", l.grant.CapMsat))
	default:
		l.grant.used = lane
	}
}
