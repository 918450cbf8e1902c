package evidence

import (
	"golang.org/x/mod/sumdb/tlog"

	"relaymarket/contract"
	"relaymarket/identity"
	"relaymarket/usage"
)

// clockSlack is how far a relay's rows may run ahead of the time that it says in a denial, in
// milliseconds: an operator may have set the clock back.
const clockSlack identity.UnixMilli = 120_000

// denied checks that the denial answers the request and counts: its request is by the record's receiver,
// or its challenge by the record's sender.
func (c *papers) denied(f *Finding) error {
	f.Culprit, f.Against = c.denial.From, c.denial.To
	if c.asked != nil {
		return c.deniedChallenge()
	}
	d, q := *c.denial, *c.request
	switch {
	case d.Answers(q) != nil:
		return unproven("the denial does not answer the request")
	case d.Record != c.record.Digest():
		return unproven("the denial is of another record")
	case q.From != c.record.Header().To:
		return unproven("the request is not by the record's receiver, so that the denial counts for nothing")
	}
	return nil
}

func (c *papers) deniedChallenge() error {
	switch d, q := *c.denial, *c.asked; {
	case d.AnswersChallenge(q) != nil:
		return unproven("the denial does not answer the challenge")
	case d.Record != c.record.Digest():
		return unproven("the denial is of another record")
	case q.From != c.record.Header().From:
		return unproven("the challenge is not by the record's sender, so that the denial counts for nothing")
	}
	return nil
}

// falseProof proves that a relay signed, in answer to a challenge, a chunk that is not in the content.
func (c *papers) falseProof(f *Finding) error {
	p, q, h := *c.shown, *c.asked, *c.record
	f.Culprit, f.Against = p.From, p.To
	switch {
	case p.Answers(q) != nil:
		return unproven("the storage proof does not answer the challenge")
	case p.Record != h.Digest():
		return unproven("the storage proof is of another record")
	case q.From != h.Header().From:
		return unproven("the challenge is not by the record's sender")
	case p.Leads(h.Header()) == nil:
		return unproven("the storage proof leads to the content that the sender signed")
	}
	f.Bytes = h.StoredBytes()
	f.What = "the relay signs chunk " + number(uint64(p.Chunk)) + " of the record with a hash and a path that do not lead to its content root"
	return nil
}

// kept checks that the receipt takes the record into the custody of the relay that denies, and gives
// arrival and end of custody.
func (c *papers) kept(f *Finding) (usage.Arrival, identity.UnixMilli, error) {
	r := *c.receipt
	if r.From != c.denial.From {
		return 0, 0, unproven("the receipt is by another relay than the denial")
	}
	at := r.Arrival + usage.Arrival(c.proof.Place)
	if at < r.Arrival {
		return 0, 0, unproven("the arrival is beyond all numbers")
	}
	f.Contract, f.Bytes = r.Contract, c.record.StoredBytes()
	return at, c.custodyEnd(), nil
}

// within tells whether the denial speaks of the custody that the receipt is for. A record whose custody is
// over may be stored again in another contract, and one that a restored backup lost may be, too.
func (c *papers) within() bool {
	d, r := c.denial, c.receipt
	return r != nil && r.StoreEpoch == d.StoreEpoch && d.AsOf >= r.Arrival+usage.Arrival(c.proof.Place) &&
		d.AsOfMs >= r.AcceptedMs && d.AsOfMs < c.custodyEnd()
}

// free tells whether the denied custody is under the free allowance, as far as the file shows.
func (c *papers) free() bool { return c.within() && c.receipt.Contract.IsZero() }

func (c *papers) custodyEnd() identity.UnixMilli {
	return min(c.record.Header().Expiry(), c.receipt.ServiceUntil)
}

// lost proves the loss of a record by the seven conditions of PROTOCOL.md, of which open has seen to the
// first and the second.
func (c *papers) lost(f *Finding) error {
	if err := c.denied(f); err != nil { // conditions 2 to 5
		return err
	}
	arrival, end, err := c.kept(f)
	d := c.denial
	switch {
	case err != nil:
		return err
	case d.Reason != usage.ReasonNone:
		return unproven("the denial says %s, not that there is no such record", d.Reason)
	case d.AsOf < arrival:
		return unproven("the denial speaks of a time before the record arrived")
	case d.AsOfMs < c.receipt.AcceptedMs || d.AsOfMs >= end:
		return unproven("the denial speaks of a time outside the custody of the record")
	}
	f.Against = c.order.From
	f.What = "the relay took the record into custody until " + number(uint64(end)) + " ms and says at " + number(uint64(d.AsOfMs)) + " ms that it has none such"
	return nil
}

