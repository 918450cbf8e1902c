package contract

import (
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/internal/code"
	"relaymarket/internal/codec"
	"relaymarket/usage"
)

// A close by the key path takes one message each way. Who asks sends a transaction and a public nonce;
// who answers makes a nonce of its own and its partial signature in one step, and keeps nothing of
// it; who asked completes the signature and broadcasts. Secret nonces are never part of a Contract:
// what is stored is the transaction that this side asked for, and the one that it signed.

// joint is what this side knows of closes by the key path, apart from one that is complete.
type joint struct {
	asked   askedClose   // the close that this side asked for last
	granted grantedClose // the close for which this side gave a partial signature last
	ordered orderedClose // relay: the least close that the client asked for by its own will and can complete
}

type askedClose struct {
	amount  usage.Sat
	feeRate uint64
	request identity.Digest // of the contractCloseNonce
}

type grantedClose struct {
	amount  usage.Sat
	feeRate uint64
}

type orderedClose struct {
	amount usage.Sat
	order  identity.Digest // the client's contractCloseNonce
}

// fields are all optional: a record from before this way to close has none of them.
func (j *joint) fields(c *Contract) []codec.Field {
	return []codec.Field{
		codec.Optional(codec.U64(150, &j.asked.amount)), codec.Optional(codec.U64(152, &j.asked.feeRate)),
		codec.Optional(codec.Fixed(154, j.asked.request[:])),
		codec.Optional(codec.U64(156, &j.granted.amount)), codec.Optional(codec.U64(158, &j.granted.feeRate)),
		codec.Optional(codec.Fixed(160, c.agreed.both[:])), codec.Optional(codec.Bool(162, &c.facts.spend.KeyPath)),
		codec.Optional(codec.U64(164, &j.ordered.amount)), codec.Optional(codec.Fixed(166, j.ordered.order[:])),
	}
}

// AskClose (either side) asks for a close by the key path: sends contractCloseNonce. Nothing is signed
// with it. A relay serves nothing more from here on, so that what it asks for stays what it is due; a
// client goes on until the close is complete.
type AskClose struct {
	Amount  usage.Sat // what the close pays the relay in all, at least P_n
	FeeRate uint64    // sat per 1,000 vB, out of the relay's payment
	Nonce   PubNonce  // of a fresh signing session, which Received.Both comes from
	Stamp   Stamp
}

// Cosign asks for this side's share of a close by the key path: a fresh nonce and the partial signature
// made with it, in one step of which nothing secret is kept. Cosigned brings them. Performed again
// it gives another nonce, which is as good.
type Cosign struct {
	Request Verified // the contractCloseNonce
	Spend   KeySpend
}

func (Cosign) effect() {}

// Peer is the public nonce of the side that asked.
func (e Cosign) Peer() PubNonce {
	if m, ok := e.Request.message.(*CloseNonce); ok {
		return m.Nonce
	}
	return PubNonce{}
}

// Cosigned (either side) brings what Cosign asked for: sends contractCloseSig.
type Cosigned struct {
	Request Verified
	Nonce   PubNonce
	Partial PartialSignature
	Stamp   Stamp
}

// ClosePlan is a close that is agreed on, to the last satoshi.
type ClosePlan struct {
	Tx      *wire.MsgTx // complete
	Amount  usage.Sat   // P of the close
	Client  usage.Sat   // what goes to the client
	Relay   usage.Sat   // what goes to the relay
	Fee     usage.Sat
	KeyPath bool // signed by both as one; else by the leaf
}

// Closing is the close that this side can broadcast; not ok while there is none. Whether it or another
// spend of the escrow confirms, the chain decides.
func (c Contract) Closing() (ClosePlan, bool) {
	if !c.agreed.complete() {
		return ClosePlan{}, false
	}
	tx, err := c.finalTx(c.agreed)
	if err != nil {
		return ClosePlan{}, false
	}
	p := snap(c.terms.Value, c.agreed.amount)
	return ClosePlan{
		Tx: tx, Amount: p, Client: c.terms.Value - p, Relay: p - (c.terms.Value - outputSum(tx)),
		Fee: c.terms.Value - outputSum(tx), KeyPath: !c.agreed.both.IsZero(),
	}, true
}

// Granted is the payment of the close by the key path for which this side gave its partial signature
// last; not ok if it gave none. The other side can complete and broadcast it at any time.
func (c Contract) Granted() (usage.Sat, bool) {
	return c.joint.granted.amount, c.joint.granted.feeRate > 0
}

