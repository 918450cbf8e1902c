package contract

import (
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"relaymarket/identity"
	"relaymarket/usage"
)

// Contract is one side's record of a contract: a plain value that Apply turns into the next one.
// The zero value is a contract of which nothing is known yet. It holds no secret.
type Contract struct {
	role  Role
	stage stage
	terms Terms // on the client's side without the relay's part until verified

	coins     []Coin // what funds the escrow
	change    Change
	backing   Share          // what funds the collateral
	backed    [][]byte       // witnesses of the relay's inputs, as in ServerAddInputs
	funding   chainhash.Hash // txid of the funding transaction, once the terms are complete
	witnesses [][]byte       // of the client's inputs, as in ClientSigned

	cancel [][]byte // witnesses of the transaction with which this side double-spends the funding

	// The latest update: on the client's side as given, on the relay's as received.
	n      uint32
	paid   usage.Sat // P_n
	ladder Ladder
	report identity.Digest
	update identity.Digest // digest of its statement; zero for the first, which is in ClientSigned
	acked  uint32          // client: the last update that the relay acknowledged

	asked   Ask     // the relay's latest request
	closing bool    // a closing signature of this side has left: no service and no payment after
	offered closing // client: the relay's final request, with its signature
	agreed  closing // a close with all signatures that it needs
	joint   joint   // closes by the key path that are not complete
	talk    talk    // message numbers and digests
	tip     usage.Height
	facts   facts
	acts    acts

	dues    dues     // what is known of a payment that does not come
	frozen  Freeze   // why nothing is served and paid any more
	dispute []byte   // the other side's signed contractReestablish that led to it
	ready   ready    // what contractReady told, to and by the other side
	opening [][]byte // client: the messages of the opening, for a relay that has lost them
}

// Freeze is why a contract is frozen. Either side can still close, settle and refund.
type Freeze uint8

// The reasons.
const (
	NotFrozen    Freeze = 0
	FrozenUpdate Freeze = 1 // two updates with one number, or a higher number with a lower payment
	FrozenLog    Freeze = 2 // the relay's log is shorter than the one that it reported
	FrozenFork   Freeze = 3 // the relay's log is another one than it reported

	lastFreeze = FrozenFork
)

// String is the reason as the end of a sentence.
func (f Freeze) String() string {
	return [...]string{
		"it is not frozen", "the two sides hold different updates with one number",
		"the relay's log is shorter than the one it has reported", "the relay's log is not the one it has reported",
	}[min(f, lastFreeze)]
}

// ready is what the two sides told each other about the funding's block.
type ready struct {
	block    [32]byte     // of the funding, by the own node; zero while it is not in the chain
	said     bool         // contractReady has left
	theirs   usage.Height // height of the funding's block by the other side; 0: nothing heard
	theirsIn [32]byte     // and its hash
}

// Ask is a relay's request for payment.
type Ask struct {
	N      uint32
	Amount usage.Sat // cumulative; zero when nothing was asked
	Report identity.Digest
}

// closing is a final close; a zero signature is one that this side does not have.
type closing struct {
	amount        usage.Sat
	feeRate       uint64
	client, relay Signature       // by the leaf
	both          Signature       // of both together, by the key path
	order         identity.Digest // relay: of the client's statement that asked for it
}

// talk is the state of the conversation.
type talk struct {
	out, in uint32          // highest Seq sent and received
	last    identity.Digest // the last message received: Prev of what is sent, and known again
	// said are the digests of what was sent, from the last one on that the other side is known to
	// have; it begins with zero, which stands for "nothing yet".
	said    []identity.Digest
	hailed  identity.Digest // the last contractReestablish sent; it may be referred to as well
	anew    bool            // last is a contractReestablish: the references began anew with it
	reply   []byte          // the statement that answered last
	pending []byte          // the last statement that still waits for its answer
}

// facts is what the chain shows. A height of 0 stands for "not in the chain".
type facts struct {
	fundingSeen bool         // the funding transaction was in a mempool or a block
	fundedAt    usage.Height // of the block with the funding transaction
	voidAt      usage.Height // of a block that spends a funding input elsewhere
	seen        SpendKind    // a spend of the escrow seen in the mempool
	spentAt     usage.Height // of the block that spends the escrow
	spend       Spend
	sweptAt     usage.Height // of the block that spends the client's locked output
	backAt      usage.Height // of the block that spends the collateral
}

// acts is what this side has begun to do on the chain.
type acts struct {
	settleFrom usage.Height // relay: it settles from this height on, before the deadline does it
	refundRate uint64       // fee rate of the last refund
	sweepRate  uint64       // fee rate of the last sweep
	cancelRate uint64       // fee rate of the double spend
	settleTier uint8        // relay: the highest tier that it has broadcast
	bumpFee    usage.Sat    // relay: fee of the last child that was made for its settlement
	reclaim    uint64       // relay: fee rate of the last transaction that takes the collateral back
}

// SpendKind is how an escrow was spent.
type SpendKind uint8

// The kinds of spends.
const (
	SpendNone       SpendKind = 0
	SpendSettlement SpendKind = 1 // by the relay, with the client's signature of an update
	SpendClose      SpendKind = 2 // by both, finally
	SpendRefund     SpendKind = 3 // by the client after E
	SpendUnknown    SpendKind = 4 // by something that this version does not make
)

// String is the kind in one word.
func (k SpendKind) String() string {
	return [...]string{"none", "settlement", "close", "refund", "unknown"}[min(k, SpendUnknown)]
}