// falseDenial proves that the reason of a denial is contradicted by what it names, by the record or by
// the receipt.
func (c *papers) falseDenial(f *Finding) error {
	if err := c.denied(f); err != nil {
		return err
	}
	if c.receipt != nil {
		if c.order == nil {
			return unproven("a receipt says nothing of a record without its order")
		}
		if _, _, err := c.kept(f); err != nil {
			return err
		}
	}
	why, err := c.contradiction()
	if err != nil {
		return err
	}
	f.What = "the relay denies the record as " + c.denial.Reason.String() + ", but " + why
	return nil
}

// contradiction is what contradicts the denial.
func (c *papers) contradiction() (string, error) {
	d := c.denial
	if c.cited != nil && !names(d.Evidence, c.cited.Digest) {
		return "", unproven("the denial does not name the %s that is shown", c.cited.Type)
	}
	if len(c.rows) > 0 && !names(d.Evidence, identity.Digest(tlog.RecordHash(c.proof.Rows[0].Leaf))) {
		return "", unproven("the denial does not name the row that is shown")
	}
	switch d.Reason {
	case usage.ReasonDeleted:
		return c.notDeleted()
	case usage.ReasonExpired:
		return c.notExpired()
	case usage.ReasonCap:
		return c.notCapped()
	case usage.ReasonPurged:
		return c.notPurged()
	case usage.ReasonSuspended:
		return c.notSuspended()
	}
	return "", unproven("the reason %s has no evidence that could contradict it", d.Reason)
}

func names(all []identity.Digest, d identity.Digest) bool {
	for _, x := range all {
		if x == d {
			return true
		}
	}
	return false
}

// notDeleted: DELETED names exactly one order, by the sender, or by the receiver where the record allows.
func (c *papers) notDeleted() (string, error) {
	h := c.record.Header()
	switch {
	case len(c.denial.Evidence) != 1:
		return "it names " + number(uint64(len(c.denial.Evidence))) + " orders to delete it instead of one", nil
	case c.cited == nil:
		return "", unproven("the order to delete that the denial names is not shown")
	}
	switch c.cited.Type {
	case identity.TypeDelete:
		x, err := usage.DecodeDelete(c.named.Statement)
		switch {
		case err != nil:
			return "", unproven("this version does not read the order: %v", err)
		case x.From != h.From || x.To != c.denial.From || x.Record != c.denial.Record:
			return "the order that it names is not the sender's to this relay for this record", nil
		}
	case identity.TypeAcknowledgement:
		x, err := usage.DecodeAcknowledgement(c.named.Statement)
		switch {
		case err != nil:
			return "", unproven("this version does not read the acknowledgement: %v", err)
		case x.From != h.To || x.To != c.denial.From || x.Record != c.denial.Record || x.Verdict != usage.VerdictOK || !h.DeleteOnAck():
			return "the acknowledgement that it names deletes no such record", nil
		}
	default:
		return "what it names is a " + c.cited.Type.String(), nil
	}
	return "", unproven("the denial names a good order to delete the record")
}

func (c *papers) notExpired() (string, error) {
	if c.receipt == nil {
		return "", unproven("without order and receipt nothing is known of the record's custody")
	}
	d, end := c.denial, c.custodyEnd()
	switch at := c.receipt.Arrival + usage.Arrival(c.proof.Place); {
	case c.receipt.StoreEpoch != d.StoreEpoch:
		return "", unproven("in between the relay restored a backup")
	case d.AsOf < at || d.AsOfMs < c.receipt.AcceptedMs:
		return "", unproven("the denial speaks of a time before the record arrived")
	case d.AsOfMs >= end || end-d.AsOfMs <= clockSlack:
		return "", unproven("the custody of the record was over, or nearly so")
	}
	return "its custody lasts until " + number(uint64(end)) + " ms and the denial speaks of " + number(uint64(d.AsOfMs)) + " ms", nil
}

// notCapped: CAP names as many different reads as the record has pulls, or as a denial can name.
func (c *papers) notCapped() (string, error) {
	different := make(map[identity.Digest]bool)
	for _, x := range c.denial.Evidence {
		different[x] = true
	}
	if most := min(int(c.record.Header().MaxPulls), usage.MaxDenialEvidence); len(different) < most {
		return "it names " + number(uint64(len(different))) + " reads of the record, whose sender allows " + number(uint64(c.record.Header().MaxPulls)), nil
	}
	if len(c.rows) > 0 {
		if r := c.rows[0]; r.Kind != usage.RowRead || r.Record != c.denial.Record {
			return "row " + number(r.Index) + ", which it names, is no read of the record", nil
		}
	}
	if c.cited != nil {
		q, err := usage.DecodeReadRequest(c.named.Statement)
		switch {
		case c.cited.Type != identity.TypeReadRequest:
			return "what it names is a " + c.cited.Type.String(), nil
		case err == nil && (q.Record != c.denial.Record || q.From != c.denial.To):
			return "the request that it names is not for the record by its receiver", nil
		}
	}
	return "", unproven("the denial names as many reads as there may be")
}