// keyClose builds a close by the key path and checks that it keeps every satoshi.
func (c *Contract) keyClose(k closing) (*wire.MsgTx, KeySpend, error) {
	if err := checkFeeRate(k.feeRate); err != nil {
		return nil, KeySpend{}, err
	}
	if err := c.checkPayment(k.amount); err != nil {
		return nil, KeySpend{}, err
	}
	tx, err := c.terms.KeyCloseTx(c.escrow(), k.amount, k.feeRate)
	if err != nil {
		return nil, KeySpend{}, err
	}
	if total := outputSum(tx) + FeeFor(k.feeRate, weightOf(tx, keyPathWitness)); total != c.terms.Value {
		return nil, KeySpend{}, code.New(code.Internal, "a close of %d sat out of %d", total, c.terms.Value)
	}
	spend, err := c.terms.KeySpend(tx)
	return tx, spend, err
}

// KeyClose is what is to be signed for a close by the key path that this side wants. Codes as of AskClose.
func (c Contract) KeyClose(amount usage.Sat, feeRate uint64) (KeySpend, error) {
	if err := c.closable(c.role); err != nil {
		return KeySpend{}, err
	}
	_, spend, err := c.keyClose(closing{amount: snap(c.terms.Value, min(amount, usage.MaxSat)), feeRate: feeRate})
	return spend, err
}

// aside makes a statement that stands outside the sequence: it has the number of this side's last
// message, may be lost, and is never referred to.
func (c *Contract) aside(s Stamp) Common {
	m := c.common(s)
	m.Seq = c.talk.out
	return m
}

func (e AskClose) apply(c *Contract) ([]Effect, error) {
	if err := c.closable(c.role); err != nil {
		return nil, err
	}
	k := closing{amount: snap(c.terms.Value, min(e.Amount, usage.MaxSat)), feeRate: e.FeeRate}
	tx, _, err := c.keyClose(k)
	if err != nil {
		return nil, err
	}
	if c.role == Client {
		if err := c.checkShare(k, keyPathWitness, c.paid); err != nil {
			return nil, err
		}
	}
	raw, err := Encode(&CloseNonce{
		Common: c.aside(e.Stamp), Contract: c.ID(), N: c.n, Amount: k.amount, FeeRate: k.feeRate,
		Tx: unsignedBytes(tx), Nonce: e.Nonce,
	})
	if err != nil {
		return nil, err
	}
	c.joint.asked = askedClose{k.amount, k.feeRate, identity.StatementDigest(identity.TypeContractCloseNonce, raw)}
	c.closing = c.closing || c.role == Relay
	return []Effect{Send{raw}}, nil
}

// checkKeyClose verifies the close that the other side asks for, as a close by the leaf is verified
// (checks 36b to 39).
func (c *Contract) checkKeyClose(m *CloseNonce) (KeySpend, error) {
	if err := c.sameContract(m.Contract); err != nil {
		return KeySpend{}, err
	}
	if m.N > c.n && c.role == Client || m.N > c.n+1 || m.N < c.n && c.role == Relay {
		return KeySpend{}, code.New(code.BadSequence, "a close after update %d, the last is %d", m.N, c.n)
	}
	theirs, err := parseUnsigned(m.Tx)
	if err != nil {
		return KeySpend{}, err
	}
	if err := checkShape(theirs, maxInputs); err != nil {
		return KeySpend{}, err
	}
	tx, spend, err := c.keyClose(closing{amount: m.Amount, feeRate: m.FeeRate})
	if err != nil {
		return KeySpend{}, err
	}
	return spend, compareClose(tx, theirs)
}

// acceptable tells whether this side agrees to the sum of a close: the relay to what it is due less the
// fee of a settlement, the client to no more than it is told (checks 38 and 39).
func (e Received) acceptable(c *Contract, m *CloseNonce) error {
	if c.role == Client {
		if m.Amount > e.Max {
			return code.New(code.LimitExceeded, "the close pays the relay %d sat, accepted are %d", m.Amount, e.Max)
		}
		return nil
	}
	due := max(c.paid, min(e.Due, c.terms.Value))
	if m.Amount < due {
		return code.New(code.PaymentTooLow, "a close for %d sat, due are %d", m.Amount, due)
	}
	return c.checkShare(closing{amount: m.Amount, feeRate: m.FeeRate}, keyPathWitness, due)
}

// closeNonce (either side) agrees to a close by the key path: it is stored that this side's signature
// leaves, before the signature is made.
func (e Received) closeNonce(c *Contract, m *CloseNonce) ([]Effect, error) {
	if err := c.closable(c.role); err != nil {
		return nil, err
	}
	if err := c.refers(e.Message); err != nil {
		return nil, err
	}
	if m.Seq < c.talk.in {
		return nil, code.New(code.BadSequence, "a close asked for at message %d, the last is %d", m.Seq, c.talk.in)
	}
	spend, err := c.checkKeyClose(m)
	if err != nil {
		return nil, err
	}
	if err := e.acceptable(c, m); err != nil {
		return nil, err
	}
	c.joint.granted, c.closing = grantedClose{m.Amount, m.FeeRate}, true
	c.dropUpdate()
	c.takeOrder(m.Amount, e.Message.digest)
	return []Effect{Cosign{e.Message, spend}}, nil
}