// Spend describes the transaction that spent the escrow.
type Spend struct {
	Kind   SpendKind
	TxID   chainhash.Hash
	Client usage.Sat // what goes to the client, locked or not
	Relay  usage.Sat // what goes to the relay's payout script
	Fee    usage.Sat
	Locked uint32 // index of the client's locked output

	KeyPath bool // a close that both signed as one, by the key path
}

// Role is the side whose record this is.
func (c Contract) Role() Role { return c.role }

// Terms are the agreed terms; on the client's side incomplete until the relay's answer is verified.
func (c Contract) Terms() Terms { return c.terms }

// Nonce is the contract nonce.
func (c Contract) Nonce() Nonce { return c.terms.Nonce }

// Self is the identity of this side.
func (c Contract) Self() identity.PublicKey {
	if c.role == Relay {
		return c.terms.Relay
	}
	return c.terms.Client
}

// Peer is the identity of the other side.
func (c Contract) Peer() identity.PublicKey {
	if c.role == Relay {
		return c.terms.Client
	}
	return c.terms.Relay
}

// key is the public contract key of this side.
func (c Contract) key() Key {
	if c.role == Relay {
		return c.terms.RelayKey
	}
	return c.terms.ClientKey
}

// complete tells whether the terms and the funding transaction are fixed.
func (c Contract) complete() bool {
	switch c.stage {
	case stageOffered, stageVerified, stageSigned, stageComplete, stageFunding:
		return true
	}
	return false
}

// signed tells whether the client's signatures have left: money is at stake.
func (c Contract) signed() bool {
	return c.stage == stageSigned || c.stage == stageComplete || c.stage == stageFunding
}

// ID is the contract's id; zero until the terms are complete.
func (c Contract) ID() usage.ContractID {
	op, ok := c.Escrow()
	if !ok {
		return usage.ContractID{}
	}
	return c.terms.ContractID(op)
}

// Escrow is the escrow output; not ok until the terms are complete.
func (c Contract) Escrow() (wire.OutPoint, bool) {
	return c.escrow(), c.complete()
}

func (c Contract) escrow() wire.OutPoint {
	return wire.OutPoint{Hash: c.funding, Index: EscrowIndex}
}

// FundingTx is the funding transaction, with witnesses where this side has them; nil until the
// terms are complete.
func (c Contract) FundingTx() *wire.MsgTx {
	if !c.complete() || c.recovered() {
		return nil
	}
	tx, err := c.unsignedFunding()
	if err != nil {
		return nil
	}
	for i := range c.witnesses {
		tx.TxIn[i].Witness, _ = parseWitness(c.witnesses[i])
	}
	for i := range c.backed {
		tx.TxIn[len(c.coins)+i].Witness, _ = parseWitness(c.backed[i])
	}
	return tx
}

// Coins are what funds the escrow: the client's.
func (c Contract) Coins() []Coin { return slices.Clone(c.coins) }

// Service tells whether use may be served and charged now.
func (c Contract) Service() bool { return c.State() == StateActive }

// Paid is P_n, what the relay can take by the latest update: on the client's side what was given, on
// the relay's what was received.
func (c Contract) Paid() usage.Sat { return c.paid }

// Frozen is why the contract is frozen, and the other side's signed contractReestablish that shows
// it: evidence for a person to keep.
func (c Contract) Frozen() (Freeze, []byte) { return c.frozen, slices.Clone(c.dispute) }

// PeerReady tells whether the other side has said that it sees the funding at the agreed depth, in
// the block in which this side sees it.
func (c Contract) PeerReady() bool {
	return c.ready.theirs > 0 && c.ready.theirs == c.facts.fundedAt && c.ready.theirsIn == c.ready.block
}

// Updates is n, the number of the latest update.
func (c Contract) Updates() uint32 { return c.n }

// Acknowledged is, on the client's side, the number of the last update that the relay confirmed.
func (c Contract) Acknowledged() uint32 { return c.acked }

// Asked is the relay's latest request for payment.
func (c Contract) Asked() Ask { return c.asked }

// CloseOffered is, on the client's side, the relay's standing offer to close: what it would pay
// the relay in all.
func (c Contract) CloseOffered() (usage.Sat, bool) {
	return c.offered.amount, !c.offered.relay.IsZero()
}

// Tip is the highest block that this contract was told of.
func (c Contract) Tip() usage.Height { return c.tip }

// Spend is how the escrow was spent, and at which height; not ok while it is not.
func (c Contract) Spend() (Spend, usage.Height, bool) {
	return c.facts.spend, c.facts.spentAt, c.facts.spentAt > 0
}

// Leases are the own coins that must stay reserved for this contract; none once they are spent, or may be used again. A
// relay whose signatures of them have left keeps them until either is final, because the other side
// decides when the funding comes.
func (c Contract) Leases() []wire.OutPoint {
	if c.stage == stageNew || c.stage == stageAborted {
		return nil
	}
	over := c.facts.fundedAt > 0 || c.failed()
	if m, err := MarginsOf(c.terms.Network); err == nil && c.exposed() {
		over = max(c.depth(), c.confirmations(c.facts.voidAt)) >= m.FinalDepth
	}
	if over {
		return nil
	}
	var out []wire.OutPoint
	for _, coin := range c.own() {
		out = append(out, coin.OutPoint)
	}
	return out
}

// Pending is the statement of this side that still waits for its answer, to be sent again when the
// sides are connected again; nil if there is none.
func (c Contract) Pending() []byte {
	if len(c.talk.pending) == 0 || c.facts.spentAt > 0 {
		return nil
	}
	return slices.Clone(c.talk.pending)
}