func (c *papers) notPurged() (string, error) {
	switch {
	case c.free():
		return "the record is kept under the free allowance, of which nothing is purged", nil
	case len(c.denial.Evidence) != 1:
		return "it names " + number(uint64(len(c.denial.Evidence))) + " notices of a purge instead of one", nil
	case c.cited == nil:
		return "", unproven("the notice that the denial names is not shown")
	case c.cited.Type != identity.TypeContractNotice:
		return "what it names is a " + c.cited.Type.String(), nil
	}
	n, err := c.notice()
	switch {
	case err != nil:
		return "", err
	case n.Step != contract.StepPurged:
		return "the notice that it names is of step " + n.Step.String(), nil
	}
	return c.otherContract(n.From, n.Contract)
}

func (c *papers) notSuspended() (string, error) {
	switch {
	case c.free():
		return "the record is kept under the free allowance, which is never suspended", nil
	case c.cited == nil:
		return "", unproven("what the denial names is not shown")
	}
	switch c.cited.Type {
	case identity.TypeContractNotice:
		n, err := c.notice()
		if err != nil {
			return "", err
		}
		return c.otherContract(n.From, n.Contract)
	case identity.TypeContractRefundPayment, identity.TypeContractCloseNonce:
		m, err := contract.Decode(c.named.Statement)
		if err != nil {
			return "", unproven("this version does not read the %s: %v", c.cited.Type, err)
		}
		if x, ok := m.(*contract.RefundPayment); ok {
			return c.otherContract(x.To, x.Contract)
		}
		if x, ok := m.(*contract.CloseNonce); ok {
			return c.otherContract(x.To, x.Contract)
		}
	}
	return "what it names is a " + c.cited.Type.String(), nil
}

func (c *papers) notice() (*contract.Notice, error) {
	m, err := contract.Decode(c.named.Statement)
	if err != nil {
		return nil, unproven("this version does not read the notice: %v", err)
	}
	n, ok := m.(*contract.Notice)
	if !ok {
		return nil, unproven("it is no notice")
	}
	return n, nil
}

// otherContract is the contradiction that a denial names something about another contract than the
// one that pays for the record.
func (c *papers) otherContract(relay identity.PublicKey, id usage.ContractID) (string, error) {
	switch {
	case relay != c.denial.From:
		return "what it names is about another relay", nil
	case !c.within():
		return "", unproven("no order and receipt show which contract paid for the record when it was denied")
	case c.receipt.Contract != id:
		return "what it names is about another contract than the record's", nil
	}
	return "", unproven("the denial names what it should")
}

// afterDenial proves that a record which the relay denied for good was billed as read, deleted or purged
// later, within the same custody.
func (c *papers) afterDenial(f *Finding) error {
	if err := c.denied(f); err != nil {
		return err
	}
	d := *c.denial
	arrival, _, err := c.kept(f)
	if err != nil {
		return err
	}
	u, r, n := c.report(f), c.rows[0], *c.receipt
	switch {
	case u.From != d.From || n.Contract != u.Contract: // by a grant, the receipt is another's than the report
		return unproven("report, receipt and denial are not of one contract")
	case n.StoreEpoch != d.StoreEpoch || n.LogEpoch != r.LogEpoch:
		return unproven("in between the relay restored a backup")
	case r.Record != d.Record || r.Receipt != n.Digest():
		return unproven("row %d is not about the record in this custody", r.Index)
	case d.AsOf < arrival:
		return unproven("the denial speaks of a time before the record arrived")
	case r.Arrival <= d.AsOf || r.Time <= d.AsOfMs || r.Time-d.AsOfMs <= clockSlack:
		return unproven("row %d is not later than the denial", r.Index)
	}
	switch d.Reason {
	case usage.ReasonNone, usage.ReasonDeleted, usage.ReasonExpired, usage.ReasonPurged:
	case usage.ReasonCap:
		if r.Kind != usage.RowRead {
			return unproven("what has no pulls left can still be deleted")
		}
	default:
		return unproven("a record that is denied as %s may be served later", d.Reason)
	}
	f.What = "the record was denied as " + d.Reason.String() + " and billed by " + r.Kind.String() + " row " + number(r.Index) + " afterwards"
	f.Bytes = r.Bytes
	c.price(f, billed(r))
	return nil
}