// takeOrder (relay) notes that the client ends the contract by its own will: what its close does not pay for
// is then not owed. Who accepts what the relay itself has offered or asked for orders nothing.
func (c *Contract) takeOrder(amount usage.Sat, d identity.Digest) {
	if wanted, ok := c.wantsClose(); c.role != Relay || ok && amount >= wanted {
		return
	}
	if o := &c.joint.ordered; o.order.IsZero() || amount < o.amount {
		*o = orderedClose{amount, d}
	}
}

// wantsClose is the sum for which this relay has said that it wants to end the contract.
func (c *Contract) wantsClose() (usage.Sat, bool) {
	if !c.joint.asked.request.IsZero() {
		return c.joint.asked.amount, true
	}
	m, err := Decode(c.talk.pending)
	if err != nil {
		return 0, false
	}
	offer, ok := m.(*RequestPayment)
	if !ok {
		return 0, false
	}
	return offer.Amount, true
}

// ended (relay) is the close by which the client has ended the contract: what that pays in all, and the
// client's statement.
func (c *Contract) ended() (final usage.Sat, order identity.Digest, ok bool) {
	o := c.joint.ordered
	if c.agreed.complete() && c.agreed.both.IsZero() && (o.order.IsZero() || c.agreed.amount < o.amount) {
		return c.agreed.amount, c.agreed.order, true
	}
	if !c.closePublished() { // only the client has the whole signature: until it is used, nothing more is paid
		return min(o.amount, c.paid), o.order, !o.order.IsZero()
	}
	return o.amount, o.order, !o.order.IsZero()
}

// closePublished tells whether a close is in a mempool or in the chain.
func (c *Contract) closePublished() bool {
	if c.facts.spentAt > 0 {
		return c.facts.spend.Kind == SpendClose
	}
	return c.facts.seen == SpendClose
}

// dropUpdate ends the waiting for a payment's acknowledgement: the close pays at least as much, and the
// relay takes no update any more. What else waits, waits on.
func (c *Contract) dropUpdate() {
	h, err := identity.PeekHeader(c.talk.pending)
	if err == nil && h.Type == identity.TypeContractPaymentUpdate {
		c.talk.pending = nil
	}
}

func (e Cosigned) apply(c *Contract) ([]Effect, error) {
	m, ok := e.Request.message.(*CloseNonce)
	if !ok {
		return nil, code.New(code.Malformed, "no request to close")
	}
	if err := c.closable(c.role); err != nil {
		return nil, err
	}
	if c.joint.granted != (grantedClose{m.Amount, m.FeeRate}) {
		return nil, code.New(code.BadState, "another close was agreed to since")
	}
	spend, err := c.checkKeyClose(m)
	if err != nil {
		return nil, err
	}
	if err := spend.CheckPartial(c.key(), e.Nonce, m.Nonce, e.Partial); err != nil {
		return nil, err
	}
	raw, err := Encode(&CloseSig{
		Common: c.aside(e.Stamp), Contract: c.ID(), Close: e.Request.digest, Nonce: e.Nonce, Partial: e.Partial,
	})
	return []Effect{Send{raw}}, err
}

// closeSig (who asked) takes the complete signature that this side's session made of the answer,
// and broadcasts (check 40).
func (e Received) closeSig(c *Contract, m *CloseSig) ([]Effect, error) {
	if err := c.closable(c.role); err != nil {
		return nil, err
	}
	if err := c.sameContract(m.Contract); err != nil {
		return nil, err
	}
	if err := c.refers(e.Message); err != nil {
		return nil, err
	}
	asked := c.joint.asked
	if m.Close != asked.request || e.Both.IsZero() {
		return nil, code.New(code.NoSigningSession, "no close is being signed that this could complete")
	}
	k := closing{amount: asked.amount, feeRate: asked.feeRate, both: e.Both}
	_, spend, err := c.keyClose(k)
	if err != nil {
		return nil, err
	}
	if err := spend.Check(e.Both); err != nil {
		return nil, err
	}
	c.agreed, c.closing, c.talk.pending, c.joint.asked = k, true, nil, askedClose{}
	final, err := c.final(k)
	return []Effect{final}, err
}

// isKeyPath tells a spend by the key path: one signature with the default hash type, and nothing else.
func isKeyPath(w wire.TxWitness) bool { return len(w) == 1 && len(w[0]) == 64 }
